"""What holds for brightness whatever a header says and whatever is stored."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mammoscope.imaging.display import WindowPolicy, choose_display
from mammoscope.imaging.header import Header
from mammoscope.imaging.lookup import LookupTable

_NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
_SLOPES = st.floats(1e-9, 1e9) | st.floats(-1e9, -1e-9)
_POLICIES: st.SearchStrategy[WindowPolicy] = st.sampled_from(("minmax", "percentile", "dicom"))


@st.composite
def tables(draw: st.DrawFn) -> LookupTable:
    bits = draw(st.integers(1, 16))
    entries = draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=40))
    return LookupTable(draw(st.integers(-(1 << 15), (1 << 16) - 1)), bits, tuple(sorted(entries)))


@st.composite
def headers(draw: st.DrawFn) -> Header:
    return Header(
        rows=1,
        columns=1,
        transfer_syntax=None,
        bits_allocated=16,
        bits_stored=16,
        high_bit=15,
        photometric=draw(st.sampled_from(("MONOCHROME1", "MONOCHROME2", None))),
        rescale_slope=draw(st.none() | _SLOPES),
        rescale_intercept=draw(st.none() | st.floats(-1e9, 1e9)),
        modality_lut=draw(st.none() | tables()),
        voi_luts=tuple(draw(st.lists(tables(), max_size=1))),
        windows=tuple(draw(st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=3))),
        voi_function=draw(st.sampled_from(("LINEAR", "LINEAR_EXACT", "SIGMOID", "CUBIC", None))),
        padding=draw(st.none() | st.tuples(st.integers(0, 99), st.integers(100, 200))),
    )


pictures = st.lists(st.integers(0, 65535), min_size=1, max_size=30).map(lambda values: np.array([values], np.uint16))


@given(headers(), pictures, _POLICIES)
def test_brightness_is_a_number_from_0_to_1(header: Header, stored: NDArray[Any], policy: WindowPolicy) -> None:
    before = stored.copy()
    brightness = choose_display(header, stored, policy).apply(stored)
    assert brightness.dtype == np.float32
    assert brightness.shape == stored.shape
    assert ((brightness >= 0) & (brightness <= 1)).all()  # NaN is neither
    np.testing.assert_array_equal(stored, before)


@given(headers(), pictures, _POLICIES)
def test_brightness_keeps_or_turns_the_order_of_values(
    header: Header, stored: NDArray[Any], policy: WindowPolicy
) -> None:
    steps = np.diff(choose_display(header, stored, policy).apply(np.sort(stored)))
    is_falling = header.modality_lut is None and header.slope < 0
    assert (steps <= 0).all() if is_falling != header.is_inverted else (steps >= 0).all()


@given(headers(), pictures, _POLICIES)
def test_the_other_polarity_is_the_complement(header: Header, stored: NDArray[Any], policy: WindowPolicy) -> None:
    dark, bright = (
        choose_display(replace(header, photometric=name), stored, policy).apply(stored)
        for name in ("MONOCHROME1", "MONOCHROME2")
    )
    np.testing.assert_allclose(dark, 1 - bright, atol=1e-7)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.integers(1, 60), st.integers(0, 5000))
def test_minmax_does_not_see_a_linear_change_of_stored_values(values: list[int], factor: int, offset: int) -> None:
    header = Header(rows=1, columns=1, transfer_syntax=None, bits_allocated=16, bits_stored=16, high_bit=15)
    stored = np.array([values], dtype=np.uint16)
    changed = (stored * factor + offset).astype(np.uint16)
    before = choose_display(header, stored, "minmax").apply(stored)
    np.testing.assert_allclose(choose_display(header, changed, "minmax").apply(changed), before, atol=1e-5)
