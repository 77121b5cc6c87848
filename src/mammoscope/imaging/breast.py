"""Where the breast is: its box, and the side of the chest wall, found on a small copy of the picture."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.breast_mask import BreastRegion, Doubt, find_region, is_taller_left

SMALL_ROWS = 320  # high enough that a marker's strokes are 2 px wide, low enough that the search takes 2 ms
MARGIN_MM = 5.0  # skin, nipple and the error of the outline; a pixel of the small copy is 0.75 mm
_SMALLEST_SHARE = 0.03  # of the picture; anything smaller is a marker or noise, not a breast
_LARGEST_SHARE = 0.98  # of the picture; nothing was cut off, so nothing was found


class Box(NamedTuple):
    """A rectangle in pixels, half open: rows [top, bottom), columns [left, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> int:
        """The height."""
        return self.bottom - self.top

    @property
    def columns(self) -> int:
        """The width."""
        return self.right - self.left


@dataclass(frozen=True, slots=True)
class BreastPlace:
    """Where the breast is in a picture.

    Attributes:
        box: the rectangle around it, with a margin, in pixels of the full picture.
        is_wall_left: whether the chest wall is at the left edge.
        reason: why it was not found for sure; the box is then the whole picture.
    """

    box: Box
    is_wall_left: bool
    reason: Doubt | None = None

    @property
    def is_sure(self) -> bool:
        """Whether a breast was found."""
        return self.reason is None


def find_breast(
    brightness: NDArray[np.float32],
    original_shape: tuple[int, int],
    *,
    margin: float,
    margin_mm: float = MARGIN_MM,
    spacing_mm: tuple[float, float] | None = None,
) -> BreastPlace:
    """The place of the breast, looked for on a small copy of the picture.

    Args:
        brightness: (row, column), bright tissue on dark ground, of `SMALL_ROWS` rows or a few less.
        original_shape: rows and columns of the full picture; the box is in its pixels.
        margin: what is added around the breast, as a share of the longer side of its box; for pixels of unknown size.
        margin_mm: the same for pixels of known size.
        spacing_mm: height and width of a pixel of the full picture, where known.
    """
    region = find_region(brightness)
    doubt = region.doubt
    if doubt is None and region.mask.mean() < _SMALLEST_SHARE:
        doubt = Doubt.TOO_SMALL
    if doubt is None and region.mask.mean() > _LARGEST_SHARE:
        doubt = Doubt.NO_GROUND
    is_wall_left = _is_wall_left(brightness, region)
    if doubt is not None:
        return BreastPlace(Box(0, 0, *original_shape), is_wall_left, doubt)
    tight = _box_around(region.mask, original_shape)
    if spacing_mm is None:
        rim = (margin * max(tight.rows, tight.columns),) * 2
    else:
        rim = (margin_mm / spacing_mm[0], margin_mm / spacing_mm[1])
    return BreastPlace(_widen(tight, rim, original_shape), is_wall_left)


def shrink_for_search(picture: NDArray[Any]) -> NDArray[np.float32]:
    """The picture made smaller, proportions kept, to at most `SMALL_ROWS` rows; (row, column)."""
    rows, columns = min(SMALL_ROWS, picture.shape[0]), picture.shape[1]
    columns = max(1, round(columns * rows / picture.shape[0]))
    # only these types are resized as they are, and a full picture is too large to convert first
    is_resizable = picture.dtype in (np.uint8, np.uint16, np.int16, np.float32)
    source = _shrink_by_blocks(picture if is_resizable else picture.astype(np.float32))
    return np.asarray(cv2.resize(source, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _shrink_by_blocks(picture: NDArray[Any]) -> NDArray[Any]:
    """Averages of square blocks, at least twice as many as the search needs: OpenCV does whole blocks six times faster.

    What is left over at the lower and right edge, less than a block, is stretched over.
    """
    side = picture.shape[0] // (2 * SMALL_ROWS)
    if side <= 1 or picture.shape[1] < side:
        return picture
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    whole = picture[: rows * side, : columns * side]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA))


def _is_wall_left(brightness: NDArray[np.float32], region: BreastRegion) -> bool:
    """Where the region is taller; without one, where the upper corner is brighter: muscle there, air or skin here."""
    if region.doubt not in (Doubt.NO_GROUND, Doubt.NOTHING):
        return is_taller_left(region.mask)
    rows, columns = (max(1, length // 8) for length in brightness.shape)
    return bool(brightness[:rows, :columns].sum() >= brightness[:rows, -columns:].sum())


def _box_around(mask: NDArray[np.bool_], original_shape: tuple[int, int]) -> Box:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    row_scale, column_scale = original_shape[0] / mask.shape[0], original_shape[1] / mask.shape[1]
    return Box(
        top=int(rows[0] * row_scale),
        left=int(columns[0] * column_scale),
        bottom=int(np.ceil((rows[-1] + 1) * row_scale)),
        right=int(np.ceil((columns[-1] + 1) * column_scale)),
    )


def _widen(box: Box, rim: tuple[float, float], original_shape: tuple[int, int]) -> Box:
    """The box with that many rows and columns more on each side, inside the picture."""
    return Box(
        top=max(0, int(box.top - rim[0])),
        left=max(0, int(box.left - rim[1])),
        bottom=min(original_shape[0], int(np.ceil(box.bottom + rim[0]))),
        right=min(original_shape[1], int(np.ceil(box.right + rim[1]))),
    )
