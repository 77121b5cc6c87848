"""What a code stream says of itself before anything is decoded: size, components, precision, resolution levels."""

import struct
from dataclasses import dataclass

MOST_TILES = 16_384  # an OpenJPEG decoder takes 6 kB for each before it decodes; 64 x 64 tiles of 5928 x 4728 are 6882

_MOST_LEVELS = 32  # ISO/IEC 15444-1 A.6.1
_SOC_AND_SIZ = b"\xff\x4f\xff\x51"
_FEW_BYTES, _MOST_BOX_BYTES = 4096, 1 << 20  # usually the boxes take 85; a profile or XML may be among them
_COD, _SOT = 0xFF52, 0xFF90
_REVERSIBLE = 1  # ISO/IEC 15444-1 A.6.1: the 5/3 wavelet

# ISO/IEC 10918-1 B.1.1.3: all SOF markers (DHT, JPG and DAC lie between them); ISO/IEC 14495-1 C.1.1: SOF55 of JPEG-LS
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_LOSSLESS_FRAME = 0xC3
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # TEM, RSTn, SOI


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStream:
    """The picture that a code stream announces.

    Attributes:
        content: the stream from its first marker on, without the boxes of a file format.
        precision: bits of a sample.
        is_signed: whether the samples have a sign; JPEG and JPEG-LS know none.
        is_reversible: whether the transformation loses nothing.
        has_offset: whether the picture begins inside of its reference grid (JPEG 2000).
        n_levels: how often rows and columns can be halved in decoding.
    """

    content: memoryview
    rows: int
    columns: int
    n_components: int
    precision: int
    is_signed: bool = False
    is_reversible: bool = False
    has_offset: bool = False
    n_levels: int = 0


def parse_jpeg(frame: memoryview) -> CodeStream:
    """The frame header of a JPEG or JPEG-LS stream (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2).

    Raises:
        ValueError, struct.error: there is none.
    """
    if bytes(frame[:2]) != b"\xff\xd8":
        raise ValueError("no SOI marker")
    position = 2
    while True:
        prefix, marker = struct.unpack_from(">2B", frame, position)
        if prefix != 0xFF:  # noqa: PLR2004  # ISO/IEC 10918-1 B.1.1.2: every marker begins with it
            raise ValueError(f"no marker at byte {position}")
        if marker == 0xFF:  # noqa: PLR2004  # a fill byte
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker in _FRAME_HEADERS:
            break
        else:
            position += 2 + _read_length(frame, position)
    precision, rows, columns, n_components = struct.unpack_from(">B2HB", frame, position + 4)
    return CodeStream(
        content=frame,
        rows=rows,
        columns=columns,
        n_components=n_components,
        precision=precision,
        is_reversible=marker == _LOSSLESS_FRAME,
    )


def parse_jpeg_2000(frame: memoryview) -> CodeStream:
    """The SIZ and COD segments of a JPEG 2000 stream, alone or in a JP2 file (ISO/IEC 15444-1 A.5.1, A.6.1).

    Raises:
        ValueError, struct.error: there is no such stream, or it is none of one decodable kind.
    """
    start = _find_stream(frame)  # a JP2 file has boxes before them
    if start < 0:
        raise ValueError("no SOC and SIZ markers")
    content = frame[start:]
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", content, 8)
    n_components, depth, step_right, step_down = struct.unpack_from(">H3B", content, 40)
    if not (tile_width and tile_height) or -(-right // tile_width) * -(-bottom // tile_height) > MOST_TILES:
        raise ValueError(f"tiles of {tile_height} x {tile_width}")
    if (step_down, step_right) != (1, 1):
        raise ValueError(f"samples {step_down} x {step_right} pixels apart")
    n_levels, wavelet = _parse_coding_style(content)
    return CodeStream(
        content=content,
        rows=bottom - top,
        columns=right - left,
        n_components=n_components,
        precision=(depth & 0x7F) + 1,
        is_signed=bool(depth & 0x80),
        is_reversible=wavelet == _REVERSIBLE,
        has_offset=bool(left or top),
        n_levels=n_levels,
    )


def _find_stream(frame: memoryview) -> int:
    """Where the code stream begins, or -1."""
    start = bytes(frame[:_FEW_BYTES]).find(_SOC_AND_SIZ)
    return start if start >= 0 else bytes(frame[:_MOST_BOX_BYTES]).find(_SOC_AND_SIZ)


def _parse_coding_style(content: memoryview) -> tuple[int, int]:
    """Decomposition levels and wavelet of the COD segment."""
    position = 2
    while True:
        (marker,) = struct.unpack_from(">H", content, position)
        if marker == _COD:
            n_levels, *_, wavelet = struct.unpack_from(">5B", content, position + 9)
            if n_levels > _MOST_LEVELS:
                raise ValueError(f"{n_levels} decomposition levels")
            return n_levels, wavelet
        if marker == _SOT:
            raise ValueError("no COD marker")
        position += 2 + _read_length(content, position)


def _read_length(content: memoryview, position: int) -> int:
    """The length of the segment whose marker is at a position; it counts its own two bytes."""
    (length,) = struct.unpack_from(">H", content, position + 2)
    if length < 2:  # noqa: PLR2004  # so that every step goes on
        raise ValueError(f"a segment of length {length} at byte {position}")
    return int(length)
