"""Which pixels of a small picture show the breast: ground, straight borders, region, skin line."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
_Grey = NDArray[np.uint8]

# Lengths are shares of the picture's rows, as a picture of 320 rows shows about 240 mm, whatever the detector.
_OPENING_SHARE = 9 / 320  # wider than the strokes of a marker or a scratch (5 mm), narrower than any breast
_CLOSING_SHARE = 5 / 320  # gaps of the skin line where fat was clipped to black
_MOST_CANDIDATES = 4  # of bright regions: breast, or skin line and gland apart; arm; other breast; plate
_DEAD_SHARE = 3 / 320  # dead rows and columns of a detector, at most

_RIM_SHARE = 6 / 320  # dead rows and columns of the detector do not set the scale
_TAIL_PERCENTILES = (0.5, 99.5)  # nor do markers, clips and hot pixels
_LEAST_RANGE = 0.05  # of the whole; below it the percentiles lie within the ground, beside a little tissue
_STEP = 20  # of 255 on the square-root scale: 0.6 % of the range above a black ground, under any skin line
_NOISE_WIDTHS = 6  # median absolute deviations; 6 of them are 4 standard deviations of Gaussian noise
_FLAT_NOISE = 0.002  # of the range; a ground that varies more is looked at for a slope
_PLANE_STEP = 6  # pixels; every 36th is enough for three numbers
_PLANE_ROUNDS = 4
_LARGEST_NOISE = 0.012  # of the range; air of 200 drawn pictures stays below 0.008, tissue above 0.0129

_BORDER_DEPTH_SHARE = 0.15  # of the picture; shutters reach up to 25 mm into 170 mm
_BORDER_TOLERANCE = 8  # of 255; how even a frame or a shutter is
_STEEPEST_BORDER = 0.06  # 3.5 degrees; scans and shutters are askew by up to 2, a pectoral muscle by 10 and more
_STRAIGHT_SHARE = 0.7  # of a border's length; the rest may be corners, labels, tissue of the same grey

_HALF_TISSUE = 0.7  # the square root of a half: a pixel of the skin line of which half is air

_RAGGED = 1.25  # outline to convex outline; 1.02 to 1.20 in 99 % of 2,967 real pictures


class Doubt(StrEnum):
    """Why a breast was not found for sure; the value completes 'the whole picture was taken, as …'."""

    NOTHING = "nothing stands out from the ground"
    TOO_SMALL = "what stands out is too small for a breast"
    NO_GROUND = "there is no ground beside the tissue"
    RAGGED = "its outline is too ragged for a skin line"


@dataclass(frozen=True, slots=True)
class BreastRegion:
    """The pixels of the breast, (row, column), and what speaks against them."""

    mask: Mask
    doubt: Doubt | None


@dataclass(frozen=True, slots=True)
class _Ground:
    """The dark around the breast, on the square-root scale of 0 to 255."""

    level: float
    noise: float  # median absolute deviation
    most: float  # half way to what is bright

    @property
    def threshold(self) -> float:
        """Above it is tissue: a step on a scale that starts at the ground, and out of its noise."""
        step = max(np.hypot(self.level, _STEP), self.level + _NOISE_WIDTHS * self.noise, self.level + 3)
        return float(min(step, self.most))

    @property
    def linear_noise(self) -> float:
        """The noise as a share of the picture's range."""
        return (self.level**2 - (self.level - self.noise) ** 2) / 255**2


def mask_breast(brightness: NDArray[np.float32]) -> Mask:
    """The pixels of the breast; same shape, (row, column), bright tissue on dark ground."""
    return find_region(brightness).mask


def find_region(brightness: NDArray[np.float32]) -> BreastRegion:
    """The breast: what stands out from the ground, without straight borders and thin things, up to the skin line."""
    grey = _lift(brightness)
    if grey is None:
        return BreastRegion(np.zeros(brightness.shape, dtype=np.bool_), Doubt.NOTHING)
    field = _find_field(grey)
    ground, grey = _find_ground(grey, field)
    if ground.linear_noise > _LARGEST_NOISE:
        return BreastRegion(field > 0, Doubt.NO_GROUND)
    bright = _repair_rim((grey > ground.threshold).astype(np.uint8))
    region = _enclose(bright & field, field)
    return BreastRegion((region > 0) & ~_find_fringe(region, grey, ground), _doubt(region))


