"""The figures of the audit: ages of cases and controls, and the grey values of a machine."""

from collections.abc import Sequence

import matplotlib as mpl

from mammoscope.cohort.audit.counts import Ages
from mammoscope.cohort.audit.machines import HISTOGRAM_EDGES, MachineSummary
from mammoscope.pages.drawing import (
    CASE,
    CONTROL,
    STYLE,
    WIDTH,
    Figure,
    canvas_of_one,
    canvas_of_two,
    draw_shares,
    to_svg,
)

_SMALL_WIDTH, _SMALL_HEIGHT = 4.2, 3.0  # inches: beside a picture


def draw_ages(ages: Ages) -> Figure:
    """The ages of the images, of breasts with cancer above and without below, each as a share of its own number."""
    with mpl.rc_context(STYLE):
        canvas, (upper, lower) = canvas_of_two(WIDTH, 4.2)
        draw_shares(upper, ages.n_cases, edges=ages.edges, colour=CASE, label="images with cancer")
        draw_shares(lower, ages.n_controls, edges=ages.edges, colour=CONTROL, label="without")
        upper.tick_params(labelbottom=False)
        lower.set(xlabel="Age in years")
        return Figure("ages", to_svg(canvas, "ages"), _describe_ages(ages))


def draw_grey_values(machine: MachineSummary, *, number: int) -> Figure:
    """The grey values above black of the pictures of a machine, as shares; the number tells its ids from others."""
    name = f"grey{number}"
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(_SMALL_WIDTH, _SMALL_HEIGHT)
        shares = [100 * share for share in machine.histogram]
        widths = HISTOGRAM_EDGES[1:] - HISTOGRAM_EDGES[:-1]
        axes.bar(HISTOGRAM_EDGES[:-1], shares, width=widths, align="edge", color=CONTROL, linewidth=0)
        axes.set(xlim=(0, 1), xlabel="grey value", ylabel="% of pixels")
        axes.grid(visible=False, axis="x")
        return Figure(
            name,
            to_svg(canvas, name),
            f"Grey values above black, machine {machine.machine or 'not recorded'}: mean of all pixels "
            f"{machine.mean:.2f}, spread {machine.sd:.2f}.",
        )


def _describe_ages(ages: Ages) -> str:
    parts = [
        f"most of the {sum(counts):,} images {name} lie between {_fullest(ages.edges, counts)} years"
        if sum(counts)
        else f"no image {name}"
        for name, counts in (("with cancer", ages.n_cases), ("without", ages.n_controls))
    ]
    return f"Distribution of ages in steps of five years: {'; '.join(parts)}."


def _fullest(edges: Sequence[float], counts: Sequence[int]) -> str:
    place = max(range(len(counts)), key=lambda place: counts[place])
    return f"{edges[place]:.0f} and {edges[place + 1]:.0f}"
