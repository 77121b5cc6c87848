"""How well scores tell cases from controls: AUC, whole and partial, average precision, pF1, best F1 and the ROC curve.

All of them take a weight for each score. A `Ranking`, which is sorted once, takes many rows of weights: a replicate of
a bootstrap is a row. A score counts as positive at a threshold when it is equal or higher.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mammoscope.errors import UndefinedMetricError, UserInputError

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Indices = NDArray[np.intp]

HIGHEST_RATE = 0.1  # screening works below it, and studies of screening measure there (doi:10.1038/s41586-019-1799-6)


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
class WeightedRanking:
    """What lies below the scores of the cases, for rows of weights; a level is a distinct score of a case, ascending.

    Its methods give one value for each replicate, NaN where cases or controls have no weight.

    Attributes:
        cases_below: the weight of the cases below each level, and of all, (replicate, level + 1).
        controls_below: the weight of the controls below each level, and of those not above it, in turns, and of all,
            (replicate, 2 level + 1).
        found: the sum of the scores of the cases, (replicate,).
        false_alarms: the sum of the scores of the controls, (replicate,).
    """

    cases_below: Floats
    controls_below: Floats
    found: Floats
    false_alarms: Floats

    def auc(self) -> Floats:
        """Weighted Mann-Whitney probability that a case scores above a control, a tie counting half."""
        beaten = (self.controls_below[:, :-1:2] + self.controls_below[:, 1::2]) / 2  # (replicate, level)
        return _divide((self._case_weights * beaten).sum(axis=1), self._n_cases * self._n_controls)

    def average_precision(self) -> Floats:
        """Precision at the score of each case, averaged over the cases: the step-wise area, without interpolation."""
        _, precision = self.precision_steps()
        total = np.where(self._n_controls > 0, self._n_cases, 0.0)
        return _divide((self._case_weights * precision).sum(axis=1), total)

    def precision_steps(self) -> tuple[Floats, Floats]:
        """The weight of the cases found at the score of each level, and the precision there, (replicate, level) each.

        Where nothing of any weight is called, the precision is 0.
        """
        true_positives = self._n_cases[:, np.newaxis] - self.cases_below[:, :-1]
        false_positives = self._n_controls[:, np.newaxis] - self.controls_below[:, :-1:2]
        # where neither has weight, the case has none, and its precision does not count
        called = np.maximum(true_positives + false_positives, np.finfo(np.float64).tiny)
        return true_positives, true_positives / called

    def probabilistic_f1(self) -> Floats:
        """The F1 of the RSNA 2023 competition, in which a score counts as that much of a positive call.

        With pTP and pFP the sums of the scores of cases and of controls, the harmonic mean of pTP / (pTP + pFP) and
        pTP / cases is 2 pTP / (pTP + pFP + cases).
        """
        is_defined = (self._n_cases > 0) & (self._n_controls > 0)
        return _divide(2 * self.found, np.where(is_defined, self.found + self.false_alarms + self._n_cases, 0.0))

    def best_f1(self) -> Floats:
        """The highest F1 of any threshold, which is at the score of a case: to call controls alone never raises it."""
        true_positives = self._n_cases[:, np.newaxis] - self.cases_below[:, :-1]  # (replicate, level)
        false_positives = self._n_controls[:, np.newaxis] - self.controls_below[:, :-1:2]
        f1 = _divide(2 * true_positives, true_positives + false_positives + self._n_cases[:, np.newaxis])
        is_defined = (self._n_cases > 0) & (self._n_controls > 0)
        best: Floats = np.where(is_defined, np.nan_to_num(f1).max(axis=1), np.nan)
        return best

    def partial_auc(self, highest_rate: float) -> Floats:
        """The area under the ROC curve up to a false positive rate, standardised: `partial_auc` says how."""
        rates, sensitivities = self.corners()  # (replicate, corner)
        ends = np.minimum(rates, highest_rate)
        widths = np.diff(ends, axis=1)
        rises = np.diff(sensitivities, axis=1) * _divide(widths, np.diff(rates, axis=1), otherwise=0.0)
        area = (widths * (sensitivities[:, :-1] + rises / 2)).sum(axis=1)  # (replicate,)
        of_chance = highest_rate**2 / 2
        result: Floats = (1 + (area - of_chance) / (highest_rate - of_chance)) / 2
        return result

    def true_positive_rate_at(self, false_positive_rates: Floats) -> Floats:
        """The ROC curve of each replicate at given false positive rates, of shape (replicate, rate)."""
        return np.stack([np.interp(false_positive_rates, *curve) for curve in zip(*self.corners(), strict=True)])

    @property
    def _case_weights(self) -> Floats:
        return np.diff(self.cases_below, axis=1)  # (replicate, level)

    @property
    def _n_cases(self) -> Floats:
        return self.cases_below[:, -1]

    @property
    def _n_controls(self) -> Floats:
        return self.controls_below[:, -1]

    def corners(self) -> tuple[Floats, Floats]:
        """The rates of false and of true positives at the corners of the ROC curve: just above each level, and at it.

        Each (replicate, 2 level + 1), ascending; before the first corner nothing is found.
        """
        above_and_at = self._n_cases[:, np.newaxis] - np.repeat(self.cases_below, 2, axis=1)[:, 1:]
        sensitivity = _divide(above_and_at, self._n_cases[:, np.newaxis])[:, -2::-1]  # (replicate, 2 level)
        false_alarms = self._n_controls[:, np.newaxis] - self.controls_below[:, -2::-1]
        ends = np.ones((len(sensitivity), 1))
        rates = _divide(false_alarms, self._n_controls[:, np.newaxis])
        return np.hstack([rates, ends]), np.hstack([sensitivity, ends])


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the scores of cases and of controls lie to one another, and where their weights stand in a row of weights.

    Controls between two neighbouring scores of cases are alike to all figures, so that only their number counts.
    Weights have the shape (replicate, column); columns past the last one of the ranking are passed over.

    Attributes:
        cases: how many cases of each column have the score of each level, (level, column).
        controls: how many controls of each column lie below the first level, at it, above it and below the next, and
            so on, (2 level + 1, column).
        case_scores: the sum of the scores of each column's cases, (column,).
        control_scores: of its controls, likewise.
    """

    cases: sparse.csr_array
    controls: sparse.csr_array
    case_scores: Floats
    control_scores: Floats

    def weigh(self, weights: Floats) -> WeightedRanking:
        """The ranking under each row of weights, which gives several figures at the cost of one."""
        own = weights[:, : len(self.case_scores)]
        columns = np.ascontiguousarray(own.T)  # (column, replicate)
        return WeightedRanking(
            cases_below=np.insert(_sum_up(self.cases, columns), 0, 0.0, axis=1),
            controls_below=_sum_up(self.controls, columns),
            found=own @ self.case_scores,
            false_alarms=own @ self.control_scores,
        )

    def auc(self, weights: Floats) -> Floats:
        """The AUC of each row of weights, (replicate,)."""
        return self.weigh(weights).auc()

    def average_precision(self, weights: Floats) -> Floats:
        """The average precision of each row of weights, (replicate,)."""
        return self.weigh(weights).average_precision()

    def probabilistic_f1(self, weights: Floats) -> Floats:
        """The pF1 of each row of weights, (replicate,)."""
        return self.weigh(weights).probabilistic_f1()

    def partial_auc(self, weights: Floats, highest_rate: float) -> Floats:
        """The standardised partial AUC of each row of weights, (replicate,)."""
        return self.weigh(weights).partial_auc(highest_rate)

    def true_positive_rate_at(self, weights: Floats, false_positive_rates: Floats) -> Floats:
        """The ROC curve of each row of weights at given false positive rates, (replicate, rate)."""
        return self.weigh(weights).true_positive_rate_at(false_positive_rates)


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
    n_columns = int(places.max()) + 1
    levels = np.unique(scores[outcomes])
    not_above = np.searchsorted(levels, scores, side="right")
    at_or_between = np.searchsorted(levels, scores, side="left") + not_above  # odd: at a level; even: between two

    def count(rows: Indices, kind: Outcomes, n_rows: int) -> sparse.csr_array:
        entries = np.ones(int(kind.sum())), (rows[kind], places[kind])
        return sparse.csr_array(entries, shape=(n_rows, n_columns))

    return Ranking(
        cases=count(not_above - 1, outcomes, len(levels)),
        controls=count(at_or_between, ~outcomes, 2 * len(levels) + 1),
        case_scores=np.bincount(places, scores * outcomes, minlength=n_columns).astype(np.float64),
        control_scores=np.bincount(places, scores * ~outcomes, minlength=n_columns).astype(np.float64),
    )


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

    Without weights it is what the competition's code gives, to the last digit: the sums run in the order of the rows.

    Raises:
        UserInputError: shapes differ, a score is outside [0, 1], or a weight is negative or not finite.
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise UserInputError("pF1: found a score outside [0, 1], expected probabilities; apply a sigmoid first")
    ranking = rank(scores, outcomes)
    if weights is not None:
        return _single(ranking.probabilistic_f1(_one_row(scores, weights)))
    found, false_alarms = (float(np.cumsum(scores[kind])[-1]) for kind in (outcomes, ~outcomes))  # one after another
    if not found:
        return 0.0
    precision, recall = found / (found + false_alarms), found / int(outcomes.sum())
    return 2 * (precision * recall) / (precision + recall)


