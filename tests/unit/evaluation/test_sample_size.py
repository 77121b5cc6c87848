"""How many cases are needed: by simulation, by the closed form, by counting up, and what cannot be said."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from mammoscope.errors import UserInputError
from mammoscope.evaluation.delong import delong_auc
from mammoscope.evaluation.sample_size import (
    SampleSize,
    design_effect,
    hanley_mcneil_variance,
    logit_width,
    size_for_auc,
    size_for_hoped_auc,
    size_for_sensitivity,
    wilson_width,
)


def draw(rng: np.random.Generator, n_cases: int, n_controls: int, per_patient: int = 1) -> tuple[Any, Any, Any]:
    """Scores, outcomes and patients, each of `per_patient` breasts of one outcome that are alike."""
    outcomes = np.arange(n_cases + n_controls) < n_cases
    patients = np.arange(n_cases + n_controls) // per_patient
    shared = rng.normal(size=int(patients.max()) + 1)[patients]
    return 1.3 * outcomes + 0.8 * shared + 0.6 * rng.normal(size=len(outcomes)), outcomes, patients


def width_of(scores: Any, outcomes: Any, patients: Any) -> float:  # noqa: ANN401  # arrays
    found = delong_auc(scores, outcomes, patients)
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@pytest.mark.parametrize("per_patient", [1, 2])
def test_a_set_of_that_size_has_that_width(per_patient: int) -> None:
    rng = np.random.default_rng(10)
    scores, outcomes, patients = draw(rng, 200, 800, per_patient)
    found = size_for_auc(scores, outcomes, patients=patients, width=0.05, controls_per_case=3)
    assert found.width_now == pytest.approx(width_of(scores, outcomes, patients))
    assert found.n_cases is not None
    assert found.n_controls == pytest.approx(3 * found.n_cases, abs=1)
    n_cases = found.n_cases // 2 * 2
    widths = [width_of(*draw(rng, n_cases, 3 * n_cases, per_patient)) for _ in range(40)]
    # the pilot knows its variance to about a tenth
    assert np.mean(widths) == pytest.approx(0.05, rel=0.1)


def test_as_many_as_now_give_the_width_of_now() -> None:
    scores, outcomes, patients = draw(np.random.default_rng(1), 150, 450)
    now = width_of(scores, outcomes, patients)
    found = size_for_auc(scores, outcomes, patients=patients, width=now)
    assert found.n_cases in {150, 151}  # to the next whole one
    half = size_for_auc(scores, outcomes, patients=patients, width=now / 2)
    assert half.n_cases == pytest.approx(4 * 150, rel=0.03)  # not 4 times to the digit: the interval is in the logit


def test_the_closed_form_and_the_scores_agree_where_it_holds() -> None:
    """Hanley & McNeil's form is exact for exponential scores."""
    rng = np.random.default_rng(2)
    outcomes = np.arange(60_000) < 20_000
    scores = rng.exponential(np.where(outcomes, 4.0, 1.0))  # an AUC of 4 / 5
    by_scores = size_for_auc(scores, outcomes, patients=np.arange(60_000), width=0.08, controls_per_case=2)
    by_form = size_for_hoped_auc(0.8, width=0.08, controls_per_case=2)
    assert by_scores.value == pytest.approx(0.8, abs=0.005)
    assert by_scores.n_cases == pytest.approx(by_form.n_cases, rel=0.03)


def test_the_closed_form_by_hand() -> None:
    # Q1 = 0.8 / 1.2, Q2 = 1.28 / 1.8; (0.16 + 9 * 0.0266667 + 19 * 0.0711111) / 200
    assert hanley_mcneil_variance(0.8, 10, 20) == pytest.approx((0.16 + 9 * 0.02666667 + 19 * 0.07111111) / 200)


def test_the_smallest_number_is_found_as_by_counting_up() -> None:
    found = size_for_hoped_auc(0.9, width=0.1, controls_per_case=1.5)
    counted = next(n for n in range(2, 1000) if logit_width(0.9, hanley_mcneil_variance(0.9, n, 1.5 * n), 0.95) <= 0.1)
    assert found.n_cases == counted
    scores, outcomes = np.arange(20) / 20, np.ones(20, bool)
    size = size_for_sensitivity(scores, outcomes, patients=np.arange(20), threshold=0.2, width=0.1)
    intervals = (binomtest(round(0.8 * n), n).proportion_ci(method="wilson") for n in range(5, 1000, 5))
    widths = [interval.high - interval.low for interval in intervals]
    first = 5 * (1 + next(place for place, each in enumerate(widths) if each <= 0.1))
    assert size.n_cases is not None
    assert first - 5 < size.n_cases <= first


