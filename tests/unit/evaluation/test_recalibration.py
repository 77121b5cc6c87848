"""Recalibration: hand-worked maps, cross-fitting without leaks, halves of patients, reasons and refusals."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from mammoscope.errors import LeakageError, UndefinedMetricError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_calibration import cross_recalibrate, part_patients, report_calibration
from mammoscope.evaluation.recalibration import METHODS, Beta, Isotonic, Method, Platt, Temperature, fit_recalibrator

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Indices = NDArray[np.intp]
FEW = BootstrapSettings(n_replicates=20, seed=4)
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def bold(seed: int, n: int = 3000) -> tuple[Floats, Outcomes, Indices]:
    """Scores that are too bold and too high, of two breasts of each patient."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 1.2, n)
    return expit(0.8 + 1.8 * logits), rng.random(n) < expit(logits), np.arange(n) // 2


def test_the_isotonic_map_by_hand() -> None:
    outcomes = np.array([False, True, False, False, True, True])
    fitted = fit_recalibrator(SCORES, outcomes, "isotonic")
    assert isinstance(fitted, Isotonic)
    # the case at 0.2 is pooled with the controls at 0.3 and 0.4
    np.testing.assert_allclose(fitted.apply(SCORES), [0, 1 / 3, 1 / 3, 1 / 3, 1, 1])
    np.testing.assert_allclose(fitted.apply(np.array([0.0, 0.15, 0.45, 0.9])), [0, 1 / 6, 2 / 3, 1])


def test_scores_that_tie_get_their_share_of_cases() -> None:
    scores, outcomes = np.repeat([0.2, 0.7], [4, 2]), np.array([True, False, False, False, True, False])
    fitted = fit_recalibrator(scores, outcomes, "isotonic")
    np.testing.assert_allclose(fitted.apply(scores), np.repeat([0.25, 0.5], [4, 2]))


def test_a_score_without_weight_says_nothing() -> None:
    outcomes, weights = np.array([True, False, False, False, True, True]), np.array([0.0, 1, 1, 1, 1, 1])
    for method in METHODS:
        fitted = fit_recalibrator(SCORES, outcomes, method, weights=weights)
        np.testing.assert_allclose(
            fitted.apply(SCORES), fit_recalibrator(SCORES[1:], outcomes[1:], method).apply(SCORES), atol=1e-6
        )


def test_what_was_done_to_calibrated_scores_is_undone() -> None:
    rng = np.random.default_rng(0)
    chances = expit(rng.normal(-1, 1.5, 40_000))
    outcomes = rng.random(40_000) < chances
    hot = fit_recalibrator(expit(2.5 * logit(chances)), outcomes, "temperature")
    assert isinstance(hot, Temperature)
    assert hot.temperature == pytest.approx(2.5, rel=0.03)
    moved = fit_recalibrator(expit(1 + 2 * logit(chances)), outcomes, "platt")
    assert isinstance(moved, Platt)
    assert (moved.slope, moved.intercept) == pytest.approx((0.5, -0.5), abs=0.03)
    fitted = fit_recalibrator(chances, outcomes, "beta")
    assert isinstance(fitted, Beta)
    assert (fitted.a, fitted.b, fitted.c) == pytest.approx((1, 1, 0), abs=0.12)
    for method in METHODS:
        mapped = fit_recalibrator(chances, outcomes, method).apply(chances)
        assert np.abs(mapped - chances).mean() < 0.01, method


