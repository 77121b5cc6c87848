from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import Problem
from mammoscope.cohort.sources import rsna
from mammoscope.cohort.sources.indexing import Handling, PublishedCounts
from mammoscope.cohort.sources.rsna import find_images, read_rsna, read_rsna_table
from mammoscope.errors import TableError, UserInputError

HEADER = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case"
)
ROWS = [
    "2,11,101,L,CC,61.0,1,1,1,0.0,0,B,29,False",
    "2,11,102,L,MLO,61.0,1,1,1,0.0,0,B,29,False",
    "2,11,103,R,CC,61.0,0,0,0,,0,B,29,True",
    "1,12,104,R,MLO,,0,0,0,1,1,,49,False",
]
WriteTable = Callable[..., Path]


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "train.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("11/101.dcm", "11/102.png", "11/103.DCM", "12/104.dcm", "12/notes.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "images"


def change(row: int, column: str, text: str) -> list[str]:
    """The rows with another text in a row, counted from 1."""
    values = [line.split(",") for line in ROWS]
    values[row - 1][HEADER.split(",").index(column)] = text
    return [",".join(line) for line in values]


def test_a_synthetic_cohort_is_known_by_its_settings(write_table: WriteTable) -> None:
    path = write_table(*ROWS)
    (path.parent / "synthesize.toml").write_text("patients = 2")
    assert set(read_rsna_table(path, with_outcomes=True)["source"]) == {"phantom"}


def test_the_table_becomes_a_manifest(write_table: WriteTable) -> None:
    manifest = read_rsna(write_table(*ROWS), None, handling=Handling()).manifest
    assert manifest.row(2, named=True) == {
        "image_id": "103",
        "patient_id": "11",
        "exam_id": "11",
        "laterality": "R",
        "view": "CC",
        "source": "rsna",
        "path": None,
        "cancer": False,
        "age_years": 61.0,
        "density": "B",
        "birads": None,
        "implant": False,
        "biopsy": False,
        "invasive": False,
        "difficult_negative": True,
        "site": "2",
        "machine": "29",
        "manufacturer": None,
        "fold": None,
    }
    assert manifest["birads"].to_list() == [0, 0, None, 1]
    assert manifest["age_years"].to_list() == [61.0, 61.0, 61.0, None]


def test_sides_and_views_are_read_in_any_spelling(write_table: WriteTable) -> None:
    manifest = read_rsna_table(write_table("1,1,1,left,cranio-caudal,,,,,,,,,"), with_outcomes=True)
    assert manifest.select("laterality", "view").row(0) == ("L", "CC")


def test_a_test_table_has_no_outcomes(write_table: WriteTable) -> None:
    header = "site_id,patient_id,image_id,laterality,view,age,implant,machine_id,prediction_id"
    table = write_table("2,11,101,L,CC,61,0,29,11_L", header=header)
    assert read_rsna_table(table, with_outcomes=False)["cancer"].to_list() == [None]
    with pytest.raises(TableError, match="columns missing: cancer, biopsy, invasive, BIRADS, density, difficult_neg"):
        read_rsna_table(table, with_outcomes=True)


def test_all_missing_columns_are_named_and_those_that_were_found(write_table: WriteTable) -> None:
    sentence = "columns missing: image_id, .*, difficult_negative_case; found patient_id, age; give the competition's"
    with pytest.raises(TableError, match=sentence):
        read_rsna_table(write_table("1,2", header="patient_id,age"), with_outcomes=True)


