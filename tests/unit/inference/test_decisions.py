"""Calibrated chances, calls and warnings beside the scores."""

from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import RunError
from mammoscope.evaluation.recalibration import Platt
from mammoscope.evaluation.scores import list_breasts, read_scores, write_scores
from mammoscope.exam import BREAST
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.collect import Prediction, collect_prediction
from mammoscope.inference.decisions import RunFigures, make_decisions, read_figures, write_table
from mammoscope.inference.export import export_run
from mammoscope.inference.exported import Export
from mammoscope.inference.journal import PART_SCHEMA
from mammoscope.inference.reading import ScoringTask
from mammoscope.learning.run import Run

FIGURES = RunFigures(0.1, Platt(1.0, -1.0), None, {"maximal_f1": 0.5, "recall_rate_3.5": 0.8})


def _predict(*images: tuple[str, str, str | None, float, dict[str, object]]) -> Prediction:
    """The prediction of images of one exam: id, side, view, logit, and what else its row says."""
    tasks = [ScoringTask(image_id, Path(image_id), None, PrepareSettings()) for image_id, *_ in images]
    rows = [
        {
            "key": task.key,
            "code": "ok",
            "patient_id": "p",
            "exam_id": "e",
            "laterality": side,
            "view": view,
            "image_id": image_id,
            "networks": [0],
            "cancer": [logit],
            "view_weight": [0.0],
            **more,
        }
        for task, (image_id, side, view, logit, more) in zip(tasks, images, strict=True)
    ]
    return collect_prediction(pl.DataFrame(rows, schema=PART_SCHEMA), tasks, n_networks=1, combination="mean")


def test_breasts_and_exams_get_chances_and_calls_and_images_none() -> None:
    """The left breast scores 0.5, the right sigmoid(1.5) = 0.8176; Platt takes 1 off each logit."""
    prediction = _predict(("a", "L", "CC", 0.0, {}), ("b", "L", "MLO", 0.0, {}), ("c", "R", "CC", 1.5, {}))
    decisions = make_decisions(prediction, FIGURES, n_networks=1)
    assert decisions["level"].to_list() == ["image"] * 3 + ["breast"] * 2 + ["exam"]
    assert decisions["probability"][:3].to_list() == [None] * 3
    assert decisions["probability"][3:].to_list() == pytest.approx([0.26894, 0.62246, 0.62246], abs=1e-5)
    assert decisions["maximal_f1"].to_list() == [None, None, None, True, True, True]
    assert decisions["recall_rate_3.5"].to_list() == [None, None, None, False, True, True]
    assert set(decisions["schema_version"]) == {1}


def test_what_is_odd_is_told_on_the_way_up() -> None:
    prediction = _predict(
        ("a", "L", "CC", 0.0, {"warnings": "wall_conflict", "remarks": ["unseen_machine"]}),
        ("b", "L", "ML", 0.0, {"doubt": "no_ground"}),
    )
    told = dict(make_decisions(prediction, FIGURES, n_networks=2).select("level", "warnings").iter_rows())
    ours = "breast_not_found fewer_networks"
    assert told["breast"] == f"{ours} unseen_machine wall_conflict"
    assert told["exam"] == f"{ours} missing_right unseen_machine wall_conflict"


@pytest.mark.parametrize(
    ("views", "told"),
    [
        (("CC", "MLO"), ""),
        (("CC",), "missing_mlo"),
        (("MLO", "MLO"), "missing_cc"),
        (("XCCL", "LMO"), ""),
        (("AT",), "missing_cc missing_mlo"),
        (("CC", None), "unknown_view"),
    ],
)
def test_a_missing_view_is_told(views: tuple[str | None, ...], told: str) -> None:
    prediction = _predict(*((str(number), "L", view, 0.0, {}) for number, view in enumerate(views)))
    decisions = make_decisions(prediction, FIGURES, n_networks=1)
    assert decisions.filter(pl.col("level") == "breast")["warnings"].to_list() == [told]


