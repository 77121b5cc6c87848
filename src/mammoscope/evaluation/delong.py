"""The AUC with its interval in closed form, and the difference of two on the same images, by DeLong's method.

The placement of a case is the share of the controls that it scores above, a tie counting half; that of a control the
share of the cases that score above it. Their means are the AUC, their scatter is its variance (DeLong et al. 1988,
doi:10.2307/2531595), and midranks give all of them in one sorting (Sun & Xu 2014, doi:10.1109/LSP.2014.2337313).

Placements of one patient are alike. They are summed over the patient before they are squared, and a patient with cases
and controls adds the product of both (Obuchowski 1997, doi:10.2307/2533958). With one score for each patient that is
DeLong's variance itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.bootstrap import why_no_interval
from mammoscope.evaluation.discrimination import why_undefined

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

# variances that are 0 but for rounding: of placements that are all alike, as of a score and a monotone map of it
ROUNDING_OF_VARIANCE = 1e-15


@dataclass(frozen=True, slots=True)
class DeLongEstimate:
    """A figure with its standard error and interval; where one of them is missing, `reason` says why."""

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class DeLongComparison:
    """Two AUCs on the same images, how much higher the second is, and how rare so much is if they do not differ.

    `z` and `p_value`, of both sides, are None where the difference has no standard error.
    """

    first: DeLongEstimate
    second: DeLongEstimate
    difference: DeLongEstimate
    z: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class DeLongParts:
    """Obuchowski's three parts of the covariance of AUCs, (list, list) each: of cases, controls, patients with both."""

    of_cases: Floats
    of_controls: Floats
    of_both: Floats

    @property
    def covariance(self) -> Floats:
        """Their sum, (list, list)."""
        total: Floats = self.of_cases + self.of_controls + self.of_both + self.of_both.T
        return total


def delong_covariance(scores: Floats, outcomes: Outcomes, patients: Indices | None = None) -> tuple[Floats, Floats]:
    """The AUC of each list of scores, (list,), and their covariance, (list, list).

    The covariance is NaN with fewer than two patients with cases, or with controls.

    Arguments and errors are those of `delong_parts`.
    """
    values, parts = delong_parts(scores, outcomes, patients)
    return values, parts.covariance


def delong_parts(scores: Floats, outcomes: Outcomes, patients: Indices | None = None) -> tuple[Floats, DeLongParts]:
    """The AUC of each list of scores, (list,), and the parts of their covariance, NaN as in `delong_covariance`.

    Args:
        scores: of shape (list, image).
        outcomes: of each image, true for a case.
        patients: the number of each image's patient; without it, every image is a patient of its own.

    Raises:
        UserInputError: the shapes do not fit, or a score is not a finite number.
        UndefinedMetricError: there is no case or no control.
    """
    numbers = np.arange(len(outcomes)) if patients is None else patients
    if scores.ndim != 2 or not scores.shape[1] == len(outcomes) == len(numbers):  # noqa: PLR2004  # list and image
        raise UserInputError(
            f"DeLong: found shapes {scores.shape}, {outcomes.shape} and {numbers.shape}, expected (list, image) and "
            "twice (image,)"
        )
    if not np.isfinite(scores).all():
        raise UserInputError("DeLong: found a score that is NaN or infinite, expected finite numbers")
    reason = why_undefined(outcomes)
    if reason is not None:
        raise UndefinedMetricError(reason)
    of_cases, of_controls = _placements(scores, outcomes)
    values: Floats = of_cases.mean(axis=1)  # (list,)
    off_cases = _sum_by_patient(of_cases - values[:, np.newaxis], numbers[outcomes], int(numbers.max()) + 1)
    off_controls = _sum_by_patient(of_controls - values[:, np.newaxis], numbers[~outcomes], int(numbers.max()) + 1)
    return values, _covariance(off_cases, off_controls, outcomes, numbers)


def delong_auc(
    scores: Floats, outcomes: Outcomes, patients: Indices | None = None, *, confidence: float = 0.95
) -> DeLongEstimate:
    """The AUC of scores of shape (image,) with an interval that is normal in the logit, so that it keeps in [0, 1].

    Why the logit: Pepe 2003, The Statistical Evaluation of Medical Tests, chapter 5. Without cases or controls there
    is no figure; with too few patients, and where no image or every image is out of order, no interval.

    Args:
        scores: of each image.
        outcomes: of each image, true for a case.
        patients: the number of each image's patient; without it, every image is a patient of its own.
        confidence: of the interval.

    Raises:
        UserInputError: the shapes do not fit, a score is not a finite number, or the confidence is not in (0, 1).
    """
    reason = why_undefined(outcomes)
    if reason is not None:
        return DeLongEstimate(None, None, None, None, reason)
    values, covariance = delong_covariance(scores[np.newaxis], outcomes, patients)
    without = _why_no_interval(outcomes, patients)
    return _estimate_auc(float(values[0]), float(covariance[0, 0]), _quantile(confidence), without)


