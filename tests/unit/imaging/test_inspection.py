from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid

from mammoscope.imaging.contradictions import WARNING_CODES
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.inspection import (
    ABSENT,
    InspectionTask,
    inspect_and_draw,
    inspect_file,
    list_header,
    mark_duplicates,
)
from mammoscope.imaging.prepare import WALL_CONFLICT, PrepareSettings
from mammoscope.imaging.verdict import Verdict

MakeDicom = Callable[..., bytes]
SETTINGS = PrepareSettings(rows=64, columns=32)


def test_a_screening_mammogram_is_ok(make_dicom: MakeDicom) -> None:
    inspection = inspect_file(make_dicom(ViewPosition="CC"), SETTINGS, name="a.dcm")
    assert (inspection.verdict, inspection.sentence, inspection.warnings) == (Verdict.OK, None, ())
    assert inspection.header is not None


def test_the_gravest_reason_is_the_verdict_and_the_picture_is_shown_all_the_same(make_dicom: MakeDicom) -> None:
    content = make_dicom(Modality="CT", PresentationIntentType="FOR PROCESSING", ViewPosition="CC")
    inspection = inspect_file(content, SETTINGS, name="a.dcm")
    assert inspection.verdict is Verdict.NOT_MAMMOGRAPHY
    assert inspection.sentence is not None
    assert inspection.sentence.startswith("a.dcm: found an object of modality CT")
    assert inspection.preview is not None


def test_settings_that_accept_a_file_do_not_change_its_verdict(make_dicom: MakeDicom) -> None:
    content = make_dicom(PresentationIntentType="FOR PROCESSING", ViewPosition="CC")
    accepting = SETTINGS.model_copy(update={"excluded": ()})
    assert inspect_file(content, accepting, name="a").verdict is Verdict.FOR_PROCESSING


def test_a_file_that_cannot_be_decoded_has_a_header_and_no_picture(make_dicom: MakeDicom) -> None:
    content = make_dicom(PixelData=b"\x00" * 100, ViewPosition="CC")
    inspection = inspect_file(content, SETTINGS, name="a")
    assert inspection.verdict is Verdict.TRUNCATED
    assert inspection.header is not None
    assert inspection.preview is None
    assert not inspection.has_preview


def test_a_file_that_is_no_picture_has_neither() -> None:
    inspection = inspect_file(b"some text", SETTINGS, name="a")
    assert (inspection.verdict, inspection.header, inspection.preview) == (Verdict.NOT_DICOM, None, None)


def test_contradictions_are_told(make_dicom: MakeDicom) -> None:
    inspection = inspect_file(make_dicom(Laterality="R", ViewPosition="CC"), SETTINGS, name="a")
    assert [warning.code for warning in inspection.warnings] == ["side_conflict"]


