import io
from collections.abc import Callable
from datetime import date, time

import cv2
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from mammoscope.anatomy import Laterality, View, ViewModifier
from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.elements import read_dataset
from mammoscope.imaging.header import read_header

MakeDicom = Callable[..., bytes]


def _view_code(value: str, *modifiers: str, meaning: str | None = None) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    if meaning is not None:
        code.CodeMeaning = meaning
    if modifiers:
        code.ViewModifierCodeSequence = [_view_code(modifier) for modifier in modifiers]
    return code


def _encode(extension: str, pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(extension, pixels)[1])


def test_a_header_holds_what_the_file_says(make_dicom: MakeDicom) -> None:
    content = make_dicom(
        BitsStored=12,
        HighBit=11,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=[1802.31, 2020.5],
        WindowWidth=[1091.97, 800],
        VOILUTFunction="SIGMOID",
        PixelPaddingValue=3076,
        RescaleSlope="2",
        RescaleIntercept="-5",
        StudyInstanceUID="1.2.9",
        ImagerPixelSpacing=[0.065, 0.07],
        PixelSpacing=[0.1, 0.1],
    )
    header = read_header(content, name="1")
    assert (header.rows, header.columns, header.bits_allocated, header.bits_stored) == (96, 80, 16, 12)
    assert header.windows == ((1802.31, 1091.97), (2020.5, 800.0))
    assert (header.voi_function, header.padding, header.is_inverted) == ("SIGMOID", (3076, 3076), True)
    assert (header.rescale_slope, header.rescale_intercept) == (2.0, -5.0)
    assert (header.laterality, header.patient_id, header.study_uid) == (Laterality.LEFT, "P1", "1.2.9")
    assert header.spacing_mm == (0.065, 0.07)  # of the detector, before that of the picture
    assert header.transfer_syntax == uid.ExplicitVRLittleEndian


def test_what_a_file_does_not_say_is_none(make_dicom: MakeDicom) -> None:
    header = read_header(make_dicom(PatientID=None, ImageLaterality=None, HighBit=None), name="1")
    assert (header.patient_id, header.laterality, header.view, header.spacing_mm) == (None, None, None, None)
    assert (header.padding, header.presentation_lut_shape, header.study_uid) == (None, None, None)
    assert (header.windows, header.voi_function, header.modality) == ((), None, None)
    assert (header.rescale_slope, header.rescale_intercept) == (None, None)
    assert (header.slope, header.intercept, header.high_bit) == (1.0, 0.0, 15)


@pytest.mark.parametrize(
    "rescale",
    [{"RescaleSlope": "0"}, {"RescaleSlope": "1e300"}, {"RescaleIntercept": "-1e10"}],
)
def test_a_rescale_that_leaves_no_picture_is_refused(make_dicom: MakeDicom, rescale: dict[str, str]) -> None:
    with pytest.raises(ImageRefusedError, match=rf"a value that cannot be read in {next(iter(rescale))}"):
        read_header(make_dicom(**rescale), name="1")


@pytest.mark.parametrize("code", ["399368009", "R-10226"])  # SNOMED CT, SNOMED-RT
def test_the_code_of_a_view_comes_before_its_text(make_dicom: MakeDicom, code: str) -> None:
    content = make_dicom(ViewCodeSequence=[_view_code(code)], ViewPosition="CC")
    assert read_header(content, name="1").view is View.MLO


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "CC"}, View.CC),
        ({"ViewPosition": "CC", "ViewCodeSequence": [_view_code("unknown")]}, View.CC),
        ({"ViewPosition": "AP"}, None),
        ({}, None),
    ],
)
def test_without_a_known_code_the_text_says_the_view(
    make_dicom: MakeDicom, elements: dict[str, object], view: View | None
) -> None:
    assert read_header(make_dicom(**elements), name="1").view is view


@pytest.mark.parametrize(("text", "side"), [("R", Laterality.RIGHT), ("B", None), ("", None)])
def test_a_side_that_is_not_one_breast_is_none(make_dicom: MakeDicom, text: str, side: Laterality | None) -> None:
    assert read_header(make_dicom(ImageLaterality=text), name="1").laterality is side


