"""Random fields: power-law noise, noise of one wavelength, and the grid that they are sampled on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]

COARSE_MM: Final = 0.5
"""Pixel of the random fields; finer structure comes from what is done to them, and from `detail`."""

_ROWS: Final = 576  # 288 mm: taller than every detector of machine.py; 2**6 * 9 transforms fast
_COLUMNS: Final = 288  # 144 mm: deeper than every breast of outline.py
_MOST_HALVINGS: Final = 4
_STOCK: Final = 6  # fields of each kind that thrifty chance chooses from


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels that cover the breast, from the upper left corner of the picture on."""

    rows: int
    columns: int
    spacing_mm: float

    def coordinates(self) -> tuple[Field, Field]:
        """The (x, y) of the pixel centres in mm; shapes (1, column) and (row, 1)."""
        x = (np.arange(self.columns, dtype=np.float32) + 0.5) * np.float32(self.spacing_mm)
        y = (np.arange(self.rows, dtype=np.float32) + 0.5) * np.float32(self.spacing_mm)
        return x[np.newaxis, :], y[:, np.newaxis]

    def resample(self, field: Field, source: "Grid") -> Field:
        """A field of another grid with the same corner, on this one (cubic)."""
        scale = self.spacing_mm / source.spacing_mm
        # pixel centres: (index + 0.5) * scale - 0.5
        matrix = np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5]], dtype=np.float64)
        flags = (cv2.INTER_CUBIC if scale < 1 else cv2.INTER_AREA) | cv2.WARP_INVERSE_MAP
        size = (self.columns, self.rows)
        return np.asarray(
            cv2.warpAffine(field, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101), dtype=np.float32
        )


COARSE: Final = Grid(rows=_ROWS, columns=_COLUMNS, spacing_mm=COARSE_MM)


class ThriftyGenerator(np.random.Generator):
    """Chance that takes random fields from a small stock, each mirrored and shifted anew.

    The fields repeat without a seam, so that a shift makes no edge. For thousands of pictures that need not be
    independent of each other.
    """

    def vary(self, draw_stocked: Callable[[int], Field]) -> Field:
        """One of the stock, as no picture had it before."""
        field = draw_stocked(int(self.integers(_STOCK)))
        rows, columns = (slice(None, None, int(step)) for step in self.choice([-1, 1], 2))
        shift = (int(self.integers(_ROWS)), int(self.integers(_COLUMNS)))
        return np.roll(field[rows, columns], shift, axis=(0, 1))


def thrifty_rng(seed: int) -> np.random.Generator:
    """The thrifty counterpart of `numpy.random.default_rng`."""
    return ThriftyGenerator(np.random.PCG64(seed))


def power_law_field(rng: np.random.Generator, *, beta: float, longest_mm: float) -> Field:
    """Noise whose power falls with frequency to the power -beta, mean 0 and standard deviation 1, on `COARSE`.

    Mammographic backgrounds follow this law with beta of about 3 (Burgess, Jacobson, Judy 2001, doi:10.1118/1.1355308).
    Below the frequency of `longest_mm` the power stays level, and an octave further down it ends.
    """
    if isinstance(rng, ThriftyGenerator):
        return rng.vary(partial(_stocked_power_law, beta, longest_mm))
    frequency = _frequencies(1)
    amplitude = np.maximum(frequency, 1 / longest_mm) ** (-beta / 2) * (frequency > 0.5 / longest_mm)
    return _noise(rng, amplitude.astype(np.float32))


def band_field(rng: np.random.Generator, *, wavelength_mm: float) -> Field:
    """Noise around one wavelength, half an octave up and down, mean 0 and standard deviation 1, on `COARSE`."""
    if isinstance(rng, ThriftyGenerator):
        return rng.vary(partial(_stocked_band, wavelength_mm))
    # smooth noise needs few samples: as many as keep five pixels in a wavelength
    n_halvings = int(np.clip(np.log2(wavelength_mm / (5 * COARSE_MM)), 0, _MOST_HALVINGS))
    frequency = np.maximum(_frequencies(2**n_halvings), 1e-6)
    amplitude = np.exp(-0.5 * (np.log2(frequency * wavelength_mm) / 0.5) ** 2)
    smooth = _noise(rng, amplitude)
    return np.asarray(cv2.resize(smooth, (_COLUMNS, _ROWS), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


@cache
def _stocked_power_law(beta: float, longest_mm: float, number: int) -> Field:
    return power_law_field(np.random.default_rng(number), beta=beta, longest_mm=longest_mm)


@cache
def _stocked_band(wavelength_mm: float, number: int) -> Field:
    return band_field(np.random.default_rng(number), wavelength_mm=wavelength_mm)


def detail_tile(rng: np.random.Generator, *, size: int, spacing_mm: float, beta: float) -> Field:
    """What a power-law field has above the Nyquist frequency of `COARSE`: a square that repeats without a seam.

    Scaled so that it goes on where `power_law_field` of standard deviation 1 and `longest_mm` of 60 ends.
    """
    frequency = np.hypot(fft.fftfreq(size, spacing_mm)[:, np.newaxis], fft.rfftfreq(size, spacing_mm)[np.newaxis, :])
    cut = 0.5 / COARSE_MM
    amplitude = np.maximum(frequency, cut) ** (-beta / 2) * (frequency > 0.5 * cut)
    tile = fft.irfft2(fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)) * amplitude, s=(size, size))
    # the share of the variance of the whole spectrum that lies above the cut, for beta near 3
    share = (cut * 60.0) ** (1 - beta / 2)
    return np.asarray(tile * (share / tile.std()), dtype=np.float32)


def sample_along(field: Field, u: Field, v: Field) -> Field:
    """A field looked up at other places (mm), such as along and across the ducts; it repeats beyond its edges."""
    columns, rows = (np.asarray(place / COARSE_MM, dtype=np.float32) for place in (u, v))
    sampled = cv2.remap(field, columns, rows, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled, dtype=np.float32)


def step(value: Field, low: Field | float, high: Field | float) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)


def _shape(factor: int) -> tuple[int, int]:
    return _ROWS // factor, _COLUMNS // factor


@lru_cache(maxsize=_MOST_HALVINGS + 1)
def _frequencies(factor: int) -> Field:
    """Cycles per mm of each Fourier coefficient of the grid with pixels `factor` times those of `COARSE`."""
    n_rows, n_columns = _shape(factor)
    rows = fft.fftfreq(n_rows, COARSE_MM * factor)[:, np.newaxis]
    columns = fft.rfftfreq(n_columns, COARSE_MM * factor)[np.newaxis, :]
    return np.asarray(np.hypot(rows, columns), dtype=np.float32)


def _noise(rng: np.random.Generator, amplitude: Field) -> Field:
    """Gaussian noise with the given amplitude at each frequency; the inverse transform of random coefficients."""
    n_rows, n_coefficients = amplitude.shape
    parts = rng.standard_normal((2, n_rows, n_coefficients), dtype=np.float32)
    coefficients = (parts[0] + 1j * parts[1]) * amplitude
    coefficients[0, 0] = 0
    field = fft.irfft2(coefficients, s=(n_rows, 2 * (n_coefficients - 1)))
    return np.asarray(field / field.std(), dtype=np.float32)
