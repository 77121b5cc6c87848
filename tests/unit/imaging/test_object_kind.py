"""What belongs into a screening cohort, by the header alone: each verdict, and its neighbours."""

import pytest
from pydicom import uid

from mammoscope.anatomy import Laterality, View, ViewModifier
from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.header import Header
from mammoscope.imaging.object_kind import (
    SCREENING_EXCLUDES,
    is_for_presentation_class,
    is_for_processing_class,
    judge_kind,
    refuse_kind,
)
from mammoscope.imaging.verdict import Verdict


def _header(**changes: object) -> Header:
    usual: dict[str, object] = {
        "rows": 4000,
        "columns": 3000,
        "transfer_syntax": uid.ExplicitVRLittleEndian,
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
        "modality": "MG",
        "sop_class": uid.DigitalMammographyXRayImageStorageForPresentation,
        "presentation_intent": "FOR PRESENTATION",
        "image_laterality": Laterality.LEFT,
        "view_code": View.CC,
        "magnification": 1.05,
    }
    return Header(**(usual | changes))  # type: ignore[arg-type]  # the fields of the cases below


def _codes(**changes: object) -> list[str]:
    return [error.code for error in judge_kind(_header(**changes), name="1")]


def test_a_screening_mammogram_has_no_verdict() -> None:
    assert _codes() == []
    refuse_kind(_header(), list(Verdict), name="1")


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"modality": "CT"}, ["not_mammography"]),
        ({"modality": "DX"}, ["not_mammography"]),
        ({"modality": None}, []),
        ({"sop_class": uid.CTImageStorage}, ["not_mammography"]),
        ({"sop_class": "1.2.3.4"}, ["not_mammography"]),
        ({"sop_class": None}, []),
        ({"sop_class": None, "modality": None}, []),
        ({"sop_class": uid.BreastTomosynthesisImageStorage, "n_frames": 60}, []),  # its frames are refused elsewhere
        ({"sop_class": uid.ComputedRadiographyImageStorage}, []),
        ({"sop_class": uid.SecondaryCaptureImageStorage}, ["secondary_capture"]),  # a digitised film
        ({"sop_class": uid.SecondaryCaptureImageStorage, "modality": "OT"}, ["not_mammography", "secondary_capture"]),
        ({"sop_class": uid.MultiFrameTrueColorSecondaryCaptureImageStorage}, ["secondary_capture"]),
        ({"presentation_intent": "FOR PROCESSING"}, ["for_processing"]),
        ({"presentation_intent": None}, []),
        ({"sop_class": uid.DigitalMammographyXRayImageStorageForProcessing}, ["for_processing"]),
        ({"sop_class": uid.BreastProjectionXRayImageStorageForProcessing}, ["for_processing"]),
        ({"magnification": 1.29}, []),
        ({"magnification": 1.3}, ["localizer_or_spot"]),
        ({"magnification": None}, []),
        ({"modifiers": frozenset({ViewModifier.MAGNIFICATION})}, ["localizer_or_spot"]),
        ({"modifiers": frozenset({ViewModifier.SPOT_COMPRESSION})}, ["localizer_or_spot"]),
        ({"modifiers": frozenset({ViewModifier.IMPLANT_DISPLACED, ViewModifier.ROLLED_LATERAL})}, []),
        ({"is_specimen": True, "view_code": None}, ["localizer_or_spot", "unknown_view"]),
        ({"image_laterality": None}, ["unknown_side"]),
        ({"image_laterality": None, "series_laterality": Laterality.RIGHT}, []),
        ({"view_code": None}, ["unknown_view"]),
        ({"view_code": None, "view_position": View.MLO}, []),
        ({"view_code": None, "view_text": View.MLO}, []),
    ],
)
def test_a_header_earns_its_verdicts(changes: dict[str, object], codes: list[str]) -> None:
    assert _codes(**changes) == codes


