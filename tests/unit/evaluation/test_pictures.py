"""The most telling calls: which they are, and what is shown of them."""

import hashlib
import io
from collections.abc import Callable, Collection

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from mammoscope.evaluation.pictures import CallKind, choose_calls, draw_pictures
from mammoscope.pages.page import encode_jpeg

MakeScores = Callable[..., pl.DataFrame]


class Shelf:
    """A store of a few grey pictures."""

    def __init__(self, *image_ids: str) -> None:
        self._image_ids = image_ids

    @property
    def image_ids(self) -> Collection[str]:
        return self._image_ids

    def read(self, image_id: str) -> NDArray[np.uint8]:
        return np.full((20, 10), 10 * len(image_id), dtype=np.uint8)


def breasts(make_scores: MakeScores, *scores_and_outcomes: tuple[float, bool | None]) -> pl.DataFrame:
    return make_scores(
        *(
            {"patient_id": f"p{n}", "exam_id": f"e{n}", "image_id": f"i{n}", "score": score, "cancer": cancer}
            for n, (score, cancer) in enumerate(scores_and_outcomes)
        )
    )


def test_the_ends_of_cases_and_controls_are_chosen(make_scores: MakeScores) -> None:
    cases = [(score, True) for score in (0.1, 0.9, 0.5, 0.7)]
    controls = [(score, False) for score in (0.2, 0.8, 0.4, 0.6)]
    calls = choose_calls(breasts(make_scores, *cases, *controls, (1.0, None)), n_each=1)
    assert [(call.kind, call.breast_score) for call in calls] == [
        (CallKind.EASY_CASE, 0.9),
        (CallKind.HARD_CASE, 0.1),
        (CallKind.HARD_CONTROL, 0.8),
        (CallKind.EASY_CONTROL, 0.2),
    ]


def test_of_few_breasts_none_is_chosen_twice(make_scores: MakeScores) -> None:
    calls = choose_calls(breasts(make_scores, (0.9, True), (0.3, True), (0.1, True)))
    assert [(call.kind, call.breast_score) for call in calls] == [
        (CallKind.EASY_CASE, 0.9),
        (CallKind.EASY_CASE, 0.3),
        (CallKind.HARD_CASE, 0.1),
    ]


def test_the_picture_of_a_breast_is_the_image_that_scored_highest(make_scores: MakeScores) -> None:
    scores = make_scores(
        {"image_id": "low", "score": 0.2},
        {"image_id": "high", "score": 0.6, "view": "MLO"},
    )
    (call,) = choose_calls(scores)
    assert (call.image_id, call.view, call.image_score) == ("high", "MLO", 0.6)
    assert call.breast_score == pytest.approx(0.4)


def test_the_alias_is_the_beginning_of_the_hash(make_scores: MakeScores) -> None:
    (call,) = choose_calls(breasts(make_scores, (0.5, True)))
    assert call.alias == hashlib.sha256(b"i0").hexdigest()[:8]


def test_only_what_the_store_holds_is_drawn(make_scores: MakeScores) -> None:
    calls = choose_calls(breasts(make_scores, (0.5, True), (0.4, False)))
    (picture,) = draw_pictures(calls, Shelf("i1"))
    assert picture.call.image_id == "i1"
    assert draw_pictures(calls, Shelf()) == ()


@pytest.mark.parametrize("pixels", [np.zeros((960, 480), dtype=np.uint8), np.zeros((960, 480), dtype=np.uint16)])
def test_a_picture_keeps_its_grey_values_and_its_shape(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    pixels[:480] = np.iinfo(pixels.dtype).max
    drawn = np.asarray(Image.open(io.BytesIO(encode_jpeg(pixels))))
    assert drawn.shape == (480, 240)
    assert drawn[:200].min() > 250
    assert drawn[280:].max() < 5


def test_a_small_picture_is_not_enlarged() -> None:
    assert Image.open(io.BytesIO(encode_jpeg(np.zeros((30, 20), dtype=np.uint8)))).size == (20, 30)


def test_a_call_knows_the_fold_that_was_held_out(make_scores: MakeScores) -> None:
    rows = ({"patient_id": f"p{n}", "exam_id": f"e{n}", "image_id": f"i{n}", "fold": n} for n in range(2))
    calls = choose_calls(make_scores(*rows))
    assert {call.image_id: call.fold for call in calls} == {"i0": 0, "i1": 1}


def test_a_painted_picture_stands_beside_the_plain_one_in_its_colours(make_scores: MakeScores) -> None:
    calls = choose_calls(breasts(make_scores, (0.5, True), (0.4, False)))
    colour = np.full((20, 10, 3), (200, 180, 30), dtype=np.uint8)
    first, second = draw_pictures(calls, Shelf("i0", "i1"), {"i0": colour})
    assert first.heat_jpeg is not None
    shown = Image.open(io.BytesIO(first.heat_jpeg))
    assert shown.size == (10, 20)
    np.testing.assert_allclose(np.asarray(shown)[10, 5], (200, 180, 30), atol=3)
    assert Image.open(io.BytesIO(first.jpeg)).mode == "L"
    assert second.heat_jpeg is None
