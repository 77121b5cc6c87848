"""The evidence that scores and outcomes give: figures with intervals for breasts and images, overall and by group."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    number_patients,
    percentile_interval,
    why_no_interval,
)
from mammoscope.evaluation.discrimination import Ranking, rank, why_undefined
from mammoscope.evaluation.scores import check_scores, list_breasts
from mammoscope.evaluation.threshold import OperatingPoint, maximal_f1

EVALUATION_VERSION = 1
METRICS = ("auc", "average_precision", "pf1")
GROUPINGS = ("site", "machine")
# a curve with fewer points hides the steps at low false positive rates, where screening works
ROC_RATES = np.linspace(0, 1, 201)
HISTOGRAM_EDGES = np.linspace(0, 1, 41)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """The scores of one level (breast or image) in the whole table, or in one group of it, with known outcomes."""

    level: str
    grouped_by: str | None
    group: str | None
    scores: pl.DataFrame
    n_undetermined: int


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What was measured on one sample; `n` counts its scores, breasts or images, with known outcomes."""

    level: str
    grouped_by: str | None
    group: str | None
    n: int
    n_cases: int
    n_images: int
    n_patients: int
    n_undetermined: int
    auc: Estimate
    average_precision: Estimate
    pf1: Estimate

    @property
    def share_of_cases(self) -> float | None:
        """Prevalence in the sample, on which average precision and pF1 depend; None for an empty sample."""
        return self.n_cases / self.n if self.n else None

    def to_json(self) -> dict[str, object]:
        """The counts and figures, for `evaluation.json`."""
        return asdict(self) | {"share_of_cases": self.share_of_cases}


