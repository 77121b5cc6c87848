"""Which pictures are scored next: what is done already, and what comes first when time is short."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from mammoscope.exam import BREAST
from mammoscope.imaging.verdict import Verdict
from mammoscope.inference.journal import Journal
from mammoscope.inference.reading import ScoringTask
from mammoscope.inference.rows import Networks

Floats = NDArray[np.float64]

_GREATEST_RISE = 8.0
"""How many times the odds of the first network those of another may be. A choice: folds of a run seldom differ more."""
_NEVER, _SURE = 1e-12, 1 - 1e-12  # a score of 0 or 1 has no logit


def read_networks(journal: Journal) -> dict[str, Networks]:
    """The networks that have scored each picture of a journal, by its key, in order; none for a refused one."""
    rows = journal.read(columns=["key", "networks"]).explode("networks")
    seen = rows.group_by("key", maintain_order=True).agg(pl.col("networks").drop_nulls().unique().sort())
    return {key: tuple(networks) for key, networks in seen.iter_rows()}


def take_views_in_turn(tasks: Sequence[ScoringTask]) -> list[ScoringTask]:
    """The tasks with one view of each breast first, then the second of each, else in their order.

    Those whose breast is in their header only come as if each was of another breast.
    """
    n_by_breast: dict[object, int] = {}
    turns = []
    for number, task in enumerate(tasks):
        breast = number if task.mammogram is None else (task.mammogram.exam_id, task.mammogram.laterality)
        turns.append(n_by_breast.get(breast, 0))
        n_by_breast[breast] = turns[-1] + 1
    return [tasks[place] for place in sorted(range(len(tasks)), key=turns.__getitem__)]


def count_breasts(tasks: Sequence[ScoringTask]) -> int | None:
    """How many breasts the tasks are of; None where only their headers say it."""
    named = {(task.mammogram.exam_id, task.mammogram.laterality) for task in tasks if task.mammogram is not None}
    return None if any(task.mammogram is None for task in tasks) else len(named)


def choose_by_score(
    tasks: Sequence[ScoringTask], journal: Journal, may_turn: Callable[[Floats], NDArray[np.bool_]]
) -> list[ScoringTask]:
    """The tasks of breasts that may become positive, by what is known of their scores: the highest breast first."""
    rows = journal.read(columns=["key", "code", *BREAST, "cancer"]).filter(pl.col("code") == Verdict.OK.value)
    first = rows.unique("key", keep="first", maintain_order=True)
    scored = first.with_columns(score=pl.Series(expit(first["cancer"].list.first().to_numpy())))
    breasts = scored.group_by(*BREAST, maintain_order=True).agg(pl.col("score").mean(), pl.col("key"))
    chosen = breasts.filter(pl.Series(may_turn(breasts["score"].to_numpy()), dtype=pl.Boolean))
    ordered = chosen.sort("score", *BREAST, descending=[True, False, False])["key"].explode().to_list()
    task_by_key = {task.key: task for task in tasks}
    return [task_by_key[key] for key in ordered if key in task_by_key]


def may_reach(threshold: float | None, *, n_networks: int) -> Callable[[Floats], NDArray[np.bool_]]:
    """A test of breasts' scores by the first network: may the mean over all networks reach a threshold?

    The others are taken to give at most eight times its odds. Without a threshold any may.
    """

    def test(scores: Floats) -> NDArray[np.bool_]:
        if threshold is None:
            return np.ones(len(scores), np.bool_)
        highest = expit(logit(np.clip(scores, _NEVER, _SURE)) + np.log(_GREATEST_RISE))
        reached: NDArray[np.bool_] = (scores + (n_networks - 1) * highest) / n_networks >= threshold
        return reached

    return test
