"""The difference of two AUCs: hand-worked, paired, over patients, and against scipy's bootstrap."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings, Interval
from mammoscope.evaluation.comparison import AucDifference, compare_aucs, paired_auc_difference

Floats = NDArray[np.float64]
SETTINGS = BootstrapSettings(n_replicates=2000, seed=1)


def sample(n: int = 300) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Two scores that have most of their noise in common; the second is a little better."""
    rng = np.random.default_rng(0)
    outcomes = np.arange(n) % 5 == 0
    noise = rng.normal(size=n)
    return outcomes + noise, 1.3 * outcomes + noise + 0.3 * rng.normal(size=n), outcomes


def compare(
    first: Floats, second: Floats, outcomes: NDArray[np.bool_], patients: NDArray[np.intp] | None = None
) -> AucDifference:
    patients = np.arange(len(outcomes)) if patients is None else patients
    return paired_auc_difference(first, second, outcomes=outcomes, patients=patients, settings=SETTINGS)


def interval_of(difference: AucDifference) -> Interval:
    assert difference.difference.interval is not None
    return difference.difference.interval


def test_a_difference_by_hand() -> None:
    outcomes = np.array([True, True, False, False])
    # pairs won: 0.9 over both, 0.4 over 0.2 only; then all but a tie
    both = compare(np.array([0.9, 0.4, 0.6, 0.2]), np.array([0.9, 0.6, 0.6, 0.2]), outcomes)
    assert (both.first.value, both.second.value) == (3 / 4, 3.5 / 4)
    assert both.difference.value == pytest.approx(0.5 / 4)


def test_the_other_way_round_it_is_the_opposite() -> None:
    first, second, outcomes = sample()
    one, other = compare(first, second, outcomes), compare(second, first, outcomes)
    assert one.first == other.second
    assert one.difference.value == pytest.approx(-(other.difference.value or 0))
    assert interval_of(one).low == pytest.approx(-interval_of(other).high)


def test_a_score_is_no_better_than_itself() -> None:
    first, _, outcomes = sample()
    same = compare(first, np.exp(first), outcomes)
    assert same.difference.value == 0
    assert (interval_of(same).low, interval_of(same).high) == (0, 0)


def test_the_interval_agrees_with_scipy_where_every_score_is_a_patient() -> None:
    first, second, outcomes = sample()
    ours = interval_of(compare(first, second, outcomes))

    def difference(one: Floats, other: Floats, labels: Floats) -> float:
        is_case = labels > 0
        won_by_one, won_by_other = (of[is_case][:, np.newaxis] > of[~is_case] for of in (one, other))
        return float(won_by_other.mean() - won_by_one.mean())

    theirs = bootstrap(
        (first, second, outcomes.astype(np.float64)),
        difference,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(6),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_what_both_have_in_common_is_no_part_of_the_difference() -> None:
    both = compare(*sample())
    assert both.first.interval is not None
    single = both.first.interval.high - both.first.interval.low
    assert interval_of(both).high - interval_of(both).low < single / 2


def test_intervals_resample_patients_not_breasts() -> None:
    first, second, outcomes = sample(60)
    once = interval_of(compare(first, second, outcomes))
    ninefold = compare(np.repeat(first, 9), np.repeat(second, 9), np.repeat(outcomes, 9), np.repeat(np.arange(60), 9))
    assert (interval_of(ninefold).low, interval_of(ninefold).high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(("n_cases", "missing"), [(0, "case"), (3, "control")])
def test_one_class_only_has_a_reason(n_cases: int, missing: str) -> None:
    heard = list[int]()
    none = paired_auc_difference(
        np.arange(3.0),
        np.arange(3.0),
        outcomes=np.arange(3) < n_cases,
        patients=np.arange(3),
        settings=SETTINGS,
        advance=heard.append,
    )
    assert heard == [2000]
    for each in (none.first, none.second, none.difference):
        assert (each.value, each.interval) == (None, None)
        assert each.reason is not None
        assert each.reason.startswith(f"undefined: no {missing} among 3")


def test_one_patient_with_cancer_gives_no_interval() -> None:
    first, second, _ = sample(10)
    one = compare(first, second, np.arange(10) == 4)
    assert one.difference.value is not None
    assert one.difference.interval is None
    assert one.difference.reason == "no interval: 1 patient with cases, needs 2"


def test_bootstrap_and_delong_agree_over_patients() -> None:
    first, second, outcomes = sample(1200)
    patients = np.arange(1200) // 3
    settings = BootstrapSettings(n_replicates=2000, seed=1, confidence=0.8)
    both = compare_aucs(first, second, outcomes=outcomes, patients=patients, settings=settings)
    assert both.bootstrap == paired_auc_difference(
        first, second, outcomes=outcomes, patients=patients, settings=settings
    )
    interval = interval_of(both.bootstrap)
    assert both.delong.difference.value == pytest.approx(both.bootstrap.difference.value)
    # the ends of 2,000 replicates are known to about a fifteenth of the interval's half width
    near = (interval.high - interval.low) / 10
    assert both.delong.difference.low == pytest.approx(interval.low, abs=near)
    assert both.delong.difference.high == pytest.approx(interval.high, abs=near)


def test_lists_of_several_lengths_are_refused() -> None:
    first, second, outcomes = sample(10)
    with pytest.raises(UserInputError, match="found lists of 10, 9, 10, 10, expected four of one length"):
        compare(first, second[:9], outcomes)


def test_a_score_that_is_no_number_is_refused() -> None:
    first, second, outcomes = sample(10)
    with pytest.raises(UserInputError, match="found NaN or infinity"):
        compare(first, np.where(second == second.max(), np.nan, second), outcomes)
