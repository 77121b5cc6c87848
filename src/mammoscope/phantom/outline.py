"""The outline of a breast: its size, its skin line in both views, the nipple, the pectoral muscle.

All lengths are millimetres in the picture plane. The chest wall is the line x = 0 and the nipple points to larger x,
for both sides alike; y runs downwards from the upper edge of the picture (lateral in CC, the armpit in MLO).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from mammoscope.anatomy import View

STEP_MM: Final = 0.5
"""Distance of the points that describe a skin line."""

# Compressed breasts reach 5 to 12 cm from the chest wall; the widest still fits on the smallest detector of machine.py.
_DEPTH_RANGE_MM: Final = (52.0, 112.0)
_TALLEST_MM: Final = 196.0


@dataclass(frozen=True, slots=True)
class BreastShape:
    """What a woman's breast looks like from outside; left and right differ by `vary_shape`."""

    depth_mm: float  # chest wall to skin, at the nipple
    height_to_depth: float  # in the CC view
    roundness: float  # exponent of the skin line: 0.5 is an ellipse, larger is more pointed
    nipple_length_mm: float
    nipple_width_mm: float
    armpit_depth: float  # of the MLO skin line at the upper edge, as a share of depth_mm
    waist_depth: float  # of the MLO skin line where the armpit goes over into the breast
    muscle_width: float  # of the pectoral muscle at the upper edge, as a share of depth_mm
    muscle_length: float  # where the muscle's edge meets the chest wall; 1 is the height of the nipple


@dataclass(frozen=True, slots=True)
class Muscle:
    """The pectoral muscle of an MLO view: the region between the chest wall and a bent line."""

    width_mm: float  # at y = 0
    length_mm: float  # at x = 0
    bulge_mm: float  # how far the line bends towards the nipple in its middle

    def edge_mm(self, y: ArrayLike) -> NDArray[np.float64]:
        """The x of the muscle's edge at each y; zero and below where there is no muscle."""
        share = np.asarray(y, dtype=np.float64) / self.length_mm
        return self.width_mm * (1 - share) + 4 * self.bulge_mm * share * (1 - share)


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The breast in one picture."""

    view: View
    skin_mm: NDArray[np.float64]  # x of the skin at y = 0, STEP_MM, 2 * STEP_MM …; zero where there is no breast
    nipple_mm: tuple[float, float]  # (x, y) of its base
    muscle: Muscle | None

    def skin_at(self, y: ArrayLike) -> NDArray[np.float64]:
        """The x of the skin at each y."""
        positions = np.arange(len(self.skin_mm)) * STEP_MM
        return np.interp(np.asarray(y, dtype=np.float64), positions, self.skin_mm)

    def holds(self, x: float, y: float, *, margin_mm: float) -> bool:
        """Whether a disc of that radius lies in the breast, off the skin, the chest wall and the muscle."""
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        rim_x, rim_y = x + margin_mm * np.cos(angles), y + margin_mm * np.sin(angles)
        inner = np.zeros_like(rim_y) if self.muscle is None else self.muscle.edge_mm(rim_y)
        inside_picture = (rim_y > 0) & (rim_y < (len(self.skin_mm) - 1) * STEP_MM)
        return bool(np.all((rim_x > np.maximum(inner, 0)) & (rim_x < self.skin_at(rim_y)) & inside_picture))


def draw_shape(rng: np.random.Generator) -> BreastShape:
    """The shape of one woman's breasts."""
    return BreastShape(
        depth_mm=float(np.clip(rng.normal(84, 15), *_DEPTH_RANGE_MM)),
        height_to_depth=float(rng.uniform(1.8, 2.4)),
        roundness=float(rng.uniform(0.55, 0.80)),
        nipple_length_mm=float(rng.uniform(1.0, 5.0)),
        nipple_width_mm=float(rng.uniform(4.0, 6.0)),
        armpit_depth=float(rng.uniform(0.66, 0.84)),
        waist_depth=float(rng.uniform(0.66, 0.82)),
        muscle_width=float(rng.uniform(0.42, 0.62)),
        muscle_length=float(rng.uniform(0.90, 1.40)),
    )


