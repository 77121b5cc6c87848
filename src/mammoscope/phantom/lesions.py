"""Lesions: what they look like, where they lie in both views of a breast, and how they are drawn.

A lesion keeps its distance to the nipple from one view to the other, which is how a reader finds it again
(the arc rule of mammography).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.phantom.fields import Field, Grid
from mammoscope.phantom.outline import Outline

_SUBPIXEL_BITS: Final = 4
_PLACING_TRIES: Final = 400


class LesionKind(StrEnum):
    """What a lesion is; the value stands in the truth table."""

    SPICULATED_MASS = "spiculated_mass"
    MASS = "mass"
    MICROCALCIFICATIONS = "microcalcifications"
    BENIGN_MASS = "benign_mass"
    COARSE_CALCIFICATION = "coarse_calcification"

    @property
    def is_malignant(self) -> bool:
        """Whether a breast with it counts as a case."""
        return self in {LesionKind.SPICULATED_MASS, LesionKind.MASS, LesionKind.MICROCALCIFICATIONS}


MALIGNANT_KINDS: Final = (LesionKind.SPICULATED_MASS, LesionKind.MASS, LesionKind.MICROCALCIFICATIONS)

# Radius of what is drawn, in mm: invasive cancers found by screening are mostly 10 to 20 mm across; these are larger.
_RADIUS_RANGE_MM: Final[dict[LesionKind, tuple[float, float]]] = {
    LesionKind.SPICULATED_MASS: (7.0, 11.0),
    LesionKind.MASS: (7.0, 11.5),
    LesionKind.MICROCALCIFICATIONS: (7.0, 11.0),
    LesionKind.BENIGN_MASS: (3.5, 6.5),
    LesionKind.COARSE_CALCIFICATION: (0.8, 1.9),
}
_REACH: Final[dict[LesionKind, float]] = {LesionKind.SPICULATED_MASS: 1.7}
"""How far a lesion's drawing reaches beyond its radius; 1.15 for the others."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion in one picture."""

    kind: LesionKind
    x_mm: float
    y_mm: float
    radius_mm: float
    contrast: float  # brightness above its surroundings
    seed: int  # of its form, which is another in each view

    @property
    def reach_mm(self) -> float:
        """The half-width of the square that holds all of it."""
        return self.radius_mm * _REACH.get(self.kind, 1.15)


# Brightness above the surroundings, at conspicuity 1.
_CONTRAST_RANGE: Final[dict[LesionKind, tuple[float, float]]] = {
    LesionKind.SPICULATED_MASS: (0.34, 0.46),
    LesionKind.MASS: (0.34, 0.46),
    LesionKind.MICROCALCIFICATIONS: (0.55, 0.80),
    LesionKind.BENIGN_MASS: (0.10, 0.18),
    LesionKind.COARSE_CALCIFICATION: (0.45, 0.75),
}


def place_lesion(
    kind: LesionKind, outlines: tuple[Outline, ...], *, conspicuity: float, rng: np.random.Generator
) -> tuple[Lesion, ...]:
    """The same lesion in each view, at one distance to the nipple, inside the breast in all of them.

    Args:
        kind: what it is.
        outlines: the breast in each view.
        conspicuity: factor on the contrast of malignant lesions; 1 leaves it.
        rng: chance.
    """
    radius = float(rng.uniform(*_RADIUS_RANGE_MM[kind]))
    contrast = float(rng.uniform(*_CONTRAST_RANGE[kind])) * (conspicuity if kind.is_malignant else 1.0)
    margin = radius * 1.15 + 4
    depth = min(outline.nipple_mm[0] for outline in outlines)
    for attempt in range(_PLACING_TRIES):
        distance = float(rng.uniform(margin + 6, 0.72 * depth))
        # from straight behind the nipple outwards; late tries come closer to the axis, where there is always room
        spread = 0.9 * (1 - attempt / _PLACING_TRIES)
        places = [_on_arc(outline, distance, float(rng.uniform(-spread, spread * 0.7))) for outline in outlines]
        if all(outline.holds(*place, margin_mm=margin) for outline, place in zip(outlines, places, strict=True)):
            break
    seeds = rng.integers(0, 2**31, size=len(outlines))
    return tuple(
        Lesion(kind, *place, radius_mm=radius, contrast=contrast, seed=int(seed))
        for place, seed in zip(places, seeds, strict=True)
    )


