"""The figures of one level: how well its scores tell cases from controls, each with an interval over patients."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    percentile_band,
    why_no_interval,
)
from mammoscope.evaluation.delong import DeLongEstimate, delong_auc
from mammoscope.evaluation.discrimination import HIGHEST_RATE, Ranking, probabilistic_f1, rank, why_undefined
from mammoscope.evaluation.levels import Level, LevelSample
from mammoscope.evaluation.prevalence import FiguresAtPrevalence, measure_at_prevalence

METRICS = ("auc", "partial_auc", "average_precision", "pf1", "best_f1")
# a curve with fewer points hides the steps at low false positive rates, where screening works
ROC_RATES = np.linspace(0, 1, 201)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LevelResult:
    """What was measured at one level, and by which rule its scores came from the table.

    `n` counts the scores with a known outcome. `at_prevalence` is None where no target prevalence was given.
    """

    level: Level
    rule: str
    n: int
    n_cases: int
    n_images: int
    n_patients: int
    n_undetermined: int
    auc: Estimate
    auc_delong: DeLongEstimate
    partial_auc: Estimate
    average_precision: Estimate
    pf1: Estimate
    best_f1: Estimate
    at_prevalence: FiguresAtPrevalence | None

    @property
    def share_of_cases(self) -> float | None:
        """Prevalence in the sample, on which average precision, pF1 and F1 depend; None for an empty sample."""
        return self.n_cases / self.n if self.n else None

    def to_json(self) -> dict[str, object]:
        """The counts and figures, for `evaluation.json`."""
        return asdict(self) | {"share_of_cases": self.share_of_cases, "partial_auc_highest_rate": HIGHEST_RATE}


@dataclass(frozen=True, slots=True)
class RocBand:
    """The ROC curve at given false positive rates, with its pointwise interval."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def measure_level(
    sample: LevelSample,
    settings: BootstrapSettings,
    *,
    prevalence: float | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[LevelResult, RocBand | None]:
    """The figures of a level and its ROC curve, without which there are no cases or no controls.

    With a target prevalence, what depends on it is given there too. `advance` hears of each replicate, once for the
    figures and once more for a prevalence.

    Raises:
        UserInputError: the prevalence is not between 0 and 1.
    """
    reason = why_undefined(sample.outcomes)
    at_prevalence = _measure_at_prevalence(sample, settings, prevalence, advance)
    delong = delong_auc(sample.scores, sample.outcomes, sample.patients, confidence=settings.confidence)
    if reason is not None:
        advance(settings.n_replicates)
        nothing = dict.fromkeys(METRICS, Estimate(None, None, reason))
        return _result(sample, nothing, delong, at_prevalence), None
    ranking = rank(sample.scores, sample.outcomes, sample.patients)

    def statistic(counts: Floats) -> Floats:
        return _values(ranking, counts)

    value = statistic(np.ones((1, int(sample.patients.max()) + 1)))[0]  # (metric and rate,)
    replicates = bootstrap_over_patients(
        statistic, sample.patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )  # (replicate, metric and rate)
    without = why_no_interval(sample.outcomes, sample.patients)
    estimates = {
        name: estimate(each, column, confidence=settings.confidence, if_undefined="", if_no_interval=without)
        for name, each, column in zip(METRICS, value[: len(METRICS)], replicates.T, strict=False)
    }
    exact = probabilistic_f1(sample.scores, sample.outcomes)  # to the last digit of the competition
    estimates["pf1"] = replace(estimates["pf1"], value=exact)
    curve, bands = value[len(METRICS) :], replicates[:, len(METRICS) :]
    return _result(sample, estimates, delong, at_prevalence), _roc_band(curve, bands, settings.confidence)


def _values(ranking: Ranking, counts: Floats) -> Floats:
    """The metrics and the ROC curve of each replicate, (replicate, metric and rate)."""
    weighted = ranking.weigh(counts)
    metrics = (
        weighted.auc(),
        weighted.partial_auc(HIGHEST_RATE),
        weighted.average_precision(),
        weighted.probabilistic_f1(),
        weighted.best_f1(),
    )
    return np.column_stack([*metrics, weighted.true_positive_rate_at(ROC_RATES)])


def _measure_at_prevalence(
    sample: LevelSample, settings: BootstrapSettings, prevalence: float | None, advance: Callable[[int], None]
) -> FiguresAtPrevalence | None:
    if prevalence is None:
        return None
    return measure_at_prevalence(
        sample.scores,
        sample.outcomes,
        patients=sample.patients,
        prevalence=prevalence,
        settings=settings,
        advance=advance,
    )


def _roc_band(curve: Floats, replicates: Floats, confidence: float) -> RocBand:
    low, high = percentile_band(replicates, confidence)
    if np.isnan(low).any():  # no replicate has cases and controls
        low, high = curve, curve
    rates, points, lows, highs = (tuple(each.tolist()) for each in (ROC_RATES, curve, low, high))
    return RocBand(rates, points, lows, highs)


def _result(
    sample: LevelSample,
    estimates: dict[str, Estimate],
    delong: DeLongEstimate,
    at_prevalence: FiguresAtPrevalence | None,
) -> LevelResult:
    return LevelResult(
        level=sample.level,
        rule=sample.rule,
        n=sample.rows.height,
        n_cases=int(sample.outcomes.sum()),
        n_images=int(sample.rows["n_images"].sum()),
        n_patients=sample.rows["patient_id"].n_unique(),
        n_undetermined=sample.n_undetermined,
        auc_delong=delong,
        at_prevalence=at_prevalence,
        **estimates,
    )
