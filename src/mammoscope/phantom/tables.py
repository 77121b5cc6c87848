"""The tables of a cohort: the competition's train and test tables, and the truth behind them."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from mammoscope.anatomy import Laterality
from mammoscope.phantom.artefacts import Artefact
from mammoscope.phantom.patient import PatientPlan
from mammoscope.phantom.picture import MammogramPlan, locate_lesion
from mammoscope.phantom.truth import box_of, breast_mask, locate_nipple, outline_polygon

_SITE_WITHOUT_READING: Final = 2  # the competition has neither BI-RADS nor density of this site

_COMPETITION_SCHEMA: Final = pl.Schema(
    {
        "site_id": pl.Int64(),
        "patient_id": pl.String(),
        "image_id": pl.String(),
        "laterality": pl.String(),
        "view": pl.String(),
        "age": pl.Int64(),
        "cancer": pl.Int64(),
        "biopsy": pl.Int64(),
        "invasive": pl.Int64(),
        "BIRADS": pl.Int64(),
        "implant": pl.Int64(),
        "density": pl.String(),
        "machine_id": pl.Int64(),
        "difficult_negative_case": pl.String(),
    }
)
_TEST_COLUMNS: Final = ("site_id", "patient_id", "image_id", "laterality", "view", "age", "implant", "machine_id")

_OUTCOME_SCHEMA: Final = pl.Schema(
    {
        "image_id": pl.String(),
        "patient_id": pl.String(),
        "subset": pl.String(),
        "laterality": pl.String(),
        "view": pl.String(),
        "cancer": pl.Boolean(),
        "biopsy": pl.Boolean(),
        "invasive": pl.Boolean(),
        "difficult_negative": pl.Boolean(),
        "birads": pl.Int64(),
        "density": pl.String(),
        "age_years": pl.Int64(),
        "site": pl.Int64(),
        "machine": pl.Int64(),
        "n_lesions": pl.Int64(),
    }
)

_LESION_SCHEMA: Final = pl.Schema(
    {
        "image_id": pl.String(),
        "patient_id": pl.String(),
        "subset": pl.String(),
        "laterality": pl.String(),
        "view": pl.String(),
        "lesion": pl.Int64(),
        "kind": pl.String(),
        "malignant": pl.Boolean(),
        "row_start": pl.Int64(),
        "row_stop": pl.Int64(),
        "column_start": pl.Int64(),
        "column_stop": pl.Int64(),
        "radius_mm": pl.Float64(),
        "nipple_distance_mm": pl.Float64(),
        "contrast": pl.Float64(),
    }
)

_PICTURE_SCHEMA: Final = pl.Schema(
    {
        "image_id": pl.String(),
        "patient_id": pl.String(),
        "subset": pl.String(),
        "laterality": pl.String(),
        "view": pl.String(),
        "machine": pl.Int64(),
        "transfer_syntax": pl.String(),
        "artefacts": pl.List(pl.String()),
        "rows": pl.Int64(),
        "columns": pl.Int64(),
        "wall": pl.String(),
        "row_start": pl.Int64(),
        "row_stop": pl.Int64(),
        "column_start": pl.Int64(),
        "column_stop": pl.Int64(),
        "nipple_row": pl.Float64(),
        "nipple_column": pl.Float64(),
        "outline_rows": pl.List(pl.Float64()),
        "outline_columns": pl.List(pl.Float64()),
    }
)


def competition_table(plans: Sequence[PatientPlan], *, with_outcome: bool = True) -> pl.DataFrame:
    """A row per image with the columns and spellings of the competition's train.csv, or of its test.csv."""
    rows = [_competition_row(plan, mammogram) for plan in plans for mammogram in plan.mammograms]
    table = pl.DataFrame(rows, schema=_COMPETITION_SCHEMA, orient="row")
    if with_outcome:
        return table
    breast = pl.concat_str("patient_id", "laterality", separator="_").alias("prediction_id")
    return table.select(*_TEST_COLUMNS, breast)


def outcome_table(plans: Sequence[PatientPlan]) -> pl.DataFrame:
    """A row per image, held-out ones too, with all that is known of its breast."""
    rows = [_outcome_row(plan, mammogram) for plan in plans for mammogram in plan.mammograms]
    return pl.DataFrame(rows, schema=_OUTCOME_SCHEMA, orient="row")


