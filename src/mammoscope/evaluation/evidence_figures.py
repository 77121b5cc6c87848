"""Figures of the further evidence: precision against recall, calibration, readers on the ROC, FROC, and the data flow.

Like those of `figures`, they take their colours and fonts from the page, and each has a sentence for those who do not
see it. One that has nothing to draw is None.
"""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.calibration import Calibration
from mammoscope.evaluation.data_flow import DataFlow, Step
from mammoscope.evaluation.localisation import FrocPoint, Localisation
from mammoscope.evaluation.multireader import GroupMean
from mammoscope.evaluation.precision_recall import PrecisionRecall
from mammoscope.evaluation.readers_on_roc import ReaderOnRoc, ReadersOnRoc
from mammoscope.pages.drawing import CASE, CONTROL, INK, MUTED, RULE, STYLE, THIRD, WIDTH, Figure, canvas_of_one, to_svg

_DOTTED = (0, (2, 3))
_RATES_SHOWN = (0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8)
_MOST_LOSSES_NAMED = 3
_ROW_OF_FLOW = 1.3  # inches


def draw_precision_recall(found: PrecisionRecall) -> Figure | None:
    """The precision-recall curve as steps, with its pointwise band; the dotted line is the share of cases."""
    if found.corners is None or found.band is None or found.by_chance is None:
        return None
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 4.9)
        axes.axhline(found.by_chance, color=MUTED, linewidth=1, linestyle=_DOTTED)
        low, high = _as_array(found.band.low), _as_array(found.band.high)
        axes.fill_between(found.band.recall, low, high, color=CONTROL, alpha=0.18, linewidth=0)
        recall = np.r_[0.0, np.repeat(found.corners.recall, 2)[:-1]]
        axes.plot(recall, _twice(found.corners.precision), color=CONTROL, linewidth=2)
        told = f"average precision {_tell(found.average_precision)}"
        axes.text(0.03, 0.05, told.capitalize(), ha="left", va="bottom", color=INK, fontsize=11.5, zorder=3)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="Recall (sensitivity)", ylabel="Precision (PPV)")
        at = {each: _precision_at(found, each) for each in (0.25, 0.5, 0.75)}
        steps = ", ".join(f"{precision:.2f} at {recall_at:.0%}" for recall_at, precision in at.items())
        alternative = f"Precision against recall, {told}, chance {found.by_chance:.3f}. Precision by recall: {steps}."
        return Figure("precision-recall", to_svg(canvas, "precision-recall"), alternative)


def draw_calibration(calibration: Calibration) -> Figure | None:
    """The share of cases in each bin against its mean score, with intervals; on the dotted line they are equal."""
    bins = [each for each in calibration.bins if each.share_of_cases.value is not None]
    if not bins:
        return None
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 4.9)
        scores = [each.mean_score for each in bins]
        shares = [each.share_of_cases.value or 0.0 for each in bins]
        tops = [each.share_of_cases.interval.high if each.share_of_cases.interval else 0.0 for each in bins]
        end = min(1.0, 1.08 * max(*scores, *shares, *tops, 0.01))
        axes.plot([0, end], [0, end], color=MUTED, linewidth=1, linestyle=_DOTTED)
        for each, score in zip(bins, scores, strict=True):
            interval = each.share_of_cases.interval
            if interval is not None:
                axes.plot([score, score], [interval.low, interval.high], color=CONTROL, lw=2, alpha=0.5)
        axes.plot(scores, shares, color=CONTROL, linewidth=1, alpha=0.6)
        axes.plot(scores, shares, "o", color=CONTROL, markersize=6)
        axes.set(xlim=(-0.015 * end, end), ylim=(-0.015 * end, end), aspect="equal")
        axes.set(xlabel="Mean score of the bin", ylabel="Share of cases")
        return Figure("calibration", to_svg(canvas, "calibration"), _describe_calibration(calibration, scores, shares))