def _on_arc(outline: Outline, distance_mm: float, angle: float) -> tuple[float, float]:
    """The place at that distance from the nipple; angle 0 is straight towards the chest wall, negative is up."""
    nipple_x, nipple_y = outline.nipple_mm
    return nipple_x - distance_mm * float(np.cos(angle)), nipple_y + distance_mm * float(np.sin(angle))


def add_lesion(tissue: Field, lesion: Lesion, grid: Grid) -> None:
    """Draw a lesion into a picture of brightness, in place."""
    patch, rows, columns = _patch(lesion, grid)
    if patch.columns == 0 or patch.rows == 0:
        return
    centre = (lesion.x_mm - columns.start * grid.spacing_mm, lesion.y_mm - rows.start * grid.spacing_mm)
    drawing = _DRAWERS[lesion.kind](patch, centre, lesion, np.random.default_rng(lesion.seed))
    # towards white without burning out: dense tissue leaves less room above it
    tissue[rows, columns] += drawing * np.clip(1.15 - tissue[rows, columns], 0.25, 1)


def _patch(lesion: Lesion, grid: Grid) -> tuple[Grid, slice, slice]:
    reach = lesion.reach_mm * 1.3
    rows = _clipped_slice(lesion.y_mm - reach, lesion.y_mm + reach, grid.spacing_mm, grid.rows)
    columns = _clipped_slice(lesion.x_mm - reach, lesion.x_mm + reach, grid.spacing_mm, grid.columns)
    return Grid(rows.stop - rows.start, columns.stop - columns.start, grid.spacing_mm), rows, columns


def _clipped_slice(low_mm: float, high_mm: float, spacing_mm: float, length: int) -> slice:
    start = int(np.clip(np.floor(low_mm / spacing_mm), 0, length))
    return slice(start, int(np.clip(np.ceil(high_mm / spacing_mm), start, length)))


def _draw_body(
    patch: Grid, centre: tuple[float, float], lesion: Lesion, rng: np.random.Generator, *, waviness: float, edge: float
) -> Field:
    """A dense disc with a wavy outline; `edge` is the width of its border as a share of the radius."""
    x, y = patch.coordinates()
    angle = np.arctan2(y - centre[1], x - centre[0])
    outline = np.ones_like(angle)
    for harmonic in range(2, 8):
        outline += waviness / harmonic**1.4 * rng.normal() * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    squeeze = rng.uniform(0.8, 1.0)
    distance = np.hypot(x - centre[0], (y - centre[1]) / squeeze) / (0.8 * lesion.radius_mm * outline)
    body = 1 / (1 + np.exp((distance - 1) / edge))
    dome = 0.75 + 0.25 * np.sqrt(np.clip(1 - distance**2, 0, 1))
    return (lesion.contrast * body * dome).astype(np.float32)


def _draw_spiculated_mass(patch: Grid, centre: tuple[float, float], lesion: Lesion, rng: np.random.Generator) -> Field:
    body = _draw_body(patch, centre, lesion, rng, waviness=0.35, edge=0.13)
    spicules = np.zeros((patch.rows, patch.columns), dtype=np.float32)
    for _ in range(int(rng.integers(34, 52))):
        angle = rng.uniform(0, 2 * np.pi)
        length = lesion.radius_mm * rng.uniform(1.05, _REACH[lesion.kind])
        turns = angle + rng.normal(0, 0.10) * np.linspace(0, 1, 7)
        radii = np.linspace(0.45 * lesion.radius_mm, length, 7)
        points = np.stack([centre[0] + radii * np.cos(turns), centre[1] + radii * np.sin(turns)], axis=1)
        _add_tapering_line(spicules, points, patch.spacing_mm, width_mm=rng.uniform(0.35, 0.8))
    soft = cv2.GaussianBlur(spicules, (0, 0), max(0.22 / patch.spacing_mm, 0.5))
    combined: Field = np.maximum(body, 0.62 * lesion.contrast * np.minimum(soft, 1.2)) + 0.2 * lesion.contrast * soft
    return combined


