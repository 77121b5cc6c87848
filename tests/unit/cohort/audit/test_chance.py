"""What chance makes of an AUC: outcomes are dealt fairly, and a p value is as rare as it says."""

import numpy as np
import pytest

from mammoscope.cohort.audit.chance import N_DRAWS, deal_outcomes, judge_columns
from mammoscope.cohort.audit.cross_validation import auc_over_folds, average_auc, deal_into_folds, score_out_of_fold

# six patients of one breast, three of two, two of four; cancer in one breast of three of them, in three of another
PATIENTS = np.repeat(np.arange(11), [1] * 6 + [2] * 3 + [4] * 2)
OUTCOMES = np.isin(np.arange(len(PATIENTS)), [0, 6, 8, 12, 13, 15])


@pytest.mark.parametrize("seed", range(20))
def test_counts_of_values_give_the_auc_of_the_breasts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, outcomes = rng.integers(0, 2 + 2 * seed, 150), rng.random(150) < 0.2
    folds = deal_into_folds(outcomes, rng=rng)
    assert folds is not None
    n_breasts, n_cases = np.zeros((2, 2 + 2 * seed, 5), dtype=np.intp)
    np.add.at(n_breasts, (codes, folds), 1)
    np.add.at(n_cases, (codes, folds), outcomes)
    scores = score_out_of_fold(codes, outcomes, folds)
    expected = auc_over_folds(scores, outcomes, folds=folds, patients=np.arange(150)).value
    assert average_auc(n_breasts, n_cases) == pytest.approx(expected, abs=1e-12)


def test_as_many_patients_as_before_have_as_many_breasts_with_cancer() -> None:
    for dealt in deal_outcomes(OUTCOMES, PATIENTS, n_draws=50, rng=np.random.default_rng(0)):
        of_patient = np.bincount(PATIENTS, dealt)
        assert sorted(of_patient[of_patient > 0]) == [1, 1, 1, 3]
        assert (of_patient <= np.bincount(PATIENTS)).all()


def test_every_breast_is_as_likely_to_have_cancer() -> None:
    """Were patients drawn alike, whatever their breasts, the one breast of a patient would come twice as often."""
    patients = np.repeat(np.arange(150), [1] * 100 + [2] * 50)
    outcomes = np.arange(200) < 4
    share = deal_outcomes(outcomes, patients, n_draws=20_000, rng=np.random.default_rng(0)).mean(axis=0)
    assert share[:100].mean() == pytest.approx(4 / 200, rel=0.03)
    assert share[100::2].mean() == pytest.approx(4 / 200, rel=0.04)
    assert share[101::2].mean() == pytest.approx(4 / 200, rel=0.04)


def test_a_column_that_knows_the_outcome_has_the_least_p_and_a_useless_one_has_not() -> None:
    rng = np.random.default_rng(0)
    outcomes = np.arange(200) < 40
    folds = deal_into_folds(outcomes, rng=rng)
    assert folds is not None
    known, useless = (outcomes ^ (rng.random(200) < 0.1)).astype(np.intp), rng.integers(0, 3, 200)
    p = judge_columns([known, useless], outcomes, patients=np.arange(200), folds=folds, rng=rng)
    assert p[0] == 1 / (N_DRAWS + 1)
    assert p[1] > 0.05


def test_perfect_order_of_two_patients_is_what_chance_brings() -> None:
    """Two of four patients with cancer: one in six of all dealings is as good, and the AUC has no interval."""
    outcomes = np.array([True, True, False, False])
    p = judge_columns(
        [outcomes.astype(np.intp)],
        outcomes,
        patients=np.arange(4),
        folds=np.array([0, 1, 0, 1]),
        rng=np.random.default_rng(0),
    )
    assert p[0] > 0.1


def test_more_columns_make_a_p_larger() -> None:
    rng = np.random.default_rng(3)
    outcomes = np.arange(300) < 60
    folds = deal_into_folds(outcomes, rng=rng)
    assert folds is not None
    column = (outcomes & (rng.random(300) < 0.2)) | (rng.random(300) < 0.1)
    others = [rng.integers(0, 4, 300) for _ in range(20)]
    alone, among_others = (
        judge_columns(columns, outcomes, patients=np.arange(300), folds=folds, rng=np.random.default_rng(0))[0]
        for columns in ([column.astype(np.intp)], [column.astype(np.intp), *others])
    )
    assert 0.002 < alone < among_others


def test_where_many_breasts_are_in_memory_draws_come_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mammoscope.cohort.audit.chance._MOST_AT_ONCE", 2 * 120)
    outcomes = np.arange(120) < 20
    folds = deal_into_folds(outcomes, rng=np.random.default_rng(0))
    assert folds is not None
    codes = outcomes.astype(np.intp)
    p = judge_columns([codes], outcomes, patients=np.arange(120), folds=folds, rng=np.random.default_rng(0))
    assert p[0] == 1 / (N_DRAWS + 1)


def test_without_columns_there_is_nothing_to_judge() -> None:
    outcomes, folds = np.array([True, True, False, False]), np.array([0, 1, 0, 1])
    p = judge_columns([], outcomes, patients=np.arange(4), folds=folds, rng=np.random.default_rng(0))
    assert p.tolist() == []
