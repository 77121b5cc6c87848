import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.imaging.display import (
    Display,
    WindowFunction,
    apply_linear,
    apply_linear_exact,
    apply_sigmoid,
    choose_display,
    fill_padding,
)
from mammoscope.imaging.header import Header


def _header(**changes: object) -> Header:
    usual: dict[str, object] = {
        "rows": 1,
        "columns": 5,
        "transfer_syntax": None,
        "bits_allocated": 16,
        "bits_stored": 16,
        "high_bit": 15,
    }
    return Header(**(usual | changes))  # type: ignore[arg-type]  # the fields of the cases below


def _values(*values: float) -> NDArray[np.float32]:
    return np.array([values], dtype=np.float32)


def _stored(*values: int) -> NDArray[np.uint16]:
    return np.array([values], dtype=np.uint16)


# PS3.3 C.11.2.1.2.1, note 3: centre 2048, width 4096: at and below 0 black, above 4095 white, else x / 4095
@pytest.mark.parametrize(
    ("value", "center", "width", "expected"),
    [
        (0, 2048, 4096, 0),
        (4095, 2048, 4096, 1),
        (2047.5, 2048, 4096, 0.5),
        (819, 2048, 4096, 0.2),
        (-5, 2048, 4096, 0),
        (9999, 2048, 4096, 1),
        (0, 0, 100, 0.5 + 0.5 / 99),  # the same note: y = ((x + 0.5) / 99 + 0.5)
        (7, 8, 1, 0),  # width 1: black to x <= c - 0.5
        (7.5, 8, 1, 0),
        (8, 8, 1, 1),
    ],
)
def test_linear_is_the_standards_formula(value: float, center: float, width: float, expected: float) -> None:
    np.testing.assert_allclose(apply_linear(_values(value), center, width), expected, atol=1e-6)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (25, 0.25), (50, 0.5), (100, 1), (101, 1), (-1, 0)])
def test_linear_exact_is_the_standards_formula(value: float, expected: float) -> None:
    np.testing.assert_allclose(apply_linear_exact(_values(value), 50, 100), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (50, 0.5),
        (75, 0.7310586),  # 1 / (1 + exp(-1)): a quarter of the width above the centre
        (100, 0.8807971),  # 1 / (1 + exp(-2))
        (0, 0.1192029),
        (-1e6, 0),
    ],
)
def test_sigmoid_is_the_standards_formula(value: float, expected: float) -> None:
    np.testing.assert_allclose(apply_sigmoid(_values(value), 50, 100), expected, atol=1e-6)


def test_minmax_spreads_the_values_over_the_whole_range() -> None:
    stored = _stored(100, 150, 200, 300)
    display = choose_display(_header(), stored, "minmax")
    assert display.function is WindowFunction.MINMAX
    np.testing.assert_allclose(display.apply(stored), [[0, 0.25, 0.5, 1]], atol=1e-6)


def test_minmax_leaves_padding_out() -> None:
    display = choose_display(_header(padding=(0, 0)), _stored(0, 0, 100, 300), "minmax")
    assert (display.center, display.width) == (200, 200)


def test_minmax_of_padding_and_one_value_shows_their_difference() -> None:
    stored = _stored(0, 0, 100)
    np.testing.assert_allclose(choose_display(_header(padding=(0, 0)), stored, "minmax").apply(stored), [[0, 0, 1]])


def test_minmax_of_one_value_is_black() -> None:
    stored = _stored(7, 7)
    np.testing.assert_allclose(choose_display(_header(), stored, "minmax").apply(stored), [[0, 0]])


def test_low_values_are_bright_where_polarity_says_so() -> None:
    stored = _stored(100, 150, 300)
    display = choose_display(_header(photometric="MONOCHROME1"), stored, "minmax")
    np.testing.assert_allclose(display.apply(stored), [[1, 0.75, 0]], atol=1e-6)


