"""From a table of scores to images, breasts and exams, by each rule."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.levels import Level, LevelRules, sample_level, usual_rules
from mammoscope.evaluation.scores import aggregate_to_breasts, aggregate_to_exams

MakeScores = Callable[..., pl.DataFrame]


@pytest.fixture
def two_exams(make_scores: MakeScores) -> pl.DataFrame:
    """Anna with two views on the left and one on the right, Berta with one view; rows are out of order."""
    berta = {"patient_id": "berta", "exam_id": "berta-1"}
    return make_scores(
        {"image_id": "b1", "score": 0.7, "cancer": False, **berta},
        {"image_id": "a3", "score": 0.4, "laterality": "R"},
        {"image_id": "a2", "score": 0.1, "cancer": True},
        {"image_id": "a1", "score": 0.5, "cancer": True},
    )


@pytest.mark.parametrize(
    ("level", "rules", "scores", "outcomes"),
    [
        ("image", LevelRules("mean", "max"), [0.5, 0.1, 0.4, 0.7], [True, True, False, False]),
        ("breast", LevelRules("mean", "max"), [0.3, 0.4, 0.7], [True, False, False]),
        ("breast", LevelRules("max", "max"), [0.5, 0.4, 0.7], [True, False, False]),
        ("exam", LevelRules("mean", "max"), [0.4, 0.7], [True, False]),
        ("exam", LevelRules("mean", "mean"), [0.35, 0.7], [True, False]),
        ("exam", LevelRules("max", "max"), [0.5, 0.7], [True, False]),
        ("exam", LevelRules("max", "mean"), [0.45, 0.7], [True, False]),
    ],
)
def test_each_rule_by_hand(
    two_exams: pl.DataFrame, level: Level, rules: LevelRules, scores: list[float], outcomes: list[bool]
) -> None:
    sample = sample_level(two_exams, level, rules)
    assert sample.scores == pytest.approx(scores)
    assert sample.outcomes.tolist() == outcomes
    assert sample.rows["patient_id"].to_list() == [*["anna"] * (len(scores) - 1), "berta"]
    assert sample.patients.tolist() == [*[0] * (len(scores) - 1), 1]


def test_rows_of_the_table_come_before_what_is_made_of_images(cohort: pl.DataFrame) -> None:
    breasts = aggregate_to_breasts(cohort).with_columns(score=pl.col("score") / 2)
    exams = aggregate_to_exams(cohort).with_columns(score=pl.col("score") / 4)
    table = pl.concat([cohort, exams, breasts])
    assert usual_rules(table) == LevelRules("own", "own")
    np.testing.assert_array_equal(sample_level(table, "breast").scores, breasts["score"])
    np.testing.assert_array_equal(sample_level(table, "exam").scores, exams["score"])
    # without rows of exams, the higher of the table's own breasts
    higher = breasts.group_by("exam_id", maintain_order=True).agg(pl.col("score").max())["score"]
    np.testing.assert_array_equal(sample_level(pl.concat([cohort, breasts]), "exam").scores, higher)


def test_without_rows_of_breasts_and_exams_the_usual_rules_are_mean_and_higher(cohort: pl.DataFrame) -> None:
    assert usual_rules(cohort) == LevelRules("mean", "max")
    np.testing.assert_array_equal(sample_level(cohort, "breast").scores, aggregate_to_breasts(cohort)["score"])
    np.testing.assert_array_equal(sample_level(cohort, "exam").scores, aggregate_to_exams(cohort)["score"])


def test_exams_alone_are_measured_as_they_are(cohort: pl.DataFrame) -> None:
    exams = aggregate_to_exams(cohort)
    assert sample_level(exams, "exam").rows.equals(exams)


def test_the_rule_is_stated() -> None:
    rules = LevelRules("mean", "max")
    assert rules.state("image") == "the score of each image as the table has it"
    assert rules.state("breast") == "the mean over the images of a breast"
    assert rules.state("exam") == "the higher breast of an exam; of a breast the mean over the images of a breast"
    assert LevelRules("own", "own").state("exam") == "the score of each exam as the table has it"
    assert LevelRules("own", "mean").state("exam") == (
        "the mean over the breasts of an exam; of a breast the score of each breast as the table has it"
    )
    assert LevelRules("max", "own").state("breast") == "the highest image of a breast"


def test_the_sample_says_by_which_rule_it_came(cohort: pl.DataFrame) -> None:
    assert sample_level(cohort, "breast").rule == "the mean over the images of a breast"


def test_what_is_undetermined_is_counted_and_not_measured(two_exams: pl.DataFrame) -> None:
    unknown = two_exams.with_columns(
        cancer=pl.when(pl.col("patient_id") == "anna").then(pl.lit(None)).otherwise("cancer")
    )
    for level, n in (("image", 3), ("breast", 2), ("exam", 1)):
        sample = sample_level(unknown, level)  # type: ignore[arg-type]  # the literals above
        assert sample.n_undetermined == n
        assert sample.rows["patient_id"].to_list() == ["berta"]


def test_a_table_without_any_outcome_gives_an_empty_sample(two_exams: pl.DataFrame) -> None:
    sample = sample_level(two_exams.with_columns(cancer=pl.lit(None, pl.Boolean)), "breast")
    assert (len(sample.scores), len(sample.patients), sample.n_undetermined) == (0, 0, 3)


@pytest.mark.parametrize(
    ("level", "rules", "found"),
    [
        ("image", LevelRules("mean", "max"), "no row of level image, but of breast"),
        ("breast", LevelRules("mean", "max"), "no row of level image, but of breast"),
        ("exam", LevelRules("own", "own"), "no row of level exam, but of breast"),
        ("exam", LevelRules("max", "max"), "no row of level image, but of breast"),
    ],
)
def test_rows_that_are_not_there_are_refused(cohort: pl.DataFrame, level: Level, rules: LevelRules, found: str) -> None:
    with pytest.raises(TableError, match=found):
        sample_level(aggregate_to_breasts(cohort), level, rules)
    with pytest.raises(TableError, match="but of no row at all; measure another level"):
        sample_level(cohort.head(0), level, rules)


def test_breasts_that_are_to_be_own_must_be_there(cohort: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="no row of level breast, but of image"):
        sample_level(cohort, "breast", LevelRules("own", "max"))


def test_exams_that_are_not_those_of_the_images_are_refused(cohort: pl.DataFrame) -> None:
    exams = aggregate_to_exams(cohort)
    fewer = pl.concat([cohort, exams.head(58)])
    with pytest.raises(TableError, match="0 exams have no breast of their outcome, 2 have breasts and no row"):
        sample_level(fewer, "exam")
    flipped = exams.with_columns(cancer=~pl.col("cancer"))
    with pytest.raises(TableError, match="60 exams have no breast of their outcome, 60 have breasts and no row"):
        sample_level(pl.concat([aggregate_to_breasts(cohort), flipped]), "exam")


def test_a_table_that_breaks_the_schema_is_refused(two_exams: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="score: found NaN"):
        sample_level(two_exams.with_columns(score=pl.lit(float("nan"))), "image")
