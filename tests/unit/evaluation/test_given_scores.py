"""Scores from anywhere: what each shape of table gives, and what is refused or told, with numbers and rows."""

from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.given_scores import GivenScores, GivenSettings, read_given_scores
from mammoscope.evaluation.levels import sample_level
from mammoscope.evaluation.scores import aggregate_to_breasts, write_scores
from mammoscope.evaluation.truth import Truth, read_truth

TRUTH = """image_id,patient_id,exam_id,laterality,view,cancer,fold,site
a1,anna,x1,L,CC,1,0,north
a2,anna,x1,L,MLO,1,0,north
a3,anna,x1,R,CC,0,0,north
b1,berta,x2,L,CC,0,1,south
b2,berta,x2,R,CC,0,1,south
c1,cora,x3,L,CC,,2,
"""


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    path = tmp_path / "truth.csv"
    path.write_text(TRUTH)
    return read_truth(path)


def read(tmp_path: Path, text: str, truth: Truth | None = None, **settings: object) -> GivenScores:
    path = tmp_path / "given.csv"
    path.write_text(text)
    return read_given_scores(path, truth=truth, settings=GivenSettings(**settings))  # type: ignore[arg-type]


def write_as(table: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.write_csv(path)
    elif path.suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_ndjson(path)


def refuse(tmp_path: Path, text: str, truth: Truth | None = None, **settings: object) -> str:
    with pytest.raises(TableError) as caught:
        read(tmp_path, text, truth, **settings)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'given.csv'}")
    return message


IMAGES = "image_id,score\na1,0.9\na2,0.5\na3,0.2\nb1,0.3\nb2,0.1\nc1,0.4\n"


