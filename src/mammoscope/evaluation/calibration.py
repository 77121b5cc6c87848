"""Whether scores are the chances that they say: reliability curve, ECE, Brier score and its parts, Cox's calibration.

A score is calibrated where, of the breasts that have it, that share are cases. The bins hold equal numbers of scores,
because those of screening crowd near 0; scores that are equal stay together.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    why_no_interval,
)
from mammoscope.evaluation.cox import CLIP, CoxRegression, prepare_cox, why_no_slope
from mammoscope.evaluation.discrimination import why_undefined
from mammoscope.evaluation.prevalence import check_prevalence, class_weights, weigh_to_prevalence

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

N_BINS = 10
_NO_MAXIMUM = "undefined: no slope is the likeliest, as with few scores that are nearly equal or nearly parted"
FIGURES = (
    "mean_score",
    "observed_to_expected",
    "calibration_in_the_large",
    "calibration_slope",
    "expected_calibration_error",
    "brier",
    "reliability",
    "resolution",
    "uncertainty",
    "within_bin_variance",
    "within_bin_covariance",
)
# sums of squares: chance adds to them in a sample, and as much again in a replicate
_INFLATED = ("reliability", "resolution")


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Scores from `low` to `high`, their mean, and the share of cases among them; weighed to the target prevalence."""

    low: float
    high: float
    n: int
    n_cases: int
    mean_score: float
    share_of_cases: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """How calibrated scores are, at their own share of cases or at a target prevalence.

    `n_clipped` scores are 0 or 1 or as good as that, and have no logit: for the two figures of Cox they count as 1e-7
    away from it.
    """

    n: int
    n_cases: int
    prevalence: float | None
    n_clipped: int
    mean_score: Estimate
    observed_to_expected: Estimate
    calibration_in_the_large: Estimate
    calibration_slope: Estimate
    expected_calibration_error: Estimate
    brier: Estimate
    reliability: Estimate
    resolution: Estimate
    uncertainty: Estimate
    within_bin_variance: Estimate
    within_bin_covariance: Estimate
    bins: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, object]:
        """The counts and figures, for `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _BinSums:
    """Sums by patient, (patient, moment and class and bin): of 1, the score, its square; of controls, then cases."""

    by_patient: Floats
    n_bins: int

    def of(self, counts: Floats, prevalence: float | None) -> Floats:
        """The sums of each replicate, (replicate, moment, class, bin), weighed to the prevalence."""
        sums = (counts @ self.by_patient).reshape(len(counts), 3, 2, self.n_bins)
        n_controls, n_cases = sums[:, 0].sum(axis=2).T  # (replicate,) each
        weights = class_weights(n_cases, n_controls, prevalence)
        return sums * np.stack([weights.control, weights.case], axis=1)[:, np.newaxis, :, np.newaxis]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is counted once: sums by patient, Cox's regression, and what both give for the sample, in one row."""

    sums: _BinSums
    cox: CoxRegression
    prevalence: float | None
    of_sample: Floats
    fitted: Floats

    def statistic(self, counts: Floats) -> Floats:
        """The `FIGURES`, the shares of the bins, and how far the bins moved from the sample's, (replicate, value)."""
        start = float(self.fitted[0, 0]), float(np.nan_to_num(self.fitted[0, 1], nan=1.0))
        of_cox = self.cox.fit(counts, prevalence=self.prevalence, start=start)
        sums = self.sums.of(counts, self.prevalence)
        moved = _mean_over_bins(sums, np.abs(_gaps(sums) - _gaps(self.of_sample)))  # (replicate,)
        return np.hstack([_figures(sums, of_cox), moved[:, np.newaxis]])

    def estimate(
        self, replicates: Floats, *, confidence: float, if_no_slope: str, if_no_interval: str | None
    ) -> dict[str, Estimate]:
        """Each of the `FIGURES` with its interval."""
        value = _figures(self.of_sample, self.fitted)[0]  # (figure and bin,)
        slope_undefined = if_no_slope or _NO_MAXIMUM
        estimates = {}
        for number, name in enumerate(FIGURES):
            drawn = replicates[:, number]
            estimates[name] = estimate(
                value[number],
                np.clip(2 * value[number] - drawn, 0, 1) if name in _INFLATED else drawn,
                confidence=confidence,
                if_undefined=slope_undefined if name == "calibration_slope" else "undefined: all scores are 0",
                if_no_interval=if_no_interval,
            )
        error = estimates["expected_calibration_error"]
        estimates["expected_calibration_error"] = _widen(error, replicates[:, -1], confidence)
        return estimates


