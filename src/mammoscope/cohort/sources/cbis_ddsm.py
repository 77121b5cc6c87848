"""CBIS-DDSM: the case description tables, and the folders of full mammograms as the archive names them.

A row of a table is a lesion; a full mammogram lies somewhere below `Mass-Training_P_00001_LEFT_CC`. A breast may have
masses in one table and calcifications in another: its worst lesion decides. Data card: docs/data-cards/cbis-ddsm.md.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import ALLOWED_VALUES
from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, find_disagreeing, spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import read_csv_table, require_columns
from mammoscope.cohort.sources.indexing import (
    IMAGE_SUFFIXES,
    Handling,
    ImagePlace,
    IndexedCohort,
    Origin,
    PublishedCounts,
    check_folder,
    finish,
    settle,
    with_paths,
)
from mammoscope.cohort.sources.outcomes import Finding, OutcomeRule, decide_outcomes
from mammoscope.errors import UserInputError

SOURCE: Final = "cbis_ddsm"
# participants: doi:10.7937/K9/TCIA.2016.7O02S9CY; mammograms: those that the four tables name
PUBLISHED: Final = PublishedCounts(images=3_103, patients=1_566)
LAYOUT: Final = "Mass-Training_P_00001_LEFT_CC/…/1-1.dcm"
_COLUMNS: Final = (
    "patient_id",
    "breast_density",
    "left or right breast",
    "image view",
    "abnormality id",
    "assessment",
    "pathology",
    "image file path",
)
_COLUMN_OF: Final = {
    "image_id": "image file path",
    "laterality": "left or right breast",
    "view": "image view",
    "birads": "assessment",
}
_FOLDER: Final = re.compile(r"(?:Mass|Calc)-(?:Training|Test)_(P_[0-9]+)_(LEFT|RIGHT)_(CC|MLO)")
_FINDINGS: Final = {
    "MALIGNANT": str(Finding.MALIGNANT),
    "BENIGN": str(Finding.BENIGN),
    "BENIGN_WITHOUT_CALLBACK": str(Finding.BENIGN),
}
_DENSITY: Final = {"0": None, "1": "A", "2": "B", "3": "C", "4": "D"}  # 0: not rated


def read_cbis_ddsm(
    tables: Sequence[Path], images: Path | None, *, rule: OutcomeRule, handling: Handling
) -> IndexedCohort:
    """The cohort of one or more case description tables; without `images`, a table-only cohort.

    Raises:
        TableError: a missing column, or bad values that are refused.
        UserInputError: a table twice; or the folder lacks images and that is not allowed, or holds two files for one.
    """
    _check_tables(tables)
    lesions = [_read_lesions(table) for table in tables]
    text = pl.concat(lesions)
    labels = [
        f"{table.name} row {row}" if len(tables) > 1 else f"row {row}"
        for table, part in zip(tables, lesions, strict=True)
        for row in range(1, part.height + 1)
    ]
    reader = ColumnReader(text, labels=labels)
    findings = reader.codes("pathology", _FINDINGS, pl.String())
    rows = _to_rows(reader)
    _find_conflicts(reader, rows, findings)
    rows = rows.with_columns(decide_outcomes(rows, findings, rule))
    place = None if images is None else ImagePlace(images, LAYOUT)
    if place is not None:
        rows = with_paths(rows, _index_folders(place))
    where = ", ".join(map(str, tables))
    kept, rejected = settle(
        rows, reader.problems, origin=Origin(where, labels, _COLUMN_OF), handling=handling, repeats_images=True
    )
    return finish(_unite_lesions(kept), rejected, place=place, handling=handling, counts=PUBLISHED)


def _check_tables(tables: Sequence[Path]) -> None:
    if len({table.resolve() for table in tables}) < len(tables):
        raise UserInputError("--table: found a table twice, expected each once; leave one out")


def _read_lesions(table: Path) -> pl.DataFrame:
    raw = read_csv_table(table)
    raw = raw.rename({"breast density": "breast_density"}, strict=False)  # so it stands in the tables of calcifications
    require_columns(raw, _COLUMNS, where=table, advice="give the case description tables of CBIS-DDSM")
    return raw.select(_COLUMNS)


def _to_rows(reader: ColumnReader) -> pl.DataFrame:
    text = reader.text
    folders = text["image file path"].str.split("/").list.first()
    rows = fill_schema(
        {
            "image_id": folders,
            "patient_id": text["patient_id"],
            "exam_id": text["patient_id"],
            "laterality": spell_sides(text["left or right breast"]),
            "view": spell_views(text["image view"]),
            "source": SOURCE,
            "birads": reader.whole_numbers("assessment"),
            "density": reader.codes("breast_density", _DENSITY, pl.String()),
        },
        text.height,
    )
    _check_folders(reader, rows)
    return rows


def _check_folders(reader: ColumnReader, rows: pl.DataFrame) -> None:
    """Note the rows whose folder names another patient, side or view than their columns."""
    checks = (
        ("patient_id", "mixed_patients", None),
        ("left or right breast", "side_conflict", ALLOWED_VALUES["laterality"]),
        ("image view", "view_conflict", ALLOWED_VALUES["view"]),
    )
    told = rows.select("image_id", "patient_id", "laterality", "view").iter_rows()
    for number, (folder, *ours) in enumerate(told, start=1):
        parts = _FOLDER.fullmatch(folder or "")
        if parts is None:
            expected = "a folder such as Mass-Training_P_00001_LEFT_CC"
            reader.note(number, "image file path", f"found {folder!r}, expected {expected}")
            continue
        theirs = (parts[1], parts[2][0], parts[3])
        for (column, code, known), our, their in zip(checks, ours, theirs, strict=True):
            if our is None or our == their or (known is not None and our not in known):
                continue  # what is unknown is a problem of the schema
            what = "another patient" if known is None else f"{their}, but {column} says {our}"
            reader.note(number, "image file path", f"names {what}; expected the same", code=code)


def _find_conflicts(reader: ColumnReader, rows: pl.DataFrame, findings: pl.Series) -> None:
    """Note the lesions with two findings, and the mammograms with two densities."""
    lesions = rows.select("image_id", "density", reader.text["abnormality id"], findings.alias("finding"))
    for row in lesions["abnormality id"].is_null().arg_true():
        reader.note(row + 1, "abnormality id", "empty, expected a value")
    for found in find_disagreeing(lesions, ["image_id", "abnormality id"], "finding"):
        sentence = "pathology: one lesion with different findings"
        reader.note_all(found, sentence, expected="one", code="outcome_conflict")
    for found in find_disagreeing(lesions, ["image_id"], "density"):
        sentence = "breast_density: one mammogram with different densities"
        reader.note_all(found, sentence, expected="one", code="bad_value")


def _index_folders(place: ImagePlace) -> dict[str, str]:
    """The path of each full mammogram: the file below its folder, or the file of that name."""
    check_folder(place.folder, expected=place.layout)
    path_by_image: dict[str, str] = {}
    for where, folders, names in os.walk(place.folder.resolve()):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            image_id = next((part for part in (path.stem, *reversed(path.parts)) if _FOLDER.fullmatch(part)), None)
            if image_id is None:
                continue  # a mask or a cropped lesion
            if image_id in path_by_image:
                raise UserInputError(
                    f"{place.folder}: found two files for image {image_id}, expected one full mammogram; remove one"
                )
            path_by_image[image_id] = str(path)
    return path_by_image


def _unite_lesions(rows: pl.DataFrame) -> pl.DataFrame:
    """A row for each mammogram: the highest category of its lesions, the density, where a row has it."""
    highest = pl.col("birads").max().over("image_id")
    density = pl.col("density").drop_nulls().first().over("image_id")
    return rows.with_columns(highest, density).unique("image_id", keep="first", maintain_order=True)
