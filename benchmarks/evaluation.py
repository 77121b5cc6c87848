"""How long an evaluation of full size takes, and its bootstrap against a loop over scikit-learn.

The whole: 54,706 images of 11,913 patients: three levels, operating points, calibration before and after four maps, all
groups of the table, 2,000 replicates over patients of each, and the page. The bootstrap: the AUC of all images in
replicates that draw patients, ours and scikit-learn's `roc_auc_score` on the rows of the drawn patients, in turns; both
see the same patients, and the AUCs of the replicates are held against each other.

Usage: python benchmarks/evaluation.py [--runs 5] [--out benchmarks/results/evaluation.json]

It takes the competition's table under MAMMOSCOPE_REAL_DATA, where that is set, and else draws one of its size. Scores
are drawn. All on one core: set OMP_NUM_THREADS=1.
"""

import os
import resource
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.sources.rsna import read_rsna_table
from mammoscope.cohort.splits import assign_folds
from mammoscope.evaluation.bootstrap import bootstrap_over_patients, number_patients, percentile_interval
from mammoscope.evaluation.discrimination import rank
from mammoscope.evaluation.evaluation import EvaluationSettings, evaluate, plan_evaluation
from mammoscope.evaluation.report import render
from mammoscope.evaluation.scores import SCORES_SCHEMA
from reporting import describe, read_arguments, write_report

PACKAGES = ("numpy", "scipy", "polars", "matplotlib", "scikit-learn")
MEASURED = ("src/mammoscope/evaluation", "benchmarks")
N_PATIENTS = 11_913
N_OURS, N_THEIRS = 2000, 100  # replicates; theirs take so long that a twentieth is timed
Floats = NDArray[np.float64]


def make_manifest() -> pl.DataFrame:
    """The competition's table, or one like it, in five folds."""
    if "MAMMOSCOPE_REAL_DATA" in os.environ:
        table = Path(os.environ["MAMMOSCOPE_REAL_DATA"], "rsna", "train.csv")
        return assign_folds(read_rsna_table(table, with_outcomes=True), n_folds=5, rng=np.random.default_rng(0))
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(N_PATIENTS), 4)
    sides = np.tile(["L", "L", "R", "R"], N_PATIENTS)
    side_of_cancer = rng.choice(["L", "R", ""], N_PATIENTS, p=[0.02, 0.02, 0.96])
    has_cancer = sides == side_of_cancer[patients]
    columns: dict[str, object] = {
        "image_id": [f"i{number}" for number in range(len(patients))],
        "patient_id": [f"p{number}" for number in patients],
        "exam_id": [f"p{number}" for number in patients],
        "laterality": sides,
        "view": np.tile(["CC", "MLO"], 2 * N_PATIENTS),
        "source": ["drawn"] * len(patients),
        "cancer": has_cancer,
        "age_years": rng.normal(58.5, 10, N_PATIENTS)[patients],
        "density": rng.choice(list("ABCD"), N_PATIENTS)[patients],
        "site": rng.choice(["1", "2"], N_PATIENTS)[patients],
        "machine": rng.choice(["29", "49", "21", "48", "170"], N_PATIENTS)[patients],
    }
    missing = {name: pl.Series([None] * len(patients), dtype=dtype) for name, dtype in SCHEMA.items()}
    manifest = pl.DataFrame(missing | columns, schema=SCHEMA)
    return assign_folds(manifest, n_folds=5, rng=np.random.default_rng(0))


def draw_scores(manifest: pl.DataFrame) -> pl.DataFrame:
    """Scores of the images, alike within a patient, that tell cases about as well as the best systems do."""
    rng = np.random.default_rng(1)
    cancer = manifest["cancer"].to_numpy()
    patients = number_patients(manifest["patient_id"].to_list())
    logits = 2 * cancer - 4 + 0.6 * rng.normal(size=patients.max() + 1)[patients] + rng.normal(size=len(cancer))
    return manifest.select(
        pl.lit(1, pl.Int64).alias("schema_version"),
        pl.lit("image").alias("level"),
        *("patient_id", "exam_id", "laterality", "view", "image_id", "cancer", "fold", "site", "machine"),
        pl.lit(1, pl.Int64).alias("n_images"),
        score=pl.Series(1 / (1 + np.exp(-logits))),
    ).select(list(SCORES_SCHEMA))


