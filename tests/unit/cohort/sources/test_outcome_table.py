from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.sources.dicom import Headers, build_cohort
from mammoscope.cohort.sources.dicom_file import DicomRow
from mammoscope.cohort.sources.indexing import IndexedCohort
from mammoscope.cohort.sources.outcome_table import apply_outcomes, read_outcomes
from mammoscope.errors import TableError

WriteTable = Callable[..., Path]

# patient 1 has exams a and b, patient 2 has exam c; each both sides
ROWS = tuple(
    DicomRow(
        image_id=f"{exam}{side}",
        patient_id=patient,
        exam_id=exam,
        laterality=side,
        view="CC",
        path=f"/{exam}{side}.dcm",
        age_years=50.0,
        implant=None,
        machine=None,
        manufacturer=None,
    )
    for patient, exam in (("p1", "a"), ("p1", "b"), ("p2", "c"))
    for side in "LR"
)


def index(table: Path, *, exclude: bool = False) -> IndexedCohort:
    headers = Headers(ROWS, ())
    return build_cohort(headers, read_outcomes(table), on_conflict="exclude" if exclude else "refuse")


def cancer_of(cohort: IndexedCohort) -> dict[str, bool | None]:
    return dict(cohort.manifest.select("image_id", "cancer").iter_rows())


def test_outcomes_by_breast(write_lines: WriteTable) -> None:
    table = write_lines("o.csv", "exam_id,laterality,cancer,biopsy", "a,L,1,1", "a,right,0,0", "c,L,,", "c,R,0,")
    cohort = index(table)
    assert cancer_of(cohort) == {"aL": True, "aR": False, "bL": None, "bR": None, "cL": None, "cR": False}
    assert cohort.manifest["biopsy"].to_list() == [True, False, None, None, None, None]
    assert cohort.warnings == (f"{table}: breasts without a row, which stay undetermined: 2",)


def test_outcomes_by_exam_without_a_side_leave_the_breasts_of_a_case_undetermined(write_lines: WriteTable) -> None:
    lines = ("exam_id,cancer,age_years,density", "a,1,51.5,B", "b,0,53,C", "c,0,,")
    cohort = index(write_lines("o.csv", *lines))
    assert cancer_of(cohort) == {"aL": None, "aR": None, "bL": False, "bR": False, "cL": False, "cR": False}
    assert cohort.manifest["age_years"].to_list() == [51.5, 51.5, 53.0, 53.0, 50.0, 50.0]
    assert cohort.manifest["density"].to_list() == ["B", "B", "C", "C", None, None]
    assert [warning.partition(": ")[2] for warning in cohort.warnings] == [
        "exams with cancer and without a side, which stay undetermined: 1"
    ]


def test_outcomes_by_patient_hold_for_all_exams_and_that_is_said(write_lines: WriteTable) -> None:
    cohort = index(write_lines("o.csv", "patient_id,cancer,site,birads", "p1,0,A,1", "p2,0,B,2", "p3,0,B,2"))
    assert set(cancer_of(cohort).values()) == {False}
    assert cohort.manifest["site"].to_list() == ["A"] * 4 + ["B"] * 2
    assert cohort.manifest["birads"].to_list() == [1] * 4 + [2] * 2
    assert [warning.partition(": ")[2] for warning in cohort.warnings] == [
        "rows that fit no image: 1, the first is row 3",
        "patients with several exams, which all got the patient's outcome: 1",
    ]


@pytest.mark.parametrize("header", ["exam_id,cancer", "patient_id,cancer", "patient_id,laterality,cancer"])
def test_a_table_of_which_no_row_fits_is_refused(write_lines: WriteTable, header: str) -> None:
    lines = ["x,L,1", "y,R,0"] if "laterality" in header else ["x,1", "y,0"]
    key = header.split(",", maxsplit=1)[0]
    with pytest.raises(TableError, match=rf"none of its 2 rows fits an image by {key}.*, the first is row 1; expected"):
        index(write_lines("o.csv", header, *lines))
    with pytest.raises(TableError, match="none of its 2 rows fits an image"):
        index(write_lines("o.csv", header, *lines), exclude=True)


def test_rows_that_repeat_themselves_are_one(write_lines: WriteTable) -> None:
    cohort = index(write_lines("o.csv", "exam_id,cancer", "c,0", "c,0"))
    assert cancer_of(cohort)["cL"] is False


