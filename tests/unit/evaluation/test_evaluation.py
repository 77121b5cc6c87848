"""The evaluation as a whole: levels, folds, what is planned, what is undefined, and the record of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.evaluation import (
    DEALT,
    OF_THE_TABLE,
    Evaluation,
    EvaluationSettings,
    evaluate,
    evaluate_scores,
    plan_evaluation,
)
from mammoscope.evaluation.grouping import COLUMNS
from mammoscope.evaluation.levels import LevelRules
from mammoscope.evaluation.operating_points import OperatingPointSettings
from mammoscope.evaluation.scores import aggregate_to_breasts, aggregate_to_exams, list_breasts

MakeScores = Callable[..., pl.DataFrame]
SETTINGS = EvaluationSettings(BootstrapSettings(n_replicates=100, seed=1))


@pytest.fixture(scope="module")
def evaluation(cohort: pl.DataFrame) -> Evaluation:
    return evaluate_scores(cohort, SETTINGS)


def test_each_level_is_measured_by_its_rule(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    assert [result.level for result in evaluation.levels] == ["breast", "exam", "image"]
    breasts = cohort.group_by("exam_id", "laterality").agg(pl.col("score").mean(), pl.col("cancer").first())
    exams = breasts.group_by("exam_id").agg(pl.col("score").max(), pl.col("cancer").any())
    for level, table in (("image", cohort), ("breast", breasts), ("exam", exams)):
        result = evaluation.at(level)  # type: ignore[arg-type]  # one of the levels
        assert result is not None
        assert result.auc.value == pytest.approx(roc_auc_score(table["cancer"], table["score"]))
        assert result.average_precision.value == pytest.approx(average_precision_score(table["cancer"], table["score"]))
        assert result.n == table.height
    assert evaluation.main is evaluation.levels[0]


def test_other_rules_give_other_scores(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    highest = evaluate_scores(cohort, replace(SETTINGS, rules=LevelRules(breast="max", exam="mean")))
    assert highest.main.rule == "the highest image of a breast"
    assert highest.main.auc.value != evaluation.main.auc.value
    assert highest.at("image") == evaluation.at("image")


def test_a_table_of_exams_alone_is_measured_at_its_level(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    exams = evaluate_scores(aggregate_to_exams(cohort), SETTINGS)
    assert [result.level for result in exams.levels] == ["exam"]
    expected = evaluation.at("exam")
    assert expected is not None
    assert exams.main.auc.value == expected.auc.value
    assert exams.operating_points is None
    assert exams.at("breast") is None


def test_more_of_the_same_images_do_not_narrow_an_interval(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    copies = [cohort.with_columns(image_id=pl.col("image_id") + f"-copy-{number}") for number in range(4)]
    fourfold = evaluate_scores(pl.concat(copies), SETTINGS)
    for ours, expected in zip(fourfold.levels, evaluation.levels, strict=True):
        assert ours.auc.interval is not None
        assert expected.auc.interval is not None
        assert ours.auc.interval.low == pytest.approx(expected.auc.interval.low)
        assert ours.auc.interval.high == pytest.approx(expected.auc.interval.high)


def test_folds_of_the_table_choose_the_thresholds(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    assert evaluation.folds == OF_THE_TABLE
    assert evaluation.operating_points == cross_fit(cohort, OperatingPointSettings(), SETTINGS.bootstrap)
    assert evaluation.calibration.crossed_over == "folds"


def test_points_that_a_run_has_chosen_are_taken_as_they_are(cohort: pl.DataFrame) -> None:
    points = cross_fit(cohort, OperatingPointSettings(), BootstrapSettings(n_replicates=20))
    plan = plan_evaluation(cohort, SETTINGS, operating_points=points)
    assert evaluate(plan).operating_points is points
    other = plan_evaluation(cohort, replace(SETTINGS, prevalence=0.01), operating_points=points)
    chosen = evaluate(other).operating_points
    assert chosen is not None
    assert chosen.prevalence == pytest.approx(0.01)


def test_the_prevalence_and_the_wishes_of_a_run_are_kept(cohort: pl.DataFrame) -> None:
    """A recipe's own share of cases is taken where none is asked for, and its own wishes at any."""
    recipe = OperatingPointSettings(recall_rates=(0.05,), sensitivities=(0.7,), specificities=(), prevalence=0.0025)
    points = cross_fit(cohort, recipe, BootstrapSettings(n_replicates=20))
    found = evaluate(plan_evaluation(cohort, SETTINGS, operating_points=points))
    assert found.operating_points is points
    assert found.prevalence == 0.0025
    other = evaluate(plan_evaluation(cohort, replace(SETTINGS, prevalence=0.01), operating_points=points))
    assert other.operating_points == cross_fit(
        cohort, recipe.model_copy(update={"prevalence": 0.01}), SETTINGS.bootstrap
    )


