"""Where the pixel data of a DICOM file lie, without a copy of them: words, or the code stream in its fragments."""

import struct
from dataclasses import dataclass

from pydicom import uid
from pydicom.dataset import Dataset, FileDataset

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.elements import judging_elements, read_dataset, refuse_truncated, refuse_without_pixels
from mammoscope.imaging.header import Header
from mammoscope.imaging.verdict import Verdict, refusal

_PIXEL_DATA = (0x7FE0, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"UN")  # PS3.5 7.1.2: two reserved bytes, then four of length

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_HEADER_BYTES = 8  # tag and length of an item
_BEGINNINGS = (
    *(b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "),  # JPEG, JPEG 2000, JP2
    # RLE: one segment or two, the first from byte 64 on (PS3.5 G.5)
    *(b"\x01\x00\x00\x00\x40\x00\x00\x00", b"\x02\x00\x00\x00\x40\x00\x00\x00"),
)
# ISO/IEC 10918-1, 14495-1 and 15444-1: EOI and EOC; the coding keeps these bytes out of the data before them
_END_MARK = b"\xff\xd9"
_PADDING_BYTES = 1024


@dataclass(frozen=True, slots=True)
class PixelData:
    """The value of the Pixel Data element, and whether its VR is OW."""

    value: memoryview
    is_in_words: bool


def find_pixel_data(dataset: Dataset, content: bytes, header: Header, *, name: str) -> PixelData:
    """The Pixel Data of a file whose elements have been read up to it.

    Args:
        dataset: the elements, as `read_dataset` gives them without pixels.
        content: the whole file.
        header: what the dataset says.
        name: how sentences call the image.

    Raises:
        ImageRefusedError: no_pixel_data, truncated, undecodable.
    """
    if header.transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
        return _inflate(content, name)
    if not isinstance(dataset, FileDataset) or dataset.buffer is None:
        raise TypeError("found a dataset without its file, expected one of read_dataset")
    start = dataset.buffer.tell()  # pydicom stops at the tag
    if start >= len(content):
        raise refuse_without_pixels(name)
    try:
        first, n_bytes, is_in_words = _read_element_header(content, start, header)
    except struct.error as error:
        raise _refuse_cut(content, name) from error
    except ValueError as error:
        raise _refuse(name, str(error), "pixel data in OB or OW") from error
    if n_bytes == _UNDEFINED:
        return PixelData(memoryview(content)[first:], is_in_words)
    if first + n_bytes > len(content):
        raise _refuse_cut(content, name)
    return PixelData(memoryview(content)[first : first + n_bytes], is_in_words)


def _inflate(content: bytes, name: str) -> PixelData:
    dataset = read_dataset(content, name=name, with_pixels=True)
    with judging_elements(name):
        value = dataset.get("PixelData")
    if not isinstance(value, bytes):
        raise refuse_without_pixels(name)
    return PixelData(memoryview(value), is_in_words=True)


def _read_element_header(content: bytes, start: int, header: Header) -> tuple[int, int, bool]:
    """Where the value begins, its length, and whether it is in words (PS3.5 7.1)."""
    order = ">" if header.transfer_syntax == uid.ExplicitVRBigEndian else "<"
    tag = struct.unpack_from(f"{order}2H", content, start)
    if tag != _PIXEL_DATA:
        raise ValueError(f"pixel data in element ({tag[0]:04X},{tag[1]:04X})")
    if header.transfer_syntax == uid.ImplicitVRLittleEndian:
        (length,) = struct.unpack_from("<I", content, start + 4)
        return start + 8, length, True
    vr, _, length = struct.unpack_from(f"{order}2sHI", content, start + 4)
    if vr not in _LONG_VRS:
        raise ValueError(f"pixel data in VR {vr!r}")
    return start + 12, length, vr == b"OW"


def take_stream(pixel_data: memoryview, *, name: str) -> memoryview:
    """The one code stream of the encapsulated pixel data of a picture with one frame: its fragments joined (PS3.5 A.4).

    Offset tables, basic or extended, tell the frames of a picture apart. Of one frame they say nothing, so that a wrong
    one does no harm.

    Raises:
        ImageRefusedError: undecodable without any fragment, truncated when one breaks off.
    """
    if bytes(pixel_data[:4]) != _ITEM:
        raise _refuse(name, "pixel data without fragments", "encapsulated pixel data, as the transfer syntax says")
    fragments = _split_fragments(pixel_data, name)
    if not bytes(fragments[0][:8]).startswith(_BEGINNINGS):
        del fragments[0]  # the basic offset table, which some writers forget
    fragments = [fragment for fragment in fragments if len(fragment)]
    if not fragments:
        raise refuse_truncated(name, "encapsulated pixel data that breaks off before its code stream")
    return fragments[0] if len(fragments) == 1 else memoryview(b"".join(fragments))


def check_end(stream: memoryview, *, name: str) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 stream without its end mark, whatever fills it up behind it.

    Raises:
        ImageRefusedError: truncated.
    """
    if _END_MARK not in bytes(stream[-_PADDING_BYTES:]) and _END_MARK not in bytes(stream):
        raise refuse_truncated(name, f"a code stream of {len(stream)} bytes without its end mark")


def _split_fragments(pixel_data: memoryview, name: str) -> list[memoryview]:
    """The values of the items up to the sequence delimiter, or up to the end where that one is missing."""
    fragments: list[memoryview] = []
    position = 0
    while position + _HEADER_BYTES <= len(pixel_data):
        tag, length = struct.unpack_from("<4sI", pixel_data, position)
        if tag == _DELIMITER:
            break
        first = position + _HEADER_BYTES
        if tag != _ITEM or first + length > len(pixel_data):
            raise refuse_truncated(name, f"a file that breaks off inside the pixel data, at byte {position} of them")
        fragments.append(pixel_data[first : first + length])
        position = first + length
    if not fragments:
        raise refuse_truncated(name, "encapsulated pixel data that breaks off before its code stream")
    return fragments


def _refuse_cut(content: bytes, name: str) -> ImageRefusedError:
    return refuse_truncated(name, f"a file that ends after {len(content)} bytes, inside the pixel data")


def _refuse(name: str, found: str, expected: str) -> ImageRefusedError:
    advice = "the file contradicts itself; ask its sender for a correct one"
    return refusal(Verdict.UNDECODABLE, name, found=found, expected=expected, advice=advice)
