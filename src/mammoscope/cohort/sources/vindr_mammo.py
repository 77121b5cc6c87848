"""VinDr-Mammo: `breast-level_annotations.csv`, and `images/<study_id>/<image_id>.dicom`.

The outcome follows from the BI-RADS category of the breast, by the rule: there is no pathology. Patients are not told
apart, so that each study counts as one patient. Data card: docs/data-cards/vindr-mammo.md.
"""

from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import HIGHEST_BIRADS, Problem, name_rows
from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, find_disagreeing, spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import read_csv_table, require_columns
from mammoscope.cohort.sources.indexing import (
    Handling,
    ImagePlace,
    IndexedCohort,
    Origin,
    PublishedCounts,
    finish,
    index_by_name,
    settle,
    with_paths,
)
from mammoscope.cohort.sources.outcomes import OutcomeRule, decide_outcomes, findings_by_birads
from mammoscope.exam import BREAST

SOURCE: Final = "vindr_mammo"
PUBLISHED: Final = PublishedCounts(images=20_000, patients=5_000)  # doi:10.13026/br2v-7517: exams, four views each
LAYOUT: Final = "<study_id>/<image_id>.dicom"
_COLUMNS: Final = ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density")
_COLUMN_OF: Final = {"patient_id": "study_id", "view": "view_position"}
_BIRADS: Final = {f"BI-RADS {category}": category for category in range(HIGHEST_BIRADS + 1)}
_DENSITY: Final = {f"DENSITY {letter}": letter for letter in "ABCD"}


def read_vindr_mammo(table: Path, images: Path | None, *, rule: OutcomeRule, handling: Handling) -> IndexedCohort:
    """The cohort of the annotations; without `images`, a table-only cohort.

    Raises:
        TableError: a missing column, a bad value, a breast with two categories, where they are refused.
        UserInputError: the folder lacks images and that is not allowed, or holds two files of one name.
    """
    raw = read_csv_table(table)
    require_columns(raw, _COLUMNS, where=table, advice="give breast-level_annotations.csv")
    reader = ColumnReader(raw)
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
    rows = rows.with_columns(decide_outcomes(rows, findings_by_birads(rows["birads"], rule), rule))
    place = None if images is None else ImagePlace(images, LAYOUT)
    if place is not None:
        rows = with_paths(rows, index_by_name(place))
    problems = [*reader.problems, *_find_conflicts(rows)]
    kept, rejected = settle(rows, problems, origin=Origin(str(table), columns=_COLUMN_OF), handling=handling)
    return finish(kept, rejected, place=place, handling=handling, counts=PUBLISHED)


def _find_conflicts(rows: pl.DataFrame) -> list[Problem]:
    """Breasts whose views have different categories: the category is the breast's."""
    return [
        Problem(
            f"breast_birads: one breast with different categories in {name_rows(found)}, expected one category",
            tuple(found),
            "outcome_conflict",
        )
        for found in find_disagreeing(rows, BREAST, "birads")
    ]
