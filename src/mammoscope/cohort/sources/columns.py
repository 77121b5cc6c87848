"""Text columns of a published table as typed columns; what cannot be read is null, and noted with its row."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import polars as pl

from mammoscope.anatomy import parse_laterality, parse_view
from mammoscope.cohort.manifest import SCHEMA, Problem, name_rows
from mammoscope.errors import UserInputError
from mammoscope.exam import OLDEST_YEARS

ValueT = TypeVar("ValueT")

_FLAG_BY_TEXT = {"0": False, "1": True, "False": False, "True": True, "false": False, "true": True}


@dataclass(frozen=True, slots=True)
class ColumnReader:
    """Reads the columns of a table.

    Attributes:
        text: the table as text, a row for each of its lines, null where nothing stands.
        problems: grows by what could not be read.
        labels: what sentences call the rows; by number where none are given.
        columns: what sentences call the columns, where that is not their name.
    """

    text: pl.DataFrame
    problems: list[Problem] = field(default_factory=list)
    labels: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def flags(self, name: str) -> pl.Series:
        """0 and 1, or False and True, as booleans."""
        return self.codes(name, _FLAG_BY_TEXT, pl.Boolean(), expected="0 or 1")

    def numbers(self, name: str) -> pl.Series:
        """Finite numbers."""
        return self.read(name, _to_number, pl.Float64(), expected="a number")

    def whole_numbers(self, name: str) -> pl.Series:
        """Whole numbers; 4.0 is one."""
        return self.read(name, _to_whole_number, pl.Int64(), expected="a whole number")

    def ages(self, name: str) -> pl.Series:
        """Ages that the manifest takes, in years."""
        return self.read(name, _to_age, pl.Float64(), expected=f"0 to {OLDEST_YEARS} years")

    def codes(
        self, name: str, value_by_code: Mapping[str, ValueT], dtype: pl.DataType, *, expected: str = ""
    ) -> pl.Series:
        """What the codes of a column stand for; any other code is a problem."""
        expected = expected or f"one of {', '.join(value_by_code)}"
        return self.read(name, value_by_code.__getitem__, dtype, expected=expected)

    def read(
        self, name: str, convert: Callable[[str], ValueT], dtype: pl.DataType, *, expected: str, code: str = "bad_value"
    ) -> pl.Series:
        """The column through a function that raises KeyError, ValueError or UserInputError on what it cannot take."""
        column = self.text[name]
        value_by_text: dict[str, ValueT] = {}
        refused: list[str] = []
        for text in column.drop_nulls().unique():
            try:
                value_by_text[text] = convert(text)
            except (KeyError, ValueError, UserInputError):
                refused.append(text)
        for row in column.is_in(refused).fill_null(value=False).arg_true() if refused else ():
            self.note(row + 1, name, f"found {column[row]!r}, expected {expected}", code=code)
        values = [None if text is None else value_by_text.get(text) for text in column]
        return pl.Series(name, values, dtype=dtype)

    def note_all(self, rows: Sequence[int], finding: str, *, expected: str, code: str) -> None:
        """Add a problem of several rows, counted from 1."""
        where = ", ".join(self.labels[row - 1] for row in rows) if self.labels else name_rows(rows)
        self.problems.append(Problem(f"{finding} in {where}, expected {expected}", tuple(rows), code))

    def note(self, row: int, name: str, finding: str, *, code: str = "bad_value") -> None:
        """Add a problem of one row, counted from 1."""
        label = self.labels[row - 1] if self.labels else f"row {row}"
        self.problems.append(Problem(f"{label}, {self.columns.get(name, name)}: {finding}", (row,), code))


def find_disagreeing(rows: pl.DataFrame, identity: Sequence[str], column: str) -> list[list[int]]:
    """The rows, counted from 1, of each identity with several values of a column; unknown ones are passed over."""
    known = rows.select(*identity, column).with_row_index("at", offset=1).drop_nulls()
    groups = known.group_by(identity, maintain_order=True).agg("at", pl.col(column).n_unique().alias("count"))
    return groups.filter(pl.col("count") > 1)["at"].to_list()


def spell_sides(column: pl.Series) -> pl.Series:
    """The sides of a column in our spelling; what is unknown stays, to be found with the problems of the schema."""
    return _spell(column, parse_laterality)


def spell_views(column: pl.Series) -> pl.Series:
    """The views of a column in our spelling; what is unknown stays, to be found with the problems of the schema."""
    return _spell(column, parse_view)


def fill_schema(columns: Mapping[str, pl.Series | str], n_rows: int) -> pl.DataFrame:
    """Rows of the manifest's schema from the columns of a source; a text stands for all rows, the others are null."""
    filled = {name: columns.get(name) for name in SCHEMA}
    series = {
        name: value.cast(SCHEMA[name]) if isinstance(value, pl.Series) else pl.Series([value] * n_rows, dtype=dtype)
        for (name, value), dtype in zip(filled.items(), SCHEMA.values(), strict=True)
    }
    return pl.DataFrame(series)


def _spell(column: pl.Series, parse: Callable[[str], str]) -> pl.Series:
    code_by_text: dict[str | None, str | None] = {}
    for text in column.unique():
        try:
            code_by_text[text] = None if text is None else str(parse(text))
        except UserInputError:
            code_by_text[text] = text
    return pl.Series(column.name, [code_by_text[text] for text in column], dtype=pl.String)


def _to_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _to_age(text: str) -> float:
    age = _to_number(text)
    if not 0 <= age <= OLDEST_YEARS:
        raise ValueError("no age")
    return age


def _to_whole_number(text: str) -> int:
    number = _to_number(text)
    if not number.is_integer() or abs(number) >= 1 << 53:  # beyond, doubles have no fractions left
        raise ValueError("not whole")
    return int(number)
