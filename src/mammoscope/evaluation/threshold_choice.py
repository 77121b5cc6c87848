"""Which threshold scores choose for a target, for many rows of weights at once: a replicate of a bootstrap is a row.

The thresholds are the distinct scores, the strictest first, and are named by their place in that order, from 0; place
-1 stands for none. A score is called when it is equal to the threshold or higher. Only the order of the scores counts,
so that a monotone map of them changes no call. Weights are whole, how often a patient was drawn, but where a target
prevalence weighs the classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UndefinedMetricError
from mammoscope.evaluation.discrimination import why_undefined
from mammoscope.evaluation.prevalence import class_weights

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

NONE = -1
# counts that miss what is wanted by rounding alone do not miss it: 0.035 * 200 is 7.000000000000001
_ROUNDING = 1e-6
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True)
class Target:
    """What a threshold is chosen for; `wanted` is the share that it must keep to, None for the highest F1."""

    kind: Literal["f1", "recall_rate", "sensitivity", "specificity"]
    wanted: float | None = None

    @property
    def name(self) -> str:
        """The stable name of the operating point: `maximal_f1`, or kind and percent as in `recall_rate_3.5`."""
        return "maximal_f1" if self.wanted is None else f"{self.kind}_{100 * self.wanted:g}"

    @property
    def chosen_for(self) -> str:
        """What the threshold is to do, for people."""
        if self.wanted is None:
            return "highest F1, which is also the highest pF1 of calls of 0 and 1"
        share = f"{100 * self.wanted:g} %"
        return {
            "recall_rate": f"as many breasts called as can be, at most {share}",
            "sensitivity": f"as few breasts called as can be, with at least {share} of the cases",
            "specificity": f"as many breasts called as can be, with at least {share} of the controls not called",
        }[self.kind]


@dataclass(frozen=True, slots=True)
class _Sums:
    """The weight of the highest scores of one fold, of 0 and up: cases (replicate, case + 1), controls likewise.

    `cases_called` and `controls_called` say how many of them each place calls, from place -1, which calls none, to the
    one past the last, which calls all.
    """

    cases: Floats
    controls: Floats
    cases_called: Indices
    controls_called: Indices


@dataclass(frozen=True, slots=True)
class Tally:
    """What each threshold calls in some of the folds, for rows of weights.

    `case_weight` and `control_weight`, (replicate, 1), weigh all cases and all controls alike.
    """

    sums: tuple[_Sums, ...]
    case_weight: Floats | float = 1.0
    control_weight: Floats | float = 1.0

    @property
    def n_replicates(self) -> int:
        """How many rows of weights there are."""
        return len(self.sums[0].cases)

    @property
    def n_cases(self) -> Floats:
        """The weight of all cases, (replicate, 1)."""
        return self.case_weight * _add([sums.cases[:, -1:] for sums in self.sums])

    @property
    def n_controls(self) -> Floats:
        """The weight of all controls, (replicate, 1)."""
        return self.control_weight * _add([sums.controls[:, -1:] for sums in self.sums])

    @property
    def n_breasts(self) -> Floats:
        """The weight of all, (replicate, 1)."""
        return self.n_cases + self.n_controls

    def cases_called(self, places: Indices) -> Floats:
        """The weight of the cases that thresholds call, (replicate, n); places are (replicate, n), or (n,) for all."""
        return self.case_weight * _add([_take(sums.cases, sums.cases_called[places + 1]) for sums in self.sums])

    def controls_called(self, places: Indices) -> Floats:
        """The weight of the controls that thresholds call, as `cases_called`."""
        called = _add([_take(sums.controls, sums.controls_called[places + 1]) for sums in self.sums])
        return self.control_weight * called

    def breasts_called(self, places: Indices) -> Floats:
        """The weight of all that thresholds call, as `cases_called`."""
        return self.cases_called(places) + self.controls_called(places)

    def at_prevalence(self, prevalence: float | None) -> "Tally":
        """The same, with cases and controls weighed so that the cases have that share; None: as they are."""
        if prevalence is None:
            return self
        weights = class_weights(self.n_cases, self.n_controls, prevalence)
        # where one class is missing nothing is chosen, whatever the weights
        case, control = (np.nan_to_num(weight, nan=1.0) for weight in weights)  # (replicate, 1)
        return replace(self, case_weight=case, control_weight=control)

    def as_counted(self) -> "Tally":
        """The same without the weights of a prevalence."""
        return Tally(self.sums)


@dataclass(frozen=True, slots=True)
class _Fold:
    """Where the weights of a fold's cases and controls stand, the highest score first; how many each place calls."""

    case_columns: Indices
    control_columns: Indices
    cases_called: Indices
    controls_called: Indices


