"""Bytes to stored values: what may be decoded, by which decoder, and a check of what came out."""

import struct
import warnings
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.config import IGNORE
from pydicom.dataset import Dataset

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.codestream import CodeStream
from mammoscope.imaging.decoders import (
    JPEG,
    JPEG_2000,
    JPEG_LS,
    Decoder,
    decoders_of_rle,
    decoders_of_stream,
    parse_stream,
)
from mammoscope.imaging.elements import read_dataset, refuse_truncated
from mammoscope.imaging.header import Header, is_picture
from mammoscope.imaging.jpeg2000 import average_blocks
from mammoscope.imaging.pixeldata import PixelData, check_end, find_pixel_data, take_stream
from mammoscope.imaging.samples import StoredPixels, is_constant, read_words
from mammoscope.imaging.verdict import Verdict, refusal

LARGEST_PX = 100_000_000  # three times the largest mammography detector (5928 x 4728)

_UNCOMPRESSED = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
}
_SUPPORTED = _UNCOMPRESSED | {uid.RLELossless} | JPEG_2000 | JPEG_LS | JPEG

# PS3.3 C.7.6.3.1.2
_PHOTOMETRICS = {
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"),
    *("YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"),
}

# what decoders raise on broken streams; imagecodecs' errors are RuntimeErrors
_DECODER_ERRORS = (
    ArithmeticError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    cv2.error,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Stored values of a picture.

    Attributes:
        values: (row, column), unsigned or signed as the header says.
        decoder: the library that decoded them; one of pydicom's plugins is named `pydicom-` and its name.
        level: how often rows and columns were halved, 0 for the full picture.
    """

    values: StoredPixels
    decoder: str
    level: int


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A picture ready to be decoded, at one of its resolution levels; level n has 1 / 2**n of the rows and columns."""

    header: Header
    name: str
    _decoders: tuple[Decoder, ...] = field(repr=False)

    @property
    def n_levels(self) -> int:
        """The highest level that is faster to decode than the whole picture."""
        return max(decoder.n_levels for decoder in self._decoders)

    def decode(self, level: int = 0) -> Decoded:
        """The stored values at a level, by the first decoder whose result holds.

        A level that no decoder gives is averaged from the whole picture. One value in all pixels is doubted as long as
        another decoder is left.

        Raises:
            ImageRefusedError: undecodable, with the reason of the last decoder.
        """
        constant: Decoded | None = None
        failures: list[tuple[str, Exception]] = []
        for decoder in self._decoders:
            if decoder.n_levels < level:
                continue
            try:
                decoded = Decoded(self._decode_by(decoder, level), decoder.name, level)
            except _DECODER_ERRORS as error:
                failures.append((decoder.name, error))
                continue
            if not is_constant(decoded.values):
                return decoded
            constant = constant or decoded
        if constant is not None:
            return constant
        if level:
            whole = self.decode()
            return Decoded(average_blocks(whole.values, level), whole.decoder, level)
        raise self._refuse(*failures[-1]) from failures[-1][1]

    def _decode_by(self, decoder: Decoder, level: int) -> StoredPixels:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydicom's plugins; what they doubt is checked here
            values: NDArray[Any] = decoder.decode(level)
        expected = (-(-self.header.rows >> level), -(-self.header.columns >> level))
        if values.shape != expected:
            raise ValueError(f"{_by(values.shape)} samples instead of {_by(expected)}")
        return values

    def _refuse(self, decoder: str, error: Exception) -> ImageRefusedError:
        return refusal(
            Verdict.UNDECODABLE,
            self.name,
            found=f"pixel data that {decoder} cannot decode ({type(error).__name__}: {error})",
            expected="a whole picture",
            advice="copy the file again; if it stays so, the file is broken",
        )


def open_picture(content: bytes, header: Header, *, name: str) -> EncodedPicture:
    """The picture of a file whose header has been read.

    Raises:
        ImageRefusedError: everything of `check_announced`; truncated, no_pixel_data, size_mismatch, undecodable.
    """
    check_announced(header, name=name)
    if is_picture(content):
        return EncodedPicture(header, name, (Decoder("opencv", lambda _: _decode_picture(content, name)),))
    return _open_dataset(read_dataset(content, name=name, with_pixels=False), content, header, name)


def check_announced(header: Header, *, name: str) -> None:
    """Refuse what must not be decoded, by what the header announces.

    Raises:
        ImageRefusedError: colour, multi_frame, too_large, unsupported_codec, undecodable.
    """
    if header.samples != 1 or not (header.photometric or "MONOCHROME2").startswith("MONOCHROME"):
        raise refuse_colour(name, f"{header.samples} samples per pixel, {_name_colours(header.photometric)}")
    if header.n_frames > 1:
        raise refusal(
            Verdict.MULTI_FRAME,
            name,
            found=f"{header.n_frames} frames",
            expected="one",
            advice="give the 2D mammogram of the study instead of its tomosynthesis",
        )
    if header.rows < 1 or header.columns < 1 or header.rows * header.columns > LARGEST_PX:
        raise refusal(
            Verdict.TOO_LARGE,
            name,
            found=f"{header.rows} x {header.columns} pixels",
            expected=f"1 to {LARGEST_PX // 1_000_000} million",
            advice="check the file; no mammography detector makes such pictures",
        )
    if header.bits_allocated not in {8, 16} or not 1 <= header.bits_stored <= header.bits_allocated:
        raise refusal(
            Verdict.UNDECODABLE,
            name,
            found=f"{header.bits_stored} bits stored in {header.bits_allocated}",
            expected="1 to 16 bits in 8 or 16",
            advice="convert the file",
        )
    if header.transfer_syntax is not None and header.transfer_syntax not in _SUPPORTED:
        raise refusal(
            Verdict.UNSUPPORTED_CODEC,
            name,
            found=_name_syntax(uid.UID(header.transfer_syntax, validation_mode=IGNORE)),
            expected="uncompressed, JPEG 2000, HTJ2K, JPEG, JPEG lossless, JPEG-LS or RLE",
            advice="convert the file, for instance with dcmtk",
        )


def _name_colours(photometric: str | None) -> str:
    """A term of the standard, or that it is none: free text may hold anything, a name even."""
    return photometric if photometric in _PHOTOMETRICS else "an unknown Photometric Interpretation"


def _name_syntax(syntax: uid.UID) -> str:
    return f"transfer syntax {syntax.name}" if syntax.is_valid else "an unknown transfer syntax"


def refuse_size(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> ImageRefusedError:
    """The error for pixel data of another size than the header announces."""
    return refusal(
        Verdict.SIZE_MISMATCH,
        name,
        found=f"pixel data of {_by(found)}",
        expected=f"{_by(expected)}, as the header says",
        advice="the file contradicts itself; ask its sender for a correct one",
    )


def refuse_colour(name: str, found: str) -> ImageRefusedError:
    """The error for a picture in colour."""
    return refusal(
        Verdict.COLOUR,
        name,
        found=found,
        expected="one grey channel",
        advice="give the mammogram itself, not a picture of it",
    )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _open_dataset(dataset: Dataset, content: bytes, header: Header, name: str) -> EncodedPicture:
    pixel_data = find_pixel_data(dataset, content, header, name=name)
    if header.transfer_syntax in _UNCOMPRESSED:
        return EncodedPicture(header, name, (_decoder_of_words(pixel_data, header, name),))
    frame = take_stream(pixel_data.value, name=name)
    if header.transfer_syntax == uid.RLELossless:
        return EncodedPicture(header, name, decoders_of_rle(frame, header))
    check_end(frame, name=name)
    return EncodedPicture(header, name, decoders_of_stream(_check_stream(frame, header, name), header))


def _decoder_of_words(pixel_data: PixelData, header: Header, name: str) -> Decoder:
    """Uncompressed pixel data (PS3.5 8.2); an odd length is filled up with a zero."""
    n_bytes = header.rows * header.columns * header.bits_allocated // 8
    if len(pixel_data.value) < n_bytes:
        raise refuse_truncated(name, f"{len(pixel_data.value)} of {n_bytes} bytes of pixel data")
    is_big = header.transfer_syntax == uid.ExplicitVRBigEndian
    is_swapped = is_big and pixel_data.is_in_words and header.bits_allocated == 8  # noqa: PLR2004  # two 8 bit pixels in each word
    is_wide = header.bits_allocated == 16  # noqa: PLR2004  # bits
    dtype = (">u2" if is_big else "<u2") if is_wide else "u1"
    value = pixel_data.value[: len(pixel_data.value) // 2 * 2 if is_wide or is_swapped else None]

    def decode(_: int) -> NDArray[Any]:
        stream: NDArray[Any] = np.frombuffer(value, dtype=dtype)
        if is_swapped:
            stream = stream.view("u2").byteswap().view("u1")
        words = stream[: header.rows * header.columns].reshape(header.rows, header.columns)  # (row, column)
        return read_words(words.astype(words.dtype.newbyteorder("="), copy=False), header)

    return Decoder("numpy", decode)


def _check_stream(frame: memoryview, header: Header, name: str) -> CodeStream:
    """The code stream, refused before anything is decoded when it is no picture of the announced kind."""
    try:
        stream = parse_stream(frame, str(header.transfer_syntax))
    except (ValueError, struct.error) as error:
        kind = "JPEG 2000" if header.transfer_syntax in JPEG_2000 else "JPEG"
        raise _refuse_stream(name, f"no {kind} code stream ({error})", "one, as the transfer syntax says") from error
    if stream.n_components != 1:
        raise refuse_colour(name, f"a code stream of {stream.n_components} components")
    if (stream.rows, stream.columns) != (header.rows, header.columns):
        raise refuse_size(name, (stream.rows, stream.columns), (header.rows, header.columns))
    if not 1 <= stream.precision <= header.bits_allocated:
        raise _refuse_stream(
            name, f"a code stream of {stream.precision} bits", f"up to {header.bits_allocated}, as the header says"
        )
    return stream


def _refuse_stream(name: str, found: str, expected: str) -> ImageRefusedError:
    advice = "the file contradicts itself; ask its sender for a correct one"
    return refusal(Verdict.UNDECODABLE, name, found=found, expected=expected, advice=advice)


def _decode_picture(content: bytes, name: str) -> NDArray[Any]:
    """Grey values of a PNG or PGM; three equal channels count as grey, an alpha channel is ignored."""
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise refuse_truncated(name, "a PNG or PGM file that cannot be decoded")
    if pixels.ndim == 2:  # noqa: PLR2004  # (row, column)
        return np.asarray(pixels)
    grey = pixels[..., 0]
    if any((pixels[..., channel] != grey).any() for channel in range(1, min(3, pixels.shape[2]))):
        raise refuse_colour(name, "three channels that differ")
    return np.ascontiguousarray(grey)
