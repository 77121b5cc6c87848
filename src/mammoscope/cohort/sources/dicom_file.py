"""One DICOM file to one row of a manifest, or the reason why not, from the bytes before its pixels."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread, uid
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.elements import judging_elements, refuse_without_pixels
from mammoscope.imaging.header import Header, parse_dataset
from mammoscope.imaging.object_kind import judge_kind
from mammoscope.imaging.verdict import Verdict, refusal, refuse_unreadable


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
        return _to_row(header, path)
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


def _to_row(header: Header, path: Path) -> DicomRow:
    return DicomRow(
        image_id=header.image_uid or "",
        patient_id=header.patient_id or "",
        exam_id=header.study_uid or "",
        laterality=str(header.laterality),
        view=str(header.view),
        path=str(path),
        age_years=header.age_years,
        implant=header.has_implant,
        machine=header.model or None,
        manufacturer=header.manufacturer or None,
    )
