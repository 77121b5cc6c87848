"""Operating points by cross-fitting: each threshold is judged on folds that it was not chosen on.

For each fold, a threshold is chosen on the scores of all other folds and judged on this one; the calls of all folds
together give the figures. The threshold for new exams is chosen on the scores of all folds.

The intervals are of what that threshold does on other patients. A replicate of the bootstrap over patients chooses all
thresholds anew and cross-fits its own figures; how far these are from what its own threshold does on the whole sample
is how far ours may be from the truth (the basic bootstrap: Davison & Hinkley 1997, section 5.2,
doi:10.1017/CBO9780511802843). Percentiles of the replicates would not do: each keeps to what was wanted by its choice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    number_patients,
    percentile_band,
    why_no_interval,
)
from mammoscope.evaluation.discrimination import why_undefined
from mammoscope.evaluation.operating_points import (
    OPERATING_POINTS_VERSION,
    Counts,
    CrossFittedPoint,
    CurveBand,
    FoldThreshold,
    OperatingPoints,
    OperatingPointSettings,
    StabilityCurve,
)
from mammoscope.evaluation.scores import list_breasts
from mammoscope.evaluation.screening_figures import FIGURES, figures_of_calls, highest_of
from mammoscope.evaluation.threshold_choice import (
    NONE,
    FoldedScores,
    Indices,
    Tally,
    Target,
    fold_scores,
    join,
    places_at,
)

Floats = NDArray[np.float64]

METHOD = "thresholds cross-fitted over folds; bootstrap over patients that chooses them anew"
CURVE_FIGURES = ("sensitivity", "specificity", "recall_rate", "ppv", "f1")
# even in logits, because the scores of screening crowd near 0
CURVE_THRESHOLDS = expit(np.linspace(-10, 10, 201))
_ONE_FOLD = "undefined: one fold only, so that the threshold could not be judged on another than it was chosen on"


def cross_fit(
    scores: pl.DataFrame,
    settings: OperatingPointSettings,
    bootstrap: BootstrapSettings,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> OperatingPoints:
    """The operating points of out-of-fold scores; `advance` hears of each replicate.

    Breasts are judged, those with a known outcome. Where there is no case, no control, or no threshold that keeps to
    what is wanted, the point has the reason in place of figures.

    Raises:
        TableError: the table breaks the schema, holds neither a breast nor an image, or a score has no fold.
    """
    breasts = list_breasts(scores)
    known = breasts.filter(pl.col("cancer").is_not_null())
    _check_folds(known)
    folds = sorted(known["fold"].unique().to_list())
    reason = why_undefined(known["cancer"].to_numpy())
    if reason is None:
        points, curve = _measure(known, settings, folds=folds, bootstrap=bootstrap, advance=advance)
    else:
        advance(bootstrap.n_replicates)
        points, curve = tuple(_undefined(target, reason, folds) for target in settings.targets), None
    return OperatingPoints(
        schema_version=OPERATING_POINTS_VERSION,
        method=METHOD,
        replicates=bootstrap.n_replicates,
        seed=bootstrap.seed,
        confidence=bootstrap.confidence,
        n_breasts=known.height,
        n_cases=int(known["cancer"].sum()),
        n_patients=known["patient_id"].n_unique(),
        n_undetermined=breasts.height - known.height,
        prevalence=settings.prevalence,
        folds=tuple(folds),
        points=points,
        curve=curve,
    )


def _check_folds(breasts: pl.DataFrame) -> None:
    n_without = breasts["fold"].null_count()
    if n_without:
        raise TableError(
            f"scores: fold is empty for {n_without:,} of {breasts.height:,} breasts, expected the fold that was held "
            "out when each was scored; give the out-of-fold scores of a run"
        )


class _Rows(NamedTuple):
    """For each replicate: the places of the targets' thresholds, the cross-fitted figures, the figures of the curve."""

    places: Indices
    figures: tuple[Floats, ...]
    curve: tuple[Floats, ...]

    def flatten(self) -> Floats:
        """All side by side, (replicate, value)."""
        return np.concatenate([self.places, *self.figures, *self.curve], axis=1)


def _unflatten(values: Floats, n_targets: int) -> _Rows:
    ends = n_targets * np.arange(1, len(FIGURES) + 2)
    places, *figures, curve = np.split(values, ends, axis=1)
    return _Rows(places.astype(np.intp), tuple(figures), tuple(np.split(curve, len(CURVE_FIGURES), axis=1)))


