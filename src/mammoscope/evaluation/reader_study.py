"""Several readers of the same breasts, and a model beside them: what all of them have read, in one order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import number_patients
from mammoscope.evaluation.levels import Level, LevelSample
from mammoscope.evaluation.pairing import pair_samples
from mammoscope.evaluation.scores import IDENTITY_BY_LEVEL

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

MOST_GRADES_OF_CALLS = 2  # two grades are a call and no call; with more, a curve can be drawn


@dataclass(frozen=True, slots=True, eq=False)
class ReaderStudy:
    """What every reader, and the model where there is one, has scored.

    Attributes:
        level: of the scores.
        names: of the readers.
        ratings: in [0, 1], (reader, n).
        model: the scores of the model, (n,), None without one.
        outcomes: (n,), true for a case.
        patients: (n,), the numbers of the patients.
        n_left_out: how many of each reader's own, then of the model's, others have not scored.
    """

    level: Level
    names: tuple[str, ...]
    ratings: Floats
    model: Floats | None
    outcomes: Outcomes
    patients: Indices
    n_left_out: tuple[int, ...]

    @property
    def are_graded(self) -> tuple[bool, ...]:
        """Whether each reader gave more than calls: three grades or more."""
        return tuple(len(np.unique(own)) > MOST_GRADES_OF_CALLS for own in self.ratings)


def cross_readers(readers: Mapping[str, LevelSample], *, model: LevelSample | None = None) -> ReaderStudy:
    """The study of what all readers and the model have in common, matched by id, in the order of the first reader.

    Raises:
        TableError: there is no reader, levels differ, nothing is common to all, or two of them differ in the outcome or
            the patient of something.
    """
    if not readers:
        raise TableError("readers: found none, expected a sample of ratings for each; name their columns")
    samples = [*readers.values(), *([] if model is None else [model])]
    first = _keep_common(samples)
    pairs = [pair_samples(first, sample) for sample in samples]
    scores = np.stack([pair.second for pair in pairs])  # (reader and model, n)
    return ReaderStudy(
        level=first.level,
        names=tuple(readers),
        ratings=scores[: len(readers)],
        model=None if model is None else scores[-1],
        outcomes=pairs[0].outcomes,
        patients=pairs[0].patients,
        n_left_out=tuple(pair.n_only_second for pair in pairs),
    )


def _keep_common(samples: list[LevelSample]) -> LevelSample:
    """The first sample with those of its rows that all others have."""
    first = samples[0]
    key = list(IDENTITY_BY_LEVEL[first.level])
    rows = first.rows
    for sample in samples[1:]:
        if sample.level != first.level:
            raise TableError(f"readers: found scores of {first.level}s and of {sample.level}s, expected one level")
        rows = rows.join(sample.rows.select(key), on=key, how="semi", maintain_order="left")
    if rows.is_empty():
        raise TableError(
            f"readers: no {first.level} was scored by all {len(samples)}, expected the same {first.level}s; are the "
            "ids spelled alike?"
        )
    return replace(
        first,
        rows=rows,
        scores=rows["score"].to_numpy(),
        outcomes=rows["cancer"].to_numpy(),
        patients=number_patients(rows["patient_id"].to_list()),
    )
