"""How well scores tell cases from controls: AUC, average precision, probabilistic F1, best F1 and the ROC curve.

All of them take a weight for each score. A `Ranking`, which is sorted once, takes many rows of weights: a replicate of
a bootstrap is a row. A score counts as positive at a threshold when it is equal or higher.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UndefinedMetricError, UserInputError

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Rates at each distinct score as a threshold, from the strictest (infinity: nothing is positive) to the laxest."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    threshold: Floats


@dataclass(frozen=True, slots=True)
class BestF1:
    """The highest F1 that any threshold reaches, and the highest of the thresholds that reach it."""

    f1: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores of cases and of controls, ascending, and where the weight of each stands in a row of weights.

    Its methods take weights of shape (replicate, column) and give one value for each replicate; a replicate in which
    cases or controls have no weight gives NaN.
    """

    case_scores: Floats
    control_scores: Floats
    case_columns: Indices
    control_columns: Indices

    def auc(self, weights: Floats) -> Floats:
        """Weighted Mann-Whitney probability that a case scores above a control, a tie counting half."""
        case_weights, controls_below = self._case_weights(weights), self._controls_below(weights)
        first = np.searchsorted(self.control_scores, self.case_scores, side="left")
        last = np.searchsorted(self.control_scores, self.case_scores, side="right")
        beaten = (controls_below[:, first] + controls_below[:, last]) / 2  # (replicate, case)
        n_pairs = case_weights.sum(axis=1) * controls_below[:, -1]
        return _divide((case_weights * beaten).sum(axis=1), n_pairs)

    def average_precision(self, weights: Floats) -> Floats:
        """Precision at the score of each case, averaged over the cases: the step-wise area, without interpolation."""
        case_weights, controls_below = self._case_weights(weights), self._controls_below(weights)
        cases_below = _cumulate(case_weights)
        case_start = np.searchsorted(self.case_scores, self.case_scores, side="left")
        control_start = np.searchsorted(self.control_scores, self.case_scores, side="left")
        true_positives = cases_below[:, -1:] - cases_below[:, case_start]  # (replicate, case)
        false_positives = controls_below[:, -1:] - controls_below[:, control_start]
        # where neither has weight, the case has none, and its precision does not count
        precision = true_positives / np.maximum(true_positives + false_positives, np.finfo(np.float64).tiny)
        total = np.where(controls_below[:, -1] > 0, cases_below[:, -1], 0.0)
        return _divide((case_weights * precision).sum(axis=1), total)

    def probabilistic_f1(self, weights: Floats) -> Floats:
        """The F1 of the RSNA 2023 competition, in which a score counts as that much of a positive call.

        With pTP and pFP the sums of the scores of cases and of controls, the harmonic mean of pTP / (pTP + pFP) and
        pTP / cases is 2 pTP / (pTP + pFP + cases).
        """
        case_weights, control_weights = self._case_weights(weights), weights[:, self.control_columns]
        found = case_weights @ self.case_scores  # (replicate,)
        false_alarms = control_weights @ self.control_scores
        n_cases = case_weights.sum(axis=1)
        defined = (n_cases > 0) & (control_weights.sum(axis=1) > 0)
        return _divide(2 * found, np.where(defined, found + false_alarms + n_cases, 0.0))

    def true_positive_rate_at(self, weights: Floats, false_positive_rates: Floats) -> Floats:
        """The ROC curve of each replicate at given false positive rates, of shape (replicate, rate)."""
        case_weights, controls_below = self._case_weights(weights), self._controls_below(weights)
        cases_below = _cumulate(case_weights)
        # the corners of the curve lie at the scores of the cases: just above each, and at it
        scores = np.unique(self.case_scores)[::-1]
        sides = [(np.searchsorted(of, scores, "right"), np.searchsorted(of, scores, "left")) for of in self._both]
        case_corner, control_corner = (np.stack(pair, axis=1).ravel() for pair in sides)
        total_cases, total_controls = cases_below[:, -1:], controls_below[:, -1:]
        sensitivity = _divide(total_cases - cases_below[:, case_corner], total_cases)  # (replicate, corner)
        false_alarms = _divide(total_controls - controls_below[:, control_corner], total_controls)
        ends = np.ones((len(weights), 1))
        x, y = np.hstack([false_alarms, ends]), np.hstack([sensitivity, ends])
        return np.stack([np.interp(false_positive_rates, *curve) for curve in zip(x, y, strict=True)])

    @property
    def _both(self) -> tuple[Floats, Floats]:
        return self.case_scores, self.control_scores

    def _case_weights(self, weights: Floats) -> Floats:
        return weights[:, self.case_columns]  # (replicate, case)

    def _controls_below(self, weights: Floats) -> Floats:
        return _cumulate(weights[:, self.control_columns])  # (replicate, control + 1)


