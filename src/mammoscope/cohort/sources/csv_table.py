"""Published tables as text, read strictly: what a lenient reader would fill, cut or rename is a problem here."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import raise_problems
from mammoscope.cohort.sources.workbook import EXCEL_SUFFIXES, read_sheet
from mammoscope.errors import TableError, UserInputError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def find_separator(path: Path) -> str:
    """A semicolon or tab where the header of a CSV file has those and no comma, as some spreadsheets write."""
    if not path.is_file():
        return ","  # which is found out when it is read
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return next((each for each in ";\t" if each in header and "," not in header), ",")


def read_table(path: Path, *, separator: str = ",", sheet: str | None = None) -> pl.DataFrame:
    """The columns of a CSV or Parquet file or an Excel workbook as text, stripped; null where nothing stands.

    Args:
        path: of the table; its suffix says what it is.
        separator: between the columns of a CSV file.
        sheet: the name of the sheet of a workbook; None takes the one that is not empty.

    Raises:
        TableError: what cannot be read as such, or a workbook of several sheets where none is named.
        UserInputError: a sheet that is not there, or of what is no workbook.
    """
    if path.suffix.lower() in EXCEL_SUFFIXES:
        _check_file(path, "an Excel workbook")
        return _to_table(read_sheet(path, sheet), where=path)
    if sheet is not None:
        raise UserInputError(f"sheet: found {sheet!r}, but {path.name} is no Excel workbook; leave it out")
    if path.suffix.lower() != ".parquet":
        return read_csv_table(path, separator=separator)
    _check_file(path, "a Parquet table")
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(f"{path}: cannot be read as Parquet ({error}); write the table anew") from error
    nested = [name for name, dtype in table.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        raise TableError(
            f"{path}: found lists or bytes in {', '.join(nested)}, expected texts and numbers; flatten them"
        )
    stripped = pl.all().str.strip_chars()
    return table.cast(pl.String).select(pl.when(stripped != "").then(stripped))


def read_csv_table(path: Path, *, separator: str = ",") -> pl.DataFrame:
    """The columns of a CSV file as text, stripped; null where nothing stands. Lines without any character are skipped.

    UTF-8 with or without byte order mark, line ends of any system.

    Raises:
        TableError: no such file, not UTF-8 text, no header or one that names a column twice, rows that are longer or
            shorter than the header.
    """
    _check_file(path, "a CSV table")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True, delimiter=separator) if line]
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text (byte {error.start}), expected a CSV table") from error
    except csv.Error as error:
        raise TableError(f"{path}: cannot be read as CSV ({error}); write the table anew") from error
    if not lines:
        raise TableError(f"{path}: empty, expected a CSV table with the names of its columns first")
    return _to_table([[text.strip() for text in line] for line in lines], where=path, separator=separator)


def require_columns(table: pl.DataFrame, required: Iterable[str], *, where: Path, advice: str) -> None:
    """Refuse a table without the columns that are needed.

    Raises:
        TableError: with the names of the missing and of the found ones.
    """
    missing = ", ".join(name for name in required if name not in table)
    if missing:
        raise TableError(f"{where}: columns missing: {missing}; found {', '.join(table.columns)}; {advice}")


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        found = "found a folder" if path.is_dir() else "no such file"
        raise TableError(f"{path}: {found}, expected {expected}; check the path")


def _to_table(lines: list[list[str]], *, where: Path, separator: str = ",") -> pl.DataFrame:
    names, *rows = lines
    raise_problems([*_name_problems(names, separator), *_length_problems(rows, len(names))], where=str(where))
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        {name: [text or None for text in column] for name, column in zip(names, columns, strict=True)},
        schema=dict.fromkeys(names, pl.String),
    )


def _name_problems(names: list[str], separator: str) -> Iterator[str]:
    if len(names) == 1:
        for other, word in _SEPARATORS.items():
            if other != separator and other in names[0]:
                expected = _SEPARATORS.get(separator, repr(separator))
                advice = f"save it with {expected}, or name the separator in a mapping (`mammoscope index table`)"
                yield f"header: separated by {word}, expected {expected}; {advice}"
    for name, count in Counter(names).items():
        if not name:
            yield f"header: found {count} columns without a name, expected a name for each"
        elif count > 1:
            yield f"column {name}: stands in the header {count} times, expected once"


def _length_problems(rows: Iterable[list[str]], n_columns: int) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if len(row) != n_columns:
            yield f"row {number}: found {len(row)} values, expected {n_columns}; is the file cut off?"