def test_points_of_one_fold_are_judged_on_dealt_parts(cohort: pl.DataFrame) -> None:
    """The kept threshold is that of all scores either way; the run itself had no other fold to judge it on."""
    one_fold = cohort.with_columns(fold=pl.lit(0, pl.Int64))
    points = cross_fit(one_fold, OperatingPointSettings(sensitivities=(0.7,)), SETTINGS.bootstrap)
    evaluation = evaluate(plan_evaluation(one_fold, SETTINGS, operating_points=points))
    assert evaluation.folds == DEALT
    assert evaluation.operating_points is not None
    assert [each.name for each in evaluation.operating_points.points] == [each.name for each in points.points]
    for ours, theirs in zip(evaluation.operating_points.points, points.points, strict=True):
        assert ours.threshold.value == theirs.threshold.value
        assert (ours.judged_on, theirs.judged_on) == ("held-out folds", "same data")
        assert ours.sensitivity.value is not None


def test_what_is_to_be_known_first_is_remarked(cohort: pl.DataFrame) -> None:
    """Folds that score apart, and a column that is asked for and parts nothing."""
    apart = cohort.with_columns(score=(pl.col("score") + pl.col("fold")) / 8)
    facts = cohort.select("image_id", "patient_id", dose=1.0)
    evaluation = evaluate_scores(apart, replace(SETTINGS, columns=(*COLUMNS, "dose")), facts=[facts])
    of_dose, of_folds = evaluation.remarks
    assert of_dose.startswith("group by dose: all of the 120 scores are in one group, 1;")
    assert of_folds.startswith("The networks of the folds do not score alike: in 100 %")


def test_sizes_are_for_the_confidence_of_the_intervals(cohort: pl.DataFrame) -> None:
    settings = replace(SETTINGS, bootstrap=replace(SETTINGS.bootstrap, confidence=0.8))
    assert {each.confidence for each in evaluate_scores(cohort, settings).stability.sizes} == {0.8}


@pytest.mark.parametrize("fold", [None, 3])
def test_without_folds_the_patients_are_dealt_into_parts(cohort: pl.DataFrame, fold: int | None) -> None:
    """No threshold is judged on patients that it was chosen on, also where a table says nothing of folds."""
    evaluation = evaluate_scores(cohort.with_columns(fold=pl.lit(fold, pl.Int64)), SETTINGS)
    assert evaluation.folds == DEALT
    assert evaluation.operating_points is not None
    assert evaluation.operating_points.folds == (0, 1, 2, 3, 4)
    assert evaluation.operating_points.named("maximal_f1").judged_on == "held-out folds"
    assert all(each.after is not None for each in evaluation.calibration.recalibrations)