@pytest.mark.parametrize(
    ("row", "column", "text", "sentence"),
    [
        (1, "view", "AP", "row 1, view: found 'AP', expected one of CC, MLO"),
        (4, "laterality", "B", "row 4, laterality: found 'B', expected one of L, R"),
        (3, "laterality", "", "row 3, laterality: empty, expected a value"),
        (2, "cancer", "2", "row 2, cancer: found '2', expected 0 or 1"),
        (2, "implant", "yes", "row 2, implant: found 'yes', expected 0 or 1"),
        (1, "difficult_negative_case", "maybe", "row 1, difficult_negative_case: found 'maybe', expected 0 or 1"),
        (1, "age", "old", "row 1, age: found 'old', expected 0 to 130 years"),
        (1, "age", "nan", "row 1, age: found 'nan', expected 0 to 130 years"),
        (1, "age", "inf", "row 1, age: found 'inf', expected 0 to 130 years"),
        (1, "age", "-3", "row 1, age: found '-3', expected 0 to 130 years"),
        (4, "BIRADS", "1.5", "row 4, BIRADS: found '1.5', expected a whole number"),
        (4, "BIRADS", "1e30", r"row 4, BIRADS: found '1e30', expected a whole number"),
        (4, "BIRADS", "9", "row 4, BIRADS: found 9, expected 0 to 6"),
        (1, "density", "E", "row 1, density: found 'E', expected one of A, B, C, D"),
        (4, "image_id", "101", "image_id: one image of several patients in rows 1, 4, expected each once"),
        (2, "image_id", "101", "image_id: one image in rows 1, 2, expected each once"),
        (1, "cancer", "0", "cancer: one breast with different outcomes in rows 1, 2"),
    ],
)
def test_a_bad_value_is_named_with_its_row(
    write_table: WriteTable, row: int, column: str, text: str, sentence: str
) -> None:
    with pytest.raises(TableError, match=sentence):
        read_rsna_table(write_table(*change(row, column, text)), with_outcomes=True)


def test_problems_of_every_kind_come_together(write_table: WriteTable) -> None:
    rows = [
        change(1, "cancer", "x")[0],
        change(2, "view", "AP")[1],
        change(3, "age", "200")[2],
        change(4, "age", "?")[3],
    ]
    with pytest.raises(TableError) as caught:
        read_rsna_table(write_table(*rows), with_outcomes=True)
    for sentence in ("row 1, cancer", "row 2, view", "row 3, age", "row 4, age"):
        assert sentence in str(caught.value)


def test_a_table_without_rows_is_refused(write_table: WriteTable) -> None:
    with pytest.raises(TableError, match="no rows, expected one for each mammogram"):
        read_rsna_table(write_table(), with_outcomes=True)


def test_dicom_and_png_files_are_found(write_table: WriteTable, images: Path) -> None:
    cohort = read_rsna(write_table(*ROWS), images, handling=Handling())
    found = [Path(path).relative_to(images.resolve()).as_posix() for path in cohort.manifest["path"]]
    assert found == ["11/101.dcm", "11/102.png", "11/103.DCM", "12/104.dcm"]
    assert cohort.missing_image_ids == ()


def test_missing_images_are_counted_and_named(write_table: WriteTable, images: Path) -> None:
    (images / "11/102.png").unlink()
    (images / "12/104.dcm").rename(images / "11/104.dcm")  # in the folder of another patient
    table = write_table(*ROWS)
    sentence = r"images of the table that are missing: 2 \(102, 104\), that were found: 2; .* --allow-missing"
    with pytest.raises(UserInputError, match=sentence):
        read_rsna(table, images, handling=Handling())
    cohort = read_rsna(table, images, handling=Handling(allow_missing=True))
    assert cohort.missing_image_ids == ("102", "104")
    assert cohort.manifest["image_id"].to_list() == ["101", "103"]


def test_of_many_missing_images_five_are_named(write_table: WriteTable, images: Path) -> None:
    rows = [f"1,11,{number},L,CC,,,,,,,,," for number in range(200, 206)]
    with pytest.raises(UserInputError, match=r"missing: 6 \(200, 201, 202, 203, 204, …\), that were found: 1"):
        read_rsna(write_table("1,11,101,L,MLO,,,,,,,,,", *rows), images, handling=Handling())


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_folder_with_none_of_the_images_is_refused(
    write_table: WriteTable, tmp_path: Path, *, allow_missing: bool
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserInputError, match="empty: found none of the table's 4 images, expected <patient_id>/"):
        read_rsna(write_table(*ROWS), tmp_path / "empty", handling=Handling(allow_missing=allow_missing))


def test_a_folder_that_is_not_there_is_refused(write_table: WriteTable, tmp_path: Path) -> None:
    manifest = read_rsna_table(write_table(*ROWS), with_outcomes=True)
    with pytest.raises(UserInputError, match="none: no such folder, expected <patient_id>/<image_id>"):
        find_images(manifest, tmp_path / "none", allow_missing=False)