def vary_shape(shape: BreastShape, rng: np.random.Generator) -> BreastShape:
    """The shape of the other side of the same woman: a few per cent different."""
    return replace(
        shape,
        depth_mm=float(np.clip(shape.depth_mm * rng.normal(1, 0.03), *_DEPTH_RANGE_MM)),
        height_to_depth=shape.height_to_depth * float(rng.normal(1, 0.02)),
        muscle_width=shape.muscle_width * float(rng.normal(1, 0.08)),
        muscle_length=shape.muscle_length * float(rng.normal(1, 0.06)),
    )


def project_outline(shape: BreastShape, view: View, *, height_mm: float, rng: np.random.Generator) -> Outline:
    """The outline of the breast on a detector of that height."""
    if view.shows_pectoral_muscle:
        return _project_oblique(shape, view, height_mm, rng)
    return _project_craniocaudal(shape, view, height_mm, rng)


def _project_craniocaudal(shape: BreastShape, view: View, height_mm: float, rng: np.random.Generator) -> Outline:
    y = np.arange(0, height_mm + STEP_MM, STEP_MM)
    half = min(shape.height_to_depth * shape.depth_mm, _TALLEST_MM, 0.92 * height_mm) / 2
    middle = height_mm / 2 + rng.normal(0, 0.015) * height_mm
    nipple_y = middle + half * rng.normal(0.04, 0.05)
    # one half-axis above and one below the nipple, so that the breast is not its own mirror picture
    above, below = nipple_y - (middle - half), (middle + half) - nipple_y
    share = (y - nipple_y) / np.where(y < nipple_y, above, below)
    skin = shape.depth_mm * np.clip(1 - np.abs(share) ** 2.0, 0, None) ** shape.roundness
    skin = _add_nipple(skin, y, nipple_y, shape)
    return Outline(view, skin, (shape.depth_mm, float(nipple_y)), muscle=None)


def _project_oblique(shape: BreastShape, view: View, height_mm: float, rng: np.random.Generator) -> Outline:
    y = np.arange(0, height_mm + STEP_MM, STEP_MM)
    depth = shape.depth_mm
    half = min(shape.height_to_depth * depth, _TALLEST_MM, 0.92 * height_mm) / 2
    fold_y = height_mm * float(rng.uniform(0.86, 0.95))
    nipple_y = fold_y - half * float(rng.uniform(0.80, 1.0))
    below = fold_y - nipple_y
    tail = float(rng.uniform(0.01, 0.06))  # of the belly's skin below the fold
    # (height, share of the depth) of points on the skin, from the armpit over the nipple to the fold below the breast
    points = [
        (-25.0, shape.armpit_depth * 1.05),
        (0.02 * nipple_y, shape.armpit_depth),
        (0.30 * nipple_y, min(shape.waist_depth, 0.98 * shape.armpit_depth)),
        (0.52 * nipple_y, 0.5 * shape.waist_depth + 0.43),
        (0.78 * nipple_y, 0.955),
        (nipple_y, 1.0),
        (nipple_y + 0.28 * below, 0.955),
        (nipple_y + 0.54 * below, 0.83),
        (nipple_y + 0.76 * below, 0.60),
        (nipple_y + 0.92 * below, 0.30),
        (fold_y, tail + 0.04),
        (fold_y + 7, tail),
        (height_mm + 30, tail + 0.07),
    ]
    heights, shares = (np.array(column) for column in zip(*points, strict=True))
    skin = depth * PchipInterpolator(heights, shares)(y)
    skin = _smooth(skin, sigma_mm=3.5)
    nipple_x = float(np.interp(nipple_y, y, skin))
    muscle = Muscle(
        width_mm=shape.muscle_width * depth,
        length_mm=shape.muscle_length * nipple_y,
        bulge_mm=float(rng.uniform(0.0, 0.08)) * depth,
    )
    return Outline(view, _add_nipple(skin, y, nipple_y, shape), (nipple_x, float(nipple_y)), muscle)


def _add_nipple(
    skin: NDArray[np.float64], y: NDArray[np.float64], nipple_y: float, shape: BreastShape
) -> NDArray[np.float64]:
    bump = shape.nipple_length_mm * np.exp(-(np.abs((y - nipple_y) / shape.nipple_width_mm) ** 3.5))
    return np.where(skin > 0, skin + bump, 0)


def _smooth(line: NDArray[np.float64], *, sigma_mm: float) -> NDArray[np.float64]:
    reach = int(4 * sigma_mm / STEP_MM)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_MM / sigma_mm) ** 2)
    return np.convolve(np.pad(line, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
