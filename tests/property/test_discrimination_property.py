"""What must hold for every list of scores."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mammoscope.evaluation.discrimination import (
    auc,
    average_precision,
    best_f1,
    partial_auc,
    probabilistic_f1,
    roc_curve,
)
from mammoscope.evaluation.scores import SCORES_SCHEMA, aggregate_to_breasts

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]


@st.composite
def scored(draw: st.DrawFn) -> tuple[Floats, Outcomes, Floats]:
    """Scores in [0, 1] with many ties, outcomes of both kinds, and whole weights with some of each kind above 0."""
    n = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 8))) / 8
    outcomes = draw(hnp.arrays(np.bool_, n))
    outcomes[:2] = [True, False]
    weights = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 4))).astype(np.float64)
    weights[:2] += 1
    return scores, outcomes, weights


@given(scored())
def test_auc_keeps_under_monotone_maps(sample: tuple[Floats, Outcomes, Floats]) -> None:
    scores, outcomes, weights = sample
    for metric in (auc, partial_auc):
        assert metric(np.exp(3 * scores) - 7, outcomes, weights) == metric(scores, outcomes, weights)


@given(scored())
def test_the_partial_auc_up_to_a_rate_of_1_is_the_auc(sample: tuple[Floats, Outcomes, Floats]) -> None:
    np.testing.assert_allclose(partial_auc(*sample, highest_rate=1), auc(*sample), atol=1e-12)


@given(scored())
def test_auc_turns_to_its_complement_when_labels_are_flipped(sample: tuple[Floats, Outcomes, Floats]) -> None:
    scores, outcomes, weights = sample
    np.testing.assert_allclose(auc(scores, outcomes, weights) + auc(scores, ~outcomes, weights), 1, atol=1e-12)


@given(scored())
def test_a_whole_weight_is_a_repetition(sample: tuple[Floats, Outcomes, Floats]) -> None:
    scores, outcomes, weights = sample
    times = weights.astype(np.intp)
    repeated = np.repeat(scores, times), np.repeat(outcomes, times)
    for metric in (auc, partial_auc, average_precision, probabilistic_f1):
        np.testing.assert_allclose(metric(scores, outcomes, weights), metric(*repeated), atol=1e-12)
    np.testing.assert_allclose(best_f1(scores, outcomes, weights).f1, best_f1(*repeated).f1, atol=1e-12)


@given(scored())
def test_the_area_under_the_curve_is_the_auc(sample: tuple[Floats, Outcomes, Floats]) -> None:
    curve = roc_curve(*sample)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    np.testing.assert_allclose(area, auc(*sample), atol=1e-12)


@given(scored())
def test_figures_stay_in_their_range(sample: tuple[Floats, Outcomes, Floats]) -> None:
    for metric in (auc, partial_auc, average_precision, probabilistic_f1):
        assert 0 <= metric(*sample) <= 1 + 1e-12


@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_says_nothing(sample: tuple[Floats, Outcomes, Floats], random: object) -> None:
    scores, outcomes, weights = sample
    order = np.arange(len(scores))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    for metric in (auc, average_precision, probabilistic_f1):
        shuffled = metric(scores[order], outcomes[order], weights[order])
        np.testing.assert_allclose(shuffled, metric(scores, outcomes, weights), atol=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("LR"), st.floats(0, 1)), min_size=1, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_the_score_of_a_breast_does_not_depend_on_the_order_of_its_images(
    images: list[tuple[int, str, float]], seed: int
) -> None:
    table = pl.DataFrame(
        [
            {"schema_version": 1, "level": "image", "patient_id": f"p{exam}", "exam_id": f"e{exam}", "n_images": 1}
            | {"laterality": side, "image_id": f"i{number}", "score": score, "cancer": side == "L"}
            for number, (exam, side, score) in enumerate(images)
        ],
        schema=SCORES_SCHEMA,
    )
    shuffled = table.sample(fraction=1, shuffle=True, seed=seed)
    assert aggregate_to_breasts(shuffled).equals(aggregate_to_breasts(table))
