import numpy as np
import pytest

from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import Placement, paint, place, placement_from_row, resize_to_content


def _place(box: Box, *, is_wall_left: bool = True, spacing_mm: tuple[float, float] | None = None) -> Placement:
    return place(
        box, original_shape=(400, 300), canvas_shape=(100, 50), is_wall_left=is_wall_left, spacing_mm=spacing_mm
    )


def test_a_tall_box_fills_the_rows_and_a_wide_one_the_columns() -> None:
    tall = _place(Box(0, 0, 400, 100))
    assert (tall.content_shape, tall.content_top) == ((100, 25), 0)
    wide = _place(Box(100, 0, 300, 200))
    assert (wide.content_shape, wide.content_top) == ((50, 50), 25)


def test_a_small_box_is_enlarged() -> None:
    placement = _place(Box(0, 0, 20, 10))
    assert (placement.content_shape, placement.scale) == ((100, 50), (5, 5))


def test_a_thin_box_keeps_a_pixel() -> None:
    assert _place(Box(0, 0, 400, 1)).content_shape == (100, 1)


def test_pixels_that_are_not_square_are_put_right() -> None:
    # rows twice as high as columns are wide: 100 x 100 pixels are 2 : 1 in millimetres
    assert _place(Box(0, 0, 100, 100), spacing_mm=(0.2, 0.1)).content_shape == (100, 50)
    assert _place(Box(0, 0, 100, 100), spacing_mm=(0.1, 0.1)).content_shape == (50, 50)


def test_hand_worked_points_go_to_the_canvas_and_back() -> None:
    placement = _place(Box(100, 60, 300, 260), is_wall_left=False)  # scale 1/4, 25 rows above
    assert placement.to_canvas(100, 260) == (25, 0)  # the wall's upper corner
    assert placement.to_canvas(300, 60) == (75, 50)
    assert placement.to_original(50, 25) == (200, 160)  # the centre stays the centre


def test_a_placement_survives_its_row() -> None:
    placement = _place(Box(10, 20, 310, 140), is_wall_left=False)
    assert placement_from_row(placement.to_row()) == placement


@pytest.mark.parametrize("is_wall_left", [True, False])
def test_a_bright_pixel_lands_where_the_placement_says(*, is_wall_left: bool) -> None:
    placement = _place(Box(100, 60, 300, 260), is_wall_left=is_wall_left)
    original = np.zeros((400, 300), dtype=np.uint16)
    original[140:144, 100:104] = 1000  # one canvas pixel
    box = placement.box
    content = resize_to_content(original[box.top : box.bottom, box.left : box.right], placement)
    canvas = paint(content / np.float32(1000), placement, 8)
    row, column = placement.to_canvas(142, 102)
    assert canvas[int(row), int(column)] == 255
    assert np.count_nonzero(canvas) == 1


def test_shrinking_averages_and_growing_interpolates() -> None:
    checks = np.indices((200, 100)).sum(axis=0) % 2 * 100
    shrunk = resize_to_content(checks, _place(Box(0, 0, 200, 100)))
    np.testing.assert_allclose(shrunk, 50)
    grown = resize_to_content(np.array([[0, 100]] * 4), _place(Box(0, 0, 4, 2)))
    assert grown.shape == (100, 50)
    assert (np.diff(grown, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("bits", "dtype", "expected"), [(8, np.uint8, [0, 128, 255]), (16, np.uint16, [0, 32768, 65535])]
)
def test_brightness_becomes_whole_numbers(bits: int, dtype: type[np.generic], expected: list[int]) -> None:
    placement = place(
        Box(0, 0, 1, 3), original_shape=(1, 3), canvas_shape=(1, 4), is_wall_left=True, spacing_mm=(3.0, 3.0)
    )
    brightness = np.array([[0, 0.5, 1]], dtype=np.float32)
    canvas = paint(brightness, placement, 8 if bits == 8 else 16)
    assert canvas.dtype == dtype
    assert canvas.tolist() == [[*expected, 0]]
