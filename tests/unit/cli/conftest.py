"""A small cohort on disk, for the commands that read one."""

from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import write_manifest


@pytest.fixture
def tmp_cohort(manifest: pl.DataFrame, tmp_path: Path) -> Path:
    """The folder of a cohort that is not split."""
    write_manifest(manifest, tmp_path / "cohort")
    return tmp_path / "cohort"
