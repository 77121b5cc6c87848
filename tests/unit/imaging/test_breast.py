import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.imaging.breast import SMALL_ROWS, Box, find_breast, shrink_for_search

Brightness = NDArray[np.float32]
TRUE_BOX = Box(top=64, left=0, bottom=256, right=140)  # of the breast drawn below
MARGIN_PX = 5  # a margin of 0.02 of 192 rows


def _draw(ground: float = 0.0, noise: float = 0.0) -> Brightness:
    """A half ellipse of 192 rows and 140 columns at the left edge of 320 x 256, thin at the skin."""
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    distance = np.hypot((row - 159.5) / 96, (column + 0.5) / 140)
    tissue = np.where(distance < 1, 0.25 + 0.6 * (1 - distance), 0)
    return np.asarray(ground + tissue + noise * np.random.default_rng(6).standard_normal(row.shape), dtype=np.float32)


def _is_near(box: Box, truth: Box, slack: int = MARGIN_PX + 3) -> bool:
    return all(abs(found - true) <= slack for found, true in zip(box, truth, strict=True))


@pytest.mark.parametrize(("ground", "noise"), [(0, 0), (0.1, 0), (0, 0.02), (0.08, 0.02)])
def test_the_box_fits_the_breast_on_any_ground(ground: float, noise: float) -> None:
    place = find_breast(_draw(ground, noise), (320, 256), margin=0.02)
    assert place.is_sure
    assert place.is_wall_left
    assert _is_near(place.box, TRUE_BOX)


def test_the_box_is_in_pixels_of_the_original() -> None:
    place = find_breast(_draw(), (3200, 1280), margin=0)
    row_scale, column_scale = 10, 5
    true = Box(640, 0, 2560, 700)
    assert abs(place.box.top - true.top) <= 2 * row_scale
    assert abs(place.box.bottom - true.bottom) <= 2 * row_scale
    assert abs(place.box.right - true.right) <= 2 * column_scale


def test_flipping_the_picture_flips_the_box() -> None:
    place = find_breast(_draw(), (320, 256), margin=0.02)
    flipped = find_breast(np.ascontiguousarray(_draw()[:, ::-1]), (320, 256), margin=0.02)
    assert not flipped.is_wall_left
    assert (flipped.box.left, flipped.box.right) == (256 - place.box.right, 256 - place.box.left)


def test_a_marker_is_left_out() -> None:
    marker = np.zeros((320, 256), dtype=np.uint8)
    cv2.putText(marker, "L CC", (170, 50), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 3)
    cv2.line(marker, (150, 300), (255, 300), 255, 3)
    picture = np.maximum(_draw(), (marker > 0).astype(np.float32))
    assert _is_near(find_breast(picture, (320, 256), margin=0.02).box, TRUE_BOX)


def test_a_frame_is_left_out() -> None:
    picture = _draw()
    picture[:, -6:] = 1.0
    picture[:4] = 1.0
    place = find_breast(picture, (320, 256), margin=0.02)
    assert place.is_wall_left
    assert place.box.right < 160


def test_thin_tissue_along_the_wall_belongs_to_the_breast() -> None:
    picture = _draw()
    picture[20:100, :6] = 0.4
    assert abs(find_breast(picture, (320, 256), margin=0).box.top - 20) <= 4


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_without_a_breast_the_box_is_the_whole_picture(level: float) -> None:
    place = find_breast(np.full((320, 256), level, dtype=np.float32), (3200, 2560), margin=0.02)
    assert place.box == Box(0, 0, 3200, 2560)
    assert not place.is_sure


def test_a_marker_alone_is_no_breast() -> None:
    picture = np.zeros((320, 256), dtype=np.float32)
    cv2.rectangle(picture, (200, 20), (225, 45), 1.0, -1)
    assert not find_breast(picture, (320, 256), margin=0.02).is_sure


def test_tissue_everywhere_is_no_find() -> None:
    picture = np.full((320, 256), 0.6, dtype=np.float32)
    picture[0, :3] = 0
    assert not find_breast(picture, (320, 256), margin=0.02).is_sure


def test_the_margin_ends_at_the_picture() -> None:
    box = find_breast(_draw(), (320, 256), margin=0.5).box
    assert (box.top, box.left, box.bottom) == (0, 0, 320)
    assert abs(box.right - (140 + 96)) <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_a_picture_is_shrunk_whatever_its_type(dtype: type[np.generic]) -> None:
    small = shrink_for_search(np.full((640, 400), 100, dtype=dtype))
    assert small.shape == (SMALL_ROWS, 200)
    assert small.dtype == np.float32
    assert (small == 100).all()


def test_a_small_picture_stays_as_it_is() -> None:
    picture = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(shrink_for_search(picture), picture)
