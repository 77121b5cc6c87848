"""Prepared pictures in batches, in an order that depends on seed, fold and epoch alone."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.recipe import BatchSettings


class Batch(NamedTuple):
    """Pictures as stored, (batch, row, column) of 8 or 16 bits; targets 0 or 1, (batch,)."""

    pictures: torch.Tensor
    targets: torch.Tensor


class StorePictures(Dataset[Batch]):
    """The pictures and outcomes of manifest rows; a list of positions gives a whole batch at once."""

    def __init__(self, rows: pl.DataFrame, store: PreparedStore) -> None:
        self.image_ids: list[str] = rows["image_id"].to_list()
        self.targets = torch.tensor(rows["cancer"].cast(pl.Float32).to_list())
        self.store = store

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        pictures = np.stack([self.store.read(self.image_ids[position]) for position in positions])
        return Batch(torch.from_numpy(pictures), self.targets[list(positions)])


class EpochShuffle(Sampler[int]):
    """Every position once, or the first `n_drawn`, shuffled anew for each epoch from (seed, fold, epoch)."""

    def __init__(self, n: int, *, seed: int, fold: int, n_drawn: int | None = None) -> None:
        self.n, self.seed, self.fold, self.epoch = n, seed, fold, 0
        self.n_drawn = n if n_drawn is None else n_drawn

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_drawn

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.fold, self.epoch)).permutation(self.n)[: self.n_drawn]
        return iter(order.tolist())


def training_batches(pictures: StorePictures, settings: BatchSettings, *, seed: int, fold: int) -> DataLoader[Batch]:
    """Shuffled batches of `micro` pictures; those that fill no whole batch of `size` wait for another epoch's order."""
    n_drawn = len(pictures) // settings.size * settings.size
    order = EpochShuffle(len(pictures), seed=seed, fold=fold, n_drawn=n_drawn)
    return _loader(pictures, BatchSampler(order, settings.micro or settings.size, drop_last=True))


def held_out_batches(pictures: StorePictures, *, size: int) -> DataLoader[Batch]:
    """All pictures in their own order."""
    return _loader(pictures, BatchSampler(SequentialSampler(pictures), size, drop_last=False))


def to_network_input(pictures: torch.Tensor, *, rows: int | None, columns: int | None) -> torch.Tensor:
    """Stored pictures (batch, row, column) as floats in [0, 1], (batch, 1, rows, columns); None keeps the size."""
    white = float(torch.iinfo(pictures.dtype).max)
    grey = (pictures.to(torch.float32) / white).unsqueeze(1)  # (batch, 1, row, column)
    if rows is not None and columns is not None and (rows, columns) != tuple(grey.shape[-2:]):
        grey = functional.interpolate(grey, size=(rows, columns), mode="bilinear", antialias=True)
    return grey.to(memory_format=torch.channels_last)


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401  # torch's signature says a list, but __getitems__ gives a Batch
    return batch


def _loader(pictures: StorePictures, sampler: BatchSampler) -> DataLoader[Batch]:
    return DataLoader(pictures, batch_sampler=sampler, collate_fn=_as_it_is)
