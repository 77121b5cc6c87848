"""Why a file cannot be used: stable reason codes, and the one way to say a refusal."""

from enum import StrEnum

from mammoscope.errors import ImageRefusedError


class Verdict(StrEnum):
    """What came of one file; the values stand in `rejected.parquet` and never change their meaning."""

    OK = "ok"
    UNREADABLE = "unreadable"
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    NO_PIXEL_DATA = "no_pixel_data"
    NOT_MAMMOGRAPHY = "not_mammography"
    FOR_PROCESSING = "for_processing"
    SECONDARY_CAPTURE = "secondary_capture"
    LOCALIZER_OR_SPOT = "localizer_or_spot"
    MULTI_FRAME = "multi_frame"
    COLOUR = "colour"
    TOO_LARGE = "too_large"
    UNSUPPORTED_CODEC = "unsupported_codec"
    UNDECODABLE = "undecodable"
    SIZE_MISMATCH = "size_mismatch"
    BLANK = "blank"
    UNKNOWN_SIDE = "unknown_side"
    UNKNOWN_VIEW = "unknown_view"
    UNKNOWN_PATIENT = "unknown_patient"
    UNKNOWN_EXAM = "unknown_exam"
    MIXED_PATIENTS = "mixed_patients"
    DUPLICATE = "duplicate"


def refusal(verdict: Verdict, name: str, *, found: str, expected: str, advice: str) -> ImageRefusedError:
    """The error for a file that cannot be used; its sentence names the image and nothing of the patient.

    Args:
        verdict: the reason.
        name: the image's id, or the stem of its file name.
        found: what the file holds, as in "3 samples per pixel".
        expected: what it should hold.
        advice: what the reader of the sentence can do.
    """
    return ImageRefusedError(verdict.value, f"{name}: found {found}, expected {expected}; {advice}")


def refuse_unreadable(name: str, error: OSError) -> ImageRefusedError:
    """The error for a file that is not there, or must not be read."""
    return refusal(
        Verdict.UNREADABLE,
        name,
        found=f"no readable file ({error.strerror})",
        expected="one that exists and may be read",
        advice="check its path and its rights",
    )
