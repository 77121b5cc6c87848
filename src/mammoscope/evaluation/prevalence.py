"""Figures at another share of cases than that of the sample: a sample enriched with cases, weighed as screening is.

Cases are weighed alike, controls are weighed alike, so that what depends on the class alone, sensitivity, specificity
and AUC, keeps its value, and what depends on the mixture of both takes the value that it has at the target
prevalence. It holds where cases and controls were each sampled without regard to their scores (label shift: Saerens,
Latinne & Decaestecker 2002, doi:10.1162/089976602753284446). At the sample's own share all weights are exactly 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings, Estimate, estimate_over_patients
from mammoscope.evaluation.discrimination import rank, why_undefined

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]


class ClassWeights(NamedTuple):
    """The weight of each case and of each control, NaN where one of the classes is missing."""

    case: Floats
    control: Floats


@dataclass(frozen=True, slots=True)
class FiguresAtPrevalence:
    """The figures of scores that depend on the share of cases, at a target prevalence."""

    prevalence: float
    share_of_cases: float
    average_precision: Estimate
    pf1: Estimate


def check_prevalence(prevalence: float | None) -> None:
    """Nothing, when it is a target prevalence, or None: the share of the sample.

    Raises:
        UserInputError: it is not between 0 and 1.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise UserInputError(
            f"prevalence: found {prevalence}, expected the share of cases among all that are screened, between 0 and "
            "1, such as 0.005"
        )


def class_weights(n_cases: Floats, n_controls: Floats, prevalence: float | None) -> ClassWeights:
    """Weights that give the cases the share `prevalence` of the same total; all are 1 where it is None.

    Args:
        n_cases: how many, or their weight, of any shape: in a bootstrap one for each replicate, so that each of them
            has the target prevalence, which is taken to be known.
        n_controls: likewise, of the same shape.
        prevalence: the target share of cases, between 0 and 1.

    Raises:
        UserInputError: the prevalence is not between 0 and 1.
    """
    check_prevalence(prevalence)
    if prevalence is None:
        return ClassWeights(np.ones_like(n_cases), np.ones_like(n_controls))
    has_both = (n_cases > 0) & (n_controls > 0)
    share = np.where(has_both, n_cases / np.where(has_both, n_cases + n_controls, 1.0), np.nan)
    return ClassWeights(prevalence / share, (1 - prevalence) / (1 - share))


def weigh_to_prevalence(outcomes: Outcomes, prevalence: float) -> Floats:
    """A weight for each score, (n,), that gives the cases the share `prevalence`; the sum stays n.

    Raises:
        UserInputError: the prevalence is not between 0 and 1.
        UndefinedMetricError: there is no case or no control.
    """
    reason = why_undefined(outcomes)
    if reason is not None:
        raise UndefinedMetricError(reason)
    n_cases = np.array(outcomes.sum(), np.float64)
    weights = class_weights(n_cases, len(outcomes) - n_cases, prevalence)
    return np.where(outcomes, weights.case, weights.control)


def measure_at_prevalence(  # noqa: PLR0913  # scores and outcomes, and the rest by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    prevalence: float,
    settings: BootstrapSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> FiguresAtPrevalence:
    """Average precision and pF1 as they would be at a target prevalence, with intervals over patients.

    The intervals take the prevalence to be known: each replicate is weighed to it anew.

    Args:
        scores: in [0, 1], of each breast, or image.
        outcomes: of each, true for a case.
        patients: the number of the patient of each, 0 and up, as of `number_patients`.
        prevalence: the target share of cases, between 0 and 1.
        settings: of the bootstrap.
        advance: hears after each chunk how many replicates it had.

    Raises:
        UserInputError: the prevalence is not between 0 and 1, shapes differ, or a score is not finite.
    """
    check_prevalence(prevalence)
    reason = why_undefined(outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        share = float(outcomes.mean()) if len(outcomes) else np.nan
        return FiguresAtPrevalence(prevalence, share, *(Estimate(None, None, reason) for _ in range(2)))
    n_patients = int(patients.max()) + 1
    # a row of weights has a patient twice: for her controls, and for her cases
    ranking = rank(scores, outcomes, patients + n_patients * outcomes)
    n_cases_of, n_controls_of = (np.bincount(patients[kind], minlength=n_patients) for kind in (outcomes, ~outcomes))

    def statistic(counts: Floats) -> Floats:
        weights = class_weights(counts @ n_cases_of, counts @ n_controls_of, prevalence)  # (replicate,)
        case, control = (np.nan_to_num(weight)[:, np.newaxis] for weight in weights)  # without weight: undefined
        row = np.hstack([control * counts, case * counts])  # (replicate, class and patient)
        return np.column_stack([ranking.average_precision(row), ranking.probabilistic_f1(row)])

    figures = estimate_over_patients(
        statistic, outcomes=outcomes, patients=patients, settings=settings, advance=advance
    )
    return FiguresAtPrevalence(prevalence, float(outcomes.mean()), *figures)
