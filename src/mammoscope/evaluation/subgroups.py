"""How well scores do in each group of a column, and how far the groups lie apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mammoscope.evaluation.bootstrap import (
    MIN_PATIENTS_FOR_INTERVAL,
    BootstrapSettings,
    Estimate,
    Interval,
    bootstrap_over_patients,
    estimate,
    why_no_interval,
)
from mammoscope.evaluation.discrimination import Ranking, rank, why_undefined
from mammoscope.evaluation.grouping import Group, Grouping, Splits
from mammoscope.evaluation.levels import Level, LevelSample
from mammoscope.evaluation.operating_points import OperatingPoints

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

FEW = 10
"""A group with fewer cases or fewer controls is marked, and has no part in the gap."""
_OF_CALLS = ("sensitivity", "specificity", "recall_rate")
_SMALLEST_ERROR = 1e-9


@dataclass(frozen=True, slots=True)
class GroupCalls:
    """What the calls of an operating point do in a group."""

    point: str
    sensitivity: Estimate
    specificity: Estimate
    recall_rate: Estimate


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The figures of a group; `is_small` marks fewer than 10 cases or controls."""

    name: str
    n: int
    n_cases: int
    n_patients: int
    is_small: bool
    auc: Estimate
    calls: tuple[GroupCalls, ...]

    @property
    def share_of_cases(self) -> float:
        """Prevalence in the group."""
        return self.n_cases / self.n


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference of AUC between two groups; its interval holds for all `n_pairs` differences at once."""

    higher: str
    lower: str
    n_pairs: int
    difference: Estimate


@dataclass(frozen=True, slots=True)
class GroupingResult:
    """All groups of a column. `gap` is None where fewer than two groups are large enough."""

    column: str
    level: Level
    splits: Splits
    groups: tuple[GroupResult, ...]
    gap: Gap | None


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Whether each score of a sample is called at each operating point, (n, point)."""

    names: tuple[str, ...]
    called: Outcomes


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A group with its ranking, None without cases or controls, and its sums by patient, (patient, class and point)."""

    group: Group
    ranking: Ranking | None
    sums: Floats
    reason: str | None

    def values(self, counts: Floats) -> Floats:
        """The AUC, then the figures of the calls, (replicate, 1 + 3 point)."""
        auc = np.full(len(counts), np.nan) if self.ranking is None else self.ranking.auc(counts)
        n_columns = self.sums.shape[1] // 2
        of_class = (counts @ self.sums).reshape(len(counts), 2, n_columns)  # (replicate, class, all and called)
        controls, cases = (of_class[:, place, :1] for place in (0, 1))
        called_controls, called_cases = (of_class[:, place, 1:] for place in (0, 1))
        with np.errstate(invalid="ignore"):  # 0 / 0 is undefined
            figures = (
                called_cases / cases,
                1 - called_controls / controls,
                (called_cases + called_controls) / (cases + controls),
            )
        return np.column_stack([auc, *figures])


def call_scores(sample: LevelSample, points: OperatingPoints | None) -> Calls:
    """The calls of breasts at thresholds that the other folds chose; no point without a threshold for every fold."""
    names, columns = [], []
    folds = sample.rows["fold"]
    for point in points.points if points is not None and not folds.is_null().any() else ():
        threshold_by_fold = {each.fold: each.threshold for each in point.by_fold}
        thresholds = [threshold_by_fold.get(fold) for fold in folds.to_list()]
        if None in thresholds:
            continue
        names.append(point.name)
        columns.append(sample.scores >= np.array(thresholds, np.float64))
    called = np.column_stack(columns) if columns else np.empty((len(sample.scores), 0), np.bool_)
    return Calls(tuple(names), called)


def measure_groups(
    sample: LevelSample,
    groupings: Sequence[Grouping],
    calls: Calls,
    settings: BootstrapSettings,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[GroupingResult, ...]:
    """The figures of all groups of all groupings of a sample, from one bootstrap that draws patients of the sample.

    The thresholds of the calls are held as they were chosen. The interval of a gap is that of the largest studentised
    difference among all pairs of its column (Westfall & Young 1993, Resampling-Based Multiple Testing, chapter 2).
    """
    prepared = [[_prepare(sample, group, calls) for group in grouping.groups] for grouping in groupings]
    if not prepared:
        advance(settings.n_replicates)
        return ()

    def statistic(counts: Floats) -> Floats:
        return np.hstack([each.values(counts) for groups in prepared for each in groups])

    width = 1 + len(_OF_CALLS) * len(calls.names)
    value = statistic(np.ones((1, int(sample.patients.max()) + 1))).reshape(-1, width)  # (group, figure)
    replicates = bootstrap_over_patients(
        statistic, sample.patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    ).reshape(settings.n_replicates, -1, width)  # (replicate, group, figure)
    results, start = [], 0
    for grouping, groups in zip(groupings, prepared, strict=True):
        own = slice(start, start + len(groups))
        start = own.stop
        results.append(
            _describe(sample, grouping, groups, calls=calls, value=value[own], drawn=replicates[:, own], how=settings)
        )
    return tuple(results)


def _prepare(sample: LevelSample, group: Group, calls: Calls) -> _Prepared:
    members = group.members
    outcomes, patients = sample.outcomes[members], sample.patients[members]
    reason = why_undefined(outcomes)
    ranking = None if reason is not None else rank(sample.scores[members], outcomes, patients)
    counted = np.column_stack([np.ones(len(outcomes)), calls.called[members]])  # (score, all and called)
    n_patients = int(sample.patients.max()) + 1
    sums = [
        np.column_stack([np.bincount(patients, column * kind, minlength=n_patients) for column in counted.T])
        for kind in (~outcomes, outcomes)
    ]
    return _Prepared(group, ranking, np.hstack(sums), reason)


def _describe(  # noqa: PLR0913  # a grouping, what was measured of it, and how, by name
    sample: LevelSample,
    grouping: Grouping,
    groups: Sequence[_Prepared],
    *,
    calls: Calls,
    value: Floats,
    drawn: Floats,
    how: BootstrapSettings,
) -> GroupingResult:
    results = tuple(
        _describe_group(sample, each, calls, value=value[place], drawn=drawn[:, place], confidence=how.confidence)
        for place, each in enumerate(groups)
    )
    large = [place for place, result in enumerate(results) if not result.is_small]
    names = [results[place].name for place in large]
    gap = _find_gap(names, value[large, 0], drawn[:, large, 0], how.confidence)
    return GroupingResult(grouping.column, grouping.level, grouping.splits, results, gap)


def _describe_group(  # noqa: PLR0913  # a group, and what was measured of it, by name
    sample: LevelSample, prepared: _Prepared, calls: Calls, *, value: Floats, drawn: Floats, confidence: float
) -> GroupResult:
    members = prepared.group.members
    outcomes, patients = sample.outcomes[members], sample.patients[members]

    def measured(number: int, if_undefined: str, without: str | None) -> Estimate:
        return estimate(
            float(value[number]),
            drawn[:, number],
            confidence=confidence,
            if_undefined=if_undefined,
            if_no_interval=without,
        )

    n_cases, n_points = int(outcomes.sum()), len(calls.names)
    of_kinds = {"case": patients[outcomes], "control": patients[~outcomes], "score": patients}
    reasons = {what: _why_too_few(of_kind, what) for what, of_kind in of_kinds.items()}
    of_points = tuple(
        GroupCalls(
            name,
            *(
                measured(1 + kind * n_points + number, f"undefined: no {what} in the group", too_few)
                for kind, (what, too_few) in enumerate(reasons.items())
            ),
        )
        for number, name in enumerate(calls.names)
    )
    return GroupResult(
        name=prepared.group.name,
        n=len(outcomes),
        n_cases=n_cases,
        n_patients=len(np.unique(patients)),
        is_small=min(n_cases, len(outcomes) - n_cases) < FEW,
        auc=measured(0, prepared.reason or "", why_no_interval(outcomes, patients)),
        calls=of_points,
    )


def _why_too_few(patients: Indices, what: str) -> str | None:
    """Why a share of the cases, controls or scores of these patients has no interval; None where it has."""
    n_patients = len(np.unique(patients))
    if n_patients >= MIN_PATIENTS_FOR_INTERVAL:
        return None
    return f"no interval: {n_patients} patient with {what}s, needs {MIN_PATIENTS_FOR_INTERVAL}"


def _find_gap(names: Sequence[str], aucs: Floats, drawn: Floats, confidence: float) -> Gap | None:
    """The two groups that lie furthest apart: names and AUCs, (group,), and those of replicates, (replicate, group)."""
    pairs = list(combinations(range(len(names)), 2))
    if not pairs:
        return None
    first, second = np.array(pairs).T
    differences = aucs[first] - aucs[second]  # (pair,)
    off = drawn[:, first] - drawn[:, second] - differences  # (replicate, pair)
    defined = off[~np.isnan(off).any(axis=1)]
    errors = defined.std(axis=0) if len(defined) > 1 else np.zeros(len(pairs))
    widest = int(np.argmax(np.abs(differences)))
    higher, lower = (first[widest], second[widest]) if differences[widest] >= 0 else (second[widest], first[widest])
    value = float(abs(differences[widest]))
    if errors.min() < _SMALLEST_ERROR:
        found = Estimate(value, None, "no interval: some groups do not differ by chance, as when none is out of order")
        return Gap(names[higher], names[lower], len(pairs), found)
    reach = float(np.quantile(np.abs(defined / errors).max(axis=1), confidence) * errors[widest])
    interval = Interval(max(value - reach, -1.0), min(value + reach, 1.0), len(off), len(off) - len(defined))
    return Gap(names[higher], names[lower], len(pairs), Estimate(value, interval, None))
