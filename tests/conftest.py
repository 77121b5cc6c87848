"""What tests of several parts share: a small valid manifest, and the command line run as a user runs it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings

from mammoscope.cli.main import main
from mammoscope.cohort.manifest import SCHEMA, write_manifest

settings.register_profile("mammoscope", deadline=None)  # no test depends on time
settings.load_profile("mammoscope")

CliRun = Callable[..., tuple[int, str, str]]


def build_manifest(cancer: Sequence[bool | None], *, sites: Sequence[str] = ("1", "2")) -> pl.DataFrame:
    """A row for each side and view of one patient for each outcome; cancer is in the left breast."""
    rows = [
        {
            "image_id": f"{number}{side}{view}",
            "patient_id": f"patient{number}",
            "exam_id": f"exam{number}",
            "laterality": side,
            "view": view,
            "source": "test",
            "path": f"/files/{number}{side}{view}.dcm",
            "cancer": outcome if side == "L" else None if outcome is None else False,
            "age_years": 40.0 + number,
            "density": "ABCD"[number % 4],
            "site": sites[number % len(sites)],
        }
        for number, outcome in enumerate(cancer)
        for side in "LR"
        for view in ("CC", "MLO")
    ]
    return pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA)


@pytest.fixture
def manifest() -> pl.DataFrame:
    """Five patients, four images each: two with cancer, two without, one undetermined."""
    return build_manifest([True, False, None, True, False])


@pytest.fixture
def manifest_of() -> Callable[..., pl.DataFrame]:
    """The builder of manifests, for tests that need other outcomes or sites."""
    return build_manifest


@pytest.fixture
def tmp_cohort(manifest: pl.DataFrame, tmp_path: Path) -> Path:
    """The folder of a cohort that is not split."""
    write_manifest(manifest, tmp_path / "cohort")
    return tmp_path / "cohort"


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CliRun:
    """Run `mammoscope` with arguments: its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mammoscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code if isinstance(ended.value.code, int) else 0, out, err

    return run
