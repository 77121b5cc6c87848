import csv
import json
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

CliRun = Callable[..., tuple[int, str, str]]


def _write(path: Path, **elements: object) -> None:
    row, column = np.mgrid[0:96, 0:80]
    pixels = np.where(np.hypot((row - 48) / 40, column / 56) < 1, 3000 - 30 * column, 0).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    usual = {"PatientID": "Secret", "ImageLaterality": "L", "ViewPosition": "CC", "SamplesPerPixel": 1}
    form = {"Rows": 96, "Columns": 80, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    for keyword, value in (usual | form | {"PhotometricInterpretation": "MONOCHROME2"} | elements).items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    _write(folder / "a" / "good.dcm")
    _write(folder / "raw.dcm", PresentationIntentType="FOR PROCESSING")
    _write(folder / "twin.dcm")
    (folder / "letter.txt").write_text("Dear Dr. Secret, please find")
    return folder


def test_a_file_is_shown_with_header_verdict_and_picture(run_cli: CliRun, study: Path, tmp_path: Path) -> None:
    code, out, _ = run_cli("inspect", study / "a" / "good.dcm", "-o", tmp_path / "out")
    assert code == 0
    assert "photometric" in out
    assert "(0028,0004)" in out
    assert "MONOCHROME2" in out
    assert "verdict  ok" in out
    assert imagecodecs.imread(str(tmp_path / "out" / "good.dcm.png")).shape[2] == 3
    assert "Secret" not in out


def test_identifiers_are_shown_when_asked_for(run_cli: CliRun, study: Path, tmp_path: Path) -> None:
    _, out, _ = run_cli("inspect", study / "a" / "good.dcm", "-o", tmp_path / "out", "--identifiers", "--json")
    report = json.loads(out)
    assert report["header"]["patient id"] == "Secret"
    assert report["verdict"] == "ok"


def test_a_folder_is_counted_by_verdict(run_cli: CliRun, study: Path, tmp_path: Path) -> None:
    code, out, _ = run_cli("inspect", study, "-o", tmp_path / "out", "--workers", "1")
    assert code == 0
    assert "for_processing" in out
    assert "raw.dcm: found raw data, For Processing" in out
    assert "Secret" not in out
    rows = csv.DictReader((tmp_path / "out" / "verdicts.csv").read_text().splitlines())
    assert {row["file"]: row["verdict"] for row in rows} == {
        "a/good.dcm": "ok",
        "letter.txt": "not_dicom",
        "raw.dcm": "for_processing",
        "twin.dcm": "duplicate",
    }
    assert (tmp_path / "out" / "a" / "good.dcm.png").exists()
    assert not (tmp_path / "out" / "letter.txt.png").exists()


def test_the_counts_for_machines(run_cli: CliRun, study: Path, tmp_path: Path) -> None:
    _, out, _ = run_cli("inspect", study, "-o", tmp_path / "out", "--workers", "1", "--json")
    report = json.loads(out)
    assert (report["files"], report["ok"], report["duplicate"]) == (4, 1, 1)


def test_many_refused_files_are_listed_in_the_table_only(run_cli: CliRun, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(25):
        (tmp_path / "texts" / f"{number}.txt").write_text(str(number))
    _, out, _ = run_cli("inspect", tmp_path / "texts", "-o", tmp_path / "out", "--workers", "1")
    assert out.count("found") == 20
    assert "… and 5 more, see verdicts.csv" in out


@pytest.mark.parametrize(("make", "sentence"), [(False, "no such file or folder"), (True, "holds no file")])
def test_nothing_to_look_at_is_the_users_error(run_cli: CliRun, tmp_path: Path, sentence: str, *, make: bool) -> None:
    if make:
        (tmp_path / "gone").mkdir()
    code, _, err = run_cli("inspect", tmp_path / "gone", "-o", tmp_path / "out")
    assert code == 2
    assert sentence in err


def test_a_second_run_does_not_look_at_the_pictures_of_the_first(run_cli: CliRun, study: Path) -> None:
    counts = []
    for _ in range(2):
        _, out, _ = run_cli("inspect", study, "-o", study / "inspection", "--workers", "1", "--json")
        counts.append(json.loads(out)["files"])
    assert counts == [4, 4]


def test_a_file_that_cannot_be_opened_costs_itself_alone(run_cli: CliRun, study: Path, tmp_path: Path) -> None:
    (study / "dangling.dcm").symlink_to(study / "gone.dcm")
    code, out, _ = run_cli("inspect", study, "-o", tmp_path / "out", "--workers", "1", "--json")
    assert (code, json.loads(out)["files"]) == (0, 4)  # a link to nothing is no file
