"""A sheet of an Excel workbook (.xlsx, .xls) as text, as a CSV file of it would have it.

Numbers are written without a fraction that is nothing: 20586908 and not 20586908.0. A date stays a date.
"""

from itertools import dropwhile
from pathlib import Path

import fastexcel
import polars as pl

from mammoscope.errors import TableError, UserInputError

EXCEL_SUFFIXES = frozenset({".xls", ".xlsx"})


def read_sheet(path: Path, sheet: str | None) -> list[list[str]]:
    """The lines of a sheet, the header first; empty text where nothing stands, or the error of a formula.

    Empty rows above the header and below the last are none. Those between stay: rows keep their number.

    Args:
        path: of a workbook that is there.
        sheet: the name of the sheet; None takes the one that is not empty.

    Raises:
        TableError: no workbook that can be read, or one without text; several sheets with text, and none named.
        UserInputError: no sheet of that name.
    """
    try:
        workbook = fastexcel.read_excel(path)
        if sheet is not None and sheet not in workbook.sheet_names:
            known = ", ".join(workbook.sheet_names)
            raise UserInputError(f"sheet: found {sheet!r}, but {path.name} has {known}; name one of them")
        names = workbook.sheet_names if sheet is None else [sheet]
        lines_by_sheet = {name: _read_lines(workbook, name) for name in names}
    except fastexcel.FastExcelError as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path}: cannot be read as an Excel workbook ({reason}); save it anew, or as CSV") from error
    filled = {name: lines for name, lines in lines_by_sheet.items() if lines}
    if len(filled) != 1:
        found = f"found several sheets ({', '.join(filled)})" if filled else "empty"
        advice = "name one (--sheet, or sheet in a mapping), or save it as CSV" if filled else "save it anew"
        raise TableError(f"{path}: {found}, expected one with a table; {advice}")
    return next(iter(filled.values()))


def _read_lines(workbook: fastexcel.ExcelReader, name: str) -> list[list[str]]:
    """The lines of a sheet between its first and its last that has text, without columns that have none."""
    table = workbook.load_sheet(name, header_row=None, dtypes="string").to_polars()
    filled = table.select(pl.all().str.strip_chars().fill_null(""))
    kept = filled.select(column for column in filled if (column != "").any())
    below = list(dropwhile(_is_empty, map(list, kept.rows())))
    return list(dropwhile(_is_empty, reversed(below)))[::-1]


def _is_empty(line: list[str]) -> bool:
    return not any(line)