def test_images_find_their_outcomes_by_id(tmp_path: Path, truth: Truth) -> None:
    given = read(tmp_path, IMAGES, truth)
    table = given.tables["score"]
    assert table.select("level", "patient_id", "laterality", "view", "score", "cancer", "fold", "site").rows()[:2] == [
        ("image", "anna", "L", "CC", 0.9, True, 0, "north"),
        ("image", "anna", "L", "MLO", 0.5, True, 0, "north"),
    ]
    assert sample_level(table, "breast").scores == pytest.approx([0.7, 0.2, 0.3, 0.1])
    assert given.remarks == (
        "cancer: 1 of 3 patients have no outcome (row 6); their 1 scores are counted as undetermined and not measured",
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_every_format_gives_the_same(tmp_path: Path, truth: Truth, suffix: str) -> None:
    scores = pl.DataFrame({"image_id": ["a1", "b1"], "score": [1 / 3, 0.1]})
    path = tmp_path / f"given.{suffix}"
    write_as(scores, path)
    assert read_given_scores(path, truth=truth).tables["score"]["score"].to_list() == [1 / 3, 0.1]


def test_a_file_with_semicolons_is_read(tmp_path: Path, truth: Truth) -> None:
    assert (
        read(tmp_path, IMAGES.replace(",", ";"), truth)
        .tables["score"]
        .equals(read(tmp_path, IMAGES, truth).tables["score"])
    )


@pytest.mark.parametrize(
    "text",
    [
        "exam_id,laterality,score\nx1,left,0.9\nx1,R,0.2\n",
        "patient_id,laterality,score\nanna,L,0.9\nanna,R,0.2\n",
        "prediction_id,score\nanna_L,0.9\nanna_R,0.2\n",
    ],
)
def test_breasts_find_their_outcomes_by_exam_or_patient(tmp_path: Path, truth: Truth, text: str) -> None:
    table = read(tmp_path, text, truth).tables["score"]
    assert table.select("level", "exam_id", "laterality", "n_images", "score", "cancer").rows() == [
        ("breast", "x1", "L", 2, 0.9, True),
        ("breast", "x1", "R", 1, 0.2, False),
    ]


@pytest.mark.parametrize(
    "text", ["exam_id,score\nx1,0.9\nx2,0.2\nx3,0.1\n", "patient_id,score\nanna,0.9\nberta,0.2\ncora,0.1\n"]
)
def test_exams_find_their_outcomes_by_exam_or_patient(tmp_path: Path, truth: Truth, text: str) -> None:
    table = read(tmp_path, text, truth).tables["score"]
    assert table.select("level", "exam_id", "laterality", "n_images", "score", "cancer").rows() == [
        ("exam", "x1", None, 3, 0.9, True),
        ("exam", "x2", None, 2, 0.2, False),
        ("exam", "x3", None, 1, 0.1, None),
    ]


def test_images_find_the_outcomes_of_breasts(tmp_path: Path) -> None:
    (tmp_path / "breasts.csv").write_text("patient_id,laterality,cancer\nanna,L,1\nanna,R,0\nberta,L,0\n")
    given = read(
        tmp_path,
        "image_id,patient_id,laterality,score\ni,anna,L,0.9\nj,anna,L,0.8\nk,anna,R,0.1\n",
        read_truth(tmp_path / "breasts.csv"),
    )
    assert given.tables["score"]["cancer"].to_list() == [True, True, False]
    assert given.tables["score"]["n_images"].to_list() == [1, 1, 1]
    assert given.remarks == (
        "outcomes: 1 of 3 breasts that have one have no score, 0 of them with cancer; the figures are of the others",
        "exam_id: not given, so that all scores of a patient are taken to be of one exam",
    )


def test_outcomes_may_stand_in_the_table_itself(tmp_path: Path) -> None:
    given = read(tmp_path, "patient_id,laterality,score,cancer\nanna,L,0.9,1\nberta,L,0.2,0\n")
    assert given.tables["score"].select("exam_id", "cancer", "n_images").rows() == [
        ("anna", True, 1),
        ("berta", False, 1),
    ]


def test_the_level_can_be_said(tmp_path: Path, truth: Truth) -> None:
    text = "exam_id,laterality,score\nx1,L,0.9\nx2,R,0.2\n"
    table = read(tmp_path, text, truth, level="exam").tables["score"]
    assert table.select("level", "laterality", "cancer").rows() == [("exam", None, True), ("exam", None, False)]


def test_several_columns_are_several_tables(tmp_path: Path, truth: Truth) -> None:
    text = "exam_id,laterality,score_model,score_reader,comment\nx1,L,0.9,0.7,\nx1,R,0.2,,dark\nx2,L,0.3,0.5,\n"
    given = read(tmp_path, text, truth)
    assert list(given.tables) == ["score_model", "score_reader"]
    assert given.tables["score_model"]["score"].to_list() == [0.9, 0.2, 0.3]
    assert given.tables["score_reader"].select("score", "laterality", "cancer").rows() == [
        (0.7, "L", True),
        (0.5, "L", False),
    ]
    assert given.remarks == (
        "outcomes: 2 of 5 breasts that have one have no score, 0 of them with cancer; the figures are of the others",
        "columns: not taken for scores are comment",
        "score_reader: 1 of 3 scores are missing; it is measured on the others, and compared on what both have",
    )


def test_columns_can_be_named_and_ratings_scaled(tmp_path: Path, truth: Truth) -> None:
    text = "exam_id,model,anna\nx1,0.9,5\nx2,0.2,2\n"
    given = read(tmp_path, text, truth, score_columns=("model", "anna"), scales={"anna": (1, 5)})
    assert given.tables["anna"]["score"].to_list() == [1, 0.25]
    assert given.tables["model"]["score"].to_list() == [0.9, 0.2]


def test_columns_of_readers_stand_beside_those_of_scores(tmp_path: Path, truth: Truth) -> None:
    """The scores are found by their names, readers or not; a reader's own column is no model's."""
    text = "patient_id,laterality,score_a,score_b,call\nanna,L,0.9,0.8,1\nanna,R,0.2,0.1,0\n"
    assert list(read(tmp_path, text, truth, readers=("call",)).tables) == ["score_a", "score_b", "call"]
    assert list(read(tmp_path, text, truth, readers=("score_b", "call")).tables) == ["score_a", "score_b", "call"]
    assert list(read(tmp_path, text, truth, score_columns=("score_b",), readers=("call",)).tables) == [
        "score_b",
        "call",
    ]


def test_the_file_of_the_competition_is_read(tmp_path: Path, truth: Truth) -> None:
    given = read(tmp_path, "prediction_id,cancer\nanna_L,0.9\nanna_R,0.2\n", truth, score_columns=("cancer",))
    assert given.tables["cancer"].select("score", "cancer").rows() == [(0.9, True), (0.2, False)]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_the_projects_own_table_is_read_with_all_its_levels(cohort: pl.DataFrame, tmp_path: Path, suffix: str) -> None:
    scores = pl.concat([cohort, aggregate_to_breasts(cohort)])
    path = tmp_path / f"scores.{suffix}"
    write_scores(scores, path)
    given = read_given_scores(path)
    assert given.tables["score"].equals(scores)
    assert given.remarks == ()


def test_the_projects_own_table_takes_outcomes_of_a_truth(tmp_path: Path, truth: Truth, cohort: pl.DataFrame) -> None:
    image = cohort.head(1).with_columns(patient_id=pl.lit("anna"), exam_id=pl.lit("x1"), image_id=pl.lit("a1"))
    unknown = pl.concat([image, aggregate_to_breasts(image)]).with_columns(cancer=pl.lit(None, pl.Boolean))
    write_scores(unknown.with_columns(fold=pl.lit(0, pl.Int64)), tmp_path / "scores.csv")
    given = read_given_scores(tmp_path / "scores.csv", truth=truth)
    assert given.tables["score"].select("level", "cancer", "n_images").rows() == [
        ("image", True, 1),
        ("breast", True, 1),
    ]


def test_scores_that_are_none_are_refused_with_number_and_rows(tmp_path: Path) -> None:
    rows = "".join(
        f"p{number},{score},0\n" for number, score in enumerate(["0.5", "nan", "-3.2", "7", "", "high", "inf"])
    )
    message = refuse(tmp_path, f"patient_id,score,cancer\n{rows}")
    unreadable, not_a_number, outside = message.splitlines()[1:]
    assert unreadable == "  score: 1 of 7 values cannot be read (row 6), the first is 'high'; expected a number"
    assert not_a_number == "  score: 1 of 7 scores are NaN (row 2); expected a number in [0, 1]"
    assert outside == (
        "  score: 3 of 7 scores are outside [0, 1] (rows 3, 4, 7), from -3.2 to inf; apply a sigmoid to logits, or "
        "give the range of ratings, as --scale score=0:100"
    )
    message = refuse(tmp_path, "patient_id,score,cancer\na,,1\nb,0.5,0\nc,,0\n")
    assert "score: 2 of 3 scores are missing (rows 1, 3); give a score to each, or take the rows out" in message


def test_a_rating_beyond_its_scale_is_refused(tmp_path: Path) -> None:
    message = refuse(tmp_path, "patient_id,score,cancer\na,6,1\nb,3,0\n", scales={"score": (1, 5)})
    assert "score: 1 of 2 scores are outside [1, 5] (row 1), from 6 to 6" in message


@pytest.mark.parametrize("scale", [(5, 1), (1, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_scale_goes_up(scale: tuple[float, float]) -> None:
    with pytest.raises(UserInputError, match=r"scale of anna: found .*, expected a lower and a higher number"):
        GivenSettings(scales={"anna": scale})


def test_two_scores_for_one_image_are_refused(tmp_path: Path, truth: Truth) -> None:
    message = refuse(tmp_path, IMAGES + "a1,0.1\nb1,0.3\na1,0.2\n", truth)
    assert "image_id: 2 of 6 images have several scores (rows 1, 7, 9, 4, 8); expected one each" in message


def test_two_scores_for_one_breast_and_one_exam_are_refused(tmp_path: Path, truth: Truth) -> None:
    message = refuse(tmp_path, "patient_id,laterality,score\nanna,L,0.1\nanna,L,0.2\n", truth)
    assert "exam_id, laterality: 1 of 1 breasts have several scores (rows 1, 2)" in message
    message = refuse(tmp_path, "patient_id,score\nanna,0.1\nanna,0.2\n", truth)
    assert "exam_id: 1 of 1 exams have several scores (rows 1, 2); expected one each; name sides" in message


def test_a_truth_that_lacks_ids_is_refused_unless_they_are_left_out(tmp_path: Path, truth: Truth) -> None:
    text = IMAGES + "".join(f"z{number},0.5\n" for number in range(10))
    message = refuse(tmp_path, text, truth)
    assert (
        f"image_id: 10 of 16 images are not in {truth.where} (rows 7, 8, 9, 10, 11, 12, 13, 14 and 2 more); give the "
        "truth of all, or leave them out with --exclude-unmatched"
    ) in message
    given = read(tmp_path, text, truth, exclude_unmatched=True)
    assert given.tables["score"].height == 6
    assert given.remarks[0] == (
        f"image_id: 10 of 16 images are not in {truth.where} (rows 7, 8, 9, 10, 11, 12, 13, 14 and 2 more), and were "
        "left out"
    )


def test_a_truth_that_knows_nothing_of_the_scores_is_refused(tmp_path: Path, truth: Truth) -> None:
    for exclude in (False, True):
        message = refuse(tmp_path, "image_id,score\ny,0.5\nz,0.5\n", truth, exclude_unmatched=exclude)
        assert "2 of 2 images are not in" in message
        assert "are the ids spelled alike?" in message


def test_a_truth_without_the_same_ids_is_refused(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("patient_id,cancer\nanna,1\nberta,0\n")
    patients = read_truth(tmp_path / "patients.csv")
    message = refuse(tmp_path, "patient_id,laterality,score\nanna,L,0.5\n", patients)
    assert (
        f"ids: found patient_id, laterality here and patient_id in {patients.where}, expected in both, for scores of "
        "breasts, exam_id and laterality, or patient_id and laterality"
    ) in message


def test_what_the_truth_contradicts_is_refused(tmp_path: Path, truth: Truth) -> None:
    message = refuse(tmp_path, "image_id,patient_id,cancer,score\na1,anna,0,0.5\nb1,anna,0,0.5\nc1,cora,1,0.1\n", truth)
    assert message.splitlines()[1:] == [
        f"  patient_id: 1 of 3 rows say another than {truth.where} (row 2); correct one",
        f"  cancer: 1 of 3 rows say another than {truth.where} (row 1); correct one",
    ]


def test_a_patient_with_several_exams_names_no_breast(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(
        "exam_id,patient_id,laterality,cancer\nx1,anna,L,0\nx2,anna,L,1\nx3,berta,L,0\n"
    )
    several = read_truth(tmp_path / "truth.csv")
    message = refuse(tmp_path, "patient_id,laterality,score\nanna,L,0.1\nberta,L,0.2\n", several)
    assert (
        f"patient_id: 1 of 2 rows name a patient with several exams in {several.where} (row 1); give exam_id too"
    ) in message


@pytest.mark.parametrize(
    ("told", "text", "sentence"),
    [
        (  # the outcomes are sought by exam, which these rows lack, and would be found by patient and side
            "exam_id,patient_id,laterality,cancer\n,anna,L,1\n,anna,L,0\nx2,berta,L,0\n",
            "patient_id,laterality,score\nanna,L,0.1\nberta,L,0.2\n",
            "cancer: 1 of 2 rows stand for several in {truth} (row 1); expected one each",
        ),
        (
            "exam_id,patient_id,laterality,cancer\nx1,anna,L,1\nx1,berta,L,1\nx2,cora,L,0\n",
            "exam_id,patient_id,laterality,score\nx1,dora,L,0.1\nx2,cora,L,0.2\n",
            "patient_id: 1 of 2 rows stand for several in {truth} (row 1); expected one each",
        ),
    ],
)
def test_a_key_that_stands_for_several_in_the_truth_is_refused(
    tmp_path: Path, told: str, text: str, sentence: str
) -> None:
    (tmp_path / "truth.csv").write_text(told)
    torn = read_truth(tmp_path / "truth.csv")
    assert sentence.format(truth=torn.where) in refuse(tmp_path, text, torn)


def test_labels_that_differ_within_a_breast_are_refused(tmp_path: Path) -> None:
    text = "image_id,patient_id,laterality,score,cancer\na,anna,L,0.1,1\nb,anna,L,0.1,0\nc,anna,R,0.1,0\n"
    assert "cancer: 1 of 2 breasts have different outcomes (rows 1, 2); expected one each" in refuse(tmp_path, text)


def test_ids_that_are_missing_are_refused(tmp_path: Path) -> None:
    message = refuse(tmp_path, "image_id,score,cancer\na,0.1,1\nb,0.2,0\n")
    without_patient, without_exam, without_side = (line.strip() for line in message.splitlines()[1:])
    found, advice = "2 of 2 rows have none (rows 1, 2)", "so give it here or in a table of truth"
    assert without_patient == f"patient_id: {found}; intervals resample patients, {advice}"
    assert without_exam == f"exam_id: {found}; a score is of one exam, {advice}"
    assert without_side == f"laterality: {found}; give L or R here or in a table of truth"


def test_no_id_is_ever_told(tmp_path: Path, truth: Truth) -> None:
    text = "image_id,patient_id,score\na1,secret,0.5\nhidden,secret,0.5\na1,secret,0.5\n"
    message = refuse(tmp_path, text, truth)
    assert len(message.splitlines()) == 4  # the patient, what is unknown, and what comes twice
    assert "secret" not in message
    assert "hidden" not in message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patient_id,score\nanna,0.5\n", "found no outcomes, expected a column cancer, or a table of truth"),
        ("patient_id,result,cancer\nanna,0.5,1\n", "found no column of scores among patient_id, result, cancer"),
    ],
)
def test_a_table_without_scores_or_outcomes_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refuse(tmp_path, text)


def test_columns_that_are_not_there_are_refused(tmp_path: Path) -> None:
    text = "patient_id,score,cancer\nanna,0.5,1\n"
    assert "found no column reader among patient_id, score" in refuse(tmp_path, text, score_columns=("reader",))
    assert "found no column reader among patient_id, score" in refuse(tmp_path, text, scales={"reader": (1, 5)})


@pytest.mark.parametrize(("cancer", "missing"), [(1, "control"), (0, "case")])
def test_one_class_only_is_told(tmp_path: Path, cancer: int, missing: str) -> None:
    given = read(tmp_path, f"patient_id,score,cancer\nanna,0.5,{cancer}\nberta,0.6,{cancer}\n")
    assert given.remarks[-1] == (
        f"cancer: undefined: no {missing} among 2 with a known outcome, needs cases and controls; figures that compare "
        "the two have no value"
    )


def test_a_tie_everywhere_is_told(tmp_path: Path) -> None:
    given = read(tmp_path, "patient_id,score,cancer\nanna,0.5,1\nberta,0.5,0\n")
    assert given.remarks[-1] == (
        "score: all 2 scores are 0.5; they tell nothing apart, and a threshold calls all or none"
    )


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("given.xlsx", "x", r"found suffix '.xlsx', expected one of .csv, .parquet, .jsonl"),
        ("given.csv", "patient_id,score\n", "found no row, expected one for each image, breast or exam"),
        ("given.csv", "", "empty, expected a CSV table"),
        ("given.jsonl", "{", "cannot be read as jsonl; write it anew"),
        ("given.jsonl", '{"patient_id": "a", "score": [1, 2]}\n', "found lists or bytes in score, expected texts and"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=sentence):
        read_given_scores(tmp_path / name)
    with pytest.raises(TableError, match="no such file; check the path"):
        read_given_scores(tmp_path / "other.csv")
