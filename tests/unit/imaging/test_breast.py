import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.imaging.breast import SMALL_ROWS, Box, find_breast, shrink_for_search
from mammoscope.imaging.breast_mask import Doubt, mask_breast

Brightness = NDArray[np.float32]
SHAPE = (320, 256)
TRUE_BOX = Box(top=64, left=0, bottom=256, right=140)  # of the breast drawn below
MARGIN_PX = 5  # a margin of 0.02 of 192 rows


def _distance() -> NDArray[np.float64]:
    """0 in the middle of the chest wall, 1 at the skin."""
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    return np.asarray(np.hypot((row - 159.5) / 96, (column + 0.5) / 140), dtype=np.float64)


def _draw(ground: float = 0.0, noise: float = 0.0) -> Brightness:
    """A half ellipse of 192 rows and 140 columns at the left edge of 320 x 256, thin at the skin."""
    distance = _distance()
    tissue = np.where(distance < 1, 0.25 + 0.6 * (1 - distance), 0)
    grain = noise * np.random.default_rng(6).standard_normal(distance.shape)
    return np.asarray(ground + tissue + grain, dtype=np.float32)


def _is_near(box: Box, truth: Box, slack: int = MARGIN_PX + 3) -> bool:
    return all(abs(found - true) <= slack for found, true in zip(box, truth, strict=True))


def _iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def _assert_found(picture: Brightness, hidden: NDArray[np.bool_] | None = None) -> None:
    """The box and the mask of the drawn breast, where nothing hides it, and its chest wall at the left."""
    place = find_breast(picture, SHAPE, margin=0.02)
    assert place.is_sure
    assert place.is_wall_left
    assert _is_near(place.box, TRUE_BOX, MARGIN_PX + 7)
    truth = _distance() < 1
    assert _iou(mask_breast(picture), truth if hidden is None else truth & ~hidden) >= 0.95


@pytest.mark.parametrize(("ground", "noise"), [(0, 0), (0.1, 0), (0.3, 0), (0, 0.02), (0.08, 0.02), (0.2, 0.04)])
def test_the_box_fits_the_breast_on_any_ground(ground: float, noise: float) -> None:
    _assert_found(_draw(ground, noise))


def test_the_box_fits_the_breast_on_a_sloping_ground() -> None:
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    _assert_found(_draw(0.15) + np.asarray(0.08 * row / 320 - 0.1 * column / 256, dtype=np.float32))


def test_the_box_fits_the_breast_in_noisy_air() -> None:
    noise = np.abs(np.random.default_rng(4).standard_normal(SHAPE)) * 0.1
    _assert_found(np.where(_distance() < 1, _draw(), noise).astype(np.float32))


def test_the_box_is_in_pixels_of_the_original() -> None:
    place = find_breast(_draw(), (3200, 1280), margin=0)
    row_scale, column_scale = 10, 5
    true = Box(640, 0, 2560, 700)
    assert abs(place.box.top - true.top) <= 2 * row_scale
    assert abs(place.box.bottom - true.bottom) <= 2 * row_scale
    assert abs(place.box.right - true.right) <= 2 * column_scale


def test_flipping_the_picture_flips_the_box() -> None:
    place = find_breast(_draw(), SHAPE, margin=0.02)
    flipped = find_breast(np.ascontiguousarray(_draw()[:, ::-1]), SHAPE, margin=0.02)
    assert not flipped.is_wall_left
    assert (flipped.box.left, flipped.box.right) == (256 - place.box.right, 256 - place.box.left)


def test_a_marker_is_left_out() -> None:
    marker = np.zeros(SHAPE, dtype=np.uint8)
    cv2.putText(marker, "L CC", (170, 50), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 3)
    cv2.line(marker, (150, 300), (255, 300), 255, 3)
    _assert_found(np.maximum(_draw(), (marker > 0).astype(np.float32)))


def test_a_plate_beside_the_breast_is_left_out() -> None:
    picture = _draw()
    picture[100:150, 200:230] = 0.9
    _assert_found(picture)


def test_a_scratch_across_the_skin_is_left_out() -> None:
    picture = _draw()
    cv2.line(picture, (60, 120), (250, 40), 0.9, 2)
    _assert_found(picture)


def test_the_bar_of_a_detector_edge_is_left_out() -> None:
    picture = _draw()
    picture[:, 200:205] = 0.5
    _assert_found(picture)


