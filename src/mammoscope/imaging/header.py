"""What a file says about its picture, read once into one frozen record; a thing it does not say is None."""

# ruff: noqa: RUF009  # `_needs` and `_from` make dataclass fields, each its own

import io
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import UID

from mammoscope.anatomy import (
    SPECIMEN_CODES,
    Laterality,
    View,
    ViewModifier,
    find_view_in_text,
    parse_laterality,
    parse_view,
    parse_view_code,
    parse_view_modifier_code,
)
from mammoscope.errors import ImageRefusedError, UserInputError
from mammoscope.imaging.elements import (
    ElementReader,
    HeaderWarning,
    ParsedT,
    as_code,
    as_date,
    as_intercept,
    as_magnification,
    as_numbers,
    as_slope,
    as_spacing,
    as_text,
    as_texts,
    as_time,
    as_yes,
    judging_elements,
    read_dataset,
    refuse_truncated,
    refuse_without_pixels,
)
from mammoscope.imaging.lookup import LookupTable, read_luts

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PGM_SIGNATURES = (b"P2", b"P5")
_TEXTS_WITH_A_VIEW = ("ViewPosition", "SeriesDescription", "ProtocolName")


def _needs(keywords: str, section: str) -> Any:  # noqa: ANN401  # as dataclasses.field
    """A field with the DICOM elements that it is read from and the section of PS3.3 that defines them."""
    return field(metadata={"keywords": tuple(keywords.split()), "section": section})


