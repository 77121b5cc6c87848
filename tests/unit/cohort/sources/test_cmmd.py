from collections.abc import Callable
from pathlib import Path

import pytest
import xlsxwriter

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources import cmmd
from mammoscope.cohort.sources.cmmd import read_cmmd
from mammoscope.cohort.sources.dicom import Headers, list_files, read_headers
from mammoscope.cohort.sources.indexing import Handling, IndexedCohort, PublishedCounts
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.errors import TableError

WriteDicom = Callable[..., Path]
WriteTable = Callable[..., Path]
HEADER = "ID1,LeftRight,Age,number,abnormality,classification,subtype"
LINES = (
    "D1-0001,L,44,2,calcification,Benign,",
    "D2-0001,R,58,2,mass,Malignant,Luminal A",
    "D2-0001,R,58,2,calcification,Benign,",
)


@pytest.fixture
def headers(tmp_path: Path, write_dicom: WriteDicom) -> Headers:
    """Two views of one side of D1-0001, four views of D2-0001, as the archive lays them down.

    The header of D1-0001 is a year ahead of the table.
    """
    sides = [("D1-0001", "L"), ("D2-0001", "L"), ("D2-0001", "R")]
    number = 0
    for patient, side in sides:
        for view in ("CC", "MLO"):
            number += 1
            write_dicom(
                tmp_path / "CMMD" / patient / "07-18-2010-NA-NA-79377" / "1.000000-NA-70244" / f"1-{number}.dcm",
                SOPInstanceUID=f"1.3.{number}",
                PatientID=patient,
                PatientAge={"D1-0001": "045Y", "D2-0001": "058Y"}[patient],
                StudyInstanceUID=f"1.2.{patient[1]}",
                ImageLaterality=side,
                ViewPosition=view,
            )
    return read_headers(list_files(tmp_path / "CMMD"), [], run_tasks=map, advance=lambda _: None)


def read(table: Path, headers: Headers, rule: OutcomeRule | None = None, **changes: object) -> IndexedCohort:
    handling = Handling(**changes)  # type: ignore[arg-type]  # of several kinds
    chosen = rule or OutcomeRule(normal_side="undetermined")
    return read_cmmd(table, headers, rule=chosen, handling=handling)


def outcomes_of(cohort: IndexedCohort) -> dict[tuple[str, str], bool | None]:
    return {
        (patient, side): cancer
        for patient, side, cancer in cohort.manifest.select("patient_id", "laterality", "cancer").iter_rows()
    }


def test_table_and_headers_become_a_manifest(write_lines: WriteTable, headers: Headers) -> None:
    cohort = read(write_lines("t.csv", HEADER, *LINES), headers)
    check_manifest(cohort.manifest, where="test")
    assert cohort.manifest.height == 6
    assert outcomes_of(cohort) == {("D1-0001", "L"): False, ("D2-0001", "L"): None, ("D2-0001", "R"): True}
    assert cohort.manifest["age_years"].to_list() == [44.0, 44.0, 58.0, 58.0, 58.0, 58.0]
    assert set(cohort.manifest["source"]) == {"cmmd"}
    assert cohort.warnings == ()


def test_a_side_that_was_not_biopsied_can_be_taken_as_control(write_lines: WriteTable, headers: Headers) -> None:
    table = write_lines("t.csv", HEADER, *LINES)
    assert outcomes_of(read(table, headers, OutcomeRule()))["D2-0001", "L"] is False
    assert outcomes_of(read(table, headers, OutcomeRule(benign="undetermined")))["D1-0001", "L"] is None


def test_a_side_that_was_not_biopsied_is_unknown_beside_a_benign_one_too(
    write_lines: WriteTable, headers: Headers
) -> None:
    table = write_lines("t.csv", HEADER, LINES[0], LINES[2])
    assert outcomes_of(read(table, headers))["D2-0001", "L"] is None
    assert outcomes_of(read(table, headers, OutcomeRule()))["D2-0001", "L"] is False


def test_a_bad_row_leaves_out_its_side_only(write_lines: WriteTable, headers: Headers) -> None:
    table = write_lines("t.csv", HEADER, LINES[0], LINES[1].replace("Malignant", "?"))
    cohort = read(table, headers, on_conflict="exclude")
    assert outcomes_of(cohort) == {("D1-0001", "L"): False, ("D2-0001", "L"): None}


def test_a_patient_without_a_row_stays_undetermined(write_lines: WriteTable, headers: Headers) -> None:
    table = write_lines("t.csv", HEADER, *LINES[1:])
    cohort = read(table, headers, OutcomeRule())
    assert outcomes_of(cohort)["D1-0001", "L"] is None
    assert cohort.manifest["age_years"].to_list()[:2] == [45.0, 45.0]  # of the header
    assert cohort.warnings == (f"{table}: patients of the files whom it does not name, who stay undetermined: 1",)


