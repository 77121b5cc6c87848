"""Whether the figures would stay: over folds, over seeds, and over other samples of patients.

A fold is another network and other patients; a seed is another network for the same patients. How much of the spread of
folds is chance of the patients is told beside it. The pF1 and a chosen threshold depend on few cases: their sampling
distribution is that of the bootstrap over patients.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    why_no_interval,
)
from mammoscope.evaluation.delong import DeLongEstimate, delong_auc
from mammoscope.evaluation.discrimination import auc, rank, why_undefined
from mammoscope.evaluation.levels import LevelSample
from mammoscope.evaluation.reader_study import ReaderStudy, cross_readers
from mammoscope.evaluation.threshold_choice import Target, fold_scores

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

QUANTILES = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
_FAR_APART = 0.9  # of pairs of controls
_FEWEST = 2  # one value does not spread


@dataclass(frozen=True, slots=True)
class Spread:
    """How far values lie apart; the standard deviation is that of a sample."""

    mean: float
    standard_deviation: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class FoldAuc:
    """The AUC of one fold, by DeLong over patients."""

    fold: int
    n: int
    n_cases: int
    auc: DeLongEstimate


@dataclass(frozen=True, slots=True)
class FoldSpread:
    """The AUC of each fold, and their spread beside `by_chance`, the standard deviation that patients alone would give.

    A spread far above it says that the networks of the folds, or their patients, differ. `controls_apart` is the
    share of pairs of controls, one of each of two folds, in which that of the fold that scores higher is the higher:
    0.5 where networks score alike; of the two folds where it is the greatest, None with fewer than two.
    """

    folds: tuple[FoldAuc, ...]
    spread: Spread | None
    by_chance: float | None
    controls_apart: float | None
    reason: str | None

    @property
    def remark(self) -> str | None:
        """A sentence where the networks of the folds score too unlike to be judged together."""
        if self.controls_apart is None or self.controls_apart < _FAR_APART:
            return None
        return (
            f"The networks of the folds do not score alike: in {100 * self.controls_apart:.0f} % of the pairs of "
            "controls of two of them, that of the same one is the higher. Figures over all folds, and thresholds that "
            "other folds chose, then say little, and intervals may miss them; judge each fold alone, or train longer."
        )

    def to_json(self) -> dict[str, object]:
        """All of it, for `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunSpread:
    """Several runs on the same breasts.

    Attributes:
        names: of the runs.
        n: breasts that all of them scored.
        aucs: of each run.
        spread: of the AUCs.
        rank_correlation: Spearman's, the mean over pairs of runs; None where all scores of a run are equal.
        lowest_rank_correlation: of any pair.
        target: what each run's threshold was chosen for, on these scores.
        thresholds: of each run, None where it has none.
        calls_that_change: the share of breasts that some of the runs call and others do not.
        calls_of_cases_that_change: the same of the cases.
    """

    names: tuple[str, ...]
    n: int
    aucs: tuple[Estimate, ...]
    spread: Spread | None
    rank_correlation: float | None
    lowest_rank_correlation: float | None
    target: str
    thresholds: tuple[float | None, ...]
    calls_that_change: Estimate
    calls_of_cases_that_change: Estimate

    def to_json(self) -> dict[str, object]:
        """All of it, for `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SamplingDistribution:
    """What a figure would be with other patients: the quantiles of its replicates, (share, value) each."""

    name: str
    value: float | None
    mean: float | None
    standard_deviation: float | None
    quantiles: tuple[tuple[float, float], ...]
    n_replicates: int
    n_undefined: int
    reason: str | None


