"""Bytes to stored values: the fast decoders first, pydicom's own as the fallback, and a check of what came out."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from pydicom import uid
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.elements import judging_elements, read_dataset, refuse_truncated, refuse_without_pixels
from mammoscope.imaging.header import Header, is_picture
from mammoscope.imaging.verdict import Verdict, refusal

StoredPixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int8] | NDArray[np.int16]

LARGEST_PX = 100_000_000  # three times the largest mammography detector (5928 x 4728)

_UNCOMPRESSED = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
_JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
_BY_PYDICOM = {uid.ExplicitVRBigEndian, uid.RLELossless}
_SUPPORTED = _UNCOMPRESSED | _JPEG_2000 | _JPEG_LS | _JPEG | _BY_PYDICOM

_PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"  # (7FE0,0010), little-endian

# what the decoders raise on broken streams; imagecodecs' errors are RuntimeErrors
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, NotImplementedError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Stored values of a picture.

    Attributes:
        values: (row, column), unsigned or signed as the header says.
        decoder: the library that decoded them.
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
    n_levels: int
    decoder: str
    _decode: Callable[[int], NDArray[Any]] = field(repr=False)

    def decode(self, level: int = 0) -> Decoded:
        """The stored values at a level between 0 and `n_levels`.

        Raises:
            ImageRefusedError: undecodable, size_mismatch.
        """
        try:
            values = self._decode(level)
        except _DECODER_ERRORS as error:
            raise refusal(
                Verdict.UNDECODABLE,
                self.name,
                found=f"pixel data that {self.decoder} cannot decode ({type(error).__name__}: {error})",
                expected="a whole picture",
                advice="copy the file again; if it stays so, the file is broken",
            ) from error
        expected = (-(-self.header.rows >> level), -(-self.header.columns >> level))
        if values.shape != expected:
            raise refuse_size(self.name, values.shape, expected)
        return Decoded(values, self.decoder, level)


def check_announced(header: Header, *, name: str) -> None:
    """Refuse what must not be decoded, by what the header announces.

    Raises:
        ImageRefusedError: colour, multi_frame, too_large, unsupported_codec, undecodable.
    """
    if header.samples != 1 or not (header.photometric or "MONOCHROME2").startswith("MONOCHROME"):
        raise refuse_colour(name, f"{header.samples} samples per pixel, {header.photometric}")
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
            found=f"transfer syntax {uid.UID(header.transfer_syntax, validation_mode=IGNORE).name}",
            expected="uncompressed, JPEG 2000, HTJ2K, JPEG, JPEG lossless, JPEG-LS or RLE",
            advice="convert the file, for instance with dcmtk",
        )


def open_picture(content: bytes, header: Header, *, name: str) -> EncodedPicture:
    """The picture of a file whose header has been read.

    Raises:
        ImageRefusedError: everything of `check_announced`; truncated, no_pixel_data.
    """
    check_announced(header, name=name)
    if is_picture(content):
        return EncodedPicture(header, name, 0, "opencv", lambda _: _decode_picture(content, name))
    dataset = read_dataset(content, name=name, with_pixels=True)
    if "PixelData" not in dataset:
        if _PIXEL_DATA_TAG in content:  # pydicom drops an element that breaks off
            raise refuse_truncated(name, f"a file that ends after {len(content)} bytes, inside the pixel data")
        raise refuse_without_pixels(name)
    syntax = header.transfer_syntax
    if syntax in _UNCOMPRESSED:
        _check_length(dataset, header, name)
        return EncodedPicture(header, name, 0, "numpy", lambda _: _decode_uncompressed(dataset, header))
    if syntax in _BY_PYDICOM:
        return _by_pydicom(dataset, header, name)
    frame = _take_frame(dataset, name)
    if syntax in _JPEG_2000:
        return _open_jpeg_2000(frame, dataset, header, name)
    decode = imagecodecs.jpegls_decode if syntax in _JPEG_LS else imagecodecs.jpeg_decode

    def decode_fitting(_: int) -> NDArray[Any]:
        values = decode(frame)
        if values.dtype.itemsize * 8 > header.bits_allocated:
            raise ValueError(f"samples of {values.dtype} for {header.bits_allocated} bits")
        return _restore_sign(values, header)

    return EncodedPicture(header, name, 0, "imagecodecs", decode_fitting)


def refuse_size(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> ImageRefusedError:
    """The error for pixel data of another size than the header announces."""
    return refusal(
        Verdict.SIZE_MISMATCH,
        name,
        found=f"pixel data of {' x '.join(map(str, found))}",
        expected=f"{' x '.join(map(str, expected))}, as the header says",
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


def _check_length(dataset: Dataset, header: Header, name: str) -> None:
    n_bytes = header.rows * header.columns * header.bits_allocated // 8
    with judging_elements(name):
        n_found = len(dataset.PixelData)
    if n_found < n_bytes:
        raise refuse_truncated(name, f"{n_found} of {n_bytes} bytes of pixel data")


def _decode_uncompressed(dataset: Dataset, header: Header) -> NDArray[Any]:
    unsigned = np.dtype("<u2" if header.bits_allocated == 16 else "u1")  # noqa: PLR2004  # bits
    stream: NDArray[Any] = np.frombuffer(dataset.PixelData, dtype=unsigned, count=header.rows * header.columns)
    values: NDArray[np.uint16] = stream.reshape(header.rows, header.columns)  # (row, column)
    below = header.high_bit + 1 - header.bits_stored
    return _restore_sign(values >> below if below > 0 else values, header)


def _restore_sign(values: NDArray[Any], header: Header) -> NDArray[Any]:
    """The stored bits as numbers: bits above them dropped, the highest of them taken as the sign where there is one."""
    unused = header.bits_allocated - header.bits_stored
    is_wide = header.bits_allocated == 16  # noqa: PLR2004  # bits
    bits: NDArray[Any] = values.astype(np.uint16 if is_wide else np.uint8, copy=False)
    if header.is_signed:
        # shifted up so that the sign bit is at the top, then down: an arithmetic shift copies it
        signed: NDArray[np.int16] = (bits << unused).view(np.int16 if is_wide else np.int8)
        return signed >> unused
    return bits & bits.dtype.type((1 << header.bits_stored) - 1) if unused else bits


def _take_frame(dataset: Dataset, name: str) -> bytes:
    """The one code stream of encapsulated pixel data, its fragments joined."""
    try:
        with judging_elements(name):
            pixel_data = dataset.PixelData
        frame = next(generate_frames(pixel_data, number_of_frames=1))
    except (ValueError, StopIteration, EOFError, struct.error) as error:
        raise refuse_truncated(name, f"encapsulated pixel data that breaks off ({error})") from error
    # ISO/IEC 10918-1, 14495-1 and 15444-1: every code stream ends with EOI or EOC, FFD9; DICOM may add a zero
    if not frame.rstrip(b"\x00").endswith(b"\xff\xd9"):
        raise refuse_truncated(name, f"a code stream of {len(frame)} bytes without its end mark")
    return frame


def _by_pydicom(dataset: Dataset, header: Header, name: str) -> EncodedPicture:
    def decode(_: int) -> NDArray[Any]:
        with judging_elements(name):
            return dataset.pixel_array

    return EncodedPicture(header, name, 0, "pydicom", decode)


@dataclass(frozen=True, slots=True)
class _CodeStream:
    """What a JPEG 2000 code stream says of itself (ISO/IEC 15444-1 A.5.1 SIZ, A.6.1 COD)."""

    rows: int
    columns: int
    has_offset: bool
    n_components: int
    precision: int
    is_signed: bool
    n_levels: int


def _open_jpeg_2000(frame: bytes, dataset: Dataset, header: Header, name: str) -> EncodedPicture:
    try:
        stream = _parse_code_stream(frame)
    except (ValueError, struct.error) as error:
        raise refusal(
            Verdict.UNDECODABLE,
            name,
            found=f"no JPEG 2000 code stream ({error})",
            expected="one, as the transfer syntax says",
            advice="the file contradicts itself; ask its sender for a correct one",
        ) from error
    if (stream.rows, stream.columns) != (header.rows, header.columns):
        raise refuse_size(name, (stream.rows, stream.columns), (header.rows, header.columns))
    if stream.n_components != 1:
        raise refuse_colour(name, f"a code stream of {stream.n_components} components")
    is_plain = stream.is_signed == header.is_signed and stream.precision != 9  # noqa: PLR2004  # Pillow takes 9 bits for 8
    if stream.has_offset or not is_plain or not 1 <= stream.precision <= 16:  # noqa: PLR2004  # bits
        return _by_pydicom(dataset, header, name)

    def decode(level: int) -> NDArray[Any]:
        values = _decode_jpeg_2000(frame, stream, level)
        # a wavelet swings beyond the values of the full picture
        return _clip_to_stored_bits(values, header) if level else values

    return EncodedPicture(header, name, stream.n_levels, "pillow", decode)


def _parse_code_stream(frame: bytes) -> _CodeStream:
    start = frame.find(b"\xff\x4f\xff\x51")  # SOC and SIZ; a JP2 file has boxes before them
    if start < 0:
        raise ValueError("no SOC and SIZ markers")
    (columns, rows, left, top) = struct.unpack_from(">4I", frame, start + 8)
    (n_components, depth) = struct.unpack_from(">HB", frame, start + 40)
    position = start + 2
    while True:
        marker, length = struct.unpack_from(">2H", frame, position)
        if marker == 0xFF52:  # noqa: PLR2004  # COD
            n_levels = frame[position + 9]
            break
        if marker == 0xFF90 or length < 2:  # noqa: PLR2004  # SOT: the main header is over
            raise ValueError("no COD marker")
        position += 2 + length
    return _CodeStream(
        rows=rows - top,
        columns=columns - left,
        has_offset=bool(left or top),
        n_components=n_components,
        precision=(depth & 0x7F) + 1,
        is_signed=bool(depth & 0x80),
        n_levels=n_levels,
    )


def _clip_to_stored_bits(values: NDArray[Any], header: Header) -> NDArray[Any]:
    low = -(1 << (header.bits_stored - 1)) if header.is_signed else 0
    return np.clip(values, low, low + (1 << header.bits_stored) - 1, out=values)


class _LevelImageFile(Jpeg2KImageFile):
    """Pillow's JPEG 2000 file, decoded at a level.

    Pillow's own `reduce` rounds the size where OpenJPEG rounds it up, and so refuses 2776 x 2082 at level 3.
    """

    def shrink_to_level(self, level: int) -> None:
        """Ask for 1 / 2**level of the rows and columns."""
        columns, rows = self.size
        self._size = (-(-columns >> level), -(-rows >> level))
        codec_name, _, offset, arguments = self.tile[0]
        if not isinstance(arguments, tuple):
            raise TypeError(f"found decoder arguments {arguments!r}, expected those of Pillow 11 or later")
        codec, _, *rest = arguments
        self.tile = [type(self.tile[0])(codec_name, (0, 0, *self._size), offset, (codec, level, *rest))]


def _decode_jpeg_2000(frame: bytes, stream: _CodeStream, level: int) -> NDArray[Any]:
    with _LevelImageFile(io.BytesIO(frame)) as picture:
        picture.shrink_to_level(level)
        values = np.array(picture)
    depth = values.dtype.itemsize * 8
    if stream.precision < depth:
        values >>= depth - stream.precision  # Pillow puts the bits of a sample at the top
    if not stream.is_signed:
        return values
    signed = np.int16 if depth == 16 else np.int8  # noqa: PLR2004  # bits
    centred = values.astype(np.int32) - (1 << (stream.precision - 1))  # Pillow had added half of the range
    return centred.astype(signed)
