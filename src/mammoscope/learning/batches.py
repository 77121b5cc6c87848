"""Prepared pictures in batches, in an order that depends on seed, fold and epoch alone."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import torch
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from mammoscope.cohort.balance import count_epoch
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.examples import draw_examples
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder
from mammoscope.learning.table_layer import TableTensors, to_tensors


class Batch(NamedTuple):
    """Pictures as stored, (picture, row, column) of 8 or 16 bits, and whose they are.

    `examples` has the number of the example of each picture, 0 and up, (picture,); `targets` are 0 or 1, (example,).
    `strengths` say how many times as much as the recipe says each picture is changed; empty is once. `table` is what
    the manifest says of each picture, None where the network is not given it; `labels` the answers to each further
    question, (picture,), as of `encode_labels`, None where there are no questions.
    """

    pictures: torch.Tensor
    examples: torch.Tensor
    targets: torch.Tensor
    strengths: tuple[float, ...] = ()
    table: TableTensors | None = None
    labels: dict[str, torch.Tensor] | None = None


class Pictures(NamedTuple):
    """Pictures to score, as stored, (picture, row, column), and what the table says of each where it is given."""

    stored: torch.Tensor
    table: TableTensors | None = None


class Draw(NamedTuple):
    """An example that is drawn: where its pictures stand among the rows, and how much they are changed."""

    positions: tuple[int, ...]
    strength: float = 1.0


class StorePictures(Dataset[Batch]):
    """The pictures and outcomes of manifest rows, and with an encoder their table; a list of draws gives a batch.

    `labels` are those of the rows, (row,), for each further question.

    Raises:
        TableError: a number of the table is not finite.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        store: PreparedStore,
        encoder: TableEncoder | None = None,
        *,
        labels: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.image_ids: list[str] = rows["image_id"].to_list()
        self.targets = torch.tensor(rows["cancer"].cast(pl.Float32).to_list())
        self.table = None if encoder is None else to_tensors(encoder.encode(rows))
        self.labels, self.store = labels, store

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, draw: Draw) -> Batch:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        positions = [position for draw in draws for position in draw.positions]
        pictures = [self.store.read(self.image_ids[position]) for position in positions]
        n_views = torch.tensor([len(draw.positions) for draw in draws])  # (example,)
        return Batch(
            torch.from_numpy(np.stack(pictures)),
            torch.repeat_interleave(n_views),
            self.targets[[draw.positions[0] for draw in draws]],
            tuple(draw.strength for draw in draws for _ in draw.positions),
            None if self.table is None else self.table.take(positions),
            None if self.labels is None else {head: labels[positions] for head, labels in self.labels.items()},
        )


class EpochSampler(Sampler[Draw]):
    """Whole batches of examples to train on, drawn anew for each epoch from (seed, fold, epoch) as the recipe says."""

    def __init__(self, rows: pl.DataFrame, recipe: Recipe, *, fold: int) -> None:
        self.rows, self.recipe, self.fold, self.epoch = rows, recipe, fold, 0
        drawn = self._draw(0)
        # both are of every epoch alike; the counts are before the pictures that fill no batch are left out by chance
        self.counts, self.n_drawn = count_epoch(drawn), drawn.height // recipe.batch.size * recipe.batch.size

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; Lightning calls this."""
        self.epoch = epoch

    def draw(self, epoch: int) -> pl.DataFrame:
        """The examples of an epoch in their order, with `positions` and `strength`."""
        return self._draw(epoch)[: self.n_drawn]

    def draw_images(self, epoch: int) -> pl.DataFrame:
        """The rows of the images of an epoch, as often as they come."""
        return self.rows[self.draw(epoch)["positions"].explode()]

    def __len__(self) -> int:
        return self.n_drawn

    def __iter__(self) -> Iterator[Draw]:
        for positions, strength in self.draw(self.epoch).select("positions", "strength").iter_rows():
            yield Draw(tuple(positions), strength)

    def _draw(self, epoch: int) -> pl.DataFrame:
        rng = np.random.default_rng((self.recipe.seed, self.fold, epoch))
        return _cut_views(draw_examples(self.rows, self.recipe, rng=rng), self.recipe.views.most, rng)


def _cut_views(examples: pl.DataFrame, most: int, rng: np.random.Generator) -> pl.DataFrame:
    """The examples with `most` of their images at the most, chosen by chance."""
    if (examples["positions"].list.len() <= most).all():
        return examples
    chosen = [sorted(rng.permutation(each)[:most].tolist()) for each in examples["positions"]]
    return examples.with_columns(pl.Series("positions", chosen, dtype=pl.List(pl.Int64)))


class EpochShare(Sampler[Draw]):
    """What one of `n_processes` draws of each epoch: every so-manieth example, in batches of `n_in_memory`.

    So all of them together draw the batches of `batch.size` that one alone would, each an equal share of every batch.
    After an interruption, the epoch that was under way begins where it was.
    """

    def __init__(self, sampler: EpochSampler, *, rank: int = 0, n_processes: int = 1) -> None:
        self.sampler, self.rank, self.n_processes = sampler, rank, n_processes
        self.n_in_memory = sampler.recipe.batch.count_in_memory(n_processes)
        self._n_left_out_by_epoch: dict[int, int] = {}

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; Lightning calls this."""
        self.sampler.set_epoch(epoch)

    def leave_out(self, n_batches: int, *, epoch: int) -> None:
        """Begin an epoch after so many batches in memory."""
        self._n_left_out_by_epoch = {epoch: n_batches * self.n_in_memory}

    def __len__(self) -> int:
        return len(self.sampler) // self.n_processes

    def __iter__(self) -> Iterator[Draw]:
        own = islice(self.sampler, self.rank, None, self.n_processes)
        yield from islice(own, self._n_left_out_by_epoch.get(self.sampler.epoch, 0), None)


def training_batches(pictures: StorePictures, share: EpochShare) -> DataLoader[Batch]:
    """The batches in memory of an epoch; examples that fill no whole batch of `batch.size` are not in it."""
    return _loader(pictures, share, share.n_in_memory)


def held_out_batches(pictures: StorePictures, *, size: int, rank: int = 0, n_processes: int = 1) -> DataLoader[Batch]:
    """All pictures in their own order, or the share of one of several processes: every so-manieth.

    Shares are equally long, filled up with the last picture, because the processes wait for each other at every batch.
    """
    n_each = -(-len(pictures) // n_processes)
    positions = [min(rank + number * n_processes, len(pictures) - 1) for number in range(n_each)]
    return _loader(pictures, [Draw((position,)) for position in positions], size)


def to_network_input(pictures: torch.Tensor, *, rows: int | None, columns: int | None) -> torch.Tensor:
    """Stored pictures (batch, row, column) as floats in [0, 1], (batch, 1, rows, columns); None keeps the size."""
    white = float(torch.iinfo(pictures.dtype).max)
    grey = (pictures.to(torch.float32) / white).unsqueeze(1)  # (batch, 1, row, column)
    if rows is not None and columns is not None and (rows, columns) != tuple(grey.shape[-2:]):
        grey = functional.interpolate(grey, size=(rows, columns), mode="bilinear", antialias=True)
    return grey.to(memory_format=torch.channels_last)


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401  # torch's signature says a list, but __getitems__ gives a Batch
    return batch


def _loader(pictures: StorePictures, draws: Iterable[Draw], size: int) -> DataLoader[Batch]:
    sampler = BatchSampler(cast("Iterable[int]", draws), size, drop_last=False)  # torch says int, but passes on any key
    return DataLoader(pictures, batch_sampler=sampler, collate_fn=_as_it_is)
