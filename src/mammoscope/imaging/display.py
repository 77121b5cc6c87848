"""Stored values to brightness in [0, 1], where 1 is bright tissue: rescale, window, polarity (PS3.3 C.11.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.header import Header
from mammoscope.imaging.lookup import LookupTable
from mammoscope.imaging.samples import is_constant

WindowPolicy = Literal["minmax", "percentile", "dicom"]
Values = NDArray[np.float32]

_PERCENTILES = (0.5, 99.5)  # of the box's pixels: without clips, markers and single hot pixels
_WIDEST = (
    1e15  # in modality values, of which there are 6.6e13 at most; its square is still a number in single precision
)
_SAMPLE_SIZE = 100_000  # pixels, evenly over the picture, that give the rank of a percentile to 0.02 %


_SEARCH_ROWS = 320  # of the picture that tells whether padding is mixed in
_MIXED = np.ones((7, 7), np.uint8)  # the 9/7 wavelet takes 4 pixels of each side into a sample: 2 + 1 + 1/2 … samples
_FAR = 1.0  # of the picture's own range; padding of real machines lies 0 to 0.6 beyond it


class WindowFunction(StrEnum):
    """How values become grey; the value is what `prepared.parquet` records."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    VOI_LUT = "voi_lut"
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
    WindowFunction.PERCENTILE: apply_linear_exact,
    WindowFunction.LINEAR: apply_linear,
    WindowFunction.LINEAR_EXACT: apply_linear_exact,
    WindowFunction.SIGMOID: apply_sigmoid,
}
_FUNCTION_BY_NAME = {
    "LINEAR": WindowFunction.LINEAR,
    "LINEAR_EXACT": WindowFunction.LINEAR_EXACT,
    "SIGMOID": WindowFunction.SIGMOID,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """One way from stored values to brightness.

    Attributes:
        function: how modality values become grey.
        center: of the window, in modality values; of a table, the middle of its own inputs.
        width: of the window, or of a table's own inputs.
        is_inverted: whether low values mean bright tissue.
        slope: modality values for one stored value, where there is no table for them.
        intercept: the modality value of the stored value 0.
        modality_lut: from stored to modality values.
        voi_lut: from modality values to grey; only with the function `VOI_LUT`.
    """

    function: WindowFunction
    center: float
    width: float
    is_inverted: bool
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None
    voi_lut: LookupTable | None = None

    def apply(self, stored: NDArray[Any]) -> Values:
        """Brightness in [0, 1] of stored values; same shape."""
        values = _to_modality(stored, self.slope, self.intercept, self.modality_lut)
        if self.voi_lut is None:
            brightness = _APPLY[self.function](values, self.center, self.width)
        else:
            brightness = _clip(self.voi_lut.apply(values) / np.float32((1 << self.voi_lut.bits) - 1))
        return np.float32(1) - brightness if self.is_inverted else brightness


def is_window_usable(voi_function: str | None, center: float, width: float) -> bool:
    """Whether the standard allows the window (PS3.3 C.11.2.1.2.1 and C.11.2.1.3), and its numbers can be used.

    Args:
        voi_function: of the file; LINEAR where it says none.
        center: in modality values.
        width: 1 at least where the function is LINEAR, else more than 0.
    """
    least = 1.0 if voi_function in {None, "LINEAR"} else 1 / _WIDEST
    return abs(center) <= _WIDEST and least <= width <= _WIDEST  # NaN is neither


def choose_display(header: Header, stored: NDArray[Any], policy: WindowPolicy) -> Display:
    """The display of a picture.

    Args:
        header: what its file says.
        stored: (row, column), the stored values that the statistics are taken from; pixel padding is left out.
        policy: `minmax` spreads the values over the whole range, `percentile` does so without the darkest and the
            brightest half per cent, and `dicom` takes the file's first VOI LUT, or its first window that the standard
            allows, with the file's own function; a file with neither gets `minmax`.
    """
    by_file = _display_of_file(header) if policy == "dicom" else None
    if by_file is not None:
        return by_file
    function = WindowFunction.PERCENTILE if policy == "percentile" else WindowFunction.MINMAX
    low, high = _range_without_padding(header, stored, is_trimmed=policy == "percentile")
    return _display(header, function, (low + high) / 2, high - low)


def is_padding_mixed_in(header: Header, stored: NDArray[Any]) -> bool:
    """Whether pixel padding spoils a picture at a reduced level, so that it has to be decoded whole.

    A wavelet mixes padding with the pixels beside it. At the bright end of the picture that draws a bright rim, and far
    beyond the dark end it stretches a window over values that are none of the picture.

    Args:
        header: what the file says.
        stored: (row, column), the reduced picture.
    """
    if header.padding is None:
        return False
    step = max(1, stored.shape[0] // _SEARCH_ROWS)
    padding = _find_padding(header, stored[::step, ::step])
    picture = stored[::step, ::step][cv2.dilate(padding.view(np.uint8), _MIXED) == 0]
    if not padding.any() or not picture.size:
        return False
    low, middle, high = float(picture.min()), float(np.median(picture)), float(picture.max())
    reach = (high - low) * _FAR
    if header.is_inverted != header.is_falling:
        return not middle < max(header.padding) <= high + reach
    return not low - reach <= min(header.padding) < middle


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
    is_dark_high = header.is_inverted != header.is_falling
    edge = max(header.padding) if is_dark_high else min(header.padding)
    middle = float(np.median(picture[:: max(1, picture.size // _SAMPLE_SIZE)]))
    if is_reduced and (edge > middle) == is_dark_high:
        clipped: NDArray[Any] = np.minimum(stored, edge) if is_dark_high else np.maximum(stored, edge)
        return clipped
    filled = stored.copy()
    filled[padding] = picture.max() if is_dark_high else picture.min()
    return filled


def _display(
    header: Header, function: WindowFunction, center: float, width: float, voi_lut: LookupTable | None = None
) -> Display:
    return Display(
        function=function,
        center=center,
        width=width,
        is_inverted=header.is_inverted,
        slope=header.slope,
        intercept=header.intercept,
        modality_lut=header.modality_lut,
        voi_lut=voi_lut,
    )


def _display_of_file(header: Header) -> Display | None:
    """By the first VOI LUT, or else the first window whose width its function allows (PS3.3 C.11.2.1)."""
    if header.voi_luts:
        first, last = header.voi_luts[0].ends
        width = float(last - first + 1)
        return _display(header, WindowFunction.VOI_LUT, first + width / 2, width, header.voi_luts[0])
    function = _FUNCTION_BY_NAME.get(header.voi_function or "LINEAR")  # the standard's, where the file says nothing
    if function is None:
        return None
    for center, width in header.windows:
        if is_window_usable(header.voi_function, center, width):
            return _display(header, function, center, width)
    return None


def _to_modality(stored: NDArray[Any], slope: float, intercept: float, lut: LookupTable | None) -> Values:
    values = stored.astype(np.float32)
    if lut is not None:
        return lut.apply(values)
    if (slope, intercept) != (1.0, 0.0):
        values = values * np.float32(slope) + np.float32(intercept)
    return values


def _range_without_padding(header: Header, stored: NDArray[Any], *, is_trimmed: bool) -> tuple[float, float]:
    """The lowest and the highest modality value of the picture, or of what is left of it without its extremes."""
    picture = stored if header.padding is None else stored[~_find_padding(header, stored)]
    if not picture.size or is_constant(picture):
        picture = stored  # nothing but padding and one value: they differ, so show that
    if is_trimmed:
        sample = picture.ravel()[:: max(1, picture.size // _SAMPLE_SIZE)]
        ends = np.percentile(sample, _PERCENTILES)
    elif header.modality_lut is not None:
        ends = picture
    else:
        ends = np.array([picture.min(), picture.max()])
    values = _to_modality(ends, header.slope, header.intercept, header.modality_lut)
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low, low + 1)


def _find_padding(header: Header, stored: NDArray[Any]) -> NDArray[np.bool_]:
    if header.padding is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    low, high = header.padding
    found: NDArray[np.bool_] = stored == low if low == high else (stored >= low) & (stored <= high)
    return found
