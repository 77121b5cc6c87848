"""The chest wall of real mammograms, held against the side that the competition's table gives."""

import os
from pathlib import Path

import polars as pl
import pytest

from mammoscope.imaging.prepare import PrepareSettings, prepare_image

pytestmark = pytest.mark.real_data
REAL_DATA = os.environ.get("MAMMOSCOPE_REAL_DATA")


@pytest.mark.skipif(REAL_DATA is None, reason="MAMMOSCOPE_REAL_DATA is not set")
def test_the_chest_wall_of_a_left_breast_is_at_the_left() -> None:
    folder = Path(str(REAL_DATA), "rsna")
    tables = [pl.read_csv(folder / name, columns=["image_id", "laterality"]) for name in ("train.csv", "test.csv")]
    side_by_id = dict(pl.concat(tables).cast(pl.String).iter_rows())
    paths = sorted((folder / "dicom").rglob("*.dcm"))
    settings = PrepareSettings(rows=64, columns=32, bits=8)
    for path in paths:
        record = prepare_image(path.read_bytes(), settings, name=path.stem).record
        assert record.is_breast_found
        assert record.placement.is_flipped == (side_by_id[path.stem] == "R")
    assert len(paths) == 12