def test_a_run_gives_its_share_of_cases_thresholds_and_calibration(random_run: Run) -> None:
    """Its case scores below two controls, so that no map of scores to chances keeps their order."""
    figures = read_figures(random_run.path)
    assert figures.share_of_cases == 0.25
    assert figures.calibration is None
    assert figures.why_uncalibrated == "undefined: the run's held-out cases do not score above its controls"
    assert figures.threshold_by_point == {}
    assert figures.lowest_threshold is None
    decisions = make_decisions(_predict(("a", "L", "CC", 0.0, {})), figures, n_networks=1)
    assert decisions["probability"].null_count() == 3

    for fold in range(2):
        path = random_run.fold_path(fold) / "scores.parquet"
        scores = read_scores(path)
        write_scores(scores.with_columns(score=pl.when(pl.col("cancer")).then(0.9).otherwise(0.1)), path)
    calibration = read_figures(random_run.path).calibration
    assert calibration is not None
    assert calibration.slope > 0


def test_breasts_of_unknown_outcome_are_no_controls(random_run: Run) -> None:
    """Of four held-out breasts one is a case; of two others the outcome is not known: 1 of 2."""
    scores = [read_scores(random_run.fold_path(fold) / "scores.parquet") for fold in range(2)]
    controls = list_breasts(pl.concat(scores)).filter(~pl.col("cancer")).select(BREAST)
    unknown = controls.head(2).with_columns(is_unknown=pl.lit(value=True))
    for fold, table in enumerate(scores):
        joined = table.join(unknown, on=BREAST, how="left")
        cancer = pl.when(pl.col("is_unknown")).then(None).otherwise("cancer").alias("cancer")
        write_scores(joined.with_columns(cancer).drop("is_unknown"), random_run.fold_path(fold) / "scores.parquet")
    assert read_figures(random_run.path).share_of_cases == 1 / 2
    assert export_run(random_run.path, random_run.path / "export", n_pictures=4).record.share_of_cases == 1 / 2


def test_without_a_known_outcome_there_is_no_share_of_cases(random_run: Run) -> None:
    for fold in range(2):
        path = random_run.fold_path(fold) / "scores.parquet"
        write_scores(read_scores(path).with_columns(cancer=pl.lit(None, pl.Boolean)), path)
    with pytest.raises(RunError, match=r"found no known outcome among 4 held-out breasts, expected some for the share"):
        read_figures(random_run.path)


def test_one_outcome_calibrates_nothing(random_run: Run) -> None:
    path = random_run.fold_path(0) / "scores.parquet"
    write_scores(read_scores(path).with_columns(cancer=pl.lit(value=False)), path)
    figures = read_figures(random_run.path)
    assert figures.calibration is None
    assert "no case" in str(figures.why_uncalibrated)


def test_operating_points_that_are_torn_are_refused(random_run: Run) -> None:
    (random_run.path / "operating_points.json").write_text("{")
    with pytest.raises(RunError, match=r"operating_points\.json: not JSON"):
        read_figures(random_run.path)


def test_a_table_is_the_same_in_every_format(tmp_path: Path) -> None:
    decisions = make_decisions(_predict(("a", "L", "CC", 0.0, {})), FIGURES, n_networks=1)
    for suffix in (".parquet", ".csv", ".jsonl"):
        write_table(decisions, tmp_path / f"d{suffix}")
    assert pl.read_parquet(tmp_path / "d.parquet").equals(decisions)
    assert pl.read_csv(tmp_path / "d.csv").columns == decisions.columns
    assert pl.read_ndjson(tmp_path / "d.jsonl")["score"].to_list() == decisions["score"].to_list()


def test_an_export_that_knows_no_share_of_cases_is_refused(exported: Export) -> None:
    """Its run had no held-out scores."""
    assert exported.record.share_of_cases is None
    with pytest.raises(RunError, match=r"found no share of cases, which breasts without an image get; export anew"):
        read_figures(exported.path)
