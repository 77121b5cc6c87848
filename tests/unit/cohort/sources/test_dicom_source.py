import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import uid

from mammoscope.cohort.manifest import check_manifest
from mammoscope.cohort.sources import dicom, dicom_file
from mammoscope.cohort.sources.dicom import Headers, build_cohort, list_files, read_headers
from mammoscope.cohort.sources.dicom_file import DicomRow, RejectedFile, read_file
from mammoscope.cohort.sources.indexing import IndexedCohort
from mammoscope.errors import TableError, UserInputError

WriteDicom = Callable[..., Path]


@pytest.fixture
def write_exam(tmp_path: Path, write_dicom: WriteDicom) -> Callable[..., list[Path]]:
    """Write the four views of an exam of a patient; the SOP Instance UID is made of patient, study and number."""

    def write(patient: int, study: int = 1, **elements: object) -> list[Path]:
        views = [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]
        return [
            write_dicom(
                tmp_path / "studies" / f"{patient}" / f"{study}" / f"{number}.dcm",
                **{
                    "SOPInstanceUID": f"1.2.{patient}.{study}.{number}",
                    "PatientID": f"patient{patient}",
                    "StudyInstanceUID": f"1.2.{patient}.{study}",
                    "ImageLaterality": side,
                    "ViewPosition": view,
                }
                | elements,
            )
            for number, (side, view) in enumerate(views)
        ]

    return write


def read(folder: Path, *accepted: str) -> Headers:
    return read_headers(list_files(folder), accepted, run_tasks=map, advance=lambda _: None)


def index(folder: Path, *accepted: str, exclude: bool = False) -> IndexedCohort:
    return build_cohort(read(folder, *accepted), None, on_conflict="exclude" if exclude else "refuse")


def test_the_headers_become_a_manifest(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    paths = write_exam(1, BreastImplantPresent="NO")
    write_exam(2)
    cohort = index(tmp_path / "studies")
    check_manifest(cohort.manifest, where="test")
    assert cohort.manifest.height == 8
    assert cohort.rejected.is_empty()
    row = cohort.manifest.row(3, named=True)
    assert {name: value for name, value in row.items() if value is not None} == {
        "image_id": "1.2.1.1.3",
        "patient_id": "patient1",
        "exam_id": "1.2.1.1",
        "laterality": "R",
        "view": "MLO",
        "source": "dicom",
        "path": str(paths[3].resolve()),
        "age_years": 61.0,
        "implant": False,
        "machine": "Model",
        "manufacturer": "Maker",
    }


def test_the_pixels_are_not_read(tmp_path: Path, write_dicom: WriteDicom) -> None:
    path = write_dicom(tmp_path / "large.dcm", Rows=4096, Columns=4096, PixelData=bytes(2 * 4096**2))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 2 * 4096**2 + 2)
    assert isinstance(read_file(path), DicomRow)


@pytest.mark.parametrize(
    ("elements", "code", "sentence"),
    [
        ({"PatientID": None}, "unknown_patient", "a: found a header without Patient ID, expected one that names it"),
        ({"PatientID": ""}, "unknown_patient", "a: found a header without Patient ID"),
        ({"StudyInstanceUID": None}, "unknown_exam", "a: found a header without Study Instance UID"),
        ({"SOPInstanceUID": None}, "undecodable", "a: found a header without SOP Instance UID"),
        ({"ImageLaterality": None}, "unknown_side", "a: found a header without Image Laterality"),
        ({"ViewPosition": "XX"}, "unknown_view", "a: found a header without a view that is known"),
        ({"Modality": "US"}, "not_mammography", "a: found an object of modality US"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing", "a: found raw data, For Processing"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "secondary_capture", "a: found a secondary capture"),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "localizer_or_spot", "a: found a view magnified 1.8"),
        ({"PixelData": None}, "no_pixel_data", "a: found a DICOM object without pixel data"),
        ({"BitsAllocated": None}, "undecodable", "a: found nothing in BitsAllocated"),
    ],
)
def test_a_file_without_a_place_is_left_out_with_its_reason(
    tmp_path: Path, write_dicom: WriteDicom, elements: dict[str, object], code: str, sentence: str
) -> None:
    found = read_file(write_dicom(tmp_path / "a.dcm", **elements))
    assert isinstance(found, RejectedFile)
    assert (found.code, found.path) == (code, str(tmp_path / "a.dcm"))
    assert found.sentence.startswith(sentence)


def test_a_deflated_file_is_read(tmp_path: Path, write_dicom: WriteDicom) -> None:
    path = write_dicom(tmp_path / "a.dcm", syntax=uid.DeflatedExplicitVRLittleEndian)
    assert isinstance(read_file(path), DicomRow)


def test_what_is_no_dicom_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 500)
    found = read_file(tmp_path / "notes.txt")
    assert isinstance(found, RejectedFile)
    assert found.code == "not_dicom"
    assert found.sentence.startswith("notes: found a file without the mark DICM, expected a DICOM file")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    found = read_file(tmp_path / "gone.dcm")
    assert isinstance(found, RejectedFile)
    assert found.code == "unreadable"
    assert found.sentence == (
        "gone: found no readable file (No such file or directory), expected one that exists and may be read; "
        "check its path and its rights"
    )