def is_taller_left(mask: Mask) -> bool:
    """Whether the region is taller at its left end than at its right: a breast is, at the chest wall."""
    columns = np.flatnonzero(mask.any(axis=0))
    if not columns.size:
        return True
    part = mask[:, columns[0] : columns[-1] + 1]
    heights = np.where(part.any(axis=0), part.shape[0] - part[::-1].argmax(axis=0) - part.argmax(axis=0), 0)
    end = max(1, part.shape[1] // 8)
    return bool(heights[:end].sum() >= heights[-end:].sum())


def _lift(brightness: NDArray[np.float32]) -> _Grey | None:
    """The picture on a square-root scale of 0 to 255, without single pixels; None where all pixels are equal.

    The square root lifts the thin tissue along the skin line off the ground.
    """
    low, high = _measure_range(brightness)
    if high <= low:
        return None
    lifted = (brightness - np.float32(low)) * np.float32(255**2 / (high - low))
    np.sqrt(np.maximum(lifted, 0, out=lifted), out=lifted)
    return _as_grey(cv2.medianBlur(cv2.convertScaleAbs(lifted), 3))


def _measure_range(brightness: NDArray[np.float32]) -> tuple[float, float]:
    """The ends of the scale, without extremes; with them where next to nothing stands out from the ground."""
    rim = round(_RIM_SHARE * len(brightness))
    inside = brightness[rim : len(brightness) - rim, rim : brightness.shape[1] - rim]
    if not inside.size or inside.min() == inside.max():
        return float(brightness.min()), float(brightness.max())
    low, high = (float(end) for end in np.percentile(inside[::3, ::3], _TAIL_PERCENTILES))
    most = float(inside.max())
    return low, most if high - low < _LEAST_RANGE * (most - low) else high


def _find_field(grey: _Grey) -> _Grey:
    """1 inside of frames and shutters: even borders with a straight inner edge, bright or dark; same shape."""
    field = np.ones(grey.shape, dtype=np.uint8)
    for picture, view in (
        (grey, field),
        (grey[::-1], field[::-1]),
        (grey.T, field.T),
        (grey.T[::-1], field.T[::-1]),
    ):
        depth = _measure_border(picture)
        if depth is not None:
            view[np.arange(len(picture))[:, np.newaxis] < depth] = 0
    return field if field.any() else np.ones_like(field)


def _measure_border(grey: _Grey) -> NDArray[np.float64] | None:
    """How deep a straight border reaches in from the first row, for each column; None where there is none."""
    limit = max(2, round(_BORDER_DEPTH_SHARE * len(grey)))
    band = grey[: limit + 1].astype(np.int16)
    level = np.median(band[:2])  # of the first two rows
    differs = np.abs(band - level) > _BORDER_TOLERANCE
    depth = np.where(differs.any(axis=0), differs.argmax(axis=0), limit + 1)
    is_edge = (depth > 0) & (depth <= limit)
    if is_edge.mean() < _STRAIGHT_SHARE or len(depth) == 1:
        return None
    return _fit_edge(np.flatnonzero(is_edge), depth[is_edge], length=grey.shape[1])


def _fit_edge(place: NDArray[np.intp], depth: NDArray[np.intp], *, length: int) -> NDArray[np.float64] | None:
    """The straight line through most of the depths, one pixel further in; None where they are not straight."""
    half = len(place) // 2
    # the medians of both halves, so that a label or tissue of the same grey does not turn the line
    left, right = float(np.median(depth[:half])), float(np.median(depth[half:]))
    run = float(np.median(place[half:]) - np.median(place[:half]))
    slope = (right - left) / run if run else 0.0
    line = left + slope * (np.arange(length) - float(np.median(place[:half])))
    n_straight = np.count_nonzero(np.abs(depth - line[place]) <= 1.5)  # noqa: PLR2004  # pixels, of a blurred edge
    if abs(slope) > _STEEPEST_BORDER or n_straight < _STRAIGHT_SHARE * length:
        return None
    return np.asarray(line + 1, dtype=np.float64)


def _find_ground(grey: _Grey, field: _Grey) -> tuple[_Ground, _Grey]:
    """The ground inside the field, and the picture on a ground without slope."""
    ground = _measure_ground(grey[field > 0])
    if ground.linear_noise <= _FLAT_NOISE:
        return ground, grey
    level = _level_ground(grey, field, ground)
    ground = _measure_ground(level[field > 0])
    if ground.linear_noise <= _LARGEST_NOISE:
        return ground, level
    smooth = _as_grey(cv2.blur(level, (7, 7)))  # takes the grain off noisy air, and leaves the clouds of tissue
    return _measure_ground(smooth[field > 0]), smooth


def _measure_ground(values: _Grey) -> _Ground:
    """Level and noise of the highest peak among the dark pixels: dark fat spreads over many values, air does not."""
    otsu = int(cv2.threshold(values[np.newaxis], 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])
    counts = np.bincount(values, minlength=256).astype(np.float64)
    most = (_mean_value(counts, 0, otsu + 1) + _mean_value(counts, otsu + 1, 256)) / 2
    level = int(np.argmax(np.convolve(counts[: otsu + 1], np.ones(5), mode="same")))
    darker = np.cumsum(counts[: level + 1])  # this side of the peak is free of tissue
    return _Ground(level, level - int(np.searchsorted(darker, darker[-1] / 2)), most)


def _mean_value(counts: NDArray[np.float64], start: int, stop: int) -> float:
    total = counts[start:stop].sum()
    return float(counts[start:stop] @ np.arange(start, stop) / total) if total else float(stop - 1)


def _level_ground(grey: _Grey, field: _Grey, ground: _Ground) -> _Grey:
    """The picture without the plane that fits the ground best: the slope of film and of the heel effect."""
    rows, columns = np.nonzero(field[::_PLANE_STEP, ::_PLANE_STEP])
    values = grey[::_PLANE_STEP, ::_PLANE_STEP][rows, columns].astype(np.float64)
    terms = np.stack([np.ones(len(rows)), rows, columns])
    is_ground = values < ground.most
    for _ in range(_PLANE_ROUNDS):  # what is left of the dark tissue lies far off the plane, and falls out
        if not is_ground.any():
            return grey
        chosen = terms[:, is_ground]
        plane = np.linalg.lstsq(chosen @ chosen.T, chosen @ values[is_ground], rcond=None)[0]
        residual = np.abs(values - plane @ terms)
        is_ground = residual <= _NOISE_WIDTHS / 2 * max(1.0, float(np.median(residual[is_ground])))
    _, down, along = (plane / _PLANE_STEP).astype(np.float32)
    row, column = (np.arange(length, dtype=np.float32) - length // 2 for length in grey.shape)
    level = grey - down * row[:, np.newaxis] - along * column
    return _as_grey(cv2.convertScaleAbs(np.maximum(level, 0)))


def _repair_rim(bright: _Grey) -> _Grey:
    """The same with the outermost rows and columns like the next ones inside: dead ones would tie regions together."""
    rim = round(_DEAD_SHARE * len(bright))
    inside = bright[rim : len(bright) - rim, rim : bright.shape[1] - rim]
    return np.pad(inside, rim, mode="edge") if inside.size else bright


def _enclose(bright: _Grey, field: _Grey) -> _Grey:
    """1 in what a bright region encloses with the chest wall, the most of all regions, thin things broken off."""
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, _disc(_CLOSING_SHARE, bright))
    outlines = sorted(_find_outlines(_as_grey(closed)), key=cv2.contourArea)[-_MOST_CANDIDATES:]
    if not outlines:
        return np.zeros_like(bright)
    solid = max((_seal_wall(_fill(outline, bright.shape)) for outline in outlines), key=np.count_nonzero)
    # beyond the field counts as tissue, so that a breast at the edge is not eaten from that side
    kernel = _disc(_OPENING_SHARE, bright)
    eroded = cv2.erode(solid | (1 - field), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    core = _largest_outline(_as_grey(eroded) & field)
    if core is None:
        return np.zeros_like(bright)
    return _as_grey(cv2.dilate(_fill(core, bright.shape), kernel)) & solid & field


def _seal_wall(region: _Grey) -> _Grey:
    """The region with the dark fat that only the chest wall closes off: behind its first to last row there."""
    columns = np.flatnonzero(region.any(axis=0))
    wall = columns[0] if is_taller_left(region > 0) else columns[-1]
    rows = np.flatnonzero(region[:, wall])
    region[rows[0] : rows[-1] + 1, wall] = 1
    outline = _largest_outline(region)
    return region if outline is None else _fill(outline, region.shape)


def _find_fringe(region: _Grey, grey: _Grey, ground: _Ground) -> Mask:
    """The outermost pixels of the region that are more ground than tissue, by the brightest of their neighbours."""
    square = np.ones((3, 3), dtype=np.uint8)
    inner = cv2.erode(region, square, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    tissue = cv2.dilate(grey, square)
    return np.asarray((inner == 0) & (grey < ground.level + _HALF_TISSUE * (tissue - ground.level)), dtype=np.bool_)


def _doubt(region: _Grey) -> Doubt | None:
    outline = _largest_outline(region)
    if outline is None:
        return Doubt.NOTHING
    length, convex = cv2.arcLength(outline, True), cv2.arcLength(cv2.convexHull(outline), True)  # noqa: FBT003  # OpenCV's order
    return Doubt.RAGGED if length > _RAGGED * convex else None


def _largest_outline(region: _Grey) -> NDArray[Any] | None:
    return max(_find_outlines(region), key=cv2.contourArea, default=None)


def _find_outlines(region: _Grey) -> list[NDArray[Any]]:
    outlines, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return list(outlines)


def _fill(outline: NDArray[Any], shape: tuple[int, ...]) -> _Grey:
    return _as_grey(cv2.drawContours(np.zeros(shape, dtype=np.uint8), [outline], -1, 1, cv2.FILLED))


def _disc(share: float, picture: _Grey) -> _Grey:
    width = max(3, 2 * (round(share * picture.shape[0]) // 2) + 1)
    return _as_grey(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))


def _as_grey(values: Any) -> _Grey:  # noqa: ANN401  # OpenCV has no types
    return np.asarray(values, dtype=np.uint8)
