"""Discrimination against scikit-learn, scipy, and the competition's own formula."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, mannwhitneyu
from sklearn import metrics

from mammoscope.evaluation.bootstrap import bootstrap_over_patients, number_patients, percentile_interval
from mammoscope.evaluation.discrimination import (
    auc,
    average_precision,
    best_f1,
    partial_auc,
    probabilistic_f1,
    rank,
    roc_curve,
)

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
SEEDS = range(8)


def sample(seed: int, n: int = 200) -> tuple[Floats, Outcomes, Floats]:
    """Scores with ties in every second sample, a tenth of them of cases, and weights."""
    rng = np.random.default_rng(seed)
    outcomes = rng.random(n) < 0.1
    outcomes[:2] = [True, False]
    scores = rng.beta(1 + outcomes, 3)
    return (np.round(scores, 1) if seed % 2 else scores), outcomes, rng.exponential(size=n)


def competition_pf1(labels: list[bool], predictions: list[float], beta: float = 1) -> float:
    """The metric of the RSNA 2023 competition, step by step as its page defines it."""
    n_cases, found, false_alarms = 0, 0.0, 0.0
    for label, prediction in zip(labels, predictions, strict=True):
        clipped = min(max(prediction, 0), 1)
        if label:
            n_cases += 1
            found += clipped
        else:
            false_alarms += clipped
    beta_squared = beta * beta
    precision = found / (found + false_alarms)
    recall = found / n_cases
    if precision > 0 and recall > 0:
        return (1 + beta_squared) * (precision * recall) / (beta_squared * precision + recall)
    return 0.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_auc_and_average_precision_are_those_of_scikit_learn(seed: int, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else None
    expected_auc = metrics.roc_auc_score(outcomes, scores, sample_weight=given)
    expected_precision = metrics.average_precision_score(outcomes, scores, sample_weight=given)
    assert auc(scores, outcomes, given) == pytest.approx(expected_auc, abs=1e-12)
    assert average_precision(scores, outcomes, given) == pytest.approx(expected_precision, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_roc_curve_is_that_of_scikit_learn(seed: int, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else None
    expected = metrics.roc_curve(outcomes, scores, sample_weight=given, drop_intermediate=False)
    curve = roc_curve(scores, outcomes, given)
    for ours, theirs in zip(
        (curve.false_positive_rate, curve.true_positive_rate, curve.threshold), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_curve_at_given_rates_is_the_curve_of_scikit_learn(seed: int) -> None:
    scores, outcomes, weights = sample(seed)
    rates = np.linspace(0.003, 0.997, 57)  # none where the curve jumps
    false_positives, true_positives, _ = metrics.roc_curve(outcomes, scores, sample_weight=weights)
    ours = rank(scores, outcomes).true_positive_rate_at(weights[np.newaxis], rates)[0]
    np.testing.assert_allclose(ours, np.interp(rates, false_positives, true_positives), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_auc_is_the_mann_whitney_statistic(seed: int) -> None:
    scores, outcomes, _ = sample(seed)
    statistic = mannwhitneyu(scores[outcomes], scores[~outcomes]).statistic
    assert auc(scores, outcomes) == pytest.approx(statistic / (outcomes.sum() * (~outcomes).sum()), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [200, 23_826])
def test_pf1_is_that_of_the_competition_to_the_last_digit(seed: int, n: int) -> None:
    scores, outcomes, _ = sample(seed, n)
    expected = competition_pf1(outcomes.tolist(), scores.tolist())
    assert probabilistic_f1(scores, outcomes) == expected
    # a bootstrap sums in another order, which may change what no one prints
    assert probabilistic_f1(scores, outcomes, np.ones(n)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("highest_rate", [0.02, 0.1, 1 / 3, 0.999])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_partial_auc_is_that_of_scikit_learn(seed: int, highest_rate: float, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else None
    expected = metrics.roc_auc_score(outcomes, scores, sample_weight=given, max_fpr=highest_rate)
    assert partial_auc(scores, outcomes, given, highest_rate=highest_rate) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_best_f1_is_the_best_of_all_thresholds_by_scikit_learn(seed: int) -> None:
    scores, outcomes, weights = sample(seed)
    f1_by_threshold = {
        threshold: metrics.f1_score(outcomes, scores >= threshold, sample_weight=weights)
        for threshold in np.unique(scores)
    }
    best = best_f1(scores, outcomes, weights)
    assert best.f1 == pytest.approx(max(f1_by_threshold.values()), abs=1e-12)
    assert f1_by_threshold[best.threshold] == pytest.approx(best.f1, abs=1e-12)


def test_the_interval_agrees_with_scipy_where_every_image_is_a_patient() -> None:
    scores, outcomes, _ = sample(0, n=400)
    ranking = rank(scores, outcomes)
    values = bootstrap_over_patients(
        lambda counts: ranking.auc(counts)[:, np.newaxis],
        number_patients([f"{number:03}" for number in range(400)]),
        n_replicates=2000,
        rng=np.random.default_rng(5),
    )
    ours = percentile_interval(values[:, 0], 0.95)
    theirs = bootstrap(
        (scores, outcomes.astype(np.float64)),
        lambda of, labels: auc(of, labels > 0),
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(6),
    ).confidence_interval
    # two bootstraps of 2,000 differ by chance; the interval is about 0.2 wide
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)
