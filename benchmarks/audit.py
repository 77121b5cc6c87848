"""How long the audit of a cohort of full size takes, and its intervals against a bootstrap.

The whole: counts, checks, shares, shortcuts, folds and the page of 54,706 images, without a store and with one, whose
pictures (1024 x 512, 16 bit) lie in memory here. The intervals: the AUC of one column with its interval by influence,
as the audit takes it, and by a bootstrap over patients of scikit-learn's `roc_auc_score`, in turns.

Usage: python benchmarks/audit.py [--runs 5] [--out benchmarks/results/audit.json]

It takes the competition's table under MAMMOSCOPE_REAL_DATA, where that is set, and else draws one of its size.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from mammoscope.cohort.audit.audit import audit_cohort
from mammoscope.cohort.audit.cross_validation import auc_over_folds, score_out_of_fold
from mammoscope.cohort.audit.page import render
from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.sources.rsna import read_rsna_table
from mammoscope.cohort.splits import assign_folds
from reporting import describe, read_arguments, write_report

N_PATIENTS, N_REPLICATES = (
    13_677,
    200,
)  # four images of each; 2,000 replicates would be usual, and take ten times as long
PACKAGES = ("numpy", "polars", "matplotlib", "scikit-learn")
Picture = np.ndarray[tuple[int, int], np.dtype[np.uint16]]


class Shelf:
    """A store of full size, of which every picture is the same."""

    def __init__(self, manifest: pl.DataFrame) -> None:
        rng = np.random.default_rng(0)
        self._picture: Picture = rng.integers(0, 65_536, (1024, 512)).astype(np.uint16)
        whole = {"original_rows": 4096, "original_columns": 3328, "content_top": 0, "content_rows": 1024}
        numbers = [pl.lit(value, pl.Int64).alias(name) for name, value in (whole | {"content_columns": 512}).items()]
        texts = [pl.lit(value).alias(name) for name, value in {"transfer_syntax": "raw", "decoder": "raw"}.items()]
        hashes = [("sha" + pl.col("image_id")).alias(name) for name in ("content_hash", "file_hash")]
        self.prepared = manifest.select(
            "image_id",
            *numbers,
            *texts,
            *hashes,
            pl.lit(value=False).alias("is_inverted"),
            pl.lit(0.07).alias("row_spacing_mm"),
        )

    def read(self, image_id: str) -> Picture:
        """The picture."""
        del image_id
        return self._picture


def read_table() -> tuple[str, pl.DataFrame]:
    """The table's name, and the table with folds."""
    folder = os.environ.get("MAMMOSCOPE_REAL_DATA")
    if folder:
        name, table = "RSNA 2023", read_rsna_table(Path(folder, "rsna", "train.csv"), with_outcomes=True)
    else:
        name, table = "drawn", draw_table()
    return name, assign_folds(table, n_folds=5, rng=np.random.default_rng(0))


def draw_table() -> pl.DataFrame:
    """54,708 images: four of each patient, 4 % of the patients with cancer in the left breast."""
    rng = np.random.default_rng(0)
    patients = np.arange(N_PATIENTS)
    of_patient = pl.DataFrame(
        {
            "patient_id": patients.astype(str),
            "exam_id": patients.astype(str),
            "age_years": rng.normal(58, 10, N_PATIENTS).round(),
            "machine": rng.integers(1, 11, N_PATIENTS).astype(str),
            "site": (patients % 2).astype(str),
            "is_ill": rng.random(N_PATIENTS) < 0.04,  # noqa: PLR2004  # about that of the competition
        }
    )
    views = pl.DataFrame({"laterality": ["L", "L", "R", "R"], "view": ["CC", "MLO", "CC", "MLO"]})
    images = of_patient.join(views, how="cross").with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias("image_id"),
        pl.lit("drawn").alias("source"),
        (pl.col("is_ill") & (pl.col("laterality") == "L")).alias("cancer"),
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name not in images.columns]
    return images.with_columns(missing).select(list(SCHEMA))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def audit_whole(manifest: pl.DataFrame, store: Shelf | None) -> str:
    """The page."""
    return render(audit_cohort(manifest, rng=np.random.default_rng(0), store=store))


def measure_whole(manifest: pl.DataFrame, n_runs: int) -> dict[str, object]:
    """Seconds of the whole audit, without and with a store, in turns."""
    kinds = {"without a store": None, "with a store": Shelf(manifest)}
    runs = [
        {kind: seconds(partial(audit_whole, manifest, store)) for kind, store in kinds.items()}
        for _ in range(n_runs + 1)  # the first warms up
    ][1:]
    return {kind: describe([run[kind] for run in runs]) for kind in kinds}


def measure_interval(manifest: pl.DataFrame, n_runs: int) -> dict[str, object]:
    """Seconds of the AUC of the machine with its interval, by influence and by bootstrap, in turns, and the ratio."""
    breasts = manifest.unique(["exam_id", "laterality"], maintain_order=True)
    patients = np.unique(breasts["patient_id"].to_numpy(), return_inverse=True)[1]
    folds = breasts["fold"].to_numpy().astype(np.intp)
    outcomes = breasts["cancer"].to_numpy()
    codes = np.unique(breasts["machine"].to_numpy(), return_inverse=True)[1]
    scores = score_out_of_fold(codes, outcomes, folds)
    rows_of_patient = np.split(np.argsort(patients, kind="stable"), np.cumsum(np.bincount(patients))[:-1])
    rng = np.random.default_rng(0)

    def bootstrap() -> None:
        for _ in range(N_REPLICATES):
            drawn = rng.integers(0, len(rows_of_patient), len(rows_of_patient))
            rows = np.concatenate([rows_of_patient[patient] for patient in drawn])
            roc_auc_score(outcomes[rows], scores[rows])

    def influence() -> None:
        auc_over_folds(scores, outcomes, folds=folds, patients=patients)

    runs = [(seconds(influence), seconds(bootstrap)) for _ in range(n_runs + 1)][1:]
    return {
        "influence": describe([ours for ours, _ in runs]),
        f"bootstrap of {N_REPLICATES}": describe([theirs for _, theirs in runs]),
        "bootstrap / influence": describe([theirs / ours for ours, theirs in runs]),
    }


def main() -> None:
    """Measure and write."""
    n_runs, out = read_arguments(__doc__, "audit")
    name, manifest = read_table()
    results: dict[str, object] = {
        "table": name,
        "images": manifest.height,
        "runs": n_runs,
        "seconds of the whole": measure_whole(manifest, n_runs),
        "seconds of one interval": measure_interval(manifest, n_runs),
    }
    measured = ("src/mammoscope/cohort", "src/mammoscope/pages", "benchmarks/audit.py")
    write_report(out, results, suite="audit", packages=PACKAGES, measured=measured)


if __name__ == "__main__":
    main()
