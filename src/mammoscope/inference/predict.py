"""Files to scores: found, prepared in many processes, scored in batches; a file that cannot be used costs itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import ImageRefusedError, UserInputError
from mammoscope.evaluation.scores import SCORES_VERSION, aggregate_to_breasts
from mammoscope.exam import Mammogram, group_into_exams
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.header import Header
from mammoscope.imaging.prepare import PrepareJob, PrepareSettings, Rejection, prepare_job
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.inference.bundle import Bundle
from mammoscope.inference.engine import score_pictures

_BATCH = 16
_CHUNK = 256  # files that are handed out at once: bounds the prepared pictures that wait in memory

TaskRunner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """A file to score; the mammogram is None where the file's own header must tell whose it is."""

    path: Path
    mammogram: Mammogram | None
    settings: PrepareSettings


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A file that can be scored; pixels are (row, column)."""

    path: Path
    mammogram: Mammogram
    pixels: CanvasPixels


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores at image and breast level (a breast's is the mean over its images), and what was refused."""

    image_scores: pl.DataFrame
    breast_scores: pl.DataFrame
    rejections: tuple[Rejection, ...]


def tasks_from_table(manifest: pl.DataFrame, settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each row of a manifest, which says whose image it is."""
    columns = manifest.select("path", "image_id", "patient_id", "exam_id", "laterality", "view")
    return [
        ScoringTask(
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
    return [ScoringTask(path, None, settings) for path in paths]


def prepare_file(task: ScoringTask) -> PreparedFile | Rejection:
    """One file, prepared as the run prepared its own, or why it cannot be."""
    name = task.mammogram.image_id if task.mammogram else task.path.stem
    prepared = prepare_job(PrepareJob(name, str(task.path)), task.settings)
    if isinstance(prepared, Rejection):
        return prepared
    try:
        mammogram = task.mammogram or _read_mammogram(prepared.header, name)
        return PreparedFile(task.path, mammogram, prepared.pixels)
    except ImageRefusedError as error:
        return Rejection(name, str(task.path), error.code, error.sentence)


def predict(
    bundle: Bundle, tasks: Sequence[ScoringTask], *, run_tasks: TaskRunner, advance: Callable[[int], None]
) -> Prediction:
    """The scores of all files that can be scored; the same to the bit whatever the order in which they get ready.

    Raises:
        UserInputError: not one file can be scored, or an exam has images of two patients.
    """
    mammograms: list[Mammogram] = []
    scores: list[NDArray[np.float64]] = []
    rejections: list[Rejection] = []
    for batch in _batches(_prepared(tasks, run_tasks, advance, rejections)):
        mammograms += [prepared.mammogram for prepared in batch]
        scores.append(score_pictures(bundle, [prepared.pixels for prepared in batch]))
    if not mammograms:
        first = f"; the first: {rejections[0].sentence}" if rejections else ""
        raise UserInputError(f"none of {len(tasks)} files can be scored{first}")
    group_into_exams(mammograms)  # refuses an exam of two patients
    image_scores = _image_scores(mammograms, np.concatenate(scores))
    ordered = tuple(sorted(rejections, key=lambda rejection: rejection.path))
    return Prediction(image_scores, aggregate_to_breasts(image_scores), ordered)


def _prepared(
    tasks: Sequence[ScoringTask], run_tasks: TaskRunner, advance: Callable[[int], None], rejections: list[Rejection]
) -> Iterator[PreparedFile]:
    path_by_image: dict[str, Path] = {}
    for start in range(0, len(tasks), _CHUNK):
        numbered = list(enumerate(tasks[start : start + _CHUNK]))
        for outcome in _in_order(run_tasks(_prepare_numbered, numbered), advance):
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            elif (first := path_by_image.setdefault(outcome.mammogram.image_id, outcome.path)) != outcome.path:
                rejections.append(_reject_second(outcome, first))
            else:
                yield outcome


def _prepare_numbered(numbered: tuple[int, ScoringTask]) -> tuple[int, PreparedFile | Rejection]:
    return numbered[0], prepare_file(numbered[1])


def _in_order(
    outcomes: Iterable[tuple[int, PreparedFile | Rejection]], advance: Callable[[int], None]
) -> Iterator[PreparedFile | Rejection]:
    """Numbered outcomes by their numbers: which pictures share a batch may change the last digits of their scores."""
    waiting: dict[int, PreparedFile | Rejection] = {}
    n_given = 0
    for number, outcome in outcomes:
        advance(1)
        waiting[number] = outcome
        while n_given in waiting:
            yield waiting.pop(n_given)
            n_given += 1


def _reject_second(prepared: PreparedFile, first: Path) -> Rejection:
    error = refusal(
        Verdict.DUPLICATE,
        prepared.mammogram.image_id,
        found=f"the same image as in {first.name}",
        expected="each image once",
        advice="remove one of the files",
    )
    return Rejection(prepared.mammogram.image_id, str(prepared.path), error.code, error.sentence)


def _batches(prepared: Iterator[PreparedFile]) -> Iterator[list[PreparedFile]]:
    while batch := list(islice(prepared, _BATCH)):
        yield batch


def _image_scores(mammograms: Sequence[Mammogram], scores: NDArray[np.float64]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "schema_version": [SCORES_VERSION] * len(mammograms),
            "level": ["image"] * len(mammograms),
            "patient_id": [mammogram.patient_id for mammogram in mammograms],
            "exam_id": [mammogram.exam_id for mammogram in mammograms],
            "laterality": [mammogram.laterality.value for mammogram in mammograms],
            "view": [mammogram.view.value if mammogram.view else None for mammogram in mammograms],
            "image_id": [mammogram.image_id for mammogram in mammograms],
            "n_images": [1] * len(mammograms),
            "score": scores,
            "cancer": pl.Series([None] * len(mammograms), dtype=pl.Boolean),
            "fold": pl.Series([None] * len(mammograms), dtype=pl.Int64),
        },
        schema_overrides={"view": pl.String},
    ).sort("patient_id", "exam_id", "laterality", "image_id")


def _read_mammogram(header: Header, name: str) -> Mammogram:
    if header.patient_id is None:
        raise _refuse_unknown(Verdict.UNKNOWN_PATIENT, name, "Patient ID")
    if header.laterality is None:
        raise _refuse_unknown(Verdict.UNKNOWN_SIDE, name, "Image Laterality")
    return Mammogram(
        image_id=header.image_uid or name,
        patient_id=header.patient_id,
        exam_id=header.study_uid or header.patient_id,
        laterality=header.laterality,
        view=header.view,
    )


def _refuse_unknown(verdict: Verdict, name: str, attribute: str) -> Exception:
    return refusal(
        verdict,
        name,
        found=f"a header without {attribute}",
        expected="whose image it is, and of which side",
        advice="say it in a table, with --table",
    )
