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
    is_padding_mixed_in,
    is_window_usable,
)
from mammoscope.imaging.header import Header
from mammoscope.imaging.lookup import LookupTable


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
    header = _header(photometric="MONOCHROME1", padding=(3076, 3100))
    assert fill_padding(header, _stored(3076, 3190, 3090, 1500), is_reduced=True).tolist() == [[3076, 3100, 3090, 1500]]
    header = _header(padding=(100, 100))
    assert fill_padding(header, _stored(100, 40, 900, 1500), is_reduced=True).tolist() == [[100, 100, 900, 1500]]


@pytest.mark.parametrize(
    ("photometric", "padding", "is_spoilt"),
    [
        ("MONOCHROME2", 0, False),
        ("MONOCHROME2", 3000, True),  # among the bright pixels
        ("MONOCHROME1", 3000, False),
        ("MONOCHROME1", 0, True),
        ("MONOCHROME1", 5500, True),  # 2500 beyond pixels of 1000 to 3000
        ("MONOCHROME1", 4900, False),
        ("MONOCHROME2", 1500, False),
        ("MONOCHROME2", 2100, True),
    ],
)
def test_padding_spoils_a_reduced_picture_when_it_is_bright_or_far(
    photometric: str, padding: int, *, is_spoilt: bool
) -> None:
    stored = np.tile(np.linspace(1000, 3000, 400).astype(np.uint16), (700, 1))
    stored[:, 200] = 2000
    stored[:200, :] = padding
    header = _header(photometric=photometric, padding=(padding, padding))
    assert is_padding_mixed_in(header, stored) is is_spoilt
    assert not is_padding_mixed_in(_header(photometric=photometric), stored)
    assert not is_padding_mixed_in(header, np.full_like(stored, padding))


def test_padding_at_the_bright_end_does_not_clip_tissue() -> None:
    header = _header(padding=(4000, 4000))
    assert fill_padding(header, _stored(4000, 100, 900, 1500), is_reduced=True).tolist() == [[100, 100, 900, 1500]]


# PS3.3 C.11.2.1.2.1: black to c - 0.5 - (w - 1) / 2, white above c - 0.5 + (w - 1) / 2; here 7.5 and 11.5
@pytest.mark.parametrize(("value", "expected"), [(7, 0), (7.5, 0), (8.5, 0.25), (9.5, 0.5), (11.5, 1), (12, 1)])
def test_linear_is_black_and_white_beyond_its_bounds(value: float, expected: float) -> None:
    np.testing.assert_allclose(apply_linear(_values(value), 10, 5), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "center", "width", "expected"),
    [
        (None, 5, 1, True),
        ("LINEAR", 5, 0.99, False),
        ("LINEAR_EXACT", 5, 0.99, True),
        ("SIGMOID", 5, 1e-15, True),
        ("SIGMOID", 5, 1e-16, False),
        ("SIGMOID", 5, 0, False),
        ("LINEAR", 5, -1, False),
        ("LINEAR", 1e15, 1e15, True),
        ("LINEAR", -1.1e15, 9, False),
        ("LINEAR", 5, 1.1e15, False),
        ("LINEAR", float("nan"), 9, False),
        ("LINEAR", 5, float("nan"), False),
        ("LINEAR", float("inf"), 9, False),
    ],
)
def test_a_window_is_used_where_the_standard_and_single_precision_allow(
    function: str | None, center: float, width: float, *, expected: bool
) -> None:
    assert is_window_usable(function, center, width) is expected


def test_a_window_narrower_than_single_precision_is_passed_over() -> None:
    header = _header(windows=((50.0, 1e-50),), voi_function="LINEAR_EXACT")
    assert choose_display(header, _stored(0, 50, 100), "dicom").function is WindowFunction.MINMAX


def test_a_voi_lut_comes_before_windows() -> None:
    lut = LookupTable(10, 8, (0, 51, 255))
    header = _header(voi_luts=(lut, LookupTable(0, 8, (9,))), windows=((50.0, 100.0),))
    display = choose_display(header, _stored(0, 100), "dicom")
    assert (display.function, display.center, display.width) == (WindowFunction.VOI_LUT, 11.5, 3)
    np.testing.assert_allclose(display.apply(_stored(0, 10, 11, 12, 99)), [[0, 0, 0.2, 1, 1]], atol=1e-6)


