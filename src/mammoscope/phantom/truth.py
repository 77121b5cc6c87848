"""The ground truth of a picture: which of its pixels are breast, where the nipple is, what surrounds it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.anatomy import Laterality
from mammoscope.phantom.artefacts import Mask
from mammoscope.phantom.borders import hidden_by
from mammoscope.phantom.machine import Machine
from mammoscope.phantom.outline import STEP_MM
from mammoscope.phantom.picture import Box, MammogramPlan, make_scene


def breast_mask(plan: MammogramPlan, machine: Machine) -> Mask:
    """Which pixels of the stored picture are breast, (row, column).

    It holds all that a crop has to keep: skin, nipple, and in MLO the pectoral muscle. What a frame, a shutter or
    another border hides is not in it. A pixel belongs to the breast where its centre does.
    """
    scene = make_scene(plan, machine)
    return scene.breast & ~hidden_by(scene, plan.artefacts)


def box_of(mask: Mask) -> Box | None:
    """The smallest rectangle that holds all pixels of a mask; None where it has none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the stored picture, in pixels: 0 is the upper, or left, edge of the first one."""

    row: float
    column: float


def locate_nipple(plan: MammogramPlan, machine: Machine) -> Point | None:
    """The base of the nipple; None where it is outside of the picture."""
    x_mm, y_mm = plan.outline.nipple_mm
    spacing_mm = plan.seen_by(machine).spacing_mm
    column, row = x_mm / spacing_mm, y_mm / spacing_mm
    if not (0 <= column < machine.columns and 0 <= row < machine.rows):
        return None
    return Point(row, column if plan.laterality is Laterality.LEFT else machine.columns - column)


def outline_polygon(plan: MammogramPlan, machine: Machine) -> NDArray[np.float64]:
    """The corners of the breast's outline in pixels, (corner, 2) of row and column; none where there is no breast.

    They run down the skin, and the chest wall closes it. What a border hides is not cut out.
    """
    spacing_mm = plan.seen_by(machine).spacing_mm
    bottom_mm = machine.rows * spacing_mm
    heights_mm = np.append(np.arange(0, bottom_mm, STEP_MM), bottom_mm)
    columns = np.clip(plan.outline.skin_at(heights_mm) / spacing_mm, 0, machine.columns)
    is_breast = np.convolve(columns > 0, [True] * 3, mode="same") > 0  # and the corner before the first, after the last
    rows, columns = heights_mm[is_breast] / spacing_mm, columns[is_breast]
    if not rows.size:
        return np.zeros((0, 2))
    rows, columns = np.pad(rows, 1, mode="edge"), np.pad(columns, 1)
    if plan.laterality is Laterality.RIGHT:
        columns = machine.columns - columns
    return np.stack([rows, columns], axis=1)  # (corner, 2)
