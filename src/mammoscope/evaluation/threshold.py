"""Operating points: a named threshold, what it was chosen for, and what it does on the scores it was chosen on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.discrimination import best_f1

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, at or above which a score is positive, and the counts that it gave."""

    name: str
    chosen_for: str
    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserInputError(f"operating point {self.name}: threshold is {self.threshold}, expected one in [0, 1]")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and sensitivity; 0 when no case is found."""
        called_or_case = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / called_or_case if called_or_case else 0.0


def measure_at(threshold: float, scores: Floats, outcomes: Outcomes, *, name: str, chosen_for: str) -> OperatingPoint:
    """What a threshold does on scores of shape (image,) with known outcomes, true for a case."""
    positive = scores >= threshold
    return OperatingPoint(
        name=name,
        chosen_for=chosen_for,
        threshold=threshold,
        true_positives=int((positive & outcomes).sum()),
        false_positives=int((positive & ~outcomes).sum()),
        false_negatives=int((~positive & outcomes).sum()),
        true_negatives=int((~positive & ~outcomes).sum()),
    )


def maximal_f1(scores: Floats, outcomes: Outcomes) -> OperatingPoint:
    """The threshold with the highest F1 on these scores, the strictest of equals; on other scores it will do less well.

    Raises:
        UserInputError: shapes differ, or a score is not in [0, 1].
        UndefinedMetricError: there is no case or no control.
    """
    threshold = best_f1(scores, outcomes).threshold
    return measure_at(threshold, scores, outcomes, name="maximal_f1", chosen_for="highest F1 on these very scores")
