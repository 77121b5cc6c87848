import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.evaluation.scores import read_scores
from mammoscope.inference import inputs
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.decoders import decode_here
from mammoscope.inference.inputs import read_inputs
from mammoscope.inference.range_check import PictureMeasures, fit_range, measure_picture, write_range
from mammoscope.inference.reading import PreparedFile
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.run import Run, hash_weights

CliRun = Callable[..., tuple[int, str, str]]
Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture
def images(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))


@pytest.fixture
def predict(run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path) -> Predict:
    """Run `mammoscope predict` with the random run; exit code, stdout, stderr."""

    def run(*arguments: object, of: Path = images) -> tuple[int, str, str]:
        return run_cli("predict", random_run.path, of, "-o", tmp_path / "out", "--workers", 1, *arguments)

    return run


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes do is tested elsewhere; they take long to start."""
    monkeypatch.setattr(inputs, "decode_apart", lambda tasks, **_: decode_here(tasks))


def _measure(run: Run, phantoms: Path) -> tuple[list[PreparedFile], list[PictureMeasures]]:
    """The eight files as the run sees them, and what of each is held against training, four times."""
    given = read_inputs([phantoms / "test_images"], phantoms / "test.csv", run.prepare)
    files = [each for each in decode_here(given.tasks) if isinstance(each, PreparedFile)]
    return files, [measure_picture(each.pixels, each.placement, None) for each in files for _ in range(4)]


def _submission(folder: Path) -> dict[str, float]:
    with (folder / "submission.csv").open() as file:
        assert file.readline() == "prediction_id,cancer\n"
        return {row[0]: float(row[1]) for row in csv.reader(file)}


def test_a_table_gives_scores_and_the_competitions_file(
    predict: Predict, phantoms: Path, tmp_path: Path, random_run: Run
) -> None:
    code, out, err = predict("--table", phantoms / "test.csv", "--json")
    assert code == 0, err
    asked = set(pl.read_csv(phantoms / "test.csv")["prediction_id"])
    assert set(_submission(tmp_path / "out")) == asked
    assert json.loads(out) == json.loads((tmp_path / "out" / "summary.json").read_text())
    told = {
        "images_scored": 8,
        "images_refused": 0,
        "images_missing": 0,
        "images_unlike_training": 0,
        "breasts_scored": 4,
        "breasts_without_image": 0,
        "folds": "0, 1",
        "scores": str(tmp_path / "out" / "scores.csv"),
        "is_complete": True,
        "flips": "none",
        "calibration": "undefined: the run's held-out cases do not score above its controls",
    }
    assert told.items() <= json.loads(out).items()
    scores = read_scores(tmp_path / "out" / "scores.parquet")
    for suffix in ("csv", "jsonl"):
        assert scores.equals(read_scores(tmp_path / "out" / f"scores.{suffix}"))
    decisions = pl.read_parquet(tmp_path / "out" / "decisions.parquet")
    assert decisions.select("level", "image_id", "score").equals(scores.select("level", "image_id", "score"))
    assert pl.read_parquet(tmp_path / "out" / "prepared.parquet").height == 8
    assert dict(scores["level"].value_counts().iter_rows()) == {"image": 8, "breast": 4, "exam": 2}
    assert pl.read_parquet(tmp_path / "out" / "rejected.parquet").height == 0
    assert random_run.trained_folds == (0, 1)


def test_the_run_folder_is_all_that_is_needed(
    run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved elsewhere, without store, cohort, table or the weights that training started from."""
    (tmp_path / "elsewhere").mkdir()
    shutil.move(random_run.path, tmp_path / "elsewhere" / "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run_cli("predict", "run", images, "-o", "out", "--workers", 1)
    assert code == 0, err
    assert len(_submission(tmp_path / "elsewhere" / "out")) == 4


def test_a_breast_without_a_usable_image_gets_the_share_of_cases(
    predict: Predict, phantoms: Path, images: Path, tmp_path: Path
) -> None:
    """One file is missing, the other of its breast is no picture; one breast has lost one of two."""
    table = pl.read_csv(phantoms / "test.csv", infer_schema=False)
    first, second = (
        images / row[0] / f"{row[1]}.dcm" for row in table.select("patient_id", "image_id")[:2].iter_rows()
    )
    other = images / table["patient_id"][2] / f"{table['image_id'][2]}.dcm"
    first.unlink()
    second.write_text("a letter, and no picture")
    other.unlink()
    code, out, err = predict("--table", phantoms / "test.csv", "--json")
    assert code == 0, err
    facts = json.loads(out)
    counted = ("images_scored", "images_refused", "breasts_scored", "breasts_without_image")
    assert [facts[name] for name in counted] == [5, 3, 3, 1]
    submission = _submission(tmp_path / "out")
    assert set(submission) == set(table["prediction_id"])
    assert submission[table["prediction_id"][0]] == 0.25  # one of the four breasts that the run has scored is a case
    refused = pl.read_parquet(tmp_path / "out" / "rejected.parquet")
    assert sorted(refused["code"]) == ["not_dicom", "unreadable", "unreadable"]
    assert [line[:40] for line in err.splitlines() if "refused (" in line] == [
        "warning: refused (not_dicom): file 1: fo"
    ]
    assert "warning: the table names 2 images that have no file; rejected.parquet lists them\n" in err


@pytest.mark.parametrize(("fold", "engine"), [(0, "openvino"), (1, "openvino"), (1, "torch"), (7, "torch")])
def test_features_unlike_those_of_training_are_warned_of(
    predict: Predict, phantoms: Path, random_run: Run, fold: int, engine: str
) -> None:
    """By the network that the range is of, where it is there; training lies far away."""
    _, measures = _measure(random_run, phantoms)
    far = 1000 + np.random.default_rng(0).random((32, 96))
    weights = hash_weights(random_run).get(fold, "none")
    training = fit_range(measures, machines=[], features=far)
    write_range(training.model_copy(update={"fold": fold, "weights_sha256": weights}), random_run.path)
    code, _, err = predict("--table", phantoms / "test.csv", "--engine", engine)
    assert code == 0, err
    decisions = pl.read_parquet(random_run.path.parent / "out" / "decisions.parquet")
    warned = decisions.filter(pl.col("level") == "image")["warnings"].str.split(" ")
    assert warned.list.contains("unlike_features").to_list() == [fold in random_run.trained_folds] * 8

    n_unlike = 8 if fold in random_run.trained_folds else 0
    assert (
        json.loads((random_run.path.parent / "out" / "summary.json").read_text())["images_unlike_training"] == n_unlike
    )
    sentence = "warning: 8 of 8 images are unlike those of training; the warnings of decisions.csv say how\n"
    assert (sentence in err) == bool(n_unlike)


@pytest.mark.parametrize("fold", [0, 1])
def test_features_are_those_of_the_network_that_the_range_is_of(
    predict: Predict, phantoms: Path, random_run: Run, fold: int
) -> None:
    """Training lies where the network of the fold puts these pictures, and that of the other fold does not."""
    files, measures = _measure(random_run, phantoms)
    bundle = open_bundle(random_run.path, torch.device("cpu"))
    features = TorchEngine(bundle).score([each.pixels for each in files])[fold].features
    near = np.repeat(np.asarray(features, dtype=float), 4, axis=0)
    training = fit_range(measures, machines=[], features=near + np.random.default_rng(0).normal(size=near.shape) * 1e-3)
    for place, n_flagged in ((fold, 0), (1 - fold, 8)):
        update = {"fold": place, "weights_sha256": hash_weights(random_run)[place]}
        write_range(training.model_copy(update=update), random_run.path)
        assert predict("--table", phantoms / "test.csv", "--engine", "torch")[0] == 0
        decisions = pl.read_parquet(random_run.path.parent / "out" / "decisions.parquet")
        warned = decisions.filter(pl.col("level") == "image")["warnings"].str.split(" ")
        assert warned.list.contains("unlike_features").sum() == n_flagged


def test_features_of_weights_that_were_trained_anew_are_not_compared(
    predict: Predict, phantoms: Path, random_run: Run
) -> None:
    _, measures = _measure(random_run, phantoms)
    training = fit_range(measures, machines=[], features=1000 + np.random.default_rng(0).random((32, 96)))
    write_range(training.model_copy(update={"fold": 0, "weights_sha256": "of before"}), random_run.path)
    code, _, err = predict("--table", phantoms / "test.csv", "--engine", "torch")
    assert code == 0
    assert "unlike those of training" not in err


@pytest.mark.parametrize(("is_table", "are_models"), [(True, False), (False, False), (False, True)])
def test_machines_are_held_against_training_only_where_they_are_called_alike(
    predict: Predict, phantoms: Path, random_run: Run, is_table: bool, are_models: bool
) -> None:
    """A table has numbers for machines, and a header the name of the model."""
    _, measures = _measure(random_run, phantoms)
    training = fit_range(measures, machines=["another"])
    write_range(training.model_copy(update={"machines_are_models": are_models}), random_run.path)
    assert predict(*(("--table", phantoms / "test.csv") if is_table else ()))[0] == 0
    decisions = pl.read_parquet(random_run.path.parent / "out" / "decisions.parquet")
    warned = decisions.filter(pl.col("level") == "image")["warnings"].str.split(" ").list.contains("unlike_machine")
    assert warned.to_list() == [is_table or are_models] * 8


def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(
    run_cli: CliRun, random_run: Run, images: Path
) -> None:
    """The run itself too, whose scores would be lost."""
    before = {path: path.read_bytes() for path in random_run.path.rglob("*") if path.is_file()}
    code, _, err = run_cli("predict", random_run.path, images, "-o", random_run.path, "--workers", 1)
    assert code == 2
    assert "files or folders and no prediction among them, expected an empty or a new one; choose another folder" in err
    after = {path: path.read_bytes() for path in before}
    assert after == before


def test_one_file_may_be_given(predict: Predict, images: Path, tmp_path: Path) -> None:
    assert predict(of=min(images.rglob("*.dcm")))[0] == 0
    assert len(_submission(tmp_path / "out")) == 1


def test_the_same_again_gives_the_same_bytes(predict: Predict, phantoms: Path, tmp_path: Path) -> None:
    assert predict("--table", phantoms / "test.csv")[0] == 0
    before = (tmp_path / "out" / "scores.csv").read_bytes()
    assert predict("--table", phantoms / "test.csv")[0] == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == before


def test_a_run_whose_training_was_broken_off_predicts_with_what_is_done(
    predict: Predict, random_run: Run, images: Path
) -> None:
    shutil.rmtree(random_run.fold_path(1))
    assert not (random_run.path / "scores.parquet").exists()
    code, out, _ = predict("--json", of=min(images.rglob("*.dcm")))
    assert code == 0
    assert json.loads(out)["folds"] == "0"


def test_what_is_no_run_ends_with_2(run_cli: CliRun, tmp_path: Path, images: Path) -> None:
    code, out, err = run_cli("predict", tmp_path / "nowhere", images, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'nowhere'}: not a run folder, environment.json is missing")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_files_ends_with_2(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = predict(of=tmp_path / "empty")
    assert code == 2
    assert err == f"error: {tmp_path / 'empty'}: holds no file, expected DICOM files to read\n"


def test_a_table_of_none_of_the_files_ends_with_2(predict: Predict, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = predict("--table", phantoms / "test.csv", of=tmp_path / "empty")
    assert code == 2
    assert "found none of the table's 8 images" in err


def test_an_output_that_is_a_file_is_noticed_before_the_work(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_text("")
    monkeypatch.setattr("mammoscope.inference.session.Session", None)  # any call would be an internal error
    code, _, err = predict()
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'out'}: found a file, expected a folder; name another")


def test_a_finished_prediction_has_nothing_to_go_on_with(predict: Predict) -> None:
    assert predict("--resume")[0] == 0
    code, out, _ = predict("--resume")
    assert code == 0
    assert out.startswith("Nothing to do: the prediction is finished\n")


def test_a_run_of_another_version_ends_with_2(predict: Predict, random_run: Run) -> None:
    path = random_run.path / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    code, _, err = predict()
    assert code == 2
    assert "schema_version is 99, expected 1; use the version of mammoscope that made the run" in err


def test_a_folder_without_mammograms_ends_with_2(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("a letter, and no picture")
    code, _, err = predict(of=tmp_path / "letters")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: none of 1 files can be scored; the first: file 1: found 24 bytes")


def test_a_limit_of_time_is_kept_or_refused(predict: Predict) -> None:
    code, _, err = predict("--time-limit", "soon")
    assert (code, err) == (2, "error: --time-limit: found 'soon', expected a time above 0, such as 9h, 1h30m or 45s\n")
    code, _, err = predict("--when-late", "stop")
    assert code == 2
    assert err == "error: --when-late: found stop without a limit, expected --time-limit too; give both\n"
    code, out, err = predict("--time-limit", "9h", "--when-late", "degrade", "--json")
    assert code == 0, err
    assert json.loads(out)["is_complete"] is True


def test_time_that_is_up_leaves_a_submission_and_goes_on(predict: Predict, phantoms: Path, tmp_path: Path) -> None:
    given = ("--table", phantoms / "test.csv", "--json")
    code, _, err = predict(*given, "--time-limit", "0.000001s", "--when-late", "stop")
    assert code == 2
    assert "--time-limit: found time up before the first of 8 files was scored, expected more; give more" in err
    code, out, err = predict(*given, "--resume")
    assert code == 0, err
    assert json.loads(out)["images_scored"] == 8
    assert not (tmp_path / "out" / "parts").exists()


def test_ctrl_c_says_how_to_go_on(predict: Predict, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mammoscope.inference.torch_engine.TorchEngine.score", press)
    code, out, err = predict()
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "stopped by Ctrl-C; the same command with --resume goes on where it was"
