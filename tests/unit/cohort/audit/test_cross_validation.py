"""The AUC of a column out of fold: by hand, and that nothing of a patient scores herself."""

import numpy as np
import pytest

from mammoscope.cohort.audit.cross_validation import (
    SMOOTHING_BREASTS,
    auc_over_folds,
    deal_into_folds,
    score_out_of_fold,
)

RNG_SEEDS = range(5)
ONE_FOLD = np.zeros(6, dtype=np.intp)


def test_both_kinds_of_patients_are_dealt_alike() -> None:
    is_case = np.arange(103) < 12
    folds = deal_into_folds(is_case, rng=np.random.default_rng(0))
    assert folds is not None
    assert sorted(np.bincount(folds[is_case])) == [2, 2, 2, 3, 3]
    assert sorted(np.bincount(folds[~is_case])) == [18, 18, 18, 18, 19]


@pytest.mark.parametrize("n_cases", [0, 1, 9, 10])
def test_with_one_patient_of_a_kind_nothing_is_dealt(n_cases: int) -> None:
    assert deal_into_folds(np.arange(10) < n_cases, rng=np.random.default_rng(0)) is None


@pytest.mark.parametrize(("n_cases", "n_folds"), [(2, 2), (4, 4), (8, 2), (7, 3)])
def test_there_are_as_many_folds_as_patients_of_the_rarer_kind(n_cases: int, n_folds: int) -> None:
    folds = deal_into_folds(np.arange(10) < n_cases, rng=np.random.default_rng(0))
    assert folds is not None
    assert folds.max() + 1 == n_folds


def test_a_value_scores_its_share_among_the_others() -> None:
    codes = np.array([0, 0, 1, 0, 1, 1])
    outcomes = np.array([True, False, False, True, False, True])
    folds = np.array([0, 0, 0, 1, 1, 1])
    scores = score_out_of_fold(codes, outcomes, folds)
    # fold 0 is scored by breasts 3 to 5: share 2/3, value 0 has 1 of 1, value 1 has 1 of 2
    prior = SMOOTHING_BREASTS * 2 / 3
    assert scores[0] == scores[1] == pytest.approx((1 + prior) / (1 + SMOOTHING_BREASTS))
    assert scores[2] == pytest.approx((1 + prior) / (2 + SMOOTHING_BREASTS))
    # fold 1 by breasts 0 to 2: share 1/3, value 0 has 1 of 2, value 1 has 0 of 1
    prior = SMOOTHING_BREASTS / 3
    assert scores[3] == pytest.approx((1 + prior) / (2 + SMOOTHING_BREASTS))
    assert scores[4] == scores[5] == pytest.approx(prior / (1 + SMOOTHING_BREASTS))


def test_a_value_that_no_other_fold_has_scores_the_share_of_all() -> None:
    scores = score_out_of_fold(np.array([0, 1, 1, 1]), np.array([True, False, True, False]), np.array([0, 0, 1, 1]))
    assert scores[0] == pytest.approx(0.5)


def test_the_outcome_of_a_fold_does_not_touch_its_scores() -> None:
    rng = np.random.default_rng(1)
    codes, folds = rng.integers(0, 4, 60), np.arange(60) % 3
    outcomes = rng.random(60) < 0.4
    changed = np.where(folds == 1, ~outcomes, outcomes)
    before, after = (score_out_of_fold(codes, each, folds)[folds == 1] for each in (outcomes, changed))
    assert (before == after).all()


def test_the_auc_of_one_fold_by_hand() -> None:
    scores = np.array([3.0, 2.0, 2.0, 1.0, 0.0, 3.0])
    outcomes = np.array([True, True, False, False, False, False])
    # 3 beats 2, 1, 0 and ties with 3; 2 ties with 2, beats 1 and 0: (3.5 + 2.5) / 8
    auc = auc_over_folds(scores, outcomes, folds=ONE_FOLD, patients=np.arange(6))
    assert auc.value == 6 / 8
    # DeLong: cases 3.5/4 and 2.5/4, controls 1/2 + 1/4, 1, 1, 1/4
    s_cases = ((0.875 - 0.75) ** 2 + (0.625 - 0.75) ** 2) / 1
    s_controls = ((0.75 - 0.75) ** 2 + 2 * (1 - 0.75) ** 2 + (0.25 - 0.75) ** 2) / 3
    half = 1.959963984540054 * (s_cases / 2 + s_controls / 4) ** 0.5
    assert auc.low == pytest.approx(0.75 - half)
    assert auc.high == pytest.approx(min(1, 0.75 + half))


def test_folds_are_never_compared() -> None:
    scores = np.array([0.9, 0.8, 0.2, 0.1])  # each fold is in order, the second lies below the first
    outcomes = np.array([True, False, True, False])
    auc = auc_over_folds(scores, outcomes, folds=np.array([0, 0, 1, 1]), patients=np.arange(4))
    assert auc.value == 1


def test_a_column_that_tells_nothing_is_half_in_every_fold() -> None:
    """Pooled over the folds it would be below half, as each fold's training share mirrors its own."""
    for seed in RNG_SEEDS:
        rng = np.random.default_rng(seed)
        outcomes, folds = rng.random(200) < 0.2, np.arange(200) % 5
        scores = score_out_of_fold(np.zeros(200, dtype=np.intp), outcomes, folds)
        assert auc_over_folds(scores, outcomes, folds=folds, patients=np.arange(200)).value == 0.5


@pytest.mark.parametrize(
    ("scores", "why"), [([2, 2, 1, 1, 1, 1], "none is out of order"), ([1, 1, 1, 1, 1, 1], "all are alike")]
)
def test_no_interval_where_the_variance_is_not_known(scores: list[int], why: str) -> None:
    outcomes = np.array([True, True, False, False, False, False])
    auc = auc_over_folds(np.array(scores, dtype=float), outcomes, folds=ONE_FOLD, patients=np.arange(6))
    assert (auc.low, auc.high) == (None, None), why


def test_no_interval_with_one_patient_with_cancer_in_a_fold() -> None:
    outcomes = np.array([True, False, False, True, False, False])
    folds = np.array([0, 0, 0, 1, 1, 1])
    auc = auc_over_folds(np.array([2.0, 1, 3, 2, 1, 3]), outcomes, folds=folds, patients=np.arange(6))
    assert auc.value == 0.5
    assert auc.low is None


def test_a_patient_counts_once_however_often_her_breasts_are_repeated() -> None:
    rng = np.random.default_rng(2)
    outcomes = np.arange(60) < 20
    scores = rng.normal(size=60) + outcomes
    patients, folds = np.arange(60), np.zeros(60, dtype=np.intp)
    once = auc_over_folds(scores, outcomes, folds=folds, patients=patients)
    thrice = auc_over_folds(
        np.tile(scores, 3), np.tile(outcomes, 3), folds=np.tile(folds, 3), patients=np.tile(patients, 3)
    )
    assert (once.value, once.low, once.high) == pytest.approx((thrice.value, thrice.low, thrice.high))
