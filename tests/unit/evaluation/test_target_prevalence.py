"""Weighing to a prevalence: hand-worked weights, intervals that know it, reasons and refusals."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.discrimination import average_precision, probabilistic_f1
from mammoscope.evaluation.prevalence import (
    check_prevalence,
    class_weights,
    measure_at_prevalence,
    weigh_to_prevalence,
)

FEW = BootstrapSettings(n_replicates=200)
OUTCOMES = np.array([True, False, False, False])
SCORES = np.array([0.5, 0.6, 0.4, 0.1])


def enriched(seed: int, n: int = 400) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Two breasts of each patient, a quarter of them with a case."""
    rng = np.random.default_rng(seed)
    outcomes = np.arange(n) % 8 == 0
    return rng.beta(1 + 2 * outcomes, 4), outcomes, np.arange(n) // 2


def test_weights_by_hand() -> None:
    # a quarter are cases: to be a tenth, each counts 0.4, and each control 1.2
    np.testing.assert_allclose(weigh_to_prevalence(OUTCOMES, 0.1), [0.4, 1.2, 1.2, 1.2])
    np.testing.assert_array_equal(weigh_to_prevalence(OUTCOMES, 0.25), np.ones(4))


def test_each_replicate_has_the_prevalence() -> None:
    n_cases, n_controls = np.array([1.0, 3.0, 0.0, 4.0]), np.array([3.0, 1.0, 4.0, 0.0])
    weights = class_weights(n_cases, n_controls, 0.1)
    np.testing.assert_allclose((weights.case * n_cases)[:2], 0.4)
    np.testing.assert_allclose((weights.control * n_controls)[:2], 3.6)
    assert np.isnan(weights.case[2:]).all()
    assert np.isnan(weights.control[2:]).all()
    assert all((weight == 1).all() for weight in class_weights(n_cases, n_controls, None))


def test_figures_are_those_of_the_weighted_sample() -> None:
    scores, outcomes, patients = enriched(0)
    found = measure_at_prevalence(scores, outcomes, patients=patients, prevalence=0.01, settings=FEW)
    weights = weigh_to_prevalence(outcomes, 0.01)
    assert found.average_precision.value == pytest.approx(average_precision(scores, outcomes, weights))
    assert found.pf1.value == pytest.approx(probabilistic_f1(scores, outcomes, weights))
    assert (found.prevalence, found.share_of_cases) == (0.01, 0.125)
    for estimate in (found.average_precision, found.pf1):
        assert estimate.value is not None
        assert estimate.interval is not None
        assert estimate.interval.low < estimate.value < estimate.interval.high


def test_the_interval_takes_the_prevalence_to_be_known() -> None:
    """Scores that know nothing have the prevalence as average precision: without doubt where it is given."""
    n = 3000
    outcomes = np.random.default_rng(1).random(n) < 0.3
    found = measure_at_prevalence(
        np.full(n, 0.5), outcomes, patients=np.arange(n), prevalence=0.01, settings=FEW
    ).average_precision
    assert found.value == pytest.approx(0.01)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.01, 0.01))


def test_a_patient_is_drawn_with_both_of_her_breasts() -> None:
    """Were the breasts drawn by themselves, two copies of every patient would narrow the interval."""
    scores, outcomes, patients = enriched(2)
    once = measure_at_prevalence(scores, outcomes, patients=patients, prevalence=0.02, settings=FEW)
    twice = measure_at_prevalence(
        np.tile(scores, 2), np.tile(outcomes, 2), patients=np.tile(patients, 2), prevalence=0.02, settings=FEW
    )
    assert once.average_precision.interval is not None
    assert twice.average_precision.interval is not None
    assert twice.average_precision.interval.low == pytest.approx(once.average_precision.interval.low)
    assert twice.average_precision.interval.high == pytest.approx(once.average_precision.interval.high)


def test_the_progress_hears_of_every_replicate() -> None:
    scores, outcomes, patients = enriched(3)
    for kind in (outcomes, np.zeros_like(outcomes)):
        heard: list[int] = []
        measure_at_prevalence(scores, kind, patients=patients, prevalence=0.02, settings=FEW, advance=heard.append)
        assert sum(heard) == 200


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        (np.zeros(4, bool), "undefined: no case among 4 with a known outcome, needs cases and controls"),
        (np.ones(4, bool), "undefined: no control among 4 with a known outcome, needs cases and controls"),
        (np.zeros(0, bool), "undefined: no score with a known outcome"),
    ],
)
def test_one_class_only_has_a_reason(outcomes: NDArray[np.bool_], reason: str) -> None:
    scores = np.linspace(0, 1, len(outcomes))
    found = measure_at_prevalence(scores, outcomes, patients=np.arange(len(outcomes)), prevalence=0.1, settings=FEW)
    for estimate in (found.average_precision, found.pf1):
        assert (estimate.value, estimate.interval, estimate.reason) == (None, None, reason)
    with pytest.raises(UndefinedMetricError, match=reason):
        weigh_to_prevalence(outcomes, 0.1)


def test_one_patient_with_cases_has_figures_without_intervals() -> None:
    found = measure_at_prevalence(SCORES, OUTCOMES, patients=np.arange(4), prevalence=0.1, settings=FEW)
    assert found.pf1.value is not None
    assert found.pf1.reason == "no interval: 1 patient with cases, needs 2"


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.2, float("nan"), float("inf")])
def test_a_prevalence_outside_its_range_is_refused(prevalence: float) -> None:
    sentence = r"prevalence: found .*, expected the share of cases among all that are screened"
    with pytest.raises(UserInputError, match=sentence):
        check_prevalence(prevalence)
    with pytest.raises(UserInputError, match=sentence):
        weigh_to_prevalence(OUTCOMES, prevalence)
    with pytest.raises(UserInputError, match=sentence):
        measure_at_prevalence(SCORES, OUTCOMES, patients=np.arange(4), prevalence=prevalence, settings=FEW)