@pytest.mark.parametrize("grey", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("width", [2, 5, 12])
def test_a_frame_is_left_out(width: int, grey: float) -> None:
    hidden = np.ones(SHAPE, dtype=np.bool_)
    hidden[width:-width, width:-width] = False
    _assert_found(np.where(hidden, np.float32(grey), _draw(0.1)), hidden)


@pytest.mark.parametrize("tilt_degrees", [-2, 0, 2])
@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_a_shutter_is_left_out(grey: float, tilt_degrees: float) -> None:
    slope = np.tan(np.deg2rad(tilt_degrees))
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    is_shut = (255 - column + slope * (row - 160) < 20) | (row + slope * (column - 128) < 30)
    _assert_found(np.where(is_shut, np.float32(grey), _draw(0.1)))


def test_muscle_as_white_as_film_is_no_frame() -> None:
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    picture = np.where(row / 400 + column / 60 < 1, np.float32(1), _draw())
    mask = mask_breast(picture)
    assert mask[:, 1:8].all()


def test_dead_rows_and_columns_are_no_tissue_and_set_no_scale() -> None:
    picture = 0.02 * _draw()
    extremes = np.random.default_rng(2).integers(0, 2, 320).astype(np.float32)
    for rows, columns in ((slice(0, 2), slice(None)), (slice(-2, None), slice(None))):
        picture[rows, columns] = 1
    for columns in (slice(0, 2), slice(-2, None)):
        picture[:, columns] = extremes[:, np.newaxis]
    _assert_found(picture)


def test_a_ring_of_uneven_dead_pixels_does_not_enclose_the_picture() -> None:
    uneven = np.random.default_rng(5).uniform(0.3, 1, SHAPE).astype(np.float32)
    is_dead = np.ones(SHAPE, dtype=np.bool_)
    is_dead[2:-2, 2:-2] = False
    _assert_found(np.where(is_dead, uneven, _draw()))


def test_an_implant_belongs_to_the_breast() -> None:
    _assert_found(np.where(_distance() < 0.6, np.float32(3), _draw()))


def test_fat_as_black_as_the_ground_belongs_to_the_breast() -> None:
    distance = _distance()
    picture = np.where(distance < 0.4, 0.7, np.where((distance > 0.96) & (distance < 1), 0.3, 0)).astype(np.float32)
    _assert_found(picture)


def test_the_fold_of_the_other_breast_is_left_out() -> None:
    picture = _draw()
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    picture[np.hypot(row - 320, column) < 45] = 0.5
    _assert_found(picture)


def test_an_arm_at_the_far_edge_is_left_out() -> None:
    picture = _draw()
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    picture[np.hypot(row, column - 255) < 80] = 0.5
    _assert_found(picture)


def test_thin_tissue_along_the_wall_belongs_to_the_breast() -> None:
    picture = _draw()
    picture[20:100, :6] = 0.4
    assert abs(find_breast(picture, SHAPE, margin=0).box.top - 20) <= 4


def test_the_nipple_belongs_to_the_breast() -> None:
    picture = _draw()
    picture[154:166, 138:148] = 0.4
    assert abs(find_breast(picture, SHAPE, margin=0).box.right - 148) <= 2


def test_a_pixel_belongs_to_the_breast_where_half_of_it_is_tissue() -> None:
    picture = np.zeros(SHAPE, dtype=np.float32)
    picture[60:261, :100] = 0.5
    picture[60:261, 100] = 0.15  # a third tissue
    picture[60:261, 101:] = 0
    assert not mask_breast(picture)[100:220, 100].any()
    picture[60:261, 100] = 0.35  # two thirds
    assert mask_breast(picture)[100:220, 100].all()


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_without_a_breast_the_box_is_the_whole_picture(level: float) -> None:
    place = find_breast(np.full(SHAPE, level, dtype=np.float32), (3200, 2560), margin=0.02)
    assert place.box == Box(0, 0, 3200, 2560)
    assert not place.is_sure
    assert place.reason is Doubt.NOTHING


def test_a_marker_alone_is_no_breast() -> None:
    picture = np.zeros(SHAPE, dtype=np.float32)
    cv2.rectangle(picture, (200, 20), (225, 45), 1.0, -1)
    assert find_breast(picture, SHAPE, margin=0.02).reason is Doubt.TOO_SMALL


def test_lines_alone_are_no_breast() -> None:
    picture = np.zeros(SHAPE, dtype=np.float32)
    cv2.line(picture, (40, 40), (200, 280), 1.0, 3)
    assert find_breast(picture, SHAPE, margin=0.02).reason is Doubt.NOTHING


def test_a_sliver_of_tissue_is_marked_though_too_small_to_be_sure() -> None:
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    truth = np.hypot((row - 159.5) / 60, (column + 0.5) / 8) < 1
    picture = np.where(truth, 0.5, 0).astype(np.float32)
    picture += np.abs(np.random.default_rng(1).standard_normal(SHAPE)).astype(np.float32) * 0.001
    place = find_breast(picture, SHAPE, margin=0.02)
    assert place.reason is Doubt.TOO_SMALL
    assert place.box == Box(0, 0, *SHAPE)
    assert place.is_wall_left
    assert _iou(mask_breast(picture), truth) > 0.8


def test_tissue_everywhere_is_no_find() -> None:
    picture = np.full(SHAPE, 0.6, dtype=np.float32)
    picture[0, :3] = 0
    assert not find_breast(picture, SHAPE, margin=0.02).is_sure


@pytest.mark.parametrize("is_wall_left", [True, False])
def test_a_breast_that_fills_the_picture_is_taken_whole(*, is_wall_left: bool) -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32), (0, 0), 8)
    picture = 0.4 + 0.15 * texture / texture.std()
    row, column = np.mgrid[0:SMALL_ROWS, 0:256]
    picture[row / 150 + column / 60 < 1] += 0.4  # muscle
    picture = np.ascontiguousarray(picture if is_wall_left else picture[:, ::-1], dtype=np.float32)
    place = find_breast(picture, (3200, 2560), margin=0.02)
    assert place.reason is Doubt.NO_GROUND
    assert place.box == Box(0, 0, 3200, 2560)
    assert place.is_wall_left == is_wall_left


