"""What kind of object a file is, and whether it belongs into a screening cohort, by its header alone."""

from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal, NamedTuple

from pydicom import uid
from pydicom.config import IGNORE

from mammoscope.anatomy import ViewModifier
from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.header import Header
from mammoscope.imaging.verdict import Verdict, refusal

_FOR_PRESENTATION: Final = {
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForPresentation,
}
_FOR_PROCESSING: Final = {
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.DigitalXRayImageStorageForProcessing,
    uid.BreastProjectionXRayImageStorageForProcessing,
}
_SECONDARY_CAPTURE: Final = {
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
}
# what mammograms are stored as: computed radiography and digitised film are written as CR and Secondary Capture
_OF_MAMMOGRAMS: Final = (
    _FOR_PRESENTATION
    | _FOR_PROCESSING
    | _SECONDARY_CAPTURE
    | {uid.BreastTomosynthesisImageStorage, uid.ComputedRadiographyImageStorage}
)
_MODALITY: Final = "MG"

# Contact views have 1.0 to 1.1 by their geometry; magnification views begin at 1.5 (EUREF guidelines, 4th edition).
_LEAST_MAGNIFICATION: Final = 1.3

_SPOT_MODIFIERS: Final = (ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION)

ClinicalVerdict = Literal[
    Verdict.NOT_MAMMOGRAPHY,
    Verdict.SECONDARY_CAPTURE,
    Verdict.FOR_PROCESSING,
    Verdict.LOCALIZER_OR_SPOT,
    Verdict.UNKNOWN_SIDE,
    Verdict.UNKNOWN_VIEW,
]
"""The verdicts by the header alone; a file that has one can be read all the same where a setting says so."""

SCREENING_EXCLUDES: Final[tuple[ClinicalVerdict, ...]] = (
    Verdict.NOT_MAMMOGRAPHY,
    Verdict.SECONDARY_CAPTURE,
    Verdict.FOR_PROCESSING,
    Verdict.LOCALIZER_OR_SPOT,
)
"""What a screening cohort leaves out; side and view can be said by a table."""


class _Finding(NamedTuple):
    found: str
    expected: str
    advice: str


def is_for_processing_class(sop_class: str | None) -> bool:
    """Whether the class of an object says that it is raw, For Processing."""
    return sop_class in _FOR_PROCESSING


def is_for_presentation_class(sop_class: str | None) -> bool:
    """Whether the class of an object says that it is For Presentation."""
    return sop_class in _FOR_PRESENTATION


def judge_kind(header: Header, *, name: str) -> Iterator[ImageRefusedError]:
    """The clinical reasons against a file, the gravest first, as errors to raise; none for a screening mammogram."""
    for verdict, check in _CHECKS.items():
        finding = check(header)
        if finding is not None:
            yield refusal(verdict, name, found=finding.found, expected=finding.expected, advice=finding.advice)


def refuse_kind(header: Header, excluded: Collection[Verdict], *, name: str) -> None:
    """Refuse what the settings exclude, by its header.

    Raises:
        ImageRefusedError: the gravest verdict that is excluded.
    """
    for error in judge_kind(header, name=name):
        if error.code in excluded:
            raise error


def _check_mammography(header: Header) -> _Finding | None:
    if header.modality not in {None, _MODALITY}:
        found = f"an object of modality {header.modality}" if _is_code(header.modality) else "an unknown modality"
    elif header.sop_class is not None and header.sop_class not in _OF_MAMMOGRAMS:
        sop_class = uid.UID(header.sop_class, validation_mode=IGNORE)
        found = f"an object of class {sop_class.name}" if sop_class.is_valid else "an object of an unknown class"
    else:
        return None
    return _Finding(found, "a mammogram, modality MG", "remove it from the cohort")


def _is_code(modality: str | None) -> bool:
    """Whether it looks like a defined term, such as CT: what is free text may hold anything, a name even."""
    return modality is not None and len(modality) <= 3 and modality.isalpha()  # noqa: PLR2004  # the longest are SEG, DOC …


def _check_secondary_capture(header: Header) -> _Finding | None:
    if header.sop_class not in _SECONDARY_CAPTURE:
        return None
    return _Finding(
        "a secondary capture",
        "the mammogram as the machine sent it",
        "accept secondary_capture if it is a digitised film, or fetch the original",
    )


def _check_for_processing(header: Header) -> _Finding | None:
    if header.presentation_intent != "FOR PROCESSING" and not is_for_processing_class(header.sop_class):
        return None
    return _Finding(
        "raw data, For Processing",
        "a picture For Presentation",
        "fetch the picture For Presentation of the same exposure",
    )


def _check_spot(header: Header) -> _Finding | None:
    words = [f"{modifier.replace('_', ' ')} view" for modifier in _SPOT_MODIFIERS if modifier in header.modifiers]
    if header.is_specimen:
        words.append("specimen")
    if not words and header.magnification is not None and header.magnification >= _LEAST_MAGNIFICATION:
        words.append(f"view magnified {header.magnification:g} times")
    if not words:
        return None
    return _Finding(f"a {' and '.join(words)}", "a view of the whole breast", "leave it out of screening")


def _check_side(header: Header) -> _Finding | None:
    if header.laterality is not None:
        return None
    return _Finding("a header without Image Laterality", "the side of the breast", "say it in a table")


def _check_view(header: Header) -> _Finding | None:
    if header.view is not None:
        return None
    return _Finding("a header without a view that is known", "a view of PS3.16 CID 4014", "say it in a table")


_CHECKS: Final[dict[Verdict, Callable[[Header], _Finding | None]]] = {
    Verdict.NOT_MAMMOGRAPHY: _check_mammography,
    Verdict.SECONDARY_CAPTURE: _check_secondary_capture,
    Verdict.FOR_PROCESSING: _check_for_processing,
    Verdict.LOCALIZER_OR_SPOT: _check_spot,
    Verdict.UNKNOWN_SIDE: _check_side,
    Verdict.UNKNOWN_VIEW: _check_view,
}