@dataclass(frozen=True, slots=True)
class _Measured:
    """What was measured once on the sample, and in each replicate; why there is no interval, if there is none."""

    folded: FoldedScores
    folds: Sequence[int]
    sample: tuple[Tally, ...]
    value: _Rows
    replicates: _Rows
    confidence: float
    prevalence: float | None
    if_no_interval: str | None

    def estimate(self, value: Floats, replicates: Floats, number: int, *, if_undefined: str) -> Estimate:
        """One of the values of a row, with its interval."""
        return estimate(
            float(value[0, number]),
            replicates[:, number],
            confidence=self.confidence,
            if_undefined=if_undefined,
            if_no_interval=self.if_no_interval,
        )

    def point(self, target: Target, number: int) -> CrossFittedPoint:
        """The operating point of a target, which is the one of that number."""
        by_fold = tuple(self._by_fold(target))
        pairs = zip(FIGURES, self.value.figures, self._pivoted(), strict=True)
        figures = {
            name: self.estimate(value, replicates, number, if_undefined=_why_undefined(by_fold))
            for name, value, replicates in pairs
        }
        return CrossFittedPoint(
            name=target.name,
            chosen_for=target.chosen_for,
            wanted=target.wanted,
            threshold=self.estimate(
                self.folded.threshold_at(self.value.places),
                self.folded.threshold_at(self.replicates.places),
                number,
                if_undefined=f"undefined: {self.folded.why_none(self._whole, target)}",
            ),
            judged_on=_judged_on(self.folds),
            by_fold=by_fold,
            counts=_add_up(by_fold),
            **figures,
        )

    def curve(self) -> StabilityCurve:
        """The figures of the grid of thresholds."""
        bands = {
            name: self._band(value, replicates)
            for name, value, replicates in zip(CURVE_FIGURES, self.value.curve, self.replicates.curve, strict=True)
        }
        return StabilityCurve(threshold=tuple(CURVE_THRESHOLDS.tolist()), **bands)

    def _pivoted(self) -> Iterator[Floats]:
        """What each figure may be, (replicate, target): as far from ours as the replicate's is from its own truth."""
        whole, places = join(self.sample), self.replicates.places
        without = np.where(places == NONE, np.nan, 0.0)
        calls = whole.cases_called(places) + without, whole.controls_called(places) + without
        truth = _figures(*calls, of=whole, prevalence=self.prevalence).values()
        for name, value, replicates, true in zip(
            FIGURES, self.value.figures, self.replicates.figures, truth, strict=True
        ):
            yield np.clip(value - (replicates - true), 0, highest_of(name))

    @property
    def _whole(self) -> Tally:
        return join(self.sample).at_prevalence(self.prevalence)

    def _band(self, value: Floats, replicates: Floats) -> CurveBand:
        low, high = percentile_band(replicates, self.confidence)
        if self.if_no_interval is not None:
            low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
        return CurveBand(value=_to_json(value[0]), low=_to_json(low), high=_to_json(high))

    def _by_fold(self, target: Target) -> Iterator[FoldThreshold]:
        if len(self.folds) == 1:
            yield FoldThreshold(self.folds[0], None, None, "no other fold to choose on")
            return
        for number, fold in enumerate(self.folds):
            others, held_out = _others(self.sample, number, self.prevalence), self.sample[number]
            places = self.folded.choose(others, [target])
            if places[0, 0] == NONE:
                yield FoldThreshold(fold, None, None, f"in the other folds, {self.folded.why_none(others, target)}")
            else:
                yield FoldThreshold(fold, float(self.folded.threshold_at(places)[0, 0]), _count(held_out, places), None)


def _measure(
    known: pl.DataFrame,
    settings: OperatingPointSettings,
    *,
    folds: Sequence[int],
    bootstrap: BootstrapSettings,
    advance: Callable[[int], None],
) -> tuple[tuple[CrossFittedPoint, ...], StabilityCurve]:
    patients, outcomes = number_patients(known["patient_id"].to_list()), known["cancer"].to_numpy()
    numbers = np.searchsorted(folds, known["fold"].to_numpy())
    folded = fold_scores(known["score"].to_numpy(), outcomes, folds=numbers, columns=patients)
    targets = settings.targets
    grid = places_at(folded.thresholds, CURVE_THRESHOLDS)

    def statistic(counts: Floats) -> Floats:
        return _measure_rows(folded, folded.weigh(counts), settings, grid=grid).flatten()

    replicates = bootstrap_over_patients(
        statistic, patients, n_replicates=bootstrap.n_replicates, rng=bootstrap.generator(), advance=advance
    )
    sample = folded.weigh(np.ones((1, int(patients.max()) + 1)))
    measured = _Measured(
        folded=folded,
        folds=folds,
        sample=sample,
        value=_measure_rows(folded, sample, settings, grid=grid),
        replicates=_unflatten(replicates, len(targets)),
        confidence=bootstrap.confidence,
        prevalence=settings.prevalence,
        if_no_interval=why_no_interval(outcomes, patients),
    )
    return tuple(measured.point(target, number) for number, target in enumerate(targets)), measured.curve()


