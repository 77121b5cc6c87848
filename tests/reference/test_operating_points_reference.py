"""Thresholds against scikit-learn's ROC and precision-recall curves, and cross-fitting against a plain loop."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.discrimination import best_f1, probabilistic_f1
from mammoscope.evaluation.operating_points import OperatingPointSettings
from mammoscope.evaluation.scores import SCORES_SCHEMA
from mammoscope.evaluation.threshold_choice import Target, fold_scores, join

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
SEEDS = range(6)
SHARES = (0.035, 0.1, 0.25, 0.5, 0.8, 0.9, 0.966)


def sample(seed: int, n: int = 300) -> tuple[Floats, Outcomes, Floats]:
    """Scores with ties in every second sample, a tenth of them of cases, and whole weights."""
    rng = np.random.default_rng(seed)
    outcomes = rng.random(n) < 0.1
    scores = rng.beta(1 + outcomes, 3)
    return (np.round(scores, 2) if seed % 2 else scores), outcomes, rng.integers(0, 4, n).astype(np.float64)


def choose(scores: Floats, outcomes: Outcomes, weights: Floats, *targets: Target) -> list[float]:
    n = len(scores)
    folded = fold_scores(scores, outcomes, folds=np.arange(n) % 5, columns=np.arange(n))
    thresholds: list[float] = folded.threshold_at(folded.choose(join(folded.weigh(weights[np.newaxis])), targets))[
        0
    ].tolist()
    return thresholds


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_sensitivities_and_specificities_are_those_of_the_curve_of_scikit_learn(seed: int, is_weighted: bool) -> None:
    scores, outcomes, weights = sample(seed)
    given = weights if is_weighted else np.ones(len(scores))
    fpr, tpr, thresholds = metrics.roc_curve(outcomes, scores, sample_weight=given, drop_intermediate=False)
    for share in SHARES:
        sensitive, specific = choose(
            scores, outcomes, given, Target("sensitivity", share), Target("specificity", share)
        )
        assert sensitive == thresholds[np.argmax(tpr >= share - 1e-9)]
        within = np.flatnonzero(fpr <= 1 - share + 1e-9)
        same = (fpr == fpr[within[-1]]) & (tpr == tpr[within[-1]])  # without weight, several call the same
        assert specific == thresholds[np.argmax(same)]


@pytest.mark.parametrize("seed", SEEDS)
def test_recall_rates_are_quantiles_of_the_scores(seed: int) -> None:
    scores, outcomes, _ = sample(seed)
    for share in SHARES:
        (threshold,) = choose(scores, outcomes, np.ones(300), Target("recall_rate", share))
        laxer = scores[scores < threshold].max()
        assert (scores >= threshold).mean() <= share + 1e-9 < (scores >= laxer).mean()
        if seed % 2 == 0:  # without ties
            assert threshold == np.quantile(scores, 1 - np.floor(300 * share + 1e-9) / 300, method="higher")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_highest_f1_is_that_of_the_precision_recall_curve(seed: int) -> None:
    scores, outcomes, weights = sample(seed)
    precision, recall, thresholds = metrics.precision_recall_curve(outcomes, scores, sample_weight=weights)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    (threshold,) = choose(scores, outcomes, weights, Target("f1"))
    assert f1[np.argmax(thresholds >= threshold)] == pytest.approx(f1.max())
    assert threshold == best_f1(scores, outcomes, weights).threshold


@pytest.mark.parametrize("seed", SEEDS)
def test_the_pf1_of_calls_is_their_f1(seed: int) -> None:
    scores, outcomes, _ = sample(seed)
    for threshold in (0.1, 0.3, 0.6):
        calls = (scores >= threshold).astype(np.float64)
        assert probabilistic_f1(calls, outcomes) == pytest.approx(metrics.f1_score(outcomes, calls), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_cross_fitted_counts_are_those_of_a_plain_loop(seed: int) -> None:
    scores, outcomes, _ = sample(seed)
    folds = np.arange(300) % 5
    settings = OperatingPointSettings(recall_rates=(), sensitivities=(0.8,), specificities=())
    table = pl.DataFrame(
        [
            dict.fromkeys(SCORES_SCHEMA)
            | {"schema_version": 1, "level": "breast", "n_images": 2, "laterality": "L", "score": float(score)}
            | {"patient_id": str(number), "exam_id": str(number), "cancer": bool(case), "fold": int(fold)}
            for number, (score, case, fold) in enumerate(zip(scores, outcomes, folds, strict=True))
        ],
        schema=SCORES_SCHEMA,
    )
    points = cross_fit(table, settings, BootstrapSettings(n_replicates=10))
    called = {"maximal_f1": np.zeros(300, dtype=bool), "sensitivity_80": np.zeros(300, dtype=bool)}
    for fold in range(5):
        others = folds != fold
        best = best_f1(scores[others], outcomes[others]).threshold
        _, tpr, thresholds = metrics.roc_curve(outcomes[others], scores[others], drop_intermediate=False)
        called["maximal_f1"] |= ~others & (scores >= best)
        called["sensitivity_80"] |= ~others & (scores >= thresholds[np.argmax(tpr >= 0.8)])
    for name, calls in called.items():
        (tn, fp), (fn, tp) = metrics.confusion_matrix(outcomes, calls)
        point = points.named(name)
        assert point.counts is not None
        assert (point.counts.true_positives, point.counts.false_positives) == (tp, fp)
        assert (point.counts.false_negatives, point.counts.true_negatives) == (fn, tn)
        assert point.f1.value == pytest.approx(metrics.f1_score(outcomes, calls))
        assert point.ppv.value == pytest.approx(metrics.precision_score(outcomes, calls))
