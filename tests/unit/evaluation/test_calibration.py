"""Calibration: hand-worked bins and Brier parts, intervals over patients, reasons and refusals."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.calibration import FIGURES, Calibration, measure_calibration, number_bins
from mammoscope.evaluation.cox import CLIP, prepare_cox

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
FEW = BootstrapSettings(n_replicates=100)
# two bins of four: 0.1 0.1 0.2 0.4 with one case (of 0.4), 0.6 0.6 0.8 0.8 with three (not the first 0.6)
SCORES = np.array([0.1, 0.1, 0.2, 0.4, 0.6, 0.6, 0.8, 0.8])
OUTCOMES = np.array([False, False, False, True, False, True, True, True])


def measure(
    scores: Floats, outcomes: Outcomes, patients: NDArray[np.intp] | None = None, **given: object
) -> Calibration:
    numbers = np.arange(len(scores)) if patients is None else patients
    return measure_calibration(scores, outcomes, patients=numbers, **{"settings": FEW} | given)  # type: ignore[arg-type]  # by name


def calibrated(seed: int, n: int = 2000) -> tuple[Floats, Outcomes, NDArray[np.intp]]:
    """Scores that are the chances of their outcomes, of two breasts of each patient that are alike."""
    rng = np.random.default_rng(seed)
    chances = 1 / (1 + np.exp(1.5 - np.repeat(rng.normal(size=n // 2), 2) - 0.7 * rng.normal(size=n)))
    return chances, rng.random(n) < chances, np.arange(n) // 2


def test_two_bins_by_hand() -> None:
    found = measure(SCORES, OUTCOMES, n_bins=2)
    assert [(each.low, each.high, each.n, each.n_cases) for each in found.bins] == [(0.1, 0.4, 4, 1), (0.6, 0.8, 4, 3)]
    assert [each.mean_score for each in found.bins] == pytest.approx([0.2, 0.7])
    assert [each.share_of_cases.value for each in found.bins] == [0.25, 0.75]
    values = {name: getattr(found, name).value for name in FIGURES if not name.startswith("calibration")}
    assert values == pytest.approx(
        {
            "mean_score": 0.45,
            "observed_to_expected": 0.5 / 0.45,
            "expected_calibration_error": (0.05 + 0.05) / 2,
            "brier": (0.01 + 0.01 + 0.04 + 0.36 + 0.36 + 0.16 + 0.04 + 0.04) / 8,
            "reliability": 0.05**2,
            "resolution": 0.25**2,
            "uncertainty": 0.25,
            "within_bin_variance": (0.01 + 0.01 + 0 + 0.04 + 4 * 0.01) / 8,
            # sums of (outcome - share)(score - mean): 0.2 of the first case, then -0.1 + 0.1 + 0.1 of the other cases
            "within_bin_covariance": 2 * (0.2 + 0.1) / 8,
        }
    )


def test_the_parts_of_the_brier_score_add_up_to_it() -> None:
    for n_bins in (1, 3, 10, 100):
        found = measure(*calibrated(0, 300), n_bins=n_bins)
        parts = [
            getattr(found, name).value
            for name in ("reliability", "resolution", "uncertainty", "within_bin_variance", "within_bin_covariance")
        ]
        assert np.array([1, -1, 1, 1, -1]) @ parts == pytest.approx(found.brier.value, abs=1e-14)


def test_where_each_bin_has_one_score_the_parts_are_those_of_murphy() -> None:
    scores = np.repeat([0.1, 0.3, 0.7], [30, 20, 10])
    found = measure(scores, np.arange(60) % 4 == 0, n_bins=10)
    assert [each.n for each in found.bins] == [30, 20, 10]
    assert found.within_bin_variance.value == pytest.approx(0, abs=1e-15)
    assert found.within_bin_covariance.value == pytest.approx(0, abs=1e-15)


def test_bins_hold_equal_numbers_and_equal_scores_stay_together() -> None:
    rng = np.random.default_rng(1)
    assert set(np.bincount(number_bins(rng.random(1000), 10))) == {100}
    assert np.ptp(np.bincount(number_bins(rng.random(1003), 10))) <= 1
    tied = np.round(rng.beta(1, 20, 500), 2)
    bins = number_bins(tied, 10)
    for score in np.unique(tied):
        assert len(set(bins[tied == score])) == 1
    assert sorted(set(bins)) == list(range(bins.max() + 1))
    assert (np.diff(bins[np.argsort(tied)]) >= 0).all()
    assert number_bins(np.full(5, 0.3), 10).tolist() == [0] * 5
    assert number_bins(rng.random(3), 10).tolist() != [0] * 3


def test_bins_by_weight_are_bins_of_repetitions() -> None:
    scores, times = np.linspace(0, 1, 50), np.random.default_rng(2).integers(1, 5, 50)
    weighted = number_bins(scores, 7, times.astype(np.float64))
    np.testing.assert_array_equal(np.repeat(weighted, times), number_bins(np.repeat(scores, times), 7))


def test_calibrated_scores_are_within_chance_of_calibrated() -> None:
    found = measure(*calibrated(3, 6000), settings=BootstrapSettings(n_replicates=400))
    for name, truth in (
        ("observed_to_expected", 1),
        ("calibration_in_the_large", 0),
        ("calibration_slope", 1),
        ("expected_calibration_error", 0),
        ("reliability", 0),
    ):
        interval = getattr(found, name).interval
        assert interval.low <= truth <= interval.high, name


def test_scores_that_are_too_bold_and_too_high_are_seen_as_such() -> None:
    chances, outcomes, patients = calibrated(4, 6000)
    logits = np.log(chances / (1 - chances))
    found = measure(1 / (1 + np.exp(-(2 * logits + 1))), outcomes, patients)
    assert found.calibration_slope.value == pytest.approx(0.5, abs=0.05)
    assert found.calibration_slope.interval is not None
    assert found.calibration_slope.interval.high < 0.6
    raised = measure(1 / (1 + np.exp(-(logits + 1))), outcomes, patients)
    assert raised.calibration_in_the_large.value == pytest.approx(-1, abs=0.1)
    assert raised.calibration_slope.value == pytest.approx(1, abs=0.1)
    assert raised.expected_calibration_error.interval is not None
    assert raised.expected_calibration_error.interval.low > 0.05


def test_the_reliability_curve_has_the_intervals_of_shares_of_patients() -> None:
    rng = np.random.default_rng(5)
    chances = np.repeat([0.2, 0.6], 1000)
    found = measure(chances, rng.random(2000) < chances, settings=BootstrapSettings(n_replicates=1000))
    for each in found.bins:
        value, interval = each.share_of_cases.value, each.share_of_cases.interval
        assert value is not None
        assert interval is not None
        half = 1.96 * np.sqrt(value * (1 - value) / 1000)
        assert (interval.low, interval.high) == pytest.approx((value - half, value + half), abs=half / 5)


def test_more_of_the_same_breasts_do_not_narrow_an_interval() -> None:
    scores, outcomes, patients = calibrated(6)
    once = measure(scores, outcomes, patients)
    copies = measure(np.tile(scores, 3), np.tile(outcomes, 3), np.tile(patients, 3))
    for name in FIGURES:
        one, other = getattr(once, name), getattr(copies, name)
        assert other.value == pytest.approx(one.value, abs=1e-9)
        assert (other.interval.low, other.interval.high) == pytest.approx(
            (one.interval.low, one.interval.high), abs=1e-6
        ), name


def test_scores_of_0_and_1_are_counted_and_have_a_slope() -> None:
    scores = np.r_[0.0, 1.0, SCORES]
    found = measure(scores, np.r_[False, True, OUTCOMES])
    assert found.n_clipped == 2
    moved = measure(np.r_[CLIP, 1 - CLIP, SCORES], np.r_[False, True, OUTCOMES])
    assert moved.n_clipped == 0
    assert found.calibration_slope.value == pytest.approx(moved.calibration_slope.value)
    assert found.brier.value == pytest.approx(moved.brier.value, abs=1e-6)


def test_at_another_prevalence_calibration_in_the_large_moves_by_the_odds() -> None:
    """Weights on the classes move the log odds of the outcomes alike at all scores; the slope stays near."""
    scores, outcomes, patients = calibrated(7, 8000)
    share = outcomes.mean()
    plain, moved = (measure(scores, outcomes, patients, prevalence=prevalence) for prevalence in (None, 0.01))
    shift = np.log(0.01 / 0.99) - np.log(share / (1 - share))
    assert plain.calibration_in_the_large.value is not None
    assert moved.calibration_in_the_large.value is not None
    assert moved.calibration_in_the_large.value < plain.calibration_in_the_large.value - 2
    assert moved.calibration_in_the_large.value == pytest.approx(shift, abs=0.3)
    assert (moved.prevalence, moved.n_cases) == (0.01, int(outcomes.sum()))
    assert moved.uncertainty.value == pytest.approx(0.01 * 0.99)
    assert moved.observed_to_expected.value is not None
    assert moved.mean_score.value is not None
    assert moved.observed_to_expected.value * moved.mean_score.value == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        (np.zeros(8, bool), "undefined: no case among 8 with a known outcome, needs cases and controls"),
        (np.ones(8, bool), "undefined: no control among 8 with a known outcome, needs cases and controls"),
    ],
)
def test_one_class_only_has_a_reason(outcomes: Outcomes, reason: str) -> None:
    heard: list[int] = []
    found = measure(SCORES, outcomes, advance=heard.append)
    assert heard == [100]
    assert found.bins == ()
    for name in FIGURES:
        each = getattr(found, name)
        assert (each.value, each.interval, each.reason) == (None, None, reason)


def test_no_score_at_all_has_a_reason() -> None:
    found = measure(np.zeros(0), np.zeros(0, bool))
    assert found.brier.reason == "undefined: no score with a known outcome"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.full(8, 0.3), "undefined: all scores are equal, or as good as that, so that they have no slope"),
        (
            np.where(OUTCOMES, 0.5, 0.4),
            "undefined: a threshold parts all cases from all controls, so that no slope is steep enough",
        ),
        (
            np.where(OUTCOMES, 0.4, 0.5),
            "undefined: a threshold parts all cases from all controls, so that no slope is steep enough",
        ),
        # a case and a control tie, and all others are parted
        (
            np.array([0.1, 0.1, 0.2, 0.5, 0.5, 0.6, 0.8, 0.8]),
            "undefined: a threshold parts all cases from all controls, so that no slope is steep enough",
        ),
    ],
)
def test_scores_without_a_slope_say_so_and_have_all_else(scores: Floats, reason: str) -> None:
    found = measure(scores, OUTCOMES)
    assert found.calibration_slope.value is None
    assert found.calibration_slope.reason == reason
    assert found.calibration_in_the_large.value is not None
    assert found.brier.value is not None


def test_scores_of_0_only_have_nothing_expected() -> None:
    found = measure(np.zeros(8), OUTCOMES)
    assert found.observed_to_expected.value is None
    assert found.observed_to_expected.reason == "undefined: all scores are 0"
    assert found.brier.value == 0.5


def test_replicates_without_a_slope_are_counted() -> None:
    """One case alone lies among the controls: she is missing in about (1 - 1/40)^40 of the replicates, that is 36 %."""
    scores, outcomes = np.r_[0.25, 0.6, 0.7, np.linspace(0.05, 0.3, 37)], np.arange(40) < 3
    found = measure(scores, outcomes, settings=BootstrapSettings(n_replicates=400))
    assert found.calibration_slope.interval is not None
    assert found.brier.interval is not None
    assert 0.3 < found.calibration_slope.interval.n_undefined / 400 < 0.45
    assert found.calibration_slope.interval.high < 30  # as steep as scores can be that overlap, not as many steps allow
    assert found.brier.interval.n_undefined / 400 == pytest.approx((1 - 3 / 40) ** 40, abs=0.04)


def test_bins_with_cases_of_one_patient_have_no_interval() -> None:
    found = measure(SCORES, OUTCOMES, n_bins=2)
    assert found.bins[0].share_of_cases.interval is None
    assert found.bins[0].share_of_cases.reason == "no interval: 1 patient with cases, needs 2"
    one = measure(SCORES, OUTCOMES, np.where(OUTCOMES, 0, np.arange(8)))
    assert one.expected_calibration_error.interval is None
    assert one.expected_calibration_error.reason == "no interval: 1 patient with cases, needs 2"


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_scores_that_are_no_chances_are_refused(value: float) -> None:
    with pytest.raises(UserInputError, match=r"found 1 of 9 scores outside \[0, 1\] or NaN, expected chances; apply"):
        measure(np.r_[SCORES, value], np.r_[OUTCOMES, True])


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(UserInputError, match="calibration: found lists of 8, 8, 7, expected three of one length"):
        measure(SCORES, OUTCOMES, np.arange(7))


@pytest.mark.parametrize("n_bins", [0, -1])
def test_no_bins_are_refused(n_bins: int) -> None:
    with pytest.raises(UserInputError, match=rf"found {n_bins} bins, expected 1 or more, such as 10"):
        measure(SCORES, OUTCOMES, n_bins=n_bins)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, float("nan")])
def test_a_prevalence_that_is_none_is_refused(prevalence: float) -> None:
    with pytest.raises(UserInputError, match="prevalence: found"):
        measure(SCORES, OUTCOMES, prevalence=prevalence)


def test_the_record_is_json() -> None:
    content = json.loads(json.dumps(measure(SCORES, OUTCOMES, n_bins=2).to_json(), allow_nan=False))
    assert content["brier"]["value"] == pytest.approx(0.1275)
    assert [each["n"] for each in content["bins"]] == [4, 4]


def test_the_grid_of_logits_is_as_good_as_all_of_them() -> None:
    scores, outcomes, patients = calibrated(9, 5000)
    counts = np.random.default_rng(0).poisson(1.0, (20, 2500)).astype(np.float64)
    for prevalence in (None, 0.01):
        on_grid = prepare_cox(scores, outcomes, patients).fit(counts, prevalence=prevalence)
        exact = prepare_cox(scores, outcomes, patients, n_points=5000).fit(counts, prevalence=prevalence)
        np.testing.assert_allclose(on_grid, exact, atol=2e-5)


def test_where_the_fit_starts_says_nothing() -> None:
    scores, outcomes, patients = calibrated(10, 500)
    model, counts = prepare_cox(scores, outcomes, patients), np.ones((1, 250))
    fits = [model.fit(counts, prevalence=None, start=start) for start in ((0.0, 1.0), (3.0, -2.0), (-6.0, 0.0))]
    np.testing.assert_allclose(fits[1], fits[0], atol=1e-8)
    np.testing.assert_allclose(fits[2], fits[0], atol=1e-8)


def test_scores_that_differ_by_rounding_have_no_slope() -> None:
    rng = np.random.default_rng(0)
    scores = np.full(200, 0.1) + rng.integers(0, 4, 200) * 1e-9
    calibration = measure_calibration(
        scores, rng.random(200) < 0.1, patients=np.arange(200), settings=BootstrapSettings(n_replicates=50)
    )
    slope = calibration.calibration_slope
    assert slope.value is None
    assert slope.reason == "undefined: all scores are equal, or as good as that, so that they have no slope"
    assert calibration.calibration_in_the_large.value is not None
