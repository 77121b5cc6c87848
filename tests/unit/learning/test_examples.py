from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.balance import STRATEGIES
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import EpochSampler, EpochShare, StorePictures, training_batches
from mammoscope.learning.examples import list_examples
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]


@pytest.fixture
def rows(tiny_manifest: pl.DataFrame) -> pl.DataFrame:
    """32 rows of 16 breasts, 4 of them cases, in no order."""
    return tiny_manifest.filter(pl.col("cancer").is_not_null()).sample(fraction=1.0, shuffle=True, seed=1)


def test_an_image_is_its_own_example(rows: pl.DataFrame) -> None:
    examples = list_examples(rows, "image")
    assert examples["positions"].to_list() == [[position] for position in range(32)]
    assert examples.drop("positions").equals(rows)


def test_a_breast_is_one_example_with_all_its_images(rows: pl.DataFrame) -> None:
    """Difficult when one of its images is, unknown when none is known to be, and of the mean score."""
    scored = rows.with_columns(
        score=pl.int_range(pl.len()).cast(pl.Float64),
        difficult_negative=pl.when(pl.col("image_id").is_in(["0RCC", "2LCC"])).then(pl.col("image_id") == "0RCC"),
    )
    examples = list_examples(scored, "breast")
    assert examples.height == 16
    for example in examples.iter_rows(named=True):
        images = scored[example["positions"]]
        assert set(images["exam_id"] + images["laterality"]) == {example["exam_id"] + example["laterality"]}
        assert images.height == 2
        assert images["cancer"].to_list() == [example["cancer"]] * 2
        assert example["score"] == pytest.approx(images["score"].mean())
    difficult = {
        (exam, side): flag for exam, side, flag in examples.select("exam_id", "laterality", "difficult_negative").rows()
    }
    assert difficult["exam0", "R"] is True
    assert difficult["exam2", "L"] is None
    assert sorted(position for each in examples["positions"] for position in each) == list(range(32))


@pytest.mark.parametrize("sampling", STRATEGIES)
def test_every_strategy_draws_whole_breasts(recipe_of: RecipeOf, rows: pl.DataFrame, sampling: str) -> None:
    sampler = EpochSampler(rows, recipe_of("level=breast", f"sampling={sampling}"), fold=0)
    drawn = sampler.draw(0)
    assert drawn.height == len(sampler) > 0
    for example in drawn.iter_rows(named=True):
        images = rows[example["positions"]]
        assert (images["exam_id"] == example["exam_id"]).all()
        assert (images["laterality"] == example["laterality"]).all()
        assert images.height == 2
    assert sampler.draw_images(0).height == 2 * drawn.height


def test_a_batch_says_which_pictures_are_of_which_breast(
    recipe_of: RecipeOf, rows: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    sampler = EpochSampler(rows, recipe_of("level=breast", "batch.size=4"), fold=0)
    batch = next(iter(training_batches(StorePictures(rows, tiny_store), EpochShare(sampler))))
    assert batch.pictures.shape[0] == 8
    assert batch.examples.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    drawn = sampler.draw(0)[:4]
    assert batch.targets.tolist() == [float(cancer) for cancer in drawn["cancer"]]
    expected = [tiny_store.read(rows["image_id"][place]) for each in drawn["positions"] for place in each]
    assert np.array_equal(batch.pictures.numpy(), np.stack(expected))


def test_breasts_of_many_views_give_some_of_them_others_in_each_epoch(recipe_of: RecipeOf, rows: pl.DataFrame) -> None:
    many = rows.with_columns(exam_id=pl.lit("exam"), laterality=pl.lit("L"), cancer=pl.lit(value=True))
    many = pl.concat([many, rows])
    sampler = EpochSampler(many, recipe_of("level=breast", "views.most=5", "batch.size=17"), fold=0)
    seen = []
    for epoch in (0, 1, 0):
        drawn = sampler.draw(epoch)
        assert drawn["positions"].list.len().max() == 5
        seen.append(set(drawn.filter(pl.col("exam_id") == "exam")["positions"][0]))
        assert len(seen[-1]) == 5
    assert seen[0] == seen[2] != seen[1]
