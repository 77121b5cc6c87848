"""Our windows against pydicom's, over the whole range of stored values."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from mammoscope.imaging.display import choose_display
from mammoscope.imaging.header import Header

STORED: NDArray[np.uint16] = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1802.31, 1091.97), (100, 1.5), (0, 10), (4095, 9000)])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_agrees_with_pydicom(function: str, center: float, width: float) -> None:
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored = 12
    dataset.PixelRepresentation = 0
    dataset.WindowCenter = center
    dataset.WindowWidth = width
    dataset.VOILUTFunction = function
    header = Header(
        rows=64,
        columns=64,
        transfer_syntax=None,
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        windows=((center, width),),
        voi_function=function,
    )
    ours = choose_display(header, STORED, "dicom").apply(STORED)
    theirs = apply_windowing(STORED, dataset) / 4095  # pydicom scales to the stored range
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
