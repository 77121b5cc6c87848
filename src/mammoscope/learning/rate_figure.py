"""What a range test leaves: a picture of its curve, and a table of its points beside it."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes

from mammoscope.errors import UserInputError
from mammoscope.files import replacing
from mammoscope.learning.rate_search import RateCurve
from mammoscope.pages.drawing import CASE, CONTROL, MUTED, ON_PAPER, STYLE_ON_PAPER, WIDTH, canvas_of_one

_FORMATS = (".pdf", ".png", ".svg")


def check_picture_path(path: Path) -> None:
    """Refuse a name that says no format which can be drawn.

    Raises:
        UserInputError: it ends in something else.
    """
    if path.suffix not in _FORMATS:
        raise UserInputError(f"{path}: expected a picture that ends in {', '.join(_FORMATS)}; name another with -o")


def write_points(curve: RateCurve, path: Path) -> None:
    """Write a row for each step: its rate, its loss, and the smoothed loss."""
    columns = {"rate": curve.rates, "loss": np.array(curve.losses), "smoothed_loss": curve.smoothed}
    with replacing(path) as beside:
        pl.DataFrame({"step": np.arange(len(curve.losses)), **columns}).write_csv(beside)


def draw_curve(curve: RateCurve, path: Path, *, proposed: float | None) -> None:
    """Draw loss against rate, single and smoothed, with the proposed rate where there is one."""
    with mpl.rc_context(STYLE_ON_PAPER):
        canvas, axes = canvas_of_one(WIDTH, 3.6)
        axes.set(xscale="log", xlabel="Learning rate", ylabel="Training loss")
        axes.plot(curve.rates, curve.losses, ".", color=ON_PAPER[MUTED], markersize=4, alpha=0.6, label="of each step")
        axes.plot(curve.rates, curve.smoothed, color=ON_PAPER[CONTROL], linewidth=2, label="smoothed")
        if curve.losses:
            least = int(np.argmin(curve.smoothed))
            axes.plot(curve.rates[least], curve.smoothed[least], "o", color=ON_PAPER[CASE], label="least")
            axes.set_ylim(*_limits(curve, least))
        if proposed is not None:
            _mark(axes, proposed)
        axes.legend(frameon=False, fontsize=10)
        with replacing(path) as beside:
            canvas.savefig(beside, format=path.suffix[1:], dpi=160)


def _limits(curve: RateCurve, least: int) -> tuple[float, float]:
    """What there is to see up to the rate of the least loss, with some room; a run away may leave the picture."""
    losses = np.array(curve.losses)
    low, high = losses.min(), losses[: least + 1].max()
    room = 0.1 * (high - low) or 0.1
    return low - room, high + room


def _mark(axes: Axes, proposed: float) -> None:
    axes.axvline(proposed, color=ON_PAPER[CASE], linewidth=1.6, linestyle=(0, (5, 2)))
    axes.text(proposed, 1.02, f"proposed: {proposed:.2g}", transform=axes.get_xaxis_transform(), ha="center")