@dataclass(frozen=True, slots=True)
class FoldedScores:
    """Scores in folds, sorted once: the thresholds, descending, and the places of those that are a case's score."""

    thresholds: Floats
    case_places: Indices
    folds: tuple[_Fold, ...]

    def weigh(self, weights: Floats) -> tuple[Tally, ...]:
        """The tally of each fold for weights of shape (replicate, column)."""
        return tuple(
            Tally(
                (
                    _Sums(
                        _cumulate(weights[:, fold.case_columns]),
                        _cumulate(weights[:, fold.control_columns]),
                        fold.cases_called,
                        fold.controls_called,
                    ),
                )
            )
            for fold in self.folds
        )

    def choose(self, tally: Tally, targets: Sequence[Target]) -> Indices:
        """The place of the threshold that each target gets in a tally, (replicate, target); -1 where there is none.

        Of equal thresholds the strictest. There is none without cases or controls, where all scores are equal, and
        where even the strictest threshold calls more than a recall rate or a specificity allows.
        """
        places = np.full((tally.n_replicates, len(targets)), NONE)
        for kind in dict.fromkeys(target.kind for target in targets):
            columns = [number for number, target in enumerate(targets) if target.kind == kind]
            wanted = np.array([[targets[number].wanted or 0.0 for number in columns]])  # (1, target)
            places[:, columns] = self._choose_by[kind](self, tally, wanted)
        strictest = self._first_place(tally, lambda place: tally.breasts_called(place) > 0)
        calls_all = tally.breasts_called(strictest) == tally.n_breasts  # (replicate, 1)
        is_one_class = (tally.n_cases == 0) | (tally.n_controls == 0)
        return np.where(calls_all | is_one_class | (tally.breasts_called(places) == 0), NONE, places)

    def threshold_at(self, places: Indices) -> Floats:
        """The thresholds of places, NaN where there is none."""
        return np.where(places == NONE, np.nan, self.thresholds[places])

    def why_none(self, tally: Tally, target: Target) -> str:
        """The clause that says why the first row of a tally has no threshold for a target; its numbers are counts."""
        is_weighted, tally = tally.n_cases[0, 0] != tally.as_counted().n_cases[0, 0], tally.as_counted()
        n, n_cases, n_controls = (int(total[0, 0]) for total in (tally.n_breasts, tally.n_cases, tally.n_controls))
        if not n_cases or not n_controls:
            return f"no {'control' if n_cases else 'case'} among {n:,} breasts"
        strictest = self._first_place(tally, lambda place: tally.breasts_called(place) > 0)
        n_called, n_false = (int(of(strictest)[0, 0]) for of in (tally.breasts_called, tally.controls_called))
        if n_called == n:
            return f"all {n:,} breasts have one score, so that a threshold calls all or none"
        called = (n_false, n_controls, "controls") if target.kind == "specificity" else (n_called, n, "breasts")
        wanted = "more than wanted at the target prevalence" if is_weighted else "more than wanted"
        return "even the strictest threshold calls {:,} of {:,} {}, {}".format(*called, wanted)

    def _highest_f1(self, tally: Tally, wanted: Floats) -> Indices:  # noqa: ARG002  # one signature for all kinds
        """The highest F1 is reached at the score of a case: up to the next one, only false alarms become fewer."""
        cases, controls = tally.cases_called(self.case_places), tally.controls_called(self.case_places)
        denominator = np.maximum(cases + controls + tally.n_cases, _TINY)  # (replicate, case place)
        f1 = 2 * cases / denominator
        # the first of equals; of counts up to 100,000, two that differ do so by 1e-10 or more
        best = np.argmax(f1 >= f1.max(axis=1, keepdims=True) - 1e-12, axis=1, keepdims=True)
        places: Indices = self.case_places[best]  # (replicate, 1)
        return places

    def _least_sensitivity(self, tally: Tally, wanted: Floats) -> Indices:
        needed = np.maximum(wanted * tally.n_cases - _ROUNDING, _TINY)  # (replicate, target); one case at least
        return self._first_place(tally, lambda place: tally.cases_called(place) >= needed)

    def _least_specificity(self, tally: Tally, wanted: Floats) -> Indices:
        most = tally.n_controls - wanted * tally.n_controls + _ROUNDING
        return self._last_place(tally, lambda place: tally.controls_called(place) > most)

    def _most_recalled(self, tally: Tally, wanted: Floats) -> Indices:
        most = wanted * tally.n_breasts + _ROUNDING
        return self._last_place(tally, lambda place: tally.breasts_called(place) > most)

    def _last_place(self, tally: Tally, is_too_lax: Callable[[Indices], NDArray[np.bool_]]) -> Indices:
        """The strictest of the places that call the same as the last one that is not too lax, (replicate, target)."""
        called = tally.breasts_called(self._first_place(tally, is_too_lax) - 1)
        strictest = self._first_place(tally, lambda place: tally.breasts_called(place) >= called)
        return np.where(called > 0, strictest, NONE)

    def _first_place(self, tally: Tally, reaches: Callable[[Indices], NDArray[np.bool_]]) -> Indices:
        """The strictest place that reaches what all laxer ones reach too, (replicate, target); past the last if none.

        By halving: a replicate of a bootstrap asks for the counts of a few thresholds, not of all.
        """
        past = len(self.thresholds)
        low = np.zeros((tally.n_replicates, 1), np.intp)
        high = np.full_like(low, past)
        while (low < high).any():
            middle = (low + high) // 2
            is_reached = reaches(middle) | (low == high)
            low, high = np.where(is_reached, low, middle + 1), np.where(is_reached, middle, high)
        return high

    _choose_by: ClassVar = {
        "f1": _highest_f1,
        "sensitivity": _least_sensitivity,
        "specificity": _least_specificity,
        "recall_rate": _most_recalled,
    }


