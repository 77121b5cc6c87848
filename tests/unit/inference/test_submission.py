from pathlib import Path

import polars as pl

from mammoscope.inference.submission import make_submission, write_submission

SCORES = pl.DataFrame({"patient_id": ["10", "10", "9"], "laterality": ["R", "L", "L"], "score": [0.25, 0.5, 0.75]})


def test_every_scored_breast_has_a_row() -> None:
    submission, n_without = make_submission(SCORES, None, without_image=0.02)
    assert submission.rows() == [("10_L", 0.5), ("10_R", 0.25), ("9_L", 0.75)]
    assert n_without == 0


def test_every_asked_breast_has_one_row_and_no_other_has() -> None:
    asked = pl.DataFrame({"patient_id": ["10", "10", "11", "11"], "laterality": ["L", "L", "R", "R"]})
    submission, n_without = make_submission(SCORES, asked, without_image=0.02)
    assert submission.rows() == [("10_L", 0.5), ("11_R", 0.02)]
    assert n_without == 1


def test_a_breast_of_several_exams_gets_their_mean() -> None:
    twice = pl.DataFrame({"patient_id": ["10", "10"], "laterality": ["L", "L"], "score": [0.25, 0.75]})
    assert make_submission(twice, None, without_image=0.02)[0].rows() == [("10_L", 0.5)]


def test_the_file_is_the_competitions(tmp_path: Path) -> None:
    write_submission(make_submission(SCORES[:1], None, without_image=0.0)[0], tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text() == "prediction_id,cancer\n10_R,0.25\n"
