"""INbreast: `INbreast.xls` or `INbreast.csv`, and `AllDICOMs/<file>_<patient>_MG_<side>_<view>_ANON.dcm`.

The patient is known from the file names alone. The outcome follows from the BI-RADS category, by the rule, the worse
of its views deciding for a breast. Data card: docs/data-cards/inbreast.md.
"""

import re
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.anatomy import View
from mammoscope.cohort.manifest import ALLOWED_VALUES
from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import find_separator, read_table, require_columns
from mammoscope.cohort.sources.indexing import (
    Handling,
    ImagePlace,
    IndexedCohort,
    Origin,
    PublishedCounts,
    finish,
    index_by_name,
    settle,
)
from mammoscope.cohort.sources.outcomes import OutcomeRule, decide_outcomes, findings_by_birads

SOURCE: Final = "inbreast"
PUBLISHED: Final = PublishedCounts(images=410)  # doi:10.1016/j.acra.2011.09.014: 115 cases, 410 images
LAYOUT: Final = "<file>_<patient>_MG_<side>_<view>_ANON.dcm"
_COLUMNS: Final = ("Laterality", "View", "File Name", "ACR", "Bi-Rads")
_COLUMN_OF: Final = {"image_id": "File Name", "laterality": "Laterality", "view": "View"}
_FILE: Final = re.compile(r"([0-9]+)_([0-9a-f]+)_MG_([LR])_([A-Z]+)_ANON")
_BIRADS: Final = re.compile(r"([0-6])[abc]?", re.IGNORECASE)
_SIDES, _VIEWS = ALLOWED_VALUES["laterality"], ALLOWED_VALUES["view"]  # what else there is, the schema refuses
_DENSITY: Final = {"1": "A", "2": "B", "3": "C", "4": "D"}


def read_inbreast(
    table: Path, images: Path, *, rule: OutcomeRule, handling: Handling, sheet: str | None = None
) -> IndexedCohort:
    """The cohort of the table (of a sheet of a workbook, or CSV) and its files, which name the patients.

    Raises:
        TableError: a missing column, or bad values and contradictions that are refused.
        UserInputError: the folder lacks images and that is not allowed, or holds two files for one.
    """
    numbered = read_table(table, separator=find_separator(table), sheet=sheet).with_row_index("row", offset=1)
    require_columns(numbered, _COLUMNS, where=table, advice="give INbreast.xls or INbreast.csv")
    filled = numbered.filter(~pl.all_horizontal(pl.exclude("row").is_null()))  # sheets end in empty rows
    place = ImagePlace(images, LAYOUT)
    names = {match[1]: (match, path) for stem, path in index_by_name(place).items() if (match := _FILE.fullmatch(stem))}
    found = [names.get(name) for name in filled["File Name"]]
    labels = [f"row {row}" for row in filled["row"]]
    reader = ColumnReader(filled, labels=labels)
    rows = _to_rows(reader, [None if file is None else file[0][2] for file in found])
    paths = [None if file is None else file[1] for file in found]
    rows = rows.with_columns(pl.Series("path", paths, dtype=pl.String))
    _check_names(reader, rows, [None if file is None else (file[0][3], file[0][4]) for file in found])
    rows = rows.with_columns(decide_outcomes(rows, findings_by_birads(rows["birads"], rule), rule))
    kept, rejected = settle(rows, reader.problems, origin=Origin(str(table), labels, _COLUMN_OF), handling=handling)
    return finish(kept, rejected, place=place, handling=handling, counts=PUBLISHED)


def _to_rows(reader: ColumnReader, patients: list[str | None]) -> pl.DataFrame:
    """The rows of the table; an image without a file gets a patient of its own, until it is left out as missing."""
    text = reader.text
    owners = [patient or f"of {name}" for patient, name in zip(patients, text["File Name"], strict=True)]
    dates = text["Acquisition date"] if "Acquisition date" in text else [None] * text.height
    exams = [owner if date is None else f"{owner}_{date}" for owner, date in zip(owners, dates, strict=True)]
    return fill_schema(
        {
            "image_id": text["File Name"],
            "patient_id": pl.Series(owners),
            "exam_id": pl.Series(exams),
            "laterality": spell_sides(text["Laterality"]),
            "view": spell_views(text["View"]),
            "source": SOURCE,
            "birads": reader.read("Bi-Rads", _to_birads, pl.Int64(), expected="0 to 6, or 4a to 4c"),
            "density": reader.codes("ACR", _DENSITY, pl.String()),
        },
        text.height,
    )


def _to_birads(text: str) -> int:
    match = _BIRADS.fullmatch(text)
    if match is None:
        raise ValueError("no category")
    return int(match[1])


def _check_names(reader: ColumnReader, rows: pl.DataFrame, named: list[tuple[str, str] | None]) -> None:
    """Note the rows whose file name says another side or view; file names say ML for MLO."""
    for number, (side, view) in enumerate(rows.select("laterality", "view").iter_rows(), start=1):
        told = named[number - 1]
        if told is None:
            continue
        told_side, told_view = told[0], str(View.MLO) if told[1] == View.ML else told[1]
        if side in _SIDES and side != told_side:
            reader.note(
                number, "Laterality", f"found {side!r}, but the file name says {told_side}", code="side_conflict"
            )
        if view in _VIEWS and told_view not in {view, str(View.MLO) if view == View.ML else view}:
            reader.note(number, "View", f"found {view!r}, but the file name says {told[1]}", code="view_conflict")
