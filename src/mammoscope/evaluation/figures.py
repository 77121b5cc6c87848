"""The figures of the report, as SVG that takes its colours and fonts from the page, each with its text alternative."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from mammoscope.evaluation.evaluation import RocBand, SampleResult, ScoreHistogram
from mammoscope.evaluation.run_folder import History

# stand-ins, each replaced by a variable of the page's style sheet, so that a figure follows light and dark
_INK, _MUTED, _RULE = "#010101", "#020202", "#030303"
_CASE, _CONTROL, _THIRD, _FOURTH = "#040404", "#050505", "#060606", "#070707"
_VARIABLE_BY_COLOUR = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _RULE: "var(--rule)",
    _CASE: "var(--case)",
    _CONTROL: "var(--control)",
    _THIRD: "var(--third)",
    _FOURTH: "var(--fourth)",
}
_STYLE: dict[Any, Any] = {  # matplotlib's types list each of its keys as a literal
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched, and set in the page's font
    "svg.hashsalt": "mammoscope",  # the same figure gives the same bytes
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "text.color": _INK,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "round",
}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_LINES = list(zip((_CONTROL, _CASE, _THIRD, _FOURTH), _DASHES, strict=True))  # told apart without colour too
_WIDTH = 5.4  # inches: at this width the letters are readable on a phone, and not coarse in half a page


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the page: inline SVG, and the sentence for those who do not see it."""

    name: str
    svg: str
    alternative: str


def draw_roc(band: RocBand, breast: SampleResult) -> Figure:
    """The ROC curve of breasts with its pointwise interval."""
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(_WIDTH, 4.9)
        x = (0.0, *band.false_positive_rate)
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (2, 3)))
        axes.fill_between(x, (0.0, *band.low), (0.0, *band.high), color=_CONTROL, alpha=0.18, linewidth=0)
        axes.plot(x, (0.0, *band.true_positive_rate), color=_CONTROL, linewidth=2)
        axes.text(0.97, 0.06, _with_interval("AUC", breast), ha="right", color=_INK, fontsize=11.5)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="False positive rate", ylabel="Sensitivity")
        return Figure("roc", _to_svg(canvas, "roc"), _describe_roc(band, breast))


def draw_scores(histogram: ScoreHistogram) -> Figure:
    """The distribution of breast scores, cases above and controls below, each as a share of its own number."""
    with mpl.rc_context(_STYLE):
        canvas, (upper, lower) = _canvas_of_two(_WIDTH, 4.9)
        edges = np.array(histogram.edges)
        series = ((upper, histogram.n_cases, _CASE, "cases"), (lower, histogram.n_controls, _CONTROL, "controls"))
        for axes, counts, colour, name in series:
            share = 100 * np.array(counts) / max(1, sum(counts))
            axes.bar(edges[:-1], share, width=np.diff(edges) * 0.86, align="edge", color=colour, linewidth=0)
            axes.set(xlim=(0, 1), ylim=(0, 1.08 * max(1.0, float(share.max()))), ylabel="%")
            axes.grid(visible=False, axis="x")
            axes.text(0.985, 0.9, f"{sum(counts):,} {name}", transform=axes.transAxes, ha="right", va="top")
        upper.tick_params(labelbottom=False)
        lower.set(xlabel="Score of the breast")
        return Figure("scores", _to_svg(canvas, "scores"), _describe_scores(histogram))


def draw_groups(groups: Sequence[SampleResult], overall: SampleResult, *, name: str) -> Figure | None:
    """The AUC of each group with its interval, against that of all; None when no group has one."""
    measured = [group for group in groups if group.auc.value is not None]
    if not measured:
        return None
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(_WIDTH, 0.8 + 0.34 * len(measured))
        places = np.arange(len(measured))[::-1]
        for place, group in zip(places, measured, strict=True):
            if group.auc.interval is not None:
                axes.plot([group.auc.interval.low, group.auc.interval.high], [place, place], color=_CONTROL, lw=2)
            axes.plot([_value(group)], [place], "o", color=_CONTROL, markersize=6.5)
        axes.axvline(_value(overall), color=_MUTED, linewidth=1, linestyle=(0, (2, 3)))
        axes.set_yticks(places, [f"{name} {name_of(group)}" for group in measured], color=_INK)
        axes.set(xlim=(_left_edge(measured), 1.005), ylim=(-0.7, len(measured) - 0.3), xlabel="AUC of breasts")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        described = "; ".join(f"{name_of(group)} {_with_interval('AUC', group)}" for group in measured)
        return Figure(name, _to_svg(canvas, name), f"AUC of breasts by {name}, with intervals: {described}.")


