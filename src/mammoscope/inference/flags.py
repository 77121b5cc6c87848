"""What is to be known of a score beside it: codes for each image, and for the breasts and exams that they are of."""

from collections.abc import Mapping
from typing import Final

from mammoscope.anatomy import Laterality, View
from mammoscope.inference.collect import Prediction

Codes = frozenset[str]

BREAST_NOT_FOUND: Final = "breast_not_found"
"""Nothing like a breast was found for sure, so that the network saw the whole picture."""
UNLIKE: Final = "unlike_"
"""How the codes of the range check begin."""
UNKNOWN_VIEW: Final = "unknown_view"
FEWER_NETWORKS: Final = "fewer_networks"
"""There was no time for all networks of the run."""

_STANDARD_VIEWS: Final[Mapping[str, frozenset[View]]] = {
    "missing_cc": frozenset({View.CC, View.XCCL, View.XCCM, View.FB}),
    "missing_mlo": frozenset({View.MLO, View.ML, View.LM, View.LMO, View.SIO, View.ISO}),
}
"""The two directions of screening, and the views that show a breast from them or nearly so."""


def flag_images(prediction: Prediction, *, n_networks: int) -> list[Codes]:
    """The codes of each image, in their order: remarks, warnings of its preparation, and what it lacks."""
    columns = prediction.pictures.select("remarks", "warnings", "doubt", "view").iter_rows()
    return [
        frozenset(remarks or ())
        | frozenset((warnings or "").split())
        | ({BREAST_NOT_FOUND} if doubt else frozenset())
        | (frozenset() if view else {UNKNOWN_VIEW})
        | ({FEWER_NETWORKS} if n_seen < n_networks else frozenset())
        for (remarks, warnings, doubt, view), n_seen in zip(columns, prediction.n_networks, strict=True)
    ]


def count_unlike(prediction: Prediction) -> int:
    """How many images are unlike those of training in any way."""
    remarks = prediction.pictures["remarks"].to_list()
    return sum(any(code.startswith(UNLIKE) for code in each or ()) for each in remarks)


def flag_breasts(prediction: Prediction, image_codes: list[Codes]) -> list[Codes]:
    """The codes of each breast: those of its images, and the direction from which none shows it.

    Where the view of one is not known, none is said to be missing.
    """
    codes_by_breast: dict[tuple[str, str], Codes] = {}
    views_by_breast: dict[tuple[str, str], set[str | None]] = {}
    images = prediction.image_scores.select("exam_id", "laterality", "view").iter_rows()
    for (exam_id, side, view), codes in zip(images, image_codes, strict=True):
        codes_by_breast[exam_id, side] = codes_by_breast.get((exam_id, side), frozenset()) | codes
        views_by_breast.setdefault((exam_id, side), set()).add(view)
    return [
        codes_by_breast[breast] | _list_missing(views_by_breast[breast])
        for breast in prediction.breast_scores.select("exam_id", "laterality").iter_rows()
    ]


def _list_missing(views: set[str | None]) -> Codes:
    if None in views:
        return frozenset()
    return frozenset(
        code for code, standard in _STANDARD_VIEWS.items() if not views & {view.value for view in standard}
    )


def flag_exams(prediction: Prediction, breast_codes: list[Codes]) -> list[Codes]:
    """The codes of each exam: those of its breasts, and the side of which there is no image."""
    codes_by_exam: dict[str, Codes] = {}
    sides_by_exam: dict[str, set[str]] = {}
    breasts = prediction.breast_scores.select("exam_id", "laterality").iter_rows()
    for (exam_id, side), codes in zip(breasts, breast_codes, strict=True):
        codes_by_exam[exam_id] = codes_by_exam.get(exam_id, frozenset()) | codes
        sides_by_exam.setdefault(exam_id, set()).add(side)
    names = {Laterality.LEFT.value: "missing_left", Laterality.RIGHT.value: "missing_right"}
    return [
        codes_by_exam[exam_id] | {name for side, name in names.items() if side not in sides_by_exam[exam_id]}
        for exam_id in prediction.exam_scores["exam_id"]
    ]
