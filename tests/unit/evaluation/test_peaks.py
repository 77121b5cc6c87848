import numpy as np
import pytest

from mammoscope.errors import UserInputError
from mammoscope.evaluation.peaks import Heat, Peak, find_peaks, find_peaks_of_file, hits, keep_content, peak_in_original
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import Placement


def heat_of(rows: list[list[float]]) -> Heat:
    return np.array(rows, dtype=np.float32)


def bumps(*tops: tuple[int, int, float], shape: tuple[int, int] = (40, 60), width: float = 3.0) -> Heat:
    row, column = np.mgrid[: shape[0], : shape[1]]
    each = [height * np.exp(-((row - r) ** 2 + (column - c) ** 2) / (2 * width**2)) for r, c, height in tops]
    heat: Heat = np.sum(each, axis=0).astype(np.float32)
    return heat


def test_a_peak_worked_by_hand() -> None:
    heat = heat_of([[0, 0, 0, 0], [0, 4, 8, 3], [0, 1, 4, 0], [-9, 0, 0, 0]])
    assert find_peaks(heat) == (Peak(Box(1, 1, 3, 3), row=1.5, column=2.5, value=8.0, share=16 / 20),)


def test_peaks_come_from_the_highest_with_boxes_of_half_their_height() -> None:
    peaks = find_peaks(bumps((10, 12, 1.0), (28, 45, 2.0)))
    assert [(peak.row, peak.column) for peak in peaks] == [(28.5, 45.5), (10.5, 12.5)]
    # a bell of width 3 falls to its half at 3 sqrt(2 ln 2) = 3.5 pixels
    assert [peak.box for peak in peaks] == [Box(25, 42, 32, 49), Box(7, 9, 14, 16)]
    # half of a bell of two axes lies above half of its height
    assert [peak.share for peak in peaks] == pytest.approx([2 / 3 * 0.5, 1 / 3 * 0.5], abs=0.02)


def test_tops_with_a_high_way_between_them_are_one_peak() -> None:
    (peak,) = find_peaks(heat_of([[0, 5, 4, 6, 0]]))
    assert (peak.box, peak.value, peak.share) == (Box(0, 1, 1, 4), 6.0, 1.0)


def test_a_low_top_beside_a_high_one_is_of_it_only_where_it_does_not_fall_between() -> None:
    apart = find_peaks(heat_of([[0, 10, 1, 4, 0]]))
    assert [(peak.value, peak.box) for peak in apart] == [(10.0, Box(0, 1, 1, 2)), (4.0, Box(0, 3, 1, 4))]
    assert [peak.value for peak in find_peaks(heat_of([[0, 10, 3, 4, 0]]))] == [10.0]


def test_peaks_below_a_fifth_of_the_highest_are_unrest() -> None:
    assert len(find_peaks(heat_of([[10, 0, 2, 0, 1.9]]))) == 2


def test_no_more_peaks_than_asked_for() -> None:
    heat = heat_of([[9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4]])
    assert [peak.value for peak in find_peaks(heat)] == [9, 8, 7, 6, 5]
    assert [peak.value for peak in find_peaks(heat, n_most=2)] == [9, 8]


@pytest.mark.parametrize("heat", [np.zeros((4, 3)), -np.ones((4, 3)), np.zeros((0, 3))])
def test_where_nothing_speaks_for_cancer_there_is_no_peak(heat: Heat) -> None:
    assert find_peaks(heat.astype(np.float32)) == ()


def test_an_even_map_is_one_peak_of_all() -> None:
    (peak,) = find_peaks(np.full((50, 40), 0.5, dtype=np.float32))
    assert (peak.box, peak.share) == (Box(0, 0, 50, 40), 1.0)


def test_the_peaks_of_a_mirror_image_are_the_mirror_images() -> None:
    heat = bumps((10, 12, 1.0), (28, 45, 2.0), (5, 50, 0.7))
    for peak, mirrored in zip(find_peaks(heat), find_peaks(heat[:, ::-1]), strict=True):
        box = Box(peak.box.top, 60 - peak.box.right, peak.box.bottom, 60 - peak.box.left)
        assert (mirrored.box, mirrored.row, mirrored.column) == (box, peak.row, 60 - peak.column)
        assert mirrored.share == pytest.approx(peak.share)


