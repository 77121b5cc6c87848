"""How fast headers become a cohort: ours, and pydicom over whole files, in turns.

The files are phantoms, copied to as many studies as are asked for, each copy with its own identity. What people write
for this is a loop over `pydicom.dcmread(path)` that picks a few elements; it reads the pixels too. Ours reads the bytes
before them, judges each file, and builds the checked manifest, in one process and in one for each core.

Usage: python benchmarks/index.py [--runs 5] [--out benchmarks/results/index.json]

It also times the whole command `mammoscope index rsna --table train.csv` on the competition's table below
MAMMOSCOPE_REAL_DATA, where that is set.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import dcmread

from mammoscope.cohort.sources.dicom import build_cohort, list_files, read_headers
from mammoscope.phantom.cohort import CohortSettings, synthesize_cohort
from mammoscope.scaling import count_cores, run_tasks
from reporting import describe, read_arguments, write_report

PACKAGES = ("pydicom", "polars", "joblib")
MEASURED = ("src/mammoscope/cohort", "src/mammoscope/imaging", "benchmarks/index.py")
N_PATIENTS = 12
N_COPIES = 42  # of each file: 2,016 files
SCALE = 0.25
N_TARGET_PER_MINUTE = 5_000


def write_studies(folder: Path) -> Path:
    """A folder of studies: phantoms, and copies of them of other patients."""
    drawn = folder / "drawn"
    settings = CohortSettings(patients=N_PATIENTS, prevalence=0.5, seed=1, scale=SCALE)
    synthesize_cohort(drawn, settings, run_tasks=partial(run_tasks, n_workers=count_cores()), advance=lambda _: None)
    for path in sorted(drawn.glob("train_images/*/*.dcm")):
        dataset = dcmread(path)
        for copy in range(N_COPIES):
            dataset.PatientID = f"{path.parent.name}.{copy}"
            dataset.StudyInstanceUID = f"2.25.1{copy:03d}{path.parent.name}"
            dataset.SOPInstanceUID = f"2.25.1{copy:03d}{path.stem}"
            target = folder / "studies" / f"{copy}" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(target)
    return folder / "studies"


def index_ours(folder: Path, n_workers: int) -> int:
    """The number of images of the cohort."""
    runner = partial(run_tasks, n_workers=n_workers)
    headers = read_headers(list_files(folder), (), run_tasks=runner, advance=lambda _: None)
    return build_cohort(headers, None, on_conflict="refuse").manifest.height


def index_by_loop(folder: Path) -> int:
    """The number of rows of a table as people write it."""
    rows = []
    for path in sorted(folder.rglob("*.dcm")):
        dataset = dcmread(path)
        rows.append(
            (
                dataset.PatientID,
                dataset.StudyInstanceUID,
                dataset.SOPInstanceUID,
                dataset.ImageLaterality,
                dataset.ViewPosition,
                dataset.PatientAge,
                dataset.ManufacturerModelName,
            )
        )
    return len(rows)


def measure(function: Callable[[], int], n_files: int) -> float:
    """Files per minute."""
    start = time.perf_counter()
    if function() != n_files:
        sys.exit("a file was not indexed")
    return 60 * n_files / (time.perf_counter() - start)


def compare(folder: Path, n_runs: int) -> dict[str, Any]:
    """Rates of all ways over runs in turns, after one warm-up."""
    n_files = len(list_files(folder))
    ways: dict[str, Callable[[], int]] = {
        "pydicom, whole files, 1 process": partial(index_by_loop, folder),
        "ours, 1 process": partial(index_ours, folder, 1),
        f"ours, {count_cores()} processes": partial(index_ours, folder, count_cores()),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(n_runs + 1):
        for name in sorted(ways, reverse=bool(run % 2)):
            rate = measure(ways[name], n_files)
            if run:
                rates[name].append(rate)
    loop, *ours = rates
    return {
        "n_files": n_files,
        "target_per_minute": N_TARGET_PER_MINUTE,
        "files_per_minute": {name: describe(values) for name, values in rates.items()},
        "ours_over_loop": {
            name: describe([mine / theirs for mine, theirs in zip(rates[name], rates[loop], strict=True)])
            for name in ours
        },
    }


def time_command(arguments: Sequence[str], folder: Path, n_runs: int) -> dict[str, dict[str, float]]:
    """Seconds of the whole command, on the clock and of the processor, after a warm-up that leaves compiled modules."""
    seconds, of_processor = [], []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    command = [str(Path(sys.executable).with_name("mammoscope")), *arguments]
    for run in range(n_runs + 1):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603  # our own words
        if run:
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(time.perf_counter() - start)
            of_processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"clock": describe(seconds), "processor": describe(of_processor)}


def main() -> None:
    """Run the suite."""
    n_runs, out = read_arguments(__doc__, "index")
    real = os.environ.get("MAMMOSCOPE_REAL_DATA")
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {"dicom": compare(write_studies(Path(folder)), n_runs), "n_runs": n_runs}
        if real is not None:
            table = str(Path(real, "rsna", "train.csv"))
            arguments = ("index", "rsna", "--table", table, "-o", str(Path(folder, "cohort")))
            results["rsna_table_of_54706_rows_s"] = time_command(arguments, Path(folder), n_runs)
    write_report(out, results, suite="index", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
