"""What a decoder gives, as the stored values that the header announces."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.header import Header

StoredPixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int8] | NDArray[np.int16]

# a low-pass sample swings beyond the range of its pixels by up to this share of it: the taps of the 5/3 wavelet add up
# to 1.5 without their signs (ISO/IEC 15444-1 F.3), so in two directions (1.5 ** 2 - 1) / 2; the 9/7 one swings less.
# One that mixes in a bit above the stored ones is at least a whole range away.
_MOST_SWING = 0.625


def fit_samples(samples: NDArray[Any], header: Header, *, precision: int, is_lossless: bool) -> StoredPixels:
    """Samples of a decoder as stored values.

    Unused bits are dropped (PS3.5 8.1.1), and where the samples have no sign but the header announces one, the highest
    of the stored bits is it. What a lossy coding moved beyond the stored range goes to its end.

    Args:
        samples: (row, column), integers.
        header: what the file announces.
        precision: bits of a sample.
        is_lossless: whether the coding gave back every bit.
    """
    is_sample_signed = samples.dtype.kind == "i"
    unused_below = count_bits_below(header, precision=precision)
    if is_sample_signed and header.is_signed:
        return clip_to_stored(samples >> unused_below if unused_below else samples, header)
    bits = samples.astype(_unsigned_type(header), copy=False)
    if unused_below:
        bits = bits >> unused_below
        precision -= unused_below
    if is_lossless or header.is_signed or is_sample_signed:
        n_bits = header.bits_stored
        if precision < n_bits and header.is_signed and not (bits >> precision).any():  # some streams belittle theirs
            n_bits = precision
        return restore_sign(bits, header, n_bits=n_bits)
    return clip_to_stored(bits, header)


def fit_reduced(samples: NDArray[Any], header: Header) -> StoredPixels:
    """Samples of a reduced resolution as stored values, those beyond the stored range at its end.

    Raises:
        ValueError: bits above the stored ones are in use, so that these samples are mixed with something else.
    """
    low, high = header.stored_range
    swing = (high - low + 1) * _MOST_SWING
    if samples.max() > high + swing or samples.min() < low - swing:
        raise ValueError(f"values far beyond {header.bits_stored} bits")
    return clip_to_stored(samples, header)


def restore_sign(bits: NDArray[Any], header: Header, *, n_bits: int) -> StoredPixels:
    """Unsigned numbers as stored values: bits above `n_bits` dropped, the highest of these the sign if there is one."""
    unused = bits.dtype.itemsize * 8 - n_bits
    if header.is_signed:
        # shifted up so that the sign bit is at the top, then down: an arithmetic shift copies it
        signed: NDArray[np.int16] = (bits << unused).view(np.int16 if bits.dtype.itemsize == 2 else np.int8)  # noqa: PLR2004  # bytes
        return signed >> unused
    mask = (1 << n_bits) - 1
    return bits & bits.dtype.type(mask) if unused and bits.max() > mask else bits


def read_words(words: NDArray[Any], header: Header) -> StoredPixels:
    """Uncompressed words, (row, column), as stored values (PS3.5 8.1.1)."""
    below = count_bits_below(header, precision=header.bits_allocated)
    return restore_sign(words >> below if below else words, header, n_bits=header.bits_stored)


def clip_to_stored(values: NDArray[Any], header: Header) -> StoredPixels:
    """Values with those beyond the stored range at its end, in the type that the header announces."""
    low, high = header.stored_range
    if values.min() < low or values.max() > high:
        values = np.clip(values, low, high)
    unsigned = _unsigned_type(header)
    return values.astype(unsigned.newbyteorder("=") if not header.is_signed else f"i{unsigned.itemsize}", copy=False)


def count_bits_below(header: Header, *, precision: int) -> int:
    """Unused bits below the stored ones in samples of so many bits; a High Bit that these cannot hold says nothing."""
    return max(0, header.high_bit + 1 - header.bits_stored) if header.high_bit < precision else 0


def is_constant(values: NDArray[Any]) -> bool:
    """Whether all values are one; a few rows tell most pictures."""
    first = values.flat[0]
    return bool((values[:: max(1, len(values) // 16)] == first).all() and (values == first).all())


def _unsigned_type(header: Header) -> np.dtype[Any]:
    return np.dtype(np.uint16 if header.bits_allocated == 16 else np.uint8)  # noqa: PLR2004  # bits
