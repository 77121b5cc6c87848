"""What is known beside the scores: from a cohort, or from any table."""

from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.facts import read_facts, truth_of_scores


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