def test_cases_of_one_patient_count_for_less() -> None:
    scores = np.repeat([0.9, 0.9, 0.9, 0.1], 2)
    outcomes = np.ones(8, bool)
    apart = size_for_sensitivity(scores, outcomes, patients=np.arange(8), threshold=0.5, width=0.2)
    pairs = size_for_sensitivity(scores, outcomes, patients=np.arange(8) // 2, threshold=0.5, width=0.2)
    # sums off the share by patient: 0.5 three times and -1.5; 4 / 3 * (3 * 0.25 + 2.25) / 64 over 0.1875 / 7
    assert design_effect(scores >= 0.5, np.arange(8) // 2) == pytest.approx(4 / 3 * 3 / 64 / (0.1875 / 7))
    assert apart.n_cases is not None
    assert pairs.n_cases is not None
    assert pairs.n_cases > 2 * apart.n_cases
    assert design_effect(scores >= 0, np.arange(8)) == 1
    assert design_effect(scores >= 0.5, np.zeros(8, np.intp)) == 1


def test_women_to_be_screened() -> None:
    found = size_for_hoped_auc(0.9, width=0.05, controls_per_case=1, prevalence=0.005)
    assert found.n_cases is not None
    assert found.n_screened == 200 * found.n_cases


def test_what_has_no_variance_or_one_class_says_so() -> None:
    outcomes = np.array([True, True, False, False])
    perfect = size_for_auc(np.array([0.9, 0.8, 0.2, 0.1]), outcomes, patients=np.arange(4), width=0.1)
    assert (perfect.value, perfect.n_cases) == (1, None)
    assert perfect.reason is not None
    assert "no variance here" in perfect.reason
    one = size_for_auc(np.array([0.9, 0.8, 0.2, 0.1]), outcomes, patients=np.array([0, 0, 1, 2]), width=0.1)
    assert one.n_cases is None
    controls = np.zeros(4, bool)
    for size in (size_for_auc, size_for_sensitivity):
        more: dict[str, float] = {"threshold": 0.5} if size is size_for_sensitivity else {}
        found: SampleSize = size(np.arange(4.0), controls, patients=np.arange(4), width=0.1, **more)
        assert found.reason is not None
        assert found.reason.startswith("undefined: no case")
        assert json.dumps(found.to_json(), allow_nan=False)


def test_a_variance_that_is_rounding_is_none() -> None:
    """Patients whose case and control weigh each other out: a variance of about 1e-17, of which 2 cases would do."""
    rng, found = np.random.default_rng(1), []
    for _ in range(2000):
        n = int(rng.integers(2, 5))
        scores, outcomes = rng.integers(0, 3, 2 * n) / 2, np.tile([True, False], n)
        found.append(size_for_auc(scores, outcomes, patients=np.repeat(np.arange(n), 2), width=0.1))
    assert all(each.width_now is None or each.width_now > 1e-3 for each in found)


def test_what_cannot_be_wanted_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"width is 0, expected one between 0 and 1"):
        size_for_hoped_auc(0.9, width=0, controls_per_case=1)
    with pytest.raises(UserInputError, match=r"width is nan"):
        size_for_hoped_auc(0.9, width=float("nan"), controls_per_case=1)
    with pytest.raises(UserInputError, match=r"AUC is 1, expected one between 0 and 1"):
        size_for_hoped_auc(1, width=0.1, controls_per_case=1)
    with pytest.raises(UserInputError, match=r"found 0 controls per case, expected more than 0"):
        size_for_hoped_auc(0.9, width=0.1, controls_per_case=0)
    with pytest.raises(UserInputError, match=r"confidence: found 1, expected"):
        size_for_hoped_auc(0.9, width=0.1, controls_per_case=1, confidence=1)
    with pytest.raises(UserInputError, match=r"prevalence: found 2"):
        size_for_hoped_auc(0.9, width=0.1, controls_per_case=1, prevalence=2)
    with pytest.raises(UserInputError, match=r"found shapes \(2,\), \(1,\) and \(2,\), expected three alike"):
        size_for_sensitivity(np.ones(2), np.ones(1, bool), patients=np.arange(2), threshold=0.5, width=0.1)


def test_wilson_against_scipy() -> None:
    interval = binomtest(17, 20).proportion_ci(confidence_level=0.9, method="wilson")
    assert wilson_width(0.85, 20, 0.9) == pytest.approx(interval.high - interval.low)
