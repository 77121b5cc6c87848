"""Published CSV tables as text, read strictly: what a lenient reader would fill, cut or rename is a problem here."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import raise_problems
from mammoscope.errors import TableError

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def read_csv_table(path: Path) -> pl.DataFrame:
    """The columns of a CSV file as text, stripped; null where nothing stands. Lines without any character are skipped.

    UTF-8 with or without byte order mark, commas, line ends of any system.

    Raises:
        TableError: no such file, not UTF-8 text, no header or one that names a column twice, rows that are longer or
            shorter than the header.
    """
    if not path.is_file():
        found = "found a folder" if path.is_dir() else "no such file"
        raise TableError(f"{path}: {found}, expected a CSV table; check the path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text (byte {error.start}), expected a CSV table") from error
    except csv.Error as error:
        raise TableError(f"{path}: cannot be read as CSV ({error}); write the table anew") from error
    if not lines:
        raise TableError(f"{path}: empty, expected a CSV table with the names of its columns first")
    names, *rows = [[text.strip() for text in line] for line in lines]
    raise_problems([*_name_problems(names), *_length_problems(rows, len(names))], where=str(path))
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        {name: [text or None for text in column] for name, column in zip(names, columns, strict=True)},
        schema=dict.fromkeys(names, pl.String),
    )


def _name_problems(names: list[str]) -> Iterator[str]:
    if len(names) == 1:
        for separator, word in _OTHER_SEPARATORS.items():
            if separator in names[0]:
                yield f"header: separated by {word}, expected commas"
    for name, count in Counter(names).items():
        if not name:
            yield f"header: found {count} columns without a name, expected a name for each"
        elif count > 1:
            yield f"column {name}: stands in the header {count} times, expected once"


def _length_problems(rows: Iterable[list[str]], n_columns: int) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if len(row) != n_columns:
            yield f"row {number}: found {len(row)} values, expected {n_columns}; is the file cut off?"
