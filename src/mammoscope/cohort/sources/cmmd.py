"""CMMD: `CMMD_clinicaldata_revision.xlsx` (or its sheet as CSV), and a tree of DICOM files.

The table has a row for each examined breast; the files say in their headers whose they are, which side and which view.
A breast without a row was not biopsied: nothing is known of it. Data card: docs/data-cards/cmmd.md.
"""

from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.anatomy import parse_laterality
from mammoscope.cohort.manifest import SCHEMA, Problem, name_rows, raise_problems, sort_by_row
from mammoscope.cohort.sources.columns import ColumnReader, find_disagreeing
from mammoscope.cohort.sources.csv_table import find_separator, read_table, require_columns
from mammoscope.cohort.sources.dicom import Headers, build_cohort
from mammoscope.cohort.sources.indexing import (
    Handling,
    IndexedCohort,
    PublishedCounts,
    compare_with_published,
    exclude,
)
from mammoscope.cohort.sources.outcomes import Finding, OutcomeRule, decide_outcomes

SOURCE: Final = "cmmd"
PUBLISHED: Final = PublishedCounts(images=5_202, patients=1_775)  # doi:10.7937/tcia.eqde-4b16
_COLUMNS: Final = ("ID1", "LeftRight", "Age", "classification")
_FINDINGS: Final = {"Benign": str(Finding.BENIGN), "Malignant": str(Finding.MALIGNANT)}
_BREAST: Final = ["patient_id", "laterality"]
_AGES_DIFFER_BY_YEARS: Final = 1  # the table counts whole years, and need not count on the day of the picture


def read_cmmd(
    table: Path, headers: Headers, *, rule: OutcomeRule, handling: Handling, sheet: str | None = None
) -> IndexedCohort:
    """The cohort of the clinical table and the headers of the files.

    Args:
        table: the clinical data, as a workbook or as CSV.
        headers: of the files below the folder of images.
        rule: `normal_side` decides what a breast without a row is whose patient has one: control, or undetermined.
        handling: of bad rows, contradicting headers, and breasts of the table without an image.
        sheet: of a workbook; None takes the one that is not empty.

    Raises:
        TableError: a missing column, bad rows and contradictions that are refused, or breasts of the table without an
            image where that is not allowed.
        UserInputError: no file is a mammogram.
    """
    clinical, problems = _read_clinical(table, sheet)
    cohort = build_cohort(headers, None, source=SOURCE, on_conflict=handling.on_conflict)
    images, rejected = cohort.manifest, cohort.rejected
    of_ages = _find_age_conflicts(clinical, images)
    if handling.on_conflict == "refuse":
        raise_problems([problem.sentence for problem in sort_by_row([*problems, *of_ages])], where=str(table))
    if not handling.allow_missing:
        _check_images(clinical, headers, table)
    warnings = _warn_unnamed(clinical, images, table)
    located = (*_touch(problems, clinical, images), *_touch(of_ages, clinical, images, whole_patients=True))
    if touched := [problem for problem in located if problem.rows]:
        images, bad = exclude(images, touched, where=str(table))
        rejected = pl.concat([rejected, bad])
    manifest = _judge(images, clinical, rule)
    warnings += compare_with_published(manifest, PUBLISHED, name=SOURCE)
    return IndexedCohort(manifest=manifest, rejected=rejected, warnings=warnings)


def _read_clinical(table: Path, sheet: str | None) -> tuple[pl.DataFrame, list[Problem]]:
    """A row for each of the table, with patient, side, age and finding; and its problems."""
    raw = read_table(table, separator=find_separator(table), sheet=sheet)
    require_columns(raw, _COLUMNS, where=table, advice="give CMMD_clinicaldata_revision.xlsx")
    reader = ColumnReader(raw)
    clinical = pl.DataFrame(
        {
            "patient_id": raw["ID1"],
            "laterality": reader.read(
                "LeftRight", lambda text: str(parse_laterality(text)), pl.String(), expected="L or R"
            ),
            "told_age": reader.ages("Age"),
            "finding": reader.codes("classification", _FINDINGS, pl.String()),
        }
    ).with_row_index("row", offset=1)
    for name in _COLUMNS[:2]:
        for row in raw[name].is_null().arg_true():
            reader.note(row + 1, name, "empty, expected a value")
    return clinical, reader.problems


