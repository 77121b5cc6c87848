from pathlib import Path

import polars as pl
import pytest

from mammoscope.evaluation.any_table import as_numbers, read_any_table


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separators_of_spreadsheets_are_found(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"patient_id{separator}score\nanna{separator}0.5\n")
    assert read_any_table(path).rows() == [("anna", "0.5")]


def test_a_comma_in_a_number_is_told_of() -> None:
    _, problems = as_numbers(pl.Series("score", ["0.5", "0,2019"]))
    assert problems == [
        "score: 1 of 2 values cannot be read (row 2), the first is '0,2019'; expected a number with a decimal point"
    ]
    _, problems = as_numbers(pl.Series("score", ["high", "1"]))
    assert problems[0].endswith("the first is 'high'; expected a number")
