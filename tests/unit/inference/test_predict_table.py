"""Prediction with runs whose networks are given the table beside the picture."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pydicom
import pytest
import torch

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.errors import MammoscopeError, RunError
from mammoscope.evaluation.scores import read_scores, write_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.collect import Prediction
from mammoscope.inference.engine import score_pictures
from mammoscope.inference.reading import PreparedFile, prepare_file, tasks_from_folder, tasks_from_table
from mammoscope.learning.network import build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import fit_table_encoder, write_table_encoder
from mammoscope.learning.training import train_fold, write_weights

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
Predict = Callable[..., Prediction]
CliRun = Callable[..., tuple[int, str, str]]
CPU = torch.device("cpu")
COLUMNS = ("age_years", "density", "implant", "view", "laterality")
ASSIGNMENT = f"table.columns={list(COLUMNS)}"


@pytest.fixture
def manifest(tiny_manifest: pl.DataFrame) -> pl.DataFrame:
    """The tiny cohort with ages, of which one is not known in each fold, densities and implants."""
    number = pl.col("patient_id").str.tail(1).cast(pl.Int64)
    return tiny_manifest.with_columns(
        age_years=pl.when(number.is_between(2, 3)).then(None).otherwise(40.0 + 5 * number),
        density=pl.when(number % 3 > 0).then(pl.when(number < 3).then(pl.lit("B")).otherwise(pl.lit("C"))),
        implant=number > 6,
    )


@pytest.fixture
def trained(recipe_of: RecipeOf, manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun) -> Run:
    """A run of fold 0, at a rate that makes its scores differ."""
    run = start_tiny_run(recipe_of(ASSIGNMENT, "optimizer.rate=0.01", "table.dropout=0.2"))
    train_fold(run, manifest, tiny_store, fold=0, on_step=lambda _: None)
    return run


@pytest.fixture
def table_run(recipe_of: RecipeOf, start_tiny_run: StartRun, random_run: Run) -> Run:
    """A run of two folds with random weights; fold 1 has seen more densities and other ages than fold 0."""
    run = start_tiny_run(recipe_of(ASSIGNMENT, "table.hidden=64"))
    for fold, densities in enumerate(("AB", "ABCD")):
        n_twice = len(densities) // 2
        rows = pl.DataFrame(
            {
                "image_id": list(densities),
                "age_years": [40.0 + fold, 60.0] * n_twice,
                "density": list(densities),
                "implant": [False, True] * n_twice,
                "view": ["CC", "MLO"] * n_twice,
                "laterality": ["L", "R"] * n_twice,
            }
        )
        encoder = fit_table_encoder(rows, run.recipe.table)
        torch.manual_seed(fold)
        write_weights(build_network(run.recipe, encoder), run.weights_path(fold))
        write_table_encoder(encoder, run.table_path(fold))
        write_scores(read_scores(random_run.fold_path(fold) / "scores.parquet"), run.fold_path(fold) / "scores.parquet")
    return run


@pytest.fixture
def images(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))


# from a table


def test_prediction_is_the_out_of_fold_scoring_of_the_same_rows(
    trained: Run, manifest: pl.DataFrame, predict: Predict
) -> None:
    out_of_fold = read_scores(trained.fold_path(0) / "scores.parquet")
    held_out = manifest.filter(pl.col("fold") == 0, pl.col("cancer").is_not_null())
    bundle = open_bundle(trained.path, CPU)
    prediction = predict(bundle, tasks_from_table(held_out, bundle.prepare))
    for ours, level in ((prediction.image_scores, "image"), (prediction.breast_scores, "breast")):
        key = ["exam_id", "laterality", *(["image_id"] if level == "image" else [])]
        both = ours.join(out_of_fold.filter(pl.col("level") == level), on=key, validate="1:1", suffix="_of_fold")
        assert both.height == ours.height == {"image": 16, "breast": 8}[level]
        assert (both["score"] - both["score_of_fold"]).abs().max() < 1e-6  # type: ignore[operator]  # of numbers there is one
    assert prediction.image_scores["score"].n_unique() == 16

    aged = held_out.with_columns(age_years=pl.lit(80.0))
    other = predict(bundle, tasks_from_table(aged, bundle.prepare)).image_scores
    assert (other["score"] - prediction.image_scores["score"]).abs().max() > 1e-4  # type: ignore[operator]  # as above


def test_batches_and_the_order_of_tasks_change_nothing_that_matters(
    trained: Run, manifest: pl.DataFrame, predict: Predict
) -> None:
    bundle = open_bundle(trained.path, CPU)
    tasks = tasks_from_table(manifest, bundle.prepare)
    first = predict(bundle, tasks)
    for size, order in ((16, tasks[::-1]), (5, tasks[3:] + tasks[:3]), (1, tasks)):
        other = predict(bundle, order, batch_size=size)
        assert other.image_scores["image_id"].equals(first.image_scores["image_id"])
        assert other.image_scores["score"].to_list() == pytest.approx(first.image_scores["score"].to_list(), abs=1e-6)
        assert other.gaps == first.gaps


def test_what_a_table_lacks_or_training_never_saw_is_counted(
    table_run: Run, manifest: pl.DataFrame, predict: Predict
) -> None:
    """Fold 0 knows no density C; the refused image does not count."""
    bundle = open_bundle(table_run.path, CPU)
    rows = manifest[:8].with_columns(
        age_years=pl.Series([None, None, None, *[50.0] * 5]),
        density=pl.Series(["A", "B", "C", "C", "D", None, None, None]),
        path=pl.when(pl.int_range(8) == 7).then(pl.lit("nowhere.png")).otherwise("path"),
    )
    prediction = predict(bundle, tasks_from_table(rows, bundle.prepare))
    assert len(prediction.rejections) == 1
    counted = {gap.column: (gap.n_missing, gap.n_unseen) for gap in prediction.gaps}
    none = (0, 0)
    assert counted == {"age_years": (3, 0), "density": (2, 3), "implant": none, "view": none, "laterality": none}


def test_a_run_without_a_table_has_no_gaps(random_run: Run, manifest: pl.DataFrame, predict: Predict) -> None:
    bundle = open_bundle(random_run.path, CPU)
    assert bundle.encoders == ()
    assert predict(bundle, tasks_from_table(manifest[:2], bundle.prepare)).gaps == ()


# from headers


def test_headers_say_what_they_can(images: Path, table_run: Run) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PatientAge, dataset.BreastImplantPresent, dataset.Manufacturer = "057Y", "YES", "Maker"
    dataset.save_as(path)
    prepared = prepare_file(tasks_from_folder(path, table_run.prepare)[0])
    assert isinstance(prepared, PreparedFile), prepared
    facts = prepared.facts
    assert (facts["age_years"], facts["implant"], facts["manufacturer"]) == (57.0, True, "Maker")
    assert (facts["view"], facts["laterality"]) == (dataset.ViewPosition, dataset.ImageLaterality)
    assert facts["machine"] == dataset.ManufacturerModelName
    assert set(facts) <= set(SCHEMA)
    assert not set(facts) & {"site", "source", "density", "birads"}  # no header says them


def test_the_age_of_a_header_moves_the_score_of_its_image_alone(images: Path, table_run: Run, predict: Predict) -> None:
    bundle = open_bundle(table_run.path, CPU)
    before = predict(bundle, tasks_from_folder(images, bundle.prepare))
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PatientAge = "100Y"
    dataset.save_as(path)
    after = predict(bundle, tasks_from_folder(images, bundle.prepare))
    moved = (before.image_scores["score"] - after.image_scores["score"]).abs() > 1e-6
    assert after.image_scores.filter(moved)["image_id"].to_list() == [dataset.SOPInstanceUID]
    assert [gap.n_missing for gap in after.gaps if gap.column == "density"] == [8]


def test_a_header_without_age_counts_as_missing(images: Path, table_run: Run, predict: Predict) -> None:
    for path in sorted(images.rglob("*.dcm"))[:3]:
        dataset = pydicom.dcmread(path)
        dataset.PatientAge = ""
        dataset.save_as(path)
    bundle = open_bundle(table_run.path, CPU)
    gaps = {gap.column: gap.n_missing for gap in predict(bundle, tasks_from_folder(images, bundle.prepare)).gaps}
    assert gaps == {"age_years": 3, "density": 8, "implant": 0, "view": 0, "laterality": 0}


# the command


def test_the_summary_counts_what_was_missing(
    run_cli: CliRun, table_run: Run, images: Path, phantoms: Path, tmp_path: Path
) -> None:
    given = ("--table", phantoms / "test.csv", "--workers", 1, "--json")
    code, out, err = run_cli("predict", table_run.path, images, "-o", tmp_path / "out", *given)
    assert code == 0, err
    facts = json.loads(out)
    assert {name: count for name, count in facts.items() if name.startswith("images_with")} == {
        "images_without_density": 8
    }
    warning = "warning: density: not known of 8 of 8 images, which the networks are told\n"
    assert warning in err
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == facts


def test_the_summary_counts_values_that_training_never_saw(
    run_cli: CliRun, table_run: Run, images: Path, tmp_path: Path
) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.ViewPosition = "AT"
    del dataset.ViewCodeSequence, dataset.SeriesDescription
    dataset.save_as(path)
    code, out, err = run_cli("predict", table_run.path, images, "-o", tmp_path / "out", "--workers", 1, "--json")
    assert code == 0, err
    assert json.loads(out)["images_with_a_new_view"] == 1
    assert "warning: view: 1 of 8 images have a value that no training had, taken as unknown\n" in err


# what is torn


def test_a_run_without_the_encoder_of_a_fold_is_refused(table_run: Run) -> None:
    table_run.table_path(1).unlink()
    with pytest.raises(RunError, match=r"folds/1/table\.json: not the table of this run's network .*; restore it, or"):
        open_bundle(table_run.path, CPU)


def test_the_encoder_of_another_network_is_refused(table_run: Run) -> None:
    shutil.copy(table_run.table_path(1), table_run.table_path(0))
    with pytest.raises(
        RunError, match=r"folds/0/weights\.safetensors: not the weights of this run's network \(.*embed"
    ):
        open_bundle(table_run.path, CPU)


def test_pictures_without_their_rows_are_refused(table_run: Run, tiny_store: PreparedStore) -> None:
    with pytest.raises(MammoscopeError, match="network: found no table beside the pictures"):
        score_pictures(open_bundle(table_run.path, CPU), [tiny_store.read("0LCC")])