def fold_scores(scores: Floats, outcomes: Outcomes, *, folds: Indices, columns: Indices) -> FoldedScores:
    """Scores of shape (breast,), sorted for choosing; `outcomes` are true for a case.

    Args:
        scores: of each breast.
        outcomes: of each breast.
        folds: the number of the fold of each breast, 0 and up without a gap.
        columns: where the weight of each breast stands in a row of weights.

    Raises:
        UndefinedMetricError: there is no case or no control.
    """
    reason = why_undefined(outcomes)
    if reason is not None:
        raise UndefinedMetricError(reason)
    thresholds = np.unique(scores)[::-1]
    order = np.argsort(-scores, kind="stable")

    def of(fold: int) -> _Fold:
        members = order[folds[order] == fold]
        cases, controls = members[outcomes[members]], members[~outcomes[members]]
        called = (_count_called(scores[kind], thresholds) for kind in (cases, controls))
        return _Fold(columns[cases], columns[controls], *called)

    return FoldedScores(
        thresholds=thresholds,
        case_places=np.searchsorted(-thresholds, np.unique(-scores[outcomes])),
        folds=tuple(of(fold) for fold in range(int(folds.max()) + 1)),
    )


def join(tallies: Sequence[Tally]) -> Tally:
    """The tally of several folds together."""
    return Tally(tuple(sums for tally in tallies for sums in tally.sums))


def places_at(thresholds: Floats, grid: Floats) -> Indices:
    """The place that calls the same as each number of a grid: the laxest threshold that is not below it."""
    places: Indices = np.searchsorted(-thresholds, -grid, side="right") - 1  # (grid,)
    return places


def _count_called(descending: Floats, thresholds: Floats) -> Indices:
    called: Indices = np.searchsorted(-descending, -thresholds, side="right")
    return np.concatenate([[0], called, [len(descending)]])  # (place + 2,)


def _add(parts: Sequence[Floats]) -> Floats:
    total: Floats = np.sum(parts, axis=0)
    return total


def _cumulate(weights: Floats) -> Floats:
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums  # (replicate, column + 1)


def _take(sums: Floats, numbers: Indices) -> Floats:
    """The sums of so many: the same numbers for all replicates, (n,), or each its own, (replicate, n)."""
    return (
        sums[:, numbers] if numbers.ndim == 1 else sums[np.arange(len(sums))[:, np.newaxis], numbers]
    )  # (replicate, n)