def test_the_box_on_the_preview_is_around_the_breast(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    picture = np.zeros((960, 800), dtype=np.uint16)
    picture[400:880, :400] = cv2.resize(breast, (400, 480))
    preview = inspect_file(make_dicom(picture, ViewPosition="CC"), SETTINGS, name="a").preview
    assert preview is not None
    is_coloured = (preview != preview[..., :1]).any(axis=2)  # grey everywhere else
    rows, columns = np.flatnonzero(is_coloured.any(axis=1)), np.flatnonzero(is_coloured.any(axis=0))
    scale = 900 / 960
    tissue = 400 + 480 * 0.1, 400 + 480 * 0.9, 400 * 0.7  # top, bottom and right of the half disc
    assert rows[0] == pytest.approx(tissue[0] * scale, abs=30)
    assert rows[-1] == pytest.approx(tissue[1] * scale, abs=30)
    assert columns[-1] == pytest.approx(tissue[2] * scale, abs=30)
    assert columns[0] <= 2


def test_pixels_that_are_not_square_are_shown_in_proportion(make_dicom: MakeDicom) -> None:
    flat = inspect_file(make_dicom(ImagerPixelSpacing=[0.05, 0.1], ViewPosition="CC"), SETTINGS, name="a").preview
    square = inspect_file(make_dicom(ImagerPixelSpacing=[0.1, 0.1], ViewPosition="CC"), SETTINGS, name="a").preview
    assert flat is not None
    assert square is not None
    assert flat.shape[1] > 1.5 * square.shape[1]


def test_the_preview_goes_to_its_file_and_not_through_the_pipe(make_dicom: MakeDicom, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(make_dicom(ViewPosition="CC"))
    task = InspectionTask("a.dcm", tmp_path / "a.dcm", tmp_path / "out" / "a.png", SETTINGS)
    inspection = inspect_and_draw(task)
    assert inspection.has_preview
    assert inspection.preview is None
    assert np.asarray(cv2.imread(str(tmp_path / "out" / "a.png"))).shape[0] == 900


def test_files_that_cannot_be_read_have_a_verdict_and_are_no_copies_of_each_other(tmp_path: Path) -> None:
    tasks = [InspectionTask(name, tmp_path / name, tmp_path / f"{name}.png", SETTINGS) for name in ("a", "b")]
    found = mark_duplicates([inspect_and_draw(task) for task in tasks])
    assert [inspection.verdict for inspection in found] == [Verdict.UNREADABLE] * 2
    assert found[0].sentence == (
        "a: found no readable file (No such file or directory), expected one that exists and may be read; "
        "check its path and its rights"
    )


def test_a_second_copy_is_a_duplicate(make_dicom: MakeDicom) -> None:
    contents = [make_dicom(ViewPosition="CC"), make_dicom(ViewPosition="MLO"), make_dicom(ViewPosition="CC")]
    found = mark_duplicates([inspect_file(each, SETTINGS, name=str(n)) for n, each in enumerate(contents)])
    assert [inspection.verdict for inspection in found] == [Verdict.OK, Verdict.OK, Verdict.DUPLICATE]
    assert found[2].sentence is not None
    assert found[2].sentence.startswith("2: found the same bytes as in 0")


def test_a_copy_of_a_file_with_a_verdict_keeps_it(make_dicom: MakeDicom) -> None:
    found = mark_duplicates([inspect_file(make_dicom(), SETTINGS, name=name) for name in ("a", "b")])
    assert [inspection.verdict for inspection in found] == [Verdict.UNKNOWN_VIEW] * 2


def test_the_list_has_every_field_of_a_header_that_has_a_tag(make_dicom: MakeDicom) -> None:
    header = read_header(make_dicom(), name="a")
    lines = list_header(header, with_identifiers=False)
    assert len(lines) == sum(bool(field.metadata) for field in fields(Header))
    assert all(line.tags and line.section for line in lines)


def test_the_list_hides_who_it_is_unless_asked(make_dicom: MakeDicom) -> None:
    header = read_header(make_dicom(PatientID="Secret", PatientAge="091Y", AcquisitionDate="20010203"), name="a")
    hidden = {line.name: line.value for line in list_header(header, with_identifiers=False)}
    shown = {line.name: line.value for line in list_header(header, with_identifiers=True)}
    assert (hidden["patient id"], hidden["acquisition date"]) == ("given, hidden", "given, hidden")
    assert (shown["patient id"], shown["acquisition date"]) == ("Secret", "2001-02-03")
    assert (hidden["age years"], shown["age years"]) == ("given, hidden", "91")
    assert not any("Secret" in value for value in hidden.values())


def test_the_list_says_values_in_words(make_dicom: MakeDicom) -> None:
    content = make_dicom(
        WindowCenter=[100, 50.5], WindowWidth=[200, 10], BreastImplantPresent="NO", PixelPaddingValue=7
    )
    values = {line.name: line.value for line in list_header(read_header(content, name="a"), with_identifiers=False)}
    assert values["windows"] == "100 / 200, 50.5 / 10"
    assert (values["has implant"], values["padding"], values["rows"]) == ("no", "7", "96")
    assert values["transfer syntax"] == uid.ExplicitVRLittleEndian.name
    assert (values["manufacturer"], values["voi luts"]) == (ABSENT, ABSENT)


def test_every_verdict_and_every_warning_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "inspect.md").read_text(encoding="utf-8")
    codes = {verdict.value for verdict in Verdict} | WARNING_CODES | {WALL_CONFLICT}
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []
