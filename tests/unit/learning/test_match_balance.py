"""The table of a fold that says how even the match is that it was trained on."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.matching import MATCH_COLUMNS, tabulate_balance
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import EpochSampler
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import select_rows, train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
MATCHED = ("sampling=matched", 'balance.match=["view","age_years"]', "epochs=1", "batch.size=2")


@pytest.fixture
def aged(tiny_manifest: pl.DataFrame) -> pl.DataFrame:
    """The tiny cohort with ages that cases and controls do not share alike, and density that nobody matches by."""
    number = pl.col("patient_id").str.tail(1).cast(pl.Float64)
    return tiny_manifest.with_columns(
        age_years=50 + number, density=pl.when("cancer").then(pl.lit("D")).otherwise(pl.lit("A"))
    )


def test_a_matched_fold_says_how_even_it_is(
    recipe_of: RecipeOf, aged: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun
) -> None:
    recipe = recipe_of(*MATCHED)
    run = start_tiny_run(recipe)
    train_fold(run, aged, tiny_store, fold=0, on_step=lambda _: None)
    table = pl.read_csv(run.fold_path(0) / "balance.csv")
    assert table["column"].to_list() == list(MATCH_COLUMNS)
    assert table.filter("is_matched")["column"].to_list() == ["age_years", "view"]
    assert table.row(by_predicate=pl.col("column") == "density", named=True)["before"] is None  # wholly apart
    # the controls of the first epoch, as the sampler itself draws them
    rows, _ = select_rows(aged, tiny_store, fold=0, recipe=recipe)
    drawn = set(EpochSampler(rows, recipe, fold=0).draw_images(0)["image_id"])
    match = rows.select(pl.when(pl.col("image_id").is_in(drawn)).then(pl.col("exam_id").rank("dense")))  # any sets
    expected = tabulate_balance(rows, match.to_series(), columns=("age_years",)).row(0, named=True)
    found = table.row(by_predicate=pl.col("column") == "age_years", named=True)
    assert (found["before"], found["after"]) == pytest.approx((expected["before"], expected["after"]), abs=1e-5)
    assert np.isfinite(found["before"])


def test_another_sampling_has_no_such_table(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun
) -> None:
    run = start_tiny_run(recipe_of("epochs=1"))
    train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=lambda _: None)
    assert not (run.fold_path(0) / "balance.csv").exists()