def draw_readers(placed: ReadersOnRoc) -> Figure | None:
    """Each reader's point with her number and her curve, their average, and the model's curve with its band."""
    points = [reader for reader in placed.each if reader.sensitivity.value is not None]
    if not points and placed.average_curve is None:
        return None
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 5.3)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=_DOTTED)
        _draw_model_and_average(axes, placed)
        for number, reader in enumerate(placed.each, start=1):
            _draw_reader(axes, reader, number)
        if points:
            axes.plot([], [], "o", color=THIRD, markersize=7, label="readers")
        if placed.mean_sensitivity is not None and placed.mean_specificity is not None:
            mean = 1 - placed.mean_specificity.value, placed.mean_sensitivity.value
            axes.plot(*mean, "D", color=CASE, markersize=9, markeredgecolor=INK, label="readers' mean")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="False positive rate", ylabel="Sensitivity")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=10, handlelength=2.6, loc="lower right")
        return Figure("readers", to_svg(canvas, "readers"), _describe_readers(placed))


def draw_froc(found: Localisation) -> Figure | None:
    """The FROC curve with its pointwise band, on a logarithmic axis; dots are the points that are told."""
    if found.curve is None:
        return None
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, 4.2)
        x = found.curve.false_marks_per_image
        low, high = _as_array(found.curve.low), _as_array(found.curve.high)
        axes.fill_between(x, low, high, color=CONTROL, alpha=0.18, linewidth=0)
        axes.plot(x, found.curve.sensitivity, color=CONTROL, linewidth=2, drawstyle="steps-post")
        shown = [(point.false_marks_per_image, point.sensitivity.value or 0.0) for point in found.points]
        axes.plot(*zip(*shown, strict=True), "o", color=CONTROL, markersize=6)
        axes.set_xscale("log", base=2)
        axes.set_xticks(_RATES_SHOWN, [f"{rate:.3g}" for rate in _RATES_SHOWN])
        axes.minorticks_off()
        axes.set(xlim=(x[0], x[-1]), ylim=(-0.01, 1.01), xlabel="False marks per image", ylabel="Lesions hit")
        alternative = (
            f"Share of lesions hit by false marks per image, where {found.rule}: {_tell_points(found.points)}."
        )
        return Figure("froc", to_svg(canvas, "froc"), alternative)


def draw_flow(flow: DataFlow) -> Figure:
    """The steps from found to used as boxes, one below the other, with what was lost on the way beside the arrows."""
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(WIDTH, _ROW_OF_FLOW * len(flow.steps))
        axes.set(xlim=(0, 1), ylim=(-len(flow.steps) + 0.4, 0.6))
        axes.axis("off")
        for place, step in enumerate(flow.steps):
            text = f"{step.name.capitalize()}\n{_count_images(step)}{_count_breasts(step)}"
            box = {"boxstyle": "round,pad=0.5", "facecolor": "none", "edgecolor": RULE, "linewidth": 1.2}
            axes.text(0.28, -place, text, ha="center", va="center", color=INK, fontsize=10.5, bbox=box)
            if place:
                axes.annotate(
                    "", (0.28, -place + 0.38), (0.28, -place + 0.62), arrowprops={"arrowstyle": "->", "color": MUTED}
                )
                axes.text(0.55, -place + 0.5, _tell_losses(step, "\n"), va="center", color=MUTED, fontsize=10)
        steps = "; ".join(_describe_step(step) for step in flow.steps)
        return Figure("flow", to_svg(canvas, "flow"), f"Images from found to used: {steps}.")


def _draw_model_and_average(axes: Axes, placed: ReadersOnRoc) -> None:
    if placed.model_curve is not None:
        band = placed.model_curve
        x = (0.0, *band.false_positive_rate)
        axes.fill_between(x, (0.0, *band.low), (0.0, *band.high), color=CONTROL, alpha=0.18, linewidth=0)
        axes.plot(x, (0.0, *band.true_positive_rate), color=CONTROL, linewidth=2, label="model")
    if placed.average_curve is not None and all(reader.curve is not None for reader in placed.each):
        band = placed.average_curve
        rates, heights = (0.0, *band.false_positive_rate), (0.0, *band.true_positive_rate)
        axes.plot(rates, heights, color=CASE, ls=(0, (5, 2)), lw=2, label="readers' average")