def test_rescale_comes_before_the_window() -> None:
    header = _header(
        rescale_slope=2.0, rescale_intercept=-100.0, windows=((100.0, 100.0),), voi_function="LINEAR_EXACT"
    )
    display = choose_display(header, _stored(0), "dicom")
    np.testing.assert_allclose(display.apply(_stored(75, 100, 125)), [[0, 0.5, 1]], atol=1e-6)


def test_a_negative_slope_turns_the_order() -> None:
    stored = _stored(0, 10)
    display = choose_display(_header(rescale_slope=-1.0, rescale_intercept=10.0), stored, "minmax")
    np.testing.assert_allclose(display.apply(stored), [[1, 0]], atol=1e-6)


def test_the_policy_dicom_takes_the_first_window_and_the_files_function() -> None:
    header = _header(windows=((50.0, 100.0), (7.0, 9.0)), voi_function="SIGMOID")
    display = choose_display(header, _stored(0, 100), "dicom")
    assert display == Display(function=WindowFunction.SIGMOID, center=50, width=100, is_inverted=False)


@pytest.mark.parametrize(
    ("windows", "function"),
    [
        ((), "LINEAR"),
        (((50.0, 0.5),), "LINEAR"),  # the standard wants 1 at least
        (((50.0, 0.0),), "SIGMOID"),
        (((50.0, -3.0),), "LINEAR_EXACT"),
        (((float("nan"), 100.0),), "LINEAR"),
        (((50.0, float("inf")),), "LINEAR"),
        (((50.0, 100.0),), "CUBIC"),
    ],
)
def test_without_a_valid_window_the_policy_dicom_is_minmax(
    windows: tuple[tuple[float, float], ...], function: str
) -> None:
    display = choose_display(_header(windows=windows, voi_function=function), _stored(0, 100), "dicom")
    assert (display.function, display.center, display.width) == (WindowFunction.MINMAX, 50, 100)


def test_an_invalid_window_gives_way_to_the_next() -> None:
    header = _header(windows=((50.0, 0.0), (7.0, 9.0)))
    assert choose_display(header, _stored(0, 100), "dicom").center == 7


def test_without_padding_nothing_is_filled() -> None:
    stored = _stored(1, 2, 3)
    assert fill_padding(_header(), stored, is_reduced=False) is stored
    assert fill_padding(_header(padding=(9, 9)), stored, is_reduced=False) is stored
    assert fill_padding(_header(padding=(1, 3)), stored, is_reduced=False) is stored


@pytest.mark.parametrize(
    ("photometric", "slope", "expected"),
    [
        ("MONOCHROME2", 1.0, [5, 5, 8, 20]),
        ("MONOCHROME1", 1.0, [20, 5, 8, 20]),
        ("MONOCHROME2", -1.0, [20, 5, 8, 20]),
        ("MONOCHROME1", -1.0, [5, 5, 8, 20]),
    ],
)
def test_padding_becomes_as_dark_as_the_darkest_tissue(photometric: str, slope: float, expected: list[int]) -> None:
    header = _header(photometric=photometric, rescale_slope=slope, padding=(2000, 2000))
    assert fill_padding(header, _stored(2000, 5, 8, 20), is_reduced=False).tolist() == [expected]


def test_a_range_of_padding_is_filled() -> None:
    assert fill_padding(_header(padding=(0, 4)), _stored(0, 3, 5, 9), is_reduced=False).tolist() == [[5, 5, 5, 9]]


def test_swings_beyond_dark_padding_are_padding_at_a_reduced_level() -> None:
    header = _header(photometric="MONOCHROME1", padding=(3076, 3076))
    assert fill_padding(header, _stored(3076, 3190, 2200, 1500), is_reduced=True).tolist() == [[3076, 3076, 2200, 1500]]
    header = _header(padding=(100, 100))
    assert fill_padding(header, _stored(100, 40, 900, 1500), is_reduced=True).tolist() == [[100, 100, 900, 1500]]


def test_padding_at_the_bright_end_does_not_clip_tissue() -> None:
    header = _header(padding=(4000, 4000))
    assert fill_padding(header, _stored(4000, 100, 900, 1500), is_reduced=True).tolist() == [[100, 100, 900, 1500]]