def test_conflicting_outcomes_are_named_and_refused_or_left_out(write_lines: WriteTable) -> None:
    table = write_lines("o.csv", "exam_id,laterality,cancer", "a,L,1", "c,R,0", "a,L,0", "c,L,0")
    with pytest.raises(
        TableError, match=r"o\.csv: 1 problem\n  one breast with different outcomes in rows 1, 3, expect"
    ):
        index(table)
    cohort = index(table, exclude=True)
    assert cohort.manifest["image_id"].to_list() == ["aR", "bL", "bR", "cL", "cR"]
    assert cohort.rejected.select("image_id", "code").rows() == [("aL", "outcome_conflict")]


@pytest.mark.parametrize(
    ("level", "rows"), [("exam", ("exam_id,cancer", "a,1", "a,0")), ("patient", ("patient_id,cancer", "p1,1", "p1,"))]
)
def test_a_conflict_names_its_level(write_lines: WriteTable, level: str, rows: tuple[str, ...]) -> None:
    with pytest.raises(TableError, match=f"one {level} with different outcomes in rows 1, 2"):
        index(write_lines("o.csv", *rows))


def test_an_exam_of_another_patient_is_named(write_lines: WriteTable) -> None:
    table = write_lines("o.csv", "patient_id,exam_id,cancer", "p1,a,0", "p2,b,0", "p2,c,0")
    with pytest.raises(TableError, match="row 2: found an exam of another patient, expected the patient of its heade"):
        index(table)
    cohort = index(table, exclude=True)
    assert cohort.manifest["image_id"].to_list() == ["aL", "aR", "cL", "cR"]


def test_all_bad_values_come_together_with_their_rows(write_lines: WriteTable) -> None:
    header = "exam_id,laterality,cancer,density,birads,age_years"
    table = write_lines("o.csv", header, "a,X,1,,,", "a,L,maybe,,,", "b,L,0,E,,", "b,R,0,,7,", "c,L,0,,,131", ",L,0,,,")
    with pytest.raises(TableError) as caught:
        index(table)
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "row 1, laterality: found 'X', expected L or R",
        "row 2, cancer: found 'maybe', expected 0 or 1",
        "row 3, density: found 'E', expected one of A, B, C, D",
        "row 4, birads: found '7', expected 0 to 6",
        "row 5, age_years: found '131', expected 0 to 130 years",
        "row 6, exam_id: empty, expected a value",
    ]
    cohort = index(table, exclude=True)
    assert cohort.manifest["image_id"].to_list() == ["aR", "cR"]


def test_a_bad_value_in_a_repeated_row_leaves_the_breast_out(write_lines: WriteTable) -> None:
    cohort = index(write_lines("o.csv", "exam_id,laterality,cancer", "c,L,", "c,L,x"), exclude=True)
    assert "cL" not in cohort.manifest["image_id"].to_list()


def test_a_bad_row_that_fits_no_image_is_no_harm_when_bad_ones_are_left_out(write_lines: WriteTable) -> None:
    table = write_lines("o.csv", "exam_id,laterality,cancer", "z,L,x", "a,L,1")
    with pytest.raises(TableError, match="row 1, cancer: found 'x'"):
        index(table)
    cohort = index(table, exclude=True)
    assert cohort.manifest.height == 6
    assert cohort.rejected.is_empty()


@pytest.mark.parametrize("header", ["cancer,laterality", "exam_id,laterality", "exam_id,cancer,name"])
def test_other_columns_are_refused(write_lines: WriteTable, header: str) -> None:
    with pytest.raises(
        TableError, match=f"found columns {', '.join(header.split(','))}, expected patient_id or exam_id"
    ):
        read_outcomes(write_lines("o.csv", header))


def test_outcomes_may_stand_in_a_workbook(tmp_path: Path) -> None:
    workbook = xlsxwriter.Workbook(tmp_path / "o.xlsx")
    workbook.add_worksheet("notes").write(0, 0, "of no use")
    sheet = workbook.add_worksheet("outcomes")
    for number, line in enumerate([["exam_id", "cancer", "age_years"], ["a", 0, 51.5]]):
        sheet.write_row(number, 0, line)
    workbook.close()
    found = read_outcomes(tmp_path / "o.xlsx", sheet="outcomes").table
    assert found.rows() == [(1, "a", False, 51.5)]


def test_a_table_changes_no_other_column(write_lines: WriteTable) -> None:
    rows = pl.DataFrame(
        [dict.fromkeys(SCHEMA) | {"image_id": "1", "patient_id": "p", "exam_id": "a", "implant": True}], schema=SCHEMA
    )
    filled, problems, _ = apply_outcomes(rows, read_outcomes(write_lines("o.csv", "exam_id,cancer", "a,0")))
    assert problems == []
    assert filled.drop("cancer").equals(rows.drop("cancer"))
