"""How fast and how evenly whole patients are split: ours, and scikit-learn's StratifiedGroupKFold, in turns.

Five folds of 54,706 images of 11,913 patients: the competition's table under MAMMOSCOPE_REAL_DATA, where that is set,
and always a drawn one of that size. scikit-learn stratifies the images by cancer and keeps patients whole. A third is
plain iterative stratification (Sechidis 2011) of the same strata without what `mammoscope.cohort.stratify` adds; it is
measured for evenness alone.

Usage: python benchmarks/splits.py [--runs 5] [--out benchmarks/results/splits.json]
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.model_selection import StratifiedGroupKFold

from mammoscope.cohort.fold_balance import LEAST_EXPECTED, tabulate_folds
from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.sources.rsna import read_rsna_table
from mammoscope.cohort.splits import assign_folds
from mammoscope.cohort.stratify import STRATA, describe_strata
from reporting import describe, read_arguments, write_report

N_FOLDS, N_PATIENTS, SEED = 5, 11_913, 0
DENSITIES = {"A": 0.06, "B": 0.23, "C": 0.22, "D": 0.03, "": 0.46}  # the competition's shares, as the two below
IMPLANTS, CASES = 0.014, 0.04
PACKAGES = ("numpy", "polars", "scikit-learn")
Split = Callable[[pl.DataFrame], pl.DataFrame]


def draw_cohort() -> pl.DataFrame:
    """A cohort of the competition's size: 4 % of the patients are cases, 4 to 9 images each, two sites."""
    rng = np.random.default_rng(SEED)
    rows = []
    for number in range(N_PATIENTS):
        patient = {
            "patient_id": f"p{number}",
            "exam_id": f"e{number}",
            "source": "drawn",
            "age_years": float(np.clip(rng.normal(58.5, 10), 26, 89)),
            "density": str(rng.choice(list(DENSITIES), p=list(DENSITIES.values()))) or None,
            "implant": bool(rng.random() < IMPLANTS),
            "site": str(rng.integers(1, 3)),
        }
        side = rng.choice(["L", "R"]) if rng.random() < CASES else None
        for image in range(4 + min(5, int(rng.geometric(0.63)) - 1)):
            laterality, view = "LR"[image % 2], ("CC", "MLO")[image // 2 % 2]
            outcome = {"laterality": laterality, "view": view, "cancer": laterality == side}
            rows.append(dict.fromkeys(SCHEMA) | patient | outcome | {"image_id": f"{number}-{image}"})
    return pl.DataFrame(rows, schema=SCHEMA)


def split_ours(manifest: pl.DataFrame) -> pl.DataFrame:
    """The folds of `mammoscope split --folds 5`."""
    return assign_folds(manifest, n_folds=N_FOLDS, rng=np.random.Generator(np.random.PCG64(SEED)))


def split_like_scikit_learn(manifest: pl.DataFrame) -> pl.DataFrame:
    """The folds of StratifiedGroupKFold."""
    cancer, patients = manifest["cancer"].to_numpy(), manifest["patient_id"].to_numpy()
    folds = np.empty(manifest.height, dtype=np.int64)
    splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=SEED)
    for fold, (_, held_out) in enumerate(splitter.split(cancer, cancer, patients)):
        folds[held_out] = fold
    return manifest.with_columns(pl.Series("fold", folds))


def split_like_sechidis(manifest: pl.DataFrame) -> pl.DataFrame:
    """Plain iterative stratification of single strata, folds by desire for the label, then for patients."""
    rng = np.random.default_rng(SEED)
    strata = describe_strata(manifest).sample(fraction=1, shuffle=True, seed=SEED)
    labels = {row[0]: set(zip(STRATA, row[1:], strict=True)) for row in strata.iter_rows()}
    left: dict[tuple[str, str], set[str]] = {}
    for patient, each in labels.items():
        for label in each:
            left.setdefault(label, set()).add(patient)
    desire = {label: np.full(N_FOLDS, len(each) / N_FOLDS) for label, each in left.items()}
    patients_wanted, fold_of = np.full(N_FOLDS, len(labels) / N_FOLDS), {}
    while any(left.values()):
        rarest = min((label for label in left if left[label]), key=lambda label: (len(left[label]), label))
        for patient in sorted(left[rarest]):
            best = np.flatnonzero(desire[rarest] == desire[rarest].max())
            best = best[patients_wanted[best] == patients_wanted[best].max()]
            fold_of[patient] = fold = int(rng.choice(best))
            patients_wanted[fold] -= 1
            for label in labels[patient]:
                desire[label][fold] -= 1
                left[label].discard(patient)
    return manifest.with_columns(pl.col("patient_id").replace_strict(fold_of, return_dtype=pl.Int64).alias("fold"))


def judge(folds: pl.DataFrame) -> dict[str, float]:
    """The largest relative imbalances: of the prevalences, of single strata, and of strata within the outcomes."""
    table = tabulate_folds(folds).filter(pl.col("n_expected") >= LEAST_EXPECTED)
    is_cancer, is_pair = pl.col("stratum") == "cancer", pl.col("stratum").str.contains(" and ")
    groups = {
        "prevalence, breasts": is_cancer & (pl.col("unit") == "breasts"),
        "prevalence, images": is_cancer & (pl.col("unit") == "images"),
        "strata": ~is_cancer & ~is_pair,
        "strata within outcomes": is_pair,
    }
    return {
        name: round(float(np.abs(table.filter(rows)["imbalance"].to_numpy()).max()), 4) for name, rows in groups.items()
    }


def measure(manifest: pl.DataFrame, n_runs: int) -> dict[str, object]:
    """Seconds of both, in turns after a warm-up, their ratio, and how even all three are."""
    ways: dict[str, Split] = {"ours": split_ours, "scikit-learn": split_like_scikit_learn}
    evenness = {name: judge(way(manifest)) for name, way in {**ways, "Sechidis": split_like_sechidis}.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_runs):
        for name, way in ways.items():
            started = time.perf_counter()
            way(manifest)
            seconds[name].append(time.perf_counter() - started)
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["scikit-learn"], strict=True)]
    return {
        "images": manifest.height,
        "patients": manifest["patient_id"].n_unique(),
        "seconds": {name: describe(values) for name, values in seconds.items()},
        "times as fast as scikit-learn": describe(ratios),
        "largest imbalance": evenness,
    }


def main() -> None:
    """Measure, print, and write the report."""
    n_runs, path = read_arguments(__doc__, "splits")
    cohorts = {"drawn": draw_cohort()}
    folder = os.environ.get("MAMMOSCOPE_REAL_DATA")
    if folder:
        cohorts["competition"] = read_rsna_table(Path(folder) / "rsna" / "train.csv", with_outcomes=True)
    results: dict[str, object] = {name: measure(manifest, n_runs) for name, manifest in cohorts.items()}
    write_report(
        path,
        {"runs": n_runs, "folds": N_FOLDS, "cohorts": results},
        suite="splits",
        packages=PACKAGES,
        measured=["src/mammoscope/cohort/stratify.py", "src/mammoscope/cohort/splits.py"],
    )


if __name__ == "__main__":
    main()
