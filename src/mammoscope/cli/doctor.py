"""`mammoscope doctor`: what this machine has, what is missing, and the fix."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary

_PYTHONS = ((3, 11), (3, 13))
_WANTED_FREE_GIB = 5
_GIB = 2**30
_OPENJPEG_WITH_HTJ2K = (2, 5)  # its release notes: "support for HTJ2K"
_REINSTALL = "install the packages anew: make setup"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `fix` is None when it is as it should be."""

    name: str
    found: str
    fix: str | None = None


def doctor(
    folder: Annotated[Path, typer.Option(help="Where data will be written: its free space is looked at.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Look at Python, torch, device, codecs, cores, memory and disk; exit code 1 when something is missing.

    Example: mammoscope doctor
    """
    findings = [
        _python(),
        *_packages(),
        _device(),
        *_codecs(),
        _cores(),
        _memory(),
        _disk(folder),
    ]
    missing = [finding for finding in findings if finding.fix]
    if as_json:
        facts = {finding.name: {"found": finding.found, "fix": finding.fix} for finding in findings}
        print_summary("", facts, as_json=True)
    else:
        _print(findings, n_missing=len(missing))
    raise typer.Exit(1 if missing else 0)


def _print(findings: list[Finding], *, n_missing: int) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "!!" if finding.fix else "ok"
        sys.stdout.write(f"{mark}  {finding.name:<{width}}  {finding.found}\n")
        if finding.fix:
            sys.stdout.write(f"    {'':<{width}}  fix: {finding.fix}\n")
    verdict = "all is there" if n_missing == 0 else f"{n_missing} to mend: see the lines with fix"
    sys.stdout.write(f"{verdict}\n")


def _python() -> Finding:
    fits = _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]
    fix = None if fits else "use Python 3.11 to 3.13: make setup PYTHON=python3.12"
    return Finding("python", platform.python_version(), fix)


def _packages() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    findings = []
    for name in ("torch", "timm", "lightning", "pydicom", "imagecodecs", "polars", "opencv-python-headless"):
        try:
            findings.append(Finding(name, version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "not installed", _REINSTALL))
    return findings


def _device() -> Finding:
    try:
        import torch

        from mammoscope.learning.scoring import autocast_type
    except (ImportError, OSError) as error:  # OSError: a library of torch that the system cannot load
        return Finding("device", f"unknown: {error}", _REINSTALL)
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return Finding("device", f"GPU {name}, {torch.cuda.get_device_properties(0).total_memory / _GIB:.0f} GiB")
    half = "computes in bf16" if autocast_type("auto", torch.device("cpu")) else "computes in f32 (has no fast bf16)"
    return Finding("device", f"CPU, {half}; no GPU that torch can use")


def _codecs() -> list[Finding]:
    try:
        import imagecodecs
        from PIL import features
    except (ImportError, OSError) as error:
        return [Finding("codecs", f"unknown: {error}", _REINSTALL)]
    openjpeg = features.version_codec("jpg_2000") or "0.0"
    reads_htj2k = tuple(int(part) for part in openjpeg.split(".")[:2]) >= _OPENJPEG_WITH_HTJ2K
    has = {
        "JPEG 2000": features.check_codec("jpg_2000"),
        "HTJ2K": reads_htj2k,
        "JPEG, also lossless": imagecodecs.JPEG.available,
        "JPEG-LS": imagecodecs.JPEGLS.available,
    }
    return [
        Finding(name, "decoder found") if there else Finding(name, "no decoder", _REINSTALL)
        for name, there in has.items()
    ]


def _cores() -> Finding:
    from mammoscope.scaling import count_cores

    return Finding("cores", f"{count_cores()} usable of {os.cpu_count()}")


def _memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", "this platform does not tell")
    total_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    fix = None if total_gib >= _WANTED_FREE_GIB else "work with --workers 1 and smaller pictures"
    return Finding("memory", f"{total_gib:.1f} GiB", fix)


def _disk(folder: Path) -> Finding:
    if not folder.exists():
        return Finding("disk", f"no folder {folder}", "make it, or look elsewhere with --folder")
    free_gib = shutil.disk_usage(folder).free / _GIB
    fix = None if free_gib >= _WANTED_FREE_GIB else f"free {_WANTED_FREE_GIB} GiB, or look elsewhere with --folder"
    return Finding("disk", f"{free_gib:.1f} GiB free at {folder.resolve()}", fix)