@pytest.mark.parametrize("heat", [np.zeros((2, 3, 4)), np.zeros(5), np.array([[0, np.nan]]), np.array([[np.inf, 0]])])
def test_what_is_no_map_is_refused(heat: Heat) -> None:
    with pytest.raises(UserInputError, match=r"heat map: found shape .*; expected finite numbers \(row, column\)"):
        find_peaks(heat.astype(np.float32))


# a box of 200 x 80 pixels at row 100 and column 30 of the file, on 100 x 40 of a canvas of 128 x 64, 14 rows down
PLACEMENT = {
    "original_shape": (400, 300),
    "box": Box(100, 30, 300, 110),
    "canvas_shape": (128, 64),
    "content_shape": (100, 40),
    "content_top": 14,
}


@pytest.mark.parametrize(
    ("is_flipped", "box", "column"), [(False, Box(104, 46, 120, 78), 62.0), (True, Box(104, 62, 120, 94), 78.0)]
)
def test_a_box_in_pixels_of_the_file_worked_by_hand(*, is_flipped: bool, box: Box, column: float) -> None:
    """Map 32 x 16: a place is 4 canvas pixels, 8 of the file. Rows 4 to 6 are canvas 16 to 24, file 104 to 120."""
    peak = Peak(Box(4, 2, 6, 6), row=5.0, column=4.0, value=3.0, share=0.25)
    placement = Placement(**PLACEMENT, is_flipped=is_flipped)  # type: ignore[arg-type]  # the fields, by name
    found = peak_in_original(peak, (32, 16), placement)
    assert found == Peak(box, row=112.0, column=column, value=3.0, share=0.25)


def test_a_box_beside_what_was_cut_out_is_brought_to_its_edge() -> None:
    peak = Peak(Box(0, 12, 2, 16), row=1.0, column=14.0, value=3.0, share=0.25)  # in the black of the canvas
    found = peak_in_original(peak, (32, 16), Placement(**PLACEMENT, is_flipped=False))  # type: ignore[arg-type]
    assert (found.box, found.row, found.column) == (Box(100, 109, 101, 110), 100.0, 109.5)


@pytest.mark.parametrize(
    ("is_flipped", "box", "column"), [(False, Box(136, 94, 144, 110), 106.0), (True, Box(136, 30, 144, 46), 34.0)]
)
def test_heat_in_the_black_beside_the_picture_is_no_peak(*, is_flipped: bool, box: Box, column: float) -> None:
    """Map 32 x 16 of 4 canvas pixels: the picture is canvas rows 14 to 114 and columns 0 to 40, places 0 to 9."""
    heat = np.zeros((32, 16), dtype=np.float32)
    heat[8, 8:16] = [1, 2, 3, 4, 5, 6, 7, 8]  # rises to the black on the right
    heat[[0, 2, 29, 31], 3] = 9  # above and below: the centre of row 2 is canvas row 10, that of row 29 is 118
    placement = Placement(**PLACEMENT, is_flipped=is_flipped)  # type: ignore[arg-type]
    kept = keep_content(heat, placement)
    assert {(int(row), int(column)) for row, column in np.argwhere(kept)} == {(8, 8), (8, 9)}
    (peak,) = find_peaks_of_file(heat, placement)
    # columns 8 and 9 are canvas 32 to 40, 64 to 80 of the 80 from the wall; row 8 is canvas 32 to 36, file 136 to 144
    assert (peak.box, peak.row, peak.column, peak.share) == (box, 140.0, column, 1.0)


def test_a_picture_that_fills_the_canvas_keeps_all_its_heat() -> None:
    whole = PLACEMENT | {"content_shape": (128, 64), "content_top": 0}
    heat = bumps((10, 12, 1.0), (39, 59, 2.0))
    assert np.array_equal(keep_content(heat, Placement(**whole, is_flipped=False)), heat)  # type: ignore[arg-type]


def test_a_peak_hits_a_lesion_that_holds_its_place() -> None:
    peak = Peak(Box(0, 0, 100, 100), row=50.0, column=20.0, value=1.0, share=1.0)
    assert hits(peak, [Box(0, 0, 10, 10), Box(40, 15, 60, 25)])
    assert not hits(peak, [Box(40, 21, 60, 25), Box(51, 15, 60, 25)])
    assert not hits(peak, [])