def test_a_voi_lut_takes_rescaled_values_and_polarity_turns_its_grey() -> None:
    lut = LookupTable(-10, 8, (0, 51, 255))
    header = _header(voi_luts=(lut,), rescale_intercept=-100.0, presentation_lut_shape="INVERSE")
    display = choose_display(header, _stored(0), "dicom")
    np.testing.assert_allclose(display.apply(_stored(90, 91, 92)), [[1, 0.8, 0]], atol=1e-6)


def test_other_policies_than_dicom_do_without_the_voi_lut() -> None:
    header = _header(voi_luts=(LookupTable(0, 8, (0, 255)),))
    assert choose_display(header, _stored(0, 100), "minmax").voi_lut is None
    assert choose_display(header, _stored(0, 100), "percentile").voi_lut is None


@pytest.mark.parametrize(("entries", "expected"), [((0, 10, 40), [0, 0.25, 1]), ((40, 10, 0), [1, 0.25, 0])])
def test_a_modality_lut_takes_the_place_of_slope_and_intercept(entries: tuple[int, ...], expected: list[float]) -> None:
    header = _header(modality_lut=LookupTable(5, 8, entries), rescale_slope=3.0, rescale_intercept=9.0)
    stored = _stored(5, 6, 7)
    np.testing.assert_allclose(choose_display(header, stored, "minmax").apply(stored), [expected], atol=1e-6)


def test_minmax_spreads_what_a_modality_lut_gives_and_not_its_ends() -> None:
    header = _header(modality_lut=LookupTable(0, 8, (10, 200, 50)))
    display = choose_display(header, _stored(0, 1, 2), "minmax")
    assert (display.center, display.width) == (105, 190)
    np.testing.assert_allclose(display.apply(_stored(0, 1, 2)), [[0, 1, 40 / 190]], atol=1e-6)


def test_padding_is_as_dark_as_the_darkest_under_a_falling_modality_lut() -> None:
    header = _header(modality_lut=LookupTable(0, 8, (200, 100, 0)), padding=(2000, 2000))
    assert fill_padding(header, _stored(2000, 5, 8, 20), is_reduced=False).tolist() == [[20, 5, 8, 20]]


def test_both_tags_of_polarity_invert_once() -> None:
    header = _header(photometric="MONOCHROME1", presentation_lut_shape="INVERSE")
    stored = _stored(0, 25, 100)
    np.testing.assert_allclose(choose_display(header, stored, "minmax").apply(stored), [[1, 0.75, 0]], atol=1e-6)


def test_values_with_a_sign_are_spread() -> None:
    stored = np.array([[-100, 0, 300]], dtype=np.int16)
    header = _header(is_signed=True)
    np.testing.assert_allclose(choose_display(header, stored, "minmax").apply(stored), [[0, 0.25, 1]], atol=1e-6)


def test_percentile_leaves_half_a_per_cent_out_at_each_end() -> None:
    stored = np.arange(1001, dtype=np.uint16).reshape(7, 143)  # percentiles 0.5 and 99.5 are 5 and 995
    display = choose_display(_header(), stored, "percentile")
    assert (display.function, display.center, display.width) == (WindowFunction.PERCENTILE, 500, 990)
    np.testing.assert_allclose(display.apply(_stored(0, 5, 500, 995, 1000)), [[0, 0, 0.5, 1, 1]], atol=1e-6)


def test_percentile_leaves_a_range_of_padding_out() -> None:
    picture = np.arange(1001, dtype=np.uint16) + 100
    stored = np.concatenate([np.arange(50, dtype=np.uint16), picture])[None]
    display = choose_display(_header(padding=(0, 49)), stored, "percentile")
    assert (display.center, display.width) == (600, 990)


def test_a_negative_slope_turns_percentiles() -> None:
    stored = np.arange(1001, dtype=np.uint16)[None]
    display = choose_display(_header(rescale_slope=-2.0, rescale_intercept=10.0), stored, "percentile")
    assert (display.center, display.width) == (-990, 1980)
    np.testing.assert_allclose(display.apply(_stored(5, 500, 995)), [[1, 0.5, 0]], atol=1e-6)