def _from(keywords: str, section: str, default: Any = None) -> Any:  # noqa: ANN401  # as dataclasses.field
    """The same for elements that may be absent."""
    return field(default=default, metadata={"keywords": tuple(keywords.split()), "section": section})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The picture that a file announces.

    Each field names the DICOM elements that it is read from, and the section of PS3.3 that defines them, in its
    metadata. Texts are without the blanks around them; codes are in capitals.

    Attributes:
        transfer_syntax: the UID of the encoding; None for a PNG or PGM picture.
        sop_class: what kind of object it is; where the data set does not say, what the file's meta header says.
        samples: channels for each pixel; 1 where the file does not say.
        n_frames: 1 where the file does not say.
        bits_stored: as many as are allocated where the file does not say.
        high_bit: the position of the highest stored bit; one below `bits_stored` where the file does not say.
        voi_luts: tables from modality values to grey, in their order.
        windows: centre and width of each window, in modality values.
        padding: lowest and highest stored value of pixels that are no picture.
        imager_spacing_mm: distance of rows and of columns at the detector.
        pixel_spacing_mm: distance of rows and of columns in the patient, where somebody calibrated it.
        magnification: detector size over true size, as the distances of the machine give it.
        orientation: towards which side of the body the rows and the columns run, as in ("A", "R").
        view_code: by the View Code Sequence. view_position: by View Position. view_text: by descriptions in free text.
        modifiers: what is special about the view.
        is_specimen: whether the view code is that of a tissue specimen.
        warnings: what is odd or contradicts itself, by name.
    """

    rows: int = _needs("Rows", "C.7.6.3")
    columns: int = _needs("Columns", "C.7.6.3")
    transfer_syntax: str | None = _needs("TransferSyntaxUID", "PS3.10 7.1")
    samples: int = _from("SamplesPerPixel", "C.7.6.3.1.1", default=1)
    photometric: str | None = _from("PhotometricInterpretation", "C.7.6.3.1.2")
    n_frames: int = _from("NumberOfFrames", "C.7.6.6.1.1", default=1)
    bits_allocated: int = _needs("BitsAllocated", "C.7.6.3")
    bits_stored: int = _needs("BitsStored", "C.7.6.3")
    high_bit: int = _needs("HighBit", "C.7.6.3")
    is_signed: bool = _from("PixelRepresentation", "C.7.6.3", default=False)

    rescale_slope: float | None = _from("RescaleSlope", "C.11.1")
    rescale_intercept: float | None = _from("RescaleIntercept", "C.11.1")
    modality_lut: LookupTable | None = _from("ModalityLUTSequence", "C.11.1")
    voi_luts: tuple[LookupTable, ...] = _from("VOILUTSequence", "C.11.2", default=())
    windows: tuple[tuple[float, float], ...] = _from("WindowCenter WindowWidth", "C.11.2.1.2", default=())
    voi_function: str | None = _from("VOILUTFunction", "C.11.2.1.3")
    presentation_lut_shape: str | None = _from("PresentationLUTShape", "C.8.11.3")
    padding: tuple[int, int] | None = _from("PixelPaddingValue PixelPaddingRangeLimit", "C.7.5.1.1.2")
    intensity_relationship: str | None = _from("PixelIntensityRelationship", "C.8.11.3.1.2")
    intensity_sign: int | None = _from("PixelIntensityRelationshipSign", "C.8.11.3.1.2")

    imager_spacing_mm: tuple[float, float] | None = _from("ImagerPixelSpacing", "C.8.11.4")
    pixel_spacing_mm: tuple[float, float] | None = _from("PixelSpacing", "10.7.1.3")
    magnification: float | None = _from("EstimatedRadiographicMagnificationFactor", "C.8.11.5")
    is_flipped_at_detector: bool | None = _from("FieldOfViewHorizontalFlip", "C.8.11.4")
    orientation: tuple[str, ...] = _from("PatientOrientation", "C.7.6.1.1.1", default=())

    image_laterality: Laterality | None = _from("ImageLaterality", "C.8.11.7")
    series_laterality: Laterality | None = _from("Laterality", "C.7.3.1")
    view_code: View | None = _from("ViewCodeSequence", "C.8.11.7")
    view_position: View | None = _from("ViewPosition", "C.8.11.5")
    view_text: View | None = _from(" ".join(_TEXTS_WITH_A_VIEW), "C.7.3.1")
    modifiers: frozenset[ViewModifier] = _from("ViewModifierCodeSequence", "C.8.11.7", default=frozenset())
    is_specimen: bool = _from("ViewCodeSequence", "C.8.11.7", default=False)
    is_partial: bool | None = _from("PartialView", "C.8.11.7")
    has_implant: bool | None = _from("BreastImplantPresent", "C.8.11.7")
    has_burned_in_text: bool | None = _from("BurnedInAnnotation", "C.7.6.1")

    modality: str | None = _from("Modality", "C.7.3.1")
    sop_class: str | None = _from("SOPClassUID MediaStorageSOPClassUID", "C.12.1")
    presentation_intent: str | None = _from("PresentationIntentType", "C.8.11.1")
    image_type: tuple[str, ...] = _from("ImageType", "C.8.11.7.1.4", default=())
    manufacturer: str | None = _from("Manufacturer", "C.7.5.1")
    model: str | None = _from("ManufacturerModelName", "C.7.5.1")
    software: tuple[str, ...] = _from("SoftwareVersions", "C.7.5.1", default=())

    patient_id: str | None = _from("PatientID", "C.7.1.1")
    age_years: float | None = _from("PatientAge PatientBirthDate StudyDate", "C.7.2.2")
    study_uid: str | None = _from("StudyInstanceUID", "C.7.2.1")
    series_uid: str | None = _from("SeriesInstanceUID", "C.7.3.1")
    image_uid: str | None = _from("SOPInstanceUID", "C.12.1")
    acquisition_date: date | None = _from("AcquisitionDate", "C.7.6.1")
    acquisition_time: time | None = _from("AcquisitionTime", "C.7.6.1")

    warnings: tuple[HeaderWarning, ...] = ()

    @property
    def laterality(self) -> Laterality | None:
        """The side of the breast: of the image, or of its series."""
        return self.image_laterality or self.series_laterality

    @property
    def view(self) -> View | None:
        """The projection: by its code, or else by View Position, or else by the one that a description names."""
        return self.view_code or self.view_position or self.view_text

    @property
    def is_inverted(self) -> bool:
        """Whether low values mean bright tissue: said by either tag, and no more by both than by one."""
        return self.photometric == "MONOCHROME1" or self.presentation_lut_shape == "INVERSE"

    @property
    def slope(self) -> float:
        """Modality values for one stored value; 1 where the file does not say (PS3.3 C.11.1)."""
        return 1.0 if self.rescale_slope is None else self.rescale_slope

    @property
    def intercept(self) -> float:
        """The modality value of the stored value 0; 0 where the file does not say (PS3.3 C.11.1)."""
        return 0.0 if self.rescale_intercept is None else self.rescale_intercept

    @property
    def is_falling(self) -> bool:
        """Whether high stored values are low modality values."""
        return self.slope < 0 if self.modality_lut is None else self.modality_lut.is_falling

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance of rows and of columns: at the detector, or in the patient where only that is known."""
        return self.imager_spacing_mm or self.pixel_spacing_mm

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and highest value that the stored bits can hold."""
        low = -((1 << self.bits_stored) >> 1) if self.is_signed else 0
        return low, low + (1 << self.bits_stored) - 1

    @property
    def is_wall_left(self) -> bool | None:
        """Whether the chest wall is at the left edge, by the Patient Orientation of the rows (PS3.3 C.7.6.1.1.1)."""
        towards = self.orientation[0] if self.orientation else ""
        return {"A": True, "P": False}.get(towards[:1])


def read_header(content: bytes, *, name: str) -> Header:
    """The header of a DICOM, PNG or PGM file.

    Args:
        content: the whole file, or its beginning up to the pixel data.
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


