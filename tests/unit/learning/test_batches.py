from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from mammoscope.cohort.balance import STRATEGIES
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import (
    Draw,
    EpochSampler,
    EpochShare,
    StorePictures,
    held_out_batches,
    to_network_input,
    training_batches,
)
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]


@pytest.fixture
def pictures(tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> StorePictures:
    """The 32 pictures of the tiny cohort with an outcome."""
    return StorePictures(tiny_manifest.filter(pl.col("cancer").is_not_null()), tiny_store)


@pytest.fixture
def rows(tiny_manifest: pl.DataFrame) -> pl.DataFrame:
    """The 32 rows of these pictures: 8 of cases, 24 of controls."""
    return tiny_manifest.filter(pl.col("cancer").is_not_null())


def _order(sampler: EpochSampler, epoch: int = 0) -> list[Draw]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_epoch_of_all_is_the_permutation_of_seed_fold_and_epoch(recipe_of: RecipeOf, rows: pl.DataFrame) -> None:
    """Cut to whole batches; every picture is changed as the recipe says."""
    sampler = EpochSampler(rows, recipe_of("seed=3", "batch.size=12"), fold=1)
    for epoch in (2, 0):
        expected = np.random.default_rng((3, 1, epoch)).permutation(32)[:24].tolist()
        assert _order(sampler, epoch) == [((position,), 1.0) for position in expected]
    assert len(sampler) == 24


def test_an_epoch_of_matched_controls_is_a_permutation_of_the_patients_with_cancer(
    recipe_of: RecipeOf, rows: pl.DataFrame
) -> None:
    sampler = EpochSampler(rows, recipe_of("sampling=matched-controls"), fold=0)
    eligible = np.flatnonzero(rows["patient_id"].is_in(["patient0", "patient1", "patient4", "patient5"]).to_numpy())
    expected = eligible[np.random.default_rng((0, 0, 5)).permutation(16)].tolist()
    assert _order(sampler, 5) == [((position,), 1.0) for position in expected]


def test_an_epoch_depends_on_seed_fold_and_epoch_alone(recipe_of: RecipeOf, rows: pl.DataFrame) -> None:
    first = _order(EpochSampler(rows, recipe_of("seed=3"), fold=1), epoch=2)
    sampler = EpochSampler(rows, recipe_of("seed=3"), fold=1)
    _order(sampler, epoch=0)
    np.random.default_rng().random()
    assert _order(sampler, epoch=2) == first
    others = [EpochSampler(rows, recipe_of("seed=4"), fold=1), EpochSampler(rows, recipe_of("seed=3"), fold=0)]
    assert all(_order(other, epoch=2) != first for other in others)
    assert _order(sampler, epoch=3) != first


@pytest.mark.parametrize("sampling", STRATEGIES)
def test_every_epoch_has_the_same_whole_batches(recipe_of: RecipeOf, rows: pl.DataFrame, sampling: str) -> None:
    sampler = EpochSampler(rows, recipe_of(f"sampling={sampling}", "batch.size=5"), fold=0)
    assert len(sampler) % 5 == 0
    for epoch in range(3):
        drawn = sampler.draw(epoch)
        assert drawn.height == len(sampler) > 0
        expected = [((position,), strength) for position, strength in drawn.select("position", "strength").iter_rows()]
        assert _order(sampler, epoch) == expected
        assert rows[drawn["position"]]["image_id"].equals(drawn["image_id"])
        assert sampler.draw_images(epoch)["image_id"].equals(drawn["image_id"])


@pytest.mark.parametrize(("size", "micro"), [(12, 12), (12, 4), (32, 2), (5, 1)])
def test_an_epoch_draws_whole_batches_of_size_in_parts_of_micro(
    recipe_of: RecipeOf, pictures: StorePictures, rows: pl.DataFrame, size: int, micro: int
) -> None:
    recipe = recipe_of(f"batch.size={size}", f"batch.micro={micro}")
    loader = training_batches(pictures, EpochShare(EpochSampler(rows, recipe, fold=0)))
    sizes = [len(batch.targets) for batch in loader]
    assert sizes == [micro] * (32 // size * size // micro)
    assert len(loader) == len(sizes)


def test_parts_hold_the_pictures_that_the_whole_batch_holds(
    recipe_of: RecipeOf, pictures: StorePictures, rows: pl.DataFrame
) -> None:
    whole, parts = (
        list(training_batches(pictures, EpochShare(EpochSampler(rows, recipe_of("batch.size=12", *micro), fold=0))))
        for micro in ([], ["batch.micro=4"])
    )
    assert [len(batch.targets) for batch in whole] == [12, 12]
    assert torch.equal(torch.cat([part.pictures for part in parts]), torch.cat([each.pictures for each in whole]))


def test_a_batch_says_how_strongly_each_picture_is_changed(
    recipe_of: RecipeOf, pictures: StorePictures, rows: pl.DataFrame
) -> None:
    recipe = recipe_of("sampling=upsample", "balance.repeat_strength=2.0", "batch.size=8")
    batches = list(training_batches(pictures, EpochShare(EpochSampler(rows, recipe, fold=0))))
    drawn = [
        (target, strength) for batch in batches for target, strength in zip(batch.targets, batch.strengths, strict=True)
    ]
    # 24 controls and 8 cases, and 16 repeats of cases
    assert sorted((float(target), strength) for target, strength in drawn) == (
        [(0.0, 1.0)] * 24 + [(1.0, 1.0)] * 8 + [(1.0, 2.0)] * 16
    )


def test_a_batch_holds_pictures_with_their_own_outcomes(
    recipe_of: RecipeOf,
    pictures: StorePictures,
    rows: pl.DataFrame,
    tiny_store: PreparedStore,
    tiny_manifest: pl.DataFrame,
) -> None:
    cancer_by_picture = {
        tiny_store.read(image_id).tobytes(): cancer
        for image_id, cancer in tiny_manifest.select("image_id", "cancer").iter_rows()
    }
    for batch in training_batches(pictures, EpochShare(EpochSampler(rows, recipe_of("batch.size=8"), fold=0))):
        for picture, target in zip(batch.pictures, batch.targets, strict=True):
            assert cancer_by_picture[picture.numpy().tobytes()] is bool(target)


def test_held_out_pictures_come_all_and_in_their_order(pictures: StorePictures) -> None:
    batches = list(held_out_batches(pictures, size=10))
    assert [len(batch.targets) for batch in batches] == [10, 10, 10, 2]
    assert torch.equal(torch.cat([batch.targets for batch in batches]), pictures.targets)
    assert torch.equal(batches[1].pictures[3], pictures[Draw((13,))].pictures[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stored_greys_become_shares_of_white(dtype: type[np.uint8 | np.uint16]) -> None:
    white = np.iinfo(dtype).max
    stored = np.array([[[0, white // 5, white]]], dtype=dtype)
    grey = to_network_input(torch.from_numpy(stored), rows=None, columns=None)
    assert grey.shape == (1, 1, 1, 3)
    assert grey.dtype == torch.float32
    assert grey.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_the_size_is_kept_where_none_is_asked_for() -> None:
    stored = torch.randint(0, 256, (2, 8, 6), dtype=torch.uint8)
    assert torch.equal(to_network_input(stored, rows=8, columns=6), to_network_input(stored, rows=None, columns=None))


def test_a_smaller_size_averages_and_does_not_skip() -> None:
    """Stripes of two pixels are grey when shrunk to a quarter, where sampling their middles would give white."""
    stripes = torch.zeros(1, 32, 32, dtype=torch.uint8)
    stripes[:, :, 1::4] = stripes[:, :, 2::4] = 255
    small = to_network_input(stripes, rows=8, columns=8)
    assert small.shape == (1, 1, 8, 8)
    assert (small[..., 2:6] - 0.5).abs().max() < 0.02
    means = functional.avg_pool2d(stripes[None].float() / 255, 4)[0]
    torch.testing.assert_close(small[0, :, :, 2:6], means[:, :, 2:6], atol=0.02, rtol=0)


def test_a_larger_size_may_be_asked_for() -> None:
    stored = torch.full((1, 8, 6), 51, dtype=torch.uint8)
    large = to_network_input(stored, rows=16, columns=18)
    assert large.shape == (1, 1, 16, 18)
    assert torch.allclose(large, torch.tensor(0.2))


def test_the_labels_of_pictures_come_with_them(
    pictures: StorePictures, rows: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    """Of each picture of each draw, in their order."""
    places = torch.arange(rows.height)
    asked = StorePictures(rows, tiny_store, labels={"view": places, "density": 100 + places})
    labels = asked.__getitems__([Draw((3, 7)), Draw((1,), 2.0)]).labels
    assert labels is not None
    assert {head: each.tolist() for head, each in labels.items()} == {"view": [3, 7, 1], "density": [103, 107, 101]}
    assert pictures[Draw((0,))].labels is None