def lesion_table(plans: Sequence[PatientPlan]) -> pl.DataFrame:
    """A row per lesion and image: what it is, and the pixels that hold it (stops are exclusive)."""
    rows = [row for plan in plans for mammogram in plan.mammograms for row in _lesion_rows(plan, mammogram)]
    return pl.DataFrame(rows, schema=_LESION_SCHEMA, orient="row")


def picture_table(plans: Sequence[PatientPlan]) -> pl.DataFrame:
    """A row per image: where the breast, its outline and its nipple are, and what disturbs the picture."""
    rows = [_picture_row(plan, mammogram) for plan in plans for mammogram in plan.mammograms]
    return pl.DataFrame(rows, schema=_PICTURE_SCHEMA, orient="row")


def _picture_row(plan: PatientPlan, mammogram: MammogramPlan) -> tuple[object, ...]:
    machine = plan.assignment.machine
    box = box_of(breast_mask(mammogram, machine))
    nipple = locate_nipple(mammogram, machine)
    outline = outline_polygon(mammogram, machine)
    return (
        plan.image_id(mammogram),
        plan.assignment.patient_id,
        plan.assignment.subset,
        str(mammogram.laterality),
        str(mammogram.view),
        machine.machine_id,
        machine.transfer_syntax,
        [str(artefact) for artefact in Artefact if artefact in mammogram.artefacts],
        machine.rows,
        machine.columns,
        "left" if mammogram.laterality is Laterality.LEFT else "right",
        *((None,) * 4 if box is None else (box.row_start, box.row_stop, box.column_start, box.column_stop)),
        *((None, None) if nipple is None else (nipple.row, nipple.column)),
        outline[:, 0].tolist(),
        outline[:, 1].tolist(),
    )


def _competition_row(plan: PatientPlan, mammogram: MammogramPlan) -> tuple[object, ...]:
    machine = plan.assignment.machine
    outcome = plan.outcomes[mammogram.laterality]
    is_read = machine.site_id != _SITE_WITHOUT_READING
    return (
        machine.site_id,
        plan.assignment.patient_id,
        plan.image_id(mammogram),
        str(mammogram.laterality),
        str(mammogram.view),
        plan.age_years,
        int(outcome.is_case),
        int(outcome.is_biopsied),
        int(outcome.is_invasive),
        outcome.birads if is_read else None,
        int(mammogram.has_implant),
        plan.density if is_read else None,
        machine.machine_id,
        str(outcome.is_difficult_negative),
    )


def _outcome_row(plan: PatientPlan, mammogram: MammogramPlan) -> tuple[object, ...]:
    machine = plan.assignment.machine
    outcome = plan.outcomes[mammogram.laterality]
    return (
        plan.image_id(mammogram),
        plan.assignment.patient_id,
        plan.assignment.subset,
        str(mammogram.laterality),
        str(mammogram.view),
        outcome.is_case,
        outcome.is_biopsied,
        outcome.is_invasive,
        outcome.is_difficult_negative,
        outcome.birads,
        plan.density,
        plan.age_years,
        machine.site_id,
        machine.machine_id,
        len(mammogram.lesions),
    )


def _lesion_rows(plan: PatientPlan, mammogram: MammogramPlan) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    nipple_x, nipple_y = mammogram.outline.nipple_mm
    for number, lesion in enumerate(mammogram.lesions, start=1):
        box = locate_lesion(lesion, mammogram.laterality, mammogram.seen_by(plan.assignment.machine))
        distance = ((lesion.x_mm - nipple_x) ** 2 + (lesion.y_mm - nipple_y) ** 2) ** 0.5
        rows.append(
            (
                plan.image_id(mammogram),
                plan.assignment.patient_id,
                plan.assignment.subset,
                str(mammogram.laterality),
                str(mammogram.view),
                number,
                str(lesion.kind),
                lesion.kind.is_malignant,
                box.row_start,
                box.row_stop,
                box.column_start,
                box.column_stop,
                lesion.radius_mm * mammogram.enlargement,
                distance * mammogram.enlargement,
                lesion.contrast,
            )
        )
    return rows
