"""Files to heat maps and their peaks: what is scored is also explained, with the scores of images and breasts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.peaks import MOST_PEAKS, Heat, find_peaks, peak_in_original
from mammoscope.exam import Mammogram, group_into_exams
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.inference.decoders import Decoders
from mammoscope.inference.explained import ExplainedImage, Said
from mammoscope.inference.heat import HeatMapper
from mammoscope.inference.reading import PreparedFile, ScoringTask
from mammoscope.inference.rows import tabulate_facts
from mammoscope.learning.logits import PictureLogits, combine_to_probabilities, concatenate

_BATCH = 8
_NO_PIXELS = np.empty((0, 0), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class ExplainedFiles:
    """All files that could be explained, by patient, exam, side and image, and those that could not."""

    images: tuple[ExplainedImage, ...]
    rejections: tuple[Rejection, ...]


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
    rejections: list[Rejection] = []
    files: list[PreparedFile] = []
    heats: list[Heat] = []
    logits: list[tuple[PictureLogits, ...]] = []
    prepared = _prepared(tasks, decode, advance, rejections)
    while batch := list(islice(prepared, _BATCH)):
        rows = tabulate_facts(batch) if mapper.bundle.encoders else None
        explanation = mapper.explain([each.pixels for each in batch], rows)
        heats += explanation.heats
        logits.append(explanation.by_network)
        files += [replace(each, pixels=_NO_PIXELS) for each in batch]  # what was explained is not kept
    mixed = _find_mixed_exams(files)
    rejections += [_reject_mixed(each) for each in files if each.mammogram.exam_id in mixed]
    kept = _order_of_rows(files, mixed)
    if not kept:
        first = f"; the first: {rejections[0].sentence}" if rejections else ""
        raise UserInputError(f"none of {len(tasks)} files can be explained{first}")
    said = _say([concatenate(parts).take(kept) for parts in zip(*logits, strict=True)], files, kept, mapper)
    task_by_name = {task.name: task for task in tasks}
    images = tuple(
        _explained(files[place], task_by_name[files[place].name], heats[place], each, n_peaks)
        for place, each in zip(kept, said, strict=True)
    )
    return ExplainedFiles(images, tuple(sorted(rejections, key=lambda rejection: rejection.path)))


def _prepared(
    tasks: Sequence[ScoringTask], decode: Decoders, advance: Callable[[int], None], rejections: list[Rejection]
) -> Iterator[PreparedFile]:
    """The prepared files in the order of the tasks; an image that stands in two files is taken from the first."""
    name_by_image: dict[str, str] = {}
    with closing(decode(tasks)) as outcomes:
        for outcome in outcomes:
            advance(1)
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            elif (first := name_by_image.setdefault(outcome.mammogram.image_id, outcome.name)) != outcome.name:
                rejections.append(_reject(outcome, Verdict.DUPLICATE, f"the same image as in {first}"))
            else:
                yield outcome


def _find_mixed_exams(files: Sequence[PreparedFile]) -> set[str]:
    """The exams whose images cannot all be of one visit of one patient."""
    mammograms_by_exam: dict[str, list[Mammogram]] = {}
    for each in files:
        mammograms_by_exam.setdefault(each.mammogram.exam_id, []).append(each.mammogram)
    found = set()
    for exam_id, mammograms in mammograms_by_exam.items():
        try:
            group_into_exams(mammograms)
        except UserInputError:
            found.add(exam_id)
    return found


def _reject_mixed(prepared: PreparedFile) -> Rejection:
    return _reject(prepared, Verdict.MIXED_PATIENTS, "a study whose files name several patients")


def _reject(prepared: PreparedFile, verdict: Verdict, found: str) -> Rejection:
    expected, advice = {
        Verdict.DUPLICATE: ("each image once", "remove one of the files"),
        Verdict.MIXED_PATIENTS: ("one patient", "correct the Patient ID of its files"),
    }[verdict]
    error = refusal(verdict, prepared.name, found=found, expected=expected, advice=advice)
    return Rejection(prepared.name, str(prepared.path), error.code, error.sentence)


def _order_of_rows(files: Sequence[PreparedFile], left_out: set[str]) -> list[int]:
    """The places of the files that are kept, by patient, exam, side and image."""

    def key(place: int) -> tuple[str, str, str, str]:
        mammogram = files[place].mammogram
        return mammogram.patient_id, mammogram.exam_id, mammogram.laterality.value, mammogram.image_id

    return sorted((place for place, each in enumerate(files) if each.mammogram.exam_id not in left_out), key=key)


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
        peaks=tuple(peak_in_original(peak, heat.shape, placement) for peak in find_peaks(heat, n_most=n_peaks)),
        said=said,
    )