@pytest.mark.parametrize(
    ("photometric", "shape", "is_inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", None, False),
    ],
)
def test_polarity_is_inverted_once_however_often_it_is_said(
    make_dicom: MakeDicom, photometric: str, shape: str | None, *, is_inverted: bool
) -> None:
    content = make_dicom(PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    assert read_header(content, name="1").is_inverted is is_inverted


@pytest.mark.parametrize(
    ("written", "limit", "expected"),
    [(0xFFFF, None, (-1, -1)), (0xFFF0, 5, (-16, 5)), (0xFFF0, -20, (-20, -16)), (0x8000, None, (-0x8000, -0x8000))],
)
def test_padding_written_without_its_sign_is_read_with_it(
    make_dicom: MakeDicom, written: int, limit: int | None, expected: tuple[int, int]
) -> None:
    pixels = np.arange(12, dtype=np.int16).reshape(3, 4)
    content = make_dicom(pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=limit)
    dataset = read_dataset(content, name="1", with_pixels=True)
    dataset["PixelPaddingValue"].VR = "US"
    dataset.PixelPaddingValue = written
    stream = io.BytesIO()
    dataset.save_as(stream)
    assert read_header(stream.getvalue(), name="1").padding == expected


@pytest.mark.parametrize("spacing", [[0.07, 0], [-1, 0.07], 0.07])
def test_a_spacing_that_cannot_be_is_none(make_dicom: MakeDicom, spacing: object) -> None:
    assert read_header(make_dicom(ImagerPixelSpacing=spacing), name="1").spacing_mm is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", [".png", ".pgm"])
def test_a_picture_counts_as_a_file_for_presentation(extension: str, dtype: type[np.uint8 | np.uint16]) -> None:
    header = read_header(_encode(extension, np.arange(20, dtype=dtype).reshape(4, 5)), name="1")
    assert (header.rows, header.columns, header.transfer_syntax) == (4, 5, None)
    assert header.bits_stored == np.dtype(dtype).itemsize * 8
    assert not header.is_inverted


@pytest.mark.parametrize(
    ("content", "code", "found"),
    [
        (b"hello, this is a text\n" * 20, "not_dicom", "found 440 bytes without the mark DICM"),
        (b"", "not_dicom", "found an empty file"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "header cannot be read"),
        (b"P5 4", "truncated", "header cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, code: str, found: str) -> None:
    with pytest.raises(ImageRefusedError, match=found) as caught:
        read_header(content, name="1")
    assert caught.value.code == code


def test_a_file_that_ends_inside_an_element_is_refused(make_dicom: MakeDicom) -> None:
    head = 128 + 4 + 12  # preamble, DICM, group length; the next element's own head has 12 bytes, of which 8 are left
    with pytest.raises(ImageRefusedError, match="an element that breaks off") as caught:
        read_header(make_dicom()[: head + 8], name="1")
    assert caught.value.code == "truncated"


def test_a_report_is_refused(make_dicom: MakeDicom) -> None:
    with pytest.raises(ImageRefusedError, match="1: found a DICOM object without pixel data") as caught:
        read_header(make_dicom(Rows=None, PixelData=None, SOPClassUID=uid.BasicTextSRStorage), name="1")
    assert caught.value.code == "no_pixel_data"


@pytest.mark.parametrize("kept", [{}, {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForPresentation}])
def test_an_image_without_its_size_was_cut_off(make_dicom: MakeDicom, kept: dict[str, object]) -> None:
    with pytest.raises(ImageRefusedError, match="1: found an image that breaks off before its size") as caught:
        read_header(make_dicom(Columns=None, PixelData=None, **kept), name="1")
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ({"BitsAllocated": None}, "nothing in BitsAllocated"),
        ({"Rows": [3, 4]}, "a value that cannot be read in Rows"),
        ({"BitsStored": [1, 2]}, "a value that cannot be read in BitsStored"),
    ],
)
def test_elements_that_break_the_standard_are_refused(
    make_dicom: MakeDicom, elements: dict[str, object], found: str
) -> None:
    with pytest.raises(ImageRefusedError, match=found) as caught:
        read_header(make_dicom(**elements), name="1")
    assert caught.value.code == "undecodable"


def test_an_element_of_unknown_kind_is_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom().replace(b"\x28\x00\x11\x00US", b"\x28\x00\x11\x00U?")
    with pytest.raises(ImageRefusedError, match="cannot be read in Columns") as caught:
        read_header(content, name="1")
    assert caught.value.code == "undecodable"


def test_a_file_that_does_not_name_its_encoding_is_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom().replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI")
    with pytest.raises(ImageRefusedError, match="nothing in TransferSyntaxUID") as caught:
        read_header(content, name="1")
    assert caught.value.code == "undecodable"


def test_a_sentence_holds_no_patient(make_dicom: MakeDicom) -> None:
    with pytest.raises(ImageRefusedError, match="17: found") as caught:
        read_header(make_dicom(PatientID="Secret", BitsAllocated=None), name="17")
    assert "Secret" not in caught.value.sentence


@pytest.mark.parametrize(
    ("keyword", "written", "field", "expected"),
    [
        ("NumberOfFrames", "3", "n_frames", 3),
        ("PresentationLUTShape", "inverse", "presentation_lut_shape", "INVERSE"),
        ("PixelIntensityRelationship", "LOG", "intensity_relationship", "LOG"),
        ("PixelIntensityRelationshipSign", -1, "intensity_sign", -1),
        ("EstimatedRadiographicMagnificationFactor", "1.05", "magnification", 1.05),
        ("FieldOfViewHorizontalFlip", "YES", "is_flipped_at_detector", True),
        ("PatientOrientation", ["A", "R"], "orientation", ("A", "R")),
        ("Laterality", "R", "series_laterality", Laterality.RIGHT),
        ("PartialView", "NO", "is_partial", False),
        ("BreastImplantPresent", "YES", "has_implant", True),
        ("BurnedInAnnotation", "NO", "has_burned_in_text", False),
        ("Modality", "mg", "modality", "MG"),
        ("SOPClassUID", "1.2.3.4", "sop_class", "1.2.3.4"),
        ("PresentationIntentType", "FOR PROCESSING", "presentation_intent", "FOR PROCESSING"),
        ("ImageType", ["ORIGINAL", "PRIMARY"], "image_type", ("ORIGINAL", "PRIMARY")),
        ("Manufacturer", "Acme ", "manufacturer", "Acme"),
        ("ManufacturerModelName", "M1", "model", "M1"),
        ("SoftwareVersions", "2.0", "software", ("2.0",)),
        ("SeriesInstanceUID", "1.2.8", "series_uid", "1.2.8"),
        ("SOPInstanceUID", "1.2.3", "image_uid", "1.2.3"),
        ("AcquisitionDate", "20230405", "acquisition_date", date(2023, 4, 5)),
        ("AcquisitionTime", "0915", "acquisition_time", time(9, 15)),
        ("PixelSpacing", ["0.1", "0.2"], "pixel_spacing_mm", (0.1, 0.2)),
        ("PatientAge", "061Y", "age_years", 61.0),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom's, as the file is made
def test_a_field_is_what_its_element_says(
    make_dicom: MakeDicom, keyword: str, written: object, field: str, expected: object
) -> None:
    assert getattr(read_header(make_dicom(**{keyword: written}), name="1"), field) == expected
    if keyword not in {"SOPClassUID", "NumberOfFrames"}:
        assert getattr(read_header(make_dicom(**{keyword: None}), name="1"), field) in {None, ()}


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "052W", "PatientBirthDate": "19400101", "StudyDate": "20000101"}, 52 * 7 / 365.25),
        ({"PatientBirthDate": "19400101", "StudyDate": "20000101"}, 60.0),
        ({"PatientBirthDate": "19400702", "StudyDate": "20000101"}, 59.5),
        ({"PatientAge": "unknown", "PatientBirthDate": "19400101", "StudyDate": "20000101"}, 60.0),
        ({"PatientBirthDate": "20000102", "StudyDate": "20000101"}, None),
        ({"PatientBirthDate": "18600101", "StudyDate": "20000101"}, None),
        ({"PatientBirthDate": "19400101"}, None),
        ({"StudyDate": "20000101"}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*VR AS")  # pydicom's, as the file is made
def test_the_age_is_the_one_given_or_follows_from_birth_and_study(
    make_dicom: MakeDicom, elements: dict[str, object], years: float | None
) -> None:
    assert read_header(make_dicom(**elements), name="1").age_years == pytest.approx(years)


@pytest.mark.parametrize(
    ("keyword", "written", "field"),
    [
        ("EstimatedRadiographicMagnificationFactor", "0", "magnification"),
        ("FieldOfViewHorizontalFlip", "MAYBE", "is_flipped_at_detector"),
        ("PartialView", "1", "is_partial"),
        ("BreastImplantPresent", "Y", "has_implant"),
        ("BurnedInAnnotation", ["YES", "NO"], "has_burned_in_text"),
        ("PixelSpacing", "0.1", "pixel_spacing_mm"),
        ("Modality", ["MG", "CT"], "modality"),
        ("ImageLaterality", ["L", "R"], "image_laterality"),
        ("ViewPosition", ["CC", "MLO"], "view"),
        ("VOILUTFunction", ["LINEAR", "SIGMOID"], "voi_function"),
        ("PresentationLUTShape", ["INVERSE", "IDENTITY"], "presentation_lut_shape"),
        ("AcquisitionDate", "202304", "acquisition_date"),
        ("AcquisitionTime", "9", "acquisition_time"),
        ("PixelPaddingValue", [1, 2], "padding"),
        ("PatientAge", "61", "age_years"),
        ("PatientAge", "131Y", "age_years"),
        ("PatientBirthDate", "1940", "age_years"),
        ("PixelIntensityRelationshipSign", [1, -1], "intensity_sign"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom's, as the file is made
def test_nonsense_that_the_picture_does_without_is_none_and_warned_of(
    make_dicom: MakeDicom, keyword: str, written: object, field: str
) -> None:
    header = read_header(make_dicom(**{keyword: written}), name="1")
    assert getattr(header, field) is None
    sentence = f"{keyword} holds a value that breaks the standard, taken as absent"
    assert header.warnings == (("unreadable_element", sentence),)


@pytest.mark.parametrize(
    "keyword",
    [
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "SamplesPerPixel",
        "PixelRepresentation",
        "RescaleSlope",
    ],
)
def test_two_values_that_the_picture_depends_on_are_refused(make_dicom: MakeDicom, keyword: str) -> None:
    with pytest.raises(ImageRefusedError, match=f"a value that cannot be read in {keyword}"):
        read_header(make_dicom(**{keyword: [1, 2]}), name="1")


@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth"])
def test_a_window_with_a_gap_is_warned_of_and_left_out(make_dicom: MakeDicom, keyword: str) -> None:
    window = {"WindowCenter": "5", "WindowWidth": "9"} | {keyword: ["1", ""]}
    header = read_header(make_dicom(**window), name="1")
    assert header.windows == ()
    assert [warning.code for warning in header.warnings] == ["unreadable_element", "window_conflict"]


def test_centers_without_widths_are_warned_of(make_dicom: MakeDicom) -> None:
    header = read_header(make_dicom(WindowCenter=["5", "6"], WindowWidth="9"), name="1")
    assert header.windows == ((5.0, 9.0),)
    assert header.warnings == (("window_conflict", "2 window centers and 1 widths, pairs are used"),)


def test_the_class_is_the_data_sets_or_else_the_meta_headers(make_dicom: MakeDicom) -> None:
    assert read_header(make_dicom(), name="1").sop_class == uid.DigitalMammographyXRayImageStorageForPresentation


def test_modifiers_stand_in_the_views_item_or_beside_it(make_dicom: MakeDicom) -> None:
    view = _view_code("399162004", "R-102D6", "nonsense")
    header = read_header(
        make_dicom(ViewCodeSequence=[view], ViewModifierCodeSequence=[_view_code("399055006")]), name="1"
    )
    assert header.view is View.CC
    assert header.modifiers == {ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION}


@pytest.mark.parametrize(("code", "is_specimen"), [("127457009", True), ("G-8310", True), ("399162004", False)])
def test_a_specimen_is_no_view(make_dicom: MakeDicom, code: str, *, is_specimen: bool) -> None:
    header = read_header(make_dicom(ViewCodeSequence=[_view_code(code)]), name="1")
    assert header.is_specimen is is_specimen
    assert (header.view is None) is is_specimen


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"SeriesDescription": "R MLO"}, View.MLO),
        ({"ProtocolName": "LCC"}, View.CC),
        ({"ViewPosition": "R CC", "SeriesDescription": "R MLO"}, View.CC),
        ({"ViewPosition": "CC", "SeriesDescription": "R MLO"}, View.CC),
        ({"SeriesDescription": "MLO and CC"}, None),
        ({"SeriesDescription": "Mammography Screening at site"}, None),
        ({"ViewCodeSequence": [_view_code("X-1", meaning="medio-lateral oblique")], "ProtocolName": "CC"}, View.MLO),
    ],
)
def test_free_text_names_the_view_last(make_dicom: MakeDicom, elements: dict[str, object], view: View | None) -> None:
    assert read_header(make_dicom(**elements), name="1").view is view


@pytest.mark.parametrize(
    ("orientation", "expected"), [(["A", "R"], True), (["P", "L"], False), (["PR", "F"], False), ("", None)]
)
def test_the_chest_wall_is_where_the_rows_come_from(
    make_dicom: MakeDicom, orientation: object, *, expected: bool | None
) -> None:
    assert read_header(make_dicom(PatientOrientation=orientation), name="1").is_wall_left is expected


@pytest.mark.parametrize(
    ("bits", "is_signed", "expected"), [(12, 0, (0, 4095)), (12, 1, (-2048, 2047)), (0, 1, (0, 0))]
)
def test_the_stored_bits_span_a_range(
    make_dicom: MakeDicom, bits: int, is_signed: int, expected: tuple[int, int]
) -> None:
    content = make_dicom(BitsStored=bits, PixelRepresentation=is_signed)
    assert read_header(content, name="1").stored_range == expected


@pytest.mark.parametrize("unknown", [b"UA", b"U\xd0", b"U0"])
def test_a_class_of_unknown_kind_does_not_keep_a_file_from_its_verdict(make_dicom: MakeDicom, unknown: bytes) -> None:
    whole = make_dicom(Rows=None, PixelData=None)
    content = whole.replace(b"\x02\x00\x02\x00UI", b"\x02\x00\x02\x00" + unknown)
    assert content != whole
    with pytest.raises(ImageRefusedError, match="1: found"):
        read_header(content, name="1")
