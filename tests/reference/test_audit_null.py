"""Cohorts in which no column tells of cancer: the audit tells of a shortcut in one of twenty, however few have it."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.audit.audit import audit_cohort
from mammoscope.cohort.audit.shortcuts import audit_shortcuts
from mammoscope.cohort.manifest import SCHEMA

N_COHORTS = 30


def draw_cohort(
    rng: np.random.Generator, columns: Mapping[str, Sequence[object]], *, n_patients: int, n_cases: int
) -> pl.DataFrame:
    """Two views of both breasts of each patient, cancer in one breast of some; every column by chance."""
    patients = np.arange(n_patients)
    side_with_cancer = np.where(rng.permutation(n_patients) < n_cases, rng.choice(["L", "R"], n_patients), "none")
    drawn = {
        name: [values[place] for place in rng.integers(0, len(values), n_patients)] for name, values in columns.items()
    }
    of_patient = pl.DataFrame(
        {"patient_id": patients.astype(str), "exam_id": patients.astype(str), "side": side_with_cancer, **drawn}
    )
    views = pl.DataFrame({"laterality": ["L", "L", "R", "R"], "view": ["CC", "MLO"] * 2})
    images = of_patient.join(views, how="cross").with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias("image_id"),
        pl.lit("drawn").alias("source"),
        (pl.col("side") == pl.col("laterality")).alias("cancer"),
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name not in images.columns]
    kept = images.filter(pl.Series(rng.random(images.height) < 0.95) | (pl.col("view") == "CC"))
    return kept.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


@pytest.mark.parametrize("n_cases", [3, 6, 30])
def test_a_cohort_without_a_shortcut_seldom_has_one_told(n_cases: int) -> None:
    columns: dict[str, Sequence[object]] = {
        "machine": list("12345678"),
        "site": list("12"),
        "manufacturer": ["a", "b", None],
        "density": ["A", "B", "C", "D", None],
        "implant": [True, *[False] * 9],
        "birads": [0, 1, 2, None],
        "age_years": [float(age) for age in range(40, 80)],
    }
    n_false = 0
    for seed in range(N_COHORTS):
        rng = np.random.default_rng((n_cases, seed))
        audit = audit_cohort(draw_cohort(rng, columns, n_patients=150, n_cases=n_cases), rng=rng)
        codes = {finding.code for finding in audit.findings}
        n_false += bool(codes & {"shortcut", "weak_shortcuts", "outcome_columns"})
    assert n_false <= 4  # a twentieth of 30 is 1.5; more than 4 would come by chance in 2 of 100


@pytest.mark.parametrize("n_values", [2, 6])
def test_an_interval_of_a_useless_column_seldom_misses_one_half(n_values: int) -> None:
    """Alone in its cohort, so that nothing is corrected for the number of columns."""
    n_missing = 0
    for seed in range(200):
        rng = np.random.default_rng((n_values, seed))
        columns = {"machine": list("123456"[:n_values])}
        manifest = draw_cohort(rng, columns, n_patients=150, n_cases=30).filter(pl.col("view") == "CC")
        found = audit_shortcuts(manifest.with_columns(laterality=pl.lit("L"), exam_id="image_id"), None, rng=rng)
        machine = next(each for each in found.shortcuts if each.column == "machine")
        n_missing += machine.auc.low is not None and machine.auc.low > 0.5
        assert machine.auc.high is None or machine.auc.high > 0.5
    assert n_missing <= 18  # a twentieth of 200, with 2.6 standard errors
