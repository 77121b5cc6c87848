"""The competition's submission file: a row for each breast, `prediction_id,cancer`."""

from pathlib import Path

import polars as pl

from mammoscope.files import replacing


def make_submission(
    breast_scores: pl.DataFrame, wanted: pl.DataFrame | None, *, without_image: float
) -> tuple[pl.DataFrame, int]:
    """The submission, sorted by prediction id, and how many wanted breasts had no score of their own.

    A breast that several exams show gets the mean over them, because the competition knows no exams.
    `wanted` is a table with patient_id and laterality, a row for each image that was asked for; a breast of it that
    has no score gets `without_image`, because the competition refuses a file that lacks a row.
    """
    scored = breast_scores.group_by(_prediction_id()).agg(pl.col("score").mean().alias("cancer"))
    if wanted is None:
        return scored.sort("prediction_id"), 0
    asked = wanted.select(_prediction_id()).unique()
    joined = asked.join(scored, on="prediction_id", how="left")
    n_without = joined["cancer"].null_count()
    return joined.with_columns(pl.col("cancer").fill_null(without_image)).sort("prediction_id"), n_without


def write_submission(submission: pl.DataFrame, path: Path) -> None:
    """Write the submission as CSV, whole or not at all."""
    with replacing(path) as beside:
        submission.write_csv(beside)


def _prediction_id() -> pl.Expr:
    return pl.concat_str("patient_id", "laterality", separator="_").alias("prediction_id")
