"""Whether a prediction that is killed, and killed again, comes to the scores of an undisturbed one.

Phantoms as DICOM files, some of them broken, are scored by a run with random weights: once in peace, and once with
SIGKILL at moments drawn by chance, each time gone on with by --resume. Nothing may be scored twice or be lost.

Usage: python benchmarks/predict_killed.py [--files 5000] [--kills 2] [--seed 1] [--workers 0] [--folder KEPT]
           [--out benchmarks/results/predict_killed.json]

It ends with 1 where the two differ.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.phantom.cohort import CohortSettings, synthesize_cohort
from mammoscope.scaling import count_cores, run_tasks
from random_run import make_random_run
from reporting import write_report

PACKAGES = ("numpy", "pydicom", "torch", "openvino", "polars")
MEASURED = ("src/mammoscope/inference", "benchmarks")
BROKEN_SHARE = 0.01
VIEWS = 4
_COMMAND = [sys.executable, "-c", "from mammoscope.cli.main import main; main()", "predict"]
_PATIENCE_S = 3600.0
_MOST_AHEAD_S = 0.3  # between a part and the kill
TABLES = ("scores.parquet", "decisions.parquet", "prepared.parquet", "rejected.parquet")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is predicted: a run, files, and their table."""

    run: Path
    images: Path
    table: Path
    n_files: int
    n_broken: int

    def command(self, output: Path, *options: object) -> list[str]:
        """The words of a prediction into a folder."""
        given = [self.run, self.images, "--table", self.table, "-o", output, *options]
        return [*_COMMAND, *map(str, given)]


def set_scene(folder: Path, *, n_files: int, seed: int, n_workers: int, n_folds: int = 2) -> Scene:
    """Phantoms in the competition's layout, one in a hundred broken (two at least), and a run with random weights."""
    n_patients = -(-n_files // VIEWS)
    settings = CohortSettings(patients=1, prevalence=0.0, seed=seed, held_out=n_patients, scale=0.1)
    runner = partial(run_tasks, n_workers=n_workers) if n_workers > 1 else map
    synthesize_cohort(folder / "data", settings, run_tasks=runner, advance=lambda _: None)
    images = folder / "data" / "test_images"
    paths = sorted(images.rglob("*.dcm"))
    rng = random.Random(seed)  # noqa: S311  # places, not secrets
    broken = rng.sample(paths, max(2, round(BROKEN_SHARE * len(paths))))
    for number, path in enumerate(broken):
        path.write_bytes(path.read_bytes()[: 3000 if number % 2 else 0] or b"no picture at all")
    run = make_random_run(folder / "run", "test_resnet", PrepareSettings(rows=64, columns=32, bits=8), n_folds=n_folds)
    return Scene(run.path, images, folder / "data" / "test.csv", len(paths), len(broken))


def kill_when_at_work(command: Sequence[str], parts: Path, *, n_parts: int, wait_s: float) -> bool:
    """Start a prediction and kill it with all its kin some time after so many parts are there; False if it ended."""
    victim = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  # our own words
    deadline = time.monotonic() + _PATIENCE_S
    while len(list(parts.glob("*.parquet"))) < n_parts and time.monotonic() < deadline:
        if victim.poll() is not None:
            return False
        time.sleep(0.01)
    time.sleep(wait_s)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    return True


def finish(command: Sequence[str]) -> dict[str, Any]:
    """The summary of a prediction that is let alone."""
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    if done.returncode:
        sys.exit(f"predict ended with {done.returncode}: {done.stderr}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def compare(disturbed: Path, undisturbed: Path) -> dict[str, Any]:
    """What differs between the tables of two predictions: names of those, and the largest difference of a score."""
    tables = {name: [pl.read_parquet(folder / name) for folder in (disturbed, undisturbed)] for name in TABLES}
    ours, theirs = tables["scores.parquet"]
    key = ["level", "exam_id", "laterality", "image_id"]
    both = ours.join(theirs, on=key, how="full", nulls_equal=True, suffix="_there")
    difference = (both["score"] - both["score_there"]).abs()
    return {
        "n_only_in_one": both.filter(pl.col("score").is_null() | pl.col("score_there").is_null()).height,
        "largest_difference": float(difference.max() or 0.0),  # type: ignore[arg-type]  # of numbers there is one
        "different_tables": [name for name, (one, other) in tables.items() if not one.equals(other)],
    }


def disturb(scene: Scene, output: Path, *, n_kills: int, seed: int, options: Sequence[object] = ()) -> list[int]:
    """Predict with so many kills, and then to the end; how many parts there were at each kill."""
    rng = random.Random(seed)  # noqa: S311  # moments, not secrets
    parts = output / "parts"
    kept: list[int] = []
    for _ in range(n_kills):
        command = scene.command(output, "--resume", *options)
        if not kill_when_at_work(
            command, parts, n_parts=1 + max(kept, default=0), wait_s=rng.uniform(0, _MOST_AHEAD_S)
        ):
            break
        kept.append(len(list(parts.glob("*.parquet"))))
    return kept


def measure(folder: Path, *, n_files: int, n_kills: int, seed: int, n_workers: int) -> dict[str, Any]:
    """The facts of both predictions."""
    scene = set_scene(folder, n_files=n_files, seed=seed, n_workers=n_workers)
    options = ("--workers", n_workers)
    kept = disturb(scene, folder / "disturbed", n_kills=n_kills, seed=seed, options=options)
    start = time.monotonic()
    ended = finish(scene.command(folder / "disturbed", "--resume", *options))
    rest_s = time.monotonic() - start
    start = time.monotonic()
    undisturbed = finish(scene.command(folder / "undisturbed", *options))
    return {
        "n_files": scene.n_files,
        "n_broken": scene.n_broken,
        "n_kills": len(kept),
        "parts_at_each_kill": kept,
        "images_scored": [ended["images_scored"], undisturbed["images_scored"]],
        "images_refused": [ended["images_refused"], undisturbed["images_refused"]],
        "is_anything_left_over": (folder / "disturbed" / "parts").exists(),
        "seconds_after_the_last_kill": round(rest_s, 1),
        "seconds_undisturbed": round(time.monotonic() - start, 1),
        **compare(folder / "disturbed", folder / "undisturbed"),
    }


def is_sound(facts: dict[str, Any]) -> bool:
    """Whether nothing was lost, nothing is there twice, and the scores are the same to 1e-6."""
    return (
        facts["n_only_in_one"] == 0
        and facts["largest_difference"] <= 1e-6  # noqa: PLR2004  # what is promised in f32
        and not facts["is_anything_left_over"]
        and sum(facts["images_scored"]) + sum(facts["images_refused"]) == 2 * facts["n_files"]
    )


def main() -> None:
    """Disturb, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=count_cores())
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/predict_killed.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        facts = measure(folder, n_files=given.files, n_kills=given.kills, seed=given.seed, n_workers=given.workers)
    write_report(given.out, facts, suite="predict_killed", packages=PACKAGES, measured=MEASURED)
    if not is_sound(facts):
        sys.exit("the two predictions differ")


if __name__ == "__main__":
    main()