def test_a_breast_without_an_image_is_missing(write_lines: WriteTable, headers: Headers) -> None:
    table = write_lines("t.csv", HEADER, *LINES, "D1-0001,R,44,2,mass,Benign,", "D1-0099,R,44,2,mass,Benign,")
    advice = "expected one or more; add its files, or leave it out with --allow-missing"
    sentence = "row {}: found no image of this breast, " + advice
    with pytest.raises(TableError, match=f"2 problems\n  {sentence.format(4)}\n  {sentence.format(5)}"):
        read(table, headers)
    assert read(table, headers, allow_missing=True).manifest.height == 6


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Benign", "Maybe", "row 1, classification: found 'Maybe', expected one of Benign, Malignant"),
        (",L,", ",B,", "row 1, LeftRight: found 'B', expected L or R"),
        (",L,", ",,", "row 1, LeftRight: empty, expected a value"),
        (",44,", ",old,", "row 1, Age: found 'old', expected 0 to 130 years"),
        (",44,", ",500,", "row 1, Age: found '500', expected 0 to 130 years"),
        (",44,", ",-3,", "row 1, Age: found '-3', expected 0 to 130 years"),
        (",44,", ",nan,", "row 1, Age: found 'nan', expected 0 to 130 years"),
    ],
)
def test_what_is_wrong_is_refused_or_left_out(
    write_lines: WriteTable, headers: Headers, old: str, new: str, sentence: str
) -> None:
    table = write_lines("t.csv", HEADER, LINES[0].replace(old, new, 1), *LINES[1:])
    with pytest.raises(TableError, match=sentence):
        read(table, headers)
    cohort = read(table, headers, on_conflict="exclude")
    assert cohort.manifest.height == 4
    assert set(cohort.rejected["sentence"]) == {sentence}


@pytest.mark.parametrize(
    ("lines", "sentence", "n_left"),
    [
        (
            (LINES[0], LINES[1], LINES[2].replace(",58,", ",70,")),
            "Age: one patient with different ages in rows 2, 3, expected one",
            2,
        ),
        (
            (LINES[0], *(line.replace(",58,", ",60,") for line in LINES[1:])),
            "row 2, Age: found 60, but the header of a file says 58; expected them 1 year apart",
            2,
        ),
    ],
)
def test_ages_that_contradict_each_other_are_refused_or_left_out(
    write_lines: WriteTable, headers: Headers, lines: tuple[str, ...], sentence: str, n_left: int
) -> None:
    table = write_lines("t.csv", HEADER, *lines)
    with pytest.raises(TableError, match=sentence):
        read(table, headers)
    cohort = read(table, headers, on_conflict="exclude")
    assert cohort.manifest.height == n_left
    assert set(cohort.rejected["code"]) == {"bad_value"}
    assert set(cohort.manifest["patient_id"]) == {"D1-0001"}


def test_an_age_that_only_one_row_gives_holds_for_the_patient(write_lines: WriteTable, headers: Headers) -> None:
    table = write_lines("t.csv", HEADER, LINES[0], LINES[1].replace(",58,", ",,"), LINES[2].replace(",58,", ",57,"))
    assert read(table, headers).manifest["age_years"].to_list() == [44.0, 44.0, 57.0, 57.0, 57.0, 57.0]


def test_a_bad_row_of_a_patient_without_images_is_no_harm_when_bad_ones_are_left_out(
    write_lines: WriteTable, headers: Headers
) -> None:
    table = write_lines("t.csv", HEADER, *LINES, "D1-0099,X,44,2,mass,Benign,")
    assert read(table, headers, on_conflict="exclude").manifest.height == 6


def test_the_workbook_is_read_as_it_is_published(write_lines: WriteTable, headers: Headers, tmp_path: Path) -> None:
    workbook = xlsxwriter.Workbook(tmp_path / "CMMD_clinicaldata_revision.xlsx", {"strings_to_numbers": True})
    sheet = workbook.add_worksheet("Sheet1")
    for number, line in enumerate((HEADER, *LINES)):
        sheet.write_row(number, 0, line.split(","))
    workbook.add_worksheet("notes").write(0, 0, "of no use")
    workbook.close()
    found = read_cmmd(
        tmp_path / "CMMD_clinicaldata_revision.xlsx", headers, rule=OutcomeRule(), handling=Handling(), sheet="Sheet1"
    )
    expected = read_cmmd(write_lines("t.csv", HEADER, *LINES), headers, rule=OutcomeRule(), handling=Handling())
    assert found.manifest.equals(expected.manifest)


def test_another_table_is_refused(write_lines: WriteTable, headers: Headers) -> None:
    with pytest.raises(
        TableError,
        match=r"columns missing: ID1, LeftRight, Age, classification; .*; give CMMD_clinicaldata_revision\.xlsx",
    ):
        read(write_lines("t.csv", "a,b", "1,2"), headers)


@pytest.mark.usefixtures("headers")
def test_a_breast_whose_files_were_left_out_is_not_missing(
    write_lines: WriteTable, tmp_path: Path, write_dicom: WriteDicom
) -> None:
    elements = {"PatientID": "D1-0001", "StudyInstanceUID": "1.2.1", "SOPInstanceUID": "1.3.1", "PatientAge": "045Y"}
    write_dicom(tmp_path / "CMMD" / "z.dcm", ImageLaterality="R", **elements)  # its first file says L
    both = read_headers(list_files(tmp_path / "CMMD"), [], run_tasks=map, advance=lambda _: None)
    table = write_lines("t.csv", HEADER, *LINES)
    cohort = read(table, both, on_conflict="exclude")
    assert set(cohort.manifest["patient_id"]) == {"D2-0001"}
    assert set(cohort.rejected["code"]) == {"side_conflict"}
    assert cohort.warnings == ()


def test_counts_that_are_not_as_published_are_warned_of(
    write_lines: WriteTable, headers: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cmmd, "PUBLISHED", PublishedCounts(images=6, patients=3))
    assert read(write_lines("t.csv", HEADER, *LINES), headers).warnings == (
        "cmmd: found 2 patients, published are 3 patients; check that the download is complete and unchanged",
    )