def test_groups_come_from_the_table_and_from_what_is_known_beside(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    assert [grouping.column for grouping in evaluation.groupings] == ["site", "view", "laterality"]
    facts = cohort.select("image_id", "exam_id", "laterality", density=pl.lit("A"), dose=pl.col("score").round(0))
    both = evaluate_scores(cohort, replace(SETTINGS, columns=(*COLUMNS, "dose")), facts=[facts])
    assert [grouping.column for grouping in both.groupings] == ["site", "view", "laterality", "dose"]
    assert both.grouped_by("view") == evaluation.grouped_by("view")
    assert both.grouped_by("density") is None  # one value is the whole
    views = evaluation.grouped_by("view")
    assert views is not None
    assert [group.n for group in views.groups] == [120, 120]


def test_breasts_whose_images_differ_are_a_group(cohort: pl.DataFrame) -> None:
    """Thirty of sixty patients have a view from another machine: sixty breasts."""
    other = (pl.col("site") == "1") & (pl.col("view") == "CC")
    mixed = cohort.with_columns(machine=pl.when(other).then(pl.lit("b")).otherwise(pl.lit("a")))
    machines = evaluate_scores(mixed, replace(SETTINGS, columns=("machine",))).grouped_by("machine")
    assert machines is not None
    assert [(each.name, each.n) for each in machines.groups] == [("a", 60), ("several", 60)]


def test_a_column_that_is_nowhere_is_refused(cohort: pl.DataFrame) -> None:
    with pytest.raises(UserInputError, match=r"^group by dose: no such column in the scores, nor in what is known of"):
        plan_evaluation(cohort, replace(SETTINGS, columns=(*COLUMNS, "dose")))


def test_one_class_only_is_still_an_evaluation(cohort: pl.DataFrame) -> None:
    evaluation = evaluate_scores(cohort.filter(~pl.col("cancer")), SETTINGS)
    assert evaluation.main.auc.value is None
    assert evaluation.roc is None
    content = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert content["levels"]["breast"]["auc"]["reason"].startswith("undefined: no case among 108")
    assert content["calibration"]["before"]["brier"]["value"] is None
    assert content["roc"] is None


def test_undetermined_breasts_are_counted_and_not_measured(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    unknown = cohort.with_columns(
        exam_id="other-" + pl.col("exam_id"),
        patient_id="other-" + pl.col("patient_id"),
        image_id="other-" + pl.col("image_id"),
        cancer=pl.lit(None, pl.Boolean),
    )
    with_unknown = evaluate_scores(pl.concat([cohort, unknown]), SETTINGS)
    assert with_unknown.main.auc.value == evaluation.main.auc.value
    assert (with_unknown.main.n, with_unknown.main.n_undetermined) == (120, 120)
    assert with_unknown.operating_points is not None
    assert with_unknown.operating_points.n_undetermined == 120


def test_no_known_outcome_at_all_says_so(make_scores: MakeScores) -> None:
    evaluation = evaluate_scores(make_scores({"cancer": None}), SETTINGS)
    assert evaluation.main.auc.reason == "undefined: no score with a known outcome"
    assert evaluation.main.share_of_cases is None


def test_one_patient_with_cases_has_a_figure_but_no_interval(cohort: pl.DataFrame) -> None:
    one = cohort.with_columns(cancer=pl.col("cancer") & (pl.col("patient_id") == "patient-5"))
    auc = evaluate_scores(one, SETTINGS).main.auc
    assert auc.value is not None
    assert auc.interval is None
    assert auc.reason == "no interval: 1 patient with cases, needs 2"


def test_rows_of_breasts_are_what_breasts_are_judged_by(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    means = aggregate_to_breasts(cohort)
    same = evaluate_scores(pl.concat([cohort, means], how="diagonal"), SETTINGS)
    assert same.main.auc == evaluation.main.auc
    turned = evaluate_scores(
        pl.concat([cohort, means.with_columns(score=1 - pl.col("score"))], how="diagonal"), SETTINGS
    )
    assert turned.at("image") == evaluation.at("image")
    values = [each.main.auc.value or 0.0 for each in (turned, evaluation)]
    assert sum(values) == pytest.approx(1.0)
    assert values[0] != pytest.approx(values[1])


@pytest.mark.parametrize("change", [pl.lit(None, pl.Boolean), ~pl.col("cancer")])
def test_breasts_that_are_not_those_of_the_images_are_refused(cohort: pl.DataFrame, change: pl.Expr) -> None:
    means = aggregate_to_breasts(cohort)
    with pytest.raises(TableError, match=r"do not agree: 0 breasts have no image .* 1 "):
        list_breasts(pl.concat([cohort, means[1:]], how="diagonal"))
    other = pl.concat([means[:1].with_columns(cancer=change), means[1:]])
    with pytest.raises(TableError, match=r"1 breasts have no image of their outcome, 1 have images and no row; take"):
        list_breasts(pl.concat([cohort, other], how="diagonal"))


def test_an_empty_table_is_refused(cohort: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="scores: found no row, expected one for each image, breast or exam"):
        evaluate_scores(cohort.head(0), SETTINGS)


def test_the_seed_decides_the_intervals_and_nothing_else(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    assert evaluate_scores(cohort, SETTINGS).to_json() == evaluation.to_json()
    other = evaluate_scores(cohort, EvaluationSettings(BootstrapSettings(n_replicates=100, seed=2)))
    assert other.main.auc.value == evaluation.main.auc.value
    assert other.main.auc.interval != evaluation.main.auc.interval


def test_naming_the_sites_does_not_change_the_intervals_of_all(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    unnamed = evaluate_scores(cohort.drop("site"), SETTINGS)
    assert unnamed.grouped_by("site") is None
    assert unnamed.levels == evaluation.levels


@pytest.mark.parametrize("prevalence", [None, 0.01])
@pytest.mark.parametrize("only_controls", [False, True])
def test_the_progress_hears_of_what_was_planned(
    cohort: pl.DataFrame, prevalence: float | None, only_controls: bool
) -> None:
    heard: list[int] = []
    scores = cohort.filter(~pl.col("cancer")) if only_controls else cohort
    plan = plan_evaluation(scores, replace(SETTINGS, prevalence=prevalence))
    evaluate(plan, advance=heard.append)
    assert sum(heard) == plan.n_replicates


def test_the_band_of_the_curve_holds_the_curve(evaluation: Evaluation) -> None:
    assert evaluation.roc is not None
    for low, middle, high in zip(
        evaluation.roc.low, evaluation.roc.true_positive_rate, evaluation.roc.high, strict=True
    ):
        assert 0 <= low <= middle <= high <= 1
    assert all(before <= after for before, after in pairwise(evaluation.roc.true_positive_rate))


def test_every_breast_is_in_the_histogram(evaluation: Evaluation) -> None:
    assert sum(evaluation.histogram.n_cases) == 12
    assert sum(evaluation.histogram.n_controls) == 108


def test_the_record_is_json_and_says_how_it_was_made(evaluation: Evaluation) -> None:
    content = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert content["schema_version"] == 2
    assert content["bootstrap"] == {
        "method": "percentile bootstrap over patients",
        "n_replicates": 100,
        "seed": 1,
        "confidence": 0.95,
    }
    assert content["main_level"] == "breast"
    assert content["levels"]["breast"]["auc"]["interval"]["n_replicates"] == 100
    assert content["levels"]["breast"]["share_of_cases"] == pytest.approx(0.1)
    assert [group["name"] for group in content["groups"][0]["groups"]] == ["1", "2"]
    assert content["operating_points"]["points"][0]["name"] == "maximal_f1"
    assert {each["method"] for each in content["calibration"]["recalibrations"]} == {
        "temperature",
        "platt",
        "isotonic",
        "beta",
    }


def test_an_average_of_thresholds_is_never_judged_on_its_own_patients(cohort: pl.DataFrame) -> None:
    """Dealt parts hold each patient once."""
    plan = plan_evaluation(cohort.with_columns(fold=pl.lit(None, pl.Int64)), SETTINGS)
    rows = plan.samples[0].rows
    assert (rows.group_by("patient_id").agg(pl.col("fold").n_unique())["fold"] == 1).all()
    cases_by_fold = rows.filter(pl.col("cancer")).group_by("fold").len()["len"].to_numpy()
    assert np.ptp(cases_by_fold) <= 1
