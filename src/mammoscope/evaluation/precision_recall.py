"""The precision-recall curve: which share of the calls are cases, against the share of the cases that are called.

It is drawn as steps, because points between two thresholds cannot be reached by mixing them in a straight line (Davis &
Goadrich 2006, doi:10.1145/1143844.1143874). At a recall it has the precision of the strictest threshold that reaches
it, so that the area under the steps is the average precision itself.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    percentile_band,
    why_no_interval,
)
from mammoscope.evaluation.discrimination import Ranking, rank, why_undefined
from mammoscope.evaluation.prevalence import check_prevalence, class_weights

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

RECALLS = np.linspace(0.01, 1, 100)  # at 0 nothing is called, and there is no precision
_ROUNDING = 1e-9  # of a share of the cases: 0.07 of 100 cases is 7.000000000000001


@dataclass(frozen=True, slots=True)
class PrecisionRecallCorners:
    """Recall and precision at the score of each case as a threshold, each distinct one once, the strictest first."""

    threshold: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PrecisionBand:
    """The curve at given recalls, with its pointwise interval; None where there is none."""

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """The curve of one list of scores, at their own share of cases or at a target `prevalence`.

    `by_chance` is the precision of scores that know nothing, the share of cases. Without cases or controls there is
    no curve, and `average_precision` says why.
    """

    n: int
    n_cases: int
    prevalence: float | None
    by_chance: float | None
    average_precision: Estimate
    corners: PrecisionRecallCorners | None
    band: PrecisionBand | None

    def to_json(self) -> dict[str, object]:
        """The counts, the figure and the curve, for `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A ranking whose rows of weights, (replicate, patient), are weighed to a prevalence."""

    ranking: Ranking
    n_cases_of: Floats
    n_controls_of: Floats
    prevalence: float | None

    def steps(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Recall and precision at each level, the highest first, (replicate, level) each; average precision."""
        weights = class_weights(counts @ self.n_cases_of, counts @ self.n_controls_of, self.prevalence)  # (replicate,)
        case, control = (np.nan_to_num(weight)[:, np.newaxis] for weight in weights)
        weighted = self.ranking.weigh(np.hstack([control * counts, case * counts]))  # (replicate, class and patient)
        found, precision = weighted.precision_steps()
        n_cases = np.where(found[:, :1] > 0, found[:, :1], np.nan)  # at the lowest score of a case all are found
        return (found / n_cases)[:, ::-1], precision[:, ::-1], weighted.average_precision()

    def values(self, counts: Floats) -> Floats:
        """The average precision, then the precision at each of the `RECALLS`, (replicate, value)."""
        recall, precision, average = self.steps(counts)
        curve = np.stack([_step_at(RECALLS, *each) for each in zip(recall, precision, strict=True)])
        return np.column_stack([average, np.where(np.isnan(average)[:, np.newaxis], np.nan, curve)])


def measure_precision_recall(  # noqa: PLR0913  # scores and outcomes, and the rest by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    settings: BootstrapSettings,
    prevalence: float | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> PrecisionRecall:
    """The precision-recall curve with a pointwise band over patients, and its area.

    Args:
        scores: of each breast, or image.
        outcomes: of each, true for a case.
        patients: the number of the patient of each, 0 and up, as of `number_patients`.
        settings: of the bootstrap.
        prevalence: the share of cases to give it for, which each replicate is weighed to; None: that of the sample.
        advance: hears after each chunk how many replicates it had.

    Raises:
        UserInputError: shapes differ, a score is not finite, or the prevalence is not between 0 and 1.
    """
    check_prevalence(prevalence)
    reason = why_undefined(outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        nothing = Estimate(None, None, reason)
        return PrecisionRecall(len(outcomes), int(outcomes.sum()), prevalence, None, nothing, None, None)
    n_patients = int(patients.max()) + 1
    weighed = _Weighed(
        ranking=rank(
            scores, outcomes, patients + n_patients * outcomes
        ),  # a column for her controls, one for her cases
        n_cases_of=_count(patients, outcomes),
        n_controls_of=_count(patients, ~outcomes),
        prevalence=prevalence,
    )
    replicates = bootstrap_over_patients(
        weighed.values, patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )  # (replicate, value)
    without = why_no_interval(outcomes, patients)
    everyone = np.ones((1, n_patients))
    value = weighed.values(everyone)[0]
    recall, precision, _ = weighed.steps(everyone)
    return PrecisionRecall(
        n=len(outcomes),
        n_cases=int(outcomes.sum()),
        prevalence=prevalence,
        by_chance=float(outcomes.mean()) if prevalence is None else prevalence,
        average_precision=estimate(
            value[0], replicates[:, 0], confidence=settings.confidence, if_undefined="", if_no_interval=without
        ),
        corners=PrecisionRecallCorners(
            threshold=tuple(np.unique(scores[outcomes])[::-1].tolist()),
            recall=tuple(recall[0].tolist()),
            precision=tuple(precision[0].tolist()),
        ),
        band=_band(value[1:], replicates[:, 1:], settings.confidence, has_interval=without is None),
    )


def _count(patients: Indices, kind: Outcomes) -> Floats:
    """How many of a kind each patient has, (patient,)."""
    return np.bincount(patients[kind], minlength=int(patients.max()) + 1).astype(np.float64)


def _step_at(recalls: Floats, reached: Floats, precision: Floats) -> Floats:
    """The precision of the strictest threshold that reaches each recall, (recall,); `reached` ascends, (level,)."""
    return precision[np.minimum(np.searchsorted(reached, recalls - _ROUNDING), len(precision) - 1)]


def _band(values: Floats, replicates: Floats, confidence: float, *, has_interval: bool) -> PrecisionBand:
    ends = percentile_band(replicates, confidence) if has_interval else (np.full_like(values, np.nan),) * 2
    low, high = (tuple(None if np.isnan(each) else float(each) for each in end) for end in ends)
    return PrecisionBand(tuple(RECALLS.tolist()), tuple(values.tolist()), low, high)
