"""What calls mean to a screening programme, from their counts: rates, predictive values, and numbers per 1,000."""

import numpy as np
from numpy.typing import NDArray

from mammoscope.evaluation.prevalence import class_weights

Floats = NDArray[np.float64]

# sensitivity and specificity keep their value at another prevalence; all that follow take that of the target
FIGURES = (
    "sensitivity",
    "specificity",
    "recall_rate",
    "ppv",
    "npv",
    "f1",
    "workload_removed",
    "cancers_detected_per_1000",
    "false_positives_per_1000",
)


def highest_of(figure: str) -> float:
    """The highest value that a figure can have; the lowest of all is 0."""
    return 1000.0 if figure.endswith("per_1000") else 1.0


def figures_of_calls(
    true_positives: Floats, false_positives: Floats, *, n_cases: Floats, n_controls: Floats, prevalence: float | None
) -> dict[str, Floats]:
    """Each of the `FIGURES`, of the shape of the counts of calls; NaN where nothing is there to divide by.

    Args:
        true_positives: how many cases are called, or their weight, such as (replicate, threshold).
        false_positives: how many controls are called.
        n_cases: how many cases there are, of a shape that goes with the others, such as (replicate, 1).
        n_controls: likewise.
        prevalence: the share of cases for which all but sensitivity and specificity are given; None: their own.

    Raises:
        UserInputError: the prevalence is not between 0 and 1.
    """
    weights = class_weights(n_cases, n_controls, prevalence)
    found, false_alarms = weights.case * true_positives, weights.control * false_positives
    cases, controls = weights.case * n_cases, weights.control * n_controls
    called, total = found + false_alarms, cases + controls
    # from the counts, so that nobody left over is 0 and not a matter of rounding
    missed, passed = weights.case * (n_cases - true_positives), weights.control * (n_controls - false_positives)
    with np.errstate(invalid="ignore"):  # 0 / 0; nothing else is ever divided by 0
        recall_rate = called / total
        return {
            "sensitivity": true_positives / n_cases,
            "specificity": (n_controls - false_positives) / n_controls,
            "recall_rate": recall_rate,
            "ppv": found / called,
            "npv": passed / (missed + passed),
            "f1": np.where(cases > 0, 2 * found, np.nan) / (called + cases),
            "workload_removed": 1 - recall_rate,
            "cancers_detected_per_1000": 1000 * found / total,
            "false_positives_per_1000": 1000 * false_alarms / total,
        }
