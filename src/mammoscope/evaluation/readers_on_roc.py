"""Readers on the ROC curve: where each of them stands, where they stand on average, and the model beside them.

A reader who gives calls has a point, a reader who gives grades also a curve. The average curve is vertical, the mean of
their sensitivities at each false positive rate, and the area under it is the mean of their areas, which is what Chen &
Samuelson 2014 (doi:10.1259/bjr.20140016) ask of an average curve. The model is read off its own curve at each reader's
specificity, and at each reader's sensitivity, between two thresholds in a straight line.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    percentile_band,
    why_no_interval,
)
from mammoscope.evaluation.discrimination import Ranking, rank, roc_curve, why_undefined
from mammoscope.evaluation.headline import ROC_RATES, RocBand
from mammoscope.evaluation.multireader import GroupMean, Readers, compare_with_readers, mean_of_readers
from mammoscope.evaluation.reader_study import ReaderStudy

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

NO_CUT = "undefined: a reader who gives grades has no calls without a cut; name one"
NO_MODEL = "undefined: no model stands beside the readers"
_CALLS_ONLY = (
    "how far the AUC of the scores is above the readers' is undefined: a reader gave calls only, whose area under one "
    "point is no match for that under a whole curve"
)
_ROUNDING = 1e-9  # where a curve rises straight up at a rate of 0.1, 1 - 0.9 is 0.09999999999999998
# what is measured for each reader, in this order
_OF_READER = (
    "sensitivity",
    "specificity",
    "model_sensitivity",
    "model_specificity",
    "sensitivity_above",
    "specificity_above",
    "auc",
)


@dataclass(frozen=True, slots=True)
class ReaderPoints:
    """The corners of a reader's ROC curve: the rates at each of the grades as a cut, the strictest first."""

    cut: tuple[float, ...]
    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ReaderOnRoc:
    """One reader, and the model at her specificity and at her sensitivity; `…_above`: the model above the reader.

    `curve` is None of a reader who gave calls only.
    """

    name: str
    sensitivity: Estimate
    specificity: Estimate
    model_sensitivity: Estimate
    model_specificity: Estimate
    sensitivity_above: Estimate
    specificity_above: Estimate
    auc: Estimate
    curve: ReaderPoints | None


@dataclass(frozen=True, slots=True)
class ReadersOnRoc:
    """Every reader, their average, and the model beside them.

    The means, and how far the model lies above the readers on average, are of readers who stand for others like them
    where `readers` is random. A figure that cannot be given is None, and is explained in `reasons`.
    """

    n: int
    n_cases: int
    n_patients: int
    cut: float | None
    readers: Readers
    each: tuple[ReaderOnRoc, ...]
    mean_sensitivity: GroupMean | None
    mean_specificity: GroupMean | None
    average_curve: RocBand | None
    model_curve: RocBand | None
    sensitivity_above: GroupMean | None
    specificity_above: GroupMean | None
    auc_above: GroupMean | None
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """All of it, for `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is sorted and counted once: calls by patient, rankings of readers and model, and who has calls."""

    n_cases_of: Floats
    n_controls_of: Floats
    found_of: Floats
    passed_of: Floats
    has_calls: NDArray[np.bool_]
    readers: tuple[Ranking, ...]
    model: Ranking | None

    def values(self, counts: Floats) -> Floats:
        """Of each replicate the figures `_OF_READER` of all readers, and two curves, (replicate, value)."""
        n_cases, n_controls = (counts @ of[:, np.newaxis] for of in (self.n_cases_of, self.n_controls_of))
        with np.errstate(invalid="ignore"):  # a replicate without cases, or without controls
            sensitivity, specificity = counts @ self.found_of.T / n_cases, counts @ self.passed_of.T / n_controls
        without = np.where(self.has_calls, 0.0, np.nan)  # (reader,)
        sensitivity, specificity = sensitivity + without, specificity + without  # (replicate, reader)
        weighted = [ranking.weigh(counts) for ranking in self.readers]
        of_readers = np.mean([each.true_positive_rate_at(ROC_RATES) for each in weighted], axis=0)
        of_model = np.full_like(of_readers, np.nan)
        at_theirs = np.full_like(sensitivity, np.nan), np.full_like(specificity, np.nan)
        if self.model is not None:
            own = self.model.weigh(counts)
            of_model = own.true_positive_rate_at(ROC_RATES)
            at_theirs = read_off(*own.corners(), sensitivity=sensitivity, specificity=specificity)
        aucs = np.stack([each.auc() for each in weighted], axis=1)
        above = at_theirs[0] - sensitivity, at_theirs[1] - specificity
        return np.hstack([sensitivity, specificity, *at_theirs, *above, aucs, of_readers, of_model])


