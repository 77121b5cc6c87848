"""The score table: what is refused, what every format carries, and the way to breasts and exams."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.scores import (
    SCORES_SCHEMA,
    aggregate_to_breasts,
    aggregate_to_exams,
    check_scores,
    read_scores,
    write_scores,
)

MakeScores = Callable[..., pl.DataFrame]
SUFFIXES = ["parquet", "csv", "jsonl"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_table_back(cohort: pl.DataFrame, tmp_path: Path, suffix: str) -> None:
    unknown = cohort.with_columns(
        pl.lit(None, SCORES_SCHEMA[column]).alias(column) for column in ("cancer", "fold", "machine")
    )
    for scores in (cohort, unknown, cohort.head(0)):
        if scores.is_empty() and suffix == "jsonl":
            continue  # no row, no column
        path = tmp_path / f"scores.{suffix}"
        write_scores(scores, path)
        assert read_scores(path).equals(scores)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_breasts_and_exams_are_tables_of_the_same_schema(cohort: pl.DataFrame, tmp_path: Path, suffix: str) -> None:
    together = pl.concat([cohort, aggregate_to_breasts(cohort), aggregate_to_exams(cohort)])
    path = tmp_path / f"scores.{suffix}"
    write_scores(together, path)
    assert read_scores(path).equals(together)


def test_site_and_machine_may_be_left_out(cohort: pl.DataFrame, tmp_path: Path) -> None:
    write_scores(cohort.drop("site", "machine"), tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv")["site"].is_null().all()


def test_a_number_stays_an_id_in_csv(make_scores: MakeScores, tmp_path: Path) -> None:
    scores = make_scores({"patient_id": "007", "exam_id": "007", "image_id": "0012"})
    write_scores(scores, tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv")["patient_id"].to_list() == ["007"]


def test_outcomes_may_be_spelled_as_numbers_in_csv(make_scores: MakeScores, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    make_scores({"cancer": None}).with_columns(cancer=pl.lit("1")).write_csv(path)
    assert read_scores(path)["cancer"].to_list() == [True]


def test_the_score_of_a_breast_is_the_mean_of_its_views(make_scores: MakeScores) -> None:
    left = {"cancer": True}
    breasts = aggregate_to_breasts(
        make_scores(
            {"image_id": "a", "score": 0.2, "laterality": "R"},
            {"image_id": "b", "score": 0.3, **left},
            {"image_id": "c", "score": 0.9, "view": "MLO", **left},
        )
    )
    assert breasts["laterality"].to_list() == ["L", "R"]
    assert breasts["score"].to_list() == pytest.approx([0.6, 0.2])
    assert breasts["cancer"].to_list() == [True, False]
    assert breasts["n_images"].to_list() == [2, 1]
    assert breasts["image_id"].to_list() == breasts["view"].to_list() == [None, None]


def test_a_breast_on_two_machines_is_at_none(make_scores: MakeScores) -> None:
    scores = make_scores(
        {"image_id": "a", "machine": "21", "site": "1"}, {"image_id": "b", "machine": "29", "site": "1"}
    )
    breasts = aggregate_to_breasts(scores)
    assert breasts["machine"].to_list() == [None]
    assert breasts["site"].to_list() == ["1"]


@pytest.mark.parametrize(
    ("left", "right", "exam"),
    [
        (True, False, True),
        (True, None, True),
        (False, False, False),
        (False, None, None),
        (None, None, None),
    ],
)
def test_an_exam_is_a_case_when_a_breast_is(
    make_scores: MakeScores, left: bool | None, right: bool | None, exam: bool | None
) -> None:
    scores = make_scores(
        {"image_id": "a", "cancer": left, "score": 0.3},
        {"image_id": "b", "laterality": "R", "cancer": right, "score": 0.7},
    )
    exams = aggregate_to_exams(scores)
    assert exams["cancer"].to_list() == [exam]
    assert exams["score"].to_list() == [0.7]
    assert exams["laterality"].to_list() == [None]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"score": float("nan")}, r"score: found NaN \(row 2\), expected a number in \[0, 1\]"),
        ({"score": -0.01}, r"score: outside \[0, 1\] \(row 2\)"),
        ({"score": 1.01}, r"score: outside \[0, 1\] \(row 2\)"),
        ({"score": float("inf")}, r"score: outside \[0, 1\] \(row 2\)"),
        ({"score": None}, r"score: empty \(row 2\)"),
        ({"patient_id": None}, r"patient_id: empty \(row 2\)"),
        ({"level": "pixel"}, r"level: unknown value \(row 2\), expected one of image, breast, exam"),
        ({"laterality": "left"}, r"laterality: unknown value \(row 2\), expected one of L, R"),
        ({"view": "top"}, r"view: unknown value \(row 2\)"),
        ({"laterality": None}, r"laterality: empty \(row 2\), expected one for an image"),
        ({"image_id": None}, r"image_id: empty \(row 2\), expected one for an image"),
        ({"n_images": 0}, r"n_images: below 1 \(row 2\)"),
        ({"n_images": 2}, r"n_images: above 1 \(row 2\)"),
        ({"level": "breast"}, r"image_id: given \(row 2\), expected none above images"),
        ({"level": "breast", "image_id": None, "laterality": None}, r"laterality: empty \(row 2\).*for a breast"),
        ({"level": "exam", "image_id": None}, r"laterality: given \(row 2\), expected none for an exam"),
        ({"image_id": "a1"}, r"image: stands in the table more than once \(rows 1, 2\)"),
        ({"cancer": True}, r"cancer: differs within a breast \(rows 1, 2\)"),
        ({"cancer": None}, r"cancer: differs within a breast \(rows 1, 2\)"),
        ({"patient_id": "berta"}, r"patient_id: differs within an exam \(rows 1, 2\)"),
        ({"fold": 1}, r"fold: differs within a patient \(rows 1, 2\)"),
        ({"schema_version": 2}, r"schema_version: found \[2\] \(row 2\), expected 1; use the version"),
        ({"schema_version": None}, r"schema_version: found \[None\] \(row 2\), expected 1"),
    ],
)
def test_a_row_that_breaks_the_schema_is_named(
    make_scores: MakeScores, changes: dict[str, object], sentence: str
) -> None:
    scores = make_scores({}, {"image_id": "a2", **changes})
    with pytest.raises(TableError, match=sentence):
        check_scores(scores)


@pytest.mark.parametrize("level", ["breast", "exam"])
def test_a_breast_or_exam_stands_in_the_table_once(cohort: pl.DataFrame, level: str) -> None:
    above = aggregate_to_breasts(cohort) if level == "breast" else aggregate_to_exams(cohort)
    with pytest.raises(TableError, match=rf"{level}: stands in the table more than once \(rows 1, "):
        check_scores(pl.concat([above, above.tail(1), above.head(1)]))


def test_all_problems_come_together_and_no_id_is_told(make_scores: MakeScores) -> None:
    scores = make_scores({"score": 2.0, "n_images": 0}, {"image_id": "a2", "score": float("nan")})
    with pytest.raises(TableError) as caught:
        check_scores(scores, where="scores.csv")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("scores.csv: ") for line in lines)
    assert "anna" not in str(caught.value)


def test_of_many_rows_the_first_are_named(make_scores: MakeScores) -> None:
    scores = make_scores(*({"image_id": str(number), "score": 2.0} for number in range(9)))
    with pytest.raises(TableError, match=r"\(rows 1, 2, 3, 4, 5 and 4 more\)"):
        check_scores(scores)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda scores: scores.drop("fold"), "column fold: missing, add it"),
        (lambda scores: scores.with_columns(age=1), "column age: unknown, remove it; known are schema_version"),
        (lambda scores: scores.with_columns(score=pl.lit("x")), "column score: found type String, expected Float64"),
    ],
)
def test_columns_are_those_of_the_schema(
    make_scores: MakeScores, change: Callable[[pl.DataFrame], pl.DataFrame], sentence: str
) -> None:
    with pytest.raises(TableError, match=sentence):
        check_scores(change(make_scores({})))


@pytest.mark.parametrize(
    ("column", "text", "sentence"),
    [
        ("score", "high", r"score: found 'high' \(row 1\), expected Float64"),
        ("cancer", "perhaps", r"cancer: found 'perhaps' \(row 1\), expected Boolean"),
        ("fold", "1.5", r"fold: found '1.5' \(row 1\), expected Int64"),
    ],
)
def test_text_that_is_no_value_is_named(
    make_scores: MakeScores, tmp_path: Path, column: str, text: str, sentence: str
) -> None:
    path = tmp_path / "scores.csv"
    make_scores({}).with_columns(pl.lit(text).alias(column)).write_csv(path)
    with pytest.raises(TableError, match=sentence):
        read_scores(path)


def test_breasts_are_made_of_images_only(cohort: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="level: not image"):
        aggregate_to_breasts(aggregate_to_breasts(cohort))


def test_another_suffix_is_refused(cohort: pl.DataFrame, tmp_path: Path) -> None:
    for act in (lambda path: write_scores(cohort, path), read_scores):
        with pytest.raises(TableError, match=r"found suffix '.xlsx', expected one of .parquet, .csv, .jsonl"):
            act(tmp_path / "scores.xlsx")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"scores.parquet: no such file"):
        read_scores(tmp_path / "scores.parquet")


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_torn_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores.{suffix}"
    path.write_bytes(b"PAR1{")
    with pytest.raises(TableError, match=f"cannot be read as {suffix}; write it anew"):
        read_scores(path)


def test_an_empty_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("")
    with pytest.raises(TableError, match="cannot be read as csv"):
        read_scores(tmp_path / "scores.csv")


def test_nothing_is_written_that_breaks_the_schema(make_scores: MakeScores, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="score: found NaN"):
        write_scores(make_scores({"score": float("nan")}), tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []
