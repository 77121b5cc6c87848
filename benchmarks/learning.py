"""What each way of learning reaches on real mammograms: out-of-fold breast AUC, with intervals over patients.

It needs the pictures below MAMMOSCOPE_REAL_DATA. Each run is one call of `mammoscope train`, on one core, as many at
once as there are cores; its folder lies below `--work`, so that a suite that was stopped goes on where it was.

- figures: MobileNetV2 from ImageNet weights on the competition's 256-pixel pictures, three folds: the public baseline's
  frozen backbone, `small` on pictures alone (also on larger ones), with age and density in the network, and with a
  second stage of them
- ablation: `small` on smaller pictures for fewer epochs, one thing changed at a time, all else equal
- transfer: `small` on CBIS-DDSM, and each set's networks on the other set
- phantoms: `small` on a synthetic cohort, all cores for one training

Usage: python benchmarks/learning.py [--part figures …] [--work work/learning] [--out benchmarks/results/learning.json]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from learning_runs import ABLATION, BASELINE, FILM, LARGER, PHANTOMS, SHORT, SMALL, TABLE, Change
from mammoscope.cohort.manifest import read_manifest
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    number_patients,
    percentile_interval,
)
from mammoscope.evaluation.comparison import paired_auc_difference
from mammoscope.evaluation.headline import measure_level
from mammoscope.evaluation.levels import sample_level
from mammoscope.evaluation.operating_points import FILE_NAME
from mammoscope.evaluation.scores import list_breasts, read_scores, write_scores
from mammoscope.imaging.store import open_store
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.engine import score_pictures
from mammoscope.learning.logits import combine_to_breasts, concatenate
from mammoscope.learning.scoring import tabulate_scores
from mammoscope.scaling import count_cores
from reporting import read_commit, write_report

PACKAGES = ("torch", "timm", "lightning", "numpy", "polars")
MEASURED = ("src/mammoscope/learning", "benchmarks")
PARTS = ("figures", "ablation", "transfer", "phantoms")
N_FOLDS, SIZE = 3, "320x192"
PART = 32  # pictures that are scored at once
BOOTSTRAP = BootstrapSettings(n_replicates=2000, seed=0)
_WORDS_BY_SOURCE: dict[str, Callable[[Path], tuple[str | Path, ...]]] = {
    "rsna": lambda real: (
        *("rsna", "--table", real / "rsna/train.csv", "--images", real / "rsna/png256/train_images"),
        "--allow-missing",
    ),
    "cbis": lambda real: (
        *("table", "--table", real / "cbis_ddsm_mass/index.csv", "--mapping", "cbis_ddsm_mass"),
        *("--images", real / "cbis_ddsm_mass"),
    ),
}


@dataclass(frozen=True, slots=True)
class Data:
    """A split cohort, its store, and the weights to start from."""

    cohort: Path
    store: Path
    weights: Path


class Bench:
    """The folder of all runs, and the command line that fills it."""

    def __init__(self, work: Path, real: Path) -> None:
        self.work, self.real = work, real

    @property
    def weights(self) -> Path:
        """Those of MobileNetV2 from ImageNet."""
        return next(self.real.glob("weights/*.safetensors"))

    def call(self, *words: object, n_threads: int = 1) -> None:
        """Run a command of mammoscope as a user does; end where it fails."""
        program = str(Path(sys.executable).parent / "mammoscope")
        environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)}
        log = self.work / "log.txt"
        with log.open("a") as text:
            done = subprocess.run([program, *map(str, words)], env=environment, stdout=text, stderr=text, check=False)  # noqa: S603  # our own program
        if done.returncode:
            sys.exit(f"mammoscope {' '.join(map(str, words))}: ended with {done.returncode}, see {log}")

    def make_real(self, source: str) -> Data:
        """The competition's 256-pixel pictures (`rsna`) or CBIS-DDSM (`cbis`), in three folds, prepared."""
        data = Data(self.work / source, self.work / f"{source}-store", self.weights)
        if not (data.cohort / "manifest.parquet").exists():
            self.call("index", *_WORDS_BY_SOURCE[source](self.real), "-o", data.cohort)
            self.call("split", data.cohort, "--folds", N_FOLDS)
        self.call("prepare", data.cohort, "-o", data.store, "--size", SIZE, "--bits", 8)
        return data

    def train(self, change: Change, data: Data, *options: object, n_threads: int = 1) -> Path:
        """The run folder of a recipe with changes, all folds of it."""
        run = self.work / "runs" / data.cohort.name / change.folder
        sets = [word for each in change.settings for word in ("--set", each)]
        where = ("--cohort", data.cohort, "--store", data.store, "--weights", data.weights, "-o", run)
        self.call("train", change.recipe, *where, *sets, *options, n_threads=n_threads)
        print(f"{data.cohort.name} {change.name}: {measure_run(run)}", flush=True)
        return run

    def train_all(self, changes: Sequence[Change], data: Data) -> list[Path]:
        """The run folders of several, as many at once as there are cores."""
        with ThreadPoolExecutor(count_cores()) as pool:
            return list(pool.map(partial(self.train, data=data), changes))


