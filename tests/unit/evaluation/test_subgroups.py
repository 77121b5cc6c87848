"""Groups measured: each as on its own, marked where small, with the largest gap and an interval for all pairs."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.grouping import Group, Grouping, group_sample
from mammoscope.evaluation.levels import LevelSample, sample_level
from mammoscope.evaluation.operating_points import OperatingPoints, OperatingPointSettings
from mammoscope.evaluation.subgroups import Calls, GroupingResult, call_scores, measure_groups

SETTINGS = BootstrapSettings(n_replicates=200, seed=1)
NO_CALLS = Calls((), np.empty((0, 0), np.bool_))


@pytest.fixture(scope="module")
def breasts(cohort: pl.DataFrame) -> LevelSample:
    return sample_level(cohort, "breast")


@pytest.fixture(scope="module")
def points(cohort: pl.DataFrame) -> OperatingPoints:
    return cross_fit(cohort, OperatingPointSettings(), BootstrapSettings(n_replicates=20))


@pytest.fixture(scope="module")
def sites(breasts: LevelSample, points: OperatingPoints) -> GroupingResult:
    groupings = group_sample(breasts, (), ["site"])
    (result,) = measure_groups(breasts, groupings, call_scores(breasts, points), SETTINGS)
    return result


def no_calls(sample: LevelSample) -> Calls:
    return Calls((), np.empty((len(sample.scores), 0), np.bool_))


def test_each_group_is_measured_on_its_own(breasts: LevelSample, sites: GroupingResult) -> None:
    assert [group.name for group in sites.groups] == ["1", "2"]
    for group in sites.groups:
        own = (breasts.rows["site"] == group.name).to_numpy()
        assert group.auc.value == pytest.approx(roc_auc_score(breasts.outcomes[own], breasts.scores[own]))
        assert group.auc.interval is not None
        assert group.auc.interval.low < (group.auc.value or 0) < group.auc.interval.high
        assert (group.n, group.n_cases, group.n_patients) == (60, 6, 30)
        assert group.share_of_cases == pytest.approx(0.1)


def test_calls_are_those_of_thresholds_that_other_folds_chose(
    breasts: LevelSample, points: OperatingPoints, sites: GroupingResult
) -> None:
    point = points.named("specificity_80")
    threshold_by_fold = {each.fold: each.threshold or 0.0 for each in point.by_fold}
    called = breasts.scores >= np.array([threshold_by_fold[fold] for fold in breasts.rows["fold"]])
    for group in sites.groups:
        own = (breasts.rows["site"] == group.name).to_numpy()
        calls = next(each for each in group.calls if each.point == "specificity_80")
        assert calls.sensitivity.value == pytest.approx(called[own & breasts.outcomes].mean())
        assert calls.specificity.value == pytest.approx(1 - called[own & ~breasts.outcomes].mean())
        assert calls.recall_rate.value == pytest.approx(called[own].mean())


def test_a_point_without_a_threshold_for_every_fold_is_left_out(breasts: LevelSample, points: OperatingPoints) -> None:
    assert call_scores(breasts, None).names == ()
    assert call_scores(breasts, points).names == tuple(point.name for point in points.points)
    other_folds = LevelSample(
        breasts.level,
        breasts.rule,
        breasts.rows.with_columns(fold=pl.lit(99, pl.Int64)),
        breasts.scores,
        breasts.outcomes,
        breasts.patients,
        0,
    )
    assert call_scores(other_folds, points).names == ()


def test_small_groups_are_marked_and_have_no_part_in_the_gap(sites: GroupingResult) -> None:
    assert all(group.is_small for group in sites.groups)  # six cases each
    assert sites.gap is None


def make_groups(rng: np.random.Generator, shifts: tuple[float, ...], n_each: int = 150) -> LevelSample:
    """A group for each shift of the cases, every third score of a case, one score of each patient."""
    n = n_each * len(shifts)
    outcomes = np.arange(n) % 3 == 0
    scores = rng.normal(size=n) + outcomes * np.repeat(shifts, n_each)
    rows = pl.DataFrame({"group": np.repeat([str(each) for each in range(len(shifts))], n_each), "fold": [0] * n})
    return LevelSample("breast", "as given", rows, scores, outcomes, np.arange(n), 0)


def group_rows(sample: LevelSample) -> list[Grouping]:
    groups = tuple(
        Group(name, (sample.rows["group"] == name).to_numpy()) for name in sorted(sample.rows["group"].unique())
    )
    return [Grouping("group", "breast", "all", groups)]


def test_the_largest_gap_is_found_with_its_direction() -> None:
    sample = make_groups(np.random.default_rng(0), (1.0, 3.0, 0.2))
    (result,) = measure_groups(sample, group_rows(sample), no_calls(sample), SETTINGS)
    gap = result.gap
    assert gap is not None
    assert (gap.higher, gap.lower, gap.n_pairs) == ("1", "2", 3)
    aucs = {group.name: group.auc.value or 0.0 for group in result.groups}
    assert gap.difference.value == pytest.approx(aucs["1"] - aucs["2"])
    assert gap.difference.interval is not None
    assert 0 < gap.difference.interval.low < (gap.difference.value or 0) < gap.difference.interval.high


def test_where_no_group_differs_a_gap_holds_0_about_as_often_as_it_says() -> None:
    """Six equal groups: the largest of 15 differences, each by its own 95 % interval, would be off in every third."""
    rng, n_off, n_trials = np.random.default_rng(3), 0, 100
    for _ in range(n_trials):
        sample = make_groups(rng, (1.0,) * 6)
        (result,) = measure_groups(sample, group_rows(sample), no_calls(sample), SETTINGS)
        assert result.gap is not None
        interval = result.gap.difference.interval
        assert interval is not None
        n_off += interval.low > 0
    assert n_off <= 12  # of 100 at 5 %: more is rarer than one in 500


def test_groups_without_a_case_say_so_and_are_never_a_half(breasts: LevelSample, points: OperatingPoints) -> None:
    rows = breasts.rows.with_columns(site=pl.when(pl.col("laterality") == "R").then(pl.lit("3")).otherwise("site"))
    sample = LevelSample(
        breasts.level, breasts.rule, rows, breasts.scores, breasts.outcomes, breasts.patients, breasts.n_undetermined
    )
    (result,) = measure_groups(sample, group_sample(sample, (), ["site"]), call_scores(sample, points), SETTINGS)
    third = result.groups[2]
    assert third.auc.value is None
    assert third.auc.reason == "undefined: no case among 60 with a known outcome, needs cases and controls"
    assert third.calls[0].sensitivity.reason == "undefined: no case in the group"
    assert third.calls[0].specificity.value is not None
    assert third.calls[0].specificity.interval is not None


def test_groups_that_nothing_moves_have_a_gap_without_interval() -> None:
    sample = make_groups(np.random.default_rng(0), (100.0, 100.0))
    (result,) = measure_groups(sample, group_rows(sample), no_calls(sample), SETTINGS)
    assert result.gap is not None
    assert result.gap.difference.interval is None
    assert (result.gap.difference.reason or "").startswith("no interval: some groups do not differ by chance")


def test_without_groups_there_is_nothing_to_measure(breasts: LevelSample) -> None:
    heard: list[int] = []
    assert measure_groups(breasts, [], NO_CALLS, SETTINGS, advance=heard.append) == ()
    assert sum(heard) == SETTINGS.n_replicates