def _draw_reader(axes: Axes, reader: ReaderOnRoc, number: int) -> None:
    if reader.curve is not None:
        x, y = (0.0, *reader.curve.false_positive_rate), (0.0, *reader.curve.sensitivity)
        axes.plot(x, y, color=CASE, lw=0.9, alpha=0.45)
    if reader.sensitivity.value is None or reader.specificity.value is None:
        return
    place = 1 - reader.specificity.value, reader.sensitivity.value
    axes.plot(*place, "o", color=THIRD, markersize=7)
    axes.annotate(str(number), place, (7, -3), textcoords="offset points", color=INK, fontsize=10)


def _describe_calibration(calibration: Calibration, scores: Sequence[float], shares: Sequence[float]) -> str:
    parts = "; ".join(f"{share:.3f} at {score:.3f}" for score, share in zip(scores, shares, strict=True))
    slope, error = calibration.calibration_slope, calibration.expected_calibration_error
    return (
        f"Share of cases by mean score, in {len(scores)} bins: {parts}. Calibration slope {_tell(slope)}, expected "
        f"calibration error {_tell(error)}."
    )


def _describe_readers(placed: ReadersOnRoc) -> str:
    told = [
        f"{number}, {reader.name}: sensitivity {_tell(reader.sensitivity)}, specificity {_tell(reader.specificity)}"
        if reader.sensitivity.value is not None
        else f"{number}, {reader.name}: AUC {_tell(reader.auc)}"
        for number, reader in enumerate(placed.each, start=1)
    ]
    above = [
        _tell_mean(name, mean)
        for name, mean in (
            ("sensitivity", placed.sensitivity_above),
            ("specificity", placed.specificity_above),
            ("AUC", placed.auc_above),
        )
        if mean is not None
    ]
    model = f" The model lies above the readers by: {'; '.join(above)}." if above else ""
    return f"Readers on the ROC curve. {'; '.join(told)}.{model}"


def _tell_mean(name: str, mean: GroupMean) -> str:
    return f"{name} {mean.value:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})"


def _tell_points(points: Sequence[FrocPoint]) -> str:
    return ", ".join(f"{_tell(point.sensitivity)} at {point.false_marks_per_image:g}" for point in points)


def _tell(figure: Estimate) -> str:
    if figure.value is None:
        return figure.reason or "undefined"
    value, interval = f"{figure.value:.3f}", figure.interval
    return value if interval is None else f"{value} ({interval.low:.3f} to {interval.high:.3f})"


def _count_images(step: Step) -> str:
    return "not known" if step.n_images is None else f"{step.n_images:,} images"


def _count_breasts(step: Step) -> str:
    if step.n_breasts is None:
        return ""
    return f"\n{step.n_breasts:,} breasts, {step.n_cases or 0:,} cases\n{step.n_patients or 0:,} patients"


def _tell_losses(step: Step, between: str) -> str:
    named = [f"{loss.reason}: {loss.n_images:,}" for loss in step.lost[:_MOST_LOSSES_NAMED]]
    n_more = sum(loss.n_images for loss in step.lost[_MOST_LOSSES_NAMED:])
    return between.join([*named, *([f"other reasons: {n_more:,}"] if n_more else [])])


def _describe_step(step: Step) -> str:
    lost = _tell_losses(step, ", ")
    return f"{step.name} {_count_images(step)}" + (f", lost before: {lost}" if lost else "")


def _precision_at(found: PrecisionRecall, recall: float) -> float:
    if found.band is None:
        return math.nan
    return float(np.interp(recall, found.band.recall, found.band.precision))


def _twice(values: Sequence[float]) -> NDArray[np.float64]:
    return np.repeat(np.asarray(values, np.float64), 2)


def _as_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values])
