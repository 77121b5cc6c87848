"""Readers on the ROC curve: by hand, against a plain loop, what the average keeps, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.comparison import paired_auc_difference
from mammoscope.evaluation.given_scores import GivenSettings, read_given_scores
from mammoscope.evaluation.levels import LevelSample, sample_level
from mammoscope.evaluation.multireader import compare_with_readers
from mammoscope.evaluation.reader_study import ReaderStudy, cross_readers
from mammoscope.evaluation.readers_on_roc import NO_CUT, NO_MODEL, ReadersOnRoc, place_readers, read_off
from mammoscope.evaluation.scores import aggregate_to_breasts

SETTINGS = BootstrapSettings(n_replicates=300)
OUTCOMES = np.array([True, True, True, True, False, False, False, False])
CALLS = np.array([[1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]], np.float64)
MODEL = np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.5, 0.2, 0.1])


def study_of(
    ratings: NDArray[np.float64],
    model: NDArray[np.float64] | None = MODEL,
    outcomes: NDArray[np.bool_] = OUTCOMES,
    patients: NDArray[np.intp] | None = None,
) -> ReaderStudy:
    return ReaderStudy(
        level="breast",
        names=tuple(f"reader {number}" for number in range(len(ratings))),
        ratings=ratings,
        model=model,
        outcomes=outcomes,
        patients=np.arange(len(outcomes)) if patients is None else patients,
        n_left_out=(0,) * len(ratings),
    )


def graded(n: int = 120) -> ReaderStudy:
    """Three readers who give five grades, two breasts of each patient."""
    rng = np.random.default_rng(4)
    outcomes = np.arange(n) % 3 == 0
    signal = rng.normal(size=n) + 1.2 * outcomes
    grades = np.digitize(signal + 0.8 * rng.normal(size=(3, n)), [-0.5, 0.5, 1, 1.8]) / 4
    return study_of(grades, 1 / (1 + np.exp(-signal)), outcomes, np.arange(n) // 2)


def place(study: ReaderStudy, **options: Any) -> ReadersOnRoc:  # noqa: ANN401  # whatever a test changes
    return place_readers(study, settings=SETTINGS, **options)


def test_two_readers_who_gave_calls_by_hand() -> None:
    # reader 0 found 3 of 4 and called 1 of 4 controls; reader 1 found 2 of 4 and called none
    found = place(study_of(CALLS))
    first, second = found.each
    assert (first.sensitivity.value, first.specificity.value) == (0.75, 0.75)
    assert (second.sensitivity.value, second.specificity.value) == (0.5, 1)
    # the model's corners: (0, 0.75) (0.25, 0.75) (0.5, 0.75) (0.5, 1) (1, 1)
    assert (first.model_sensitivity.value, first.model_specificity.value) == (0.75, 1)
    assert (second.model_sensitivity.value, second.model_specificity.value) == (0.75, 1)
    assert (first.sensitivity_above.value, second.sensitivity_above.value) == (0, 0.25)
    assert (first.specificity_above.value, second.specificity_above.value) == (0.25, 0)
    assert found.mean_sensitivity is not None
    assert found.mean_specificity is not None
    assert (found.mean_sensitivity.value, found.mean_specificity.value) == (0.625, 0.875)
    assert found.sensitivity_above is not None
    assert found.sensitivity_above.value == pytest.approx(0.125)
    assert first.curve is None


def test_a_curve_is_read_off_at_its_best_where_it_is_straight() -> None:
    rates, sensitivities = np.array([[0.1, 0.1, 0.3, 0.3, 1]]), np.array([[0, 0.5, 0.5, 0.9, 1]])
    at = np.array([[0.95, 0.9, 0.8, 0.7]])
    sensitivity, specificity = read_off(rates, sensitivities, specificity=at, sensitivity=np.array([[0, 0.5, 0.7, 1]]))
    assert sensitivity.tolist() == [pytest.approx([0, 0.5, 0.5, 0.9])]
    assert specificity.tolist() == [pytest.approx([1, 0.9, 0.7, 0], abs=1e-8)]


def test_intervals_are_those_of_a_plain_loop_over_patients() -> None:
    study = graded()
    assert study.model is not None
    found = place(study, cut=0.75)
    n_patients = int(study.patients.max()) + 1
    drawn = SETTINGS.generator().integers(0, n_patients, size=(SETTINGS.n_replicates, n_patients))
    replicates = []
    for replicate in drawn:
        rows = np.concatenate([np.flatnonzero(study.patients == patient) for patient in replicate])
        outcomes, grades, scores = study.outcomes[rows], study.ratings[1, rows], study.model[rows]
        called = grades >= 0.75
        sensitivity, specificity = called[outcomes].mean(), (~called[~outcomes]).mean()
        rates, heights, _ = roc_curve(outcomes, scores, drop_intermediate=False)
        reached = np.interp(1 - specificity + 1e-9, rates, heights)
        backwards = 1 - np.interp(1e-9 - sensitivity, -heights[::-1], rates[::-1])
        replicates.append((sensitivity, specificity, reached - sensitivity, backwards - specificity))
    low, high = np.quantile(replicates, [0.025, 0.975], axis=0)
    reader = found.each[1]
    estimates = (reader.sensitivity, reader.specificity, reader.sensitivity_above, reader.specificity_above)
    for number, estimate in enumerate(estimates):
        assert estimate.interval is not None
        assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low[number], high[number]))


def test_the_average_curve_keeps_the_mean_of_the_areas() -> None:
    study = graded()
    found = place(study, cut=0.75)
    assert found.average_curve is not None
    areas = [roc_auc_score(study.outcomes, own) for own in study.ratings]
    # its corners lie between the rates at which it is drawn
    assert np.trapezoid(found.average_curve.true_positive_rate, found.average_curve.false_positive_rate) == (
        pytest.approx(np.mean(areas), abs=2e-3)
    )
    assert [reader.auc.value for reader in found.each] == pytest.approx(areas)
    assert found.each[0].curve is not None
    assert np.trapezoid((0, *found.each[0].curve.sensitivity), (0, *found.each[0].curve.false_positive_rate)) == (
        pytest.approx(areas[0])
    )


def test_the_model_beside_the_readers_is_that_of_the_analysis_of_variance() -> None:
    study = graded()
    assert study.model is not None
    found = place(study)
    compared = compare_with_readers(study.model, study.ratings, outcomes=study.outcomes, patients=study.patients)
    assert found.auc_above == compared
    assert found.reasons == (NO_CUT,)
    assert found.each[0].sensitivity.reason == NO_CUT
    assert (found.mean_sensitivity, found.sensitivity_above) == (None, None)


def test_one_fixed_reader_against_the_model_has_the_interval_of_the_paired_difference() -> None:
    # sensitivity at a cut is half of what the AUC of calls moves by when all controls are passed
    study = graded()
    assert study.model is not None
    ratings = np.where(study.outcomes, study.ratings[:1] >= 0.5, 0.0)
    model = np.where(study.outcomes, study.model, 0.0)
    one = study_of(ratings.astype(np.float64), model, study.outcomes, study.patients)
    found = place(one, readers="fixed").each[0]
    paired = paired_auc_difference(
        ratings[0].astype(np.float64),
        np.where(study.outcomes, 1.0, 0.0),
        outcomes=study.outcomes,
        patients=study.patients,
        settings=SETTINGS,
    )
    assert found.sensitivity_above.value == pytest.approx(2 * (paired.difference.value or 0))
    assert found.sensitivity_above.interval is not None
    assert paired.difference.interval is not None
    assert found.sensitivity_above.interval.low == pytest.approx(2 * paired.difference.interval.low)
    assert found.sensitivity_above.interval.high == pytest.approx(2 * paired.difference.interval.high)


def test_other_readers_add_to_the_uncertainty() -> None:
    study = graded()
    random, fixed = place(study, cut=0.75), place(study, cut=0.75, readers="fixed")
    assert random.mean_sensitivity is not None
    assert fixed.mean_sensitivity is not None
    assert random.mean_sensitivity.value == fixed.mean_sensitivity.value
    assert random.mean_sensitivity.degrees_of_freedom is not None
    assert fixed.mean_sensitivity.degrees_of_freedom is None
    spread = np.var([reader.sensitivity.value or 0.0 for reader in random.each], ddof=1) / 3
    assert random.mean_sensitivity.standard_error**2 > spread
    assert json.dumps(random.to_json(), allow_nan=False)


def test_readers_without_a_model() -> None:
    found = place(study_of(CALLS, model=None))
    assert found.each[0].model_sensitivity.reason == NO_MODEL
    assert (found.model_curve, found.auc_above) == (None, None)
    assert NO_MODEL in found.reasons
    assert json.dumps(found.to_json(), allow_nan=False)


def test_the_area_of_calls_is_not_held_against_a_model() -> None:
    found = place(study_of(CALLS))
    assert found.auc_above is None
    assert found.reasons[0].startswith(
        "how far the AUC of the scores is above the readers' is undefined: a reader gave calls"
    )


def test_one_patient_with_cases_has_points_without_intervals() -> None:
    found = place(study_of(CALLS, patients=np.array([0, 0, 0, 0, 1, 2, 3, 4])))
    assert found.each[0].sensitivity.value == 0.75
    assert found.each[0].sensitivity.reason == "no interval: 1 patient with cases, needs 2"
    assert (found.average_curve, found.model_curve) == (None, None)


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"readers: cut is 0, expected a grade above 0 and up to 1"):
        place(graded(), cut=0)
    with pytest.raises(UserInputError, match=r"readers: cut is nan"):
        place(graded(), cut=float("nan"))
    with pytest.raises(UserInputError, match=r"found 1, expected 2 or more; one reader says nothing of others"):
        place(study_of(CALLS[:1]))


def sample_of(cohort: pl.DataFrame) -> LevelSample:
    return sample_level(cohort, "breast")


def test_a_study_is_what_all_have_read(cohort: pl.DataFrame) -> None:
    other = cohort.sample(fraction=1, shuffle=True, seed=1).with_columns(score=1 - pl.col("score"))
    readers = {"anna": sample_of(cohort), "ben": sample_of(other.filter(pl.col("patient_id") != "patient-3"))}
    model = sample_of(cohort.filter(pl.col("patient_id") != "patient-4"))
    study = cross_readers(readers, model=model)
    assert study.names == ("anna", "ben")
    assert study.ratings.shape == (2, 116)
    assert study.ratings[0] == pytest.approx(1 - study.ratings[1])
    assert study.model == pytest.approx(study.ratings[0])
    assert study.n_left_out == (4, 2, 2)
    assert study.are_graded == (True, True)
    assert len(np.unique(study.patients)) == 58


def test_a_study_that_is_none_is_refused(cohort: pl.DataFrame) -> None:
    with pytest.raises(TableError, match=r"readers: found none, expected a sample of ratings for each"):
        cross_readers({})
    breasts = sample_of(cohort)
    with pytest.raises(TableError, match=r"found scores of breasts and of images, expected one level"):
        cross_readers({"anna": breasts, "ben": sample_level(cohort, "image")})
    renamed = cohort.with_columns(exam_id="x" + pl.col("exam_id"))
    with pytest.raises(TableError, match=r"no breast was scored by all 2, expected the same breasts"):
        cross_readers({"anna": breasts, "ben": sample_of(renamed)})
    turned = cohort.with_columns(cancer=~pl.col("cancer"))
    with pytest.raises(TableError, match=r"120 of 120 breasts have another outcome"):
        cross_readers({"anna": breasts, "ben": sample_of(turned)})


def test_a_table_with_a_column_for_each_reader_is_placed(cohort: pl.DataFrame, tmp_path: Path) -> None:
    breasts = aggregate_to_breasts(cohort).select("patient_id", "exam_id", "laterality", "cancer", score_model="score")
    grade = pl.col("score_model").rank() * 5 / breasts.height
    breasts.with_columns(score_anna=grade.ceil(), score_ben=grade.floor().clip(1, 5)).write_csv(tmp_path / "all.csv")
    columns = ("score_anna", "score_ben", "score_model")
    settings = GivenSettings(score_columns=columns, scales={"score_anna": (1, 5), "score_ben": (1, 5)})
    given = read_given_scores(tmp_path / "all.csv", settings=settings)
    samples = {name: sample_level(table, "breast") for name, table in given.tables.items()}
    study = cross_readers({name: samples[name] for name in columns[:2]}, model=samples["score_model"])
    placed = place(study, cut=0.5)  # grade 3 of 1 to 5
    assert [reader.curve is not None and len(reader.curve.cut) for reader in placed.each] == [5, 5]
    called = breasts.filter(grade.ceil() >= 3)
    assert placed.each[0].sensitivity.value == pytest.approx(called["cancer"].sum() / 12)
    assert placed.auc_above is not None


@pytest.mark.parametrize(("outcome", "missing"), [(True, "control"), (False, "case")])
def test_one_class_gives_reasons_and_no_figure(outcome: bool, missing: str) -> None:
    heard: list[int] = []
    placed = place(study_of(CALLS, outcomes=np.full(8, outcome)), advance=heard.append)
    reason = f"undefined: no {missing} among 8 with a known outcome, needs cases and controls"
    assert placed.reasons == (reason,)
    assert (placed.n, placed.n_cases, placed.n_patients) == (8, 8 * outcome, 8)
    assert {(each.sensitivity.value, each.auc.value, each.auc.reason) for each in placed.each} == {(None, None, reason)}
    assert (placed.mean_sensitivity, placed.average_curve, placed.auc_above) == (None, None, None)
    assert sum(heard) == 300
