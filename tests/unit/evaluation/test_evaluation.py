"""The evaluation: both levels, groups, what is undefined, and the record of it."""

import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.evaluation import Evaluation, evaluate_samples, evaluate_scores, split_into_samples
from mammoscope.evaluation.scores import aggregate_to_breasts, aggregate_to_exams, list_breasts

MakeScores = Callable[..., pl.DataFrame]
SETTINGS = BootstrapSettings(n_replicates=200, seed=1)


@pytest.fixture(scope="module")
def evaluation(cohort: pl.DataFrame) -> Evaluation:
    return evaluate_scores(cohort, SETTINGS)


def test_images_are_measured_as_they_stand(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    image = evaluation.image
    assert image.auc.value == pytest.approx(roc_auc_score(cohort["cancer"], cohort["score"]))
    assert image.average_precision.value == pytest.approx(average_precision_score(cohort["cancer"], cohort["score"]))
    assert (image.n, image.n_cases, image.n_images, image.n_patients) == (240, 24, 240, 60)
    assert image.share_of_cases == pytest.approx(0.1)


def test_breasts_are_measured_by_the_mean_of_their_views(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    breasts = cohort.group_by("exam_id", "laterality").agg(pl.col("score").mean(), pl.col("cancer").first())
    assert evaluation.breast.auc.value == pytest.approx(roc_auc_score(breasts["cancer"], breasts["score"]))
    assert (evaluation.breast.n, evaluation.breast.n_cases, evaluation.breast.n_images) == (120, 12, 240)


def test_every_figure_lies_in_its_interval(evaluation: Evaluation) -> None:
    for result in (evaluation.breast, evaluation.image, *evaluation.groups):
        for estimate in (result.auc, result.average_precision, result.pf1):
            assert estimate.value is not None
            assert estimate.interval is not None
            assert estimate.interval.low < estimate.value < estimate.interval.high
            assert estimate.reason is None


def test_more_of_the_same_images_do_not_narrow_an_interval(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    copies = [cohort.with_columns(image_id=pl.col("image_id") + f"-copy-{number}") for number in range(4)]
    fourfold = evaluate_scores(pl.concat(copies), SETTINGS)
    for ours, expected in ((fourfold.image, evaluation.image), (fourfold.breast, evaluation.breast)):
        assert ours.auc.interval is not None
        assert expected.auc.interval is not None
        assert ours.auc.interval.low == pytest.approx(expected.auc.interval.low)
        assert ours.auc.interval.high == pytest.approx(expected.auc.interval.high)


def test_each_site_is_measured_on_its_own(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    images = {group.group: group for group in evaluation.grouped_by("site", level="image")}
    assert list(images) == ["1", "2"]
    for site, result in images.items():
        own = cohort.filter(pl.col("site") == site)
        assert result.auc.value == pytest.approx(roc_auc_score(own["cancer"], own["score"]))
    assert [group.n for group in evaluation.grouped_by("site")] == [60, 60]
    assert evaluation.grouped_by("machine") == ()


def test_groups_stand_in_the_order_of_their_numbers_and_unrecorded_last(cohort: pl.DataFrame) -> None:
    machines = pl.Series(["170", "29", "x", None]).gather(np.arange(240) // 4 % 4)
    evaluation = evaluate_scores(cohort.with_columns(machine=machines), SETTINGS)
    assert [group.group for group in evaluation.grouped_by("machine")] == ["29", "170", "x", None]


def test_a_group_without_cases_says_so_and_is_never_a_half(cohort: pl.DataFrame) -> None:
    without = cohort.with_columns(cancer=pl.col("cancer") & (pl.col("site") == "1"))
    _, second = evaluate_scores(without, SETTINGS).grouped_by("site")
    for estimate in (second.auc, second.average_precision, second.pf1):
        assert estimate.value is None
        assert estimate.interval is None
        assert estimate.reason == "undefined: no case among 60 with a known outcome, needs cases and controls"


def test_one_class_only_is_still_an_evaluation(cohort: pl.DataFrame) -> None:
    evaluation = evaluate_scores(cohort.filter(~pl.col("cancer")), SETTINGS)
    assert evaluation.breast.auc.value is None
    assert evaluation.roc is None
    content = evaluation.to_json()
    assert content["maximal_f1"] == {
        "value": None,
        "reason": "undefined: no case among 108 with a known outcome, needs cases and controls",
    }
    assert content["roc"] is None


def test_undetermined_breasts_are_counted_and_not_measured(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    unknown = cohort.with_columns(
        cancer=pl.col("cancer"),
        exam_id="other-" + pl.col("exam_id"),
        patient_id="other-" + pl.col("patient_id"),
        image_id="other-" + pl.col("image_id"),
    ).with_columns(cancer=pl.lit(None, pl.Boolean))
    with_unknown = evaluate_scores(pl.concat([cohort, unknown]), SETTINGS)
    assert with_unknown.breast.auc.value == evaluation.breast.auc.value
    assert (with_unknown.breast.n, with_unknown.breast.n_undetermined) == (120, 120)


def test_no_known_outcome_at_all_says_so(make_scores: MakeScores) -> None:
    evaluation = evaluate_scores(make_scores({"cancer": None}), SETTINGS)
    assert evaluation.breast.auc.reason == "undefined: no score with a known outcome"
    assert evaluation.breast.share_of_cases is None


def test_one_patient_with_cases_has_a_figure_but_no_interval(cohort: pl.DataFrame) -> None:
    one = cohort.with_columns(cancer=pl.col("cancer") & (pl.col("patient_id") == "patient-5"))
    auc = evaluate_scores(one, SETTINGS).breast.auc
    assert auc.value is not None
    assert auc.interval is None
    assert auc.reason == "no interval: 1 patient with cases, needs 2"


def test_rows_of_exams_are_passed_over(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    assert evaluate_scores(pl.concat([cohort, aggregate_to_exams(cohort)], how="diagonal"), SETTINGS) == evaluation


def test_rows_of_breasts_are_what_breasts_are_judged_by(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    means = aggregate_to_breasts(cohort)
    assert evaluate_scores(pl.concat([cohort, means], how="diagonal"), SETTINGS) == evaluation
    turned = evaluate_scores(
        pl.concat([cohort, means.with_columns(score=1 - pl.col("score"))], how="diagonal"), SETTINGS
    )
    assert turned.image == evaluation.image
    values = [each.breast.auc.value or 0.0 for each in (turned, evaluation)]
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


def test_a_table_without_images_is_refused(cohort: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="found no row of level image"):
        evaluate_scores(cohort.head(0), SETTINGS)


def test_the_seed_decides_the_intervals_and_nothing_else(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    assert evaluate_scores(cohort, SETTINGS) == evaluation
    other = evaluate_scores(cohort, BootstrapSettings(n_replicates=200, seed=2))
    assert other.breast.auc.value == evaluation.breast.auc.value
    assert other.breast.auc.interval != evaluation.breast.auc.interval


def test_naming_the_sites_does_not_change_the_intervals_of_all(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    unnamed = evaluate_scores(cohort.drop("site"), SETTINGS)
    assert unnamed.groups == ()
    assert (unnamed.breast, unnamed.image) == (evaluation.breast, evaluation.image)


def test_the_progress_hears_of_every_sample(cohort: pl.DataFrame) -> None:
    heard: list[int] = []
    samples = split_into_samples(cohort.filter(~pl.col("cancer") | (pl.col("site") == "1")))
    evaluate_samples(samples, SETTINGS, advance=heard.append)
    assert sum(heard) == len(samples) * 200


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
    assert content["schema_version"] == 1
    assert content["bootstrap"] == {
        "method": "percentile bootstrap over patients",
        "n_replicates": 200,
        "seed": 1,
        "confidence": 0.95,
    }
    assert content["breast"]["auc"]["interval"]["n_replicates"] == 200
    assert content["breast"]["share_of_cases"] == 0.1
    assert {(group["level"], group["group"]) for group in content["by_site"]} == {
        (level, site) for level in ("breast", "image") for site in ("1", "2")
    }
    assert content["by_machine"] == []
    assert 0 < content["maximal_f1"]["value"] <= 1
