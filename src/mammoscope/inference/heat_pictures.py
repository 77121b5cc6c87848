"""Pictures of heat maps: each over its mammogram, and the views of an exam side by side as in the screening hang.

The colours are viridis: even steps of heat look even, and they differ in brightness for every kind of colour vision.
Where there is no heat, the mammogram shows through. No picture names a patient, an exam or an image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mammoscope.anatomy import Laterality, View
from mammoscope.evaluation.peaks import Heat, Peak
from mammoscope.files import replacing
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import CanvasPixels, Placement
from mammoscope.inference.explained import ExplainedImage
from mammoscope.inference.reading import PreparedFile, prepare_file

COLOURS = mpl.colormaps["viridis"]
HANG: tuple[View, ...] = (View.CC, View.MLO)
"""The rows of the screening hang; each has the right breast on the left, so that the chest walls meet in the middle."""

_GROUND, _EMPTY, _INK, _MUTED = "#000000", "#141414", "#f2f2f2", "#a0a0a0"
_MOST_OPAQUE = 0.65  # that the mammogram stays readable at the highest heat
_DPI = 100
_IMAGE_IN = 10.24  # the height: 1,024 pixels, as many as the usual canvas has rows
_TILE_IN = (3.6, 5.4)  # width and height of a view in the hang
_BAR_IN = 1.3
_BACKING: dict[str, Any] = {"facecolor": _GROUND, "edgecolor": "none", "alpha": 0.75, "pad": 2}
_LABEL_LAYER = 10  # over all boxes
_NEAR_TOP = 0.05  # of the picture's rows: a label above a box that begins there would stand in the title
_N_BOXES = 3  # that are drawn; the table has all
_LEAST_COLOUR = 0.1  # of the strongest: the boxes of fainter peaks would stand around nothing
_NOTE = "Research software, no diagnosis."


@dataclass(frozen=True, slots=True)
class ExamDrawing:
    """The explained images of one exam, the folder to draw them into, and the name of the exam's file."""

    images: tuple[ExplainedImage, ...]
    folder: Path
    alias: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An explained image with its prepared pixels, (row, column)."""

    image: ExplainedImage
    pixels: CanvasPixels


def draw_exam(drawing: ExamDrawing) -> int:
    """Draw the heat maps of an exam, each over its image, and the exam's hang; how many images were drawn.

    The heat of all of them is in one scale. A file that cannot be read any more is left out.
    """
    shown = []
    for image in drawing.images:
        prepared = prepare_file(image.task)
        if isinstance(prepared, PreparedFile):
            shown.append(Shown(image, prepared.pixels))
    top = find_top(heat_on_content(each.image.heat, each.image.placement) for each in shown)
    for each in shown:
        save(draw_overlay(each, top), drawing.folder / "heatmaps" / f"{each.image.alias}.png")
    if shown:
        save(draw_hang(shown, top), drawing.folder / "hangings" / f"{drawing.alias}.png")
    return len(shown)


def find_top(heats: Iterable[Heat]) -> float:
    """The highest heat of several maps, 0 where nothing in them speaks for cancer."""
    return max((float(heat.max(initial=0)) for heat in heats), default=0.0)


def draw_overlay(shown: Shown, top: float) -> Figure:
    """An image with its heat and its peaks, in the file's own orientation, with the file's pixels along the axes.

    `top` is the heat of the strongest colour.
    """
    box = shown.image.placement.box
    width = _IMAGE_IN * box.columns / (box.rows * _pixel_aspect(shown.image))
    figure = Figure(figsize=(max(width, 3.0) + _BAR_IN + 0.9, _IMAGE_IN + 0.9), facecolor=_GROUND, layout="constrained")
    axes = figure.subplots()
    draw_image(axes, shown, top)
    for peak in list_boxed(shown.image, top):
        _write_share(axes, peak, box)
    said = shown.image.said
    axes.set_title(f"{name_view(shown.image)}   score {said.score:.3f}   breast {said.breast_score:.3f}", color=_INK)
    axes.tick_params(colors=_MUTED, labelsize=8)
    axes.set_xlabel(f"pixels of the file   ·   {_NOTE}", color=_MUTED, fontsize=8)
    _draw_bar(figure, [axes], top)
    return figure


def draw_hang(shown: Sequence[Shown], top: float) -> Figure:
    """The views of an exam side by side: right CC and left CC over right MLO and left MLO, then all others.

    A view that is not there is an empty tile with its name.
    """
    rows = arrange(shown)
    width, height = _TILE_IN
    tight = ConstrainedLayoutEngine(w_pad=0, wspace=0, h_pad=0.05)
    figure = Figure(figsize=(2 * width + _BAR_IN, height * len(rows) + 0.7), facecolor=_GROUND, layout=tight)
    tiles = figure.subplots(len(rows), 2, squeeze=False)
    for row, (name, pair) in zip(tiles, rows, strict=True):
        for axes, side, each in zip(row, (Laterality.RIGHT, Laterality.LEFT), pair, strict=True):
            _draw_tile(axes, side, name, each, top)
    by_side = {each.image.mammogram.laterality: each.image.said.breast_score for each in shown}
    scores = "   ".join(f"breast {side.value} {by_side[side]:.3f}" for side in sorted(by_side, reverse=True))
    figure.suptitle(f"{scores}   ·   {_NOTE}", color=_INK, fontsize=11)
    _draw_bar(figure, list(tiles.flat), top)
    return figure


def arrange(shown: Sequence[Shown]) -> list[tuple[str, tuple[Shown | None, Shown | None]]]:
    """The rows of a hang: the name of the view, and the image of the right and of the left breast, None without one.

    Of several images of a view, the one of the highest score stands in its row. The others follow.
    """
    ranked = sorted(shown, key=lambda each: (-each.image.said.score, each.image.mammogram.image_id))
    by_place: dict[tuple[View | None, Laterality], Shown] = {}
    for each in ranked:
        by_place.setdefault((each.image.mammogram.view, each.image.mammogram.laterality), each)
    sides = (Laterality.RIGHT, Laterality.LEFT)
    rows = [(view.value, (by_place.get((view, sides[0])), by_place.get((view, sides[1])))) for view in HANG]
    hung = {id(each) for _, pair in rows for each in pair}
    rest = [
        [each for each in ranked if each.image.mammogram.laterality is side and id(each) not in hung] for side in sides
    ]
    return rows + [("", (right, left)) for right, left in zip_longest(*rest)]


def draw_image(axes: Axes, shown: Shown, top: float) -> None:
    """The grey of an image and its heat over it, with the boxes of its peaks, in the pixels of the file."""
    placement = shown.image.placement
    box = placement.box
    frame: dict[str, Any] = {
        "extent": (box.left, box.right, box.bottom, box.top),
        "aspect": _pixel_aspect(shown.image),
        "interpolation": "antialiased",
    }
    grey = content_of(shown.pixels, placement)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=np.iinfo(grey.dtype).max, **frame)
    axes.imshow(colour(heat_on_content(shown.image.heat, placement), top), **frame)
    axes.set_facecolor(_GROUND)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for number, peak in enumerate(list_boxed(shown.image, top)):
        corner, size = (peak.box.left, peak.box.top), (peak.box.columns, peak.box.rows)
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=2.6))
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=_INK, linewidth=1.4 if number == 0 else 0.8))


def list_boxed(image: ExplainedImage, top: float) -> list[Peak]:
    """The peaks of an image that are drawn as boxes: of the highest, those that show colour."""
    return [peak for peak in image.peaks[:_N_BOXES] if peak.value >= _LEAST_COLOUR * top]


def colour(heat: Heat, top: float) -> NDArray[np.float64]:
    """The heat as red, green, blue and opacity, each 0 to 1: clear where there is none, strongest at `top`."""
    share = np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)
    painted: NDArray[np.float64] = np.array(COLOURS(share), dtype=np.float64)  # (row, column, 4)
    painted[..., 3] = _MOST_OPAQUE * share
    return painted


def content_of(canvas: CanvasPixels, placement: Placement) -> CanvasPixels:
    """What lies on a canvas, (row, column), left and right as in the original."""
    rows, columns = placement.content_shape
    content = canvas[placement.content_top : placement.content_top + rows, :columns]
    return content[:, ::-1] if placement.is_flipped else content


def heat_on_content(heat: Heat, placement: Placement) -> Heat:
    """A heat map as large as what lies on the canvas, (row, column), left and right as in the original."""
    rows, columns = placement.canvas_shape
    canvas = cv2.resize(heat, (columns, rows), interpolation=cv2.INTER_LINEAR)
    top, (n_rows, n_columns) = placement.content_top, placement.content_shape
    content = np.asarray(canvas[top : top + n_rows, :n_columns], dtype=np.float32)
    return content[:, ::-1] if placement.is_flipped else content


def name_view(image: ExplainedImage) -> str:
    """Side and view, as in "R MLO"."""
    view = image.mammogram.view
    return f"{image.mammogram.laterality.value} {'view unknown' if view is None else view.value}"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; the same figure gives the same bytes."""
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=_DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})


