"""Where a header contradicts itself: named warnings, none of which keeps the picture from being used."""

import math
from collections.abc import Callable

from mammoscope.anatomy import ViewModifier
from mammoscope.imaging.display import is_window_usable
from mammoscope.imaging.elements import HeaderWarning
from mammoscope.imaging.header import Header
from mammoscope.imaging.object_kind import is_for_presentation_class, is_for_processing_class

_SPACING_TOLERANCE = 0.02  # detector spacings are given with two or three digits


def find_warnings(header: Header) -> tuple[HeaderWarning, ...]:
    """All that is odd about a header: what its reading noted, and where two elements contradict each other."""
    found = [(code, check(header)) for code, check in _CHECKS.items()]
    return header.warnings + tuple(HeaderWarning(code, sentence) for code, sentence in found if sentence is not None)


def _check_side(header: Header) -> str | None:
    image, series = header.image_laterality, header.series_laterality
    if image is None or series is None or image is series:
        return None
    return f"Image Laterality says {image}, Laterality says {series}; the image's own is used"


def _check_view(header: Header) -> str | None:
    code, position = header.view_code, header.view_position
    if code is None or position is None or code is position:
        return None
    return f"View Code Sequence says {code}, View Position says {position}; the code is used"


def _check_polarity(header: Header) -> str | None:
    expected = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}.get(header.photometric or "")
    shape = header.presentation_lut_shape
    if expected is None or shape is None or shape == expected:
        return None
    known = shape if shape in {"IDENTITY", "INVERSE"} else "that mammograms do not have"  # no free text in a sentence
    outcome = "inverted once" if header.is_inverted else "not inverted"
    return f"{header.photometric} with a Presentation LUT Shape {known}; the picture is {outcome}"


def _check_photometric(header: Header) -> str | None:
    return "no Photometric Interpretation; MONOCHROME2 is assumed" if header.photometric is None else None


def _check_bits(header: Header) -> str | None:
    if header.high_bit == header.bits_stored - 1:
        return None
    return f"High Bit {header.high_bit} with {header.bits_stored} bits stored, expected {header.bits_stored - 1}"


def _check_windows(header: Header) -> str | None:
    for center, width in header.windows:
        if not is_window_usable(header.voi_function, center, width):
            return f"a window of center {center:g} and width {width:g}, which is passed over"
    return None


def _check_voi_function(header: Header) -> str | None:
    if header.voi_function in {None, "LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        return None
    return "a VOI LUT Function that the standard does not know; windows are passed over"


def _check_spacing(header: Header) -> str | None:
    """PS3.3 10.7.1.3: Pixel Spacing is that of the detector, or it is divided by the magnification."""
    imager, pixel = header.imager_spacing_mm, header.pixel_spacing_mm
    if imager is None or pixel is None:
        return None
    for factor in (1.0, header.magnification or 1.0):
        ends = zip(imager, pixel, strict=True)
        if all(math.isclose(ours / factor, theirs, rel_tol=_SPACING_TOLERANCE) for ours, theirs in ends):
            return None
    return (
        f"Imager Pixel Spacing {imager[0]:g} x {imager[1]:g} mm, Pixel Spacing {pixel[0]:g} x {pixel[1]:g} mm; "
        "the detector's is used"
    )


def _check_intent(header: Header) -> str | None:
    intent = header.presentation_intent
    is_contrary = (intent == "FOR PROCESSING" and is_for_presentation_class(header.sop_class)) or (
        intent == "FOR PRESENTATION" and is_for_processing_class(header.sop_class)
    )
    return f"Presentation Intent Type {intent} in an object of the other class" if is_contrary else None


def _check_padding(header: Header) -> str | None:
    if header.padding is None:
        return None
    low, high = header.stored_range
    if low <= header.padding[0] and header.padding[1] <= high:
        return None
    return f"pixel padding {header.padding[0]} to {header.padding[1]} outside of the stored range {low} to {high}"


def _check_implant(header: Header) -> str | None:
    if header.has_implant is not False or ViewModifier.IMPLANT_DISPLACED not in header.modifiers:
        return None
    return "an implant displaced view of a breast that is said to have none"


_CHECKS: dict[str, Callable[[Header], str | None]] = {
    "side_conflict": _check_side,
    "view_conflict": _check_view,
    "polarity_conflict": _check_polarity,
    "no_photometric": _check_photometric,
    "bits_conflict": _check_bits,
    "window_out_of_range": _check_windows,
    "unknown_voi_function": _check_voi_function,
    "spacing_conflict": _check_spacing,
    "intent_conflict": _check_intent,
    "padding_out_of_range": _check_padding,
    "implant_conflict": _check_implant,
}

WARNING_CODES = frozenset(_CHECKS) | {"unreadable_element", "unreadable_lut", "lut_bits_conflict", "window_conflict"}
"""All names that a warning of a header can have."""
