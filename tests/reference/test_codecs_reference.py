"""Our decoders against pydicom's own, on made and on real files."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from mammoscope.imaging.codecs import open_picture
from mammoscope.imaging.header import read_header
from mammoscope.imaging.prepare import PrepareSettings, prepare_image


def _real_files() -> Iterator[Path]:
    folder = os.environ.get("MAMMOSCOPE_REAL_DATA")
    if folder is None:
        pytest.skip("MAMMOSCOPE_REAL_DATA is not set")
    files = sorted(Path(folder, "rsna", "dicom").rglob("*.dcm"))
    # one of each patient: machines and polarities differ between patients, not within
    yield from {path.parent.name: path for path in files}.values()


@pytest.mark.real_data
def test_level_0_of_real_files_is_pydicoms_picture() -> None:
    for path in _real_files():
        content = path.read_bytes()
        decoded = open_picture(content, read_header(content, name=path.stem), name=path.stem).decode(0)
        assert decoded.decoder == "pillow"
        np.testing.assert_array_equal(decoded.values, dcmread(path).pixel_array)


@pytest.mark.real_data
def test_a_reduced_level_of_real_files_is_close_to_an_average_of_the_whole() -> None:
    for path in _real_files():
        content = path.read_bytes()
        picture = open_picture(content, read_header(content, name=path.stem), name=path.stem)
        whole = picture.decode(0).values.astype(np.float32)
        for level in (1, 2, 3):
            reduced = picture.decode(level).values
            averaged = cv2.resize(whole, reduced.shape[::-1], interpolation=cv2.INTER_AREA)
            value_range = float(whole.max() - whole.min())
            # the low-pass filter is longer than the average and starts half a pixel earlier; 2 % at level 3 seen
            assert np.abs(reduced - averaged).mean() < 0.03 * value_range


@pytest.mark.real_data
def test_the_breast_is_found_on_real_files() -> None:
    for path in _real_files():
        image = prepare_image(path.read_bytes(), PrepareSettings(rows=512, columns=256), name=path.stem)
        side = read_header(path.read_bytes(), name=path.stem).laterality
        assert image.record.is_breast_found
        assert image.record.placement.is_flipped == (side == "R")  # so it is in these files, though not in all
        assert 0.3 < (image.pixels > 0.1 * 65535).mean() < 0.95