def _measure_rows(
    folded: FoldedScores, tallies: tuple[Tally, ...], settings: OperatingPointSettings, *, grid: Indices
) -> _Rows:
    everyone, prevalence = join(tallies), settings.prevalence
    figures = _figures(*_cross_fitted_calls(folded, tallies, settings), of=everyone, prevalence=prevalence)
    calls = everyone.cases_called(grid), everyone.controls_called(grid)  # (replicate, grid) each
    curve = _figures(*calls, of=everyone, prevalence=prevalence)
    return _Rows(
        places=folded.choose(everyone.at_prevalence(prevalence), settings.targets),  # (replicate, target)
        figures=tuple(figures.values()),
        curve=tuple(curve[name] for name in CURVE_FIGURES),
    )


def _others(tallies: Sequence[Tally], held_out: int, prevalence: float | None) -> Tally:
    """All folds but one, weighed to the prevalence by their own cases and controls."""
    return join([tally for number, tally in enumerate(tallies) if number != held_out]).at_prevalence(prevalence)


def _cross_fitted_calls(
    folded: FoldedScores, tallies: Sequence[Tally], settings: OperatingPointSettings
) -> tuple[Floats, Floats]:
    """The cases and the controls that are called over all folds, each (replicate, target); NaN without a threshold."""
    shape = (tallies[0].n_replicates, len(settings.targets))
    if len(tallies) == 1:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    true_positives, false_positives = np.zeros(shape), np.zeros(shape)
    for number, held_out in enumerate(tallies):
        places = folded.choose(_others(tallies, number, settings.prevalence), settings.targets)
        without = np.where(places == NONE, np.nan, 0.0)
        true_positives += held_out.cases_called(places) + without
        false_positives += held_out.controls_called(places) + without
    return true_positives, false_positives


def _figures(
    true_positives: Floats, false_positives: Floats, *, of: Tally, prevalence: float | None
) -> dict[str, Floats]:
    """The `FIGURES` of calls, each of their shape; NaN where nothing is there to divide by."""
    return figures_of_calls(
        true_positives, false_positives, n_cases=of.n_cases, n_controls=of.n_controls, prevalence=prevalence
    )


def _count(tally: Tally, places: Indices) -> Counts:
    called = int(tally.cases_called(places)[0, 0]), int(tally.controls_called(places)[0, 0])
    return Counts(
        true_positives=called[0],
        false_positives=called[1],
        false_negatives=int(tally.n_cases[0, 0]) - called[0],
        true_negatives=int(tally.n_controls[0, 0]) - called[1],
    )


def _add_up(by_fold: Sequence[FoldThreshold]) -> Counts | None:
    """The counts of all folds, None where one has none."""
    counts = [fold.counts for fold in by_fold if fold.counts is not None]
    if len(counts) < len(by_fold):
        return None
    return Counts(*(sum(column) for column in zip(*map(astuple, counts), strict=True)))


def _why_undefined(by_fold: Sequence[FoldThreshold]) -> str:
    """Why there are no figures; nothing where each fold has its threshold: the highest score of all is called then."""
    if len(by_fold) == 1:
        return _ONE_FOLD
    lacking = next((fold for fold in by_fold if fold.reason is not None), None)
    return "" if lacking is None else f"undefined: no threshold for fold {lacking.fold}: {lacking.reason}"


def _to_json(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _judged_on(folds: Sequence[int]) -> Literal["held-out folds", "same data"]:
    return "same data" if len(folds) == 1 else "held-out folds"


def _undefined(target: Target, reason: str, folds: Sequence[int]) -> CrossFittedPoint:
    nothing = Estimate(None, None, reason)
    return CrossFittedPoint(
        name=target.name,
        chosen_for=target.chosen_for,
        wanted=target.wanted,
        threshold=nothing,
        judged_on=_judged_on(folds),
        by_fold=tuple(FoldThreshold(fold, None, None, reason) for fold in folds),
        counts=None,
        **dict.fromkeys(FIGURES, nothing),
    )
