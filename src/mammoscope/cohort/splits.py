"""Which patient stands in which fold: always whole patients, stratified by case and site."""

import numpy as np
import polars as pl

from mammoscope.errors import UserInputError

MIN_FOLDS = 2
_BREAST = pl.struct("exam_id", "laterality")


def assign_folds(manifest: pl.DataFrame, *, n_folds: int, rng: np.random.Generator) -> pl.DataFrame:
    """The manifest with a fold, 0 to n_folds - 1, for every image; a patient's images share one.

    Patients are shuffled, put in the order of their stratum (breasts with cancer, site), and dealt like cards, so that
    the numbers of patients with cancer of any two folds differ by one at most, and so do those of all patients.

    Raises:
        UserInputError: fewer than two folds, or fewer cases or patients than folds.
    """
    patients = (
        manifest.group_by("patient_id")
        .agg(_BREAST.filter(pl.col("cancer")).n_unique().alias("n_cases"), pl.col("site").min())
        .sort("patient_id")
    )
    _check(patients, n_folds)
    shuffled = patients[rng.permutation(patients.height)]
    dealt = shuffled.sort("n_cases", "site", maintain_order=True, descending=[True, False]).with_columns(
        (pl.int_range(pl.len()) % n_folds).cast(pl.Int64).alias("fold")
    )
    return manifest.drop("fold").join(
        dealt.select("patient_id", "fold"), on="patient_id", how="left", maintain_order="left"
    )


def summarise_folds(manifest: pl.DataFrame) -> pl.DataFrame:
    """A row for each fold: patients, images, breasts, and breasts with cancer."""
    return (
        manifest.group_by("fold")
        .agg(
            pl.col("patient_id").n_unique().alias("n_patients"),
            pl.len().alias("n_images"),
            _BREAST.n_unique().alias("n_breasts"),
            _BREAST.filter(pl.col("cancer")).n_unique().alias("n_cases"),
        )
        .sort("fold")
    )


def _check(patients: pl.DataFrame, n_folds: int) -> None:
    if n_folds < MIN_FOLDS:
        raise UserInputError(f"--folds: found {n_folds}, expected {MIN_FOLDS} or more")
    n_cases = int((patients["n_cases"] > 0).sum())
    for name, count in (("patients", patients.height), ("patients with cancer", n_cases)):
        if count < MIN_FOLDS:
            raise UserInputError(f"--folds: found {count} {name} in the cohort, expected {MIN_FOLDS} or more to split")
        if count < n_folds:
            raise UserInputError(f"--folds: found {n_folds}, but only {count} {name}; expected at most {count} folds")