def parse_dataset(dataset: Dataset, *, name: str) -> Header:
    """The header that the elements of a DICOM file say.

    Raises:
        ImageRefusedError: no_pixel_data, undecodable.
    """
    with judging_elements(name):
        element = ElementReader(dataset, name)
        if "Rows" not in dataset or "Columns" not in dataset:
            raise _refuse_without_size(element)
        fields = {
            **_parse_format(element),
            **_parse_grey(element),
            **_parse_geometry(element),
            **_parse_anatomy(element),
            **_parse_origin(element),
        }
        return Header(**fields, warnings=tuple(element.warnings))


def _refuse_without_size(element: ElementReader) -> ImageRefusedError:
    """The error for an object without rows and columns: a file that was cut off where its class is one of images."""
    sop_class = _read_sop_class(element)
    if sop_class is not None and "Image Storage" in UID(sop_class, validation_mode=IGNORE).name:
        return refuse_truncated(element.name, "an image that breaks off before its size")
    return refuse_without_pixels(element.name)


def _parse_format(element: ElementReader) -> dict[str, Any]:
    bits_allocated = element.need("BitsAllocated", int)
    bits_stored = _or(element.demand("BitsStored", int), bits_allocated)
    return {
        "rows": element.need("Rows", int),
        "columns": element.need("Columns", int),
        "transfer_syntax": element.transfer_syntax(),
        "samples": _or(element.demand("SamplesPerPixel", int), 1),
        "photometric": element.demand("PhotometricInterpretation", as_code),
        "n_frames": _or(element.demand("NumberOfFrames", int), 1),
        "bits_allocated": bits_allocated,
        "bits_stored": bits_stored,
        "high_bit": _or(element.demand("HighBit", int), bits_stored - 1),
        "is_signed": element.demand("PixelRepresentation", int) == 1,
    }


def _parse_grey(element: ElementReader) -> dict[str, Any]:
    is_signed = element.demand("PixelRepresentation", int) == 1
    modality_luts = read_luts(element, "ModalityLUTSequence", is_signed=is_signed)
    return {
        "rescale_slope": element.demand("RescaleSlope", as_slope),
        "rescale_intercept": element.demand("RescaleIntercept", as_intercept),
        "modality_lut": modality_luts[0] if modality_luts else None,
        "voi_luts": read_luts(element, "VOILUTSequence", is_signed=is_signed and not modality_luts),
        "windows": _parse_windows(element),
        "voi_function": element.read("VOILUTFunction", as_code),
        "presentation_lut_shape": element.read("PresentationLUTShape", as_code),
        "padding": _parse_padding(element, element.need("BitsAllocated", int) if is_signed else None),
        "intensity_relationship": element.read("PixelIntensityRelationship", as_code),
        "intensity_sign": element.read("PixelIntensityRelationshipSign", int),
    }


def _parse_geometry(element: ElementReader) -> dict[str, Any]:
    return {
        "imager_spacing_mm": element.read("ImagerPixelSpacing", as_spacing),
        "pixel_spacing_mm": element.read("PixelSpacing", as_spacing),
        "magnification": element.read("EstimatedRadiographicMagnificationFactor", as_magnification),
        "is_flipped_at_detector": element.read("FieldOfViewHorizontalFlip", as_yes),
        "orientation": _or(element.read("PatientOrientation", as_texts), ()),
    }


