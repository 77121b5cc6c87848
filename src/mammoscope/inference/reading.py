"""Files to prepared pictures, and whose they are: the part of worker processes, which load no torch to start soon."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import ImageRefusedError, UserInputError
from mammoscope.exam import Mammogram
from mammoscope.imaging.batch import PrepareJob, Rejection, prepare_job
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.header import Header
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.verdict import Verdict, refusal


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """A file to score; the mammogram is None where the file's own header must tell whose it is.

    `name` is how sentences call the file: the file names of a hospital may hold a patient's.
    """

    name: str
    path: Path
    mammogram: Mammogram | None
    settings: PrepareSettings


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A file that can be scored; pixels are (row, column)."""

    name: str
    path: Path
    mammogram: Mammogram
    pixels: CanvasPixels


def tasks_from_table(manifest: pl.DataFrame, settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each row of a manifest, which says whose image it is."""
    columns = manifest.select("path", "image_id", "patient_id", "exam_id", "laterality", "view")
    return [
        ScoringTask(
            image_id,
            Path(path),
            Mammogram(
                image_id=image_id,
                patient_id=patient_id,
                exam_id=exam_id,
                laterality=Laterality(laterality),
                view=View(view),
            ),
            settings,
        )
        for path, image_id, patient_id, exam_id, laterality, view in columns.iter_rows()
    ]


def tasks_from_folder(folder: Path, settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each file below a folder (or for the one file), in the order of their paths.

    Raises:
        UserInputError: there is no such folder, or no file in it.
    """
    if not folder.exists():
        raise UserInputError(f"{folder}: no such file or folder, expected DICOM files to read")
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise UserInputError(f"{folder}: holds no file, expected DICOM files to read")
    return [ScoringTask(f"file {number}", path, None, settings) for number, path in enumerate(paths, start=1)]


def prepare_file(task: ScoringTask) -> PreparedFile | Rejection:
    """One file, prepared as the run prepared its own, or why it cannot be."""
    prepared = prepare_job(PrepareJob(task.name, str(task.path)), task.settings)
    if isinstance(prepared, Rejection):
        return prepared
    try:
        mammogram = task.mammogram or _read_mammogram(prepared.header, task)
        return PreparedFile(task.name, task.path, mammogram, prepared.pixels)
    except ImageRefusedError as error:
        return Rejection(task.name, str(task.path), error.code, error.sentence)


def prepare_numbered(numbered: tuple[int, ScoringTask]) -> tuple[int, PreparedFile | Rejection]:
    """As `prepare_file`, with the number that the task came with."""
    return numbered[0], prepare_file(numbered[1])


def _read_mammogram(header: Header, task: ScoringTask) -> Mammogram:
    """Whose image a file is; without an image UID, the file's name stands for it."""
    if header.patient_id is None:
        raise _refuse_unknown(Verdict.UNKNOWN_PATIENT, task.name, "Patient ID")
    if header.study_uid is None:
        raise _refuse_unknown(Verdict.UNKNOWN_EXAM, task.name, "Study Instance UID")
    if header.laterality is None:
        raise _refuse_unknown(Verdict.UNKNOWN_SIDE, task.name, "Image Laterality")
    return Mammogram(
        image_id=task.path.stem if header.image_uid is None else header.image_uid,
        patient_id=header.patient_id,
        exam_id=header.study_uid,
        laterality=header.laterality,
        view=header.view,
    )


def _refuse_unknown(verdict: Verdict, name: str, attribute: str) -> Exception:
    return refusal(
        verdict,
        name,
        found=f"a header without {attribute}",
        expected="whose image it is, of which exam and side",
        advice="say it in a table, with --table",
    )
