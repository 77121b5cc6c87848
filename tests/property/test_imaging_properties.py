"""What holds for every picture: places go back and forth, and no file breaks the batch."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import CanvasPixels, Placement, paint, place, resize_to_content
from mammoscope.imaging.display import apply_linear, apply_linear_exact, apply_sigmoid
from mammoscope.imaging.prepare import PrepareSettings, prepare_image
from mammoscope.imaging.verdict import Verdict


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    rows, columns = draw(st.integers(2, 6000)), draw(st.integers(2, 6000))
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    box = Box(top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns)))
    spacing = st.floats(0.02, 0.5)
    return place(
        box,
        original_shape=(rows, columns),
        canvas_shape=(draw(st.integers(16, 2048)), draw(st.integers(16, 2048))),
        is_wall_left=draw(st.booleans()),
        spacing_mm=draw(st.none() | st.tuples(spacing, spacing)),
    )


@given(placements(), st.floats(0, 1), st.floats(0, 1))
def test_a_point_goes_to_the_canvas_and_back(placement: Placement, down: float, along: float) -> None:
    point = (placement.original_shape[0] * down, placement.original_shape[1] * along)
    np.testing.assert_allclose(placement.to_original(*placement.to_canvas(*point)), point, atol=1e-6)


@given(placements(), st.floats(0, 1), st.floats(0, 1))
def test_a_point_of_the_box_lies_in_the_content(placement: Placement, down: float, along: float) -> None:
    box = placement.box
    row, column = placement.to_canvas(box.top + box.rows * down, box.left + box.columns * along)
    slack = 1e-6
    assert placement.content_top - slack <= row <= placement.content_top + placement.content_shape[0] + slack
    assert -slack <= column <= placement.content_shape[1] + slack


@given(placements())
def test_the_content_fits_the_canvas_and_touches_it_on_two_sides(placement: Placement) -> None:
    (rows, columns), (content_rows, content_columns) = placement.canvas_shape, placement.content_shape
    assert 0 <= placement.content_top <= rows - content_rows
    assert content_rows == rows or content_columns == columns


@given(placements(), st.floats(0, 1), st.floats(0, 1))
def test_flipping_the_original_leaves_the_canvas_in_place(placement: Placement, down: float, along: float) -> None:
    width, box = placement.original_shape[1], placement.box
    flipped = Placement(
        original_shape=placement.original_shape,
        box=Box(box.top, width - box.right, box.bottom, width - box.left),
        is_flipped=not placement.is_flipped,
        canvas_shape=placement.canvas_shape,
        content_shape=placement.content_shape,
        content_top=placement.content_top,
    )
    row, column = placement.original_shape[0] * down, width * along
    np.testing.assert_allclose(flipped.to_canvas(row, width - column), placement.to_canvas(row, column), atol=1e-6)


def _render(picture: NDArray[np.float32], box: Box, *, is_wall_left: bool) -> CanvasPixels:
    placement = place(box, original_shape=(60, 40), canvas_shape=(32, 16), is_wall_left=is_wall_left, spacing_mm=None)
    return paint(resize_to_content(picture[box.top : box.bottom, box.left : box.right], placement), placement, 16)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 15))
def test_a_flipped_picture_gives_the_same_canvas(seed: int, top: int, left: int) -> None:
    picture = np.random.default_rng(seed).random((60, 40), dtype=np.float32)
    flipped = np.ascontiguousarray(picture[:, ::-1])
    canvas = _render(picture, Box(top, left, 55, 36), is_wall_left=True)
    np.testing.assert_array_equal(_render(flipped, Box(top, 4, 55, 40 - left), is_wall_left=False), canvas)


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=2), st.floats(-5e4, 5e4), st.floats(1, 1e5))
def test_every_window_keeps_the_order_and_the_range(values: list[float], center: float, width: float) -> None:
    ordered = np.sort(np.array(values, dtype=np.float32))
    for apply in (apply_linear, apply_linear_exact, apply_sigmoid):
        brightness = apply(ordered, center, width)
        assert (np.diff(brightness) >= 0).all()
        assert brightness.min() >= 0
        assert brightness.max() <= 1


def _encode_breast() -> bytes:
    row, column = np.mgrid[0:96, 0:80]
    tissue = np.clip(60000 - 15 * ((row - 48) ** 2 + column**2), 0, None).astype(np.uint16)
    return bytes(cv2.imencode(".png", tissue)[1])


PNG = _encode_breast()


@settings(max_examples=60)
@given(st.integers(0, len(PNG) - 1), st.lists(st.tuples(st.integers(0, len(PNG) - 1), st.integers(0, 255)), max_size=5))
def test_a_damaged_picture_is_prepared_or_refused_with_a_reason(end: int, changes: list[tuple[int, int]]) -> None:
    content = bytearray(PNG)
    for position, value in changes:
        content[position] = value
    for damaged in (bytes(content), bytes(content[:end])):
        try:
            prepare_image(damaged, PrepareSettings(rows=32, columns=16), name="1")
        except ImageRefusedError as error:
            assert Verdict(error.code) is not Verdict.OK  # noqa: PT017  # a refusal is one of two good ends
