"""Stored values to brightness in [0, 1], where 1 is bright tissue: rescale, window, polarity (PS3.3 C.11.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.header import Header

WindowPolicy = Literal["minmax", "dicom"]
Values = NDArray[np.float32]


class WindowFunction(StrEnum):
    """How values become grey; the value is what `prepared.parquet` records."""

    MINMAX = "minmax"
    LINEAR = "linear"
    LINEAR_EXACT = "linear_exact"
    SIGMOID = "sigmoid"


def _clip(values: Values) -> Values:
    return np.minimum(np.maximum(values, np.float32(0)), np.float32(1))


def apply_linear(values: Values, center: float, width: float) -> Values:
    """Brightness by the function LINEAR (PS3.3 C.11.2.1.2.1); a width of 1 is a step."""
    if width == 1:
        return (values > center - 0.5).astype(np.float32)
    return _clip((values - np.float32(center - 0.5)) / np.float32(width - 1) + np.float32(0.5))


def apply_linear_exact(values: Values, center: float, width: float) -> Values:
    """Brightness by the function LINEAR_EXACT (PS3.3 C.11.2.1.3.2)."""
    return _clip((values - np.float32(center)) / np.float32(width) + np.float32(0.5))


def apply_sigmoid(values: Values, center: float, width: float) -> Values:
    """Brightness by the function SIGMOID (PS3.3 C.11.2.1.3.1)."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and 1 / infinity is the right 0
        falling: Values = np.exp(np.float32(-4) * (values - np.float32(center)) / np.float32(width))
    return np.float32(1) / (np.float32(1) + falling)


_APPLY: dict[WindowFunction, Callable[[Values, float, float], Values]] = {
    WindowFunction.MINMAX: apply_linear_exact,
    WindowFunction.LINEAR: apply_linear,
    WindowFunction.LINEAR_EXACT: apply_linear_exact,
    WindowFunction.SIGMOID: apply_sigmoid,
}


@dataclass(frozen=True, slots=True)
class Display:
    """One way from stored values to brightness; centre and width are in modality values."""

    function: WindowFunction
    center: float
    width: float
    slope: float
    intercept: float
    is_inverted: bool

    def apply(self, stored: NDArray[Any]) -> Values:
        """Brightness in [0, 1] of stored values; same shape."""
        values = stored.astype(np.float32)
        if (self.slope, self.intercept) != (1.0, 0.0):
            values = values * np.float32(self.slope) + np.float32(self.intercept)
        brightness = _APPLY[self.function](values, self.center, self.width)
        return np.float32(1) - brightness if self.is_inverted else brightness


def choose_display(header: Header, stored: NDArray[Any], policy: WindowPolicy) -> Display:
    """The display of a picture.

    `minmax` spreads the values, pixel padding left out, over the whole range. `dicom` takes the first window that the
    standard allows, with the file's own function; a file without one (or with a VOI LUT only) gets `minmax`.
    """
    function, center, width = _first_window(header) if policy == "dicom" else (None, 0.0, 0.0)
    if function is None:
        function = WindowFunction.MINMAX
        low, high = _range_without_padding(header, stored)
        ends = (
            low * header.slope + header.intercept,
            high * header.slope + header.intercept,
        )
        center, width = (ends[0] + ends[1]) / 2, abs(ends[1] - ends[0])
    return Display(function, center, width, header.slope, header.intercept, header.is_inverted)


def fill_padding(header: Header, stored: NDArray[Any], *, is_reduced: bool) -> NDArray[Any]:
    """The stored values with pixel padding as dark as the darkest pixel of the picture; same shape.

    At a reduced level a wavelet swings beyond a padding value that lies at the dark end of the range: what is darker
    than such padding is padding too.
    """
    if header.padding is None:
        return stored
    padding = _find_padding(header, stored)
    if not padding.any() or padding.all():
        return stored
    picture = stored[~padding]
    is_dark_high = header.is_inverted != (header.slope < 0)
    edge = max(header.padding) if is_dark_high else min(header.padding)
    middle = float(np.median(picture[:: max(1, picture.size // 10_000)]))
    if is_reduced and (edge > middle) == is_dark_high:
        clipped: NDArray[Any] = np.minimum(stored, edge) if is_dark_high else np.maximum(stored, edge)
        return clipped
    filled = stored.copy()
    filled[padding] = picture.max() if is_dark_high else picture.min()
    return filled


def _first_window(header: Header) -> tuple[WindowFunction | None, float, float]:
    """The first window whose width its function allows: at least 1 for LINEAR, above 0 for the others."""
    known = {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
    name = header.voi_function or "LINEAR"  # what the standard says where the file says nothing
    if name not in known:
        return None, 0.0, 0.0
    function = WindowFunction(name.lower())
    for center, width in header.windows:
        is_wide_enough = width >= 1 if function is WindowFunction.LINEAR else width > 0
        if is_wide_enough and np.isfinite(center) and np.isfinite(width):
            return function, center, width
    return None, 0.0, 0.0


def _range_without_padding(header: Header, stored: NDArray[Any]) -> tuple[float, float]:
    picture = stored if header.padding is None else stored[~_find_padding(header, stored)]
    low, high = (float(picture.min()), float(picture.max())) if picture.size else (0.0, 0.0)
    if low == high:  # nothing but padding and one value: they differ, so show that
        low, high = float(stored.min()), float(stored.max())
    return (low, high) if low < high else (low, low + 1)


def _find_padding(header: Header, stored: NDArray[Any]) -> NDArray[np.bool_]:
    if header.padding is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    low, high = header.padding
    found: NDArray[np.bool_] = stored == low if low == high else (stored >= low) & (stored <= high)
    return found