def test_what_nobody_foresaw_ends_one_file_and_not_the_batch(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RecursionError("patient1")

    monkeypatch.setattr(dicom_file, "parse_dataset", fail)
    found = read_file(write_dicom(tmp_path / "a.dcm"))
    assert isinstance(found, RejectedFile)
    assert found.code == "undecodable"
    assert "what ends in RecursionError" in found.sentence
    assert "patient1" not in found.sentence


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "007M"}, 7 / 12),
        ({"PatientAge": "104W"}, 104 * 7 / 365.25),
        ({"PatientAge": "731D"}, 731 / 365.25),
        ({"PatientAge": "999Y"}, None),
        ({"PatientAge": "old"}, None),
        ({"PatientAge": None}, None),
        ({"PatientAge": None, "PatientBirthDate": "19400101", "StudyDate": "20000101"}, 60.0),
        ({"PatientAge": None, "PatientBirthDate": "20000101", "StudyDate": "19400101"}, None),
        ({"PatientAge": "", "PatientBirthDate": "19400101"}, None),
        ({"PatientAge": "050Y", "PatientBirthDate": "19400101", "StudyDate": "20000101"}, 50.0),
    ],
)
@pytest.mark.filterwarnings("ignore:.*VR AS.*:UserWarning", "ignore:Invalid value for VR AS")
def test_the_age_is_that_of_the_header_or_follows_from_its_dates(
    tmp_path: Path, write_dicom: WriteDicom, elements: dict[str, object], years: float | None
) -> None:
    found = read_file(write_dicom(tmp_path / "a.dcm", **elements))
    assert isinstance(found, DicomRow)
    assert found.age_years == pytest.approx(years)


def test_files_are_listed_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2", "b/1.dcm", "a/x.DCM", ".hidden/3.dcm", "b/.4.dcm", "DICOMDIR", "b/dicomdir"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [os.path.relpath(path, tmp_path) for path in list_files(tmp_path)] == ["a/x.DCM", "b/1.dcm", "b/2"]


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="found no files, expected DICOM studies below it"):
        list_files(tmp_path)
    with pytest.raises(UserInputError, match="no such folder, expected DICOM studies below it"):
        list_files(tmp_path / "gone")


