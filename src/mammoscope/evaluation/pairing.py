"""Two scores of the same images, breasts or exams side by side, and which of them tells cases better."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings, number_patients
from mammoscope.evaluation.comparison import AucComparison, compare_aucs
from mammoscope.evaluation.levels import Level, LevelSample
from mammoscope.evaluation.scores import IDENTITY_BY_LEVEL

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PairedSample:
    """What both samples have, in the order of the first: two scores of each, (n,); how many only one of them has."""

    level: Level
    first: Floats
    second: Floats
    outcomes: Outcomes
    patients: Indices
    n_only_first: int
    n_only_second: int


@dataclass(frozen=True, slots=True)
class SampleComparison:
    """How much better the second score is, and on what that was measured."""

    level: Level
    n: int
    n_cases: int
    n_patients: int
    n_only_first: int
    n_only_second: int
    auc: AucComparison


def pair_samples(first: LevelSample, second: LevelSample) -> PairedSample:
    """The scores of what both samples have, matched by id.

    Raises:
        TableError: the levels differ, they have nothing in common, or differ in the outcome or patient of something.
    """
    if first.level != second.level:
        raise TableError(f"comparison: found scores of {first.level}s and of {second.level}s, expected one level")
    key = list(IDENTITY_BY_LEVEL[first.level])
    columns = [*key, "patient_id", "cancer", "score"]
    both = first.rows.select(columns).join(second.rows.select(columns), on=key, maintain_order="left")
    _check_pairs(both, first.level)
    return PairedSample(
        level=first.level,
        first=both["score"].to_numpy(),
        second=both["score_right"].to_numpy(),
        outcomes=both["cancer"].to_numpy(),
        patients=number_patients(both["patient_id"].to_list()),
        n_only_first=first.rows.height - both.height,
        n_only_second=second.rows.height - both.height,
    )


def compare_samples(
    first: LevelSample,
    second: LevelSample,
    settings: BootstrapSettings,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> SampleComparison:
    """How much higher the AUC of the second score is on what both have; `advance` hears of each replicate.

    Raises:
        TableError: as `pair_samples`.
    """
    pair = pair_samples(first, second)
    compared = compare_aucs(
        pair.first,
        pair.second,
        outcomes=pair.outcomes,
        patients=pair.patients,
        settings=settings,
        advance=advance,
    )
    return SampleComparison(
        level=pair.level,
        n=len(pair.outcomes),
        n_cases=int(pair.outcomes.sum()),
        n_patients=int(pair.patients.max()) + 1,
        n_only_first=pair.n_only_first,
        n_only_second=pair.n_only_second,
        auc=compared,
    )


def _check_pairs(both: pl.DataFrame, level: Level) -> None:
    if both.is_empty():
        raise TableError(
            f"comparison: no {level} has both scores, expected the same {level}s; are the ids spelled alike?"
        )
    for column, what in (("patient_id", "patient"), ("cancer", "outcome")):
        n_differ = both.filter(pl.col(column) != pl.col(f"{column}_right")).height
        if n_differ:
            raise TableError(
                f"comparison: {n_differ:,} of {both.height:,} {level}s have another {what} in the second table, "
                "expected one; take both from the same truth"
            )
