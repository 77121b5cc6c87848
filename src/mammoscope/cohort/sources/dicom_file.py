"""One DICOM file to one row of a manifest, or the reason why not, from the bytes before its pixels."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from pydicom import dcmread, uid
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from mammoscope.cohort.manifest import OLDEST_YEARS
from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.elements import ElementReader, as_date, as_text, judging_elements, refuse_without_pixels
from mammoscope.imaging.header import Header, parse_dataset
from mammoscope.imaging.object_kind import judge_kind
from mammoscope.imaging.verdict import Verdict, refusal, refuse_unreadable

# PS3.5 6.2, AS: three digits and a unit
_AGE: Final = re.compile(r"([0-9]{3})([DWMY])")
_YEARS_OF_UNIT: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_DAYS_OF_A_YEAR: Final = 365.25


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomRow:
    """What a header says for the manifest; the fields are those of its schema."""

    image_id: str
    patient_id: str
    exam_id: str
    laterality: str
    view: str
    path: str
    age_years: float | None
    implant: bool | None
    machine: str | None
    manufacturer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedFile:
    """A file that has no place in the cohort: a row of `rejected.parquet`."""

    image_id: str | None
    path: str
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class HeaderTask:
    """Files to read, and the clinical verdicts that are no reason to leave one out."""

    paths: tuple[str, ...]
    accepted: frozenset[str]


def read_files(task: HeaderTask) -> list[DicomRow | RejectedFile]:
    """A row or a rejection for each file of a task."""
    return [read_file(Path(path), task.accepted) for path in task.paths]


def read_file(path: Path, accepted: Collection[str] = ()) -> DicomRow | RejectedFile:
    """The row of a file, or why it has none; only the bytes before the pixels are read."""
    name = path.stem
    try:
        dataset = read_elements(path, name=name)
        header = parse_dataset(dataset, name=name)
        _refuse(header, accepted, name)
        return _to_row(header, dataset, path)
    except OSError as error:
        return RejectedFile(
            image_id=None,
            path=str(path),
            code=Verdict.UNREADABLE.value,
            sentence=refuse_unreadable(name, error).sentence,
        )
    except ImageRefusedError as error:
        return RejectedFile(image_id=None, path=str(path), code=error.code, sentence=error.sentence)
    except MemoryError:
        raise  # the machine's fault and not the file's
    except Exception as error:  # noqa: BLE001  # whatever one file does, the others go on
        found = f"what ends in {type(error).__name__}"  # the error's own text may quote an element of the patient
        expected, advice = "a header that can be read", "please report it, this is not foreseen"
        unexpected = refusal(Verdict.UNDECODABLE, name, found=found, expected=expected, advice=advice)
        return RejectedFile(image_id=None, path=str(path), code=unexpected.code, sentence=unexpected.sentence)


def read_elements(path: Path, *, name: str) -> FileDataset:
    """The elements of a DICOM file up to its pixels.

    Raises:
        ImageRefusedError: not_dicom, truncated, undecodable, no_pixel_data.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        try:
            with judging_elements(name):
                dataset = dcmread(file, stop_before_pixels=True)
                is_deflated = dataset.file_meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian
                if not is_deflated and not file.read(1):
                    raise refuse_without_pixels(name)
        except InvalidDicomError as error:
            raise refusal(
                Verdict.NOT_DICOM,
                name,
                found="a file without the mark DICM",
                expected="a DICOM file",
                advice="nothing needs to be done if it is none",
            ) from error
    return dataset


def _refuse(header: Header, accepted: Collection[str], name: str) -> None:
    """Refuse what has a clinical verdict, or lacks an identity.

    Raises:
        ImageRefusedError: the gravest verdict that is not accepted, unknown_patient, unknown_exam, undecodable.
    """
    for error in judge_kind(header, name=name):
        if error.code not in accepted:
            raise error
    for verdict, value, what in (
        (Verdict.UNKNOWN_PATIENT, header.patient_id, "Patient ID"),
        (Verdict.UNKNOWN_EXAM, header.study_uid, "Study Instance UID"),
        (Verdict.UNDECODABLE, header.image_uid, "SOP Instance UID"),
    ):
        if not value:
            found, advice = f"a header without {what}", "ask the sender for it, or index the files with a table"
            raise refusal(verdict, name, found=found, expected="one that names it", advice=advice)


def _to_row(header: Header, dataset: FileDataset, path: Path) -> DicomRow:
    return DicomRow(
        image_id=header.image_uid or "",
        patient_id=header.patient_id or "",
        exam_id=header.study_uid or "",
        laterality=str(header.laterality),
        view=str(header.view),
        path=str(path),
        age_years=_read_age(ElementReader(dataset, path.stem)),
        implant=header.has_implant,
        machine=header.model or None,
        manufacturer=header.manufacturer or None,
    )


def _read_age(element: ElementReader) -> float | None:
    """The age that the header gives, or that follows from birth and study; None where it is unknown or impossible."""
    with judging_elements(element.name):
        age = element.read("PatientAge", _to_age)
        if age is None:
            birth, study = (element.read(keyword, as_date) for keyword in ("PatientBirthDate", "StudyDate"))
            age = _to_years(birth, study)
    return age if age is not None and 0 <= age <= OLDEST_YEARS else None


def _to_age(value: object) -> float:
    return parse_age(as_text(value))


def parse_age(text: str) -> float:
    """The years of an age as DICOM writes it, such as 061Y or 007M.

    Raises:
        ValueError: it is written otherwise.
    """
    parts = _AGE.fullmatch(text)
    if parts is None:
        raise ValueError("no age")
    return int(parts[1]) * _YEARS_OF_UNIT[parts[2]]


def _to_years(birth: date | None, study: date | None) -> float | None:
    if birth is None or study is None:
        return None
    return round((study - birth).days / _DAYS_OF_A_YEAR, 1)