def compare_delong(
    first: Floats,
    second: Floats,
    outcomes: Outcomes,
    patients: Indices | None = None,
    *,
    confidence: float = 0.95,
) -> DeLongComparison:
    """Two AUCs on the same images, and their difference with a normal interval and the test that there is none.

    Args:
        first: a score of each image.
        second: another score of each.
        outcomes: of each image, true for a case.
        patients: the number of each image's patient; without it, every image is a patient of its own.
        confidence: of the intervals.

    Raises:
        UserInputError: the shapes do not fit, a score is not a finite number, or the confidence is not in (0, 1).
    """
    reason = why_undefined(outcomes)
    if reason is not None:
        nothing = DeLongEstimate(None, None, None, None, reason)
        return DeLongComparison(nothing, nothing, nothing, None, None)
    if first.shape != second.shape:
        raise UserInputError(f"DeLong: found {len(first)} and {len(second)} scores, expected two of each image")
    values, covariance = delong_covariance(np.stack([first, second]), outcomes, patients)
    without, quantile = _why_no_interval(outcomes, patients), _quantile(confidence)
    one, other = (_estimate_auc(float(values[at]), float(covariance[at, at]), quantile, without) for at in (0, 1))
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = _estimate_difference(float(values[1] - values[0]), variance, quantile, without)
    if difference.value is None or difference.standard_error is None:
        return DeLongComparison(one, other, difference, None, None)
    z = difference.value / difference.standard_error
    return DeLongComparison(one, other, difference, z, float(2 * norm.sf(abs(z))))


def _placements(scores: Floats, outcomes: Outcomes) -> tuple[Floats, Floats]:
    """Of cases the share of controls below, (list, case); of controls the share of cases above, (list, control)."""
    cases, controls = scores[:, outcomes], scores[:, ~outcomes]
    among_all = rankdata(np.concatenate([cases, controls], axis=1), axis=1)  # midranks, (list, image)
    n_cases, n_controls = cases.shape[1], controls.shape[1]
    of_cases = (among_all[:, :n_cases] - rankdata(cases, axis=1)) / n_controls
    of_controls = 1 - (among_all[:, n_cases:] - rankdata(controls, axis=1)) / n_cases
    return of_cases, of_controls


def _sum_by_patient(values: Floats, patients: Indices, n_patients: int) -> Floats:
    """Sums of the values of each patient, (list, image) to (list, patient)."""
    return np.stack([np.bincount(patients, row, minlength=n_patients) for row in values])


def _covariance(off_cases: Floats, off_controls: Floats, outcomes: Outcomes, patients: Indices) -> DeLongParts:
    n_cases, n_controls = int(outcomes.sum()), int((~outcomes).sum())
    n_patients, with_cases, with_controls = (
        len(np.unique(of)) for of in (patients, patients[outcomes], patients[~outcomes])
    )
    if min(with_cases, with_controls) < 2:  # noqa: PLR2004  # one does not scatter
        return DeLongParts(*np.full((3, len(off_cases), len(off_cases)), np.nan))
    return DeLongParts(
        of_cases=with_cases / (with_cases - 1) * off_cases @ off_cases.T / n_cases**2,
        of_controls=with_controls / (with_controls - 1) * off_controls @ off_controls.T / n_controls**2,
        of_both=n_patients / (n_patients - 1) * off_cases @ off_controls.T / (n_cases * n_controls),
    )


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UserInputError(f"confidence: found {confidence}, expected a number between 0 and 1, such as 0.95")
    return float(norm.ppf((1 + confidence) / 2))


def _why_no_interval(outcomes: Outcomes, patients: Indices | None) -> str | None:
    return why_no_interval(outcomes, np.arange(len(outcomes)) if patients is None else patients)


def _estimate_auc(value: float, variance: float, quantile: float, without: str | None) -> DeLongEstimate:
    if without is None and variance <= ROUNDING_OF_VARIANCE:
        without = (
            "no interval: all cases lie alike to the controls, as when none is out of order or all scores are equal"
        )
    if without is not None:
        return DeLongEstimate(value, None, None, None, without)
    error = float(np.sqrt(variance))
    reach = quantile * error / (value * (1 - value))  # the error of the logit, by its slope
    low, high = expit(logit(value) - reach), expit(logit(value) + reach)
    return DeLongEstimate(value, error, float(low), float(high), None)


def _estimate_difference(value: float, variance: float, quantile: float, without: str | None) -> DeLongEstimate:
    if without is None and variance <= ROUNDING_OF_VARIANCE:
        without = "no interval: both scores put the images into one order, as far as cases and controls go"
    if without is not None:
        return DeLongEstimate(value, None, None, None, without)
    error = float(np.sqrt(variance))
    return DeLongEstimate(value, error, value - quantile * error, value + quantile * error, None)