def run_figures(bench: Bench) -> dict[str, object]:
    """The trainings, the second stage over their scores, and what each is above another."""
    changes = (SMALL, LARGER, TABLE, BASELINE)
    small, larger, table, frozen = runs = bench.train_all(changes, bench.make_real("rsna"))
    figures: dict[str, object] = {
        change.name: {"changed": change.settings, **measure_run(run), "second stage": read_second_stage(run)}
        for change, run in zip(changes, runs, strict=True)
    }
    return figures | {
        "small minus baseline": compare(small, frozen),
        "larger pictures minus small": compare(larger, small),
        "age and density in the network minus pictures alone": compare(table, small),
        "threshold": compare_thresholds(small),
    }


def read_second_stage(run: Path) -> dict[str, object] | None:
    """The AUC after the second stage of a run and what it adds, where the run has one."""
    path = run / "second_stage" / "summary.json"
    if not path.exists():
        return None
    summary = json.loads(path.read_text())
    compared = {name: _read(summary["breast_auc"][name]) for name in ("after", "difference")}
    return {"sees": ["logit", *summary["columns"]], **compared}


def run_ablation(bench: Bench) -> dict[str, object]:
    """Each change of `small`, and what it is above `small` with the same pictures, epochs and folds."""
    plain, *changed = bench.train_all((SHORT, *ABLATION), bench.make_real("rsna"))
    rows = {
        change.name: {
            "changed": list(change.changed),
            "auc": measure_run(run)["auc"],
            "difference": compare(run, plain),
        }
        for change, run in zip(ABLATION, changed, strict=True)
    }
    return {"settings of all": list(SHORT.settings), SHORT.name: measure_run(plain), **rows}


def run_transfer(bench: Bench) -> dict[str, object]:
    """`small` on film, and each set's networks on the other set."""
    data = {source: bench.make_real(source) for source in _WORDS_BY_SOURCE}
    film = bench.train(FILM, data["cbis"])
    digital = bench.train(LARGER, data["rsna"])
    return {
        "small on RSNA": measure_run(digital),
        "small on CBIS-DDSM": measure_run(film),
        "trained on RSNA, tested on CBIS-DDSM": measure(score_others(digital, data["cbis"])),
        "trained on CBIS-DDSM, tested on RSNA": measure(score_others(film, data["rsna"])),
    }


def run_phantoms(bench: Bench) -> dict[str, object]:
    """`small` on phantoms, one fold; the seconds are from the command to the scores."""
    folder = bench.work / "phantoms"
    if not folder.exists():
        bench.call("synthesize", folder, "--patients", 200, "--prevalence", 0.25, "--seed", 1, "--scale", 0.2)
    data = Data(bench.work / "phantom", bench.work / "phantom-store", bench.weights)
    if not (data.cohort / "manifest.parquet").exists():
        table, images = folder / "train.csv", folder / "train_images"
        bench.call("index", "rsna", "--table", table, "--images", images, "-o", data.cohort)
        bench.call("split", data.cohort, "--folds", N_FOLDS)
    bench.call("prepare", data.cohort, "-o", data.store, "--size", SIZE, "--bits", 8)
    started = time.monotonic()
    run = bench.train(PHANTOMS, data, "--fold", 0, n_threads=count_cores())
    return measure_run(run) | {"seconds_from_command_to_scores": round(time.monotonic() - started)}


def measure(scores: Path) -> dict[str, object]:
    """AUC and average precision of the breasts of a score table, with intervals over patients."""
    breast, _ = measure_level(sample_level(read_scores(scores), "breast"), BOOTSTRAP)
    counts = {"breasts": breast.n, "with_cancer": breast.n_cases, "patients": breast.n_patients}
    return counts | {"auc": _round(breast.auc), "average_precision": _round(breast.average_precision)}


def measure_run(run: Path) -> dict[str, object]:
    """As `measure`, with the seconds of its folds, scoring of the held-out pictures after each epoch included."""
    histories = sorted((run / "folds").glob("*/history.csv"))
    seconds = [round(float(pl.read_csv(each)["seconds"].sum())) for each in histories]
    return measure(run / "scores.parquet") | {"seconds_by_fold": seconds}


def compare(run: Path, other: Path) -> dict[str, float | None]:
    """The AUC of a run minus that of another on the same breasts, with its interval over patients."""
    key = ["exam_id", "laterality"]
    first, second = (list_breasts(read_scores(each / "scores.parquet")) for each in (other, run))
    both = first.join(second.select(*key, after="score"), on=key, how="inner", validate="1:1")
    if not both.height == first.height == second.height:
        sys.exit(f"{run} and {other}: not the same breasts; remove the runs and begin anew")
    compared = paired_auc_difference(
        both["score"].to_numpy(),
        both["after"].to_numpy(),
        outcomes=both["cancer"].to_numpy(),
        patients=number_patients(both["patient_id"].to_list()),
        settings=BOOTSTRAP,
    )
    return _round(compared.difference)


