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
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.prepare import PrepareSettings, prepare_image
from mammoscope.inference.bundle import Bundle
from mammoscope.inference.engine import score_pictures

_BATCH = 16
_CHUNK = 256  # files that are handed out at once: bounds the prepared pictures that wait in memory

TaskRunner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose image a file is; the view is None where nobody says it."""

    image_id: str
    patient_id: str
    exam_id: str
    laterality: Laterality
    view: View | None


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """A file to score; the identity is None where the file's own header must tell."""

    path: Path
    identity: Identity | None
    settings: PrepareSettings


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A file that can be scored; pixels are (row, column)."""

    identity: Identity
    pixels: NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that cannot be scored, with the stable code and the sentence."""

    path: str
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores at image and breast level (a breast's is the mean over its images), and what was refused."""

    image_scores: pl.DataFrame
    breast_scores: pl.DataFrame
    refusals: tuple[Refusal, ...]


def tasks_from_table(manifest: pl.DataFrame, settings: PrepareSettings) -> list[ScoringTask]:
    """A task for each row of a manifest, which says whose image it is."""
    columns = manifest.select("path", "image_id", "patient_id", "exam_id", "laterality", "view")
    return [
        ScoringTask(
            Path(path),
            Identity(
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


def prepare_file(task: ScoringTask) -> PreparedFile | Refusal:
    """One file, prepared as the run prepared its own, or why it cannot be."""
    name = task.path.stem
    try:
        content = task.path.read_bytes()
        identity = task.identity or _identity_from_header(read_header(content, name=name), name)
        return PreparedFile(identity, prepare_image(content, task.settings, name=name).pixels)
    except ImageRefusedError as error:
        return Refusal(str(task.path), error.code, error.sentence)
    except OSError as error:
        return Refusal(
            str(task.path), "unreadable", f"{name}: cannot be read ({error.strerror}); check path and rights"
        )
    except Exception as error:  # noqa: BLE001  # the per-file guard: one odd file must not end the job
        return Refusal(str(task.path), "undecodable", f"{name}: {type(error).__name__} while it was prepared: {error}")


def predict(
    bundle: Bundle, tasks: Sequence[ScoringTask], *, run_tasks: TaskRunner, advance: Callable[[int], None]
) -> Prediction:
    """The scores of all files that can be scored; the same whatever the order in which they get ready.

    Raises:
        UserInputError: not one file can be scored, or two files are the same image.
    """
    identities: list[Identity] = []
    scores: list[NDArray[np.float64]] = []
    refusals: list[Refusal] = []
    for batch in _batches(_prepared(tasks, run_tasks, advance, refusals)):
        identities += [prepared.identity for prepared in batch]
        scores.append(score_pictures(bundle, np.stack([prepared.pixels for prepared in batch])))
    if not identities:
        first = f"; the first: {refusals[0].sentence}" if refusals else ""
        raise UserInputError(f"none of {len(tasks)} files can be scored{first}")
    image_scores = _image_scores(identities, np.concatenate(scores))
    ordered = tuple(sorted(refusals, key=lambda refusal: refusal.path))
    return Prediction(image_scores, aggregate_to_breasts(image_scores), ordered)


def _prepared(
    tasks: Sequence[ScoringTask], run_tasks: TaskRunner, advance: Callable[[int], None], refusals: list[Refusal]
) -> Iterator[PreparedFile]:
    for start in range(0, len(tasks), _CHUNK):
        for outcome in run_tasks(prepare_file, tasks[start : start + _CHUNK]):
            advance(1)
            if isinstance(outcome, Refusal):
                refusals.append(outcome)
            else:
                yield outcome


def _batches(prepared: Iterator[PreparedFile]) -> Iterator[list[PreparedFile]]:
    while batch := list(islice(prepared, _BATCH)):
        yield batch


def _image_scores(identities: Sequence[Identity], scores: NDArray[np.float64]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "schema_version": [SCORES_VERSION] * len(identities),
            "level": ["image"] * len(identities),
            "patient_id": [identity.patient_id for identity in identities],
            "exam_id": [identity.exam_id for identity in identities],
            "laterality": [identity.laterality.value for identity in identities],
            "view": [identity.view.value if identity.view else None for identity in identities],
            "image_id": [identity.image_id for identity in identities],
            "n_images": [1] * len(identities),
            "score": scores,
            "cancer": pl.Series([None] * len(identities), dtype=pl.Boolean),
            "fold": pl.Series([None] * len(identities), dtype=pl.Int64),
        },
        schema_overrides={"view": pl.String},
    ).sort("patient_id", "exam_id", "laterality", "image_id")


def _identity_from_header(header: Header, name: str) -> Identity:
    if header.patient_id is None or header.laterality is None:
        lacking = "no patient id" if header.patient_id is None else "no side"
        raise ImageRefusedError(
            "unknown_side" if header.laterality is None else "unknown_patient",
            f"{name}: the header has {lacking}, expected it in the file or in a table; give one with --table",
        )
    return Identity(
        image_id=header.image_uid or name,
        patient_id=header.patient_id,
        exam_id=header.study_uid or header.patient_id,
        laterality=header.laterality,
        view=header.view,
    )