def partial_auc(
    scores: Floats, outcomes: Outcomes, weights: Floats | None = None, *, highest_rate: float = HIGHEST_RATE
) -> float:
    """The area under the ROC curve up to a false positive rate, standardised: 0.5 is chance, 1 is perfect.

    With A the area up to the rate f, f²/2 that of chance and f the greatest, it is (1 + (A - f²/2) / (f - f²/2)) / 2
    (McClish 1989, doi:10.1177/0272989X8900900307). Worse than chance it is below 0.5; at a rate of 1 it is the AUC.

    Raises:
        UserInputError: shapes differ, a score or weight is not as for `auc`, or the rate is not in (0, 1].
        UndefinedMetricError: there is no case or no control, or one of them has no weight.
    """
    if not 0 < highest_rate <= 1:
        raise UserInputError(f"partial AUC: highest rate is {highest_rate}, expected one above 0 and up to 1, as 0.1")
    return _single(rank(scores, outcomes).partial_auc(_one_row(scores, weights), highest_rate))


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
    rank(scores, outcomes)  # refuses what has no ranking
    row = _one_row(scores, weights)[0]
    ascending, places = np.unique(scores, return_inverse=True)
    at_score = [np.bincount(places, row * kind, minlength=len(ascending)) for kind in (outcomes, ~outcomes)]
    true_positives, false_positives = (np.cumsum(of_kind[::-1]) for of_kind in at_score)  # (threshold,)
    if not (true_positives[-1] > 0 and false_positives[-1] > 0):
        raise UndefinedMetricError("undefined: cases or controls have no weight, needs some of each")
    return np.r_[np.inf, ascending[::-1]], np.r_[0.0, true_positives], np.r_[0.0, false_positives]


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


def _sum_up(counts: sparse.csr_array, weights: Floats) -> Floats:
    """The weight up to each row of counts: (row, column) and (column, replicate) to (replicate, row)."""
    sums: Floats = np.cumsum(counts @ weights, axis=0)
    return sums.T


def _divide(numerator: Floats, denominator: Floats, *, otherwise: float = np.nan) -> Floats:
    """The quotient, and another number where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), otherwise)
    np.divide(numerator, denominator, out=result, where=np.broadcast_to(denominator > 0, result.shape))
    return result
