"""Maps that make scores calibrated: temperature, Platt, isotonic and beta, each fitted on weighted scores.

All but the isotonic one maximise a likelihood of two or three numbers on the logits of the scores; all are monotone, so
that within one map the order of the scores, and with it the AUC, stays as it is (but for ties that the isotonic makes).
`cross_calibration.py` judges them on folds that they were not fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation.cox import CLIP, clip_logits
from mammoscope.evaluation.discrimination import why_undefined

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Method = Literal["temperature", "platt", "isotonic", "beta"]

METHODS: tuple[Method, ...] = ("temperature", "platt", "isotonic", "beta")
# beyond, a map is a step: cases and controls are parted by a threshold, and no likelihood has a maximum
_STEEPEST = 100.0
_FARTHEST = 1000.0


@dataclass(frozen=True, slots=True)
class Temperature:
    """The logits divided by one number: Guo et al. 2017, arXiv:1706.04599. A score of 0.5 stays where it is."""

    method: ClassVar[Method] = "temperature"
    temperature: float

    def apply(self, scores: Floats) -> Floats:
        """The calibrated scores."""
        return _chances(clip_logits(scores) / self.temperature)


@dataclass(frozen=True, slots=True)
class Platt:
    """A logistic regression on the logits: Platt 1999, with his targets a little inside of 0 and 1."""

    method: ClassVar[Method] = "platt"
    slope: float
    intercept: float

    def apply(self, scores: Floats) -> Floats:
        """The calibrated scores."""
        return _chances(self.slope * clip_logits(scores) + self.intercept)

    def at_prevalence(self, scores: Floats, prevalence: float) -> "Platt":
        """The map where cases are more or less rare than among the scores that it was fitted on, by Bayes' theorem.

        Not fitted on weighted scores: targets inside of 0 and 1 are far from the share of cases where that is small.
        """
        own = float(self.apply(scores).mean())
        return replace(self, intercept=self.intercept + float(logit(prevalence) - logit(own)))


@dataclass(frozen=True, slots=True)
class Beta:
    """The chance whose logit is a ln s - b ln(1 - s) + c, a and b of 0 or more: Kull 2017, doi:10.1214/17-EJS1338SI."""

    method: ClassVar[Method] = "beta"
    a: float
    b: float
    c: float

    def apply(self, scores: Floats) -> Floats:
        """The calibrated scores."""
        return _chances(_beta_features(scores) @ np.array([self.a, self.b, self.c]))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """The best map that never falls, straight between corners: Zadrozny & Elkan 2002, doi:10.1145/775047.775151."""

    method: ClassVar[Method] = "isotonic"
    scores: tuple[float, ...]
    chances: tuple[float, ...]

    def apply(self, scores: Floats) -> Floats:
        """The calibrated scores."""
        mapped: Floats = np.interp(scores, self.scores, self.chances)
        return mapped


def fit_recalibrator(
    scores: Floats, outcomes: Outcomes, method: Method, *, weights: Floats | None = None
) -> Temperature | Platt | Isotonic | Beta:
    """The map of a method that fits scores in [0, 1] of shape (breast,) best; `weights` are of the same shape.

    Raises:
        UserInputError: the method is unknown.
        UndefinedMetricError: there is no case or no control.
    """
    if method not in METHODS:
        raise UserInputError(f"recalibration: found method {method!r}, expected one of {', '.join(METHODS)}")
    reason = why_undefined(outcomes)
    if reason is not None:
        raise UndefinedMetricError(reason)
    return _FIT_BY_METHOD[method](scores, outcomes, np.ones(len(scores)) if weights is None else weights)


def _fit_temperature(scores: Floats, outcomes: Outcomes, weights: Floats) -> Temperature:
    (inverse,) = _maximise_likelihood(
        clip_logits(scores)[:, np.newaxis],
        outcomes.astype(np.float64),
        weights,
        start=(1.0,),
        bounds=((1 / _STEEPEST, _STEEPEST),),
    )
    return Temperature(1 / inverse)


def _fit_platt(scores: Floats, outcomes: Outcomes, weights: Floats) -> Platt:
    n_cases, n_controls = weights[outcomes].sum(), weights[~outcomes].sum()
    targets = np.where(outcomes, (n_cases + 1) / (n_cases + 2), 1 / (n_controls + 2))
    features = np.stack([clip_logits(scores), np.ones(len(scores))], axis=1)
    ends = (-_STEEPEST, _STEEPEST), (-_FARTHEST, _FARTHEST)
    slope, intercept = _maximise_likelihood(features, targets, weights, start=(1.0, 0.0), bounds=ends)
    return Platt(slope, intercept)


def _fit_beta(scores: Floats, outcomes: Outcomes, weights: Floats) -> Beta:
    ends = (0.0, _STEEPEST), (0.0, _STEEPEST), (-_FARTHEST, _FARTHEST)
    targets = outcomes.astype(np.float64)
    return Beta(*_maximise_likelihood(_beta_features(scores), targets, weights, start=(1.0, 1.0, 0.0), bounds=ends))


def _fit_isotonic(scores: Floats, outcomes: Outcomes, weights: Floats) -> Isotonic:
    distinct, numbers = np.unique(scores[weights > 0], return_inverse=True)
    mass = np.bincount(numbers, weights[weights > 0])
    shares = np.bincount(numbers, (weights * outcomes)[weights > 0]) / mass
    fitted = isotonic_regression(shares, weights=mass).x
    # of scores that get the same chance, the first and the last are the corners
    is_corner = np.r_[True, np.diff(fitted) > 0] | np.r_[np.diff(fitted) > 0, True]
    return Isotonic(tuple(distinct[is_corner].tolist()), tuple(fitted[is_corner].tolist()))


def _maximise_likelihood(
    features: Floats,
    targets: Floats,
    weights: Floats,
    *,
    start: tuple[float, ...],
    bounds: tuple[tuple[float, float], ...],
) -> tuple[float, ...]:
    """The coefficients of the logistic regression on features of shape (breast, coefficient), within bounds."""
    shares = weights / weights.sum()

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        logits = features @ coefficients
        value = shares @ (np.logaddexp(0, logits) - targets * logits)
        return float(value), (shares * (expit(logits) - targets)) @ features

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(loss, np.array(start), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return tuple(float(each) for each in found.x)


def _beta_features(scores: Floats) -> Floats:
    inside = np.clip(scores, CLIP, 1 - CLIP)
    return np.stack([np.log(inside), -np.log1p(-inside), np.ones(len(inside))], axis=1)  # (breast, coefficient)


def _chances(logits: Floats) -> Floats:
    chances: Floats = expit(logits)
    return chances


_FIT_BY_METHOD: dict[Method, Callable[[Floats, Outcomes, Floats], Temperature | Platt | Isotonic | Beta]] = {
    "temperature": _fit_temperature,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
    "beta": _fit_beta,
}