def test_a_breast_without_a_skin_line_is_taken_whole() -> None:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 13)
    reach = np.where(np.arange(13) % 2, 0.35, 1.0)  # fingers of gland in fat that was clipped to black
    points = np.stack([140 * reach * np.cos(angle), 160 + 96 * reach * np.sin(angle)], axis=1)
    picture = cv2.fillPoly(np.zeros(SHAPE, dtype=np.uint8), [points.astype(np.int32)], 200).astype(np.float32)
    place = find_breast(picture, SHAPE, margin=0.02)
    assert place.reason is Doubt.RAGGED
    assert place.box == Box(0, 0, *SHAPE)


def test_the_margin_ends_at_the_picture() -> None:
    box = find_breast(_draw(), SHAPE, margin=0.5).box
    assert (box.top, box.left, box.bottom) == (0, 0, 320)
    assert abs(box.right - (140 + 96)) <= 2


def test_the_margin_is_in_millimetres_where_the_spacing_is_known() -> None:
    tight = find_breast(_draw(), SHAPE, margin=0).box
    box = find_breast(_draw(), SHAPE, margin=0.5, margin_mm=6, spacing_mm=(0.5, 0.25)).box
    assert box == Box(tight.top - 12, 0, tight.bottom + 12, tight.right + 24)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (3, 5), (16, 16), (320, 2), (2, 320)])
@pytest.mark.parametrize("fill", ["flat", "random", "step"])
def test_a_picture_of_any_size_has_a_box(shape: tuple[int, int], fill: str) -> None:
    values = np.random.default_rng(1).random(shape) if fill == "random" else np.zeros(shape)
    values[:, : shape[1] // 2] += 0.0 if fill == "flat" else 1.0
    box = find_breast(values.astype(np.float32), shape, margin=0.02).box
    assert 0 <= box.top < box.bottom <= shape[0]
    assert 0 <= box.left < box.right <= shape[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_a_picture_is_shrunk_whatever_its_type(dtype: type[np.generic]) -> None:
    small = shrink_for_search(np.full((640, 400), 100, dtype=dtype))
    assert small.shape == (SMALL_ROWS, 200)
    assert small.dtype == np.float32
    assert (small == 100).all()


def test_a_small_picture_stays_as_it_is() -> None:
    picture = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(shrink_for_search(picture), picture)


@pytest.mark.parametrize("shape", [(3328, 2560), (5355, 4915), (1283, 977), (641, 3), (2776, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_large_picture_shrinks_to_the_averages_of_its_parts(shape: tuple[int, int], dtype: type[np.generic]) -> None:
    row, column = np.mgrid[0 : shape[0], 0 : shape[1]]
    picture = (100 + 50 * np.sin(row / 400) + 40 * np.cos(column / 300)).astype(dtype)
    small = shrink_for_search(picture)
    exact = cv2.resize(picture.astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_AREA)
    assert small.shape[0] == 320
    leftover_px = max(
        0, shape[0] // 640 - 1
    )  # less than a block, stretched over; steepest 50 / 400 and 40 / 300 per px
    assert np.abs(small - exact).max() <= 1.01 + leftover_px * (50 / 400 + 40 / 300)  # and both steps round
