"""Which scores of an earlier run may say what is hard: those of nearly all controls, given on the same folds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.scores import write_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import EpochSampler
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.scoring import tabulate_scores
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import add_scores, select_rows

RecipeOf = Callable[..., Recipe]
SaveScores = Callable[[pl.DataFrame], Path]


@pytest.fixture
def training(tiny_manifest: pl.DataFrame) -> pl.DataFrame:
    """The images of fold 1: 4 of cases and 12 of controls."""
    return tiny_manifest.filter(pl.col("fold") == 1, pl.col("cancer").is_not_null())


@pytest.fixture
def save(tmp_path: Path) -> SaveScores:
    def save_scores(rows: pl.DataFrame) -> Path:
        logits = PictureLogits(np.linspace(-1, 1, rows.height), np.zeros(rows.height))
        write_scores(tabulate_scores(rows, logits, "mean"), tmp_path / "scores.parquet")
        return tmp_path / "scores.parquet"

    return save_scores


def without_controls(training: pl.DataFrame, n: int) -> pl.DataFrame:
    controls = training.filter(~pl.col("cancer"))["image_id"]
    return training.filter(~pl.col("image_id").is_in(controls[:n].implode()))


def test_all_images_have_their_scores(training: pl.DataFrame, save: SaveScores) -> None:
    scored = add_scores(training, save(training.reverse()))
    assert scored.columns == [*training.columns, "score"]
    assert scored["score"].is_sorted(descending=True)
    assert scored["score"].null_count() == 0


def test_one_control_in_ten_may_lack_a_score(training: pl.DataFrame, save: SaveScores) -> None:
    assert add_scores(training, save(without_controls(training, 1)))["score"].null_count() == 1
    with pytest.raises(TableError, match=r"has a score of 10 of 12 controls that are trained on, expected 90% or more"):
        add_scores(training, save(without_controls(training, 2)))


def test_scores_of_one_control_are_not_enough(training: pl.DataFrame, save: SaveScores) -> None:
    with pytest.raises(TableError, match="has a score of 1 of 12 controls"):
        add_scores(training, save(without_controls(training, 11)))


@pytest.mark.parametrize("fold", [0, 2])
def test_scores_of_other_folds_are_refused(training: pl.DataFrame, save: SaveScores, fold: int) -> None:
    of_four = pl.when(pl.int_range(pl.len()) < 4).then(pl.lit(fold, pl.Int64)).otherwise("fold")
    path = save(training.with_columns(fold=of_four))
    with pytest.raises(
        TableError, match=r"has 4 of 16 images in another fold than the manifest; give scores\.parquet of"
    ):
        add_scores(training, path)


def test_scores_of_a_cross_validation_are_refused_for_who_is_never_held_out(
    training: pl.DataFrame, save: SaveScores
) -> None:
    """Its networks trained on whoever is in the hold-out."""
    path = save(training)
    with pytest.raises(TableError, match="has 16 of 16 images in another fold than the manifest"):
        add_scores(training.with_columns(fold=pl.lit(None, pl.Int64)), path)


def test_scores_without_folds_are_taken_as_they_are(training: pl.DataFrame, save: SaveScores) -> None:
    path = save(training.with_columns(fold=pl.lit(None, pl.Int64)))
    assert add_scores(training, path)["score"].null_count() == 0


@pytest.mark.parametrize("fold", [0, 1])
def test_scores_of_held_out_patients_do_not_bring_them_in(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, save: SaveScores, fold: int
) -> None:
    determined = tiny_manifest.filter(pl.col("cancer").is_not_null())
    path = save(determined.sort(pl.col("fold") == fold))  # the held-out ones are the hardest
    recipe = recipe_of("sampling=hard-negatives", f"balance.scores={path}")
    trained, held_out = select_rows(tiny_manifest, tiny_store, fold=fold, recipe=recipe)
    assert not set(trained["patient_id"]) & set(held_out["patient_id"])
    drawn = EpochSampler(trained, recipe, fold=fold).draw_images(0)
    assert drawn.height
    assert not set(drawn["patient_id"]) & set(held_out["patient_id"])
