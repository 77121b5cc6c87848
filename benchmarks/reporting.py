"""What every suite shares: the arguments, the summary of runs, and the facts about commit, machine and versions."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mammoscope.files import write_json
from mammoscope.scaling import count_cores

LEAST_RUNS = 5  # by the contract in README.md


def read_arguments(description: str | None, suite: str) -> tuple[int, Path]:
    """The number of runs and the path of the result, from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=LEAST_RUNS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results", f"{suite}.json"))
    arguments = parser.parse_args()
    if arguments.runs < LEAST_RUNS:
        sys.exit(f"--runs: found {arguments.runs}, expected {LEAST_RUNS} or more")
    return arguments.runs, arguments.out


def describe(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {key: round(f(values), 5) for key, f in (("median", statistics.median), ("min", min), ("max", max))}


def write_report(
    path: Path, results: dict[str, object], *, suite: str, packages: Sequence[str], measured: Sequence[str]
) -> None:
    """Print the results, and write them with commit, machine and versions.

    Args:
        path: of the JSON file.
        results: what was measured, and how often.
        suite: its name.
        packages: whose versions matter.
        measured: the folders of code that was measured; changes in them are marked at the commit.
    """
    report = {
        "suite": suite,
        "commit": read_commit(measured),
        "machine": {"processor": _read_processor(), "cores": count_cores(), "system": platform.system()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "results": results,
    }
    print(json.dumps(results, indent=2))
    write_json(path, report)


def read_commit(measured: Sequence[str]) -> str:
    """The commit, marked where what was measured has changes beyond it; results are no part of it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return commit + ("-changed" if _git("status", "--porcelain", "--", *measured, ":!benchmarks/results") else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607  # our own words


def _read_processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