def test_two_files_for_one_image_are_refused(write_table: WriteTable, images: Path) -> None:
    (images / "11/101.png").write_bytes(b"")
    with pytest.raises(
        UserInputError, match=r"found 101\.dcm and 101\.png, expected one file for an image; remove one"
    ):
        read_rsna(write_table(*ROWS), images, handling=Handling())


def test_forty_bad_rows_are_forty_lines(write_table: WriteTable) -> None:
    rows = [f"2,{row + 100},{row},L,CC,old{row},0,0,0,,0,B,29,False" for row in range(1, 41)] + ROWS[3:]
    with pytest.raises(TableError) as caught:
        read_rsna_table(write_table(*rows), with_outcomes=True)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("40 problems")
    assert [line.strip() for line in lines] == [
        f"row {row}, age: found 'old{row}', expected 0 to 130 years" for row in range(1, 41)
    ]


def test_a_row_without_a_patient_is_one_problem(write_table: WriteTable) -> None:
    rows = [f"2,,{row},L,CC,61,0,0,0,,0,B,29,False" for row in range(1, 41)] + ROWS[:1]
    with pytest.raises(TableError) as caught:
        read_rsna_table(write_table(*rows), with_outcomes=True)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("40 problems")
    assert [line.strip() for line in lines] == [
        f"row {row}, patient_id: empty, expected a value" for row in range(1, 41)
    ]


def test_problems_come_in_the_order_of_the_rows_in_the_words_of_the_table(write_table: WriteTable) -> None:
    rows = [change(1, "view", "AP")[0], ROWS[1], change(3, "BIRADS", "9")[2], change(4, "age", "?")[3], ROWS[1]]
    with pytest.raises(TableError) as caught:
        read_rsna_table(write_table(*rows), with_outcomes=True)
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "row 1, view",
        "image_id",
        "row 3, BIRADS",
        "row 4, age",
    ]


@pytest.mark.parametrize(
    ("row", "column", "text", "left", "code"),
    [
        (3, "age", "old", ["101", "102", "104"], "bad_value"),
        (1, "age", "old", ["103", "104"], "bad_value"),
        (1, "cancer", "0", ["103", "104"], "outcome_conflict"),
        (1, "laterality", "B", ["104"], "bad_value"),
        (1, "laterality", "", ["104"], "bad_value"),
        (2, "image_id", "101", ["103", "104"], "duplicate"),
        (4, "density", "E", ["101", "102", "103"], "bad_value"),
        (2, "patient_id", "", ["101", "103", "104"], "bad_value"),
    ],
)
def test_a_bad_breast_is_left_out_whole_when_that_is_set(  # noqa: PLR0913, PLR0917  # a table of cases
    write_table: WriteTable, row: int, column: str, text: str, left: list[str], code: str
) -> None:
    cohort = read_rsna(write_table(*change(row, column, text)), None, handling=Handling(on_conflict="exclude"))
    assert cohort.manifest["image_id"].to_list() == left
    assert set(cohort.rejected["code"]) == {code}
    remaining = {"101", "102", "103", "104"} - set(left) - ({"102"} if column == "image_id" else set())
    assert set(cohort.rejected["image_id"]) == remaining
    assert cohort.rejected["sentence"][0].count("expected") == 1


def test_a_column_that_is_wrong_in_every_row_is_one_line(write_table: WriteTable) -> None:
    rows = [row.replace(",CC,", ",AP,").replace(",MLO,", ",AP,") for row in ROWS]
    with pytest.raises(TableError, match=r"1 problem\n  all 4 rows, view: found 'AP', expected one of CC"):
        read_rsna(write_table(*rows), None, handling=Handling())
    mixed = [row.replace(",CC,", ",AP,").replace(",MLO,", ",PA,") for row in ROWS]
    with pytest.raises(TableError, match=r"1 problem\n  all 4 rows, view: found 'AP' \(in row 1\), expected one of"):
        read_rsna(write_table(*mixed), None, handling=Handling())
    with pytest.raises(TableError, match=r"2 problems\n  row 1, view: .*\n  row 3, view: "):
        read_rsna(write_table(*mixed[:1], *ROWS[1:2], *mixed[2:3], ROWS[3]), None, handling=Handling())


