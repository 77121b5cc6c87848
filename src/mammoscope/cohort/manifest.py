"""The table of a cohort, a row for each mammogram: its schema, checked on reading and writing."""

from pathlib import Path

import polars as pl

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import LeakageError, TableError
from mammoscope.files import replacing, sha256_of_bytes

SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "patient_id": pl.String(),
    "exam_id": pl.String(),
    "laterality": pl.String(),
    "view": pl.String(),
    "source": pl.String(),
    "path": pl.String(),
    "cancer": pl.Boolean(),
    "age_years": pl.Float64(),
    "density": pl.String(),
    "birads": pl.Int64(),
    "implant": pl.Boolean(),
    "biopsy": pl.Boolean(),
    "invasive": pl.Boolean(),
    "difficult_negative": pl.Boolean(),
    "site": pl.String(),
    "machine": pl.String(),
    "manufacturer": pl.String(),
    "fold": pl.Int64(),
}
NEVER_NULL = ("image_id", "patient_id", "exam_id", "laterality", "view", "source")
ALLOWED_VALUES = {
    "laterality": [side.value for side in Laterality],
    "view": [view.value for view in View],
    "density": ["A", "B", "C", "D"],
}
FILE_NAME = "manifest.parquet"
_SHOWN_AT_MOST = 50


def read_manifest(cohort: Path) -> pl.DataFrame:
    """The manifest of a cohort folder (or of the Parquet file itself), checked.

    Raises:
        TableError: no manifest there, or one that breaks the schema; every problem with its row.
        LeakageError: a patient stands in two folds.
    """
    path = cohort / FILE_NAME if cohort.is_dir() else cohort
    if not path.is_file():
        raise TableError(f"{path}: not found, expected the manifest of a cohort; make one with `mammoscope index`")
    try:
        manifest = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path}: not a Parquet file that can be read ({error}); index the cohort again") from error
    check_manifest(manifest, where=str(path))
    return manifest


def write_manifest(manifest: pl.DataFrame, cohort: Path) -> Path:
    """Write the manifest of a cohort folder, checked, whole or not at all; its path."""
    path = cohort / FILE_NAME
    check_manifest(manifest, where=str(path))
    with replacing(path) as beside:
        manifest.write_parquet(beside)
    return path


def manifest_hash(manifest: pl.DataFrame) -> str:
    """The SHA-256 of the rows, in their order; where the files lie is left out."""
    return sha256_of_bytes(manifest.drop("path").write_csv().encode())


def check_manifest(manifest: pl.DataFrame, *, where: str) -> None:
    """Refuse a table that is no manifest.

    Raises:
        TableError: columns, types or values break the schema; all problems in one message, each with its row.
        LeakageError: a patient stands in two folds.
    """
    problems = _column_problems(manifest)
    if not problems:
        problems = [*_value_problems(manifest), *_identity_problems(manifest)]
    raise_problems(problems, where=where)
    check_no_leakage(manifest, where=where)


def check_no_leakage(manifest: pl.DataFrame, *, where: str) -> None:
    """Refuse a split in which a patient stands in two folds.

    Raises:
        LeakageError: with the number of such patients and the rows of the first.
    """
    folds = manifest.group_by("patient_id", maintain_order=True).agg(pl.col("fold").unique().sort())
    split_patients = folds.filter(pl.col("fold").list.len() > 1)
    if split_patients.is_empty():
        return
    first = split_patients.row(0, named=True)
    rows = manifest.with_row_index().filter(pl.col("patient_id") == first["patient_id"])["index"].to_list()
    raise LeakageError(
        f"{where}: {split_patients.height} patients stand in more than one fold, the first in folds "
        f"{first['fold']} (rows {rows[:8]}); expected each patient in one; split again with `mammoscope split`"
    )


def raise_problems(problems: list[str], *, where: str) -> None:
    """One error for all problems of a file.

    Raises:
        TableError: there is a problem.
    """
    if not problems:
        return
    shown = problems[:_SHOWN_AT_MOST]
    if len(problems) > len(shown):
        shown.append(f"… and {len(problems) - len(shown)} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise TableError("\n  ".join([f"{where}: {count}", *shown]))


def _column_problems(manifest: pl.DataFrame) -> list[str]:
    problems = [f"column {name}: missing, expected {dtype}" for name, dtype in SCHEMA.items() if name not in manifest]
    problems += [f"column {name}: unknown; remove it" for name in manifest.columns if name not in SCHEMA]
    problems += [
        f"column {name}: found {manifest[name].dtype}, expected {dtype}"
        for name, dtype in SCHEMA.items()
        if name in manifest and manifest[name].dtype != dtype
    ]
    return problems or ([] if manifest.height else ["no rows, expected one for each mammogram"])


def _value_problems(manifest: pl.DataFrame) -> list[str]:
    rows = manifest.with_row_index("row")
    problems = [
        f"row {row}, {name}: empty, expected a value"
        for name in NEVER_NULL
        for row in rows.filter(pl.col(name).is_null() | (pl.col(name) == ""))["row"]
    ]
    for name, allowed in ALLOWED_VALUES.items():
        bad = rows.filter(~pl.col(name).is_in(allowed)).select("row", name)
        problems += [f"row {row}, {name}: found {value!r}, expected one of {allowed}" for row, value in bad.iter_rows()]
    ages = rows.filter(~pl.col("age_years").is_between(0, 130)).select("row", "age_years")
    problems += [f"row {row}, age_years: found {age}, expected 0 to 130 years" for row, age in ages.iter_rows()]
    return problems


def _identity_problems(manifest: pl.DataFrame) -> list[str]:
    rows = manifest.with_row_index("row")
    images = rows.group_by("image_id", maintain_order=True).agg("row").filter(pl.col("row").list.len() > 1)
    problems = [f"image_id: stands in rows {row}, expected once" for _, row in images.iter_rows()]
    exams = rows.group_by("exam_id", maintain_order=True).agg("row", pl.col("patient_id").n_unique().alias("n"))
    problems += [
        f"exam_id: rows {row[:8]} are one exam of {n} patients, expected one"
        for _, row, n in exams.filter(pl.col("n") > 1).iter_rows()
    ]
    breasts = rows.group_by("exam_id", "laterality", maintain_order=True).agg(
        "row", pl.col("cancer").n_unique().alias("n")
    )
    problems += [
        f"cancer: rows {row[:8]} are one breast with different outcomes, expected one outcome for a breast"
        for _, _, row, _ in breasts.filter(pl.col("n") > 1).iter_rows()
    ]
    return problems