def measure_calibration(  # noqa: PLR0913  # scores and outcomes, and the rest by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    settings: BootstrapSettings,
    prevalence: float | None = None,
    n_bins: int = N_BINS,
    advance: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """The calibration of scores in [0, 1] of shape (breast,), with intervals over patients.

    Without cases or controls each figure has the reason in place of a value. The bins stay those of the sample in all
    replicates. Intervals are percentiles but for the figures that chance inflates. Those of the reliability and the
    resolution are basic ones: as far from ours as the replicates are, on the other side (Davison & Hinkley 1997,
    section 5.2, doi:10.1017/CBO9780511802843). That of the calibration error is as wide to both sides as the bins move
    together in 95 of 100 replicates: the true error cannot lie further off than the true bins do from ours.

    Args:
        scores: of each breast, or image.
        outcomes: of each, true for a case.
        patients: the number of the patient of each, 0 and up, as of `number_patients`.
        settings: of the bootstrap.
        prevalence: the share of cases to judge them for; None: that of the sample.
        n_bins: how many bins there are to be; fewer, where equal scores fill several.
        advance: hears after each chunk how many replicates it had.

    Raises:
        UserInputError: the lists are not of one length, a score is outside [0, 1], there are fewer than 1 bin, or the
            prevalence is not between 0 and 1.
    """
    check_prevalence(prevalence)
    _check(scores, outcomes, patients, n_bins)
    reason = why_undefined(outcomes)
    if reason is not None:
        advance(settings.n_replicates)
        return _assemble(scores, outcomes, prevalence, dict.fromkeys(FIGURES, Estimate(None, None, reason)), ())
    weights = None if prevalence is None else weigh_to_prevalence(outcomes, prevalence)
    bins = number_bins(scores, n_bins, weights)
    prepared = _prepare(scores, outcomes, patients=patients, bins=bins, prevalence=prevalence)
    replicates = bootstrap_over_patients(
        prepared.statistic, patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )
    estimates = prepared.estimate(
        replicates,
        confidence=settings.confidence,
        if_no_slope=why_no_slope(scores, outcomes),
        if_no_interval=why_no_interval(outcomes, patients),
    )
    by_bin = _describe_bins(
        scores,
        outcomes,
        bins=bins,
        patients=patients,
        sums=prepared.of_sample[0],
        shares=replicates[:, len(FIGURES) : -1],
        confidence=settings.confidence,
    )
    return _assemble(scores, outcomes, prevalence, estimates, by_bin)


def number_bins(scores: Floats, n_bins: int, weights: Floats | None = None) -> Indices:
    """The bin of each score, 0 and up without a gap: of equal mass, as near as scores that are equal let them be.

    A distinct score is in the bin that the middle of its mass falls into. `weights` are (n,), 1 where there are none.
    """
    distinct, numbers = np.unique(scores, return_inverse=True)
    mass = np.bincount(numbers, weights, minlength=len(distinct))
    middle = np.cumsum(mass) - mass / 2
    bins = np.minimum(n_bins * middle / mass.sum(), n_bins - 1).astype(np.intp)  # (distinct,)
    return np.unique(bins, return_inverse=True)[1][numbers]


def _check(scores: Floats, outcomes: Outcomes, patients: Indices, n_bins: int) -> None:
    if not len(scores) == len(outcomes) == len(patients):
        lengths = ", ".join(str(len(each)) for each in (scores, outcomes, patients))
        raise UserInputError(f"calibration: found lists of {lengths}, expected three of one length")
    outside = ~((scores >= 0) & (scores <= 1))  # NaN too
    if outside.any():
        raise UserInputError(
            f"calibration: found {int(outside.sum()):,} of {len(scores):,} scores outside [0, 1] or NaN, expected "
            "chances; apply a sigmoid first"
        )
    if n_bins < 1:
        raise UserInputError(f"calibration: found {n_bins} bins, expected 1 or more, such as {N_BINS}")


def _sum_by_patient(scores: Floats, outcomes: Outcomes, patients: Indices, bins: Indices) -> _BinSums:
    n_patients, n_bins = int(patients.max()) + 1, int(bins.max()) + 1
    places = (patients * 2 + outcomes) * n_bins + bins
    moments = [
        np.bincount(places, power, minlength=n_patients * 2 * n_bins).reshape(n_patients, 2 * n_bins)
        for power in (np.ones_like(scores), scores, scores**2)
    ]
    return _BinSums(np.hstack(moments), n_bins)  # (patient, moment and class and bin)


def _prepare(
    scores: Floats, outcomes: Outcomes, *, patients: Indices, bins: Indices, prevalence: float | None
) -> _Prepared:
    sample = np.ones((1, int(patients.max()) + 1))
    fitted = prepare_cox(scores, outcomes, patients, n_points=len(scores)).fit(sample, prevalence=prevalence)
    if why_no_slope(scores, outcomes):
        fitted[:, 1] = np.nan
    sums = _sum_by_patient(scores, outcomes, patients, bins)
    return _Prepared(
        sums=sums,
        cox=prepare_cox(scores, outcomes, patients),
        prevalence=prevalence,
        of_sample=sums.of(sample, prevalence),
        fitted=fitted,
    )


def _figures(sums: Floats, cox: Floats) -> Floats:
    """The `FIGURES`, then the share of cases in each bin, (replicate, figure and bin); NaN without cases or controls.

    The sums of each bin are of weights w, scores f, squares, cases o and scores of cases.
    """
    weight, score, square = (sums[:, moment].sum(axis=1) for moment in range(3))  # (replicate, bin) each
    cases, case_score = sums[:, 0, 1], sums[:, 1, 1]
    total = weight.sum(axis=1, keepdims=True)  # (replicate, 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a bin that is empty in a replicate has no mean
        mean, share = score / weight, cases / weight
    overall = cases.sum(axis=1, keepdims=True) / total
    parts = {
        "mean_score": score,
        "expected_calibration_error": weight * np.abs(_gaps(sums)),
        "brier": square - 2 * case_score + cases,
        "reliability": weight * (mean - share) ** 2,
        "resolution": weight * (share - overall) ** 2,
        "within_bin_variance": square - score * mean,
        "within_bin_covariance": 2 * (case_score - score * share),
    }
    is_one_class = (overall[:, 0] == 0) | (overall[:, 0] == 1)
    figure = {name: np.nansum(part, axis=1) / total[:, 0] for name, part in parts.items()}
    with np.errstate(divide="ignore", invalid="ignore"):  # all scores are 0
        figure["observed_to_expected"] = np.where(score.sum(axis=1) > 0, overall[:, 0] / figure["mean_score"], np.nan)
    figure["uncertainty"] = overall[:, 0] * (1 - overall[:, 0])
    figure["calibration_in_the_large"], figure["calibration_slope"] = cox.T
    figures = np.stack([figure[name] for name in FIGURES], axis=1)  # (replicate, figure)
    return np.hstack([np.where(is_one_class[:, np.newaxis], np.nan, figures), share])


def _gaps(sums: Floats) -> Floats:
    """How far the mean score of each bin lies above its share of cases, (replicate, bin); NaN where it is empty."""
    weight, score = sums[:, 0].sum(axis=1), sums[:, 1].sum(axis=1)
    with np.errstate(invalid="ignore"):
        gaps: Floats = (score - sums[:, 0, 1]) / weight
    return gaps


def _mean_over_bins(sums: Floats, values: Floats) -> Floats:
    """The mean of a value of each bin by its mass, (replicate,)."""
    weight = sums[:, 0].sum(axis=1)  # (replicate, bin)
    mean: Floats = np.nansum(weight * values, axis=1) / weight.sum(axis=1)
    return mean


def _widen(error: Estimate, moved: Floats, confidence: float) -> Estimate:
    if error.value is None or error.interval is None:
        return error
    reach = float(np.nanquantile(moved, confidence))
    return replace(
        error,
        interval=replace(error.interval, low=max(0.0, error.value - reach), high=min(1.0, error.value + reach)),
    )


def _describe_bins(  # noqa: PLR0913  # what was counted, and what was drawn, by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    bins: Indices,
    patients: Indices,
    sums: Floats,
    shares: Floats,
    confidence: float,
) -> tuple[ReliabilityBin, ...]:
    described = []
    for number in range(int(bins.max()) + 1):
        members = bins == number
        weight, score = sums[0, :, number].sum(), sums[1, :, number].sum()
        described.append(
            ReliabilityBin(
                low=float(scores[members].min()),
                high=float(scores[members].max()),
                n=int(members.sum()),
                n_cases=int(outcomes[members].sum()),
                mean_score=float(score / weight),
                share_of_cases=estimate(
                    sums[0, 1, number] / weight,
                    shares[:, number],
                    confidence=confidence,
                    if_undefined="",
                    if_no_interval=why_no_interval(outcomes[members], patients[members]),
                ),
            )
        )
    return tuple(described)


def _assemble(
    scores: Floats,
    outcomes: Outcomes,
    prevalence: float | None,
    estimates: Mapping[str, Estimate],
    bins: tuple[ReliabilityBin, ...],
) -> Calibration:
    return Calibration(
        n=len(scores),
        n_cases=int(outcomes.sum()),
        prevalence=prevalence,
        n_clipped=int(((scores < CLIP) | (scores > 1 - CLIP)).sum()),
        bins=bins,
        **estimates,
    )