def draw_histories(histories: Sequence[History]) -> tuple[Figure, ...]:
    """Training loss and AUC of held-out breasts after each epoch, a line for each fold; none where nothing was kept."""
    losses = [(history, history.train_loss) for history in histories]
    aucs = [(history, history.held_out_auc) for history in histories]
    drawn = [
        _draw_history(losses, name="loss", label="Training loss"),
        _draw_history(aucs, name="held-out", label="AUC of held-out breasts"),
    ]
    return tuple(figure for figure in drawn if figure is not None)


def name_of(group: SampleResult) -> str:
    """The name of a group, for people."""
    return "not recorded" if group.group is None else group.group


def _draw_history(series: Sequence[tuple[History, tuple[float, ...]]], *, name: str, label: str) -> Figure | None:
    if not any(np.isfinite(values).any() for _, values in series):
        return None
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(_WIDTH, 3.4)
        for number, (history, values) in enumerate(series):
            colour, dashes = _LINES[number % len(_LINES)]
            axes.plot(history.epochs, values, color=colour, ls=dashes, lw=1.8, label=f"fold {history.fold}")
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=10, handlelength=2.6)
        return Figure(name, _to_svg(canvas, name), _describe_history(series, label))


def _canvas(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots()


def _canvas_of_two(width: float, height: float) -> tuple[Canvas, tuple[Axes, Axes]]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    upper, lower = canvas.subplots(2, 1, sharex=True)
    return canvas, (upper, lower)


def _to_svg(canvas: Canvas, name: str) -> str:
    """SVG to stand inside a page: no prolog, no fixed size, ids that no other figure has, colours of the page."""
    content = io.StringIO()
    canvas.savefig(
        content, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg, count=1
    )
    svg = re.sub(r'id="([^"]*)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in _VARIABLE_BY_COLOUR.items():
        svg = svg.replace(colour, variable)
    return svg


def _with_interval(label: str, result: SampleResult) -> str:
    text = f"{label} {_value(result):.3f}"
    interval = result.auc.interval
    return text if interval is None else f"{text} ({interval.low:.3f} to {interval.high:.3f})"


def _value(result: SampleResult) -> float:
    return math.nan if result.auc.value is None else result.auc.value


def _left_edge(groups: Sequence[SampleResult]) -> float:
    lowest = min(_value(group) if group.auc.interval is None else group.auc.interval.low for group in groups)
    return min(0.49, math.floor(lowest * 10) / 10 - 0.01)


def _describe_roc(band: RocBand, breast: SampleResult) -> str:
    at = {rate: float(np.interp(rate, band.false_positive_rate, band.true_positive_rate)) for rate in (0.05, 0.1, 0.2)}
    steps = ", ".join(f"{sensitivity:.2f} at {rate:.0%}" for rate, sensitivity in at.items())
    return f"ROC curve of breasts, {_with_interval('AUC', breast)}. Sensitivity by false positive rate: {steps}."


def _describe_scores(histogram: ScoreHistogram) -> str:
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
    return f"Distribution of breast scores from 0 to 1: {'; '.join(parts)}."


def _describe_history(series: Sequence[tuple[History, tuple[float, ...]]], label: str) -> str:
    parts = []
    for history, values in series:
        measured = [value for value in values if math.isfinite(value)]
        if measured:
            parts.append(f"fold {history.fold} from {measured[0]:.3f} to {measured[-1]:.3f}")
    return f"{label} after each epoch: {'; '.join(parts)}."
