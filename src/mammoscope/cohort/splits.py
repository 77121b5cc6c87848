"""Which patient stands in which fold: always whole patients, stratified by case and site."""

import numpy as np
import polars as pl

from mammoscope.errors import UserInputError

MIN_FOLDS = 2


def assign_folds(manifest: pl.DataFrame, *, n_folds: int, rng: np.random.Generator) -> pl.DataFrame:
    """The manifest with a fold, 0 to n_folds - 1, for every image; a patient's images share one.

    Patients are shuffled, put in the order of their stratum (case, site), and dealt like cards, so that the numbers
    of cases of any two folds differ by one at most.

    Raises:
        UserInputError: fewer than two folds, or fewer cases or patients than folds.
    """
    patients = (
        manifest.group_by("patient_id")
        .agg(pl.col("cancer").fill_null(value=False).any().alias("is_case"), pl.col("site").first())
        .sort("patient_id")
    )
    _check(patients, n_folds)
    shuffled = patients[rng.permutation(patients.height)]
    dealt = shuffled.sort("is_case", "site", maintain_order=True, descending=[True, False]).with_columns(
        (pl.int_range(pl.len()) % n_folds).cast(pl.Int64).alias("fold")
    )
    return manifest.drop("fold").join(
        dealt.select("patient_id", "fold"), on="patient_id", how="left", maintain_order="left"
    )


def summarise_folds(manifest: pl.DataFrame) -> pl.DataFrame:
    """A row for each fold: patients, images, breasts, and breasts with cancer."""
    breast = pl.struct("exam_id", "laterality")
    return (
        manifest.group_by("fold")
        .agg(
            pl.col("patient_id").n_unique().alias("n_patients"),
            pl.len().alias("n_images"),
            breast.n_unique().alias("n_breasts"),
            breast.filter(pl.col("cancer")).n_unique().alias("n_cases"),
        )
        .sort("fold")
    )


def _check(patients: pl.DataFrame, n_folds: int) -> None:
    if n_folds < MIN_FOLDS:
        raise UserInputError(f"--folds: found {n_folds}, expected {MIN_FOLDS} or more")
    n_cases = int(patients["is_case"].sum())
    for name, count in (("patients", patients.height), ("patients with cancer", n_cases)):
        if count < n_folds:
            raise UserInputError(f"--folds: found {n_folds}, but only {count} {name}; expected at most {count} folds")
