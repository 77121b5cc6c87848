"""The healthy breast: fat, glandular tissue, fibres, vessels, skin and muscle, as a picture of brightness.

Brightness is what a display shows: 0 is air, about 0.25 fat, 0.5 to 0.75 dense tissue, 1 metal. It is drawn, not
simulated from attenuation; the constants were set by eye beside digital mammograms.
"""

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from mammoscope.phantom.fields import (
    COARSE,
    Field,
    Grid,
    band_field,
    detail_tile,
    power_law_field,
    sample_along,
    step,
)
from mammoscope.phantom.outline import Outline
from mammoscope.phantom.vessels import draw_vessels

Density = Literal["A", "B", "C", "D"]

BETA: Final = 3.0
"""Exponent of the power law of mammographic backgrounds (Burgess et al. 2001, doi:10.1118/1.1355308)."""

_FAT: Final = 0.225
_MUSCLE: Final = 0.30  # above fat
_DETAIL_TILE: Final = 512
_DETAIL_LIMIT_MM: Final = 0.3  # pixels as large as these show none of it


@dataclass(frozen=True, slots=True)
class Composition:
    """How much glandular tissue a breast of one density category has, and how it lies."""

    threshold: float  # of the potential above which tissue is glandular: high means little of it
    contrast: float  # brightness above fat
    softness: float  # width of the threshold: large means tissue mixed with fat
    fat_rim_mm: float  # below the skin


