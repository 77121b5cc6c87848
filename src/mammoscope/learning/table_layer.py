"""The part of a network that reads the table: numbers and categories to a vector beside the features of a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from mammoscope.errors import MammoscopeError
from mammoscope.learning.table_inputs import MISSING, UNKNOWN, EncodedTable, TableEncoder, TableSettings


class TableTensors(NamedTuple):
    """What the table says of pictures: numbers (picture, number) and categories (picture, category), as encoded.

    `shares` (picture,) multiply what the table's layer makes of it; None is 1.
    """

    numbers: torch.Tensor
    categories: torch.Tensor
    shares: torch.Tensor | None = None

    def take(self, places: Sequence[int]) -> "TableTensors":
        """What is said of some of the pictures, in the order of `places`."""
        shares = None if self.shares is None else self.shares[places]
        return TableTensors(self.numbers[places], self.categories[places], shares)

    def to(self, device: torch.device) -> "TableTensors":
        """The same on a device."""
        shares = None if self.shares is None else self.shares.to(device)
        return TableTensors(self.numbers.to(device), self.categories.to(device), shares)


class TableLayer(nn.Module):
    """What the table says of pictures to a vector for each, (picture, hidden).

    Whatever means that a value is missing or unknown starts at zero: what training never saw then says nothing, instead
    of something by chance.
    """

    def __init__(self, encoder: TableEncoder, settings: TableSettings) -> None:
        super().__init__()
        embeddings = [nn.Embedding(n, settings.embedding) for n in encoder.n_values]
        n_numbers = len(encoder.numbers)
        self.layer = nn.Linear(2 * n_numbers + len(embeddings) * settings.embedding, settings.hidden)
        with torch.no_grad():
            self.layer.weight[:, n_numbers : 2 * n_numbers] = 0.0
            for embedding in embeddings:
                embedding.weight[[MISSING, UNKNOWN]] = 0.0
        self.embeddings = nn.ModuleList(embeddings)

    def forward(self, table: TableTensors) -> torch.Tensor:
        """The vector of each picture."""
        embedded = [embed(table.categories[:, place]) for place, embed in enumerate(self.embeddings)]
        vectors = torch.relu(self.layer(torch.cat([table.numbers, *embedded], dim=1)))  # (picture, hidden)
        return vectors if table.shares is None else vectors * table.shares.unsqueeze(1)


def to_tensors(encoded: EncodedTable) -> TableTensors:
    """Encoded rows as tensors that share their memory."""
    return TableTensors(torch.from_numpy(encoded.numbers), torch.from_numpy(encoded.categories))


def join_table(features: torch.Tensor, table: TableTensors | None, layer: TableLayer | None) -> torch.Tensor:
    """The features of pictures with the vectors of their table behind them, (picture, channel + hidden).

    Without a layer they stay as they are.

    Raises:
        MammoscopeError: only one of the two is there.
    """
    if layer is None and table is None:
        return features
    if layer is None or table is None:
        found, expected = ("a table", "none") if layer is None else ("no table", "what the columns of the recipe say")
        raise MammoscopeError(
            f"network: found {found} beside the pictures, expected {expected}; give it what it learned"
        )
    return torch.cat([features, layer(table)], dim=1)  # (picture, channel + hidden)


def drop_table(
    table: TableTensors | None, examples: torch.Tensor, *, n_examples: int, chance: float, generator: torch.Generator
) -> TableTensors | None:
    """The table with that of each example left out by chance, for all its pictures at once.

    `examples` has the number of the example of each picture, 0 to `n_examples` - 1, (picture,). What stays is not made
    stronger: the network sees what it sees in prediction, or nothing. `generator` is of the CPU, as in `augment`.
    """
    if table is None or not chance:
        return table
    is_kept = torch.rand(n_examples, generator=generator) >= chance  # (example,)
    return table._replace(shares=is_kept.to(examples.device)[examples].to(table.numbers.dtype))
