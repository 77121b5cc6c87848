"""Maps that recalibrate against scikit-learn and a bounded search of scipy; weights against repetition."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mammoscope.evaluation.recalibration import METHODS, Beta, Method, Platt, Temperature, fit_recalibrator

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
SEEDS = range(4)
GRID = np.linspace(0, 1, 101)


def sample(seed: int, n: int = 500) -> tuple[Floats, Outcomes, Floats]:
    """Scores with ties in every second sample, outcomes, and whole weights."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.2, n)
    scores = expit(0.5 + 1.5 * logits)
    return (
        np.clip(np.round(scores, 2), 0.01, 0.99) if seed % 2 else scores,
        rng.random(n) < expit(logits),
        rng.integers(0, 4, n).astype(np.float64),
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_platt_is_the_sigmoid_of_scikit_learn(seed: int, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else None
    expected = _SigmoidCalibration().fit(logit(scores), outcomes, sample_weight=given)
    found = fit_recalibrator(scores, outcomes, "platt", weights=given)
    assert isinstance(found, Platt)
    assert (found.slope, found.intercept) == pytest.approx((-expected.a_, -expected.b_), abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_isotonic_is_that_of_scikit_learn(seed: int, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else np.ones(len(scores))
    expected = IsotonicRegression(out_of_bounds="clip").fit(scores, outcomes, sample_weight=given)
    found = fit_recalibrator(scores, outcomes, "isotonic", weights=given)
    np.testing.assert_allclose(found.apply(GRID), expected.predict(GRID), atol=1e-9)
    np.testing.assert_allclose(found.apply(scores), expected.predict(scores), atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_beta_is_a_logistic_regression_on_two_logarithms(seed: int, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else None
    features = np.stack([np.log(scores), -np.log1p(-scores)], axis=1)
    expected = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(
        features, outcomes, sample_weight=given
    )
    found = fit_recalibrator(scores, outcomes, "beta", weights=given)
    assert isinstance(found, Beta)
    if (expected.coef_ >= 0).all():
        assert (found.a, found.b, found.c) == pytest.approx((*expected.coef_[0], expected.intercept_[0]), abs=1e-3)
    else:  # the one that would fall is left out
        kept = int(np.argmax(expected.coef_))
        alone = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(
            features[:, [kept]], outcomes, sample_weight=given
        )
        assert ((found.a, found.b)[kept], found.c) == pytest.approx((alone.coef_.item(), alone.intercept_[0]), abs=1e-3)
        assert (found.a, found.b)[1 - kept] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_temperature_is_that_of_a_search(seed: int) -> None:
    scores, outcomes, _ = sample(seed)

    def loss(logarithm: float) -> float:
        logits = logit(scores) / np.exp(logarithm)
        return float((np.logaddexp(0, logits) - outcomes * logits).mean())

    expected = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
    found = fit_recalibrator(scores, outcomes, "temperature")
    assert isinstance(found, Temperature)
    assert found.temperature == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_whole_weight_is_a_repetition(seed: int, method: Method) -> None:
    scores, outcomes, weights = sample(seed)
    times = weights.astype(np.intp)
    weighted = fit_recalibrator(scores, outcomes, method, weights=weights)
    repeated = fit_recalibrator(np.repeat(scores, times), np.repeat(outcomes, times), method)
    np.testing.assert_allclose(weighted.apply(GRID), repeated.apply(GRID), atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_no_map_ever_falls(seed: int, method: Method) -> None:
    scores, outcomes, _ = sample(seed)
    assert (np.diff(fit_recalibrator(scores, outcomes, method).apply(GRID)) >= 0).all()
