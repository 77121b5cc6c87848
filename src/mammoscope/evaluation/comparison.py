"""Whether one list of scores tells cases from controls better than another of the same breasts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings, Estimate, estimate_over_patients
from mammoscope.evaluation.delong import DeLongComparison, compare_delong
from mammoscope.evaluation.discrimination import rank, why_undefined

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AucDifference:
    """The AUC of two lists of scores, and how much higher the second is."""

    first: Estimate
    second: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class AucComparison:
    """The difference of two AUCs by two ways that know nothing of each other, both over patients."""

    bootstrap: AucDifference
    delong: DeLongComparison


def compare_aucs(  # noqa: PLR0913  # as `paired_auc_difference`
    first: Floats,
    second: Floats,
    *,
    outcomes: Outcomes,
    patients: Indices,
    settings: BootstrapSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> AucComparison:
    """How much higher the AUC of the second scores is, by paired bootstrap and by paired DeLong side by side.

    Arguments and errors are those of `paired_auc_difference`.
    """
    by_bootstrap = paired_auc_difference(
        first, second, outcomes=outcomes, patients=patients, settings=settings, advance=advance
    )
    by_delong = compare_delong(first, second, outcomes, patients, confidence=settings.confidence)
    return AucComparison(by_bootstrap, by_delong)


def paired_auc_difference(  # noqa: PLR0913  # two scores of each breast, and what both have in common by name
    first: Floats,
    second: Floats,
    *,
    outcomes: Outcomes,
    patients: Indices,
    settings: BootstrapSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> AucDifference:
    """How much higher the AUC of the second scores is, with an interval over patients.

    Each replicate draws patients once and measures both scores on them, so that what makes a sample easy or hard for
    both is no part of the difference. Without cases or controls, each estimate has the reason in place of a value.

    Args:
        first: a score of each breast, or image.
        second: another score of each.
        outcomes: of each, true for a case.
        patients: the number of the patient of each, 0 and up, as of `number_patients`.
        settings: of the bootstrap.
        advance: hears after each chunk how many replicates it had.

    Raises:
        UserInputError: the lists are not of one length, or a score is not a finite number.
    """
    if not len(first) == len(second) == len(outcomes) == len(patients):
        lengths = ", ".join(str(len(each)) for each in (first, second, outcomes, patients))
        raise UserInputError(f"difference of AUC: found lists of {lengths}, expected four of one length")
    reason = why_undefined(outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        return AucDifference(*(Estimate(None, None, reason) for _ in range(3)))
    rankings = rank(first, outcomes, patients), rank(second, outcomes, patients)

    def statistic(counts: Floats) -> Floats:
        one, other = (ranking.auc(counts) for ranking in rankings)
        return np.column_stack([one, other, other - one])  # (replicate, value)

    return AucDifference(
        *estimate_over_patients(statistic, outcomes=outcomes, patients=patients, settings=settings, advance=advance)
    )
