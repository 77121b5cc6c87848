"""How often the audit tells of a shortcut where there is none, and how often the interval of an AUC holds the truth.

False findings: cohorts of 300 patients with 12 columns by chance, of which some tell of the patient and some are mostly
missing; the share of cohorts with a column that is told of, and, for comparison, with an AUC of 0.6 or more whose
interval lies above 0.5, which is not corrected for chance or the number of columns.

Coverage: one column of 2 or 6 values that tells of cancer, in 1,000 patients; the share of the intervals given that
hold the AUC which the scores of the folds would have in very many patients.

Usage: python benchmarks/audit_null.py [--runs 5] [--out benchmarks/results/audit_null.json]

A run is of 20 cohorts here. Nothing of this is of time, and the same seed gives the same figures.
"""

import numpy as np
from numpy.typing import NDArray

from mammoscope.cohort.audit.chance import LEVEL, judge_columns
from mammoscope.cohort.audit.cross_validation import (
    MOST_FOLDS,
    auc_over_folds,
    deal_into_folds,
    score_out_of_fold,
)
from mammoscope.cohort.audit.findings import NOTABLE_AUC
from mammoscope.cohort.audit.shortcuts import LEAST_CASE_PATIENTS
from reporting import read_arguments, write_report

N_PATIENTS_OF_NULL, N_PATIENTS_OF_COVERAGE = 300, 1000
N_COHORTS_OF_RUN = 20
N_CASES = (3, 6, 10, 20, 30, 100)
COLUMNS = (2, 2, 2, 3, 3, 4, 5, 6, 8, 10, 10, 10)  # the number of values of each
PACKAGES = ("numpy",)
Indices = NDArray[np.intp]


def measure_null(n_cases: int, n_cohorts: int) -> dict[str, float]:
    """The shares of cohorts with a false finding, with the audit's p value and by intervals alone."""
    n_told = n_by_interval = 0
    patients, outcomes = np.arange(N_PATIENTS_OF_NULL), np.arange(N_PATIENTS_OF_NULL) < n_cases
    for cohort in range(n_cohorts):
        rng = np.random.default_rng((n_cases, cohort))
        columns = [rng.integers(0, n_values, len(patients)) for n_values in COLUMNS]
        folds = _deal(outcomes, rng)
        n_told += judge_columns(columns, outcomes, patients=patients, folds=folds, rng=rng).min() <= LEVEL
        aucs = [
            auc_over_folds(score_out_of_fold(codes, outcomes, folds), outcomes, folds=folds, patients=patients)
            for codes in columns
        ]
        n_by_interval += any(auc.value >= NOTABLE_AUC and (auc.low is None or auc.low > 1 / 2) for auc in aucs)
    return {"by p": n_told / n_cohorts, "by intervals, not corrected": n_by_interval / n_cohorts}


def measure_coverage(n_cases: int, n_values: int, n_cohorts: int, *, effect: float) -> dict[str, float]:
    """The mean AUC, the share of columns above chance, and of their intervals the share that hold the truth."""
    aucs, held = [], []
    patients, outcomes = np.arange(N_PATIENTS_OF_COVERAGE), np.arange(N_PATIENTS_OF_COVERAGE) < n_cases
    of_controls = np.full(n_values, 1 / n_values)
    of_cases = of_controls * (1 + effect * np.linspace(-1, 1, n_values))
    for cohort in range(n_cohorts):
        rng = np.random.default_rng((n_cases, n_values, cohort))
        drawn = [rng.choice(n_values, len(patients), p=share) for share in (of_cases, of_controls)]
        codes = np.where(outcomes, *drawn)
        folds = _deal(outcomes, rng)
        auc = auc_over_folds(score_out_of_fold(codes, outcomes, folds), outcomes, folds=folds, patients=patients)
        truth = np.mean(
            [_auc_of_scores(codes, outcomes, folds != fold, of_cases, of_controls) for fold in range(MOST_FOLDS)]
        )
        aucs.append(truth)
        p = judge_columns([codes], outcomes, patients=patients, folds=folds, rng=rng)[0]
        if p <= LEVEL and auc.low is not None and auc.high is not None:
            held.append(auc.low <= truth <= auc.high)
    return {
        "mean AUC": round(float(np.mean(aucs)), 3),
        "above chance": len(held) / n_cohorts,
        "intervals that hold it": round(float(np.mean(held)), 3),
    }


def _deal(outcomes: NDArray[np.bool_], rng: np.random.Generator) -> Indices:
    folds = deal_into_folds(outcomes, rng=rng)
    if folds is None:
        raise ValueError("found fewer than two patients of a kind, expected two or more")
    return folds


def _auc_of_scores(
    codes: Indices, outcomes: NDArray[np.bool_], training: NDArray[np.bool_], of_cases: object, of_controls: object
) -> float:
    """The AUC in very many patients of the scores that some training patients give to the values."""
    cases, controls = np.asarray(of_cases), np.asarray(of_controls)
    # a row for each value in a fold of its own, so that the audit's own code scores it
    values = np.arange(len(cases))
    scores = score_out_of_fold(
        np.concatenate([codes[training], values]),
        np.concatenate([outcomes[training], np.zeros(len(values), dtype=np.bool_)]),
        np.concatenate([np.zeros(int(training.sum()), dtype=np.intp), np.ones(len(values), dtype=np.intp)]),
    )[-len(values) :]
    wins = (scores[:, None] > scores) + (scores[:, None] == scores) / 2  # (value of a case, value of a control)
    return float(cases @ wins @ controls)


def main() -> None:
    """Measure and write."""
    n_runs, out = read_arguments(__doc__, "audit_null")
    n_cohorts = N_COHORTS_OF_RUN * n_runs
    results: dict[str, object] = {
        "cohorts": n_cohorts,
        "cohorts with a false finding": {str(n_cases): measure_null(n_cases, n_cohorts) for n_cases in N_CASES},
        "coverage": {
            f"{n_cases} patients with cancer, {n_values} values, effect {effect}": measure_coverage(
                n_cases, n_values, n_cohorts, effect=effect
            )
            for n_cases in N_CASES
            if n_cases >= LEAST_CASE_PATIENTS
            for n_values in (2, 6)
            for effect in (0.4, 0.8)
        },
    }
    measured = ("src/mammoscope/cohort", "benchmarks/audit_null.py")
    write_report(out, results, suite="audit_null", packages=PACKAGES, measured=measured)


if __name__ == "__main__":
    main()
