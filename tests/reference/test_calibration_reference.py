"""Calibration against scikit-learn and scipy, and its intervals against what is true of endlessly many patients."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.calibration import Calibration, measure_calibration
from mammoscope.evaluation.prevalence import weigh_to_prevalence

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
SEEDS = range(4)
FEW = BootstrapSettings(n_replicates=10)


def sample(seed: int, n: int = 600) -> tuple[Floats, Outcomes]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 1.2, n)
    return expit(0.3 + 1.4 * logits), rng.random(n) < expit(logits)


def measure(scores: Floats, outcomes: Outcomes, prevalence: float | None = None) -> Calibration:
    return measure_calibration(scores, outcomes, patients=np.arange(len(scores)), settings=FEW, prevalence=prevalence)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("prevalence", [None, 0.02])
def test_the_brier_score_is_that_of_scikit_learn(seed: int, prevalence: float | None) -> None:
    scores, outcomes = sample(seed)
    weights = None if prevalence is None else weigh_to_prevalence(outcomes, prevalence)
    expected = brier_score_loss(outcomes, scores, sample_weight=weights)
    assert measure(scores, outcomes, prevalence).brier.value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reliability_curve_is_that_of_scikit_learn(seed: int) -> None:
    scores, outcomes = sample(seed)
    shares, means = calibration_curve(outcomes, scores, n_bins=10, strategy="quantile")
    bins = measure(scores, outcomes).bins
    np.testing.assert_allclose(np.array([each.share_of_cases.value for each in bins], float), shares, atol=1e-12)
    np.testing.assert_allclose([each.mean_score for each in bins], means, atol=1e-12)
    error = measure(scores, outcomes).expected_calibration_error.value
    assert error == pytest.approx(np.abs(shares - means).mean(), abs=1e-12)  # of equal bins


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("prevalence", [None, 0.02])
def test_the_slope_is_that_of_a_logistic_regression(seed: int, prevalence: float | None) -> None:
    scores, outcomes = sample(seed)
    weights = None if prevalence is None else weigh_to_prevalence(outcomes, prevalence)
    fitted = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(
        logit(scores)[:, np.newaxis], outcomes, sample_weight=weights
    )
    assert measure(scores, outcomes, prevalence).calibration_slope.value == pytest.approx(fitted.coef_.item(), rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("prevalence", [None, 0.02])
def test_calibration_in_the_large_makes_the_mean_the_share_of_cases(seed: int, prevalence: float | None) -> None:
    scores, outcomes = sample(seed)
    weights = np.ones(len(scores)) if prevalence is None else weigh_to_prevalence(outcomes, prevalence)
    expected = brentq(lambda shift: weights @ (expit(logit(scores) + shift) - outcomes), -20, 20, xtol=1e-12)
    found = measure(scores, outcomes, prevalence)
    assert found.calibration_in_the_large.value == pytest.approx(expected, abs=1e-8)


def test_intervals_hold_what_is_true_of_other_patients() -> None:
    """Two breasts of each patient that are alike, whose scores are too bold: what is true of all is known."""
    n_samples, shift, slope = 40, 0.4, 1.5

    def draw(rng: np.random.Generator, n_patients: int) -> tuple[Floats, Outcomes]:
        logits = np.repeat(rng.normal(-1.5, 0.9, n_patients), 2) + rng.normal(0, 0.5, 2 * n_patients)
        return expit(shift + slope * logits), rng.random(2 * n_patients) < expit(logits)

    scores, outcomes = draw(np.random.default_rng(0), 200_000)
    truth = measure_calibration(
        scores, outcomes, patients=np.arange(400_000) // 2, settings=BootstrapSettings(n_replicates=1)
    )
    names = ("calibration_slope", "calibration_in_the_large", "brier", "observed_to_expected", "reliability")
    covered = np.zeros(len(names) + 1)
    for seed in range(n_samples):
        scores, outcomes = draw(np.random.default_rng(1 + seed), 500)
        found = measure_calibration(
            scores, outcomes, patients=np.arange(1000) // 2, settings=BootstrapSettings(n_replicates=100, seed=seed)
        )
        for number, name in enumerate((*names, "expected_calibration_error")):
            interval = getattr(found, name).interval
            covered[number] += interval.low <= getattr(truth, name).value <= interval.high
    # 95 % of 40 is 38; the interval of the calibration error is wider than it need be
    assert (covered / n_samples).min() >= 0.85
    assert covered[:-1].mean() / n_samples == pytest.approx(0.95, abs=0.04)
