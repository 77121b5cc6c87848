"""Each named warning of a header fires, and its neighbour does not."""

from dataclasses import fields

import pytest
from pydicom import uid

from mammoscope.anatomy import Laterality, View, ViewModifier
from mammoscope.imaging.contradictions import _CHECKS, WARNING_CODES, find_warnings
from mammoscope.imaging.elements import HeaderWarning
from mammoscope.imaging.header import Header

_RAW = uid.DigitalMammographyXRayImageStorageForProcessing
_SHOWN = uid.DigitalMammographyXRayImageStorageForPresentation
_DISPLACED = frozenset({ViewModifier.IMPLANT_DISPLACED})


def _header(**changes: object) -> Header:
    usual: dict[str, object] = {
        "rows": 1,
        "columns": 1,
        "transfer_syntax": None,
        "photometric": "MONOCHROME2",
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
    }
    return Header(**(usual | changes))  # type: ignore[arg-type]  # the fields of the cases below


FIRING: list[tuple[str, dict[str, object]]] = [
    ("side_conflict", {"image_laterality": Laterality.LEFT, "series_laterality": Laterality.RIGHT}),
    ("view_conflict", {"view_code": View.CC, "view_position": View.MLO}),
    ("polarity_conflict", {"presentation_lut_shape": "INVERSE"}),
    ("polarity_conflict", {"photometric": "MONOCHROME1", "presentation_lut_shape": "IDENTITY"}),
    ("polarity_conflict", {"presentation_lut_shape": "LIN OD"}),
    ("no_photometric", {"photometric": None}),
    ("bits_conflict", {"high_bit": 15}),
    ("bits_conflict", {"high_bit": 10}),
    ("window_out_of_range", {"windows": ((5.0, 0.5),)}),
    ("window_out_of_range", {"windows": ((5.0, 9.0), (5.0, -1.0))}),
    ("window_out_of_range", {"windows": ((5.0, 0.0),), "voi_function": "SIGMOID"}),
    ("window_out_of_range", {"windows": ((5.0, float("nan")),)}),
    ("window_out_of_range", {"windows": ((5.0, float("inf")),)}),
    ("window_out_of_range", {"windows": ((float("nan"), 9.0),)}),
    ("window_out_of_range", {"windows": ((-1e300, 9.0),)}),
    ("unknown_voi_function", {"voi_function": "CUBIC"}),
    ("spacing_conflict", {"imager_spacing_mm": (0.07, 0.07), "pixel_spacing_mm": (0.1, 0.1)}),
    ("spacing_conflict", {"imager_spacing_mm": (0.07, 0.07), "pixel_spacing_mm": (0.07, 0.1)}),
    ("spacing_conflict", {"imager_spacing_mm": (0.07, 0.07), "pixel_spacing_mm": (0.072, 0.072)}),
    ("intent_conflict", {"presentation_intent": "FOR PROCESSING", "sop_class": _SHOWN}),
    ("intent_conflict", {"presentation_intent": "FOR PRESENTATION", "sop_class": _RAW}),
    ("padding_out_of_range", {"padding": (0, 4096)}),
    ("padding_out_of_range", {"padding": (-1, 0)}),
    ("padding_out_of_range", {"padding": (2048, 2048), "is_signed": True}),
    ("padding_out_of_range", {"padding": (1, 1), "is_signed": True, "bits_stored": 0, "high_bit": -1}),
    ("implant_conflict", {"has_implant": False, "modifiers": _DISPLACED}),
]
SILENT: list[dict[str, object]] = [
    {},
    {"image_laterality": Laterality.LEFT, "series_laterality": Laterality.LEFT},
    {"image_laterality": Laterality.LEFT},
    {"view_code": View.CC, "view_position": View.CC},
    {"view_position": View.CC, "view_text": View.MLO},
    {"presentation_lut_shape": "IDENTITY"},
    {"photometric": "MONOCHROME1", "presentation_lut_shape": "INVERSE"},
    {"photometric": "RGB", "presentation_lut_shape": "INVERSE"},
    {"windows": ((5.0, 1.0),)},
    {"windows": ((5.0, 0.5),), "voi_function": "LINEAR_EXACT"},
    {"windows": ((5.0, 0.5),), "voi_function": "SIGMOID"},
    {"imager_spacing_mm": (0.07, 0.07), "pixel_spacing_mm": (0.071, 0.07)},
    {"imager_spacing_mm": (0.1, 0.1), "pixel_spacing_mm": (0.08, 0.08), "magnification": 1.25},
    {"imager_spacing_mm": (0.1, 0.1), "pixel_spacing_mm": (0.1, 0.1), "magnification": 1.25},
    {"pixel_spacing_mm": (0.1, 0.1)},
    {"presentation_intent": "FOR PROCESSING", "sop_class": _RAW},
    {"presentation_intent": "FOR PROCESSING"},
    {"padding": (0, 4095)},
    {"padding": (-2048, 2047), "is_signed": True},
    {"has_implant": None, "modifiers": _DISPLACED},
    {"has_implant": True, "modifiers": _DISPLACED},
    {"has_implant": False},
]


@pytest.mark.parametrize(("code", "changes"), FIRING)
def test_a_contradiction_is_named(code: str, changes: dict[str, object]) -> None:
    assert [warning.code for warning in find_warnings(_header(**changes))] == [code]


@pytest.mark.parametrize("changes", SILENT)
def test_what_agrees_is_not_warned_of(changes: dict[str, object]) -> None:
    assert find_warnings(_header(**changes)) == ()


def test_every_contradiction_has_a_case() -> None:
    assert {code for code, _ in FIRING} == set(_CHECKS)
    assert set(_CHECKS) < WARNING_CODES


def test_what_reading_noted_comes_first() -> None:
    noted = HeaderWarning("unreadable_lut", "a table")
    found = find_warnings(_header(warnings=(noted,), photometric=None))
    assert [warning.code for warning in found] == ["unreadable_lut", "no_photometric"]


@pytest.mark.parametrize(
    ("photometric", "shape", "sentence"),
    [
        ("MONOCHROME1", "IDENTITY", "MONOCHROME1 with a Presentation LUT Shape IDENTITY; the picture is inverted once"),
        ("MONOCHROME2", "INVERSE", "MONOCHROME2 with a Presentation LUT Shape INVERSE; the picture is inverted once"),
        (
            "MONOCHROME2",
            "LIN OD",
            "MONOCHROME2 with a Presentation LUT Shape that mammograms do not have; the picture is not inverted",
        ),
    ],
)
def test_the_sentence_says_what_is_done_about_polarity(photometric: str, shape: str, sentence: str) -> None:
    (warning,) = find_warnings(_header(photometric=photometric, presentation_lut_shape=shape))
    assert warning.sentence == sentence


def test_no_sentence_holds_free_text_of_the_file() -> None:
    texts = {field.name: "SECRET" for field in fields(Header) if field.type in {"str | None", str | None}}
    cases = [changes for _, changes in FIRING] + [{"photometric": "MONOCHROME2"}]
    for changes in cases:
        for warning in find_warnings(_header(**(texts | changes))):
            assert "SECRET" not in warning.sentence
