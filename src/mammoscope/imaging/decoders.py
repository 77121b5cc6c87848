"""The decoders of each transfer syntax in a fixed order: our fast ones, then pydicom's plugins by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from mammoscope.imaging.codestream import CodeStream, parse_jpeg, parse_jpeg_2000
from mammoscope.imaging.header import Header
from mammoscope.imaging.jpeg2000 import decode_level
from mammoscope.imaging.samples import count_bits_below, fit_reduced, fit_samples

JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}

_HTJ2K = {uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
_LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K}

# permissive ones before the others; which of them there are depends on what is installed, their order does not.
# Not "gdcm": it ends the whole process on some damaged streams, where the others raise an error.
_PYDICOM_PLUGINS = ("pillow", "pyjpegls", "pylibjpeg", "pydicom")

_Decode = Callable[[], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Decoder:
    """A way to decode one picture.

    Attributes:
        name: the library.
        decode: stored values at a level; raises whatever the library raises.
        n_levels: the highest level; level n has 1 / 2**n of the rows and columns, rounded up.
    """

    name: str
    decode: Callable[[int], NDArray[Any]]
    n_levels: int = 0


def parse_stream(frame: memoryview, syntax: str) -> CodeStream:
    """What the code stream of a JPEG, JPEG-LS or JPEG 2000 picture says of itself.

    Raises:
        ValueError, struct.error: it is no such stream.
    """
    return parse_jpeg_2000(frame) if syntax in JPEG_2000 else parse_jpeg(frame)


def decoders_of_stream(stream: CodeStream, header: Header) -> tuple[Decoder, ...]:
    """The decoders of a JPEG, JPEG-LS or JPEG 2000 picture, the first to try first."""
    whole: list[tuple[str, _Decode]] = []
    leveled: list[Decoder] = []
    syntax = header.transfer_syntax
    content: Any = stream.content  # imagecodecs reads any buffer, which its types do not say
    if syntax in JPEG_2000:
        # OpenJPH of imagecodecs is 5 times faster, but wraps around what lossy samples overshoot
        if syntax in _HTJ2K and stream.is_reversible:
            whole.append(("imagecodecs", partial(imagecodecs.htj2k_decode, content)))
        leveled.append(_decoder_by_levels(stream, header))
        whole.append(("imagecodecs", partial(imagecodecs.jpeg2k_decode, content, numthreads=1)))
    elif syntax in JPEG_LS:
        whole.append(("imagecodecs", partial(imagecodecs.jpegls_decode, content)))
    else:
        whole.append(("imagecodecs", partial(imagecodecs.jpeg_decode, content)))
        if stream.is_reversible:
            whole.append(("imagecodecs", partial(imagecodecs.jpegsof3_decode, content)))
    whole += _plugins(stream, header)
    fitted = [_fitting(name, decode, stream, header) for name, decode in whole]
    if leveled and not (syntax in _HTJ2K and stream.is_reversible):
        return *leveled, *fitted
    return *fitted[:1], *leveled, *fitted[1:]


def decoders_of_rle(frame: memoryview, header: Header) -> tuple[Decoder, ...]:
    """The decoders of an RLE picture (PS3.5 G), the first to try first."""
    bits = header.bits_allocated
    stream = CodeStream(content=frame, rows=header.rows, columns=header.columns, n_components=1, precision=bits)

    def decode() -> NDArray[Any]:
        words = np.frombuffer(imagecodecs.dicomrle_decode(bytes(frame), f"<u{bits // 8}"), dtype=f"<u{bits // 8}")
        return words[: header.rows * header.columns].reshape(header.rows, header.columns)  # (row, column)

    whole = [("imagecodecs", decode), *_plugins(stream, header)]
    return tuple(_fitting(name, each, stream, header) for name, each in whole)


def _decoder_by_levels(stream: CodeStream, header: Header) -> Decoder:
    """Pillow's; levels only where samples are values: bits that await their sign or a shift cannot be averaged."""
    is_shifted = count_bits_below(header, precision=stream.precision) > 0
    is_plain = stream.is_signed == header.is_signed and not is_shifted and not stream.has_offset

    def decode(level: int) -> NDArray[Any]:
        samples = decode_level(stream, level)
        return fit_reduced(samples, header) if level else _fit(samples, stream, header)

    return Decoder("pillow", decode, stream.n_levels if is_plain else 0)


def _fitting(name: str, decode: _Decode, stream: CodeStream, header: Header) -> Decoder:
    return Decoder(name, lambda _: _fit(decode(), stream, header))


def _fit(samples: NDArray[Any], stream: CodeStream, header: Header) -> NDArray[Any]:
    if samples.dtype.kind not in "iu":
        raise ValueError(f"samples of {samples.dtype}")
    is_lossless = header.transfer_syntax not in _LOSSY
    return fit_samples(samples, header, precision=stream.precision, is_lossless=is_lossless)


def _plugins(stream: CodeStream, header: Header) -> list[tuple[str, _Decode]]:
    """The decoders of pydicom that are there, given a clean copy of the one frame."""
    decoder = get_decoder(uid.UID(str(header.transfer_syntax)))
    available = decoder.available_plugins
    return [
        (f"pydicom-{plugin}", partial(_decode_by_plugin, stream, header, plugin))
        for plugin in _PYDICOM_PLUGINS
        if plugin in available
    ]


def _decode_by_plugin(stream: CodeStream, header: Header, plugin: str) -> NDArray[Any]:
    options: Any = {  # of pydicom's DecodeOptions, which its signature misspells
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": header.bits_allocated,
        "bits_stored": min(stream.precision, header.bits_allocated),
        "pixel_representation": int(stream.is_signed),
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(uid.UID(str(header.transfer_syntax)))
    pixels, _ = decoder.as_array(encapsulate([bytes(stream.content)]), decoding_plugin=plugin, raw=True, **options)
    return pixels
