"""Discrimination: hand-worked values, and what is refused."""

import numpy as np
import pytest

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.discrimination import (
    auc,
    average_precision,
    best_f1,
    partial_auc,
    probabilistic_f1,
    rank,
    roc_curve,
    why_undefined,
)

METRICS = [auc, partial_auc, average_precision, probabilistic_f1, best_f1, roc_curve]
# cases 0.9, 0.4; controls 0.6, 0.4, 0.1
SCORES = np.array([0.9, 0.4, 0.6, 0.4, 0.1])
OUTCOMES = np.array([True, True, False, False, False])


def test_auc_by_hand_counts_a_tie_as_half() -> None:
    # 0.9 beats three controls, 0.4 beats one and ties with one: 4.5 of 6 pairs
    assert auc(SCORES, OUTCOMES) == pytest.approx(4.5 / 6)


def test_average_precision_by_hand() -> None:
    # at 0.9 the precision is 1 of 1, at 0.4 it is 2 of 4
    assert average_precision(SCORES, OUTCOMES) == pytest.approx((1 + 0.5) / 2)


def test_probabilistic_f1_by_hand() -> None:
    # pTP 1.3, pFP 1.1, two cases: precision 1.3/2.4, recall 0.65
    precision, recall = 1.3 / 2.4, 0.65
    assert probabilistic_f1(SCORES, OUTCOMES) == pytest.approx(2 * precision * recall / (precision + recall))


def test_calling_everything_positive_gives_the_known_pf1_of_the_competition() -> None:
    # 492 cases in 23,826 breasts; the design says 0.041 for this
    outcomes = np.arange(23826) < 492
    assert probabilistic_f1(np.ones(23826), outcomes) == pytest.approx(0.041, abs=0.0006)


def test_scores_of_zero_have_a_pf1_of_zero() -> None:
    assert probabilistic_f1(np.zeros(3), np.array([True, False, False])) == 0


def test_best_f1_by_hand_takes_the_strictest_of_equal_thresholds() -> None:
    # 0.9: 2/3; 0.6: 2/4; 0.4: 4/6; 0.1: 4/7. Equal at 0.9 and at 0.4
    best = best_f1(SCORES, OUTCOMES)
    assert best.f1 == pytest.approx(2 / 3)
    assert best.threshold == 0.9


def test_roc_curve_by_hand() -> None:
    curve = roc_curve(SCORES, OUTCOMES)
    np.testing.assert_array_equal(curve.threshold, [np.inf, 0.9, 0.6, 0.4, 0.1])
    np.testing.assert_allclose(curve.true_positive_rate, [0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(curve.false_positive_rate, [0, 0, 1 / 3, 2 / 3, 1])


def test_the_curve_at_given_rates_goes_through_the_corners() -> None:
    rates = np.array([0, 1 / 3, 0.5, 2 / 3, 1])
    sensitivity = rank(SCORES, OUTCOMES).true_positive_rate_at(np.ones((1, 5)), rates)
    # from (1/3, 1/2) to (2/3, 1) the tie at 0.4 makes a slope
    np.testing.assert_allclose(sensitivity, [[0.5, 0.5, 0.75, 1, 1]])


def test_average_precision_is_an_area_of_steps_not_of_trapezoids() -> None:
    # precision 1 at recall 1/2, then 2/4 at recall 1; between them the trapezoid would have (1 + 1/2) / 2 * 1/2
    trapezoid = 1 / 2 + (1 + 1 / 2) / 2 / 2
    assert average_precision(SCORES, OUTCOMES) == pytest.approx(3 / 4)
    assert average_precision(SCORES, OUTCOMES) != pytest.approx(trapezoid)


def test_partial_auc_by_hand() -> None:
    # up to a rate of 1/2 the curve is at 1/2 till 1/3, then rises to 3/4: 1/6 + 1/6 * 5/8; chance has 1/8, perfect 1/2
    area = 1 / 6 + 1 / 6 * 5 / 8
    expected = (1 + (area - 1 / 8) / (1 / 2 - 1 / 8)) / 2
    assert partial_auc(SCORES, OUTCOMES, highest_rate=1 / 2) == pytest.approx(expected)


def test_partial_auc_of_chance_is_a_half_and_of_perfect_scores_1() -> None:
    assert partial_auc(np.full(5, 0.3), OUTCOMES) == pytest.approx(1 / 2)
    assert partial_auc(OUTCOMES * 0.5, OUTCOMES) == 1
    # controls above all cases: nothing is found up to any rate, which is worse than chance
    assert partial_auc(~OUTCOMES * 0.5, OUTCOMES) == pytest.approx((1 - 0.005 / 0.095) / 2)


@pytest.mark.parametrize("rate", [0, -0.1, 1.1, np.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UserInputError, match=r"partial AUC: highest rate is .*, expected one above 0 and up to 1"):
        partial_auc(SCORES, OUTCOMES, highest_rate=rate)


def test_weights_of_others_are_passed_over() -> None:
    # a group of a sample whose patients are numbers 1 and 3 of five
    ranking = rank(np.array([0.9, 0.2, 0.5]), np.array([True, True, False]), np.array([1, 1, 3]))
    np.testing.assert_array_equal(ranking.auc(np.array([[7.0, 1, 7, 1, 7], [7.0, 1, 7, 0, 7]])), [1 / 2, np.nan])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        ([True, True], "undefined: no control among 2 with a known outcome"),
        ([False, False], "undefined: no case among 2 with a known outcome"),
        ([], "undefined: no score with a known outcome"),
    ],
)
def test_one_class_only_is_undefined_and_never_a_half(metric: object, outcomes: list[bool], sentence: str) -> None:
    assert callable(metric)
    with pytest.raises(UndefinedMetricError, match=sentence):
        metric(np.full(len(outcomes), 0.5), np.array(outcomes, dtype=np.bool_))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weights", [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0]])
def test_a_class_without_weight_is_undefined(metric: object, weights: list[float]) -> None:
    assert callable(metric)
    with pytest.raises(UndefinedMetricError, match="have no weight"):
        metric(SCORES, OUTCOMES, np.array(weights))


@pytest.mark.parametrize("score", [np.nan, np.inf])
@pytest.mark.parametrize("metric", [auc, partial_auc, average_precision, best_f1, roc_curve])
def test_scores_that_are_not_finite_are_refused(metric: object, score: float) -> None:
    assert callable(metric)
    with pytest.raises(UserInputError, match="found NaN or infinity"):
        metric(np.array([score, 0.5]), np.array([True, False]))


@pytest.mark.parametrize("score", [-0.1, 1.1, np.nan])
def test_pf1_refuses_what_is_no_probability(score: float) -> None:
    with pytest.raises(UserInputError, match=r"^pF1: found a score outside \[0, 1\], expected probabilities; apply a"):
        probabilistic_f1(np.array([score, 0.5]), np.array([True, False]))


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(UserInputError, match="expected two equal lists"):
        auc(np.array([0.1, 0.2]), np.array([True]))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf]])
def test_weights_are_finite_and_not_negative(weights: list[float]) -> None:
    with pytest.raises(UserInputError, match="weights: expected 2 finite numbers"):
        auc(np.array([0.1, 0.2]), np.array([True, False]), np.array(weights))


def test_both_classes_are_defined() -> None:
    assert why_undefined(OUTCOMES) is None
