"""Files to heat maps and their peaks: what is scored is also explained, with the scores of images and breasts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.peaks import MOST_PEAKS, Heat, find_peaks_of_file
from mammoscope.imaging.batch import Rejection
from mammoscope.inference.collect import ORDER, part_duplicates, part_mixed
from mammoscope.inference.decoders import Decoders
from mammoscope.inference.explained import ExplainedImage, Said
from mammoscope.inference.heat import HeatMapper
from mammoscope.inference.reading import PreparedFile, ScoringTask
from mammoscope.inference.refusals import tell_refused
from mammoscope.inference.rows import tabulate_facts
from mammoscope.learning.logits import PictureLogits, combine_to_probabilities, concatenate

_BATCH = 8
_NO_PIXELS = np.empty((0, 0), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class ExplainedFiles:
    """All files that could be explained, by patient, exam, side and image, and those that could not, by path.

    `n_missing` images of the table have no file; they are not among the rejections.
    """

    images: tuple[ExplainedImage, ...]
    rejections: tuple[Rejection, ...]
    n_missing: int = 0


def explain_files(
    mapper: HeatMapper,
    tasks: Sequence[ScoringTask],
    *,
    decode: Decoders,
    advance: Callable[[int], None],
    n_peaks: int = MOST_PEAKS,
) -> ExplainedFiles:
    """The heat maps of all files that can be scored.

    Raises:
        UserInputError: not one file can be.
    """
    refused: list[Rejection] = []
    files: list[PreparedFile] = []
    heats: list[Heat] = []
    logits: list[tuple[PictureLogits, ...]] = []
    prepared = _prepared(tasks, decode, advance, refused)
    while batch := list(islice(prepared, _BATCH)):
        rows = tabulate_facts(batch) if mapper.bundle.encoders else None
        explanation = mapper.explain([each.pixels for each in batch], rows)
        heats += explanation.heats
        logits.append(explanation.by_network)
        files += [replace(each, pixels=_NO_PIXELS) for each in batch]  # what was explained is not kept
    kept, doubtful = _choose(files)
    rejections, n_missing = tell_refused([*refused, *doubtful], tasks)
    if not kept:
        first = f"; the first: {rejections[0].sentence}" if rejections else ""
        raise UserInputError(f"none of {len(tasks)} files can be explained{first}")
    said = _say([concatenate(parts).take(kept) for parts in zip(*logits, strict=True)], files, kept, mapper)
    task_by_name = {task.name: task for task in tasks}
    images = tuple(
        _explained(files[place], task_by_name[files[place].name], heats[place], each, n_peaks)
        for place, each in zip(kept, said, strict=True)
    )
    return ExplainedFiles(images, rejections, n_missing)


def _prepared(
    tasks: Sequence[ScoringTask], decode: Decoders, advance: Callable[[int], None], rejections: list[Rejection]
) -> Iterator[PreparedFile]:
    """The prepared files in the order of the tasks."""
    with closing(decode(tasks)) as outcomes:
        for outcome in outcomes:
            advance(1)
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            else:
                yield outcome


def _choose(files: Sequence[PreparedFile]) -> tuple[list[int], list[Rejection]]:
    """The places of the files that are kept, by patient, exam, side and image, and the others refused, as predicted."""
    rows = [
        {
            "place": place,
            "name": each.name,
            "path": str(each.path),
            "image_id": each.mammogram.image_id,
            "patient_id": each.mammogram.patient_id,
            "exam_id": each.mammogram.exam_id,
            "laterality": each.mammogram.laterality.value,
        }
        for place, each in enumerate(files)
    ]
    table = pl.DataFrame(rows, schema={"place": pl.Int64} | dict.fromkeys(("name", "path", *ORDER), pl.String))
    table, second = part_duplicates(table)
    table, mixed = part_mixed(table)
    return table.sort(*ORDER)["place"].to_list(), [*second, *mixed]


def _say(
    by_network: Sequence[PictureLogits], files: Sequence[PreparedFile], kept: Sequence[int], mapper: HeatMapper
) -> list[Said]:
    """What the networks say of each of the kept images, in the mean."""
    combination = mapper.bundle.recipe.views.combine
    keys = [(files[place].mammogram.exam_id, files[place].mammogram.laterality) for place in kept]
    number_by_breast = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    breasts = np.array([number_by_breast[key] for key in keys])  # (picture,)
    n_breasts = len(number_by_breast)
    scores = np.mean([logits.probabilities for logits in by_network], axis=0)  # (picture,)
    of_breasts = [
        combine_to_probabilities(logits, breasts, n_breasts=n_breasts, combination=combination) for logits in by_network
    ]
    breast_scores = np.mean(of_breasts, axis=0)[breasts]  # (picture,)
    if combination != "attention":
        return [Said(*each, None) for each in zip(scores.tolist(), breast_scores.tolist(), strict=True)]
    shares = np.mean([share_views(logits.view, breasts, n_breasts) for logits in by_network], axis=0)
    return [Said(*each) for each in zip(scores.tolist(), breast_scores.tolist(), shares.tolist(), strict=True)]


def share_views(view: NDArray[np.float64], breasts: NDArray[np.int64], n_breasts: int) -> NDArray[np.float64]:
    """What each picture weighs among those of its breast, 0 to 1, from its log weight; all (picture,)."""
    highest = np.full(n_breasts, -np.inf)
    np.maximum.at(highest, breasts, view)
    weights = np.exp(view - highest[breasts])
    shares: NDArray[np.float64] = weights / np.bincount(breasts, weights, n_breasts)[breasts]
    return shares


def _explained(prepared: PreparedFile, task: ScoringTask, heat: Heat, said: Said, n_peaks: int) -> ExplainedImage:
    placement = prepared.placement
    return ExplainedImage(
        task=task,
        mammogram=prepared.mammogram,
        placement=placement,
        heat=heat,
        peaks=find_peaks_of_file(heat, placement, n_most=n_peaks),
        said=said,
    )