def test_a_folder_without_mammograms_says_what_it_holds(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_dicom(tmp_path / "a.dcm", Modality="US")
    write_dicom(tmp_path / "b.dcm", Modality="CT")
    (tmp_path / "c.txt").write_text("")
    sentence = r"found no screening mammogram among 3 files \(2 not_mammography, 1 not_dicom\), expected one or more"
    with pytest.raises(UserInputError, match=sentence):
        index(tmp_path)


def test_raw_data_are_taken_when_they_are_accepted(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    write_exam(1)
    write_exam(2, PresentationIntentType="FOR PROCESSING")
    assert index(tmp_path / "studies").manifest.height == 4
    assert index(tmp_path / "studies", "for_processing").manifest.height == 8


@pytest.mark.parametrize("code", ["unknown_side", "blank", "x"])
def test_other_verdicts_cannot_be_accepted(tmp_path: Path, write_exam: Callable[..., list[Path]], code: str) -> None:
    write_exam(1)
    with pytest.raises(UserInputError, match=f"--accept: found {code}, expected of for_processing, localizer_or_spot"):
        index(tmp_path, code)


def test_a_file_name_that_no_table_can_hold_is_left_out(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    first, *_ = write_exam(1)
    first.rename(os.fsdecode(os.fsencode(first.parent) + b"/\xff.dcm"))
    cohort = index(tmp_path / "studies")
    assert cohort.manifest.height == 3
    assert cohort.rejected["code"].to_list() == ["unreadable"]
    assert cohort.rejected["path"][0].endswith(r"/\udcff.dcm")


def test_a_second_file_of_an_image_is_left_out(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    first, *_ = write_exam(1)
    copy = first.with_name("copy.dcm")
    copy.write_bytes(first.read_bytes())
    cohort = index(tmp_path / "studies")
    assert cohort.manifest.height == 4
    assert cohort.rejected.rows() == [
        (
            "1.2.1.1.0",
            str(copy.resolve()),
            "duplicate",
            "copy: found an image that another file holds, expected one file; remove either",
        )
    ]


@pytest.mark.parametrize(
    ("elements", "sentence", "code", "n_left"),
    [
        ({"ImageLaterality": "R"}, "one image with two sides: found L in 0 and R in copy, expected one", "side", 0),
        ({"ViewPosition": "MLO"}, "one image with two views: found CC in 0 and MLO in copy, expected one", "view", 2),
    ],
)
def test_two_files_of_an_image_that_contradict_each_other_are_refused_or_left_out(  # noqa: PLR0913, PLR0917  # cases
    tmp_path: Path,
    write_exam: Callable[..., list[Path]],
    write_dicom: WriteDicom,
    elements: dict[str, object],
    sentence: str,
    code: str,
    n_left: int,
) -> None:
    first, *_ = write_exam(1)
    write_exam(2)
    same = {"SOPInstanceUID": "1.2.1.1.0", "StudyInstanceUID": "1.2.1.1", "ImageLaterality": "L", "ViewPosition": "CC"}
    write_dicom(first.with_name("copy.dcm"), **(same | elements))
    with pytest.raises(TableError, match=f"DICOM headers: 1 problem\n  {sentence}"):
        index(tmp_path / "studies")
    cohort = index(tmp_path / "studies", exclude=True)
    assert cohort.manifest.height == 4 + n_left
    assert set(cohort.manifest["laterality"].head(n_left)) == ({"R"} if n_left else set())
    assert set(cohort.rejected["code"]) == {f"{code}_conflict"}
    assert cohort.rejected.height == 5 - n_left


def test_a_study_of_two_patients_is_named_and_refused_or_left_out(
    tmp_path: Path, write_exam: Callable[..., list[Path]], write_dicom: WriteDicom
) -> None:
    write_exam(1)
    write_exam(2)
    write_dicom(tmp_path / "studies" / "z.dcm", PatientID="patient9", StudyInstanceUID="1.2.2.1")
    with pytest.raises(TableError, match="one study of several patients: found in 0, 1, 2 and 2 more, expected one pa"):
        index(tmp_path / "studies")
    cohort = index(tmp_path / "studies", exclude=True)
    assert set(cohort.manifest["patient_id"]) == {"patient1"}
    assert cohort.rejected["code"].to_list() == ["mixed_patients"] * 5


def test_an_image_in_two_studies_takes_both_with_it(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    for patient in (1, 2, 3):
        write_exam(patient)
    write_exam(4, SOPInstanceUID="1.2.3.1.0", ImageLaterality="L", ViewPosition="CC")
    with pytest.raises(TableError, match="one image in several studies: found in 0, 0, expected one study"):
        index(tmp_path / "studies")
    cohort = index(tmp_path / "studies", exclude=True)
    assert set(cohort.manifest["patient_id"]) == {"patient1", "patient2"}
    assert "patient" not in " ".join(cohort.rejected["sentence"].str.replace("several patients", "").to_list())


def test_nothing_without_contradiction_is_refused(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    write_exam(1)
    write_exam(2, StudyInstanceUID="1.2.1.1")
    with pytest.raises(TableError, match="DICOM headers: found a problem in every breast, expected one without"):
        index(tmp_path / "studies", exclude=True)


def test_a_data_set_has_the_name_that_it_is_given(tmp_path: Path, write_exam: Callable[..., list[Path]]) -> None:
    write_exam(1)
    headers = read(tmp_path / "studies")
    assert set(build_cohort(headers, None, source="ours", on_conflict="refuse").manifest["source"]) == {"ours"}
    with pytest.raises(UserInputError, match="--source: found no text, expected the name of the data set"):
        build_cohort(headers, None, source=" ", on_conflict="refuse")


def test_the_cohort_does_not_depend_on_the_order_in_which_files_are_read(
    tmp_path: Path, write_exam: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "_TASK_FILES", 1)
    write_exam(1)
    write_exam(2, Modality="US")
    paths = list_files(tmp_path / "studies")
    in_order = read_headers(paths, (), run_tasks=map, advance=lambda _: None)
    backwards = read_headers(paths, (), run_tasks=lambda read, tasks: map(read, tasks[::-1]), advance=lambda _: None)
    assert backwards == in_order
    assert [row.path for row in in_order.rows] == paths[:4]