def test_every_row_that_is_left_out_stands_among_the_rejected(write_table: WriteTable) -> None:
    rows = [*change(1, "image_id", "")[:1], *change(2, "image_id", "")[1:2], *ROWS[2:], ROWS[2]]
    cohort = read_rsna(write_table(*rows), None, handling=Handling(on_conflict="exclude"))
    assert cohort.rejected["image_id"].to_list() == [None, None, "103", "103"]
    assert cohort.manifest.height + cohort.rejected.height == len(rows)


def test_the_own_fault_of_a_row_is_its_reason(write_table: WriteTable) -> None:
    rows = change(1, "age", "old")[:1] + change(2, "age", "young")[1:2] + ROWS[2:]
    cohort = read_rsna(write_table(*rows), None, handling=Handling(on_conflict="exclude"))
    assert [sentence.split(", ")[1] for sentence in cohort.rejected["sentence"]] == [
        "age: found 'old'",
        "age: found 'young'",
    ]


def test_an_image_of_two_patients_takes_both_exams_with_it(write_table: WriteTable) -> None:
    rows = [*change(4, "image_id", "101"), "1,13,105,R,MLO,,0,0,0,1,1,,49,False"]
    cohort = read_rsna(write_table(*rows), None, handling=Handling(on_conflict="exclude"))
    assert cohort.manifest["image_id"].to_list() == ["105"]
    assert set(cohort.rejected["code"]) == {"mixed_patients"}


def test_nothing_left_is_an_error(write_table: WriteTable) -> None:
    with pytest.raises(
        TableError, match="found a problem in every breast, expected one without; row 1, age: found 'x'"
    ):
        read_rsna(write_table(*change(1, "age", "x")[:1]), None, handling=Handling(on_conflict="exclude"))


def test_a_side_that_the_file_contradicts_is_named(write_table: WriteTable, images: Path) -> None:
    def check(rows: pl.DataFrame) -> list[Problem]:
        assert rows["path"].null_count() == 0
        return [Problem("row 3, laterality: found 'R', but the file says L", (3,), "side_conflict")]

    table = write_table(*ROWS)
    with pytest.raises(TableError, match="1 problem\n  row 3, laterality: found 'R', but the file says L"):
        read_rsna(table, images, handling=Handling(check_sides=check))
    cohort = read_rsna(table, images, handling=Handling(check_sides=check, on_conflict="exclude"))
    assert cohort.manifest["image_id"].to_list() == ["104"]  # its other breast may be the one that is meant
    assert cohort.rejected["path"].to_list() == [
        str(images / "11" / name) for name in ("101.dcm", "102.png", "103.DCM")
    ]
    assert set(cohort.rejected["code"]) == {"side_conflict"}


@pytest.mark.parametrize(
    ("counts", "sentences"),
    [
        (PublishedCounts(4, 2, 2), ()),
        (PublishedCounts(4), ()),
        (
            PublishedCounts(4, 3, 1),
            ("rsna: found 2 patients, 2 images of cases, published are 3 patients, 1 images of",),
        ),
        (PublishedCounts(5), ()),
        (PublishedCounts(3), ("rsna: found 4 images, published are 3 images; check that the download is complete",)),
    ],
    ids=["as published", "only images are known", "others", "a part", "more"],
)
def test_what_looks_complete_is_held_against_the_published_counts(
    write_table: WriteTable, monkeypatch: pytest.MonkeyPatch, counts: PublishedCounts, sentences: tuple[str, ...]
) -> None:
    monkeypatch.setattr(rsna, "PUBLISHED", counts)
    table = write_table(*ROWS)
    warnings = read_rsna(table, None, handling=Handling()).warnings
    assert len(warnings) == len(sentences)
    assert all(ours.startswith(theirs) for ours, theirs in zip(warnings, sentences, strict=True))
    (table.parent / "synthesize.toml").write_text("patients = 2")
    assert read_rsna(table, None, handling=Handling()).warnings == ()


def test_a_problem_of_the_whole_table_cannot_be_left_out(write_table: WriteTable) -> None:
    with pytest.raises(TableError, match="1 problem\n  no rows, expected one for each mammogram"):
        read_rsna(write_table(), None, handling=Handling(on_conflict="exclude"))
