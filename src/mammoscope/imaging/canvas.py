"""From the breast's box to a canvas of fixed size, and the exact way back: crop, flip, resize, pad, quantise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.breast import Box

CanvasPixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the box of a picture lies on the canvas.

    Points are (row, column) in continuous pixels: the first pixel covers 0 to 1, its centre is 0.5.

    Attributes:
        original_shape: rows and columns of the full picture.
        box: what was cut out, in pixels of the full picture.
        is_flipped: whether left and right were exchanged, so that the chest wall is at the left.
        canvas_shape: rows and columns of the canvas.
        content_shape: rows and columns that the box takes up on the canvas.
        content_top: rows of the canvas above the content; the content begins at column 0.
    """

    original_shape: tuple[int, int]
    box: Box
    is_flipped: bool
    canvas_shape: tuple[int, int]
    content_shape: tuple[int, int]
    content_top: int

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels for one original pixel, along rows and columns; unequal where pixels are not square."""
        return self.content_shape[0] / self.box.rows, self.content_shape[1] / self.box.columns

    def to_canvas(self, row: float, column: float) -> tuple[float, float]:
        """The place on the canvas of a point of the original."""
        row_scale, column_scale = self.scale
        from_wall = self.box.right - column if self.is_flipped else column - self.box.left
        return (row - self.box.top) * row_scale + self.content_top, from_wall * column_scale

    def to_original(self, row: float, column: float) -> tuple[float, float]:
        """The place in the original of a point of the canvas."""
        row_scale, column_scale = self.scale
        from_wall = column / column_scale
        original_column = self.box.right - from_wall if self.is_flipped else self.box.left + from_wall
        return (row - self.content_top) / row_scale + self.box.top, original_column

    def to_row(self) -> dict[str, int | float | bool]:
        """The placement as columns of `prepared.parquet`."""
        return {
            "original_rows": self.original_shape[0],
            "original_columns": self.original_shape[1],
            "box_top": self.box.top,
            "box_left": self.box.left,
            "box_bottom": self.box.bottom,
            "box_right": self.box.right,
            "is_flipped": self.is_flipped,
            "canvas_rows": self.canvas_shape[0],
            "canvas_columns": self.canvas_shape[1],
            "content_rows": self.content_shape[0],
            "content_columns": self.content_shape[1],
            "content_top": self.content_top,
        }


def placement_from_row(row: Mapping[str, Any]) -> Placement:
    """The placement that a row of `prepared.parquet` records."""
    return Placement(
        original_shape=(row["original_rows"], row["original_columns"]),
        box=Box(row["box_top"], row["box_left"], row["box_bottom"], row["box_right"]),
        is_flipped=row["is_flipped"],
        canvas_shape=(row["canvas_rows"], row["canvas_columns"]),
        content_shape=(row["content_rows"], row["content_columns"]),
        content_top=row["content_top"],
    )


def place(  # noqa: PLR0913  # all but the box by keyword
    box: Box,
    *,
    original_shape: tuple[int, int],
    canvas_shape: tuple[int, int],
    is_wall_left: bool,
    spacing_mm: tuple[float, float] | None,
    is_stretched: bool = False,
) -> Placement:
    """The largest placement of a box: chest wall at column 0, centred between the rows.

    It keeps the box's proportions, or is stretched to fill the canvas.
    """
    pixel_height = 1.0 if spacing_mm is None else spacing_mm[0] / spacing_mm[1]  # in widths of a pixel
    scale = min(canvas_shape[0] / (box.rows * pixel_height), canvas_shape[1] / box.columns)
    content_rows = min(canvas_shape[0], max(1, round(box.rows * pixel_height * scale)))
    content_columns = min(canvas_shape[1], max(1, round(box.columns * scale)))
    if is_stretched:
        content_rows, content_columns = canvas_shape
    return Placement(
        original_shape=original_shape,
        box=box,
        is_flipped=not is_wall_left,
        canvas_shape=canvas_shape,
        content_shape=(content_rows, content_columns),
        content_top=(canvas_shape[0] - content_rows) // 2,
    )


def resize_to_content(cut: NDArray[Any], placement: Placement) -> NDArray[np.float32]:
    """What was cut out, flipped and resized to the placement's content; (row, column).

    Args:
        cut: (row, column), the pixels of the box at any resolution level.
        placement: where they go.
    """
    flipped = cut[:, ::-1] if placement.is_flipped else cut
    rows, columns = placement.content_shape
    is_smaller = rows <= cut.shape[0] and columns <= cut.shape[1]
    # area averaging is free of moiré when shrinking, and a staircase when growing
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    source = np.ascontiguousarray(flipped, dtype=np.float32)
    return np.asarray(cv2.resize(source, (columns, rows), interpolation=interpolation), dtype=np.float32)


def paint(brightness: NDArray[np.float32], placement: Placement, bits: Literal[8, 16]) -> CanvasPixels:
    """The canvas: the content's brightness in [0, 1] as whole numbers of so many bits, black around; (row, column)."""
    dtype = np.uint8 if bits == 8 else np.uint16  # noqa: PLR2004  # bits
    canvas = np.zeros(placement.canvas_shape, dtype=dtype)
    rows, columns = placement.content_shape
    content = np.rint(brightness * np.float32((1 << bits) - 1)).astype(dtype)
    canvas[placement.content_top : placement.content_top + rows, :columns] = content
    return canvas
