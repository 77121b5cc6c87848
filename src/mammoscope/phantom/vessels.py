"""Blood vessels: a few long, winding lines of even width that cross the fat."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.phantom.fields import Field, Grid
from mammoscope.phantom.outline import Outline

_SUBPIXEL_BITS: Final = 4
_BRIGHTNESS: Final = 0.055


def draw_vessels(outline: Outline, grid: Grid, *, rng: np.random.Generator) -> Field:
    """The brightness that vessels add, on the grid."""
    vessels = np.zeros((grid.rows, grid.columns), dtype=np.float32)
    for _ in range(int(rng.integers(2, 6))):
        path = _wind(outline, rng)
        width_mm = float(rng.uniform(1.0, 2.4))
        _add_vessel(vessels, path, grid, width_mm=width_mm, brightness=_BRIGHTNESS * float(rng.uniform(0.5, 1)))
        if rng.random() < 0.6:  # noqa: PLR2004  # most vessels branch
            fork = _fork(path, rng)
            _add_vessel(
                vessels, fork, grid, width_mm=0.6 * width_mm, brightness=_BRIGHTNESS * float(rng.uniform(0.4, 0.8))
            )
    return vessels


def _wind(outline: Outline, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points (x, y) in mm of a vessel that comes from the chest wall and runs towards the skin near the nipple."""
    nipple_x, nipple_y = outline.nipple_mm
    share = np.linspace(0, 1, 60)
    start_y = nipple_y + nipple_x * rng.uniform(-0.75, 0.75)
    end_y = nipple_y + nipple_x * rng.uniform(-0.4, 0.4)
    x = nipple_x * rng.uniform(0.55, 0.85) * share
    y = start_y + (end_y - start_y) * share**1.4
    for _ in range(3):
        y = y + rng.normal(0, 1.6) * np.sin(2 * np.pi * (share * rng.uniform(1.0, 4.5) + rng.uniform()))
    return np.stack([x, y], axis=1)


def _fork(path: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A branch that leaves a vessel somewhere in its middle, to one side."""
    start = int(rng.integers(15, 40))
    branch = path[start:].copy()
    away = np.linspace(0, 1, len(branch)) ** 1.2 * rng.choice([-1, 1]) * rng.uniform(8, 20)
    branch[:, 1] += away
    return branch


def _add_vessel(canvas: Field, path: NDArray[np.float64], grid: Grid, *, width_mm: float, brightness: float) -> None:
    fixed = np.round((path / grid.spacing_mm - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    stroke = np.zeros(canvas.shape, dtype=np.uint8)
    cv2.polylines(
        stroke,
        [fixed],
        isClosed=False,
        color=255,
        thickness=max(1, round(width_mm / grid.spacing_mm)),
        lineType=cv2.LINE_AA,
        shift=_SUBPIXEL_BITS,
    )
    soft = cv2.GaussianBlur(stroke, (0, 0), max(0.25 * width_mm / grid.spacing_mm, 0.4))
    canvas += soft * np.float32(brightness / 255)
