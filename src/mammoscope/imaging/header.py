"""What a file says about its picture, read once into one frozen record; a thing it does not say is None."""

import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from mammoscope.anatomy import Laterality, View, parse_laterality, parse_view, parse_view_code
from mammoscope.errors import ImageRefusedError, UserInputError
from mammoscope.imaging.verdict import Verdict, refusal

_LARGEST_RESCALE = 1e9  # times 16 bits, far inside of what single precision tells apart from infinity
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PGM_SIGNATURES = (b"P2", b"P5")

# what pydicom raises on elements of unknown kind or wrong length
_ELEMENT_ERRORS = (
    BytesLengthException,
    ValueError,
    NotImplementedError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
)

ParsedT = TypeVar("ParsedT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The picture that a file announces.

    Attributes:
        transfer_syntax: the UID of the encoding; None for a PNG or PGM picture.
        high_bit: the position of the highest stored bit.
        padding: lowest and highest stored value of pixels that are no picture (PS3.3 C.7.5.1.1.2), or None.
        windows: centre and width of each window, in modality values.
        voi_function: LINEAR where the file does not say (PS3.3 C.11.2.1.3).
        spacing_mm: height and width of a pixel at the detector, or of the picture where only that is known.
    """

    rows: int
    columns: int
    transfer_syntax: str | None
    photometric: str = "MONOCHROME2"
    samples: int = 1
    n_frames: int = 1
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool = False
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    windows: tuple[tuple[float, float], ...] = ()
    voi_function: str = "LINEAR"
    padding: tuple[int, int] | None = None
    presentation_lut_shape: str | None = None
    spacing_mm: tuple[float, float] | None = None
    laterality: Laterality | None = None
    view: View | None = None
    patient_id: str | None = None
    study_uid: str | None = None
    image_uid: str | None = None

    @property
    def is_inverted(self) -> bool:
        """Whether low values mean bright tissue: said by either tag, and no more by both than by one."""
        return self.photometric == "MONOCHROME1" or self.presentation_lut_shape == "INVERSE"


def read_header(content: bytes, *, name: str) -> Header:
    """The header of a DICOM, PNG or PGM file.

    Args:
        content: the whole file.
        name: how sentences call the image.

    Raises:
        ImageRefusedError: not_dicom, truncated, no_pixel_data, undecodable.
    """
    if is_picture(content):
        return _read_picture_header(content, name)
    return parse_dataset(read_dataset(content, name=name, with_pixels=False), name=name)


def is_picture(content: bytes) -> bool:
    """Whether the bytes are of a PNG or PGM file."""
    return content.startswith((_PNG_SIGNATURE, *_PGM_SIGNATURES))


def read_dataset(content: bytes, *, name: str, with_pixels: bool) -> Dataset:
    """The elements of a DICOM file.

    Raises:
        ImageRefusedError: not_dicom, truncated.
    """
    try:
        with judging_elements(name):
            return dcmread(io.BytesIO(content), stop_before_pixels=not with_pixels)
    except InvalidDicomError as error:
        raise refusal(
            Verdict.NOT_DICOM,
            name,
            found=f"{len(content)} bytes without the mark DICM" if content else "an empty file",
            expected="a DICOM, PNG or PGM file",
            advice="remove it from the cohort or fetch it again",
        ) from error


@contextmanager
def judging_elements(name: str) -> Iterator[None]:
    """A block that reads elements: those that pydicom cannot read refuse the file, its warnings are not shown.

    Raises:
        ImageRefusedError: truncated, undecodable.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are judged by what they are needed for
            yield
    except (EOFError, OSError, struct.error) as error:
        raise refuse_truncated(name, "an element that breaks off") from error
    except _ELEMENT_ERRORS as error:
        raise refusal(
            Verdict.UNDECODABLE,
            name,
            found=f"an element that cannot be read ({type(error).__name__})",
            expected="elements as PS3.5 says",
            advice="copy the file again; if it stays so, the file is broken",
        ) from error


def refuse_truncated(name: str, found: str) -> ImageRefusedError:
    """The error for a file that is not whole."""
    return refusal(
        Verdict.TRUNCATED, name, found=found, expected="a whole file", advice="copy it again from where it came"
    )


def parse_dataset(dataset: Dataset, *, name: str) -> Header:
    """The header that the elements of a DICOM file say.

    Raises:
        ImageRefusedError: no_pixel_data, undecodable.
    """
    with judging_elements(name):
        return _parse_elements(dataset, name)


def _parse_elements(dataset: Dataset, name: str) -> Header:
    if "Rows" not in dataset or "Columns" not in dataset:
        raise refuse_without_pixels(name)
    element = _ElementReader(dataset, name)
    bits_allocated = element.need("BitsAllocated", int)
    bits_stored = element.read("BitsStored", int, bits_allocated)
    is_signed = element.read("PixelRepresentation", int, 0) == 1
    return Header(
        rows=element.need("Rows", int),
        columns=element.need("Columns", int),
        transfer_syntax=element.transfer_syntax(),
        photometric=element.read("PhotometricInterpretation", str, "MONOCHROME2"),
        samples=element.read("SamplesPerPixel", int, 1),
        n_frames=element.read("NumberOfFrames", int, 1),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=element.read("HighBit", int, bits_stored - 1),
        is_signed=is_signed,
        rescale_slope=element.read("RescaleSlope", _as_slope, 1.0),
        rescale_intercept=element.read("RescaleIntercept", _as_intercept, 0.0),
        windows=tuple(zip(element.numbers("WindowCenter"), element.numbers("WindowWidth"), strict=False)),
        voi_function=element.read("VOILUTFunction", str, "LINEAR"),
        padding=_parse_padding(element, bits_allocated if is_signed else None),
        presentation_lut_shape=element.read("PresentationLUTShape", str, None),
        spacing_mm=_parse_spacing(element),
        laterality=_parse_anatomy(parse_laterality, dataset, ("ImageLaterality", "Laterality")),
        view=_parse_view(dataset),
        patient_id=element.read("PatientID", str, None),
        study_uid=element.read("StudyInstanceUID", str, None),
        image_uid=element.read("SOPInstanceUID", str, None),
    )


def refuse_without_pixels(name: str) -> ImageRefusedError:
    """The error for a DICOM object that is no image, such as a report."""
    return refusal(
        Verdict.NO_PIXEL_DATA,
        name,
        found="a DICOM object without pixel data",
        expected="an image",
        advice="remove it from the cohort",
    )


@dataclass(frozen=True, slots=True)
class _ElementReader:
    """Reads elements as plain values; an element that is absent or empty gives the fallback."""

    dataset: Dataset
    name: str

    def read(self, keyword: str, convert: Callable[[Any], ParsedT], absent: ParsedT | None) -> Any:  # noqa: ANN401  # None only where `absent` is None
        if keyword not in self.dataset or self.dataset[keyword].is_empty:
            return absent
        return self._convert(keyword, convert)

    def need(self, keyword: str, convert: Callable[[Any], ParsedT]) -> ParsedT:
        return self._convert(keyword, convert)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        values: list[float] | None = self.read(keyword, _as_list, None)
        return () if values is None else tuple(values)

    def transfer_syntax(self) -> str:
        syntax = self.dataset.file_meta.get("TransferSyntaxUID")
        if syntax is None:
            raise self._refuse("TransferSyntaxUID", "nothing", None)
        return str(syntax)

    def _convert(self, keyword: str, convert: Callable[[Any], ParsedT]) -> ParsedT:
        try:
            return convert(self.dataset[keyword].value)
        except KeyError as error:
            raise self._refuse(keyword, "nothing", error) from error
        except (TypeError, ValueError) as error:
            raise self._refuse(keyword, "a value that cannot be read", error) from error

    def _refuse(self, keyword: str, found: str, error: Exception | None) -> ImageRefusedError:
        detail = f" ({error})" if isinstance(error, TypeError | ValueError) else ""
        return refusal(
            Verdict.UNDECODABLE,
            self.name,
            found=f"{found} in {keyword}{detail}",
            expected="one valid value",
            advice="the file breaks the standard; ask its sender for a correct one",
        )


def _as_intercept(value: Any) -> float:  # noqa: ANN401  # pydicom's values have no common type
    intercept = float(value)
    if not abs(intercept) <= _LARGEST_RESCALE:  # NaN too
        raise ValueError(f"found {intercept}, expected a number up to {_LARGEST_RESCALE:.0e}")
    return intercept


def _as_slope(value: Any) -> float:  # noqa: ANN401  # pydicom's values have no common type
    slope = _as_intercept(value)
    if abs(slope) < 1 / _LARGEST_RESCALE:
        raise ValueError(f"found {slope}, expected a number other than 0")
    return slope


def _as_list(value: Any) -> list[float]:  # noqa: ANN401  # pydicom's values have no common type
    return [float(part) for part in value] if isinstance(value, MultiValue) else [float(value)]


def _parse_padding(element: _ElementReader, signed_bits: int | None) -> tuple[int, int] | None:
    values = [element.read(keyword, int, None) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if values[0] is None:
        return None
    ends = [value for value in values if value is not None]
    if signed_bits is not None:  # written as US where SS was meant
        ends = [value - (1 << signed_bits) if value >= 1 << (signed_bits - 1) else value for value in ends]
    return min(ends), max(ends)


def _parse_spacing(element: _ElementReader) -> tuple[float, float] | None:
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        spacing = element.numbers(keyword)
        if len(spacing) == 2 and all(math.isfinite(part) and part > 0 for part in spacing):  # noqa: PLR2004  # row, column
            return spacing[0], spacing[1]
    return None


def _parse_view(dataset: Dataset) -> View | None:
    """The code comes first, since View Position is free of any enumeration in many files."""
    for code in dataset.get("ViewCodeSequence") or ():
        view = _parse_anatomy(parse_view_code, code, ("CodeValue",))
        if view is not None:
            return view
    return _parse_anatomy(parse_view, dataset, ("ViewPosition",))


def _parse_anatomy(parse: Callable[[str], ParsedT], dataset: Dataset, keywords: tuple[str, ...]) -> ParsedT | None:
    """The first element that says a known side or view; a file that says none is judged by whoever needs it."""
    for keyword in keywords:
        try:
            return parse(str(dataset.get(keyword, "")))
        except UserInputError:
            continue
    return None


def _read_picture_header(content: bytes, name: str) -> Header:
    """A PNG or PGM as if it were a file for presentation: bright tissue on a dark ground, no windows."""
    try:
        # the plug-in itself, not Image.open: size is judged later, by our own limit
        with _open_picture(content) as picture:
            columns, rows = picture.size
            bits = 16 if picture.mode.startswith("I") else 8
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise refuse_truncated(name, "a PNG or PGM file whose header cannot be read") from error
    return Header(
        rows=rows, columns=columns, transfer_syntax=None, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1
    )


def _open_picture(content: bytes) -> Image.Image:
    return (PngImageFile if content.startswith(_PNG_SIGNATURE) else PpmImageFile)(io.BytesIO(content))