def place_readers(
    study: ReaderStudy,
    *,
    settings: BootstrapSettings,
    cut: float | None = None,
    readers: Readers = "random",
    advance: Callable[[int], None] = lambda _: None,
) -> ReadersOnRoc:
    """Where readers and model stand on the ROC curve, with intervals over patients, of differences paired ones.

    Without a case or a control no figure is given, and all of them have the reason.

    Args:
        study: what all of them have read.
        settings: of the bootstrap.
        cut: the grade, in [0, 1], at or above which a reader calls; not needed of readers who gave 0 and 1.
        readers: random ones stand for others like them, and there must be two; fixed ones for themselves.
        advance: hears after each chunk how many replicates it had.

    Raises:
        UserInputError: the cut is not in (0, 1], or there are too few readers.
    """
    if cut is not None and not 0 < cut <= 1:
        raise UserInputError(f"readers: cut is {cut}, expected a grade above 0 and up to 1, on the scale of the scores")
    reason = why_undefined(study.outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        return _without_figures(study, cut, readers, reason)
    prepared = _prepare(study, cut)
    replicates = bootstrap_over_patients(
        prepared.values, study.patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )  # (replicate, value)
    value = prepared.values(np.ones((1, int(study.patients.max()) + 1)))[0]
    n = len(_OF_READER) * len(study.names)
    own = value[:n].reshape(len(_OF_READER), -1)  # (figure, reader)
    own_replicates = replicates[:, :n].reshape(len(replicates), len(_OF_READER), -1)  # (replicate, figure, reader)
    means = {
        name: _mean(name, own[at], own_replicates[:, at], readers=readers, confidence=settings.confidence)
        for at, name in enumerate(_OF_READER)
    }
    curves = _bands(study, value[n:], replicates[:, n:], settings.confidence)
    auc_above, reasons = _compare_aucs(study, readers, settings.confidence)
    return ReadersOnRoc(
        n=len(study.outcomes),
        n_cases=int(study.outcomes.sum()),
        n_patients=int(study.patients.max()) + 1,
        cut=cut,
        readers=readers,
        each=tuple(_describe(study, prepared, own, own_replicates, settings.confidence)),
        mean_sensitivity=means["sensitivity"],
        mean_specificity=means["specificity"],
        average_curve=curves[0],
        model_curve=curves[1],
        sensitivity_above=means["sensitivity_above"],
        specificity_above=means["specificity_above"],
        auc_above=auc_above,
        reasons=(*reasons, *(() if prepared.has_calls.all() else (NO_CUT,))),
    )


def read_off(
    rates: Floats, sensitivities: Floats, *, sensitivity: Floats, specificity: Floats
) -> tuple[Floats, Floats]:
    """A curve's sensitivity at given specificities, and its specificity at given sensitivities, (replicate, n) each.

    Where the curve rises straight up, it is its highest point, and where it runs level, its leftmost.

    Args:
        rates: false positive rates of the corners, ascending, (replicate, corner).
        sensitivities: of the corners, likewise.
        sensitivity: where to read the specificity, (replicate, n).
        specificity: where to read the sensitivity, (replicate, n).
    """
    start = np.zeros((len(rates), 1))
    across, up = np.hstack([start, rates]), np.hstack([start, sensitivities])
    read = [
        (
            np.interp(1 - at_specificity + _ROUNDING, x, y),
            1 - np.interp(_ROUNDING - at_sensitivity, -y[::-1], x[::-1]),
        )
        for x, y, at_specificity, at_sensitivity in zip(across, up, specificity, sensitivity, strict=True)
    ]
    return np.stack([each[0] for each in read]), np.stack([each[1] for each in read])


def _without_figures(study: ReaderStudy, cut: float | None, readers: Readers, reason: str) -> ReadersOnRoc:
    nothing = dict.fromkeys(_OF_READER, Estimate(None, None, reason))
    return ReadersOnRoc(
        n=len(study.outcomes),
        n_cases=int(study.outcomes.sum()),
        n_patients=int(study.patients.max()) + 1,
        cut=cut,
        readers=readers,
        each=tuple(ReaderOnRoc(name=name, curve=None, **nothing) for name in study.names),
        mean_sensitivity=None,
        mean_specificity=None,
        average_curve=None,
        model_curve=None,
        sensitivity_above=None,
        specificity_above=None,
        auc_above=None,
        reasons=(reason,),
    )


def _prepare(study: ReaderStudy, cut: float | None) -> _Prepared:
    has_calls = np.array([cut is not None or set(np.unique(own)) <= {0.0, 1.0} for own in study.ratings])
    calls = study.ratings >= (1.0 if cut is None else cut)  # (reader, n)
    cases, patients = study.outcomes, study.patients

    def count(kind: Outcomes) -> Floats:
        return np.bincount(patients[kind], minlength=int(patients.max()) + 1).astype(np.float64)  # (patient,)

    return _Prepared(
        n_cases_of=count(cases),
        n_controls_of=count(~cases),
        found_of=np.stack([count(own & cases) for own in calls]),
        passed_of=np.stack([count(~own & ~cases) for own in calls]),
        has_calls=has_calls,
        readers=tuple(rank(own, cases, patients) for own in study.ratings),
        model=None if study.model is None else rank(study.model, cases, patients),
    )


def _mean(name: str, figures: Floats, replicates: Floats, *, readers: Readers, confidence: float) -> GroupMean | None:
    """The mean over readers of a figure, (reader,), whose covariance over cases is that of its replicates."""
    defined = replicates[~np.isnan(replicates).any(axis=1)]  # (replicate, reader)
    if np.isnan(figures).any() or len(defined) <= 1:
        return None
    return mean_of_readers(
        name.replace("_", " "),
        figures,
        np.atleast_2d(np.cov(defined, rowvar=False)),
        readers=readers,
        confidence=confidence,
        is_difference=name.endswith("above"),
    )


def _bands(
    study: ReaderStudy, value: Floats, replicates: Floats, confidence: float
) -> tuple[RocBand | None, RocBand | None]:
    """The average curve of the readers, and the curve of the model; None without an interval to draw."""
    if why_no_interval(study.outcomes, study.patients) is not None:
        return None, None
    low, high = percentile_band(replicates, confidence)
    halves = slice(None, len(ROC_RATES)), slice(len(ROC_RATES), None)
    bands = [
        RocBand(tuple(ROC_RATES.tolist()), *(tuple(each[half].tolist()) for each in (value, low, high)))
        for half in halves
    ]
    return bands[0], None if study.model is None else bands[1]


def _compare_aucs(study: ReaderStudy, readers: Readers, confidence: float) -> tuple[GroupMean | None, tuple[str, ...]]:
    """How much higher the AUC of the model is than the mean of the readers'; or why that is not said."""
    if study.model is None:
        return None, (NO_MODEL,)
    if not all(study.are_graded):
        return None, (_CALLS_ONLY,)
    if why_no_interval(study.outcomes, study.patients) is not None:
        return None, (str(why_no_interval(study.outcomes, study.patients)),)
    compared = compare_with_readers(
        study.model,
        study.ratings,
        outcomes=study.outcomes,
        patients=study.patients,
        readers=readers,
        confidence=confidence,
    )
    return compared, ()


def _describe(
    study: ReaderStudy, prepared: _Prepared, figures: Floats, replicates: Floats, confidence: float
) -> list[ReaderOnRoc]:
    without = why_no_interval(study.outcomes, study.patients)
    described = []
    for number, name in enumerate(study.names):
        no_calls = "" if prepared.has_calls[number] else NO_CUT
        estimates = {
            figure: estimate(
                figures[at, number],
                replicates[:, at, number],
                confidence=confidence,
                if_undefined=no_calls or NO_MODEL,
                if_no_interval=without,
            )
            for at, figure in enumerate(_OF_READER)
        }
        described.append(ReaderOnRoc(name=name, curve=_curve(study, number), **estimates))
    return described


def _curve(study: ReaderStudy, number: int) -> ReaderPoints | None:
    if not study.are_graded[number]:
        return None
    curve = roc_curve(study.ratings[number], study.outcomes)
    return ReaderPoints(
        cut=tuple(curve.threshold[1:].tolist()),  # without the one that calls nothing
        false_positive_rate=tuple(curve.false_positive_rate[1:].tolist()),
        sensitivity=tuple(curve.true_positive_rate[1:].tolist()),
    )