def compare_thresholds(run: Path) -> dict[str, object]:
    """F1 of breasts at thresholds that other folds chose, and at 0.5; the paired difference with its interval."""
    points = json.loads((run / FILE_NAME).read_text())["points"]
    chosen = next(point for point in points if point["name"] == "maximal_f1")
    threshold_by_fold = {each["fold"]: each["threshold"] for each in chosen["by_fold"]}
    breasts = list_breasts(read_scores(run / "scores.parquet"))
    patients = number_patients(breasts["patient_id"].to_list())
    scores, outcomes = breasts["score"].to_numpy(), breasts["cancer"].to_numpy()
    thresholds = breasts["fold"].replace_strict(threshold_by_fold, return_dtype=pl.Float64).to_numpy()
    calls = np.stack([scores >= thresholds, scores >= 0.5])  # noqa: PLR2004  # the baseline's; (way, breast)

    def statistic(counts: np.ndarray) -> np.ndarray:
        weights = counts[:, patients]  # (replicate, breast)
        found, called = weights @ (calls & outcomes).T, weights @ calls.T  # (replicate, way)
        f1 = 2 * found / (called + weights @ outcomes[:, None])
        return np.column_stack([f1, f1[:, 0] - f1[:, 1]])  # (replicate, value)

    value = statistic(np.ones((1, int(patients.max()) + 1)))[0]
    replicates = bootstrap_over_patients(
        statistic, patients, n_replicates=BOOTSTRAP.n_replicates, rng=BOOTSTRAP.generator()
    )
    interval = percentile_interval(replicates[:, 2], BOOTSTRAP.confidence)
    names = ("f1, cross-fitted thresholds", "f1, at 0.5")
    return dict(zip(names, value[:2].round(4).tolist(), strict=True)) | {
        "difference": _round(Estimate(float(value[2]), interval, None))
    }


def score_others(run: Path, data: Data) -> Path:
    """The score table of a cohort that a run's networks never saw, of another source."""
    bundle, store = open_bundle(run, torch.device("cpu")), open_store(data.store)
    rows = read_manifest(data.cohort).filter(pl.col("cancer").is_not_null() & pl.col("image_id").is_in(store.image_ids))
    parts = [
        score_pictures(bundle, [store.read(image_id) for image_id in rows["image_id"][start : start + PART]])
        for start in range(0, rows.height, PART)
    ]
    by_network = [concatenate(of_network) for of_network in zip(*parts, strict=True)]
    ways = bundle.recipe.views.combine
    tables = [tabulate_scores(rows, logits, ways).filter(pl.col("level") == "image") for logits in by_network]
    mean = np.mean([table["score"].to_numpy() for table in tables], axis=0)  # (image,)
    images = tables[0].with_columns(score=pl.Series(mean))
    path = bench_scores(run, data)
    write_scores(pl.concat([images, combine_to_breasts(images, by_network, ways)]), path)
    return path


def bench_scores(run: Path, data: Data) -> Path:
    """Where the scores of a run for another cohort lie."""
    return run / f"scores-of-{data.cohort.name}.parquet"


def _round(estimate: Estimate) -> dict[str, float | None]:
    """The value and the ends of its interval, in four digits."""
    return _read(asdict(estimate))


def _read(estimate: dict[str, Any]) -> dict[str, float | None]:
    """As `_round`, of an estimate as files have it."""
    ends = estimate["interval"] or {"low": None, "high": None}
    figures = {"value": estimate["value"], "low": ends["low"], "high": ends["high"]}
    return {name: None if figure is None else round(figure, 4) for name, figure in figures.items()}


RUN_BY_PART = {"figures": run_figures, "ablation": run_ablation, "transfer": run_transfer, "phantoms": run_phantoms}


def main() -> None:
    """Run the parts that were asked for, and keep what is known of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--work", type=Path, default=Path("work/learning"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/learning.json"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if "MAMMOSCOPE_REAL_DATA" not in os.environ:
        sys.exit("MAMMOSCOPE_REAL_DATA: not set, expected the folder of the real pictures; see docs/real-data.md")
    bench = Bench(arguments.work, Path(os.environ["MAMMOSCOPE_REAL_DATA"]))
    known = json.loads(arguments.out.read_text())["results"] if arguments.out.exists() else {}
    results = known | {
        part: {"commit": read_commit(MEASURED), **RUN_BY_PART[part](bench)} for part in arguments.part or PARTS
    }
    write_report(arguments.out, results, suite="learning", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
