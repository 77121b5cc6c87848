"""Intervals from a bootstrap that resamples patients, not images.

The images of a patient resemble one another, so that one more image of the same patient is not one more observation.
A replicate draws as many patients as there are, with replacement, each with all of her images: a row of counts, one for
each patient (cluster bootstrap: Field & Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

# with one patient the replicates cannot differ in her, and the interval would claim too much
MIN_PATIENTS_FOR_INTERVAL = 2
_CELLS_IN_A_CHUNK = 4_000_000  # 32 MB of float64 for each array of a chunk


# from counts of patients, (replicate, patient), to values, (replicate, value), NaN where one is undefined
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """How intervals are made: the number of replicates, the seed of the generator, and the confidence."""

    n_replicates: int = 2000
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.n_replicates < 1:
            raise UserInputError(f"replicates: found {self.n_replicates}, expected 1 or more, such as 2000")
        if self.seed < 0:
            raise UserInputError(f"seed: found {self.seed}, expected 0 or more")
        if not 0 < self.confidence < 1:
            raise UserInputError(
                f"confidence: found {self.confidence}, expected a number between 0 and 1, such as 0.95"
            )

    def generator(self) -> np.random.Generator:
        """A fresh generator with the seed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, slots=True)
class Interval:
    """The percentile interval of the replicates in which the figure is defined."""

    low: float
    high: float
    n_replicates: int
    n_undefined: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; where one of them is missing, `reason` says why."""

    value: float | None
    interval: Interval | None
    reason: str | None


def number_patients(patient_ids: Sequence[str]) -> Indices:
    """For each image the number of its patient, 0 and up, in the order of the sorted ids."""
    return np.unique(np.asarray(patient_ids, dtype=np.str_), return_inverse=True)[1]


def bootstrap_over_patients(
    statistic: Statistic,
    patients: Indices,
    *,
    n_replicates: int,
    rng: np.random.Generator,
    advance: Callable[[int], None] = lambda _: None,
) -> Floats:
    """The statistic of each replicate, (replicate, value); `advance` hears after each chunk how many it had.

    `patients` holds, for each image, the number of its patient. The way into chunks changes no replicate.
    """
    n_patients = int(patients.max()) + 1
    n_in_a_chunk = max(1, _CELLS_IN_A_CHUNK // len(patients))
    chunks = []
    for start in range(0, n_replicates, n_in_a_chunk):
        size = min(n_in_a_chunk, n_replicates - start)
        chunks.append(statistic(_draw_counts(rng, size, n_patients)))
        advance(size)
    return np.concatenate(chunks)  # (replicate, value)


def percentile_interval(replicates: Floats, confidence: float) -> Interval:
    """The middle part of the replicates, (replicate,), that holds `confidence` of those that are not NaN.

    Raises:
        UserInputError: all replicates are NaN.
    """
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        raise UserInputError(f"interval: none of {len(replicates)} replicates is defined; give more patients")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), n_replicates=len(replicates), n_undefined=len(replicates) - len(defined))


def percentile_band(replicates: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The ends of the percentile interval of each column, (replicate, n) to (n,) each; NaN where none is defined."""
    tail = (1 - confidence) / 2
    undefined = np.isnan(replicates)
    ends = np.full((2, replicates.shape[1]), np.nan)
    whole = ~undefined.any(axis=0)
    ends[:, whole] = np.quantile(replicates[:, whole], [tail, 1 - tail], axis=0)
    for column in np.flatnonzero(~whole & ~undefined.all(axis=0)):
        interval = percentile_interval(replicates[:, column], confidence)
        ends[:, column] = interval.low, interval.high
    return ends[0], ends[1]


def why_no_interval(outcomes: Outcomes, patients: Indices) -> str | None:
    """The sentence that says why scores with these outcomes, true for a case, have no interval; None when they have.

    `patients` holds the number of the patient of each score.
    """
    for of_kind, name in ((outcomes, "cases"), (~outcomes, "controls")):
        n_patients = len(np.unique(patients[of_kind]))
        if n_patients < MIN_PATIENTS_FOR_INTERVAL:
            return f"no interval: {n_patients} patient with {name}, needs {MIN_PATIENTS_FOR_INTERVAL}"
    return None


def estimate(
    value: float, replicates: Floats, *, confidence: float, if_undefined: str, if_no_interval: str | None
) -> Estimate:
    """The figure with the interval of its replicates, (replicate,), in both of which NaN stands for undefined.

    `if_undefined` is the reason to give where the figure itself is NaN, `if_no_interval` where its interval is not to
    be given; None where it is.
    """
    if np.isnan(value):
        return Estimate(None, None, if_undefined)
    if if_no_interval is None and np.isnan(replicates).all():
        if_no_interval = f"no interval: none of {len(replicates):,} replicates is defined"
    if if_no_interval is not None:
        return Estimate(float(value), None, if_no_interval)
    return Estimate(float(value), percentile_interval(replicates, confidence), None)


def estimate_over_patients(
    statistic: Statistic,
    *,
    outcomes: Outcomes,
    patients: Indices,
    settings: BootstrapSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Estimate, ...]:
    """Each value of a statistic with its percentile interval, from counts of patients as for `bootstrap_over_patients`.

    `outcomes` and `patients`, (score,), say whether there are cases and controls of enough patients for an interval.
    """
    value = statistic(np.ones((1, int(patients.max()) + 1)))[0]  # (value,)
    replicates = bootstrap_over_patients(
        statistic, patients, n_replicates=settings.n_replicates, rng=settings.generator(), advance=advance
    )
    without = why_no_interval(outcomes, patients)
    return tuple(
        estimate(each, column, confidence=settings.confidence, if_undefined="", if_no_interval=without)
        for each, column in zip(value, replicates.T, strict=True)
    )


def _draw_counts(rng: np.random.Generator, n_replicates: int, n_patients: int) -> Floats:
    drawn = rng.integers(0, n_patients, size=(n_replicates, n_patients))
    drawn += np.arange(n_replicates)[:, np.newaxis] * n_patients  # a range of numbers for each replicate
    counts = np.bincount(drawn.ravel(), minlength=n_replicates * n_patients)
    return counts.reshape(n_replicates, n_patients).astype(np.float64)  # (replicate, patient)
