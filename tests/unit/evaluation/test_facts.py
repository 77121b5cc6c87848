"""What is known beside the scores: from a cohort, or from any table."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.facts import name_exams, read_facts, truth_of_scores


def test_text_of_numbers_is_numbers_and_ids_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("image_id,laterality,dose,kind,empty\n007,left,1.5,a,\n008,R,,2,\n")
    facts = read_facts(path)
    assert facts["image_id"].to_list() == ["007", "008"]
    assert facts["laterality"].to_list() == ["L", "R"]
    assert facts["dose"].to_list() == [1.5, None]
    assert facts["kind"].to_list() == ["a", "2"]
    assert facts["empty"].to_list() == [None, None]
    assert "patient_id" not in facts.columns


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_no_number_is_not_recorded(tmp_path: Path, suffix: str) -> None:
    table = pl.DataFrame({"image_id": ["a", "b", "c"], "age_years": [50.0, float("nan"), None]})
    path = tmp_path / f"facts.{suffix}"
    if suffix == "csv":
        path.write_text("image_id,age_years\na,50\nb,nan\nc,\n")
    else:
        table.write_parquet(path)
    assert read_facts(path)["age_years"].to_list() == [50.0, None, None]


def test_columns_can_be_left_out(tmp_path: Path) -> None:
    """As scores that stand under the name of the outcome."""
    path = tmp_path / "facts.csv"
    path.write_text("prediction_id,cancer,density\n1_L,0.25,A\n")
    facts = read_facts(path, without=("cancer",))
    assert facts.columns == ["patient_id", "laterality", "prediction_id", "density"]
    assert facts.rows() == [("1", "L", "1_L", "A")]


def test_facts_without_exams_take_those_of_the_scores(make_scores: Callable[..., pl.DataFrame]) -> None:
    """Where each patient has one."""
    facts = pl.DataFrame({"patient_id": ["berta", "anna", "cora"], "density": ["A", "B", "C"]})
    scores = make_scores({}, {"laterality": "R", "image_id": "a2"}, {"patient_id": "berta", "exam_id": "x2"})
    named = name_exams(facts, scores)
    assert named.select("patient_id", "density", "exam_id").rows() == [
        ("berta", "A", "x2"),
        ("anna", "B", "anna-1"),
        ("cora", "C", None),
    ]
    assert name_exams(named, scores.with_columns(exam_id=pl.lit("other"))).equals(named)
    assert name_exams(facts, pl.concat([scores, make_scores({"exam_id": "anna-2"})])).equals(facts)
    assert name_exams(facts.drop("patient_id"), scores).equals(facts.drop("patient_id"))


def test_a_side_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("image_id,laterality\na,both\n")
    with pytest.raises(TableError, match=r"laterality: 1 of 1 values cannot be read .*expected L or R"):
        read_facts(path)


def test_scores_that_name_an_image_twice_are_no_truth(cohort: pl.DataFrame) -> None:
    twice = pl.concat([cohort.head(2), cohort.head(1).with_columns(patient_id=pl.lit("another"))])
    with pytest.raises(TableError, match=r"image_id: 1 of 2 images stand in the table more than once \(rows 1, 3\)"):
        truth_of_scores(twice, "ours")


def test_scores_are_the_truth_of_other_scores_of_the_same(cohort: pl.DataFrame) -> None:
    truth = truth_of_scores(cohort, "ours")
    assert truth.where == "ours"
    assert truth.rows.height == 240
    assert truth.rows["cancer"].sum() == 24
    assert truth.rows["row"].to_list()[:2] == [1, 2]
