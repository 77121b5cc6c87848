"""Operating points: hand-worked counts."""

import numpy as np
import pytest

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.threshold import OperatingPoint, maximal_f1, measure_at

SCORES = np.array([0.9, 0.8, 0.7, 0.2])
OUTCOMES = np.array([True, False, True, False])


def test_a_score_at_the_threshold_is_positive() -> None:
    point = measure_at(0.8, SCORES, OUTCOMES, name="by hand", chosen_for="the test")
    counts = (point.true_positives, point.false_positives, point.false_negatives, point.true_negatives)
    assert counts == (1, 1, 1, 1)
    assert point.f1 == pytest.approx(0.5)


def test_the_maximal_f1_by_hand() -> None:
    # at 0.9: 2/3; at 0.8: 1/2; at 0.7: 4/5; at 0.2: 2/3
    point = maximal_f1(SCORES, OUTCOMES)
    assert point.threshold == 0.7
    assert point.f1 == pytest.approx(0.8)


def test_nothing_called_and_no_case_has_an_f1_of_zero() -> None:
    assert measure_at(1.0, np.array([0.1]), np.array([False]), name="none", chosen_for="the test").f1 == 0


def test_one_class_has_no_maximal_f1() -> None:
    with pytest.raises(UndefinedMetricError, match="undefined: no control"):
        maximal_f1(SCORES[:1], OUTCOMES[:1])


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_the_scores_is_refused(threshold: float) -> None:
    with pytest.raises(UserInputError, match=r"expected one in \[0, 1\]"):
        OperatingPoint("odd", "the test", threshold, 0, 0, 0, 0)
