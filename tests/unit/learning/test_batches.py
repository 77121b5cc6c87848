import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import (
    EpochShuffle,
    StorePictures,
    held_out_batches,
    to_network_input,
    training_batches,
)
from mammoscope.learning.recipe import BatchSettings


@pytest.fixture
def pictures(tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> StorePictures:
    """The 32 pictures of the tiny cohort with an outcome."""
    return StorePictures(tiny_manifest.filter(pl.col("cancer").is_not_null()), tiny_store)


def _order(shuffle: EpochShuffle, epoch: int = 0) -> list[int]:
    shuffle.set_epoch(epoch)
    return list(shuffle)


def test_a_shuffle_gives_every_position_once() -> None:
    order = _order(EpochShuffle(20, seed=3, fold=1))
    assert order != list(range(20))
    assert sorted(order) == list(range(20))


def test_a_shuffle_depends_on_seed_fold_and_epoch_alone() -> None:
    first = _order(EpochShuffle(20, seed=3, fold=1), epoch=2)
    shuffle = EpochShuffle(20, seed=3, fold=1)
    _order(shuffle, epoch=0)
    np.random.default_rng().random()
    assert _order(shuffle, epoch=2) == first
    others = [EpochShuffle(20, seed=4, fold=1), EpochShuffle(20, seed=3, fold=0)]
    assert all(_order(other, epoch=2) != first for other in others)
    assert _order(shuffle, epoch=3) != first


def test_a_shuffle_may_draw_less_than_all() -> None:
    shuffle = EpochShuffle(20, seed=3, fold=1, n_drawn=16)
    drawn = [_order(shuffle, epoch) for epoch in range(2)]
    assert [len(set(order)) for order in drawn] == [16, 16]
    assert len(shuffle) == 16
    assert set(drawn[0]) != set(drawn[1])


@pytest.mark.parametrize(("size", "micro"), [(12, None), (12, 4), (12, 12), (32, 2), (5, 1)])
def test_an_epoch_draws_whole_batches_of_size_in_parts_of_micro(
    pictures: StorePictures, size: int, micro: int | None
) -> None:
    loader = training_batches(pictures, BatchSettings(size=size, micro=micro), seed=0, fold=0)
    sizes = [len(batch.targets) for batch in loader]
    assert sizes == [micro or size] * (32 // size * size // (micro or size))
    assert len(loader) == len(sizes)


def test_parts_hold_the_pictures_that_the_whole_batch_holds(pictures: StorePictures) -> None:
    whole = list(training_batches(pictures, BatchSettings(size=12), seed=0, fold=0))
    parts = list(training_batches(pictures, BatchSettings(size=12, micro=4), seed=0, fold=0))
    assert torch.equal(torch.cat([part.pictures for part in parts]), torch.cat([each.pictures for each in whole]))


def test_a_batch_holds_pictures_with_their_own_outcomes(
    pictures: StorePictures, tiny_store: PreparedStore, tiny_manifest: pl.DataFrame
) -> None:
    cancer_by_picture = {
        tiny_store.read(image_id).tobytes(): cancer
        for image_id, cancer in tiny_manifest.select("image_id", "cancer").iter_rows()
    }
    for batch in training_batches(pictures, BatchSettings(size=8), seed=1, fold=0):
        for picture, target in zip(batch.pictures, batch.targets, strict=True):
            assert cancer_by_picture[picture.numpy().tobytes()] is bool(target)


def test_held_out_pictures_come_all_and_in_their_order(pictures: StorePictures) -> None:
    batches = list(held_out_batches(pictures, size=10))
    assert [len(batch.targets) for batch in batches] == [10, 10, 10, 2]
    assert torch.equal(torch.cat([batch.targets for batch in batches]), pictures.targets)
    assert torch.equal(batches[1].pictures[3], pictures[13].pictures[0])


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
