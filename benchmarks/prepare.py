"""How fast a file becomes a prepared image: ours, and the plain way with pydicom, in turns.

The plain way decodes the whole picture with pydicom, spreads it from its lowest to its highest value as floats, and
resizes it whole. It neither crops nor judges; ours does both, and decodes no more of a JPEG 2000 file than the result
can show.

Usage: python benchmarks/prepare.py [FOLDER of .dcm files] [--runs 5] [--out benchmarks/results/prepare.json]

Without a folder: the competition's files under MAMMOSCOPE_REAL_DATA, or else phantoms made for the occasion.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import UID

from mammoscope.files import write_json
from mammoscope.imaging.header import read_header
from mammoscope.imaging.prepare import PrepareSettings, prepare_image
from mammoscope.scaling import count_cores, run_tasks

SETTINGS = PrepareSettings(rows=1024, columns=512, bits=16)
PACKAGES = ("numpy", "pydicom", "pillow", "imagecodecs", "opencv-python-headless")


def prepare_ours(path: Path) -> NDArray[np.generic]:
    """The prepared image by this project."""
    return prepare_image(path.read_bytes(), SETTINGS, name=path.stem).pixels


def prepare_plainly(path: Path) -> NDArray[np.generic]:
    """A picture of the same size by pydicom, min-max and a resize."""
    dataset = dcmread(path)
    pixels: NDArray[np.float32] = dataset.pixel_array.astype(np.float32)
    brightness = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        brightness = 1 - brightness
    resized = cv2.resize(brightness, (SETTINGS.columns, SETTINGS.rows), interpolation=cv2.INTER_AREA)
    return np.asarray(resized * 65535, dtype=np.uint16)


def measure(function: Callable[[Path], object], paths: list[Path]) -> float:
    """Seconds per file."""
    start = time.perf_counter()
    for path in paths:
        function(path)
    return (time.perf_counter() - start) / len(paths)


def compare(paths: list[Path], n_runs: int) -> dict[str, object]:
    """Medians and ranges of both ways over runs in turns, after one warm-up."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    functions = {"ours": prepare_ours, "plain": prepare_plainly}
    for run in range(n_runs + 1):
        for name in sorted(functions, reverse=bool(run % 2)):
            taken = measure(functions[name], paths)
            if run:
                seconds[name].append(taken)
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True)]
    return {
        "n_files": len(paths),
        **{f"{name}_s_per_file": describe(values) for name, values in seconds.items()},
        "plain_over_ours": describe(ratios),
    }


def describe(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {key: round(f(values), 4) for key, f in (("median", statistics.median), ("min", min), ("max", max))}


def group_by_kind(paths: list[Path]) -> dict[str, list[Path]]:
    """The files by size and encoding, as in '2776 x 2082, JPEG 2000 …'."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        header = read_header(path.read_bytes(), name=path.stem)
        kind = f"{header.rows} x {header.columns}, {UID(str(header.transfer_syntax)).name}, {header.photometric}"
        groups.setdefault(kind, []).append(path)
    return dict(sorted(groups.items()))


def synthesize(folder: Path) -> list[Path]:
    """Twelve phantoms of full size."""
    from mammoscope.phantom.cohort import parse_settings, synthesize_cohort  # noqa: PLC0415  # only when needed

    settings = parse_settings(patients=3, prevalence=0.5, seed=1, held_out=0, scale=1.0)
    synthesize_cohort(folder, settings, run_tasks=partial(run_tasks, n_workers=1), advance=lambda _: None)
    return sorted(folder.rglob("*.dcm"))


def find_files(folder: Path | None) -> tuple[str, list[Path]]:
    """What is measured, in words, and its files; none means phantoms."""
    real_data = os.environ.get("MAMMOSCOPE_REAL_DATA")
    if folder is None and real_data:
        return "RSNA competition files", sorted(Path(real_data, "rsna", "dicom").rglob("*.dcm"))
    return ("phantoms", []) if folder is None else ("files of a folder", sorted(folder.rglob("*.dcm")))


def read_commit() -> str:
    """The commit that is measured, with a mark when the measured code has changes."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + ("-changed" if _git("status", "--porcelain", "--", "src/mammoscope/imaging") else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607  # our own words


def read_processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/prepare.json"))
    arguments = parser.parse_args()
    if arguments.runs < 5:  # noqa: PLR2004  # section 9 of the contract in benchmarks/README.md
        sys.exit("--runs: expected 5 or more")
    cv2.setNumThreads(1)  # as in a worker, and for both ways
    with tempfile.TemporaryDirectory() as temporary:
        source, paths = find_files(arguments.folder)
        groups = group_by_kind(paths or synthesize(Path(temporary)))
        results = {kind: compare(files, arguments.runs) for kind, files in groups.items()}
    report = {
        "suite": "prepare",
        "commit": read_commit(),
        "machine": {"processor": read_processor(), "cores": count_cores(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "source": source,
        "settings": SETTINGS.model_dump(),
        "n_runs": arguments.runs,
        "results": results,
    }
    print(json.dumps(results, indent=2))
    write_json(arguments.out, report)


if __name__ == "__main__":
    main()
