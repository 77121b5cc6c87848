"""VinDr-Mammo: `breast-level_annotations.csv`, `metadata.csv`, and `images/<study_id>/<image_id>.dicom`.

The outcome follows from the BI-RADS category of the breast, by the rule: there is no pathology. Patients are not told
apart, so that each study counts as one patient. Data card: docs/data-cards/vindr-mammo.md.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import HIGHEST_BIRADS, SCHEMA
from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, find_disagreeing, spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import read_csv_table, require_columns
from mammoscope.cohort.sources.indexing import (
    Handling,
    ImagePlace,
    IndexedCohort,
    Origin,
    PublishedCounts,
    compare_with_published,
    finish,
    index_by_name,
    settle,
    with_paths,
)
from mammoscope.cohort.sources.outcomes import OutcomeRule, decide_outcomes, findings_by_birads
from mammoscope.exam import BREAST, OLDEST_YEARS
from mammoscope.imaging.elements import as_age

SOURCE: Final = "vindr_mammo"
_TEST_STUDIES: Final = "studies of the test part"
# doi:10.1038/s41597-023-02100-7: 5,000 exams of four views, of which 1,000 are the test part
PUBLISHED: Final = PublishedCounts(images=20_000, patients=5_000, others={_TEST_STUDIES: 1_000})
LAYOUT: Final = "<study_id>/<image_id>.dicom"
_COLUMNS: Final = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density")
_COLUMN_OF: Final = {"patient_id": "study_id", "view": "view_position"}
# of metadata.csv, whose columns have the names of the DICOM elements
_IMAGE, _AGE = "SOP Instance UID", "Patient's Age"
_MACHINE, _MANUFACTURER = "Manufacturer's Model Name", "Manufacturer"
_BIRADS: Final = {f"BI-RADS {category}": category for category in range(HIGHEST_BIRADS + 1)}
_DENSITY: Final = {f"DENSITY {letter}": letter for letter in "ABCD"}


@dataclass(frozen=True, slots=True)
class VindrTables:
    """The tables of the data set.

    Attributes:
        annotations: `breast-level_annotations.csv`.
        metadata: `metadata.csv`, with the ages and machines; None leaves them unknown.
        takes_split: whether the official test part becomes fold 0, and the training part is never held out.
    """

    annotations: Path
    metadata: Path | None = None
    takes_split: bool = False


def read_vindr_mammo(
    tables: VindrTables, images: Path | None, *, rule: OutcomeRule, handling: Handling
) -> IndexedCohort:
    """The cohort of the annotations; without `images`, a table-only cohort.

    Raises:
        TableError: a missing column, a bad value, a breast with two categories, a study in both official parts or with
            two ages, where they are refused.
        UserInputError: the folder lacks images and that is not allowed, or holds two files of one name.
    """
    table = tables.annotations
    raw = read_csv_table(table)
    required = (*_COLUMNS, "split") if tables.takes_split else _COLUMNS
    require_columns(raw, required, where=table, advice="give breast-level_annotations.csv")
    reader = ColumnReader(raw)
    rows = _to_rows(reader)
    warnings: tuple[str, ...] = ()
    if tables.takes_split:
        rows = rows.with_columns(fold=_read_split(reader))
    if tables.metadata is not None:
        rows, warnings = _add_metadata(rows, tables.metadata, reader)
    rows = rows.with_columns(decide_outcomes(rows, findings_by_birads(rows["birads"], rule), rule))
    place = None if images is None else ImagePlace(images, LAYOUT)
    if place is not None:
        rows = with_paths(rows, index_by_name(place))
    kept, rejected = settle(rows, reader.problems, origin=Origin(str(table), columns=_COLUMN_OF), handling=handling)
    found = finish(kept, rejected, place=place, handling=handling, counts=None)
    others = {_TEST_STUDIES: kept.filter(pl.col("fold") == 0)["exam_id"].n_unique()} if tables.takes_split else {}
    warnings += compare_with_published(kept, PUBLISHED, name=SOURCE, others=others)
    return replace(found, warnings=warnings)


def _to_rows(reader: ColumnReader) -> pl.DataFrame:
    raw = reader.text
    rows = fill_schema(
        {
            "image_id": raw["image_id"],
            "patient_id": raw["study_id"],
            "exam_id": raw["study_id"],
            "laterality": spell_sides(raw["laterality"]),
            "view": spell_views(raw["view_position"]),
            "source": SOURCE,
            "birads": reader.codes("breast_birads", _BIRADS, pl.Int64(), expected="BI-RADS 0 to BI-RADS 6"),
            "density": reader.codes("breast_density", _DENSITY, pl.String()),
        },
        raw.height,
    )
    for found in find_disagreeing(rows, BREAST, "birads"):  # the category is the breast's
        sentence = "breast_birads: one breast with different categories"
        reader.note_all(found, sentence, expected="one category", code="outcome_conflict")
    return rows


def _read_split(reader: ColumnReader) -> pl.Series:
    """Fold 0 for the test part, null for the training part."""
    is_test = reader.codes("split", {"training": False, "test": True}, pl.Boolean())
    for row in reader.text["split"].is_null().arg_true():
        reader.note(row + 1, "split", "empty, expected training or test")
    for found in find_disagreeing(pl.DataFrame([reader.text["study_id"], is_test]), ["study_id"], "split"):
        reader.note_all(found, "split: one study in both parts", expected="one part", code="bad_value")
    return pl.Series([0 if test else None for test in is_test], dtype=SCHEMA["fold"])


def _add_metadata(rows: pl.DataFrame, path: Path, reader: ColumnReader) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows with age, machine and manufacturer, and a warning of images without any; what is wrong is noted."""
    raw = read_csv_table(path)
    require_columns(raw, (_IMAGE, _AGE, _MACHINE, _MANUFACTURER), where=path, advice="give metadata.csv of VinDr-Mammo")
    numbered = (
        rows.select(pl.col("image_id").alias(_IMAGE)).with_row_index("row", offset=1).unique(_IMAGE, keep="first")
    )
    ours = raw.with_row_index("line", offset=1).join(numbered, on=_IMAGE, maintain_order="left")
    told = ColumnReader(ours, labels=[f"{path.name} row {line}" for line in ours["line"]])
    ages = told.read(_AGE, as_age, pl.Float64(), expected=f"an age such as 053Y, of {OLDEST_YEARS} years at most")
    for found in find_disagreeing(ours, [_IMAGE], "line"):
        told.note_all(found, f"{_IMAGE}: one image", expected="each once", code="duplicate")
    for problem in told.problems:
        reader.problems.append(problem._replace(rows=tuple({ours["row"][row - 1] for row in problem.rows})))
    facts = ours.select(
        pl.col(_IMAGE).alias("image_id"), ages.alias("age_years"), machine=_MACHINE, manufacturer=_MANUFACTURER
    )
    known = facts.unique("image_id", keep="first")
    filled = rows.drop("age_years", "machine", "manufacturer").join(
        known, on="image_id", how="left", maintain_order="left"
    )
    for found in find_disagreeing(filled, ["exam_id"], "age_years"):
        reader.note_all(found, f"{path.name}, {_AGE}: one study with different ages", expected="one", code="bad_value")
    n_without = rows.filter(~pl.col("image_id").is_in(known["image_id"].to_list())).height
    sentence = f"{path}: no row for {n_without} images, whose age and machine stay unknown"
    return filled.select(list(SCHEMA)), (sentence,) if n_without else ()
