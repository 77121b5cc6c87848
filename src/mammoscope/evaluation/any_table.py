"""Tables that others wrote, as CSV, Parquet or JSON lines, and their columns as text, numbers and outcomes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.anatomy import Laterality
from mammoscope.cohort.manifest import name_rows
from mammoscope.cohort.sources.columns import spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import find_separator, read_csv_table
from mammoscope.errors import TableError

_SUFFIXES: Final = (".csv", ".parquet", ".jsonl")
# pandas writes 0 and 1 beside an empty cell as 0.0 and 1.0
_FLAG_BY_TEXT: Final = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
IDS: Final = ("image_id", "patient_id", "exam_id")
_TEXTS: Final = ("site", "machine")
WHAT_A_ROW_IS: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(IDS, pl.String()),
    "laterality": pl.String(),
    "view": pl.String(),
    "cancer": pl.Boolean(),
    "fold": pl.Int64(),
    **dict.fromkeys(_TEXTS, pl.String()),
}


def read_any_table(path: Path) -> pl.DataFrame:
    """The columns of a .csv (comma or semicolon; all text), .parquet or .jsonl file, with a row at least.

    Raises:
        TableError: another suffix, no such file, a file that cannot be read as what it is called, or no row.
    """
    if not path.is_file():
        raise TableError(f"{path}: no such file; check the path")
    if path.suffix not in _SUFFIXES:
        raise TableError(f"{path}: found suffix {path.suffix!r}, expected one of {', '.join(_SUFFIXES)}")
    try:
        table = _read(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(f"{path}: cannot be read as {path.suffix[1:]}; write it anew ({error})") from error
    nested = [name for name, dtype in table.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        raise TableError(
            f"{path}: found lists or bytes in {', '.join(nested)}, expected texts and numbers; flatten them"
        )
    if table.is_empty():
        raise TableError(f"{path}: found no row, expected one for each image, breast or exam")
    return table


def describe_rows(table: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """What the rows are of: `row` (from 1) and the columns of `WHAT_A_ROW_IS`, null where missing; and the problems.

    `prediction_id` stands for patient and side, as in the competition's file: `10130_L`.
    """
    if "prediction_id" in table.columns:
        table = _split_prediction_id(table)
    problems: list[str] = []
    columns = [pl.Series("row", range(1, table.height + 1), dtype=pl.Int64)]
    for name, dtype in WHAT_A_ROW_IS.items():
        if name not in table.columns:
            columns.append(pl.Series(name, [None] * table.height, dtype=dtype))
            continue
        column, problem = _read_column(table[name], name, dtype)
        columns.append(column)
        problems += problem
    return pl.DataFrame(columns), problems


def as_numbers(column: pl.Series) -> tuple[pl.Series, list[str]]:
    """A column as numbers, null where a cell is empty, and what is no number."""
    numbers = _blank_to_null(column).cast(pl.Float64, strict=False)
    has_comma = column.dtype == pl.String and column.str.contains(r"^\s*-?\d*,\d+\s*$").any()
    return numbers, _lost(column, numbers, "a number with a decimal point" if has_comma else "a number")


def name_some(rows: pl.Series, n_all: int, what: str) -> str:
    """How many of all things have a fault, and the rows of the first: `3 of 400 scores … (rows 5, 9, 12)`.

    `what` says what they are and what is wrong with them, with a verb for several.
    """
    return f"{len(rows):,} of {n_all:,} {what} ({name_rows(rows.to_list())})"


def find_torn(rows: pl.DataFrame, key: Sequence[str], what: str) -> Iterator[str]:
    """The things of a key, called `what`, that have more than one outcome."""
    groups = rows.drop_nulls(key).group_by(key, maintain_order=True).agg("row", pl.col("cancer").n_unique())
    torn = groups.filter(pl.col("cancer") > 1)
    if torn.height:
        found = f"{torn.height:,} of {groups.height:,} {what} have different outcomes"
        yield f"cancer: {found} ({name_rows(torn['row'].explode().to_list())}); expected one each"


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return read_csv_table(path, separator=find_separator(path))
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path, infer_schema_length=None)


def _split_prediction_id(table: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("prediction_id").cast(pl.String).str.extract_groups(r"^(?<patient_id>.+)_(?<laterality>[^_]*)$")
    own = table.select(parts.alias("parts")).unnest("parts")
    return table.with_columns(own[name] for name in own.columns if name not in table.columns)


def _read_column(column: pl.Series, name: str, dtype: pl.DataType) -> tuple[pl.Series, list[str]]:
    if column.dtype.is_float():
        column = column.fill_nan(None)  # as pandas writes an empty cell
    if dtype == pl.Boolean:
        text = _as_text(column).str.to_lowercase()
        flags = text.replace_strict(_FLAG_BY_TEXT, default=None, return_dtype=pl.Boolean).alias(name)
        return flags, _lost(column, flags, "0, 1 or nothing")
    if dtype == pl.Int64:
        numbers = _as_text(column).cast(pl.Int64, strict=False)
        return numbers, _lost(column, numbers, "a whole number")
    text = _as_text(column)
    if name == "laterality":
        sides = spell_sides(text)
        known = sides.is_in([str(side) for side in Laterality])
        return sides, _lost(column, pl.select(pl.when(known).then(sides)).to_series(), "L or R")
    return (spell_views(text) if name == "view" else text), []


def _as_text(column: pl.Series) -> pl.Series:
    """As text, null where nothing stands; 10130.0, which pandas makes of 10130 beside an empty cell, as 10130."""
    if column.dtype.is_float():
        known = column.drop_nulls()
        if (known == known.round(0)).all():
            column = column.cast(pl.Int64, strict=False)
    return _blank_to_null(column.cast(pl.String))


def _blank_to_null(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column
    stripped = column.str.strip_chars()
    return pl.select(pl.when(stripped != "").then(stripped).alias(column.name)).to_series()


def _lost(column: pl.Series, read: pl.Series, expected: str) -> list[str]:
    """The problem of the cells that held something and could not be read."""
    rows = (_blank_to_null(column).is_not_null() & read.is_null()).arg_true()
    if rows.is_empty():
        return []
    found = f"{column.name}: " + name_some(rows + 1, len(column), "values cannot be read")
    return [f"{found}, the first is {column[int(rows[0])]!r}; expected {expected}"]