def test_a_competition_file_lacks_only_its_view() -> None:
    sop_class = uid.DigitalXRayImageStorageForPresentation  # by its meta header; the data set names none
    changes = {"modality": None, "presentation_intent": None, "sop_class": sop_class, "view_code": None}
    assert _codes(**changes) == ["unknown_view"]
    refuse_kind(_header(**changes), SCREENING_EXCLUDES, name="1")


def test_the_gravest_verdict_comes_first() -> None:
    everything = _codes(
        modality="US",
        sop_class=uid.SecondaryCaptureImageStorage,
        presentation_intent="FOR PROCESSING",
        is_specimen=True,
        image_laterality=None,
        view_code=None,
    )
    assert everything == [
        "not_mammography",
        "secondary_capture",
        "for_processing",
        "localizer_or_spot",
        "unknown_side",
        "unknown_view",
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modality": "CT"}, "1: found an object of modality CT, expected a mammogram, modality MG; remove it"),
        ({"sop_class": uid.CTImageStorage}, "found an object of class CT Image Storage, expected a mammogram"),
        ({"sop_class": uid.SecondaryCaptureImageStorage}, "found a secondary capture, .* digitised film"),
        ({"presentation_intent": "FOR PROCESSING"}, "found raw data, For Processing, .* fetch the picture"),
        ({"magnification": 1.8}, "found a view magnified 1.8 times, expected a view of the whole breast"),
        ({"is_specimen": True}, "found a specimen, expected a view of the whole breast"),
        (
            {"modifiers": frozenset({ViewModifier.SPOT_COMPRESSION, ViewModifier.MAGNIFICATION}), "magnification": 1.8},
            "found a magnification view and spot compression view, expected",
        ),
    ],
)
def test_an_excluded_kind_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ImageRefusedError, match=sentence):
        refuse_kind(_header(**changes), SCREENING_EXCLUDES, name="1")
    refuse_kind(_header(**changes), (), name="1")


def test_only_what_is_excluded_is_refused_and_the_gravest_of_it() -> None:
    header = _header(modality="CT", image_laterality=None, view_code=None)
    with pytest.raises(ImageRefusedError, match=r"header without Image Laterality, .* say it in a table") as caught:
        refuse_kind(header, [Verdict.UNKNOWN_VIEW, Verdict.UNKNOWN_SIDE], name="1")
    assert caught.value.code == "unknown_side"
    with pytest.raises(ImageRefusedError, match=r"without a view that is known, expected a view of PS3\.16 CID 4014"):
        refuse_kind(header, [Verdict.UNKNOWN_VIEW], name="1")


def test_a_class_is_for_presentation_or_for_processing_or_neither() -> None:
    raw = uid.DigitalMammographyXRayImageStorageForProcessing
    shown = uid.DigitalMammographyXRayImageStorageForPresentation
    assert (is_for_processing_class(raw), is_for_presentation_class(raw)) == (True, False)
    assert (is_for_processing_class(shown), is_for_presentation_class(shown)) == (False, True)
    for other in (None, uid.SecondaryCaptureImageStorage):
        assert not is_for_processing_class(other)
        assert not is_for_presentation_class(other)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"modality": "CT"}, "found an object of modality CT,"),
        ({"modality": "DOE^JANE"}, "found an unknown modality,"),
        ({"modality": "JANE"}, "found an unknown modality,"),
        ({"modality": "12"}, "found an unknown modality,"),
        ({"sop_class": uid.CTImageStorage}, "found an object of class CT Image Storage,"),
        ({"sop_class": "DOE^JANE"}, "found an object of an unknown class,"),
    ],
)
def test_a_sentence_quotes_terms_of_the_standard_only(changes: dict[str, object], found: str) -> None:
    with pytest.raises(ImageRefusedError, match=found) as caught:
        refuse_kind(_header(**changes), SCREENING_EXCLUDES, name="1")
    assert "DOE" not in caught.value.sentence