def _find_age_conflicts(clinical: pl.DataFrame, images: pl.DataFrame) -> list[Problem]:
    """The patients with several ages in the table, or another one in the headers of their files, each with its rows."""
    problems = [
        Problem(f"Age: one patient with different ages in {name_rows(rows)}, expected one", tuple(rows))
        for rows in find_disagreeing(clinical, ["patient_id"], "told_age")
    ]
    ages = images.select("patient_id", "age_years").unique(maintain_order=True)
    both = clinical.join(ages, on="patient_id", maintain_order="left")
    others = both.filter((pl.col("told_age") - pl.col("age_years")).abs() > _AGES_DIFFER_BY_YEARS)
    told = others.unique("row", keep="first", maintain_order=True).select("row", "told_age", "age_years")
    expected = f"expected them {_AGES_DIFFER_BY_YEARS} year apart at most"
    return problems + [
        Problem(f"row {row}, Age: found {ours:g}, but the header of a file says {theirs:g}; {expected}", (row,))
        for row, ours, theirs in told.iter_rows()
    ]


def _check_images(clinical: pl.DataFrame, headers: Headers, table: Path) -> None:
    """Refuse breasts of the table without a file; one whose files are left out has some.

    Raises:
        TableError: each with its row.
    """
    breasts = pl.DataFrame([(row.patient_id, row.laterality) for row in headers.rows], schema=_BREAST, orient="row")
    without = clinical.drop_nulls(_BREAST).join(breasts, on=_BREAST, how="anti", maintain_order="left")
    advice = "add its files, or leave it out with --allow-missing"
    raise_problems(
        [f"row {row}: found no image of this breast, expected one or more; {advice}" for row in without["row"]],
        where=str(table),
    )


def _warn_unnamed(clinical: pl.DataFrame, images: pl.DataFrame, table: Path) -> tuple[str, ...]:
    """A warning of patients whom the table does not name."""
    n_unnamed = images.join(clinical, on="patient_id", how="anti")["patient_id"].n_unique()
    return (
        (f"{table}: patients of the files whom it does not name, who stay undetermined: {n_unnamed}",)
        if n_unnamed
        else ()
    )


def _touch(
    problems: list[Problem], clinical: pl.DataFrame, images: pl.DataFrame, *, whole_patients: bool = False
) -> list[Problem]:
    """The problems with the images of their breasts, or of their patients where the side is not known."""
    numbered = images.with_row_index("number", offset=1)
    located = []
    for problem in problems:
        row = clinical.row(problem.rows[0] - 1, named=True)
        is_touched = pl.col("patient_id") == row["patient_id"]
        if row["laterality"] is not None and not whole_patients:
            is_touched &= pl.col("laterality") == row["laterality"]
        located.append(problem._replace(rows=tuple(numbered.filter(is_touched)["number"])))
    return located


def _judge(images: pl.DataFrame, clinical: pl.DataFrame, rule: OutcomeRule) -> pl.DataFrame:
    """The images with the outcome of their breast, and the age of the table where it has one."""
    told = images.join(
        clinical, on=_BREAST, how="left", maintain_order="left"
    )  # several rows where a breast has several
    is_other_side = pl.col("row").is_null() & pl.col("patient_id").is_in(clinical["patient_id"].drop_nulls().to_list())
    if rule.normal_side == "control":
        told = told.with_columns(
            pl.when(is_other_side).then(pl.lit(str(Finding.NORMAL))).otherwise("finding").alias("finding")
        )
    ages = pl.coalesce("told_age", pl.col("told_age").drop_nulls().first().over("patient_id"), "age_years")
    judged = told.with_columns(decide_outcomes(told, told["finding"], rule), age_years=ages)
    return judged.unique("image_id", keep="first", maintain_order=True).select(list(SCHEMA))