def spread_over_folds(sample: LevelSample, *, confidence: float = 0.95) -> FoldSpread:
    """The AUC of each fold of a sample and their spread; folds of one class have the reason in place of an AUC.

    Raises:
        UserInputError: a score has no fold, or the confidence is not in (0, 1).
    """
    n_without = sample.rows["fold"].null_count()
    if n_without:
        raise UserInputError(
            f"folds: {n_without:,} of {sample.rows.height:,} {sample.level}s have no fold, expected one each; take the "
            "scores of a run"
        )
    numbers = sample.rows["fold"].to_numpy()
    folds = []
    for fold in np.unique(numbers).tolist():
        own = numbers == fold
        measure = delong_auc(sample.scores[own], sample.outcomes[own], sample.patients[own], confidence=confidence)
        folds.append(FoldAuc(fold, int(own.sum()), int(sample.outcomes[own].sum()), measure))
    measured = [fold.auc for fold in folds if fold.auc.value is not None]
    errors = [each.standard_error for each in measured if each.standard_error is not None]
    enough = len(measured) >= _FEWEST
    return FoldSpread(
        folds=tuple(folds),
        spread=_spread([each.value for each in measured if each.value is not None]),
        by_chance=float(np.sqrt(np.mean(np.square(errors)))) if enough and len(errors) == len(measured) else None,
        controls_apart=_part_controls(sample.scores[~sample.outcomes], numbers[~sample.outcomes]),
        reason=None if enough else f"undefined: {len(measured)} of {len(folds)} folds have an AUC, needs {_FEWEST}",
    )


def _part_controls(scores: Floats, folds: Indices) -> float | None:
    """The greatest share of pairs of controls of two folds in which that of one is higher, a tie counting half."""
    by_fold = [scores[folds == fold] for fold in np.unique(folds)]
    shares = [
        auc(np.concatenate(pair), np.repeat([True, False], [len(each) for each in pair]))
        for pair in itertools.combinations(by_fold, 2)
    ]
    return max((max(share, 1 - share) for share in shares), default=None)


def spread_over_runs(
    runs: Mapping[str, LevelSample],
    *,
    target: Target,
    settings: BootstrapSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> RunSpread:
    """How much several runs on the same breasts, as with other seeds, agree; thresholds are held in the replicates.

    Raises:
        UserInputError: fewer than two runs.
        TableError: as `cross_readers`.
        UndefinedMetricError: there is no case or no control.
    """
    if len(runs) < _FEWEST:
        raise UserInputError(f"runs: found {len(runs)}, expected {_FEWEST} or more, as with other seeds")
    study = cross_readers(runs)
    thresholds = [_threshold(own, study, target) for own in study.ratings]
    calls = np.stack([own >= limit for own, limit in zip(study.ratings, thresholds, strict=True)])  # (run, n)
    has_all = not np.isnan(thresholds).any()  # of nothing, a NaN calls none
    changes: Outcomes = (calls != calls[0]).any(axis=0)
    values, replicates = _bootstrap_runs(study, changes, settings, advance)
    if not has_all:
        values[-2:] = replicates[:, -2:] = np.nan
    figures = [
        estimate(
            value,
            column,
            confidence=settings.confidence,
            if_undefined="undefined: a run has no threshold for the target",
            if_no_interval=why_no_interval(study.outcomes, study.patients),
        )
        for value, column in zip(values, replicates.T, strict=True)
    ]
    correlations = _correlate(study.ratings)
    return RunSpread(
        names=study.names,
        n=len(study.outcomes),
        aucs=tuple(figures[:-2]),
        spread=_spread([figure.value for figure in figures[:-2] if figure.value is not None]),
        rank_correlation=float(np.mean(correlations)) if correlations else None,
        lowest_rank_correlation=min(correlations, default=None),
        target=target.name,
        thresholds=tuple(None if np.isnan(limit) else limit for limit in thresholds),
        calls_that_change=figures[-2],
        calls_of_cases_that_change=figures[-1],
    )


def sampling_distributions(  # noqa: PLR0913  # scores and outcomes, and the rest by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    settings: BootstrapSettings,
    targets: Sequence[Target] = (Target("f1"),),
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[SamplingDistribution, ...]:
    """That of the pF1, then that of the threshold that each target gets, chosen anew in each replicate.

    Raises:
        UserInputError: shapes differ, or a score is not finite.
    """
    names = ["pf1", *(f"threshold of {target.name}" for target in targets)]
    reason = why_undefined(outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        return tuple(SamplingDistribution(name, None, None, None, (), 0, 0, reason) for name in names)
    ranking = rank(scores, outcomes, patients)
    folded = fold_scores(scores, outcomes, folds=np.zeros(len(scores), np.intp), columns=patients)

    def statistic(counts: Floats) -> Floats:
        thresholds = folded.threshold_at(folded.choose(folded.weigh(counts)[0], targets))  # (replicate, target)
        return np.column_stack([ranking.probabilistic_f1(counts), thresholds])

    replicates = bootstrap_over_patients(
        statistic, patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )
    values = statistic(np.ones((1, int(patients.max()) + 1)))[0]
    without = why_no_interval(outcomes, patients)
    return tuple(
        _distribute(name, value, column, without)
        for name, value, column in zip(names, values, replicates.T, strict=True)
    )


def _spread(values: Sequence[float]) -> Spread | None:
    if len(values) < _FEWEST:
        return None
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)), min(values), max(values))


