"""Our windows and tables against pydicom's, over the whole range of stored values, and where pydicom is wrong."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from mammoscope.imaging.display import choose_display
from mammoscope.imaging.header import Header
from mammoscope.imaging.lookup import LookupTable

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


def _table(first: int, bits: int, entries: Sequence[int]) -> tuple[Dataset, LookupTable]:
    """One table, as pydicom and as we hold it; one entry in a word."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", list(entries))
    return item, LookupTable(first, bits, tuple(entries))


def _lut_header(**luts: object) -> Header:
    usual: dict[str, object] = {
        "rows": 64,
        "columns": 64,
        "transfer_syntax": None,
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
    }
    return Header(**(usual | luts))  # type: ignore[arg-type]  # the fields of the cases below


@pytest.mark.parametrize(("first", "bits", "n_entries"), [(0, 16, 4096), (100, 12, 900), (0, 12, 2), (3000, 10, 1024)])
def test_a_voi_lut_agrees_with_pydicom(first: int, bits: int, n_entries: int) -> None:
    entries = np.linspace(0, (1 << bits) - 1, n_entries).astype(int).tolist()
    item, lut = _table(first, bits, entries)
    dataset = Dataset()
    dataset.VOILUTSequence = [item]
    ours = choose_display(_lut_header(voi_luts=(lut,)), STORED, "dicom").apply(STORED)
    np.testing.assert_allclose(ours, apply_voi(STORED, dataset) / ((1 << bits) - 1), atol=1e-6)


@pytest.mark.parametrize("is_falling", [False, True])
def test_a_modality_lut_agrees_with_pydicom(*, is_falling: bool) -> None:
    entries = list(range(0, 3000, 2))
    item, lut = _table(500, 16, entries[::-1] if is_falling else entries)
    item.ModalityLUTType = "US"
    dataset = Dataset()
    dataset.ModalityLUTSequence = [item]
    values = apply_modality_lut(STORED, dataset).astype(np.float64)
    ours = choose_display(_lut_header(modality_lut=lut), STORED, "minmax").apply(STORED)
    np.testing.assert_allclose(ours, values / 2998, atol=1e-6)


def test_pydicom_wraps_around_in_a_table_of_8_bits_and_we_do_not() -> None:
    item, lut = _table(0, 8, [value // 16 for value in range(4096)])
    dataset = Dataset()
    dataset.VOILUTSequence = [item]
    stored = np.array([[15, 16, 255, 256, 4095]], dtype=np.uint16)
    right = [0, 1, 15, 16, 255]  # a sixteenth of the stored value, rounded down
    ours = choose_display(_lut_header(voi_luts=(lut,)), stored, "dicom").apply(stored)
    np.testing.assert_allclose(ours[0] * 255, right, atol=1e-4)
    assert apply_voi(stored, dataset)[0].tolist() != right


def test_a_window_leaves_the_header_as_it_is() -> None:
    header = _lut_header(windows=((2048.0, 1.0),), voi_function="LINEAR_EXACT")
    before = repr(header)
    stored = STORED.copy()
    choose_display(header, stored, "dicom").apply(stored)
    assert repr(header) == before
    np.testing.assert_array_equal(stored, STORED)