def _parse_anatomy(element: ElementReader) -> dict[str, Any]:
    views = element.sequence("ViewCodeSequence")
    codes = [element.within(view).read("CodeValue", as_text) for view in views]
    modifier_codes = [
        element.within(modifier).read("CodeValue", as_text)
        for holder in (element, *(element.within(view) for view in views))  # it belongs into the view's own item
        for modifier in holder.sequence("ViewModifierCodeSequence")
    ]
    return {
        "image_laterality": _known(parse_laterality, element.read("ImageLaterality", as_code)),
        "series_laterality": _known(parse_laterality, element.read("Laterality", as_code)),
        "view_code": _first(_known(parse_view_code, code) for code in codes),
        "view_position": _known(parse_view, element.read("ViewPosition", as_code)),
        "view_text": _first(find_view_in_text(text) for text in _texts(element, views)),
        "modifiers": frozenset(_known(parse_view_modifier_code, code) for code in modifier_codes) - {None},
        "is_specimen": not SPECIMEN_CODES.isdisjoint(codes),
        "is_partial": element.read("PartialView", as_yes),
        "has_implant": element.read("BreastImplantPresent", as_yes),
        "has_burned_in_text": element.read("BurnedInAnnotation", as_yes),
    }


def _parse_origin(element: ElementReader) -> dict[str, Any]:
    return {
        "modality": element.read("Modality", as_code),
        "sop_class": _read_sop_class(element),
        "presentation_intent": element.read("PresentationIntentType", as_code),
        "image_type": _or(element.read("ImageType", as_texts), ()),
        "manufacturer": element.read("Manufacturer", as_text),
        "model": element.read("ManufacturerModelName", as_text),
        "software": _or(element.read("SoftwareVersions", as_texts), ()),
        "patient_id": element.read("PatientID", as_text),
        "age_years": element.age_years(),
        "study_uid": element.read("StudyInstanceUID", as_text),
        "series_uid": element.read("SeriesInstanceUID", as_text),
        "image_uid": element.read("SOPInstanceUID", as_text),
        "acquisition_date": element.read("AcquisitionDate", as_date),
        "acquisition_time": element.read("AcquisitionTime", as_time),
    }


def _read_sop_class(element: ElementReader) -> str | None:
    meta = element.within(element.dataset.file_meta)
    return element.read("SOPClassUID", as_text) or meta.read("MediaStorageSOPClassUID", as_text)


def _or(value: ParsedT | None, default: ParsedT) -> ParsedT:
    return default if value is None else value


def _first(values: Iterable[ParsedT | None]) -> ParsedT | None:
    return next((value for value in values if value is not None), None)


def _known(parse: Callable[[str], ParsedT], text: str | None) -> ParsedT | None:
    """What a text stands for; a file that says nothing known is judged by whoever needs it."""
    try:
        return None if text is None else parse(text)
    except UserInputError:
        return None


def _texts(element: ElementReader, views: Sequence[Dataset]) -> list[str]:
    """Descriptions that may name the view, the likeliest first."""
    meanings = [element.within(view).read("CodeMeaning", as_text) for view in views]
    texts = [element.read(keyword, as_text) for keyword in _TEXTS_WITH_A_VIEW]
    return [text for text in (*meanings, *texts) if text is not None]


def _parse_windows(element: ElementReader) -> tuple[tuple[float, float], ...]:
    centers = _or(element.read("WindowCenter", as_numbers), ())
    widths = _or(element.read("WindowWidth", as_numbers), ())
    if len(centers) != len(widths):
        element.warn("window_conflict", f"{len(centers)} window centers and {len(widths)} widths, pairs are used")
    return tuple(zip(centers, widths, strict=False))


def _parse_padding(element: ElementReader, signed_bits: int | None) -> tuple[int, int] | None:
    values = [element.read(keyword, int) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if values[0] is None:
        return None
    ends = [value for value in values if value is not None]
    if signed_bits is not None:  # written as US where SS was meant
        ends = [value - (1 << signed_bits) if value >= (1 << signed_bits) >> 1 else value for value in ends]
    return min(ends), max(ends)


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
        rows=rows,
        columns=columns,
        transfer_syntax=None,
        photometric="MONOCHROME2",
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
    )


def _open_picture(content: bytes) -> Image.Image:
    return (PngImageFile if content.startswith(_PNG_SIGNATURE) else PpmImageFile)(io.BytesIO(content))
