"""Spread over folds and runs, and sampling distributions: by hand, against scipy, and what has none."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.comparison import paired_auc_difference
from mammoscope.evaluation.discrimination import auc, best_f1, probabilistic_f1
from mammoscope.evaluation.levels import LevelSample, sample_level
from mammoscope.evaluation.stability import sampling_distributions, spread_over_folds, spread_over_runs
from mammoscope.evaluation.threshold_choice import Target

SETTINGS = BootstrapSettings(n_replicates=300)
SPECIFICITY = Target("specificity", 0.9)


@pytest.fixture
def breasts(cohort: pl.DataFrame) -> LevelSample:
    return sample_level(cohort, "breast")


def with_scores(sample: LevelSample, scores: np.ndarray) -> LevelSample:
    return replace(sample, rows=sample.rows.with_columns(score=pl.Series(scores)), scores=scores)


def test_the_aucs_of_folds_and_their_spread(breasts: LevelSample) -> None:
    found = spread_over_folds(breasts)
    folds = breasts.rows["fold"].to_numpy()
    aucs = [roc_auc_score(breasts.outcomes[folds == fold], breasts.scores[folds == fold]) for fold in range(4)]
    assert [fold.auc.value for fold in found.folds] == pytest.approx(aucs)
    assert [(fold.n, fold.n_cases) for fold in found.folds] == [(30, 3)] * 4
    assert found.spread is not None
    assert found.spread.mean == pytest.approx(np.mean(aucs))
    assert found.spread.standard_deviation == pytest.approx(np.std(aucs, ddof=1))
    assert (found.spread.lowest, found.spread.highest) == pytest.approx((min(aucs), max(aucs)))
    assert found.reason is None
    assert json.dumps(found.to_json(), allow_nan=False)


def test_folds_of_one_network_spread_as_chance_has_it() -> None:
    rng = np.random.default_rng(8)
    ratios = []
    for _ in range(60):
        outcomes = np.arange(1500) % 5 == 0
        scores = rng.normal(size=1500) + outcomes
        rows = pl.DataFrame({"fold": np.arange(1500) // 5 % 5})
        sample = LevelSample("breast", "", rows, scores, outcomes, np.arange(1500), 0)
        found = spread_over_folds(sample)
        assert found.spread is not None
        assert found.by_chance is not None
        ratios.append((found.spread.standard_deviation / found.by_chance) ** 2)
    assert np.mean(ratios) == pytest.approx(1, abs=0.2)  # of 60 means of 4 chi squares: a standard error of 0.09


def test_folds_that_score_unlike_are_told_of(breasts: LevelSample) -> None:
    """Of folds 0 and 1 with controls 1, 2 and 2, 3, that of fold 1 is the higher in 3 pairs of 4, and half of one."""
    outcomes = np.array([True, False, False, True, False, False])
    rows = pl.DataFrame({"fold": [0, 0, 0, 1, 1, 1]})
    scores = np.array([0.9, 0.1, 0.2, 0.9, 0.2, 0.3])
    sample = LevelSample("breast", "", rows, scores, outcomes, np.arange(6), 0)
    found = spread_over_folds(sample)
    assert found.controls_apart == pytest.approx(3.5 / 4)
    assert found.remark is None
    below = spread_over_folds(replace(breasts, scores=breasts.scores * (breasts.rows["fold"].to_numpy() == 0)))
    assert below.controls_apart == 1
    assert str(below.remark).startswith("The networks of the folds do not score alike: in 100 % of the pairs")
    assert spread_over_folds(replace(breasts, rows=breasts.rows.with_columns(fold=0))).controls_apart is None


def test_folds_of_one_class_have_no_auc(breasts: LevelSample) -> None:
    rows = breasts.rows.with_columns(fold=pl.when(pl.col("cancer")).then(0).otherwise(1))
    found = spread_over_folds(replace(breasts, rows=rows))
    assert (found.spread, found.by_chance) == (None, None)
    assert found.reason == "undefined: 0 of 2 folds have an AUC, needs 2"
    assert json.dumps(found.to_json(), allow_nan=False)


def test_scores_without_folds_are_refused(breasts: LevelSample) -> None:
    rows = breasts.rows.with_columns(fold=pl.lit(None, pl.Int64))
    with pytest.raises(UserInputError, match=r"folds: 120 of 120 breasts have no fold, expected one each"):
        spread_over_folds(replace(breasts, rows=rows))


def test_three_runs(breasts: LevelSample) -> None:
    rng = np.random.default_rng(9)
    runs = {
        f"seed {number}": with_scores(breasts, np.clip(breasts.scores + rng.normal(0, 0.05, size=120), 0, 1))
        for number in range(3)
    }
    found = spread_over_runs(runs, target=SPECIFICITY, settings=SETTINGS)
    scores = [run.scores for run in runs.values()]
    assert [figure.value for figure in found.aucs] == pytest.approx([auc(own, breasts.outcomes) for own in scores])
    pairs = [spearmanr(scores[first], scores[second]).statistic for first, second in ((0, 1), (0, 2), (1, 2))]
    assert found.rank_correlation == pytest.approx(np.mean(pairs))
    assert found.lowest_rank_correlation == pytest.approx(min(pairs))
    calls = []
    for own, limit in zip(scores, found.thresholds, strict=True):
        assert limit is not None
        calls.append(own >= limit)
        assert (own[~breasts.outcomes] < limit).mean() >= 0.9
    n_changes = sum(len({bool(call[number]) for call in calls}) > 1 for number in range(120))
    assert n_changes > 0
    assert found.calls_that_change.value == pytest.approx(n_changes / 120)
    n_of_cases = sum(
        len({bool(call[number]) for call in calls}) > 1 for number in range(120) if breasts.outcomes[number]
    )
    assert found.calls_of_cases_that_change.value == pytest.approx(n_of_cases / 12)
    assert found.spread is not None
    assert found.spread.highest == max(figure.value or 0 for figure in found.aucs)
    paired = paired_auc_difference(
        scores[0], scores[1], outcomes=breasts.outcomes, patients=breasts.patients, settings=SETTINGS
    )
    assert found.aucs[:2] == (paired.first, paired.second)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_a_run_beside_a_monotone_map_of_itself_changes_no_call(breasts: LevelSample) -> None:
    runs = {"one": breasts, "mapped": with_scores(breasts, breasts.scores**3)}
    found = spread_over_runs(runs, target=SPECIFICITY, settings=SETTINGS)
    assert found.rank_correlation == pytest.approx(1)
    assert found.calls_that_change.value == 0
    assert found.spread is not None
    assert found.spread.standard_deviation == 0


def test_a_run_without_order_has_no_correlation_and_no_calls(breasts: LevelSample) -> None:
    runs = {"one": breasts, "flat": with_scores(breasts, np.full(120, 0.5))}
    found = spread_over_runs(runs, target=SPECIFICITY, settings=SETTINGS)
    assert (found.rank_correlation, found.lowest_rank_correlation) == (None, None)
    assert found.thresholds[1] is None
    assert found.calls_that_change.reason == "undefined: a run has no threshold for the target"
    assert json.dumps(found.to_json(), allow_nan=False)


def test_one_run_does_not_spread(breasts: LevelSample) -> None:
    with pytest.raises(UserInputError, match=r"runs: found 1, expected 2 or more"):
        spread_over_runs({"one": breasts}, target=SPECIFICITY, settings=SETTINGS)


def test_sampling_distributions(breasts: LevelSample) -> None:
    pf1, threshold = sampling_distributions(
        breasts.scores, breasts.outcomes, patients=breasts.patients, settings=SETTINGS
    )
    assert pf1.value == pytest.approx(probabilistic_f1(breasts.scores, breasts.outcomes))
    assert threshold.name == "threshold of maximal_f1"
    assert threshold.value == best_f1(breasts.scores, breasts.outcomes).threshold
    drawn = SETTINGS.generator().integers(0, 60, size=(300, 60))
    replicates = []
    for replicate in drawn:
        rows = np.concatenate([np.flatnonzero(breasts.patients == patient) for patient in replicate])
        if breasts.outcomes[rows].any():
            replicates.append(best_f1(breasts.scores[rows], breasts.outcomes[rows]).threshold)
    assert dict(threshold.quantiles)[0.95] == pytest.approx(np.quantile(replicates, 0.95))
    assert threshold.mean == pytest.approx(np.mean(replicates))
    assert threshold.standard_deviation == pytest.approx(np.std(replicates, ddof=1))
    values = [value for _, value in pf1.quantiles]
    assert values == sorted(values)
    assert pf1.n_undefined == 300 - len(replicates)


def test_one_class_and_one_patient_have_no_distribution(breasts: LevelSample) -> None:
    scores, controls = breasts.scores[:20], np.zeros(20, bool)
    pf1, threshold = sampling_distributions(scores, controls, patients=np.arange(20), settings=SETTINGS)
    assert (pf1.value, threshold.quantiles) == (None, ())
    assert pf1.reason is not None
    assert pf1.reason.startswith("undefined: no case")
    one = np.arange(20) == 3
    pf1, _ = sampling_distributions(scores, one, patients=np.arange(20), settings=SETTINGS)
    assert pf1.value is not None
    assert (pf1.quantiles, pf1.reason) == ((), "no interval: 1 patient with cases, needs 2")


def test_a_target_out_of_reach_is_told(breasts: LevelSample) -> None:
    flat = np.full(120, 0.5)
    _, threshold = sampling_distributions(flat, breasts.outcomes, patients=breasts.patients, settings=SETTINGS)
    assert threshold.value is None
    assert threshold.reason == "undefined: no threshold reaches the target in this sample"
