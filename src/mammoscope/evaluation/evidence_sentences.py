"""Sentences that model card and CLAIM checklist have in common: of prevalence, operating points, others and readers."""

from collections.abc import Iterator

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.evaluation import Evaluation
from mammoscope.evaluation.multireader import GroupMean
from mammoscope.evaluation.operating_points import CrossFittedPoint, OperatingPoints
from mammoscope.evaluation.report import NamedComparison
from mammoscope.evaluation.run_evidence import RunEvidence, tell_estimate
from mammoscope.pages.page import NO_BREAK_SPACE, format_decimal

_LEAST_P = 0.001  # as it is printed everywhere
_ROUNDING = 1e-9


def format_percent(share: float) -> str:
    """A share in percent, with three digits at the most, since a prevalence of 0.05 % is none of 0.1 %."""
    return f"{100 * share:.3g}{NO_BREAK_SPACE}%"


def name_share(points: OperatingPoints) -> str:
    """At which share of cases the PPV of operating points is given."""
    if points.prevalence is not None:
        return f"a prevalence of {format_percent(points.prevalence)}"
    share = points.n_cases / points.n_breasts if points.n_breasts else 0.0
    return f"the share of cases in the sample, {format_percent(share)}"


def name_levels(evaluation: Evaluation) -> str:
    """The levels that there are: `breasts, exams and images`."""
    *others, last = (f"{level.level}s" for level in evaluation.levels)
    return f"{', '.join(others)} and {last}" if others else last


def name_point(point: CrossFittedPoint) -> str:
    """The name of an operating point for people: `highest F1`, `specificity 90 %`."""
    if point.name == "maximal_f1" or point.wanted is None:
        return "highest F1"
    return f"{point.name.rpartition('_')[0].replace('_', ' ')} {100 * point.wanted:g}{NO_BREAK_SPACE}%"


def tell_outside(points: OperatingPoints | None) -> str | None:
    """Which figures of operating points lie outside of their own interval, and what that means; None where none does.

    It happens where the scores of the folds do not overlap: a threshold of some calls all of another, or none.
    """
    named = [(name_point(point), _list_outside(point)) for point in ([] if points is None else points.points)]
    told = [f"{name} ({', '.join(figures)})" for name, figures in named if figures]
    if not told:
        return None
    return (
        f"A figure lies outside of its own interval at {', '.join(told)}: thresholds that were chosen on some folds do "
        "other things on the others, as where the scores of folds do not overlap. Trust neither these figures nor "
        "their intervals."
    )


def _list_outside(point: CrossFittedPoint) -> list[str]:
    figures = {"sensitivity": point.sensitivity, "specificity": point.specificity, "PPV": point.ppv}
    return [name for name, figure in figures.items() if _is_outside(figure)]


def _is_outside(figure: Estimate) -> bool:
    if figure.value is None or figure.interval is None:
        return False
    return not figure.interval.low - _ROUNDING <= figure.value <= figure.interval.high + _ROUNDING


def list_comparisons(evidence: RunEvidence) -> Iterator[str]:
    """What was found beside other scores and beside readers, a line each, with interval and p."""
    for comparison in evidence.comparisons:
        yield _tell_comparison(comparison)
    readers = evidence.readers
    if readers is None:
        return
    above = {"sensitivity": readers.sensitivity_above, "specificity": readers.specificity_above}
    of_whom = f"of {len(readers.each)} readers" if len(readers.each) > 1 else "of one reader"
    level = evidence.evaluation.main.level
    for name, mean in (above | {"AUC": readers.auc_above}).items():
        if mean is not None:
            on = f"on {readers.n:,} {level}s with {readers.n_cases:,} cases"
            yield f"The scores' {name} above the mean {of_whom}, {on}: {_tell_mean(mean)}"
    yield from readers.reasons


def _tell_comparison(comparison: NamedComparison) -> str:
    result = comparison.result
    delong = result.auc.delong.difference
    by_delong = delong.reason or "no interval"
    if delong.low is not None and delong.high is not None:
        by_delong = f"{format_decimal(delong.low)} to {format_decimal(delong.high)}" + _tell_p(
            result.auc.delong.p_value
        )
    return (
        f"AUC of {comparison.second} above that of {comparison.first}, on {result.n:,} {result.level}s with "
        f"{result.n_cases:,} cases: {tell_estimate(result.auc.bootstrap.difference)}; by DeLong {by_delong}"
    )


def _tell_mean(mean: GroupMean) -> str:
    interval = f"{format_decimal(mean.low)} to {format_decimal(mean.high)}"
    return f"{format_decimal(mean.value)} ({interval}){_tell_p(mean.p)}"


def _tell_p(p_value: float | None) -> str:
    if p_value is None:
        return ""
    return ", p < 0.001" if p_value < _LEAST_P else f", p {p_value:.3f}"