def _draw_tile(axes: Axes, side: Laterality, name: str, shown: Shown | None, top: float) -> None:
    """A view in the hang, chest wall towards the middle, or its empty place."""
    is_right = side is Laterality.RIGHT
    axes.set_anchor("E" if is_right else "W")
    axes.set_xticks([])
    axes.set_yticks([])
    outer: dict[str, Any] = {
        "x": 0.03 if is_right else 0.97,
        "ha": "left" if is_right else "right",
        "transform": axes.transAxes,
    }
    if shown is None:
        axes.set_facecolor(_EMPTY)
        if name:
            axes.text(y=0.5, s=f"{side.value} {name}: not there", color=_MUTED, fontsize=11, va="center", **outer)
        return
    draw_image(axes, shown, top)
    is_wall_left = not shown.image.placement.is_flipped
    if is_wall_left == is_right:
        axes.invert_xaxis()
    said = shown.image.said
    weight = "" if said.view_share is None else f"\nshare {said.view_share:.0%}"
    label = f"{name_view(shown.image)}\n{said.score:.3f}{weight}"
    axes.text(y=0.98, s=label, color=_INK, fontsize=11, va="top", zorder=_LABEL_LAYER, bbox=_BACKING, **outer)


def _write_share(axes: Axes, peak: Peak, cut: Box) -> None:
    """The share of a peak above its box, or within it at the top of the picture, towards the picture's middle."""
    is_near_top = peak.box.top - cut.top < _NEAR_TOP * cut.rows
    is_left = peak.box.left + peak.box.right < cut.left + cut.right
    axes.text(
        peak.box.left if is_left else peak.box.right,
        peak.box.top,
        f"{peak.share:.0%}",
        color=_INK,
        fontsize=10,
        ha="left" if is_left else "right",
        va="top" if is_near_top else "bottom",
        zorder=_LABEL_LAYER,
        bbox=_BACKING,
    )


def _draw_bar(figure: Figure, axes: list[Axes], top: float) -> None:
    """The scale of the colours."""
    scale = ScalarMappable(Normalize(0, top or 1.0), COLOURS)
    # without panchor, the bar would move the views off the middle
    bar = figure.colorbar(scale, ax=axes, panchor=False, fraction=0.04, pad=0.02, shrink=0.5, aspect=30)
    bar.set_label("adds to the logit, for a place of the network's map", color=_MUTED, fontsize=8)
    bar.ax.tick_params(colors=_MUTED, labelsize=8)
    bar.outline.set_visible(False)


def _pixel_aspect(image: ExplainedImage) -> float:
    """How many times as high as wide a pixel of the file is; square where the canvas does not keep proportions."""
    row_scale, column_scale = image.placement.scale
    return row_scale / column_scale if image.task.settings.fit == "proportions" else 1.0
