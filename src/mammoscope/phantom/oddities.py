"""Files that a folder of mammograms also holds: one of each kind, with the verdict that is due to it.

Each is a small phantom that was changed in one thing, or no DICOM file at all.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filewriter import dcmwrite

from mammoscope.anatomy import Laterality, View
from mammoscope.files import replacing
from mammoscope.imaging.verdict import Verdict
from mammoscope.phantom.dicom import Identity, encode_dicom, make_uid
from mammoscope.phantom.machine import MACHINES, Encoding
from mammoscope.phantom.sketch import draw_phantom

FOLDER: Final = "oddities"
TABLE_NAME: Final = "truth_verdicts.csv"

_SCALE: Final = 0.12
_PATIENT_ID: Final = "990001"  # beyond those of a cohort
_N_SLICES: Final = 5
_RAW_BITS: Final = 14
_PIXEL_GROUPS: Final = (0x0028, 0x7FE0)  # PS3.6: what describes pixels, and they themselves
_END_OF_STREAM: Final = b"\xff\xd9"  # EOC, ISO 15444-1 A.4.4


class Oddity(NamedTuple):
    """One file and what is due to it."""

    name: str
    verdict: Verdict
    what: str
    make: Callable[[int], bytes]  # from a seed


def write_oddities(out: Path, *, seed: int) -> int:
    """Write a file of each kind and the table of their verdicts; their number.

    Args:
        out: the cohort's folder.
        seed: the same seed gives the same bytes.
    """
    for number, oddity in enumerate(ODDITIES):
        with replacing(out / FOLDER / oddity.name) as beside:
            beside.write_bytes(oddity.make(seed + (number if oddity.verdict is not Verdict.DUPLICATE else 0)))
    rows = [(f"{FOLDER}/{oddity.name}", oddity.verdict.value, oddity.what) for oddity in ODDITIES]
    with replacing(out / TABLE_NAME) as beside:
        pl.DataFrame(rows, schema=["file", "verdict", "what"], orient="row").write_csv(beside)
    return len(ODDITIES)


def _plain(seed: int, *, encoding: Encoding = "explicit", view: View = View.MLO) -> bytes:
    """A mammogram that nothing is wrong with."""
    machine = MACHINES[0].scaled(_SCALE).encoded_as(encoding)
    phantom = draw_phantom(seed, machine, laterality=Laterality.LEFT, view=view)
    identity = Identity(_PATIENT_ID, f"{_PATIENT_ID}{seed}", 1, 60, Laterality.LEFT, view, seed)
    return encode_dicom(phantom.pixels, identity, machine)


def _changed(change: Callable[[Dataset], None], *, encoding: Encoding = "explicit") -> Callable[[int], bytes]:
    """Makes a mammogram with something changed in its elements."""

    def make(seed: int) -> bytes:
        dataset = dcmread(BytesIO(_plain(seed, encoding=encoding)))
        change(dataset)
        content = BytesIO()
        dcmwrite(content, dataset, enforce_file_format=True)
        return content.getvalue()

    return make


def _set(**values: object) -> Callable[[int], bytes]:
    """Makes a mammogram with other values of some elements; None removes one."""

    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID

    return _changed(change)


def _modified(code: str, meaning: str, **values: object) -> Callable[[int], bytes]:
    """Makes a mammogram of a view with a modifier of PS3.16 CID 4015."""

    def change(dataset: Dataset) -> None:
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = [_code(code, "SCT", meaning)]
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return _changed(change)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = value, scheme, meaning
    return concept


def _make_raw(dataset: Dataset) -> None:
    """What the detector measured: falls exponentially with tissue, and air is brightest (PS3.3 C.8.11.3.1.2, LIN)."""
    brightness = dataset.pixel_array.astype(np.float64) / (2**dataset.BitsStored - 1)
    raw = np.rint((2**_RAW_BITS - 1) * np.exp(-3 * brightness)).astype("<u2")
    dataset.PixelData = raw.tobytes()
    dataset.BitsStored, dataset.HighBit = _RAW_BITS, _RAW_BITS - 1
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
    dataset.PresentationIntentType = "FOR PROCESSING"
    dataset.SOPClassUID = uid.DigitalMammographyXRayImageStorageForProcessing
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"):
        del dataset[keyword]


def _make_slices(dataset: Dataset) -> None:
    dataset.SOPClassUID = uid.BreastTomosynthesisImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.NumberOfFrames = _N_SLICES
    dataset.ImageType = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]
    dataset.PixelData = dataset.PixelData * _N_SLICES


def _make_report(dataset: Dataset) -> None:
    """A structured report of the same study."""
    dataset.SOPClassUID = uid.BasicTextSRStorage
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.Modality = "SR"
    dataset.ValueType, dataset.CompletionFlag, dataset.VerificationFlag = "CONTAINER", "COMPLETE", "UNVERIFIED"
    for tag in [element.tag for element in dataset if element.tag.group in _PIXEL_GROUPS]:
        del dataset[tag]


def _make_colour(dataset: Dataset) -> None:
    grey = (dataset.pixel_array >> (dataset.BitsStored - 8)).astype(np.uint8)
    colour = np.stack([grey, grey, 255 - grey], axis=-1)  # (row, column, colour)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    content = colour.tobytes()
    dataset.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
    for keyword in ("PresentationLUTShape", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"):
        del dataset[keyword]


def _make_blank(dataset: Dataset) -> None:
    dataset.PixelData = np.full(dataset.Rows * dataset.Columns, 100, dtype="<u2").tobytes()


def _make_srt_view(dataset: Dataset) -> None:
    """The view in the codes before SNOMED CT (PS3.16 CID 4014 of 2017 and before)."""
    dataset.ViewCodeSequence = [_code("R-10226", "SRT", "medio-lateral oblique")]
    del dataset.ViewPosition, dataset.SeriesDescription


def _make_text_view(dataset: Dataset) -> None:
    del dataset.ViewPosition, dataset.ViewCodeSequence
    dataset.SeriesDescription = "L MLO screening"


def _restream(change: Callable[[bytes, Dataset], bytes]) -> Callable[[int], bytes]:
    """Makes a mammogram with another JPEG 2000 stream, in whole and valid fragments."""

    def replace_stream(dataset: Dataset) -> None:
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([change(stream, dataset)])
        dataset["PixelData"].is_undefined_length = True

    return _changed(replace_stream, encoding="jpeg2000")


def _garbage(_: bytes, dataset: Dataset) -> bytes:
    return np.random.default_rng(dataset.Rows).bytes(4000) + _END_OF_STREAM


def _of_syntax(transfer_syntax: str) -> Callable[[int], bytes]:
    def relabel(stream: bytes, dataset: Dataset) -> bytes:
        dataset.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
        return stream

    return _restream(relabel)


def _larger(rows: int, columns: int) -> Callable[[int], bytes]:
    def announce(stream: bytes, dataset: Dataset) -> bytes:
        dataset.Rows, dataset.Columns = rows, columns
        return stream

    return _restream(announce)


def _cut(share: float) -> Callable[[int], bytes]:
    def cut(seed: int) -> bytes:
        content = _plain(seed)
        return content[: int(share * len(content))]

    return cut


def _cut_in_header(seed: int) -> bytes:
    """Ends in the middle of a value, as a broken transfer does."""
    content = _plain(seed)
    return content[: content.index(b"Synthetic picture") + 9]


def _screenshot(seed: int) -> bytes:
    machine = MACHINES[0].scaled(_SCALE)
    grey = (draw_phantom(seed, machine).pixels >> (machine.bits_stored - 8)).astype(np.uint8)
    content = BytesIO()
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=-1)).save(content, format="PNG")
    return content.getvalue()


def _wrong_magic(seed: int) -> bytes:
    return _plain(seed).replace(b"DICM", b"DICN", 1)


_NO_VIEW: Final = {"ViewPosition": None, "ViewCodeSequence": None, "SeriesDescription": None}

ODDITIES: Final = (
    Oddity("ordinary.dcm", Verdict.OK, "nothing", _plain),
    Oddity("ordinary_copy.dcm", Verdict.DUPLICATE, "a copy of ordinary.dcm", _plain),
    Oddity("partial.dcm", Verdict.OK, "a partial view", _set(PartialView="YES")),
    Oddity(
        "implant_displaced.dcm",
        Verdict.OK,
        "an implant, displaced",
        _modified("399209000", "implant displaced", BreastImplantPresent="YES"),
    ),
    Oddity("rolled.dcm", Verdict.OK, "rolled laterally", _modified("399197002", "rolled lateral")),
    Oddity("cleavage.dcm", Verdict.OK, "a cleavage view", _modified("399161006", "cleavage")),
    Oddity("axillary_tail.dcm", Verdict.OK, "an axillary tail view", _modified("399011000", "axillary tail")),
    Oddity("tangential.dcm", Verdict.OK, "a tangential view", _modified("399110001", "tangential")),
    Oddity("srt_view.dcm", Verdict.OK, "the view in SRT codes alone", _changed(_make_srt_view)),
    Oddity("text_view.dcm", Verdict.OK, "the view in free text alone", _changed(_make_text_view)),
    Oddity("sides_contradict.dcm", Verdict.OK, "Laterality R beside Image Laterality L", _set(Laterality="R")),
    Oddity(
        "magnification.dcm",
        Verdict.LOCALIZER_OR_SPOT,
        "a magnification view",
        _modified("399163009", "magnification", EstimatedRadiographicMagnificationFactor="1.8"),
    ),
    Oddity(
        "spot.dcm", Verdict.LOCALIZER_OR_SPOT, "a spot compression view", _modified("399055006", "spot compression")
    ),
    Oddity(
        "specimen.dcm",
        Verdict.LOCALIZER_OR_SPOT,
        "a specimen",
        _set(ViewCodeSequence=[_code("127457009", "SCT", "tissue specimen from breast")]),
    ),
    Oddity("raw.dcm", Verdict.FOR_PROCESSING, "raw data, For Processing", _changed(_make_raw)),
    Oddity("tomosynthesis.dcm", Verdict.MULTI_FRAME, "tomosynthesis of five slices", _changed(_make_slices)),
    Oddity(
        "secondary_capture.dcm",
        Verdict.SECONDARY_CAPTURE,
        "secondary capture",
        _set(SOPClassUID=uid.SecondaryCaptureImageStorage, ConversionType="WSD"),
    ),
    Oddity(
        "ct.dcm", Verdict.NOT_MAMMOGRAPHY, "computed tomography", _set(SOPClassUID=uid.CTImageStorage, Modality="CT")
    ),
    Oddity(
        "chest.dcm",
        Verdict.NOT_MAMMOGRAPHY,
        "a chest in computed radiography",
        _set(SOPClassUID=uid.ComputedRadiographyImageStorage, Modality="CR", BodyPartExamined="CHEST"),
    ),
    Oddity("report.dcm", Verdict.NO_PIXEL_DATA, "a structured report", _changed(_make_report)),
    Oddity("no_side.dcm", Verdict.UNKNOWN_SIDE, "no side", _set(ImageLaterality=None, SeriesDescription=None)),
    Oddity("no_view.dcm", Verdict.UNKNOWN_VIEW, "no view", _set(**_NO_VIEW)),
    Oddity("colour.dcm", Verdict.COLOUR, "three channels", _changed(_make_colour)),
    Oddity("screenshot.png", Verdict.COLOUR, "a screenshot in colour", _screenshot),
    Oddity("cut_header.dcm", Verdict.TRUNCATED, "ends in its header", _cut_in_header),
    Oddity("cut_pixels.dcm", Verdict.TRUNCATED, "ends in its pixel data", _cut(0.6)),
    Oddity(
        "cut_stream.dcm",
        Verdict.TRUNCATED,
        "a JPEG 2000 stream that ends at its half",
        _restream(lambda stream, _: stream[: len(stream) // 2]),
    ),
    Oddity("text.dcm", Verdict.NOT_DICOM, "a text", lambda _: b"The pictures were sent by post.\n"),
    Oddity("empty.dcm", Verdict.NOT_DICOM, "an empty file", lambda _: b""),
    Oddity("wrong_magic.dcm", Verdict.NOT_DICOM, "DICN in place of DICM", _wrong_magic),
    Oddity("blank.dcm", Verdict.BLANK, "the same value in every pixel", _changed(_make_blank)),
    Oddity(
        "other_size.dcm", Verdict.SIZE_MISMATCH, "a stream of another size than Rows and Columns", _larger(640, 480)
    ),
    Oddity(
        "mpeg2.dcm", Verdict.UNSUPPORTED_CODEC, "the transfer syntax of MPEG-2", _of_syntax("1.2.840.10008.1.2.4.100")
    ),
    Oddity(
        "unknown_syntax.dcm",
        Verdict.UNSUPPORTED_CODEC,
        "a transfer syntax that nobody knows",
        _of_syntax(make_uid(0, "syntax")),
    ),
    Oddity("garbage.dcm", Verdict.UNDECODABLE, "random bytes in place of a JPEG 2000 stream", _restream(_garbage)),
    Oddity("huge.dcm", Verdict.TOO_LARGE, "60,000 Rows and 60,000 Columns", _larger(60_000, 60_000)),
)
