"""How many cases and controls a set would need for an interval of a wanted width.

A variance over independent patients falls as their number rises. DeLong's has a part of the cases and one of the
controls, each of which is scaled by its own number; that of a share goes by Wilson's interval and by how alike the
breasts of a patient are. Hanley & McNeil's closed form needs no scores, only an AUC that is hoped for.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from mammoscope.errors import UserInputError
from mammoscope.evaluation.delong import ROUNDING_OF_VARIANCE, delong_parts
from mammoscope.evaluation.discrimination import why_undefined
from mammoscope.evaluation.prevalence import check_prevalence

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

_MOST = 10**9  # cases; whoever needs more asks for too much
_ROUNDING = 1e-6  # an effect of 1.0000000000000002 asks for no further case
_LARGEST_REACH = 40.0  # of a logit: an interval that is as wide as can be


@dataclass(frozen=True, slots=True)
class SampleSize:
    """What is needed for an interval of `width`; the numbers are of breasts (or images, as the scores were).

    Attributes:
        figure: of which the interval is.
        value: of the figure that was found, or is hoped for.
        width: that is wanted, from low to high.
        width_now: with the sample at hand; None without one.
        n_cases: that are needed, None where that cannot be said.
        n_controls: likewise; None of a figure of cases alone.
        n_screened: how many must be screened to meet so many cases, at the given prevalence.
        method: how it was found.
        reason: why a number is missing.
    """

    figure: str
    value: float | None
    width: float
    confidence: float
    width_now: float | None
    n_cases: int | None
    n_controls: int | None
    n_screened: int | None
    method: str
    reason: str | None

    def to_json(self) -> dict[str, object]:
        """All of it, for `evaluation.json`."""
        return asdict(self)


def size_for_auc(  # noqa: PLR0913  # a sample, and what is wanted by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    width: float,
    controls_per_case: float | None = None,
    confidence: float = 0.95,
    prevalence: float | None = None,
) -> SampleSize:
    """What the AUC of scores like these needs, by DeLong's variance over patients and its interval in the logit.

    The cases' part of the variance falls with the number of cases, the controls' part, and that of patients with both,
    with that of controls: women without cancer are added as they are now.

    Args:
        scores: of each breast, or image.
        outcomes: of each, true for a case.
        patients: the number of the patient of each.
        width: of the interval that is wanted, from low to high.
        controls_per_case: in the set that is to be gathered; None: as in this one.
        confidence: of the interval.
        prevalence: the share of cases where they are to be gathered.

    Raises:
        UserInputError: a number is out of its range, shapes differ, or a score is not finite.
    """
    _check(width, confidence, prevalence, controls_per_case)
    n_cases, n_controls = int(outcomes.sum()), int((~outcomes).sum())
    method = "DeLong's variance over patients, scaled; interval in the logit"
    reason = why_undefined(outcomes)
    if reason is not None:
        return SampleSize("AUC", None, width, confidence, None, None, None, None, method, reason)
    values, parts = delong_parts(scores[np.newaxis], outcomes, patients)
    value, ratio = float(values[0]), n_controls / n_cases if controls_per_case is None else controls_per_case
    of_cases, of_controls, of_both = (float(part[0, 0]) for part in (parts.of_cases, parts.of_controls, parts.of_both))
    variance_now = of_cases + of_controls + 2 * of_both
    of_one_case = of_cases * n_cases + (of_controls + 2 * of_both) * n_controls / ratio  # the variance times cases
    if variance_now <= ROUNDING_OF_VARIANCE or not of_one_case > 0:
        reason = "undefined: the AUC has no variance here, as with one patient or when no score is out of order"
        return SampleSize("AUC", value, width, confidence, None, None, None, None, method, reason)
    needed = max(2, math.ceil(of_one_case / _variance_for(value, width, confidence)))
    return SampleSize(
        figure="AUC",
        value=value,
        width=width,
        confidence=confidence,
        width_now=logit_width(value, variance_now, confidence),
        n_cases=needed,
        n_controls=max(2, math.ceil(needed * ratio)),
        n_screened=_screened(needed, prevalence),
        method=method,
        reason=None,
    )


def size_for_hoped_auc(
    value: float,
    *,
    width: float,
    controls_per_case: float,
    confidence: float = 0.95,
    prevalence: float | None = None,
) -> SampleSize:
    """What an AUC that is hoped for needs, by Hanley & McNeil 1982 (doi:10.1148/radiology.143.1.7063747), without data.

    Raises:
        UserInputError: a number is out of its range.
    """
    _check(width, confidence, prevalence, controls_per_case)
    if not 0 < value < 1:
        raise UserInputError(f"sample size: AUC is {value}, expected one between 0 and 1, such as 0.9")

    def width_of(n_cases: int) -> float:
        variance = hanley_mcneil_variance(value, n_cases, n_cases * controls_per_case)
        return logit_width(value, variance, confidence)

    needed = _smallest(width_of, width)
    return SampleSize(
        figure="AUC",
        value=value,
        width=width,
        confidence=confidence,
        width_now=None,
        n_cases=needed,
        n_controls=max(2, math.ceil(needed * controls_per_case)),
        n_screened=_screened(needed, prevalence),
        method="Hanley & McNeil's variance; interval in the logit",
        reason=None,
    )


def size_for_sensitivity(  # noqa: PLR0913  # a sample, and what is wanted by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    threshold: float,
    width: float,
    confidence: float = 0.95,
    prevalence: float | None = None,
) -> SampleSize:
    """What the sensitivity at a threshold from elsewhere needs: cases only, by Wilson's interval.

    Cases of one patient are alike: the number is multiplied by how much larger their variance over patients is than
    that of independent cases, and never by less than 1.

    Raises:
        UserInputError: a number is out of its range, or shapes differ.
    """
    _check(width, confidence, prevalence, None)
    if not scores.shape == outcomes.shape == patients.shape:
        raise UserInputError(
            f"sample size: found shapes {scores.shape}, {outcomes.shape} and {patients.shape}, expected three alike"
        )
    method = "Wilson's interval, times the design effect of patients"
    n_cases = int(outcomes.sum())
    if not n_cases:
        reason = why_undefined(outcomes)
        return SampleSize("sensitivity", None, width, confidence, None, None, None, None, method, reason)
    found = scores[outcomes] >= threshold
    value = float(found.mean())
    effect = design_effect(found, patients[outcomes])
    needed = math.ceil(effect * _smallest(lambda n: wilson_width(value, n, confidence), width) - _ROUNDING)
    return SampleSize(
        figure="sensitivity",
        value=value,
        width=width,
        confidence=confidence,
        width_now=wilson_width(value, n_cases / effect, confidence),
        n_cases=needed,
        n_controls=None,
        n_screened=_screened(needed, prevalence),
        method=method,
        reason=None,
    )


def hanley_mcneil_variance(value: float, n_cases: float, n_controls: float) -> float:
    """The variance of an AUC of exponential scores, the closed form of Hanley & McNeil 1982."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    parts = value * (1 - value) + (n_cases - 1) * (q1 - value**2) + (n_controls - 1) * (q2 - value**2)
    return parts / (n_cases * n_controls)


