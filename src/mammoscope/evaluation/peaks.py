"""Heat maps to peaks: where the heat is highest, as boxes with their share of it, and whether a peak hits a lesion."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import Placement

Heat = NDArray[np.float32]
"""How much each place of a prepared picture speaks for cancer, (row, column); it covers the whole canvas."""

MOST_PEAKS = 5
_EDGE = 0.5  # a peak reaches down to half of its height, as the width of a line in a spectrum is told
_LEAST_HEIGHT = 0.2  # of the highest peak: lower ones are the unrest of a map


@dataclass(frozen=True, slots=True)
class Peak:
    """A place where heat is highest.

    Attributes:
        box: the rectangle around all that is at least half as hot and hangs together with it.
        row: of the place itself, in continuous pixels: the first pixel covers 0 to 1.
        column: the same.
        value: the heat there, in logits for a place of the network's map.
        share: what is inside of the peak, of all that speaks for cancer in the picture, 0 to 1.
    """

    box: Box
    row: float
    column: float
    value: float
    share: float


def find_peaks(heat: Heat, *, n_most: int = MOST_PEAKS) -> tuple[Peak, ...]:
    """The peaks of a heat map, the highest first, in pixels of the map; none where nothing speaks for cancer.

    Two tops are one peak where the way between them does not fall below half of the lower one.

    Raises:
        UserInputError: the map has not two axes, or a value of it is not finite.
    """
    if heat.ndim != 2 or not np.isfinite(heat).all():  # noqa: PLR2004  # (row, column)
        raise UserInputError(
            f"heat map: found shape {heat.shape}, finite {bool(np.isfinite(heat).all())}; expected finite numbers "
            "(row, column); give one map at a time"
        )
    positive = np.clip(heat, 0, None).astype(np.float32)
    total, highest = float(positive.sum(dtype=np.float64)), float(positive.max(initial=0))
    peaks: list[Peak] = []
    taken = np.zeros(positive.shape, dtype=bool)
    for row, column in _list_tops(positive, least=_LEAST_HEIGHT * highest) if total > 0 else ():
        if taken[row, column]:
            continue
        value = float(positive[row, column])
        inside = _region_around(positive >= _EDGE * value, row, column)
        is_own = not (inside & taken).any()
        taken |= inside
        if is_own:
            share = float(positive[inside].sum(dtype=np.float64)) / total
            peaks.append(Peak(_box_around(inside), row + 0.5, column + 0.5, value, share))
    return tuple(peaks[:n_most])


def find_peaks_of_file(heat: Heat, placement: Placement, *, n_most: int = MOST_PEAKS) -> tuple[Peak, ...]:
    """The peaks of the part of a map that lies on the picture, the highest first, in pixels of the file.

    Raises:
        UserInputError: as `find_peaks`.
    """
    return tuple(
        peak_in_original(peak, heat.shape, placement)
        for peak in find_peaks(keep_content(heat, placement), n_most=n_most)
    )


def keep_content(heat: Heat, placement: Placement) -> Heat:
    """The heat whose place lies on the picture, and 0 for the black beside it; a place lies where its centre does."""
    content = (placement.content_top, placement.content_shape[0]), (0, placement.content_shape[1])
    on_rows, on_columns = (
        _lie_within(n_places, n_pixels, first, first + length)
        for n_places, n_pixels, (first, length) in zip(heat.shape, placement.canvas_shape, content, strict=True)
    )
    return np.where(on_rows[:, None] & on_columns, heat, np.float32(0))


def peak_in_original(peak: Peak, heat_shape: tuple[int, int], placement: Placement) -> Peak:
    """A peak of a map that covers a canvas, in pixels of the original; its box in whole ones, within what was cut out.

    Args:
        peak: in pixels of the map.
        heat_shape: rows and columns of the map.
        placement: where the picture lies on the canvas.
    """
    row_scale, column_scale = (
        canvas / places for canvas, places in zip(placement.canvas_shape, heat_shape, strict=True)
    )
    row, column = placement.to_original(peak.row * row_scale, peak.column * column_scale)
    corners = [
        placement.to_original(row * row_scale, column * column_scale)
        for row, column in ((peak.box.top, peak.box.left), (peak.box.bottom, peak.box.right))
    ]
    rows, columns = sorted(each[0] for each in corners), sorted(each[1] for each in corners)
    whole = Box(int(np.floor(rows[0])), int(np.floor(columns[0])), int(np.ceil(rows[1])), int(np.ceil(columns[1])))
    cut = placement.box
    return Peak(
        box=Box(
            min(max(whole.top, cut.top), cut.bottom - 1),
            min(max(whole.left, cut.left), cut.right - 1),
            max(min(whole.bottom, cut.bottom), cut.top + 1),
            max(min(whole.right, cut.right), cut.left + 1),
        ),
        row=float(np.clip(row, cut.top, cut.bottom - 0.5)),  # in the last pixel, not at its far edge
        column=float(np.clip(column, cut.left, cut.right - 0.5)),
        value=peak.value,
        share=peak.share,
    )


def hits(peak: Peak, lesions: Iterable[Box]) -> bool:
    """Whether the place of a peak lies in one of the boxes: the pointing game (Zhang et al. 2018, arXiv:1608.00507)."""
    return any(box.top <= peak.row <= box.bottom and box.left <= peak.column <= box.right for box in lesions)


def _lie_within(n_places: int, n_pixels: int, first: float, end: float) -> NDArray[np.bool_]:
    """Which of the places that part so many pixels evenly have their centre between two of them; (place,)."""
    centres = (np.arange(n_places) + 0.5) * n_pixels / n_places
    inside: NDArray[np.bool_] = (centres > first) & (centres < end)
    return inside


def _list_tops(positive: Heat, *, least: float) -> list[tuple[int, int]]:
    """The places that none of their eight neighbours exceeds, the highest first."""
    around = cv2.dilate(positive, np.ones((3, 3), dtype=np.uint8))
    rows, columns = np.nonzero((positive >= around) & (positive > 0) & (positive >= least))
    order = np.argsort(-positive[rows, columns], kind="stable")
    return [(int(rows[place]), int(columns[place])) for place in order]


def _region_around(mask: NDArray[np.bool_], row: int, column: int) -> NDArray[np.bool_]:
    """What hangs together with a place of a mask."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    inside: NDArray[np.bool_] = labels == labels[row, column]
    return inside


def _box_around(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
