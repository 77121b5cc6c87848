"""The figures of the report, as SVG that takes its colours and fonts from the page, each with its text alternative."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import expit, logit

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.evaluation import ScoreHistogram
from mammoscope.evaluation.headline import LevelResult, RocBand
from mammoscope.evaluation.operating_points import CurveBand, StabilityCurve
from mammoscope.evaluation.run_folder import History
from mammoscope.evaluation.subgroups import GroupingResult, GroupResult
from mammoscope.pages.drawing import (
    CASE,
    CONTROL,
    INK,
    LINES,
    MUTED,
    STYLE,
    WIDTH,
    Dot,
    Figure,
    canvas_of_one,
    canvas_of_two,
    draw_dots,
    draw_shares,
    to_svg,
)

_FEW = 12  # thresholds of a grid between scores that lie close
_SCORES_SHOWN = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def draw_roc(band: RocBand, main: LevelResult) -> Figure:
    """The ROC curve with its pointwise interval."""
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 4.9)
        x = (0.0, *band.false_positive_rate)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        axes.fill_between(x, (0.0, *band.low), (0.0, *band.high), color=CONTROL, alpha=0.18, linewidth=0)
        axes.plot(x, (0.0, *band.true_positive_rate), color=CONTROL, linewidth=2)
        axes.text(0.97, 0.06, _with_interval("AUC", main.auc), ha="right", color=INK, fontsize=11.5)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="False positive rate", ylabel="Sensitivity")
        return Figure("roc", to_svg(canvas, "roc"), _describe_roc(band, main))


def draw_scores(histogram: ScoreHistogram, main: LevelResult) -> Figure:
    """The distribution of scores, cases above and controls below, each as a share of its own number."""
    with mpl.rc_context(STYLE):
        canvas, (upper, lower) = canvas_of_two(WIDTH, 4.9)
        series = ((upper, histogram.n_cases, CASE, "cases"), (lower, histogram.n_controls, CONTROL, "controls"))
        for axes, counts, colour, name in series:
            draw_shares(axes, counts, edges=histogram.edges, colour=colour, label=name)
        upper.tick_params(labelbottom=False)
        lower.set(xlabel=f"Score of the {main.level}")
        return Figure("scores", to_svg(canvas, "scores"), _describe_scores(histogram, main))


def draw_stability(curve: StabilityCurve, threshold: float | None) -> Figure:
    """What any threshold does on all breasts, with pointwise intervals; the dotted line is the given threshold."""
    shares = _as_array(curve.recall_rate.value)
    # from the last threshold that calls all to the first that calls none
    first, last = int(np.searchsorted(-shares, -1, side="right")) - 1, int(np.searchsorted(-shares, 0))
    shown = slice(max(0, first), last + 1)
    bands = {"sensitivity": curve.sensitivity, "specificity": curve.specificity, "F1": curve.f1}
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 3.8)
        x = logit(curve.threshold[shown])
        for (colour, dashes), (name, band) in zip(LINES, bands.items(), strict=False):
            low, value, high = (_as_array(each)[shown] for each in (band.low, band.value, band.high))
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(x, value, color=colour, ls=dashes, lw=1.8, label=name, marker="o" if len(x) < _FEW else "", ms=4)
        if threshold is not None:
            axes.axvline(float(logit(np.clip(threshold, 1e-6, 1 - 1e-6))), color=MUTED, lw=1, ls=(0, (2, 3)))
        axes.set_xticks(*_threshold_ticks(x))
        axes.set(xlim=(x[0], x[-1]), ylim=(-0.01, 1.01), xlabel="Threshold")
        axes.legend(frameon=False, fontsize=10, handlelength=2.6)
        return Figure("stability", to_svg(canvas, "stability"), _describe_stability(curve))


def draw_groups(grouping: GroupingResult, overall: LevelResult) -> Figure | None:
    """The AUC of each group with its interval, against that of all; None when no group has one."""
    measured = [group for group in grouping.groups if group.auc.value is not None]
    if not measured:
        return None
    column = title_of(grouping)
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 0.8 + 0.34 * len(measured))
        dots = [
            Dot(
                f"{group.name} *" if group.is_small else group.name,
                _value(group.auc),
                None if group.auc.interval is None else (group.auc.interval.low, group.auc.interval.high),
            )
            for group in measured
        ]
        draw_dots(axes, dots, reference=_value(overall.auc))
        axes.set(xlim=(_left_edge(measured), 1.005), xlabel=f"AUC of {grouping.level}s by {column}")
        described = "; ".join(f"{group.name} {_with_interval('AUC', group.auc)}" for group in measured)
        name = f"groups-{grouping.column.replace('_', '-')}"
        return Figure(name, to_svg(canvas, name), f"AUC of {grouping.level}s by {column}: {described}.")


def title_of(grouping: GroupingResult) -> str:
    """The column of a grouping, for people."""
    return {"age_years": "age", "difficult_negative": "difficult control"}.get(
        grouping.column, grouping.column.replace("_", " ")
    )


def draw_histories(histories: Sequence[History]) -> tuple[Figure, ...]:
    """Training loss, AUC of held-out breasts and rate after each epoch, a line for each fold; only what was kept."""
    losses = [(history, history.train_loss) for history in histories]
    rates = [(history, history.rate) for history in histories]
    aucs = [(history, history.held_out_auc) for history in histories]
    drawn = [
        _draw_history(losses, name="loss", label="Training loss"),
        _draw_history(aucs, name="held-out", label="AUC of held-out breasts"),
        _draw_history(rates, name="rate", label="Learning rate", form=".3g"),
    ]
    return tuple(figure for figure in drawn if figure is not None)


def _draw_history(
    series: Sequence[tuple[History, tuple[float, ...]]], *, name: str, label: str, form: str = ".3f"
) -> Figure | None:
    if not any(np.isfinite(values).any() for _, values in series):
        return None
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 3.4)
        for number, (history, values) in enumerate(series):
            colour, dashes = LINES[number % len(LINES)]
            axes.plot(history.epochs, values, color=colour, ls=dashes, lw=1.8, label=f"fold {history.fold}")
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=10, handlelength=2.6)
        return Figure(name, to_svg(canvas, name), _describe_history(series, label, form))


def _threshold_ticks(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """Places on an axis of logits, and their scores: round ones, or where scores lie close, those of the grid."""
    round_ones = [score for score in _SCORES_SHOWN if x[0] <= logit(score) <= x[-1]]
    if len(round_ones) > 1:
        return logit(round_ones), [f"{score:g}" for score in round_ones]
    places = x[:: max(1, len(x) // 5)]
    return places, [f"{score:.3g}" for score in expit(places)]


def _with_interval(label: str, figure: Estimate) -> str:
    text = f"{label} {_value(figure):.3f}"
    return text if figure.interval is None else f"{text} ({figure.interval.low:.3f} to {figure.interval.high:.3f})"


def _value(figure: Estimate) -> float:
    return math.nan if figure.value is None else figure.value


def _left_edge(groups: Sequence[GroupResult]) -> float:
    lowest = min(_value(group.auc) if group.auc.interval is None else group.auc.interval.low for group in groups)
    return min(0.49, math.floor(lowest * 10) / 10 - 0.01)


def _describe_roc(band: RocBand, main: LevelResult) -> str:
    at = {rate: float(np.interp(rate, band.false_positive_rate, band.true_positive_rate)) for rate in (0.05, 0.1, 0.2)}
    steps = ", ".join(f"{sensitivity:.2f} at {rate:.0%}" for rate, sensitivity in at.items())
    return (
        f"ROC curve of {main.level}s, {_with_interval('AUC', main.auc)}. Sensitivity by false positive rate: {steps}."
    )


def _describe_scores(histogram: ScoreHistogram, main: LevelResult) -> str:
    parts = []
    for name, counts in (("cases", histogram.n_cases), ("controls", histogram.n_controls)):
        if not sum(counts):
            parts.append(f"no {name}")
            continue
        middle = int(np.searchsorted(np.cumsum(counts), sum(counts) / 2))
        parts.append(
            f"the middle one of {sum(counts):,} {name} lies between {histogram.edges[middle]:.3f} and "
            f"{histogram.edges[middle + 1]:.3f}"
        )
    return f"Distribution of {main.level} scores from 0 to 1: {'; '.join(parts)}."


def _as_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values])


def _describe_stability(curve: StabilityCurve) -> str:
    best = int(np.argmax(_as_array(curve.f1.value)))
    at_best = (curve.sensitivity.value[best], curve.specificity.value[best])
    sensitivity, specificity = (math.nan if value is None else value for value in at_best)
    near = [score for score, f1 in zip(curve.threshold, curve.f1.value, strict=True) if _is_near(f1, curve.f1, best)]
    return (
        f"Sensitivity, specificity and F1 of breasts by threshold. The F1 is highest near {curve.threshold[best]:.3g}, "
        f"with sensitivity {sensitivity:.2f} and specificity {specificity:.2f}, and within a tenth of that from "
        f"{near[0]:.3g} to {near[-1]:.3g}."
    )


def _is_near(f1: float | None, band: CurveBand, best: int) -> bool:
    highest = band.value[best]
    return f1 is not None and highest is not None and f1 >= 0.9 * highest


def _describe_history(series: Sequence[tuple[History, tuple[float, ...]]], label: str, form: str) -> str:
    parts = []
    for history, values in series:
        measured = [value for value in values if math.isfinite(value)]
        if measured:
            parts.append(f"fold {history.fold} from {measured[0]:{form}} to {measured[-1]:{form}}")
    return f"{label} after each epoch: {'; '.join(parts)}."