def test_beta_maps_never_fall_though_the_scores_know_less_than_nothing() -> None:
    scores, outcomes, _ = bold(1)
    fitted = fit_recalibrator(1 - scores, outcomes, "beta")
    assert isinstance(fitted, Beta)
    assert (fitted.a, fitted.b) == pytest.approx((0, 0), abs=1e-9)
    assert fitted.apply(np.array([0.1, 0.9])) == pytest.approx(outcomes.mean(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_cases_that_are_parted_from_controls_have_a_map(method: Method) -> None:
    mapped = fit_recalibrator(SCORES, SCORES > 0.35, method).apply(SCORES)
    assert np.isfinite(mapped).all()
    assert (np.diff(mapped) >= 0).all()
    assert mapped[-1] > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_0_and_1_are_mapped_into_the_range(method: Method) -> None:
    scores = np.r_[0.0, SCORES, 1.0]
    mapped = fit_recalibrator(scores, np.arange(8) % 3 == 1, method).apply(scores)
    assert ((mapped >= 0) & (mapped <= 1)).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_score_is_mapped_by_its_own_fold(method: Method) -> None:
    scores, outcomes, patients = bold(2, 400)
    folds = patients % 4
    changed = np.where(folds == 2, ~outcomes, outcomes)
    before, after = (cross_recalibrate(scores, of, folds=folds, method=method) for of in (outcomes, changed))
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert (before[folds != 2] != after[folds != 2]).any()


@pytest.mark.parametrize("method", METHODS)
def test_cross_fitting_is_a_plain_loop_over_folds(method: Method) -> None:
    scores, outcomes, patients = bold(3, 300)
    folds = 7 + 2 * (patients % 3)
    expected = np.zeros(300)
    for fold in (7, 9, 11):
        others = folds != fold
        expected[~others] = fit_recalibrator(scores[others], outcomes[others], method).apply(scores[~others])
    np.testing.assert_array_equal(cross_recalibrate(scores, outcomes, folds=folds, method=method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_at_a_target_prevalence_the_mean_is_the_prevalence(method: Method) -> None:
    scores, outcomes, patients = bold(4)
    report = report_calibration(
        scores, outcomes, patients=patients, folds=patients % 3, settings=FEW, prevalence=0.02, methods=(method,)
    )
    after = report.recalibrations[0].after
    assert after is not None
    assert after.prevalence == 0.02
    assert after.mean_score.value is not None
    if method == "temperature":  # which cannot
        assert after.mean_score.value > 0.05
    else:
        assert after.mean_score.value == pytest.approx(0.02, abs=0.002)


def test_platt_on_few_breasts_expects_as_many_cases_as_there_are_at_a_small_prevalence() -> None:
    """Fitted on weighted scores, his targets would expect nearly three times as many: 1 of 107 controls, at 0.005."""
    rng = np.random.default_rng(0)
    outcomes = np.arange(120) < 15
    scores = expit(rng.normal(np.where(outcomes, 0.5, -1.5), 1.0))
    report = report_calibration(
        scores, outcomes, patients=np.arange(120), folds=np.arange(120) % 3, settings=FEW, prevalence=0.005,
        methods=("platt",),
    )  # fmt: skip
    after = report.recalibrations[0].after
    assert after is not None
    assert after.mean_score.value == pytest.approx(0.005, rel=0.25)


def test_platt_at_the_prevalence_of_its_own_breasts_is_platt() -> None:
    scores, outcomes, _ = bold(6, 400)
    fitted = fit_recalibrator(scores, outcomes, "platt")
    assert isinstance(fitted, Platt)
    same = fitted.at_prevalence(scores, float(fitted.apply(scores).mean()))
    assert same.intercept == pytest.approx(fitted.intercept)
    rarer = fitted.at_prevalence(scores, 0.01)
    own = float(fitted.apply(scores).mean())
    odds = fitted.apply(scores) / (1 - fitted.apply(scores))
    np.testing.assert_allclose(
        rarer.apply(scores) / (1 - rarer.apply(scores)), odds * (0.01 / 0.99) / (own / (1 - own)), rtol=1e-9
    )


def test_scores_are_better_calibrated_after_than_before() -> None:
    scores, outcomes, patients = bold(5, 6000)
    report = report_calibration(scores, outcomes, patients=patients, folds=patients % 5, settings=FEW)
    assert report.crossed_over == "folds"
    before = report.before
    assert [each.method for each in report.recalibrations] == list(METHODS)
    for each in report.recalibrations:
        assert each.after is not None
        assert each.reason is None
        for name in ("expected_calibration_error", "reliability", "brier"):
            assert getattr(each.after, name).value < getattr(before, name).value, (each.method, name)
        if each.method in {"platt", "beta"}:
            assert each.after.calibration_slope.value == pytest.approx(1, abs=0.05)
            assert each.after.calibration_in_the_large.value == pytest.approx(0, abs=0.05)
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize("folds", [None, np.zeros(3000, np.intp)])
def test_without_folds_halves_of_patients_take_their_place(folds: Indices | None) -> None:
    scores, outcomes, patients = bold(6)
    report = report_calibration(scores, outcomes, patients=patients, folds=folds, settings=FEW, methods=("platt",))
    assert report.crossed_over == "patient halves"
    halves = part_patients(outcomes, patients, 2, FEW.generator())
    by_hand = report_calibration(scores, outcomes, patients=patients, folds=halves, settings=FEW, methods=("platt",))
    assert by_hand.recalibrations == report.recalibrations


def test_a_patient_alone_has_no_others_to_fit_a_map_on() -> None:
    scores, outcomes, heard = np.array([0.9, 0.2, 0.6, 0.4]), np.array([True, False, True, False]), list[int]()
    one = np.zeros(4, np.intp)
    report = report_calibration(scores, outcomes, patients=one, folds=None, settings=FEW, advance=heard.append)
    assert report.before.brier.value == pytest.approx((0.01 + 0.04 + 0.16 + 0.16) / 4)
    for each in report.recalibrations:
        assert each.after is None
        assert str(each.reason).startswith("undefined: one patient, expected two or more")
    assert sum(heard) == (1 + len(METHODS)) * FEW.n_replicates


def test_a_patient_is_in_one_half_and_cases_are_in_both() -> None:
    patients = np.random.default_rng(7).integers(0, 200, 900)
    outcomes = np.isin(patients, [3, 50, 120, 121, 199]) & (np.arange(900) % 2 == 0)
    for seed in range(20):
        halves = part_patients(outcomes, patients, 2, np.random.default_rng(seed))
        for patient in range(200):
            assert len(set(halves[patients == patient])) <= 1
        n_with_cases = [len(set(patients[outcomes & (halves == half)])) for half in (0, 1)]
        assert sorted(n_with_cases) == [2, 3]
    other = part_patients(outcomes, patients, 2, np.random.default_rng(99))
    assert (other != halves).any()


def test_where_the_other_folds_have_no_case_there_is_a_reason() -> None:
    scores, outcomes, patients = bold(8, 60)
    folds = patients % 2
    heard: list[int] = []
    report = report_calibration(
        scores, outcomes & (folds == 0), patients=patients, folds=folds, settings=FEW, advance=heard.append
    )
    assert sum(heard) == 5 * 20
    for each in report.recalibrations:
        assert each.after is None
        assert each.fitted_on_all is not None
        assert each.reason == (
            "undefined: no case among 30 with a known outcome, needs cases and controls, in the folds other than fold 0"
        )


@pytest.mark.parametrize("n", [0, 8])
def test_one_class_only_has_a_reason_before_and_after(n: int) -> None:
    heard: list[int] = []
    report = report_calibration(
        np.linspace(0.1, 0.9, n),
        np.zeros(n, bool),
        patients=np.arange(n),
        folds=None,
        settings=FEW,
        advance=heard.append,
    )
    assert sum(heard) == 5 * 20
    assert report.before.brier.value is None
    for each in report.recalibrations:
        assert (each.fitted_on_all, each.after) == (None, None)
        assert each.reason == report.before.brier.reason


def test_one_fold_is_refused_where_folds_are_asked_for() -> None:
    with pytest.raises(UserInputError, match="found one fold, expected two or more; part the patients into halves"):
        cross_recalibrate(SCORES, SCORES > 0.3, folds=np.zeros(6, np.intp), method="platt")


def test_a_patient_in_two_folds_is_refused() -> None:
    with pytest.raises(LeakageError, match="2 patients stand in more than one fold, expected each in one"):
        report_calibration(
            SCORES,
            np.arange(6) % 2 == 0,
            patients=np.array([0, 0, 1, 1, 2, 2]),
            folds=np.array([0, 1, 0, 1, 0, 0]),
            settings=FEW,
        )


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UserInputError, match="found method 'spline', expected one of temperature, platt, isotonic, b"):
        fit_recalibrator(SCORES, SCORES > 0.3, "spline")  # type: ignore[arg-type]  # what a caller without types may give


def test_one_class_has_no_map() -> None:
    with pytest.raises(UndefinedMetricError, match="undefined: no case among 6"):
        fit_recalibrator(SCORES, np.zeros(6, bool), "platt")


def test_a_prevalence_that_is_none_is_refused() -> None:
    with pytest.raises(UserInputError, match="prevalence: found 0"):
        cross_recalibrate(SCORES, SCORES > 0.3, folds=np.arange(6) % 2, method="platt", prevalence=0.0)
