"""What is evaluated: scores, what is known of them, what they are compared with, and what is to be known of all."""

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from mammoscope.cli.evaluate import evaluate
from mammoscope.evaluation.given_scores import GivenSettings
from mammoscope.evaluation.grouping import group_sample
from mammoscope.evaluation.levels import sample_level
from mammoscope.evaluation.scores import aggregate_to_breasts
from mammoscope.evaluation.subject import Subject, add_others, read_scores_subject

app = typer.Typer()
app.command()(evaluate)

KNOWN = ("density", "age_years")


@pytest.fixture
def breasts(cohort: pl.DataFrame) -> pl.DataFrame:
    """One hundred and twenty, of whom 80 are of density A, and 60 younger than 50; no exam is named."""
    table = aggregate_to_breasts(cohort).select("patient_id", "laterality", "score", pl.col("cancer").cast(pl.Int64))
    return table.with_columns(
        density=pl.Series(["A", "A", "B"] * 40),
        age_years=pl.Series([45, 55] * 60),
    )


def count_groups(subject: Subject, columns: tuple[str, ...] = KNOWN) -> dict[str, dict[str, int]]:
    """How many breasts are in each group of each column."""
    groupings = group_sample(sample_level(subject.scores, "breast"), subject.facts, columns)
    return {each.column: {group.name: int(group.members.sum()) for group in each.groups} for each in groupings}


def test_scores_without_exams_are_grouped_by_columns_of_their_own_table(breasts: pl.DataFrame, tmp_path: Path) -> None:
    breasts.write_csv(tmp_path / "ours.csv")
    subject = read_scores_subject(tmp_path / "ours.csv", truth=None, settings=GivenSettings())
    assert count_groups(subject) == {"density": {"A": 80, "B": 40}, "age_years": {"40 to 50": 60, "50 to 60": 60}}
    assert subject.remarks == (
        "exam_id: not given, so that all scores of a patient are taken to be of one exam",
        "columns: not taken for scores are density, age_years",
    )


def test_breasts_are_grouped_by_a_truth_of_images_without_exams(
    breasts: pl.DataFrame, cohort: pl.DataFrame, tmp_path: Path
) -> None:
    images = cohort.select("image_id", "patient_id", "laterality", pl.col("cancer").cast(pl.Int64))
    known = breasts.select("patient_id", "laterality", *KNOWN)
    images.join(known, on=["patient_id", "laterality"]).write_csv(tmp_path / "train.csv")
    names = pl.format("{}_{}", "patient_id", "laterality").alias("prediction_id")
    breasts.select(names, "score").write_csv(tmp_path / "ours.csv")
    subject = read_scores_subject(tmp_path / "ours.csv", truth=tmp_path / "train.csv", settings=GivenSettings())
    assert count_groups(subject) == {"density": {"A": 80, "B": 40}, "age_years": {"40 to 50": 60, "50 to 60": 60}}


def test_an_age_that_is_no_number_is_in_no_band(breasts: pl.DataFrame, tmp_path: Path) -> None:
    ages = pl.Series("age_years", ["45", "55", "nan", "45"] * 30)
    breasts.with_columns(ages).write_csv(tmp_path / "ours.csv")
    subject = read_scores_subject(tmp_path / "ours.csv", truth=None, settings=GivenSettings())
    assert count_groups(subject, ("age_years",)) == {
        "age_years": {"40 to 50": 60, "50 to 60": 30, "not recorded": 30},
    }


def test_the_competitions_file_is_evaluated_with_its_column_of_cancer_as_the_score(
    breasts: pl.DataFrame, cohort: pl.DataFrame, tmp_path: Path
) -> None:
    submission, truth = tmp_path / "submission.csv", tmp_path / "train.csv"
    names = pl.format("{}_{}", "patient_id", "laterality").alias("prediction_id")
    breasts.select(names, cancer="score").write_csv(submission)
    cohort.select("image_id", "patient_id", "laterality", pl.col("cancer").cast(pl.Int64)).write_csv(truth)
    words = ("--scores", submission, "--score-column", "cancer", "--truth", truth, "-o", tmp_path / "out")
    result = CliRunner().invoke(app, [*map(str, words), "--replicates", "100"], catch_exceptions=False)
    assert result.exit_code == 0
    level = json.loads((tmp_path / "out/evaluation.json").read_text())["levels"]["breast"]
    assert (level["n"], level["n_cases"], level["n_images"]) == (120, 12, 240)
    pairs = breasts.filter(pl.col("cancer") == 1).join(breasts.filter(pl.col("cancer") == 0), how="cross")
    assert level["auc"]["value"] == pytest.approx(pairs.select((pl.col("score") > pl.col("score_right")).mean()).item())


def test_what_is_to_be_known_of_tables_to_compare_with_is_told(breasts: pl.DataFrame, tmp_path: Path) -> None:
    breasts.write_csv(tmp_path / "ours.csv")
    breasts.head(100).select("patient_id", "laterality", "score", "density").write_csv(tmp_path / "theirs.csv")
    subject = read_scores_subject(tmp_path / "ours.csv", truth=None, settings=GivenSettings())
    compared = add_others(subject, [tmp_path / "theirs.csv"], truth=None, settings=GivenSettings(), readers=())
    n_cases = breasts["cancer"].tail(20).sum()
    of_others = "of them with cancer; the figures are of the others"
    assert compared.remarks == (
        *subject.remarks,
        f"theirs: outcomes: 20 of 120 breasts that have one have no score, {n_cases} {of_others}",
        "theirs: columns: not taken for scores are density",
    )
