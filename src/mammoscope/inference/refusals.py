"""How people are told of files that were refused: never by an id of a table, which may tell who somebody is."""

from collections.abc import Sequence
from dataclasses import replace

from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.verdict import Verdict
from mammoscope.inference.reading import ScoringTask


def tell_refused(rejections: Sequence[Rejection], tasks: Sequence[ScoringTask]) -> tuple[tuple[Rejection, ...], int]:
    """The refused by path, their sentences without an id of the table, and how many images have no file at all."""
    absent = {task.name for task in tasks if not task.stamp}
    missing = {each.image_id for each in rejections if each.image_id in absent and each.code == Verdict.UNREADABLE}
    call_by_name = _number([task for task in tasks if task.name not in missing])
    told = [_call(each, call_by_name[each.image_id]) for each in rejections if each.image_id not in missing]
    return tuple(sorted(told, key=lambda each: each.path)), len(missing)


def _number(tasks: Sequence[ScoringTask]) -> dict[str, str]:
    """How sentences call the files, "file 7" for the seventh in the order of the paths; without a table they do so."""
    in_order = sorted(tasks, key=lambda task: task.path)
    return {
        task.name: task.name if task.mammogram is None else f"file {number}"
        for number, task in enumerate(in_order, start=1)
    }


def _call(rejection: Rejection, name: str) -> Rejection:
    return replace(rejection, sentence=f"{name}: {rejection.sentence.removeprefix(f'{rejection.image_id}: ')}")