def _threshold(scores: Floats, study: ReaderStudy, target: Target) -> float:
    """The threshold of a run for the target, NaN where it has none."""
    n = len(scores)
    folded = fold_scores(scores, study.outcomes, folds=np.zeros(n, np.intp), columns=np.arange(n))
    return float(folded.threshold_at(folded.choose(folded.weigh(np.ones((1, n)))[0], [target]))[0, 0])


def _bootstrap_runs(
    study: ReaderStudy, changes: Outcomes, settings: BootstrapSettings, advance: Callable[[int], None]
) -> tuple[Floats, Floats]:
    """The AUC of each run, then the share of calls that change, of all and of cases: of the sample, of replicates."""
    rankings = [rank(own, study.outcomes, study.patients) for own in study.ratings]
    n_patients = int(study.patients.max()) + 1
    kinds = (changes, np.ones_like(changes), changes & study.outcomes, study.outcomes)
    sums = np.stack([np.bincount(study.patients[kind], minlength=n_patients) for kind in kinds], axis=1)

    def statistic(counts: Floats) -> Floats:
        n_changes, n, n_changes_of_cases, n_cases = (counts @ sums).T  # (replicate,) each
        with np.errstate(invalid="ignore"):  # a replicate without cases
            shares = n_changes / n, n_changes_of_cases / n_cases
        return np.column_stack([*(ranking.auc(counts) for ranking in rankings), *shares])

    replicates = bootstrap_over_patients(
        statistic, study.patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )
    return statistic(np.ones((1, n_patients)))[0], replicates


def _correlate(ratings: Floats) -> list[float]:
    """Spearman's rank correlation of each pair of runs, a tie sharing its ranks; none where a run has one score."""
    ranks = rankdata(ratings, axis=1) - (ratings.shape[1] + 1) / 2  # (run, n), of mean 0
    norms = np.sqrt((ranks**2).sum(axis=1))
    if not norms.all():
        return []
    correlations = ranks @ ranks.T / np.outer(norms, norms)  # (run, run)
    return [float(correlations[pair]) for pair in itertools.combinations(range(len(ratings)), 2)]


def _distribute(name: str, value: float, replicates: Floats, without: str | None) -> SamplingDistribution:
    defined = replicates[~np.isnan(replicates)]
    reason = "undefined: no threshold reaches the target in this sample" if np.isnan(value) else without
    n, n_undefined = len(replicates), len(replicates) - len(defined)
    own = None if np.isnan(value) else float(value)
    if without is not None or not len(defined):
        return SamplingDistribution(name, own, None, None, (), n, n_undefined, reason)
    quantiles = tuple(zip(QUANTILES, np.quantile(defined, QUANTILES).tolist(), strict=True))
    return SamplingDistribution(
        name=name,
        value=own,
        mean=float(defined.mean()),
        standard_deviation=float(defined.std(ddof=1)) if len(defined) > 1 else None,
        quantiles=quantiles,
        n_replicates=n,
        n_undefined=n_undefined,
        reason=reason,
    )