def rank(scores: Floats, outcomes: Outcomes, columns: Indices | None = None) -> Ranking:
    """The ranking of scores of shape (image,), whose outcome is true for a case.

    `columns` says where the weight of each image stands in a row of weights; without it, at the image's own place.

    Raises:
        UserInputError: shapes differ, or a score is not a finite number.
        UndefinedMetricError: there is no case or no control.
    """
    if scores.ndim != 1 or scores.shape != outcomes.shape:
        raise UserInputError(f"scores: found shapes {scores.shape} and {outcomes.shape}, expected two equal lists")
    if not np.isfinite(scores).all():
        raise UserInputError("scores: found NaN or infinity, expected finite numbers")
    reason = why_undefined(outcomes)
    if reason is not None:
        raise UndefinedMetricError(reason)
    places = np.arange(len(scores)) if columns is None else columns
    order = np.argsort(scores, kind="stable")
    cases, controls = order[outcomes[order]], order[~outcomes[order]]
    return Ranking(scores[cases], scores[controls], places[cases], places[controls])


def why_undefined(outcomes: Outcomes) -> str | None:
    """The sentence that says why these outcomes cannot measure discrimination; None when they can."""
    n_cases = int(outcomes.sum())
    n_controls = len(outcomes) - n_cases
    if n_cases and n_controls:
        return None
    if not n_cases and not n_controls:
        return "undefined: no score with a known outcome"
    missing = "case" if not n_cases else "control"
    return f"undefined: no {missing} among {len(outcomes):,} with a known outcome, needs cases and controls"


def auc(scores: Floats, outcomes: Outcomes, weights: Floats | None = None) -> float:
    """Area under the ROC curve, in [0, 1], ties counting half: doi:10.1148/radiology.143.1.7063747.

    Raises:
        UserInputError: shapes differ, a score is not finite, or a weight is negative or not finite.
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    return _single(rank(scores, outcomes).auc(_one_row(scores, weights)))


def average_precision(scores: Floats, outcomes: Outcomes, weights: Floats | None = None) -> float:
    """Step-wise area under the precision-recall curve, in (0, 1]; it depends on the share of cases.

    Raises:
        UserInputError: shapes differ, a score is not finite, or a weight is negative or not finite.
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    return _single(rank(scores, outcomes).average_precision(_one_row(scores, weights)))


def probabilistic_f1(scores: Floats, outcomes: Outcomes, weights: Floats | None = None) -> float:
    """The metric pF1 of the RSNA 2023 competition, in [0, 1], with beta 1; it depends on the share of cases.

    Raises:
        UserInputError: shapes differ, a score is outside [0, 1], or a weight is negative or not finite.
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise UserInputError("pF1: found a score outside [0, 1], expected probabilities; apply a sigmoid first")
    return _single(rank(scores, outcomes).probabilistic_f1(_one_row(scores, weights)))


def roc_curve(scores: Floats, outcomes: Outcomes, weights: Floats | None = None) -> RocCurve:
    """The ROC curve with a point for each distinct score, and one where nothing is positive.

    Raises:
        UserInputError: shapes differ, a score is not finite, or a weight is negative or not finite.
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    thresholds, true_positives, false_positives = _counts_by_threshold(scores, outcomes, weights)
    return RocCurve(
        false_positive_rate=false_positives / false_positives[-1],
        true_positive_rate=true_positives / true_positives[-1],
        threshold=thresholds,
    )


def best_f1(scores: Floats, outcomes: Outcomes, weights: Floats | None = None) -> BestF1:
    """The highest F1 over all thresholds: optimistic, because it is chosen on the scores that it is measured on.

    Raises:
        UserInputError: shapes differ, a score is not finite, or a weight is negative or not finite.
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    thresholds, true_positives, false_positives = _counts_by_threshold(scores, outcomes, weights)
    f1 = 2 * true_positives / (true_positives + false_positives + true_positives[-1])
    best = int(np.argmax(f1))  # the first of equals, that is the strictest
    return BestF1(f1=float(f1[best]), threshold=float(thresholds[best]))


def _counts_by_threshold(scores: Floats, outcomes: Outcomes, weights: Floats | None) -> tuple[Floats, Floats, Floats]:
    ranking, row = rank(scores, outcomes), _one_row(scores, weights)
    thresholds = np.unique(scores)[::-1]
    cases_below = _cumulate(row[:, ranking.case_columns])[0]
    controls_below = _cumulate(row[:, ranking.control_columns])[0]
    if not (cases_below[-1] > 0 and controls_below[-1] > 0):
        raise UndefinedMetricError("undefined: cases or controls have no weight, needs some of each")
    true_positives = cases_below[-1] - cases_below[np.searchsorted(ranking.case_scores, thresholds)]
    false_positives = controls_below[-1] - controls_below[np.searchsorted(ranking.control_scores, thresholds)]
    return np.r_[np.inf, thresholds], np.r_[0.0, true_positives], np.r_[0.0, false_positives]


def _one_row(scores: Floats, weights: Floats | None) -> Floats:
    row = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    if row.shape != scores.shape or not (np.isfinite(row).all() and (row >= 0).all()):
        raise UserInputError(f"weights: expected {len(scores)} finite numbers of 0 or more, one for each score")
    return row[np.newaxis, :]  # (replicate, image)


def _single(values: Floats) -> float:
    value = float(values[0])
    if np.isnan(value):
        raise UndefinedMetricError("undefined: cases or controls have no weight, needs some of each")
    return value


def _cumulate(weights: Floats) -> Floats:
    """Sums of the weights before each place, and of all: (replicate, n) to (replicate, n + 1)."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=np.broadcast_to(denominator > 0, result.shape))
    return result