def logit_width(value: float, variance: float, confidence: float) -> float:
    """The width of the interval of an AUC that is normal in the logit, as `delong_auc` gives it."""
    reach = _quantile(confidence) * math.sqrt(variance) / (value * (1 - value))
    return _width_of_reach(value, reach)


def wilson_width(share: float, n: float, confidence: float) -> float:
    """The width of the score interval of a share (Wilson 1927, J Am Stat Assoc 22:209-212)."""
    z = _quantile(confidence)
    return 2 * z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))


def design_effect(found: Outcomes, patients: Indices) -> float:
    """How much larger the variance of a share over patients is than over independent breasts, 1 at the least."""
    share, n = float(found.mean()), len(found)
    if share in {0.0, 1.0}:
        return 1.0
    off = np.bincount(patients, found - share)  # (patient,), summed
    n_patients = len(np.unique(patients))
    if n_patients == 1:
        return 1.0
    clustered = n_patients / (n_patients - 1) * float((off**2).sum()) / n**2
    return max(1.0, clustered / (share * (1 - share) / (n - 1)))  # 1 where each is a patient of her own


def _check(width: float, confidence: float, prevalence: float | None, controls_per_case: float | None) -> None:
    check_prevalence(prevalence)
    if not 0 < width < 1:
        raise UserInputError(f"sample size: width is {width}, expected one between 0 and 1, such as 0.05")
    if not 0 < confidence < 1:
        raise UserInputError(f"confidence: found {confidence}, expected a number between 0 and 1, such as 0.95")
    if controls_per_case is not None and not 0 < controls_per_case < math.inf:
        raise UserInputError(
            f"sample size: found {controls_per_case} controls per case, expected more than 0, such as 4"
        )


def _quantile(confidence: float) -> float:
    return float(norm.ppf((1 + confidence) / 2))


def _width_of_reach(value: float, reach: float) -> float:
    return float(expit(logit(value) + reach) - expit(logit(value) - reach))


def _variance_for(value: float, width: float, confidence: float) -> float:
    """The variance that gives the interval of an AUC that width."""
    reach = float(brentq(lambda each: _width_of_reach(value, each) - width, 0.0, _LARGEST_REACH))
    return (reach * value * (1 - value) / _quantile(confidence)) ** 2


def _smallest(width_of: Callable[[int], float], width: float) -> int:
    """The smallest number, 2 or more, whose interval is no wider, by halving: widths fall as numbers rise."""
    low, high = 2, _MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if width_of(middle) <= width else (middle + 1, high)
    return low


def _screened(n_cases: int, prevalence: float | None) -> int | None:
    return None if prevalence is None else math.ceil(n_cases / prevalence)
