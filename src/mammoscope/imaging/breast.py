"""Where the breast is: its box, and the side of the chest wall, found on a small copy of the picture."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SMALL_ROWS = 320  # high enough that a marker's strokes are 2 px wide, low enough that the search takes 2 ms
_OPENING_PX = 9  # on the small copy: wider than the strokes of a marker or a frame, narrower than any breast
_TAIL_PERCENTILE = 99.5  # the brightest half per cent (markers, frames, clips) do not set the scale
_LEAST_STEP = 0.08  # on the square-root scale; 8-bit noise of a dark background stays below it
_NOISE_WIDTHS = 6.0  # median absolute deviations; 6 of them are 4 standard deviations of Gaussian noise
_GROUND_BINS = 64  # of the dark pixels' histogram
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
        is_sure: False when nothing like a breast was found; the box is then the whole picture.
    """

    box: Box
    is_wall_left: bool
    is_sure: bool


def find_breast(brightness: NDArray[np.float32], original_shape: tuple[int, int], *, margin: float) -> BreastPlace:
    """The place of the breast, looked for on a small copy of the picture.

    Args:
        brightness: (row, column), bright tissue on dark ground, of `SMALL_ROWS` rows or a few less.
        original_shape: rows and columns of the full picture; the box is in its pixels.
        margin: what is added around the breast, as a share of the longer side of its box.
    """
    mask = mask_breast(brightness)
    share = float(mask.mean())
    is_wall_left = _touches_left_more(mask if share > 0 else brightness)
    if not _SMALLEST_SHARE <= share <= _LARGEST_SHARE:
        return BreastPlace(Box(0, 0, *original_shape), is_wall_left, is_sure=False)
    return BreastPlace(_box_around(mask, original_shape, margin), is_wall_left, is_sure=True)


def shrink_for_search(picture: NDArray[Any]) -> NDArray[np.float32]:
    """The picture made smaller, proportions kept, to at most `SMALL_ROWS` rows; (row, column)."""
    rows, columns = min(SMALL_ROWS, picture.shape[0]), picture.shape[1]
    columns = max(1, round(columns * rows / picture.shape[0]))
    # only these types are resized as they are, and a full picture is too large to convert first
    is_resizable = picture.dtype in (np.uint8, np.uint16, np.int16, np.float32)
    source = picture if is_resizable else picture.astype(np.float32)
    return np.asarray(cv2.resize(source, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)


def mask_breast(brightness: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The largest connected bright region once thin things are broken off; (row, column)."""
    bright = _threshold(brightness)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPENING_PX, _OPENING_PX))
    # outside of the picture counts as tissue, so that a breast at the edge is not eaten from that side
    eroded = cv2.erode(bright, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    n_regions, labels, statistics, _ = cv2.connectedComponentsWithStats(eroded, connectivity=4)
    if n_regions == 1:
        return np.zeros(bright.shape, dtype=np.bool_)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    core = (labels == largest).astype(np.uint8)
    grown = np.asarray(cv2.dilate(core, kernel), dtype=np.bool_)
    return grown & bright.astype(np.bool_)


def _threshold(brightness: NDArray[np.float32]) -> NDArray[np.uint8]:
    """1 where brighter than the ground: above its noise, and never above Otsu's threshold."""
    low, high = float(brightness.min()), float(np.percentile(brightness, _TAIL_PERCENTILE))
    if high <= low:
        high = float(brightness.max())
    if high <= low:
        return np.zeros(brightness.shape, dtype=np.uint8)
    # the square root lifts the thin tissue along the skin line away from the ground
    lifted = np.sqrt(np.clip((brightness - low) / (high - low), 0, 1))
    otsu, _ = cv2.threshold((lifted * 255).astype(np.uint8), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    level, noise = _measure_ground(lifted[lifted <= otsu / 255])
    is_bright: NDArray[np.bool_] = lifted > min(otsu / 255, level + max(_LEAST_STEP, _NOISE_WIDTHS * noise))
    return is_bright.astype(np.uint8)


def _measure_ground(dark: NDArray[np.float32]) -> tuple[float, float]:
    """Level and noise of the ground: the highest peak among the dark pixels, as dark fat spreads and air does not."""
    counts, edges = np.histogram(dark, bins=_GROUND_BINS)
    level = float(edges[int(np.argmax(counts)) + 1])
    darker = dark[dark <= level]  # this side of the peak is free of tissue
    return level, float(np.median(level - darker))


def _touches_left_more(weight: NDArray[np.bool_] | NDArray[np.float32]) -> bool:
    """Whether the left border, and where the borders are equal the left half, holds more of the breast."""
    columns = weight.shape[1]
    rim = max(1, columns // 50)
    left, right = float(weight[:, :rim].sum()), float(weight[:, -rim:].sum())
    if left == right:
        half = columns // 2
        left, right = float(weight[:, :half].sum()), float(weight[:, columns - half :].sum())
    return left >= right


def _box_around(mask: NDArray[np.bool_], original_shape: tuple[int, int], margin: float) -> Box:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    row_scale, column_scale = original_shape[0] / mask.shape[0], original_shape[1] / mask.shape[1]
    top, bottom = rows[0] * row_scale, (rows[-1] + 1) * row_scale
    left, right = columns[0] * column_scale, (columns[-1] + 1) * column_scale
    rim = margin * max(bottom - top, right - left)
    return Box(
        top=max(0, int(top - rim)),
        left=max(0, int(left - rim)),
        bottom=min(original_shape[0], int(np.ceil(bottom + rim))),
        right=min(original_shape[1], int(np.ceil(right + rim))),
    )
