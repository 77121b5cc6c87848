"""Cox's calibration: a logistic regression of the outcomes on the logits of the scores, for many rows of weights.

With the logit x of a score, the calibration in the large is the intercept a of logit P(case) = a + x, and the
calibration slope is the b of logit P(case) = a + b x (Cox 1958, doi:10.1093/biomet/45.3-4.562; in this use: Van Calster
et al. 2019, doi:10.1186/s12916-019-1466-7). Calibrated scores have 0 and 1. Both are maxima of a likelihood, found by
Newton's steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit

from mammoscope.evaluation.prevalence import class_weights

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

# scores of 0 and 1 have no logit: they count as this far from it
CLIP = 1e-7
# a grid this fine over 32 units of logits moves a slope by less than 1e-5 of itself
N_GRID_POINTS = 2048
_MOST_STEPS = 60
_LONGEST_STEP = 1.0  # in units of intercept and slope: Newton's steps from afar may be too long
_CLOSE = 1e-9
_ROUNDING = 1e-14
_LEAST_SPREAD = 1e-6  # of logits: below, no slope can be told from rounding


@dataclass(frozen=True, slots=True)
class CoxRegression:
    """Logits of scores, laid on points, and where the weights of each patient fall on them.

    `spread` takes counts of patients to weights of points, (class and point, patient), controls before cases;
    `n_cases` and `case_logits`, each (patient,), are how many cases a patient has, and the sum of their logits.
    """

    points: Floats
    spread: csr_array
    n_cases: Floats
    case_logits: Floats

    def fit(self, counts: Floats, *, prevalence: float | None, start: tuple[float, float] = (0.0, 1.0)) -> Floats:
        """The calibration in the large and the slope, (replicate, 2), for counts of patients, (replicate, patient).

        NaN where there is no case or no control; the slope also where a threshold parts all cases from all controls, so
        that no slope is steep enough, and where all scores are equal.
        """
        of_points = (self.spread @ counts.T).T.reshape(len(counts), 2, -1)  # (replicate, class, point)
        n_controls, n_cases = of_points[:, 0].sum(axis=1), counts @ self.n_cases
        weights = class_weights(n_cases, n_controls, prevalence)
        factors = np.stack([weights.control, weights.case], axis=1)  # (replicate, class)
        mass = np.einsum("rc,rcp->rp", factors, of_points)  # (replicate, point)
        found = np.stack([weights.case * n_cases, weights.case * (counts @ self.case_logits)], axis=1)
        has_both = (n_cases > 0) & (n_controls > 0)
        has_slope = has_both & _overlap(of_points)
        fits = np.full((len(counts), 2), np.nan)
        from_1 = start[0], 1.0
        fits[has_both, 0] = self._newton(mass[has_both], found[has_both], start=from_1, has_slope=False)[:, 0]
        fits[has_slope, 1] = self._newton(mass[has_slope], found[has_slope], start=start, has_slope=True)[:, 1]
        return fits

    def _newton(self, mass: Floats, found: Floats, *, start: tuple[float, float], has_slope: bool) -> Floats:
        """Intercept and slope of each replicate, (replicate, 2), NaN where the steps do not come to an end."""
        fits = np.tile(np.array(start), (len(mass), 1))  # (replicate, coefficient)
        is_done = np.zeros(len(mass), np.bool_)
        for _ in range(_MOST_STEPS):
            left = np.flatnonzero(~is_done)
            if not len(left):
                break
            steps = self._steps(mass[left], found[left], fits[left], has_slope=has_slope)
            longest = np.abs(steps).max(axis=1, keepdims=True)
            fits[left] += steps * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _CLOSE))
            is_done[left] = (longest[:, 0] < _CLOSE) | np.isnan(longest[:, 0])
        fits[~is_done] = np.nan
        return fits

    def _steps(self, mass: Floats, found: Floats, fits: Floats, *, has_slope: bool) -> Floats:
        chances = expit(fits[:, :1] + fits[:, 1:] * self.points)  # (replicate, point)
        expected = mass * chances
        curvature = expected * (1 - chances)
        first = found[:, 0] - expected.sum(axis=1)  # (replicate,)
        h_00 = curvature.sum(axis=1)
        if not has_slope:
            return np.stack([first / h_00, np.zeros_like(first)], axis=1)
        second = found[:, 1] - expected @ self.points
        h_01, h_11 = curvature @ self.points, curvature @ self.points**2
        steps = np.stack([h_11 * first - h_01 * second, h_00 * second - h_01 * first], axis=1)
        determinant = h_00 * h_11 - h_01**2
        is_flat = determinant <= _ROUNDING * h_00 * h_11  # nothing is left of it but rounding
        steps /= np.where(is_flat, np.nan, determinant)[:, np.newaxis]  # (replicate, coefficient)
        return steps


def _overlap(of_points: Floats) -> NDArray[np.bool_]:
    """Whether a case lies below a control and a control below a case in each replicate of (replicate, class, point)."""
    has_weight = of_points > 0
    lowest = has_weight.argmax(axis=2)  # (replicate, class)
    highest = of_points.shape[2] - 1 - has_weight[:, :, ::-1].argmax(axis=2)
    overlap: NDArray[np.bool_] = (highest[:, 0] > lowest[:, 1]) & (highest[:, 1] > lowest[:, 0])
    return overlap


def prepare_cox(
    scores: Floats, outcomes: Outcomes, patients: Indices, *, n_points: int = N_GRID_POINTS
) -> CoxRegression:
    """The regression of scores in [0, 1] of shape (breast,), by patient.

    Where there are more than `n_points` distinct logits, each is shared out between the two nearest points of a grid,
    so that its mean is kept. With `n_points` no smaller than their number the regression is exact.
    """
    logits = clip_logits(scores)
    points, numbers = np.unique(logits, return_inverse=True)
    shares = np.ones(len(logits))
    if len(points) > n_points:
        points = np.linspace(logits.min(), logits.max(), n_points)
        position = (logits - points[0]) / (points[1] - points[0])
        numbers = np.minimum(position.astype(np.intp), n_points - 2)
        shares = 1 - (position - numbers)
    upper = np.minimum(numbers + 1, len(points) - 1)
    places = np.concatenate([numbers, upper]) + len(points) * np.tile(outcomes, 2)
    n_patients = int(patients.max()) + 1
    spread = csr_array(
        (np.concatenate([shares, 1 - shares]), (places, np.tile(patients, 2))), shape=(2 * len(points), n_patients)
    )
    return CoxRegression(
        points=points,
        spread=spread,
        n_cases=np.bincount(patients[outcomes], minlength=n_patients).astype(np.float64),
        case_logits=np.bincount(patients[outcomes], logits[outcomes], minlength=n_patients).astype(np.float64),
    )


def clip_logits(scores: Floats) -> Floats:
    """The logits of scores, of which 0 and 1 count as `CLIP` and 1 - `CLIP`."""
    logits: Floats = logit(np.clip(scores, CLIP, 1 - CLIP))
    return logits


def why_no_slope(scores: Floats, outcomes: Outcomes) -> str:
    """The reason why scores with outcomes of both kinds have no calibration slope; empty where they have one."""
    if np.ptp(clip_logits(scores)) < _LEAST_SPREAD:
        return "undefined: all scores are equal, or as good as that, so that they have no slope"
    cases, controls = scores[outcomes], scores[~outcomes]
    if cases.min() >= controls.max() or controls.min() >= cases.max():
        return "undefined: a threshold parts all cases from all controls, so that no slope is steep enough"
    return ""