@dataclass(frozen=True, slots=True)
class RocBand:
    """The ROC curve of breasts at given false positive rates, with its pointwise interval."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How many cases and controls have a breast score between one edge and the next."""

    edges: tuple[float, ...]
    n_cases: tuple[int, ...]
    n_controls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was measured on the scores of a run."""

    bootstrap: BootstrapSettings
    breast: SampleResult
    image: SampleResult
    groups: tuple[SampleResult, ...]
    maximal_f1: OperatingPoint | None
    roc: RocBand | None
    histogram: ScoreHistogram

    def grouped_by(self, column: str, *, level: str = "breast") -> tuple[SampleResult, ...]:
        """The results of one level for each site, or for each machine."""
        return tuple(group for group in self.groups if group.grouped_by == column and group.level == level)

    def to_json(self) -> dict[str, object]:
        """The content of `evaluation.json`, which docs/evaluation.md describes."""
        return {
            "schema_version": EVALUATION_VERSION,
            "bootstrap": {"method": "percentile bootstrap over patients", **asdict(self.bootstrap)},
            "breast": self.breast.to_json(),
            "image": self.image.to_json(),
            **{f"by_{column}": self._groups_to_json(column) for column in GROUPINGS},
            "maximal_f1": self._maximal_f1_to_json(),
            "roc": None if self.roc is None else asdict(self.roc),
            "histogram": asdict(self.histogram),
        }

    def _groups_to_json(self, column: str) -> list[dict[str, object]]:
        return [group.to_json() for group in self.groups if group.grouped_by == column]

    def _maximal_f1_to_json(self) -> dict[str, object]:
        if self.maximal_f1 is None:
            return {"value": None, "reason": self.breast.auc.reason}
        return {"value": self.maximal_f1.f1, **asdict(self.maximal_f1)}


def split_into_samples(scores: pl.DataFrame) -> tuple[Sample, ...]:
    """The samples to measure: all breasts, all images, then both for each site and for each machine that is named.

    Raises:
        TableError: the table breaks the schema, has no row of an image, or a breast has two outcomes.
    """
    check_scores(scores)
    images = scores.filter(pl.col("level") == "image")
    if images.is_empty():
        raise TableError("scores: found no row of level image, expected one for each image")
    table_by_level = {"breast": list_breasts(scores), "image": images}
    samples = [_sample(level, None, None, table) for level, table in table_by_level.items()]
    for column in GROUPINGS:
        for level, table in table_by_level.items():
            samples.extend(_sample(level, column, group, rows) for group, rows in _groups(table, column))
    return tuple(samples)


def evaluate_samples(
    samples: tuple[Sample, ...],
    settings: BootstrapSettings,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """The evaluation of the samples of `split_into_samples`; `advance` hears of each replicate of each sample."""
    generators = settings.generator().spawn(len(samples))  # one for each, so that one group more changes no other
    measured = [_measure(sample, settings, own, advance) for sample, own in zip(samples, generators, strict=True)]
    (breast, roc), (image, _), *groups = measured
    scores, outcomes = _columns(samples[0])
    return Evaluation(
        bootstrap=settings,
        breast=breast,
        image=image,
        groups=tuple(result for result, _ in groups),
        maximal_f1=None if roc is None else maximal_f1(scores, outcomes),
        roc=roc,
        histogram=ScoreHistogram(
            edges=tuple(HISTOGRAM_EDGES.tolist()),
            n_cases=tuple(np.histogram(scores[outcomes], HISTOGRAM_EDGES)[0].tolist()),
            n_controls=tuple(np.histogram(scores[~outcomes], HISTOGRAM_EDGES)[0].tolist()),
        ),
    )


def evaluate_scores(scores: pl.DataFrame, settings: BootstrapSettings) -> Evaluation:
    """The evaluation of a table of scores; equal settings give equal intervals.

    Raises:
        TableError: the table breaks the schema, has no row of an image, or a breast has two outcomes.
    """
    return evaluate_samples(split_into_samples(scores), settings)


def _groups(table: pl.DataFrame, column: str) -> Iterator[tuple[str | None, pl.DataFrame]]:
    if column not in table.columns or table[column].is_null().all():
        return
    names = table[column].unique().to_list()
    for name in sorted(names, key=_natural_order):
        yield name, table.filter(pl.col(column).eq_missing(pl.lit(name, pl.String)))


def _natural_order(name: str | None) -> tuple[bool, int, str]:
    """Numbers by size, then texts, then what is not recorded."""
    if name is None:
        return True, 0, ""
    return False, int(name) if name.isdecimal() else 2**63, name


def _sample(level: str, grouped_by: str | None, group: str | None, scores: pl.DataFrame) -> Sample:
    known = scores.filter(pl.col("cancer").is_not_null())
    return Sample(level, grouped_by, group, known, n_undetermined=scores.height - known.height)


def _columns(sample: Sample) -> tuple[Floats, NDArray[np.bool_]]:
    return sample.scores["score"].to_numpy(), sample.scores["cancer"].to_numpy()


def _measure(
    sample: Sample, settings: BootstrapSettings, rng: np.random.Generator, advance: Callable[[int], None]
) -> tuple[SampleResult, RocBand | None]:
    scores, outcomes = _columns(sample)
    reason = why_undefined(outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        return _result(sample, dict.fromkeys(METRICS, Estimate(None, None, reason))), None
    patients = number_patients(sample.scores["patient_id"].to_list())
    ranking = rank(scores, outcomes, patients)
    rates = ROC_RATES if sample.level == "breast" and sample.group is None else ROC_RATES[:0]

    def statistic(counts: Floats) -> Floats:
        return _values(ranking, counts, rates)

    value = statistic(np.ones((1, int(patients.max()) + 1)))[0]  # (metric and rate,)
    replicates = bootstrap_over_patients(
        statistic, patients, n_replicates=settings.n_replicates, rng=rng, advance=advance
    )  # (replicate, metric and rate)
    n_metrics = len(METRICS)
    reason = why_no_interval(outcomes, patients)
    estimates = _estimates(value[:n_metrics], replicates[:, :n_metrics], reason, settings.confidence)
    roc = _roc_band(value[n_metrics:], replicates[:, n_metrics:], settings.confidence) if len(rates) else None
    return _result(sample, estimates), roc


def _values(ranking: Ranking, counts: Floats, rates: Floats) -> Floats:
    weighted = ranking.weigh(counts)
    metrics = (weighted.auc(), weighted.average_precision(), weighted.probabilistic_f1())
    curve = weighted.true_positive_rate_at(rates) if len(rates) else np.empty((len(counts), 0))
    return np.column_stack([*metrics, curve])  # (replicate, metric and rate)


def _estimates(values: Floats, replicates: Floats, reason: str | None, confidence: float) -> dict[str, Estimate]:
    return {
        name: Estimate(
            value=float(value),
            interval=None if reason is not None else percentile_interval(column, confidence),
            reason=reason,
        )
        for name, value, column in zip(METRICS, values, replicates.T, strict=True)
    }


def _roc_band(curve: Floats, replicates: Floats, confidence: float) -> RocBand:
    tail = (1 - confidence) / 2
    defined = replicates[~np.isnan(replicates).any(axis=1)]
    low, high = np.quantile(defined, [tail, 1 - tail], axis=0) if len(defined) else (curve, curve)
    return RocBand(
        false_positive_rate=tuple(ROC_RATES.tolist()),
        true_positive_rate=tuple(curve.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _result(sample: Sample, estimates: dict[str, Estimate]) -> SampleResult:
    return SampleResult(
        level=sample.level,
        grouped_by=sample.grouped_by,
        group=sample.group,
        n=sample.scores.height,
        n_cases=int(sample.scores["cancer"].sum()),
        n_images=int(sample.scores["n_images"].sum()),
        n_patients=sample.scores["patient_id"].n_unique(),
        n_undetermined=sample.n_undetermined,
        **estimates,
    )
