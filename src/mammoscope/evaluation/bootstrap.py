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


def _draw_counts(rng: np.random.Generator, n_replicates: int, n_patients: int) -> Floats:
    drawn = rng.integers(0, n_patients, size=(n_replicates, n_patients))
    drawn += np.arange(n_replicates)[:, np.newaxis] * n_patients  # a range of numbers for each replicate
    counts = np.bincount(drawn.ravel(), minlength=n_replicates * n_patients)
    return counts.reshape(n_replicates, n_patients).astype(np.float64)  # (replicate, patient)
