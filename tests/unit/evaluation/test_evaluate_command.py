"""The command: what it writes, prints and refuses."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from mammoscope.cli.evaluate import evaluate
from mammoscope.cohort.manifest import SCHEMA, write_manifest
from mammoscope.config import to_toml
from mammoscope.errors import RunError, StoreError, TableError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.operating_points import OperatingPointSettings, write_operating_points
from mammoscope.evaluation.pictures import Call
from mammoscope.evaluation.scores import aggregate_to_breasts, write_scores
from mammoscope.imaging import shards
from mammoscope.imaging.batch import StoreDescription
from mammoscope.imaging.prepare import PrepareSettings

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def run(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_scores(cohort, folder / "scores.parquet")
    return folder


@pytest.fixture
def store(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    """A prepared store with a small picture of every image of the cohort."""
    folder = tmp_path / "store"
    settings = PrepareSettings(rows=32, columns=16, bits=8)
    (folder / "shards").mkdir(parents=True)
    description = StoreDescription(settings_hash=settings.hash, settings=settings)
    (folder / shards.DESCRIPTION_NAME).write_text(to_toml(description))
    ids = cohort["image_id"].to_list()
    rows = [{"image_id": image_id, "shard": 0, "slot": slot} for slot, image_id in enumerate(ids)]
    pl.DataFrame(rows, schema=shards.PREPARED_SCHEMA).write_parquet(folder / shards.PREPARED_NAME)
    pl.DataFrame(schema=shards.REJECTED_SCHEMA).write_parquet(folder / shards.REJECTED_NAME)
    np.arange(len(ids) * 32 * 16, dtype=np.uint8).tofile(shards.raw_path(folder, 0))
    return folder


def call(*arguments: object, replicates: int = 100) -> Result:
    words = map(str, arguments)
    return CliRunner().invoke(app, [*words, "--replicates", str(replicates)], catch_exceptions=False)


def name_store(run: Path, store: Path) -> None:
    (run / "environment.json").write_text(json.dumps({"schema_version": 1, "store": str(store), "commit": "abc123"}))


def test_evidence_and_report_are_written_and_summed_up(run: Path) -> None:
    result = call(run, "--seed", 4)
    assert result.exit_code == 0
    content = json.loads((run / "evaluation.json").read_text())
    assert content["bootstrap"]["seed"] == 4
    page = (run / "report.html").read_text()
    assert str(run) not in page
    assert "The prepared store of the run was not at hand" in page
    auc = content["levels"]["breast"]["auc"]
    assert f"{auc['value']:.3f} ({auc['interval']['low']:.3f} to {auc['interval']['high']:.3f})" in result.stdout
    assert "120" in result.stdout
    assert "report.html" in result.stdout


def test_the_summary_is_json_for_machines(run: Path) -> None:
    content = json.loads(call(run, "--json").stdout)
    assert content["breast"] == json.loads((run / "evaluation.json").read_text())["levels"]["breast"]
    assert content["report"] == str(run / "report.html")


@pytest.mark.parametrize("is_named_by_the_run", [True, False])
def test_pictures_come_from_the_store(run: Path, store: Path, is_named_by_the_run: bool) -> None:
    if is_named_by_the_run:
        name_store(run, store)
        call(run)
    else:
        call(run, "--store", store)
    page = (run / "report.html").read_text()
    assert page.count("<img src=") == 16
    assert str(store) not in page


def test_a_run_whose_networks_are_gone_shows_its_pictures_without_heat(run: Path, store: Path) -> None:
    result = call(run, "--store", store)
    assert result.exit_code == 0
    assert "warning: no heat maps: " in result.stderr
    assert "no heat maps stand beside them" in (run / "report.html").read_text()


@pytest.mark.parametrize("cut", [0.0, 1.5])
def test_a_cut_outside_of_the_scale_is_refused_first(run: Path, cut: float) -> None:
    with pytest.raises(UserInputError, match=f"--cut: found {cut:g}, expected a share of the readers' scale above 0"):
        call(run, "--cut", cut)


def test_a_file_in_the_place_of_the_folder_is_refused_first(run: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").touch()
    with pytest.raises(UserInputError, match=r"--output .*theirs\.csv: found a file, expected a folder"):
        call(run, "-o", tmp_path / "theirs.csv")
    assert (tmp_path / "theirs.csv").read_bytes() == b""


def test_marks_need_scores_of_images(cohort: pl.DataFrame, tmp_path: Path) -> None:
    breasts = cohort.filter(pl.col("level") == "image").group_by("patient_id", "exam_id", "laterality").agg(
        pl.col("score").mean(), pl.col("cancer").first()
    )  # fmt: skip
    breasts.write_csv(tmp_path / "breasts.csv")
    with pytest.raises(UserInputError, match="--marks: found no scores of images, expected some, because marks lie in"):
        call("--scores", tmp_path / "breasts.csv", "--marks", tmp_path / "m.csv", "--lesions", tmp_path / "l.csv")


def test_a_column_that_is_grouped_by_is_not_said_to_be_left(cohort: pl.DataFrame, tmp_path: Path) -> None:
    images = cohort.filter(pl.col("level") == "image").select("image_id", "patient_id", "laterality", "score", "cancer")
    images.with_columns(tone=pl.lit("a"), other=pl.lit("b")).write_csv(tmp_path / "theirs.csv")
    result = call("--scores", tmp_path / "theirs.csv", "--by", "tone", "-o", tmp_path / "out")
    assert "columns: not taken for scores are other\n" in result.stderr


@pytest.mark.parametrize("package", ["torch", "timm"])
def test_without_a_package_there_is_no_heat(
    run: Path, store: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr("mammoscope.cli.evaluate.find_spec", lambda name: None if name == package else name)
    result = call(run, "--store", store)
    assert result.exit_code == 0
    sentence = f"no heat maps: the package {package} is not installed; install it with `uv pip install {package}`"
    assert sentence in result.stderr


def test_heat_is_of_the_run_with_its_cohort_and_what_lacks_it_is_counted(
    run: Path, store: Path, cohort: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {name: pl.lit(None, dtype) for name, dtype in SCHEMA.items() if name not in cohort.columns}
    columns |= {"source": pl.lit("theirs"), "path": pl.col("image_id")}
    (tmp_path / "cohort").mkdir()
    write_manifest(cohort.with_columns(**columns).select(list(SCHEMA)), tmp_path / "cohort")
    given = []

    def paint(path: Path, calls: Sequence[Call], _: object, manifest: pl.DataFrame) -> dict[str, NDArray[np.uint8]]:
        given.append((path, set(manifest["image_id"])))
        return {call.image_id: np.full((32, 16, 3), 9, np.uint8) for call in calls[:-3]}

    monkeypatch.setattr("mammoscope.inference.call_heats.paint_calls", paint)
    result = call(run, "--store", store, "--cohort", tmp_path / "cohort")
    assert given == [(run, set(cohort["image_id"].drop_nulls()))]
    assert "no heat maps of 3 pictures: the run has no network of the fold that they were held out in" in result.stderr
    assert (run / "report.html").read_text().count('alt="Heat map of') == 13
    assert "By heat maps (HiResCAM)" in (run / "claim.md").read_text()


def test_a_table_that_networks_cannot_be_given_costs_the_heat_alone(
    run: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise TableError("age_years: found a number that is not finite")

    monkeypatch.setattr("mammoscope.inference.call_heats.paint_calls", refuse)
    result = call(run, "--store", store)
    assert result.exit_code == 0
    assert "warning: no heat maps: age_years: found a number that is not finite" in result.stderr


def test_a_store_that_is_gone_costs_only_the_pictures(run: Path, tmp_path: Path) -> None:
    name_store(run, tmp_path / "gone")
    assert call(run).exit_code == 0
    assert "was not at hand, so no pictures are shown; name it with --store" in (run / "report.html").read_text()


def test_a_torn_store_of_the_run_is_a_warning(run: Path, store: Path) -> None:
    name_store(run, store)
    shards.raw_path(store, 0).write_bytes(b"")
    result = call(run)
    assert result.exit_code == 0
    assert "warning: no pictures: " in result.stderr
    assert "cannot be read, so no pictures are shown" in (run / "report.html").read_text()


@pytest.mark.parametrize("is_torn", [True, False])
def test_a_manifest_of_other_content_is_told_without_the_store_too(
    run: Path, store: Path, cohort: pl.DataFrame, tmp_path: Path, is_torn: bool
) -> None:
    """The store has lost its pictures, or its description is one of another schema."""
    columns = {name: pl.lit(None, dtype) for name, dtype in SCHEMA.items() if name not in cohort.columns}
    columns |= {"source": pl.lit("theirs"), "path": pl.col("image_id")}
    (tmp_path / "cohort").mkdir()
    write_manifest(cohort.with_columns(**columns).select(list(SCHEMA)), tmp_path / "cohort")
    name_store(run, store)
    recorded = json.loads((run / "environment.json").read_text()) | {"manifest_hash": "another"}
    (run / "environment.json").write_text(json.dumps(recorded))
    if is_torn:
        shards.raw_path(store, 0).write_bytes(b"")
    else:
        (store / shards.DESCRIPTION_NAME).write_text("rows = 3\n")
    result = call(run, "--cohort", tmp_path / "cohort")
    assert result.exit_code == 0
    assert "no pictures: " in result.stderr
    flow = json.loads((run / "evaluation.json").read_text())["data_flow"]
    assert [remark[:41] for remark in flow["remarks"]] == ["The manifest is not the one that the run "]


def test_a_store_that_the_user_names_must_be_one(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a prepared store"):
        call(run, "--store", tmp_path)
    assert not (run / "report.html").exists()


def test_operating_points_of_the_run_are_shown(run: Path, cohort: pl.DataFrame) -> None:
    """They are kept as they were chosen; a run that has none gets its own."""
    points = cross_fit(cohort, OperatingPointSettings(), BootstrapSettings(n_replicates=20))
    write_operating_points(points, run / "operating_points.json")
    call(run)
    shown = json.loads((run / "evaluation.json").read_text())["operating_points"]
    assert shown == json.loads((run / "operating_points.json").read_text())
    (run / "operating_points.json").unlink()
    call(run)
    assert json.loads((run / "evaluation.json").read_text())["operating_points"]["replicates"] == 100
    assert "Operating points" in (run / "report.html").read_text()


# scores of others


@pytest.fixture
def given(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    """A table of breasts by somebody else, without outcomes: a model and two readers, of whom one rates from 1 to 5."""
    breasts = aggregate_to_breasts(cohort)
    columns = {
        "patient_id": breasts["patient_id"],
        "exam_id": breasts["exam_id"],
        "laterality": breasts["laterality"],
        "score": breasts["score"],
        "score_other": 1 - breasts["score"],
        "rating": (breasts["score"] * 4).round(0) + 1,
        "density": ["A", "B"] * (breasts.height // 2),
    }
    path = tmp_path / "theirs.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


@pytest.fixture
def truth(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    """The outcomes of the cohort, as a table."""
    path = tmp_path / "truth.csv"
    cohort.select("patient_id", "exam_id", "laterality", "cancer").unique().write_csv(path)
    return path


def test_scores_of_others_are_measured_against_a_truth(given: Path, truth: Path, tmp_path: Path) -> None:
    result = call("--scores", given, "--truth", truth, "--by", "density", "-o", tmp_path / "evidence")
    assert result.exit_code == 0
    content = json.loads((tmp_path / "evidence/evaluation.json").read_text())
    assert content["main_level"] == "breast"
    assert list(content["levels"]) == ["breast", "exam"]
    assert content["folds"].startswith("five parts of the patients")
    assert "density" in [grouping["column"] for grouping in content["groups"]]
    (compared,) = content["comparisons"]
    assert (compared["first"], compared["second"]) == ("theirs, score", "theirs, score_other")
    auc = content["levels"]["breast"]["auc"]["value"]
    assert compared["result"]["auc"]["bootstrap"]["difference"]["value"] == pytest.approx(1 - 2 * auc)
    page = (tmp_path / "evidence/report.html").read_text()
    assert "evaluation of theirs, score" in page
    assert any("not taken for scores are rating" in remark for remark in content["remarks"])
    assert "warning: columns: not taken for scores are" in result.stderr


def test_ratings_are_brought_to_their_scale(given: Path, truth: Path, tmp_path: Path) -> None:
    words = ("--scores", given, "--truth", truth, "-o", tmp_path / "out")
    assert call(*words, "--score-column", "rating", "--scale", "rating=1:5").exit_code == 0
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert content["comparisons"] == []
    with pytest.raises(UserInputError, match=r"--scale: found 'rating=1-5', expected a column and its lowest"):
        call(*words, "--scale", "rating=1-5")
    with pytest.raises(TableError, match=r"rating: .*scores are outside \[0, 1\]"):
        call(*words, "--score-column", "rating")


def test_a_run_is_compared_with_a_table_without_outcomes(run: Path, given: Path) -> None:
    assert call(run, "--compare", given).exit_code == 0
    first, second = json.loads((run / "evaluation.json").read_text())["comparisons"]
    assert (first["first"], first["second"]) == ("a run", "theirs, score")
    assert first["result"]["auc"]["bootstrap"]["difference"]["value"] == pytest.approx(0, abs=1e-12)
    assert second["result"]["n"] == 120
    with pytest.raises(UserInputError, match=r"found two tables called theirs, score; rename one of the files"):
        call(run, "--compare", given, "--compare", given)


def test_readers_stand_beside_the_scores(given: Path, truth: Path, tmp_path: Path) -> None:
    """Two readers: one rates from 1 to 5, one gives scores; the first column of scores leads."""
    words = ("--scores", given, "--truth", truth, "--reader", "rating", "--reader", "score_other")
    result = call(*words, "--scale", "rating=1:5", "--cut", 0.5, "-o", tmp_path / "out")
    assert result.exit_code == 0
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert [each["name"] for each in content["readers"]["each"]] == ["rating", "other"]
    assert content["readers"]["readers"] == "random"
    assert content["comparisons"] == []
    page = (tmp_path / "out/report.html").read_text()
    assert "Beside readers" in page
    assert f"{content['readers']['each'][0]['sensitivity']['value']:.3f}" in page
    assert f"{content['readers']['auc_above']['value']:.3f}" in page
    call("--scores", given, "--truth", truth, "--reader", "rating", "--scale", "rating=1:5", "-o", tmp_path / "one")
    one = json.loads((tmp_path / "one/evaluation.json").read_text())["readers"]
    assert one["readers"] == "fixed"
    assert "without a cut" in one["each"][0]["sensitivity"]["reason"]


def test_readers_of_a_run_come_from_a_table_to_compare_with(run: Path, given: Path) -> None:
    assert call(run, "--compare", given, "--reader", "score_other", "--cut", 0.5).exit_code == 0
    content = json.loads((run / "evaluation.json").read_text())
    assert [each["name"] for each in content["readers"]["each"]] == ["other"]
    assert [each["second"] for each in content["comparisons"]] == ["theirs, score"]
    with pytest.raises(UserInputError, match=r"--reader anna: found no such column of scores; in a table to compare"):
        call(run, "--compare", given, "--reader", "anna")


def test_readers_of_one_class_are_undefined_with_the_reason(given: Path, truth: Path, tmp_path: Path) -> None:
    pl.read_csv(truth).with_columns(cancer=pl.lit(0)).write_csv(truth)
    words = ("--scores", given, "--truth", truth, "--reader", "rating", "--scale", "rating=1:5", "--cut", 0.5)
    assert call(*words, "-o", tmp_path / "out").exit_code == 0
    reason = "undefined: no case among 120 with a known outcome, needs cases and controls"
    readers = json.loads((tmp_path / "out/evaluation.json").read_text())["readers"]
    assert readers["reasons"] == [reason]
    assert readers["each"][0]["sensitivity"] == {"value": None, "interval": None, "reason": reason}
    assert f'<p class="quiet">{reason.capitalize()}.</p>' in (tmp_path / "out/report.html").read_text()


def test_marks_are_held_against_lesions(run: Path, cohort: pl.DataFrame, tmp_path: Path) -> None:
    """Every case is marked in its lesion, and every tenth control somewhere."""
    cases = cohort.filter(pl.col("cancer"))["image_id"].to_list()
    controls = cohort.filter(~pl.col("cancer"))["image_id"].to_list()[::10]
    lesions, marks = tmp_path / "lesions.csv", tmp_path / "marks.csv"
    box = {"top": 10, "left": 10, "bottom": 20, "right": 20}
    pl.DataFrame([{"image_id": name, **box} for name in cases]).write_csv(lesions)
    rows = [{"image_id": name, "x": 15.0, "y": 12.0, "score": 0.9} for name in cases]
    rows += [{"image_id": name, "x": 5.0, "y": 5.0, "score": 0.95} for name in controls]
    pl.DataFrame(rows).write_csv(marks)
    assert call(run, "--marks", marks, "--lesions", lesions).exit_code == 0
    found = json.loads((run / "evaluation.json").read_text())["localisation"]
    assert (found["n_lesions"], found["n_false_marks"]) == (24, 22)
    assert found["pointing_game"]["value"] == pytest.approx(1)
    by_rate = {point["false_marks_per_image"]: point["sensitivity"]["value"] for point in found["points"]}
    assert by_rate[0.125] == pytest.approx(1)  # 22 / 240 is fewer
    assert "Where it looked" in (run / "report.html").read_text()
    with pytest.raises(UserInputError, match=r"found one of --marks and --lesions, expected both; give the other too"):
        call(run, "--marks", marks)


def test_marks_in_images_of_unknown_outcome_are_left_out_and_counted(
    run: Path, cohort: pl.DataFrame, tmp_path: Path
) -> None:
    """The outcome of one of the cases is not known: one of two lesions, and two of three marks."""
    first, other = cohort.filter(pl.col("cancer")).unique("exam_id", maintain_order=True)["image_id"].to_list()[:2]
    exam = cohort.filter(pl.col("image_id") == first)["exam_id"].item()
    unknown = pl.when(pl.col("exam_id") == exam).then(None).otherwise("cancer")
    write_scores(cohort.with_columns(cancer=unknown), run / "scores.parquet")
    lesions, marks = tmp_path / "lesions.csv", tmp_path / "marks.csv"
    box = {"top": 10, "left": 10, "bottom": 20, "right": 20}
    pl.DataFrame([{"image_id": name, **box} for name in (first, other)]).write_csv(lesions)
    pl.DataFrame({"image_id": [first, first, other], "x": [15, 5, 15], "y": 15, "score": 0.9}).write_csv(marks)
    result = call(run, "--marks", marks, "--lesions", lesions)
    assert result.exit_code == 0
    sentence = "marks: 2 of 3 marks and 1 of 2 lesions are left out, whose images have no known outcome"
    assert f"warning: {sentence}" in result.stderr
    content = json.loads((run / "evaluation.json").read_text())
    assert content["remarks"] == ["groups: the cohort of the run is not at hand; name it with --cohort", sentence]
    assert (content["localisation"]["n_lesions"], content["localisation"]["n_false_marks"]) == (1, 0)
    assert sentence in (run / "report.html").read_text()


def test_marks_are_judged_before_anything_is_measured(
    run: Path, cohort: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesions, marks = tmp_path / "lesions.csv", tmp_path / "marks.csv"
    box = {"top": 10, "left": 10, "bottom": 20, "right": 20}
    pl.DataFrame([{"image_id": cohort["image_id"][0], **box}]).write_csv(lesions)
    pl.DataFrame({"image_id": ["elsewhere"], "x": [15], "y": [15], "score": [0.9]}).write_csv(marks)
    monkeypatch.setattr("mammoscope.evaluation.evaluation.evaluate", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(TableError, match=r"marks: 1 of 1 are in images that are not among the 240 looked at"):
        call(run, "--marks", marks, "--lesions", lesions)


def test_a_card_and_a_checklist_are_filled_from_the_run(run: Path, store: Path) -> None:
    name_store(run, store)
    (run / "recipe.toml").write_text("seed = 3\n")
    call(run)
    assert "| seed | 3 |" in (run / "model-card.md").read_text()
    assert "120 of 120" not in (run / "claim.md").read_text()
    content = json.loads((run / "evaluation.json").read_text())
    assert [step["name"] for step in content["data_flow"]["steps"]] == ["found", "indexed", "prepared", "used"]
    assert "From found to measured" in (run / "report.html").read_text()


def test_weights_of_the_best_epoch_are_remarked_on(run: Path) -> None:
    (run / "environment.json").write_text(json.dumps({"schema_version": 1, "keep": "best"}))
    call(run)
    assert "so that all figures are somewhat too good" in (run / "report.html").read_text()
    (run / "environment.json").write_text(json.dumps({"schema_version": 1, "keep": "last"}))
    call(run)
    assert "somewhat too good" not in (run / "report.html").read_text()


def test_a_prevalence_reaches_thresholds_and_calibration(run: Path) -> None:
    call(run, "--prevalence", 0.01)
    content = json.loads((run / "evaluation.json").read_text())
    assert content["prevalence"] == content["operating_points"]["prevalence"] == pytest.approx(0.01)
    assert content["calibration"]["before"]["prevalence"] == pytest.approx(0.01)
    assert content["levels"]["breast"]["at_prevalence"]["prevalence"] == pytest.approx(0.01)


def test_groups_of_a_run_come_from_its_cohort(run: Path, cohort: pl.DataFrame, tmp_path: Path) -> None:
    table = tmp_path / "facts.csv"
    halves = pl.col("patient_id").str.slice(-1).is_in(["0", "1", "2", "3", "4"])
    cohort.select("image_id", "exam_id", "laterality", density=pl.when(halves).then(pl.lit("A"))).write_csv(table)
    call(run)
    columns = [each["column"] for each in json.loads((run / "evaluation.json").read_text())["groups"]]
    assert "density" not in columns
    call(run, "--cohort", table)
    columns = [each["column"] for each in json.loads((run / "evaluation.json").read_text())["groups"]]
    assert "density" in columns


def test_one_of_run_and_scores_is_asked_for(run: Path, given: Path) -> None:
    for words in ((), (run, "--scores", given)):
        with pytest.raises(UserInputError, match="expected the folder of a run or --scores FILE, and not both"):
            call(*words)


def test_one_class_only_is_summed_up_as_undefined(run: Path, cohort: pl.DataFrame) -> None:
    write_scores(cohort.filter(~pl.col("cancer")), run / "scores.parquet")
    result = call(run)
    assert result.exit_code == 0
    assert "undefined: no case among 108 with a known outcome" in result.stdout


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a folder"):
        call(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"found no scores\.parquet"):
        call(tmp_path)


def test_bad_scores_are_refused_before_anything_is_written(run: Path, cohort: pl.DataFrame) -> None:
    cohort.with_columns(score=pl.lit(float("nan"))).write_parquet(run / "scores.parquet")
    with pytest.raises(TableError, match="score: found NaN"):
        call(run)
    assert [path.name for path in run.iterdir()] == ["scores.parquet"]


def test_too_few_replicates_are_refused(run: Path) -> None:
    assert call(run, replicates=99).exit_code == 2