def time_whole(scores: pl.DataFrame, manifest: pl.DataFrame) -> float:
    """Seconds of one core for the whole evaluation and its page."""
    started = _processor_seconds()
    evaluation = evaluate(plan_evaluation(scores, EvaluationSettings(), facts=[manifest]))
    render(evaluation)
    return _processor_seconds() - started


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Bootstraps:
    """The AUC of images in replicates over patients, in two ways; seconds are of one core."""

    def __init__(self, scores: pl.DataFrame) -> None:
        self.scores, self.outcomes = scores["score"].to_numpy(), scores["cancer"].to_numpy()
        self.patients = number_patients(scores["patient_id"].to_list())
        order = np.argsort(self.patients, kind="stable")
        self.rows_of = np.split(order, np.cumsum(np.bincount(self.patients))[:-1])

    def ours(self) -> tuple[Floats, float]:
        """All replicates, and seconds for each."""
        started = _processor_seconds()
        ranking = rank(self.scores, self.outcomes, self.patients)
        replicates = bootstrap_over_patients(
            lambda counts: ranking.auc(counts)[:, np.newaxis],
            self.patients,
            n_replicates=N_OURS,
            rng=np.random.default_rng(0),
        )[:, 0]
        return replicates, (_processor_seconds() - started) / N_OURS

    def theirs(self) -> tuple[Floats, float]:
        """Some replicates of the same draws, and seconds for each."""
        started, rng = _processor_seconds(), np.random.default_rng(0)
        replicates = []
        for _ in range(N_THEIRS):
            drawn = rng.integers(0, len(self.rows_of), len(self.rows_of))
            rows = np.concatenate([self.rows_of[number] for number in drawn])
            replicates.append(roc_auc_score(self.outcomes[rows], self.scores[rows]))
        return np.array(replicates), (_processor_seconds() - started) / N_THEIRS


def measure_bootstraps(bootstraps: Bootstraps, n_runs: int) -> dict[str, object]:
    """Both ways in turns: milliseconds for a replicate, their ratio, and how far the AUCs differ."""
    bootstraps.theirs(), bootstraps.ours()
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    apart = 0.0
    for _ in range(n_runs):
        ours, own = bootstraps.ours()
        theirs, other = bootstraps.theirs()
        seconds["ours"].append(1000 * own)
        seconds["theirs"].append(1000 * other)
        apart = max(apart, float(np.abs(ours[:N_THEIRS] - theirs).max()))
    ratios = [other / own for own, other in zip(seconds["ours"], seconds["theirs"], strict=True)]
    interval = percentile_interval(ours, 0.95)
    return {
        "replicates timed": {"ours": N_OURS, "theirs": N_THEIRS},
        "ms for a replicate, ours": describe(seconds["ours"]),
        "ms for a replicate, theirs": describe(seconds["theirs"]),
        "times faster": describe(ratios),
        "greatest difference of AUC in the same replicate": apart,
        "interval of 2,000 replicates": [round(interval.low, 4), round(interval.high, 4)],
    }


def main() -> None:
    """Measure both, and write them."""
    n_runs, out = read_arguments(__doc__, "evaluation")
    manifest = make_manifest()
    scores = draw_scores(manifest)
    bootstraps = measure_bootstraps(Bootstraps(scores), n_runs)
    time_whole(scores, manifest)
    seconds = [time_whole(scores, manifest) for _ in range(n_runs)]
    results: dict[str, object] = {
        "images": scores.height,
        "patients": scores["patient_id"].n_unique(),
        "replicates": EvaluationSettings().bootstrap.n_replicates,
        "whole evaluation with its page, seconds of one core": describe(seconds),
        "bootstrap of the AUC of all images": bootstraps,
    }
    write_report(out, results, suite="evaluation", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
