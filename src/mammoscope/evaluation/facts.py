"""What tables say of images and breasts beside their outcome, to group scores by: a manifest's columns, or any."""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import raise_problems, read_manifest
from mammoscope.evaluation.any_table import WHAT_A_ROW_IS, describe_rows, read_any_table
from mammoscope.evaluation.truth import Truth, find_repeated_images, is_manifest


def read_facts(path: Path, *, without: Collection[str] = ()) -> pl.DataFrame:
    """All columns of a cohort (its folder or manifest), or of a CSV, Parquet or JSON lines table; ids as text.

    A column of text that holds nothing but numbers is one of numbers; what is no number (NaN) there is not known.
    Columns `without` which a table is read, such as its scores, may stand under any name.

    Raises:
        TableError: it cannot be read, or a value of an id or outcome cannot.
        LeakageError: a patient of the manifest stands in two folds.
    """
    if path.is_dir() or is_manifest(path):
        return read_manifest(path).fill_nan(None)
    table = read_any_table(path).drop(without, strict=False)
    ids, problems = describe_rows(table)
    raise_problems(problems, where=str(path))
    known = [name for name in WHAT_A_ROW_IS if not ids[name].is_null().all()]
    others = [_to_numbers(table[name]) for name in table.columns if name not in WHAT_A_ROW_IS]
    return ids.select(known).with_columns(others)


def name_exams(facts: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Facts of patients without exams, with the exams of the scores, where each patient has one there."""
    if "exam_id" in facts.columns or "patient_id" not in facts.columns:
        return facts
    exams = scores.select("patient_id", "exam_id").unique()
    if exams["patient_id"].is_duplicated().any():
        return facts
    return facts.join(exams, on="patient_id", how="left", maintain_order="left")


def truth_of_scores(scores: pl.DataFrame, where: str) -> Truth:
    """The outcomes that a table of scores has itself, for other scores of the same breasts that come without.

    Raises:
        TableError: an image stands in the table more than once.
    """
    level = next(level for level in ("image", "breast", "exam") if level in set(scores["level"]))
    of_level = scores.filter(pl.col("level") == level).select(list(WHAT_A_ROW_IS))
    rows = of_level.with_row_index("row", offset=1).cast({"row": pl.Int64})
    raise_problems(list(find_repeated_images(rows)), where=where)
    return Truth(where, rows)


def _to_numbers(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column.fill_nan(None) if column.dtype.is_float() else column
    filled = column.str.strip_chars().replace("", None)
    numbers = filled.cast(pl.Float64, strict=False)
    return numbers.fill_nan(None) if numbers.null_count() == filled.null_count() < len(column) else filled
