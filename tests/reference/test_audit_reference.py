"""The audit's AUC and its interval against scikit-learn and against a bootstrap over patients."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.cohort.audit.cross_validation import auc_over_folds, score_out_of_fold


def draw(seed: int, *, n_patients: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Codes, outcomes, folds and patients of breasts, two of each patient, whose value and outcome go together."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), 2)
    codes = np.repeat(rng.integers(0, 4, n_patients), 2)
    frailty = np.repeat(rng.random(n_patients), 2)
    outcomes = frailty * rng.random(2 * n_patients) < 0.05 + 0.06 * codes
    return codes, outcomes, patients % 5, patients


@pytest.mark.parametrize("seed", range(4))
def test_the_auc_is_the_mean_of_that_of_scikit_learn(seed: int) -> None:
    codes, outcomes, folds, patients = draw(seed)
    scores = score_out_of_fold(codes, outcomes, folds)
    expected = np.mean([roc_auc_score(outcomes[folds == fold], scores[folds == fold]) for fold in range(5)])
    assert auc_over_folds(scores, outcomes, folds=folds, patients=patients).value == pytest.approx(expected)


def test_the_interval_is_that_of_a_bootstrap_over_patients() -> None:
    _, outcomes, _, patients = draw(0)
    rng = np.random.default_rng(9)
    scores = np.round(
        np.repeat(rng.normal(size=300), 2) + 0.8 * outcomes, 1
    )  # patients differ: their breasts are alike
    folds = np.zeros(len(scores), dtype=np.intp)
    auc = auc_over_folds(scores, outcomes, folds=folds, patients=patients)
    replicates = []
    for _ in range(600):
        drawn = rng.integers(0, 300, 300)
        rows = np.stack([2 * drawn, 2 * drawn + 1], axis=1).ravel()
        replicates.append(roc_auc_score(outcomes[rows], scores[rows]))
    assert auc.low is not None
    assert auc.high is not None
    assert (auc.high - auc.low) / (2 * 1.96) == pytest.approx(np.std(replicates), rel=0.08)
    as_if_independent = auc_over_folds(scores, outcomes, folds=folds, patients=np.arange(600))
    assert as_if_independent.low is not None
    assert as_if_independent.low > auc.low


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Scores of cases lie one standard deviation above those of controls: the AUC is Phi(1 / sqrt 2) = 0.760."""
    rng, n_covering = np.random.default_rng(3), 0
    folds, patients = np.arange(400) % 4, np.arange(400)
    for _ in range(400):
        outcomes = rng.permutation(np.arange(400) < 80)
        auc = auc_over_folds(rng.normal(size=400) + outcomes, outcomes, folds=folds, patients=patients)
        assert auc.low is not None
        assert auc.high is not None
        n_covering += auc.low <= 0.76025 <= auc.high
    assert 0.92 * 400 <= n_covering <= 0.98 * 400  # 95 %, with 2.7 standard errors of 400 draws either way