def _add_tapering_line(canvas: Field, points_mm: NDArray[np.float64], spacing_mm: float, *, width_mm: float) -> None:
    """Add a line that grows thin and faint towards its end."""
    n_pieces = len(points_mm) - 1
    fixed = np.round((points_mm / spacing_mm - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    for piece in range(n_pieces):
        strength = (1 - piece / n_pieces) ** 0.7
        thickness = width_mm * strength / spacing_mm
        stroke = np.zeros(canvas.shape, dtype=np.uint8)
        cv2.line(
            stroke,
            tuple(map(int, fixed[piece])),
            tuple(map(int, fixed[piece + 1])),
            color=255,
            thickness=max(1, round(thickness)),
            lineType=cv2.LINE_AA,
            shift=_SUBPIXEL_BITS,
        )
        # a line thinner than a pixel is drawn one pixel wide and fainter
        np.maximum(canvas, stroke * np.float32(strength * min(1.0, thickness) / 255), out=canvas)


def _draw_mass(patch: Grid, centre: tuple[float, float], lesion: Lesion, rng: np.random.Generator) -> Field:
    return _draw_body(patch, centre, lesion, rng, waviness=0.34, edge=0.10)


def _draw_benign_mass(patch: Grid, centre: tuple[float, float], lesion: Lesion, rng: np.random.Generator) -> Field:
    return _draw_body(patch, centre, lesion, rng, waviness=0.06, edge=0.05)


def _draw_microcalcifications(
    patch: Grid, centre: tuple[float, float], lesion: Lesion, rng: np.random.Generator
) -> Field:
    n_specks = int(rng.integers(22, 46))
    direction = rng.uniform(0, np.pi)
    along, aside = rng.normal(0, 0.42, n_specks), rng.normal(0, 0.26, n_specks)
    x = centre[0] + lesion.radius_mm * np.clip(along * np.cos(direction) - aside * np.sin(direction), -1, 1)
    y = centre[1] + lesion.radius_mm * np.clip(along * np.sin(direction) + aside * np.cos(direction), -1, 1)
    specks = np.zeros((patch.rows, patch.columns), dtype=np.float32)
    for speck_x, speck_y in zip(x, y, strict=True):
        size = np.clip(rng.lognormal(np.log(0.32), 0.35), 0.15, 0.7)
        _add_speck(specks, (speck_x, speck_y), size, patch.spacing_mm, brightness=lesion.contrast * rng.uniform(0.6, 1))
    haze = _draw_body(patch, centre, lesion, rng, waviness=0.5, edge=0.22) * np.float32(0.36)
    return haze + specks


def _add_speck(
    canvas: Field, centre: tuple[float, float], radius_mm: float, spacing_mm: float, *, brightness: float
) -> None:
    """Add a small round spot whose sum of brightness does not depend on the pixel size."""
    sigma = max(0.55 * radius_mm, 0.45 * spacing_mm)
    peak = brightness * min(1.0, (0.55 * radius_mm / sigma) ** 2)
    reach = 3.5 * sigma
    rows = _clipped_slice(centre[1] - reach, centre[1] + reach, spacing_mm, canvas.shape[0])
    columns = _clipped_slice(centre[0] - reach, centre[0] + reach, spacing_mm, canvas.shape[1])
    y = (np.arange(rows.start, rows.stop)[:, np.newaxis] + 0.5) * spacing_mm - centre[1]
    x = (np.arange(columns.start, columns.stop)[np.newaxis, :] + 0.5) * spacing_mm - centre[0]
    spot = peak * np.exp(-((np.hypot(x, y) / (1.414 * sigma)) ** 2.6))
    np.maximum(canvas[rows, columns], spot, out=canvas[rows, columns], casting="same_kind")


def _draw_coarse_calcification(
    patch: Grid, centre: tuple[float, float], lesion: Lesion, rng: np.random.Generator
) -> Field:
    body = _draw_body(patch, centre, lesion, rng, waviness=0.2, edge=0.10)
    has_clear_centre = rng.random() < 0.5  # an eggshell or skin calcification
    if not has_clear_centre:
        return body
    x, y = patch.coordinates()
    core = np.exp(-((np.hypot(x - centre[0], y - centre[1]) / (0.4 * lesion.radius_mm)) ** 2))
    return body * (1 - 0.6 * core).astype(np.float32)


_DRAWERS: Final = {
    LesionKind.SPICULATED_MASS: _draw_spiculated_mass,
    LesionKind.MASS: _draw_mass,
    LesionKind.MICROCALCIFICATIONS: _draw_microcalcifications,
    LesionKind.BENIGN_MASS: _draw_benign_mass,
    LesionKind.COARSE_CALCIFICATION: _draw_coarse_calcification,
}
