"""How often 95 % intervals hold the truth: simulated screening with a known AUC, two breasts of two views each.

A score is normal about 0, of a case about a shift, with a part that all images of a patient share. The AUC of images is
known in closed form; the average precision is that of two million images, whose error is below a thousandth. Counted
are the percentile bootstrap over patients, DeLong over patients, and what both are without patients: each image a
patient of its own.

Usage: python benchmarks/evaluation_coverage.py [--samples 1000] [--out benchmarks/results/evaluation_coverage.json]
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mammoscope.evaluation.bootstrap import bootstrap_over_patients, percentile_interval
from mammoscope.evaluation.delong import delong_auc
from mammoscope.evaluation.discrimination import Ranking, average_precision, rank
from reporting import write_report

PACKAGES = ("numpy", "scipy")
MEASURED = ("src/mammoscope/evaluation", "benchmarks")
Floats = NDArray[np.float64]
SHARED = 0.5  # of the variance of an image's score that all images of a patient share
SHARE_OF_PATIENTS = 0.2  # with a case in one breast
N_REPLICATES = 500
SHIFTS = {"AUC 0.76": 1.0, "AUC 0.92": 2.0}
N_CASES = (20, 50, 100, 300)


@dataclass(frozen=True, slots=True)
class Sample:
    """Scores, outcomes and patients of images (two views of each of two breasts), (n,)."""

    scores: Floats
    outcomes: NDArray[np.bool_]
    patients: NDArray[np.intp]


def draw(rng: np.random.Generator, n_patients: int, shift: float) -> Sample:
    """A cohort of patients, every fifth with a case on one side."""
    patients = np.repeat(np.arange(n_patients), 4)
    is_case = np.repeat((np.arange(n_patients) % round(1 / SHARE_OF_PATIENTS) == 0), 4) & np.tile(
        [1, 1, 0, 0], n_patients
    ).astype(bool)
    shared = np.sqrt(SHARED) * rng.normal(size=n_patients)[patients]
    own = np.sqrt(1 - SHARED) * rng.normal(size=len(patients))
    return Sample(shift * is_case + shared + own, is_case, patients)


def true_auc(shift: float) -> float:
    """That of images of different patients, whose scores have a variance of 1."""
    return float(norm.cdf(shift / np.sqrt(2)))


def true_average_precision(shift: float) -> float:
    """That of a very large sample."""
    large = draw(np.random.default_rng(0), 500_000, shift)
    return average_precision(large.scores, large.outcomes)


def measure(ranking: Ranking, counts: Floats) -> Floats:
    """The AUC and the average precision of each replicate, (replicate, 2)."""
    weighted = ranking.weigh(counts)
    return np.column_stack([weighted.auc(), weighted.average_precision()])


def list_intervals(sample: Sample, rng: np.random.Generator) -> Iterator[tuple[str, str, float, float]]:
    """Of each way: what it is of, its name, and its ends."""
    for name, patients in (("", sample.patients), (", images as patients", np.arange(len(sample.scores)))):
        ranking = rank(sample.scores, sample.outcomes, patients)
        replicates = bootstrap_over_patients(partial(measure, ranking), patients, n_replicates=N_REPLICATES, rng=rng)
        for figure, column in zip(("auc", "average precision"), replicates.T, strict=True):
            interval = percentile_interval(column, 0.95)
            yield figure, f"bootstrap{name}", interval.low, interval.high
        delong = delong_auc(sample.scores, sample.outcomes, patients)
        if delong.low is not None and delong.high is not None:
            yield "auc", f"DeLong{name}", delong.low, delong.high


def count_hits(shift: float, n_cases: int, n_samples: int) -> dict[str, float]:
    """The share of samples whose interval holds the truth, by figure and way."""
    truth = {"auc": true_auc(shift), "average precision": true_average_precision(shift)}
    rng = np.random.default_rng(n_cases)
    hits: dict[str, list[bool]] = {}
    for _ in range(n_samples):
        sample = draw(rng, round(n_cases / 2 / SHARE_OF_PATIENTS), shift)
        for figure, way, low, high in list_intervals(sample, rng):
            hits.setdefault(f"{figure}, {way}", []).append(low <= truth[figure] <= high)
    return {name: round(float(np.mean(held)), 4) for name, held in hits.items()}


def main() -> None:
    """Count, and write the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evaluation_coverage.json"))
    arguments = parser.parse_args()
    n = arguments.samples
    coverage = {
        name: {f"{n_cases} images of cases": count_hits(shift, n_cases, n) for n_cases in N_CASES}
        for name, shift in SHIFTS.items()
    }
    results: dict[str, object] = {
        "samples": n,
        "replicates": N_REPLICATES,
        "standard error of a share near 0.95": round(float(np.sqrt(0.95 * 0.05 / n)), 4),
        "coverage": coverage,
    }
    write_report(arguments.out, results, suite="evaluation_coverage", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
