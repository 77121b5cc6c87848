"""Files to prepared pictures, and whose they are: the part of worker processes, which load no torch to start soon."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import polars as pl

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import ImageRefusedError, UserInputError
from mammoscope.exam import Mammogram
from mammoscope.files import sha256_of_bytes
from mammoscope.imaging.batch import PrepareJob, Rejection, prepare_job
from mammoscope.imaging.canvas import CanvasPixels, Placement
from mammoscope.imaging.header import Header
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.learning.table_inputs import COLUMNS

Facts = Mapping[str, object]
"""What is known of an image, by columns of the manifest; one that is not there, or None, is not known."""


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """A file to score; the mammogram is None where the file's own header must tell whose it is.

    `name` is how sentences call the file: the file names of a hospital may hold a patient's. `facts` are what a table
    says of it beside. `path` is the store where the picture comes from a prepared one. `stamp` changes when the
    picture does: size and time of the file's last change, or the hash of a prepared picture; empty without either.
    """

    name: str
    path: Path
    mammogram: Mammogram | None
    settings: PrepareSettings
    facts: Facts = field(default_factory=dict)
    stamp: str = ""

    @property
    def key(self) -> str:
        """What tells this picture, and whose it is said to be, from any other: 64 hexadecimal digits."""
        identity = None if self.mammogram is None else astuple(self.mammogram)
        return sha256_of_bytes(repr((str(self.path), self.stamp, identity, sorted(self.facts.items()))).encode())


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A file that can be scored; pixels are (row, column), `facts` what its table or else its header says.

    `placement` is the way back to the pixels of the file, `record` how the picture was prepared, as columns of
    `prepared.parquet` in a store. `is_told_by_header` says that no table told the facts.
    """

    name: str
    path: Path
    mammogram: Mammogram
    pixels: CanvasPixels
    placement: Placement
    facts: Facts = field(default_factory=dict)
    record: Facts = field(default_factory=dict)
    is_told_by_header: bool = False


Outcome = PreparedFile | Rejection


def tasks_from_table(manifest: pl.DataFrame, settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each row of a manifest, which says whose image it is, and all that a network is given beside it."""
    columns = manifest.select("path", "image_id", "patient_id", "exam_id", "laterality", "view")
    facts = manifest.select(COLUMNS).to_dicts()
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
            facts[place],
            stamp=read_stamp(Path(path)),
        )
        for place, (path, image_id, patient_id, exam_id, laterality, view) in enumerate(columns.iter_rows())
    ]


def tasks_from_folder(folder: Path, settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each file below a folder (or for the one file), in the order of their paths.

    Raises:
        UserInputError: there is no such folder, or no file in it.
    """
    return tasks_from_paths(list_files(folder), settings)


def tasks_from_paths(paths: Sequence[Path], settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each file, in their order; their headers must say whose they are."""
    return [
        ScoringTask(f"file {number}", path, None, settings, stamp=read_stamp(path))
        for number, path in enumerate(paths, start=1)
    ]


def list_files(place: Path) -> list[Path]:
    """The files below a folder, in the order of their paths, or the one file.

    Raises:
        UserInputError: there is no such folder, or no file in it.
    """
    if not place.exists():
        raise UserInputError(f"{place}: no such file or folder, expected DICOM files to read")
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    if not paths:
        raise UserInputError(f"{place}: holds no file, expected DICOM files to read")
    return paths


def read_stamp(path: Path) -> str:
    """Size and time of the last change of a file, as text; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def prepare_file(task: ScoringTask) -> Outcome:
    """One file, prepared as the run prepared its own, or why it cannot be."""
    prepared = prepare_job(PrepareJob(task.name, str(task.path)), task.settings)
    if isinstance(prepared, Rejection):
        return prepared
    placement, record = prepared.record.placement, prepared.record.to_row()
    try:
        if task.mammogram is not None:
            facts = task.facts
            return PreparedFile(task.name, task.path, task.mammogram, prepared.pixels, placement, facts, record)
        mammogram, facts = _read_mammogram(prepared.header, task), _read_facts(prepared.header)
        pixels = prepared.pixels
        return PreparedFile(task.name, task.path, mammogram, pixels, placement, facts, record, is_told_by_header=True)
    except ImageRefusedError as error:
        return Rejection(task.name, str(task.path), error.code, error.sentence)


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


def _read_facts(header: Header) -> Facts:
    """What a header says for the columns of a manifest, as `mammoscope index dicom` reads it."""
    return {
        "age_years": header.age_years,
        "implant": header.has_implant,
        "view": None if header.view is None else header.view.value,
        "laterality": None if header.laterality is None else header.laterality.value,
        "machine": header.model or None,
        "manufacturer": header.manufacturer or None,
    }


def _refuse_unknown(verdict: Verdict, name: str, attribute: str) -> Exception:
    return refusal(
        verdict,
        name,
        found=f"a header without {attribute}",
        expected="whose image it is, of which exam and side",
        advice="say it in a table, with --table",
    )
