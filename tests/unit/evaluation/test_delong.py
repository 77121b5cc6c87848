"""DeLong's interval: by hand, where it has none, and what is refused."""

import numpy as np
import pytest
from scipy.stats import norm

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.delong import compare_delong, delong_auc, delong_covariance

# cases 0.9, 0.4; controls 0.6, 0.4, 0.1
SCORES = np.array([0.9, 0.4, 0.6, 0.4, 0.1])
OUTCOMES = np.array([True, True, False, False, False])


def test_area_and_error_by_hand() -> None:
    # cases beat 3 and 1.5 of 3 controls; of 2 cases, 1, 1.5 and 2 are above the controls
    of_cases, of_controls = np.array([1, 0.5]), np.array([0.5, 0.75, 1])
    found = delong_auc(SCORES, OUTCOMES)
    assert found.value == pytest.approx(0.75)
    assert found.standard_error == pytest.approx(np.sqrt(of_cases.var(ddof=1) / 2 + of_controls.var(ddof=1) / 3))


def test_the_interval_is_even_in_the_logit() -> None:
    found = delong_auc(SCORES, OUTCOMES, confidence=0.5)
    assert found.low is not None
    assert found.high is not None
    odds = found.low / (1 - found.low), 3, found.high / (1 - found.high)  # of 0.75
    reach = norm.ppf(0.75) * (found.standard_error or 0) / (0.75 * 0.25)
    assert np.diff(np.log(odds)) == pytest.approx([reach, reach])


def test_an_interval_keeps_within_0_and_1() -> None:
    found = delong_auc(np.array([0.9, 0.8, 0.2, 0.1, 0.3, 0.25]), np.array([True, True, True, False, False, False]))
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < (found.value or 0) < found.high < 1


def test_a_copy_of_each_image_within_its_patient_adds_nothing() -> None:
    once = delong_auc(SCORES, OUTCOMES)
    numbers = np.tile(np.arange(5), 2)
    twice = delong_auc(np.tile(SCORES, 2), np.tile(OUTCOMES, 2), numbers)
    assert (twice.value, twice.standard_error) == pytest.approx((once.value, once.standard_error))
    as_if_independent = delong_auc(np.tile(SCORES, 2), np.tile(OUTCOMES, 2))
    assert (as_if_independent.standard_error or 1) < 0.75 * (once.standard_error or 0)


def test_the_numbers_of_patients_may_have_gaps() -> None:
    patients = np.array([0, 1, 1, 2, 3])
    assert delong_auc(SCORES, OUTCOMES, patients) == delong_auc(SCORES, OUTCOMES, 5 * patients + 2)


def test_the_other_way_round_a_difference_is_the_opposite() -> None:
    other = np.array([0.8, 0.7, 0.2, 0.7, 0.3])
    one_way, back = compare_delong(SCORES, other, OUTCOMES), compare_delong(other, SCORES, OUTCOMES)
    assert one_way.first == back.second
    assert one_way.difference.value == -(back.difference.value or 0)
    assert one_way.difference.low == pytest.approx(-(back.difference.high or 0))
    assert one_way.p_value == pytest.approx(back.p_value)


def test_what_both_scores_share_is_no_part_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    outcomes, noise = np.arange(300) % 5 == 0, rng.normal(size=300)
    compared = compare_delong(outcomes + noise, 1.3 * outcomes + noise + 0.3 * rng.normal(size=300), outcomes)
    apart = np.hypot(compared.first.standard_error or 0, compared.second.standard_error or 0)
    assert (compared.difference.standard_error or 1) < 0.6 * apart


def test_a_score_and_a_monotone_map_of_it_do_not_differ() -> None:
    compared = compare_delong(SCORES, np.exp(SCORES), OUTCOMES)
    assert compared.difference.value == 0
    assert compared.difference.standard_error is None
    assert compared.difference.reason == (
        "no interval: both scores put the images into one order, as far as cases and controls go"
    )
    assert (compared.z, compared.p_value) == (None, None)


@pytest.mark.parametrize("scores", [OUTCOMES * 0.5, np.full(5, 0.5)])
def test_without_scatter_there_is_no_interval(scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    found = delong_auc(scores, OUTCOMES)
    assert found.value == (1 if scores[0] > scores[-1] else 0.5)
    assert (found.standard_error, found.low, found.high) == (None, None, None)
    assert found.reason == (
        "no interval: all cases lie alike to the controls, as when none is out of order or all scores are equal"
    )


@pytest.mark.parametrize(
    ("patients", "reason"),
    [
        ([0, 0, 1, 2, 3], "no interval: 1 patient with cases, needs 2"),
        ([0, 1, 2, 2, 2], "no interval: 1 patient with controls, needs 2"),
    ],
)
def test_one_patient_does_not_scatter(patients: list[int], reason: str) -> None:
    found = delong_auc(SCORES, OUTCOMES, np.array(patients))
    assert (found.value, found.low, found.reason) == (0.75, None, reason)
    compared = compare_delong(SCORES, SCORES[::-1], OUTCOMES, np.array(patients))
    assert compared.difference.value is not None
    assert compared.difference.reason == compared.first.reason == reason


@pytest.mark.parametrize(("of", "missing"), [(True, "control"), (False, "case")])
def test_one_class_only_is_undefined_and_never_a_half(of: bool, missing: str) -> None:
    reason = f"undefined: no {missing} among 5 with a known outcome, needs cases and controls"
    outcomes = np.full(5, of)
    found, compared = delong_auc(SCORES, outcomes), compare_delong(SCORES, SCORES, outcomes)
    for each in (found, compared.first, compared.second, compared.difference):
        assert (each.value, each.reason) == (None, reason)
    assert compared.p_value is None
    with pytest.raises(UndefinedMetricError, match=reason):
        delong_covariance(SCORES[np.newaxis], outcomes)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(score: float) -> None:
    with pytest.raises(UserInputError, match="found a score that is NaN or infinite, expected finite numbers"):
        delong_auc(np.where(SCORES == 0.9, score, SCORES), OUTCOMES)


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserInputError, match=r"found shapes \(1, 4\), \(5,\) and \(5,\), expected"):
        delong_auc(SCORES[:4], OUTCOMES)
    with pytest.raises(UserInputError, match=r"found shapes \(1, 5\), \(5,\) and \(3,\), expected"):
        delong_auc(SCORES, OUTCOMES, np.arange(3))
    with pytest.raises(UserInputError, match="found 5 and 4 scores, expected two of each image"):
        compare_delong(SCORES, SCORES[:4], OUTCOMES)


@pytest.mark.parametrize("confidence", [0, 1, -1, np.nan])
def test_a_confidence_is_between_0_and_1(confidence: float) -> None:
    with pytest.raises(UserInputError, match=r"confidence: found .*, expected a number between 0 and 1"):
        delong_auc(SCORES, OUTCOMES, confidence=confidence)
