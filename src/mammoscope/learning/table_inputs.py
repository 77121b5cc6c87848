"""What a network is given of the manifest beside the picture, encoded as the images that were trained on say.

A number is standardised by the mean and spread of the training images, with a flag beside it where it is missing. A
category or a flag is the number of its value among those of the training images; a missing one and one that training
never saw have numbers of their own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from mammoscope.config import Settings, build_settings
from mammoscope.errors import ConfigError, RunError, TableError
from mammoscope.files import write_json

NUMBERS: Final = ("age_years",)
SHORTCUTS: Final = ("site", "machine", "manufacturer", "source")
"""Columns that tell where and how an image was made, and cancer by where a cohort has its cases from."""
CATEGORIES: Final = ("density", "birads", "implant", "view", "laterality", *SHORTCUTS)
COLUMNS: Final = (*NUMBERS, *CATEGORIES)
"""The columns of a manifest that a network can be given, those of `SHORTCUTS` only where a recipe says so aloud."""
OUTCOMES: Final = ("biopsy", "invasive", "difficult_negative")
"""Columns that follow from the outcome, and that nobody knows before it."""

MISSING: Final = 0
UNKNOWN: Final = 1
"""The numbers of a missing value, and of one that training never saw; those of the vocabulary follow."""
_FIRST_VALUE: Final = 2
_IMAGES_NAMED: Final = 3

NumberT = TypeVar("NumberT", np.float32, np.int64)


class TableSettings(Settings):
    """The columns of the manifest that a network is given, in what widths; none where `columns` is empty.

    `embedding` is the width of a category, `hidden` that of the table's own layer; `dropout` the chance that an example
    in training comes without its table.
    """

    columns: tuple[str, ...] = ()
    embedding: Annotated[int, Field(ge=1)] = 4
    hidden: Annotated[int, Field(ge=1)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    allow_shortcuts: bool = False

    @field_validator("columns")
    @classmethod
    def _refuse_what_no_network_may_have(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for column in columns:
            if column in OUTCOMES:
                raise ValueError(
                    f"{column!r} follows from the outcome, so that a network that is given it has been told the "
                    "answer; leave it out"
                )
            if column not in COLUMNS:
                raise ValueError(f"{column!r} is nothing that a network can be given; expected of {', '.join(COLUMNS)}")
        if len(set(columns)) < len(columns):
            raise ValueError("expected each column once")
        return columns


class NumberColumn(Settings):
    """A column of numbers, with mean and spread (standard deviation) of the images that were trained on."""

    name: str
    mean: float
    spread: Annotated[float, Field(gt=0)]


class CategoryColumn(Settings):
    """A column of categories or flags, with the values that the images that were trained on have, as text, sorted."""

    name: str
    values: tuple[str, ...]


class EncodedTable(NamedTuple):
    """What an encoder makes of rows.

    `numbers` are (row, number): the standardised value of each column, 0 where it is missing, then for each column 1
    where it is missing, else 0. `categories` are (row, category): `MISSING`, `UNKNOWN`, or the place in the vocabulary.
    """

    numbers: NDArray[np.float32]
    categories: NDArray[np.int64]


class TableGap(NamedTuple):
    """A column with the number of images for which it is not known, and of those with a value new to a network."""

    column: str
    n_missing: int
    n_unseen: int


class TableEncoder(Settings):
    """How the rows of a manifest become the input of a network; of one fold, from the images that it trains on."""

    schema_version: Literal[1] = 1
    numbers: tuple[NumberColumn, ...]
    categories: tuple[CategoryColumn, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the manifest that are encoded."""
        return (*(column.name for column in self.numbers), *(column.name for column in self.categories))

    @property
    def n_values(self) -> tuple[int, ...]:
        """How many numbers each category can have, with those of a missing and of an unknown value."""
        return tuple(_FIRST_VALUE + len(column.values) for column in self.categories)

    def encode(self, rows: pl.DataFrame) -> EncodedTable:
        """The rows as numbers and categories.

        Raises:
            TableError: a number is not finite.
        """
        known = [_read_numbers(rows, column.name) for column in self.numbers]
        scaled = [(each - column.mean) / column.spread for each, column in zip(known, self.numbers, strict=True)]
        values = [each.fill_null(0.0) for each in scaled] + [each.is_null() for each in known]
        categories = [_number_values(rows[column.name], column.values) for column in self.categories]
        return EncodedTable(_stack(values, rows.height, np.float32), _stack(categories, rows.height, np.int64))


