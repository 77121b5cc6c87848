"""What figures of pages share: SVG that takes its colours and fonts from the page, each with its text alternative."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

# stand-ins, each replaced by a variable of the page's style sheet, so that a figure follows light and dark
INK, MUTED, RULE = "#010101", "#020202", "#030303"
CASE, CONTROL, THIRD, FOURTH = "#040404", "#050505", "#060606", "#070707"
_VARIABLE_BY_COLOUR = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    CASE: "var(--case)",
    CONTROL: "var(--control)",
    THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
}
ON_PAPER = {  # the light colours of the style sheet, for a picture that stands outside of a page
    INK: "#1b1e24",
    MUTED: "#5a606c",
    RULE: "#dcdfe5",
    CASE: "#d55e00",
    CONTROL: "#0072b2",
    THIRD: "#009e73",
    FOURTH: "#cc79a7",
}
STYLE: dict[Any, Any] = {  # matplotlib's types list each of its keys as a literal
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched, and set in the page's font
    "svg.hashsalt": "mammoscope",  # the same figure gives the same bytes
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "round",
}
STYLE_ON_PAPER: dict[Any, Any] = {key: ON_PAPER.get(value, value) for key, value in STYLE.items()}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
LINES = list(zip((CONTROL, CASE, THIRD, FOURTH), _DASHES, strict=True))  # told apart without colour too
WIDTH = 5.4  # inches: at this width the letters are readable on a phone, and not coarse in half a page


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the page: inline SVG, and the sentence for those who do not see it."""

    name: str
    svg: str
    alternative: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A named value with its interval, where it has one."""

    name: str
    value: float
    interval: tuple[float, float] | None


def draw_dots(axes: Axes, dots: Sequence[Dot], *, reference: float | None = None, colour: str = CONTROL) -> None:
    """A row for each value, from the top, as a dot on its interval; the reference is a dotted line."""
    places = np.arange(len(dots))[::-1]
    for place, dot in zip(places, dots, strict=True):
        if dot.interval is not None:
            axes.plot(dot.interval, [place, place], color=colour, lw=2)
        axes.plot([dot.value], [place], "o", color=colour, markersize=6.5)
    if reference is not None:
        axes.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.set_yticks(places, [dot.name for dot in dots], color=INK)
    axes.set(ylim=(-0.7, len(dots) - 0.3))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_shares(axes: Axes, counts: Sequence[int], *, edges: Sequence[float], colour: str, label: str) -> None:
    """A histogram as shares of its own number, in %, with its number and name above."""
    share = 100 * np.array(counts) / max(1, sum(counts))
    axes.bar(edges[:-1], share, width=np.diff(edges) * 0.86, align="edge", color=colour, linewidth=0)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.08 * max(1.0, float(share.max()))), ylabel="%")
    axes.grid(visible=False, axis="x")
    axes.text(0.985, 1.02, f"{sum(counts):,} {label}", transform=axes.transAxes, ha="right", va="bottom")


def canvas_of_one(width: float, height: float) -> tuple[Canvas, Axes]:
    """A canvas of a size in inches, with its axes."""
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots()


def canvas_of_two(width: float, height: float) -> tuple[Canvas, tuple[Axes, Axes]]:
    """A canvas of a size in inches, with two axes, one above the other, that share their abscissa."""
    canvas = Canvas(figsize=(width, height), layout="constrained")
    upper, lower = canvas.subplots(2, 1, sharex=True)
    return canvas, (upper, lower)


def to_svg(canvas: Canvas, name: str) -> str:
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