# ACR BI-RADS 5th edition, categories A (almost entirely fatty) to D (extremely dense)
COMPOSITIONS: Final[dict[Density, Composition]] = {
    "A": Composition(threshold=0.75, contrast=0.20, softness=0.55, fat_rim_mm=14),
    "B": Composition(threshold=0.42, contrast=0.30, softness=0.45, fat_rim_mm=11),
    "C": Composition(threshold=0.12, contrast=0.37, softness=0.40, fat_rim_mm=8),
    "D": Composition(threshold=-0.18, contrast=0.43, softness=0.40, fat_rim_mm=5),
}


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where each pixel of a grid lies in the breast, in mm; all of shape (row, column)."""

    x: Field
    y: Field
    below_skin: Field  # negative outside
    in_muscle: Field  # distance from the muscle's edge, positive inside it; -1000 without a muscle
    along: Field  # distance to a point in front of the nipple, where the ducts meet
    across: Field  # arc length around that point


def locate(outline: Outline, grid: Grid) -> Places:
    """Where each pixel of the grid lies in the breast."""
    x, y = (np.broadcast_to(part, (grid.rows, grid.columns)) for part in grid.coordinates())
    rows_mm = y[:, 0]
    skin = outline.skin_at(rows_mm)
    slope = np.gradient(skin, rows_mm)
    near = ((skin[:, np.newaxis] - x) / np.sqrt(1 + slope**2)[:, np.newaxis]).astype(np.float32)
    inside = (near > 0).astype(np.uint8)
    far = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5) * np.float32(grid.spacing_mm)
    # close to the skin the slope gives the distance below one pixel; further in, only the true distance will do
    weight = step(far, 2.0, 5.0)
    below_skin = near * (1 - weight) + far * weight
    focus_x, focus_y = outline.nipple_mm[0] + 18.0, outline.nipple_mm[1]
    along = np.hypot(x - focus_x, y - focus_y).astype(np.float32)
    across = (np.arctan2(y - focus_y, focus_x - x) * 55.0).astype(np.float32)
    return Places(x, y, below_skin, _in_muscle(outline, x, rows_mm), along, across)


def _in_muscle(outline: Outline, x: Field, rows_mm: Field) -> Field:
    if outline.muscle is None:
        return np.full(x.shape, -1000, dtype=np.float32)
    edge = outline.muscle.edge_mm(rows_mm)
    slope = np.gradient(edge, rows_mm)
    return ((edge[:, np.newaxis] - x) / np.sqrt(1 + slope**2)[:, np.newaxis]).astype(np.float32)


def draw_tissue(
    outline: Outline, density: Density, grid: Grid, *, pair_rng: np.random.Generator, rng: np.random.Generator
) -> Field:
    """The brightness of a healthy breast on the grid, without noise.

    Args:
        outline: the breast in this picture.
        density: its BI-RADS density category.
        grid: what is drawn on.
        pair_rng: chance that both sides share; both must be given a generator of the same seed.
        rng: chance of this picture alone.
    """
    coarse = locate(outline, COARSE)
    places = locate(outline, grid)
    composition = COMPOSITIONS[density]
    gland = _draw_gland(coarse, outline, composition, pair_rng=pair_rng, rng=rng)
    gland_fine = np.clip(grid.resample(gland, COARSE), 0, None)
    clouds = grid.resample(power_law_field(rng, beta=BETA, longest_mm=40), COARSE)
    tissue = (np.float32(_FAT) + np.float32(0.016) * clouds) * _thickness(places.below_skin)
    tissue += np.float32(composition.contrast) * gland_fine
    tissue += _draw_fibres(coarse, grid, gland_fine, places, rng=rng)
    tissue += _draw_detail(grid, gland_fine, rng=rng)
    tissue += draw_vessels(outline, grid, rng=rng) * step(places.below_skin, 1.0, 5.0)
    tissue += _draw_skin(places, outline)
    if outline.muscle is not None:
        tissue += _draw_muscle(places, coarse, grid, rng=rng)
    tissue *= np.clip(places.below_skin / np.float32(0.6) + np.float32(0.3), 0, 1)
    return tissue


def _thickness(below_skin: Field) -> Field:
    """The share of the full compressed thickness: it falls off round the edge, and processing lifts it again."""
    share = np.clip(below_skin / np.float32(20.0), 0, 1)
    return np.asarray(0.42 + 0.58 * np.sqrt(1 - (1 - share) ** 2), dtype=np.float32)


def _draw_gland(
    places: Places,
    outline: Outline,
    composition: Composition,
    *,
    pair_rng: np.random.Generator,
    rng: np.random.Generator,
) -> Field:
    """How glandular each coarse pixel is, 0 to about 1."""
    depth, nipple_y = outline.nipple_mm
    lift = pair_rng.uniform(0.02, 0.14) * depth  # most tissue lies in the upper outer quarter
    middle_x, middle_y = depth * (1 - pair_rng.uniform(0.42, 0.50)), nipple_y - lift
    reach_x, reach_y = pair_rng.uniform(0.46, 0.54) * depth, pair_rng.uniform(0.50, 0.66) * depth
    radius = np.hypot((places.x - middle_x) / reach_x, (places.y - middle_y) / reach_y)
    shared = power_law_field(pair_rng, beta=3.5, longest_mm=60)
    own = power_law_field(rng, beta=3.4, longest_mm=45)
    potential = 1 - radius + 0.30 * shared + 0.24 * own
    threshold, softness = composition.threshold, composition.softness
    extent = step(potential, threshold - softness, threshold + softness)
    streaks = sample_along(power_law_field(rng, beta=2.9, longest_mm=24), places.along / 2.8, places.across)
    lobules = power_law_field(rng, beta=2.9, longest_mm=12)
    texture = np.clip(0.64 + 0.22 * streaks + 0.13 * lobules, 0.2, 1.25)
    below_fat = _under_fat(places, outline, composition, rng=rng)
    before_wall = 0.2 + 0.8 * step(places.x, 0.02 * depth, 0.2 * depth)
    out_of_muscle = 1 - 0.85 * step(places.in_muscle, -4, 6)
    return np.asarray(extent * texture * below_fat * before_wall * out_of_muscle, dtype=np.float32)


def _under_fat(places: Places, outline: Outline, composition: Composition, *, rng: np.random.Generator) -> Field:
    """0 in the fat below the skin, 1 under it; the fat is scalloped, and thin behind the nipple."""
    rim = composition.fat_rim_mm * np.clip(1 + 0.28 * band_field(rng, wavelength_mm=24), 0.3, 2)
    behind_nipple = np.exp(-0.5 * ((places.y - outline.nipple_mm[1]) / 8) ** 2) * (places.x > outline.nipple_mm[0] / 2)
    rim = np.asarray(rim * (1 - 0.6 * behind_nipple), dtype=np.float32)
    return step(places.below_skin, rim * np.float32(0.7), rim * np.float32(1.2))


@dataclass(frozen=True, slots=True)
class FibreLayer:
    """Fibres of one size."""

    wavelength_mm: float  # across: about twice their distance
    stretch: float  # along: how much longer than wide their meshes are
    sharpness: float  # small is thin
    in_fat: float  # brightness
    in_gland: float  # brightness added to it in glandular tissue


_FIBRE_LAYERS: Final = (
    FibreLayer(wavelength_mm=12, stretch=5.0, sharpness=0.055, in_fat=0.070, in_gland=0.08),
    FibreLayer(wavelength_mm=7, stretch=5.0, sharpness=0.08, in_fat=0.060, in_gland=0.08),
    FibreLayer(wavelength_mm=4, stretch=4.5, sharpness=0.11, in_fat=0.045, in_gland=0.07),
    FibreLayer(wavelength_mm=2.6, stretch=3.5, sharpness=0.16, in_fat=0.030, in_gland=0.05),
    FibreLayer(wavelength_mm=6, stretch=1.7, sharpness=0.07, in_fat=0.024, in_gland=0.03),
)


def _draw_fibres(coarse: Places, grid: Grid, gland: Field, places: Places, *, rng: np.random.Generator) -> Field:
    """Ducts and trabeculae that run to the nipple, and Cooper's ligaments that net the fat.

    The zero lines of smooth noise are long, curved and branching, as the fibres are; noise that is stretched towards
    the nipple gives fibres that run there.
    """
    fibres = np.zeros((grid.rows, grid.columns), dtype=np.float32)
    glandular = np.clip(gland, 0, 1)
    bow = 2.6 * band_field(rng, wavelength_mm=55)  # mm by which fibres leave the straight way
    presence = np.clip(0.45 + 0.55 * band_field(rng, wavelength_mm=20), 0, 1.4)
    for layer in _FIBRE_LAYERS:
        noise = band_field(rng, wavelength_mm=layer.wavelength_mm)
        warped = sample_along(noise, coarse.along / layer.stretch, coarse.across + bow)
        line = np.exp(-((grid.resample(warped, COARSE) / np.float32(layer.sharpness)) ** 2))
        presence = np.roll(presence, (97, 61), axis=(0, 1))
        line *= grid.resample(presence, COARSE)
        line *= np.float32(layer.in_fat) + np.float32(layer.in_gland) * glandular
        fibres += line
    fibres *= step(places.below_skin, 1.0, 7.0)
    fibres *= 1 - np.float32(0.5) * step(places.in_muscle, 0, 6)
    return fibres


def _draw_detail(grid: Grid, gland: Field, *, rng: np.random.Generator) -> Field:
    """The finest structure, which the coarse fields cannot carry: the power law goes on."""
    if grid.spacing_mm >= _DETAIL_LIMIT_MM:
        return np.zeros_like(gland)
    tile = detail_tile(rng, size=_DETAIL_TILE, spacing_mm=grid.spacing_mm, beta=BETA)
    repeats = (-(-grid.rows // _DETAIL_TILE), -(-grid.columns // _DETAIL_TILE))
    detail = np.tile(tile, repeats)[: grid.rows, : grid.columns]
    return np.asarray(detail * (np.float32(0.09) + np.float32(0.14) * gland), dtype=np.float32)


def _draw_skin(places: Places, outline: Outline) -> Field:
    """A bright line of about 1.5 mm along the outline, thicker around the nipple (the areola)."""
    from_nipple = np.hypot(places.x - outline.nipple_mm[0], places.y - outline.nipple_mm[1])
    areola = np.exp(-0.5 * (from_nipple / np.float32(10)) ** 2)
    depth = places.below_skin / (np.float32(1.3) + np.float32(1.3) * areola)
    from_middle = np.clip(depth - np.float32(0.6), -10, 10)  # beyond, nothing is left of the line
    line = np.exp(np.float32(-2.2) * from_middle**2)
    line *= np.float32(0.085) + np.float32(0.03) * areola
    line += np.float32(0.04) * areola * (depth > 0)
    return np.asarray(line, dtype=np.float32)


def _draw_muscle(places: Places, coarse: Places, grid: Grid, *, rng: np.random.Generator) -> Field:
    """The pectoral muscle: bright towards the armpit, with fibres that run along its edge."""
    body = step(places.in_muscle, -0.8, 1.6) * (0.74 + 0.26 * step(places.in_muscle, 0, 22))
    noise = power_law_field(rng, beta=2.9, longest_mm=22)
    # fibres run from the armpit towards the chest wall, so that the noise is stretched along y
    fibres = grid.resample(sample_along(noise, coarse.in_muscle + 60, coarse.y / 3.5), COARSE)
    fade = 1 - 0.45 * np.clip(places.y / np.float32(220), 0, 1)
    return np.asarray(body * fade * (np.float32(_MUSCLE) + np.float32(0.026) * fibres), dtype=np.float32)
