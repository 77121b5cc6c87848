"""Files to scores: prepared in many processes, scored in batches; a file that cannot be used costs itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.errors import UserInputError
from mammoscope.evaluation.scores import SCORES_VERSION, aggregate_to_exams
from mammoscope.exam import Mammogram, group_into_exams
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.inference.bundle import Bundle
from mammoscope.inference.engine import score_pictures
from mammoscope.inference.reading import PreparedFile, ScoringTask, prepare_numbered
from mammoscope.learning.logits import PictureLogits, combine_to_breasts, concatenate
from mammoscope.learning.table_inputs import COLUMNS, TableGap, count_gaps

_BATCH = 16
_NO_PIXELS = np.empty((0, 0), dtype=np.uint8)
_CHUNK = 256  # files that are handed out at once: bounds the prepared pictures that wait in memory

TaskRunner = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of images, of breasts (as the run combines views) and of exams (the higher breast's), and the refused.

    `gaps` are what the columns of the table lacked, one for each that the networks are given.
    """

    image_scores: pl.DataFrame
    breast_scores: pl.DataFrame
    exam_scores: pl.DataFrame
    rejections: tuple[Rejection, ...]
    gaps: tuple[TableGap, ...] = ()


def predict(
    bundle: Bundle, tasks: Sequence[ScoringTask], *, run_tasks: TaskRunner, advance: Callable[[int], None]
) -> Prediction:
    """The scores of all files that can be scored; the same to the bit whatever the order in which they get ready.

    Raises:
        UserInputError: not one file can be scored.
    """
    files: list[PreparedFile] = []
    logits: list[list[PictureLogits]] = []
    rejections: list[Rejection] = []
    for batch in _batches(_prepared(tasks, run_tasks, advance, rejections)):
        rows = _table_rows(batch) if bundle.encoders else None
        logits.append(score_pictures(bundle, [prepared.pixels for prepared in batch], rows))
        files += [replace(prepared, pixels=_NO_PIXELS) for prepared in batch]  # what was scored is not kept
    mixed = _find_contradictions(files)
    rejections += [_reject_mixed(prepared) for prepared in files if prepared.mammogram.exam_id in mixed]
    if all(prepared.mammogram.exam_id in mixed for prepared in files):
        first = f"; the first: {rejections[0].sentence}" if rejections else ""
        raise UserInputError(f"none of {len(tasks)} files can be scored{first}")
    kept = _order_of_rows(files, mixed)
    by_network = [concatenate(parts).take(kept) for parts in zip(*logits, strict=True)]
    image_scores = _image_scores([files[place].mammogram for place in kept], by_network)
    breast_scores = combine_to_breasts(image_scores, by_network, bundle.recipe.views.combine)
    exam_scores = aggregate_to_exams(breast_scores)
    refused = tuple(sorted(rejections, key=lambda rejection: rejection.path))
    gaps = count_gaps(bundle.encoders, _table_rows([files[place] for place in kept]))
    return Prediction(image_scores, breast_scores, exam_scores, refused, gaps)


def _prepared(
    tasks: Sequence[ScoringTask], run_tasks: TaskRunner, advance: Callable[[int], None], rejections: list[Rejection]
) -> Iterator[PreparedFile]:
    name_by_image: dict[str, str] = {}
    for start in range(0, len(tasks), _CHUNK):
        numbered = list(enumerate(tasks[start : start + _CHUNK]))
        for outcome in _in_order(run_tasks(prepare_numbered, numbered), advance):
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            elif (first := name_by_image.setdefault(outcome.mammogram.image_id, outcome.name)) != outcome.name:
                rejections.append(_reject_second(outcome, first))
            else:
                yield outcome


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


def _reject_second(prepared: PreparedFile, first: str) -> Rejection:
    error = refusal(
        Verdict.DUPLICATE,
        prepared.name,
        found=f"the same image as in {first}",
        expected="each image once",
        advice="remove one of the files",
    )
    return Rejection(prepared.name, str(prepared.path), error.code, error.sentence)


def _find_contradictions(files: Sequence[PreparedFile]) -> set[str]:
    """The exams whose images cannot all be of one visit of one patient."""
    mammograms_by_exam: dict[str, list[Mammogram]] = {}
    for prepared in files:
        mammograms_by_exam.setdefault(prepared.mammogram.exam_id, []).append(prepared.mammogram)
    found = set()
    for exam_id, mammograms in mammograms_by_exam.items():
        try:
            group_into_exams(mammograms)
        except UserInputError:
            found.add(exam_id)
    return found


def _reject_mixed(prepared: PreparedFile) -> Rejection:
    error = refusal(
        Verdict.MIXED_PATIENTS,
        prepared.name,
        found="a study whose files name several patients",
        expected="one patient",
        advice="correct the Patient ID of its files",
    )
    return Rejection(prepared.name, str(prepared.path), error.code, error.sentence)


def _batches(prepared: Iterator[PreparedFile]) -> Iterator[list[PreparedFile]]:
    while batch := list(islice(prepared, _BATCH)):
        yield batch


def _table_rows(files: Sequence[PreparedFile]) -> pl.DataFrame:
    """What is known of each file, in the columns that networks are given."""
    return pl.DataFrame(
        [{"image_id": prepared.mammogram.image_id, **prepared.facts} for prepared in files],
        schema={name: SCHEMA[name] for name in ("image_id", *COLUMNS)},
    )


def _order_of_rows(files: Sequence[PreparedFile], left_out: set[str]) -> list[int]:
    """The places of the files that are scored, by patient, exam, side and image."""
    places = [place for place, prepared in enumerate(files) if prepared.mammogram.exam_id not in left_out]
    return sorted(places, key=lambda place: _sort_key(files[place].mammogram))


def _sort_key(mammogram: Mammogram) -> tuple[str, str, str, str]:
    return mammogram.patient_id, mammogram.exam_id, mammogram.laterality.value, mammogram.image_id


def _image_scores(mammograms: Sequence[Mammogram], by_network: Sequence[PictureLogits]) -> pl.DataFrame:
    """The score of each image: the mean probability over the networks."""
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
            "score": np.mean([logits.probabilities for logits in by_network], axis=0),
            "cancer": pl.Series([None] * len(mammograms), dtype=pl.Boolean),
            "fold": pl.Series([None] * len(mammograms), dtype=pl.Int64),
        },
        schema_overrides={"view": pl.String},
    )