def fit_table_encoder(rows: pl.DataFrame, settings: TableSettings) -> TableEncoder:
    """The encoder of the settings' columns, from the rows of a manifest that are trained on.

    Raises:
        ConfigError: a column has nothing to learn from: it is missing in all rows, or a number is the same in all.
        TableError: a number is not finite.
    """
    return TableEncoder(
        numbers=tuple(_fit_number(rows, name) for name in settings.columns if name in NUMBERS),
        categories=tuple(_fit_category(rows, name) for name in settings.columns if name in CATEGORIES),
    )


def count_gaps(encoders: Sequence[TableEncoder], rows: pl.DataFrame) -> tuple[TableGap, ...]:
    """For each column of the encoders of a run, what of it the rows lack, and what of it is new to one of them."""
    if not encoders:
        return ()
    is_unseen = np.any([encoder.encode(rows).categories == UNKNOWN for encoder in encoders], axis=0)  # (row, category)
    places = {column.name: place for place, column in enumerate(encoders[0].categories)}
    return tuple(
        TableGap(name, rows[name].null_count(), int(is_unseen[:, places[name]].sum()) if name in places else 0)
        for name in encoders[0].columns
    )


def write_table_encoder(encoder: TableEncoder, path: Path) -> None:
    """Write an encoder as JSON, whole or not at all."""
    write_json(path, encoder.model_dump(mode="json"))


def read_table_encoder(path: Path, settings: TableSettings) -> TableEncoder:
    """The encoder of a run's fold.

    Raises:
        RunError: the file is missing or torn, of another schema version, or of other columns than the settings'.
    """
    try:
        encoder = build_settings(TableEncoder, json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise RunError(f"{path}: not the table of this run's network ({error}); restore it, or train again") from error
    if set(encoder.columns) != set(settings.columns):
        raise RunError(
            f"{path}: found the columns {', '.join(encoder.columns)}, expected those of recipe.toml, "
            f"{', '.join(settings.columns)}; restore it, or train again"
        )
    return encoder


def _fit_number(rows: pl.DataFrame, name: str) -> NumberColumn:
    known = _read_numbers(rows, name).drop_nulls().to_numpy()
    if len(np.unique(known)) < 2:  # noqa: PLR2004  # one value has no spread
        found = f"{known[0]:g}" if len(known) else "missing"
        raise _refuse_empty(name, found, rows.height, expected="different numbers")
    return NumberColumn(name=name, mean=float(known.mean()), spread=float(known.std()))


def _fit_category(rows: pl.DataFrame, name: str) -> CategoryColumn:
    values = rows[name].drop_nulls().cast(pl.String).unique().sort().to_list()
    if not values:
        raise _refuse_empty(name, "missing", rows.height, expected="a value in some")
    return CategoryColumn(name=name, values=tuple(values))


def _refuse_empty(name: str, found: str, n_rows: int, *, expected: str) -> ConfigError:
    return ConfigError(
        f"table.columns: found {name!r}, which is {found} in all {n_rows} images to train on; expected {expected}; "
        "leave it out"
    )


def _read_numbers(rows: pl.DataFrame, name: str) -> pl.Series:
    numbers = rows[name].cast(pl.Float64)
    bad = rows.filter(~numbers.is_finite())  # null is none of them
    if bad.is_empty():
        return numbers
    named = ", ".join(bad["image_id"].head(_IMAGES_NAMED))
    more = f" and {bad.height - _IMAGES_NAMED} more" if bad.height > _IMAGES_NAMED else ""
    raise TableError(
        f"column {name}: found {bad[name][0]} for the images {named}{more}, expected finite numbers, or nothing where "
        "none is known; correct the manifest"
    )


def _number_values(column: pl.Series, values: Sequence[str]) -> pl.Series:
    number_by_value: dict[str | None, int] = {value: number for number, value in enumerate(values, start=_FIRST_VALUE)}
    number_by_value[None] = MISSING
    numbers = [number_by_value.get(value, UNKNOWN) for value in column.cast(pl.String)]
    return pl.Series(column.name, numbers, dtype=pl.Int64)


def _stack(columns: Sequence[pl.Series], n_rows: int, dtype: type[NumberT]) -> NDArray[NumberT]:
    stacked = np.zeros((n_rows, len(columns)), dtype)
    for place, column in enumerate(columns):
        stacked[:, place] = column.to_numpy()
    return stacked  # (row, column)
