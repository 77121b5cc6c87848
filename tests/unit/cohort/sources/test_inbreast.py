from collections.abc import Callable
from pathlib import Path

import pytest
import xlsxwriter

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources.inbreast import read_inbreast
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.errors import TableError, UserInputError

WriteTable = Callable[..., Path]
HEADER = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads"

# patient 6c61 was seen twice, patient d713 once
FILES = (
    "20586908_6c61_MG_R_CC_ANON",
    "20586934_6c61_MG_L_CC_ANON",
    "20586960_6c61_MG_R_ML_ANON",
    "20587054_d713_MG_L_ML_ANON",
    "20587080_6c61_MG_R_CC_ANON",
)
LINES = (
    "removed;removed;R;CC;201001;20586908;3;2",
    "removed;removed;L;CC;201001;20586934;3;1",
    "removed;removed;R;MLO;201001;20586960;3;4a",
    "removed;removed;L;MLO;200904;20587054;     ;3",
    "removed;removed;R;CC;201101;20587080;1;6",
    ";;;;;;;",
)


@pytest.fixture
def images(write_lines: WriteTable, tmp_path: Path) -> Path:
    for name in FILES:
        write_lines(f"AllDICOMs/{name}.dcm", "")
    write_lines("AllDICOMs/notes.png", "")
    return tmp_path / "AllDICOMs"


def read(table: Path, images: Path, **changes: object) -> IndexedCohort:
    handling = Handling(**changes)  # type: ignore[arg-type]  # of several kinds
    return read_inbreast(table, images, rule=OutcomeRule(), handling=handling)


@pytest.mark.parametrize("separator", [";", ","])
def test_table_and_file_names_become_a_manifest(write_lines: WriteTable, images: Path, separator: str) -> None:
    table = write_lines("t.csv", *(line.replace(";", separator) for line in (HEADER, *LINES)))
    manifest = read(table, images).manifest
    check_manifest(manifest, where="test")
    columns = ("image_id", "patient_id", "exam_id", "laterality", "view", "birads", "density", "cancer")
    assert manifest.select(columns).rows() == [
        ("20586908", "6c61", "6c61_201001", "R", "CC", 2, "C", True),  # the other view is 4a
        ("20586934", "6c61", "6c61_201001", "L", "CC", 1, "C", False),
        ("20586960", "6c61", "6c61_201001", "R", "MLO", 4, "C", True),
        ("20587054", "d713", "d713_200904", "L", "MLO", 3, None, None),
        ("20587080", "6c61", "6c61_201101", "R", "CC", 6, "A", True),
    ]
    assert manifest["path"].to_list() == [str(images / f"{name}.dcm") for name in FILES]


def test_a_table_without_dates_has_one_exam_for_each_patient(write_lines: WriteTable, images: Path) -> None:
    lines = [";".join([*line.split(";")[:4], *line.split(";")[5:]]) for line in (HEADER, *LINES)]
    assert set(read(write_lines("t.csv", *lines), images).manifest["exam_id"]) == {"6c61", "d713"}


def test_missing_images_are_named(write_lines: WriteTable, images: Path) -> None:
    table = write_lines("t.csv", HEADER, *LINES, "removed;removed;L;CC;200904;20999999;1;1")
    with pytest.raises(
        UserInputError, match=r"images of the table that are missing: 1 \(20999999\), that were found: 5"
    ):
        read(table, images)
    assert read(table, images, allow_missing=True).manifest.height == 5


@pytest.mark.parametrize(
    ("row", "old", "new", "sentence", "code", "n_left"),
    [
        (2, ";L;", ";R;", "row 2, Laterality: found 'R', but the file name says L", "side_conflict", 2),
        (2, ";CC;", ";MLO;", "row 2, View: found 'MLO', but the file name says CC", "view_conflict", 4),
        (3, ";MLO;", ";CC;", "row 3, View: found 'CC', but the file name says ML", "view_conflict", 3),
        (2, ";1", ";7", "row 2, Bi-Rads: found '7', expected 0 to 6, or 4a to 4c", "bad_value", 4),
        (2, ";3;", ";5;", "row 2, ACR: found '5', expected one of 1, 2, 3, 4", "bad_value", 4),
        (2, ";L;", ";X;", "row 2, Laterality: found 'X', expected one of L, R", "bad_value", 2),
    ],
)
def test_what_is_wrong_is_refused_or_left_out(  # noqa: PLR0913, PLR0917  # a table of cases
    write_lines: WriteTable, images: Path, row: int, old: str, new: str, sentence: str, code: str, n_left: int
) -> None:
    lines = list(LINES)
    place = lines[row - 1].rindex(old)
    lines[row - 1] = lines[row - 1][:place] + new + lines[row - 1][place + len(old) :]
    table = write_lines("t.csv", HEADER, *lines)
    with pytest.raises(TableError, match=sentence):
        read(table, images)
    cohort = read(table, images, on_conflict="exclude")
    assert cohort.manifest.height == n_left
    assert code in cohort.rejected["code"].to_list()


def test_rows_keep_their_number_behind_empty_ones(write_lines: WriteTable, images: Path) -> None:
    table = write_lines("t.csv", HEADER, ";;;;;;;", *LINES[:1], LINES[1].replace(";3;1", ";3;?"))
    with pytest.raises(TableError, match=r"row 3, Bi-Rads: found '\?'"):
        read(table, images)


def test_a_workbook_is_read_like_its_csv_file(write_lines: WriteTable, images: Path, tmp_path: Path) -> None:
    workbook = xlsxwriter.Workbook(tmp_path / "t.xlsx", {"strings_to_numbers": True})
    sheet = workbook.add_worksheet("table")
    for number, line in enumerate((HEADER, *LINES)):
        sheet.write_row(number, 0, line.split(";"))
    workbook.add_worksheet("notes").write(0, 0, "of no use")
    workbook.close()
    found = read_inbreast(tmp_path / "t.xlsx", images, rule=OutcomeRule(), handling=Handling(), sheet="table")
    assert found.manifest.equals(read(write_lines("t.csv", HEADER, *LINES), images).manifest)


def test_another_table_is_refused(write_lines: WriteTable, images: Path) -> None:
    with pytest.raises(TableError, match=r"columns missing: Laterality, .*; give INbreast\.xls or INbreast\.csv"):
        read(write_lines("t.csv", "a;b", "1;2"), images)
