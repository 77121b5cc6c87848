"""Stored values to the bytes of a transfer syntax (PS3.5 8 and A), and how well they come back."""

from collections.abc import Callable
from typing import Final, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import RLELossless

from mammoscope.phantom.machine import Encoding, Machine, StoredValues

Samples = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16]

_QUALITY: Final = 95  # of JPEG, 0 to 100
_NEAR: Final = 2  # largest error of near-lossless JPEG-LS, in stored values
_DECIBELS_PER_BIT: Final = 6  # signal to noise of lossy JPEG 2000: the error stays below a few of 4096 values
_QUANTISATION: Final = 0.0001  # of lossy HTJ2K, as a share of the whole range


class Loss(NamedTuple):
    """How a lossy stream says so (PS3.3 C.7.6.1.1.5)."""

    method: str
    ratio: float


# PS3.3 C.7.6.1.1.5.1
_LOSSY_METHODS: Final[dict[Encoding, str]] = {
    "jpeg_baseline": "ISO_10918_1",
    "jpeg_extended": "ISO_10918_1",
    "jpeg_ls_near": "ISO_14495_1",
    "jpeg2000_lossy": "ISO_15444_1",
    "htj2k_lossy": "ISO_15444_15",
}
LOSSY_ENCODINGS: Final = frozenset(_LOSSY_METHODS)


def add_pixels(dataset: Dataset, pixels: StoredValues, machine: Machine) -> Loss | None:
    """Put the picture into a data set; what was lost, or None.

    Args:
        dataset: the file; gets size, format and pixel data.
        pixels: stored values, (row, column).
        machine: bits, sign and encoding.
    """
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = _bits_allocated(machine)
    dataset.BitsStored = machine.bits_stored
    dataset.HighBit = machine.bits_stored - 1
    dataset.PixelRepresentation = int(machine.is_signed)
    samples: Samples = pixels.astype(np.uint8) if machine.bits_stored <= 8 else pixels  # noqa: PLR2004  # bits of a byte
    if machine.encoding in _STREAM_ENCODERS:
        stream = _STREAM_ENCODERS[machine.encoding](samples.copy(), machine)
        dataset.add_new("PixelData", "OB", encapsulate([stream]))
        dataset["PixelData"].is_undefined_length = True
        method = _LOSSY_METHODS.get(machine.encoding)
        return Loss(method, samples.nbytes / len(stream)) if method else None
    content = samples.astype(samples.dtype.newbyteorder(">" if machine.encoding == "big_endian" else "<")).tobytes()
    is_bytes = samples.itemsize == 1 and machine.encoding != "implicit"  # PS3.5 A.1: always words
    dataset.add_new("PixelData", "OB" if is_bytes else "OW", content + b"\0" * (len(content) % 2))
    return None


def _bits_allocated(machine: Machine) -> int:
    return 8 if machine.bits_stored <= 8 else 16  # noqa: PLR2004  # bits of a byte


def _unsigned(samples: Samples, machine: Machine) -> Samples:
    """The stored bits as they are, which is how JPEG and JPEG-LS see signed values."""
    if not machine.is_signed:
        return samples
    return np.asarray(samples.view(np.uint16) & np.uint16(2**machine.bits_stored - 1))


def _encode_rle(samples: Samples, machine: Machine) -> bytes:
    return get_encoder(RLELossless).encode(
        samples.tobytes(),
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=_bits_allocated(machine),
        bits_stored=machine.bits_stored,
        pixel_representation=int(machine.is_signed),
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    )


def _encode_jpeg_lossless(samples: Samples, machine: Machine, *, predictor: int) -> bytes:
    return bytes(
        imagecodecs.jpeg_encode(
            _unsigned(samples, machine), lossless=True, predictor=predictor, bitspersample=machine.bits_stored
        )
    )


def _encode_jpeg(samples: Samples, machine: Machine) -> bytes:
    bits = 8 if machine.bits_stored <= 8 else 12  # noqa: PLR2004  # the two processes with a DCT
    return bytes(imagecodecs.jpeg_encode(_unsigned(samples, machine), level=_QUALITY, bitspersample=bits))


def _encode_jpeg2000(samples: Samples, machine: Machine, *, level: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples,
            level=level,
            codecformat="j2k",
            reversible=level == 0,
            mct=False,
            bitspersample=machine.bits_stored,
            resolutions=6,
            numthreads=1,
        )
    )


_STREAM_ENCODERS: Final[dict[Encoding, Callable[[Samples, Machine], bytes]]] = {
    "rle": _encode_rle,
    "jpeg_baseline": _encode_jpeg,
    "jpeg_extended": _encode_jpeg,
    "jpeg_lossless": lambda samples, machine: _encode_jpeg_lossless(samples, machine, predictor=1),
    "jpeg_lossless_predictor_6": lambda samples, machine: _encode_jpeg_lossless(samples, machine, predictor=6),
    "jpeg_ls": lambda samples, machine: bytes(imagecodecs.jpegls_encode(_unsigned(samples, machine), level=0)),
    "jpeg_ls_near": lambda samples, machine: bytes(imagecodecs.jpegls_encode(_unsigned(samples, machine), level=_NEAR)),
    "jpeg2000": lambda samples, machine: _encode_jpeg2000(samples, machine, level=0),
    "jpeg2000_lossy": lambda samples, machine: _encode_jpeg2000(
        samples, machine, level=max(60, _DECIBELS_PER_BIT * machine.bits_stored - 12)
    ),
    "htj2k": lambda samples, _: bytes(imagecodecs.htj2k_encode(samples, reversible=True)),
    "htj2k_lossy": lambda samples, _: bytes(imagecodecs.htj2k_encode(samples, level=_QUANTISATION, reversible=False)),
}
