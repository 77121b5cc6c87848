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
)
from mammoscope.phantom.outline import Outline

Density = Literal["A", "B", "C", "D"]

BETA: Final = 3.0
"""Exponent of the power law of mammographic backgrounds (Burgess et al. 2001, doi:10.1118/1.1355308)."""

_FAT: Final = 0.225
_MUSCLE: Final = 0.30  # above fat
_DETAIL_TILE: Final = 512


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
    weight = _step(far, 2.0, 5.0)
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
    gland = _draw_gland(coarse, outline, density, pair_rng=pair_rng, rng=rng)
    gland_fine = np.clip(grid.resample(gland, COARSE), 0, None)
    composition = COMPOSITIONS[density]
    tissue = np.float32(_FAT) * _thickness(places.below_skin)
    tissue += np.float32(composition.contrast) * gland_fine
    tissue += _draw_fibres(coarse, grid, gland_fine, places, rng=rng)
    tissue += _draw_detail(grid, gland_fine, rng=rng)
    tissue += _draw_skin(places, outline)
    if outline.muscle is not None:
        tissue += _draw_muscle(places, coarse, grid, rng=rng)
    tissue *= np.clip(places.below_skin / np.float32(0.6) + np.float32(0.3), 0, 1)
    return tissue


def _thickness(below_skin: Field) -> Field:
    """The share of the full compressed thickness: it falls off round the edge, and processing lifts it again."""
    share = np.clip(below_skin / np.float32(20.0), 0, 1)
    return np.float32(0.42) + np.float32(0.58) * np.sqrt(1 - (1 - share) ** 2)


def _draw_gland(
    places: Places, outline: Outline, density: Density, *, pair_rng: np.random.Generator, rng: np.random.Generator
) -> Field:
    """How glandular each coarse pixel is, 0 to about 1."""
    composition = COMPOSITIONS[density]
    depth, (nipple_x, nipple_y) = outline.nipple_mm[0], outline.nipple_mm
    lift = pair_rng.uniform(0.02, 0.14) * depth  # most tissue lies in the upper outer quarter
    middle_x, middle_y = nipple_x - pair_rng.uniform(0.40, 0.48) * depth, nipple_y - lift
    reach_x, reach_y = pair_rng.uniform(0.46, 0.54) * depth, pair_rng.uniform(0.50, 0.66) * depth
    radius = np.hypot((places.x - middle_x) / reach_x, (places.y - middle_y) / reach_y)
    shared = power_law_field(pair_rng, beta=BETA, longest_mm=60)
    own = power_law_field(rng, beta=BETA, longest_mm=50)
    potential = 1 - radius + 0.30 * shared + 0.22 * own
    extent = _step(
        potential, composition.threshold - composition.softness, composition.threshold + composition.softness
    )
    streaks = sample_along(power_law_field(rng, beta=2.7, longest_mm=22), places.along / 2.6, places.across)
    lobules = power_law_field(rng, beta=2.6, longest_mm=14)
    texture = np.clip(0.62 + 0.22 * streaks + 0.14 * lobules, 0.05, 1.25)
    rim = composition.fat_rim_mm * (1 + 0.25 * band_field(rng, wavelength_mm=25))
    behind_nipple = np.exp(-0.5 * ((places.y - nipple_y) / 9) ** 2) * (places.x > middle_x)
    rim = rim * (1 - 0.75 * behind_nipple)
    covered = _step(places.below_skin, rim * 0.7, rim * 1.15)
    before_wall = _step(places.x, 0.02 * depth, 0.2 * depth) * 0.8 + 0.2
    out_of_muscle = 1 - 0.85 * _step(places.in_muscle, -4, 6)
    return (extent * texture * covered * before_wall * out_of_muscle).astype(np.float32)


def _draw_fibres(coarse: Places, grid: Grid, gland: Field, places: Places, *, rng: np.random.Generator) -> Field:
    """Ducts and trabeculae that run to the nipple, and Cooper's ligaments that net the fat.

    The zero lines of smooth noise are long, curved and branching, as the fibres are; noise that is stretched towards
    the nipple gives fibres that run there.
    """
    fibres = np.zeros((grid.rows, grid.columns), dtype=np.float32)
    bow = 0.6 * band_field(rng, wavelength_mm=45)
    layers = (
        # wavelength across, stretch along, sharpness, brightness in fat, brightness in glandular tissue
        (11.0, 3.2, 0.10, 0.070, 0.10),
        (6.0, 3.0, 0.12, 0.050, 0.09),
        (3.4, 2.6, 0.16, 0.030, 0.07),
        (9.0, 1.0, 0.08, 0.055, 0.05),
        (4.5, 1.3, 0.12, 0.030, 0.06),
    )
    for wavelength, stretch, sharpness, in_fat, in_gland in layers:
        noise = band_field(rng, wavelength_mm=wavelength)
        warped = sample_along(noise, coarse.along / stretch, coarse.across + bow * wavelength)
        fine = grid.resample(warped, COARSE)
        line = np.exp(-((fine / np.float32(sharpness)) ** 2))
        presence = grid.resample(np.clip(0.5 + 0.5 * band_field(rng, wavelength_mm=24), 0, 1.4), COARSE)
        fibres += line * presence * (np.float32(in_fat) + np.float32(in_gland) * np.clip(gland, 0, 1))
    return fibres * _step(places.below_skin, 1.0, 7.0) * (1 - 0.5 * _step(places.in_muscle, 0, 6))


def _draw_detail(grid: Grid, gland: Field, *, rng: np.random.Generator) -> Field:
    """The finest structure, which the coarse fields cannot carry: the power law goes on."""
    if grid.spacing_mm >= COARSE.spacing_mm:
        return np.zeros_like(gland)
    tile = detail_tile(rng, size=_DETAIL_TILE, spacing_mm=grid.spacing_mm, beta=BETA)
    repeats = (-(-grid.rows // _DETAIL_TILE), -(-grid.columns // _DETAIL_TILE))
    detail = np.tile(tile, repeats)[: grid.rows, : grid.columns]
    return detail * (np.float32(0.04) + np.float32(0.16) * gland)


def _draw_skin(places: Places, outline: Outline) -> Field:
    """A bright line of about 1.5 mm along the outline, thicker around the nipple (the areola)."""
    from_nipple = np.hypot(places.x - outline.nipple_mm[0], places.y - outline.nipple_mm[1])
    areola = np.exp(-0.5 * (from_nipple / np.float32(11)) ** 2)
    thickness = np.float32(1.3) + np.float32(1.6) * areola
    depth = places.below_skin / thickness
    line = np.exp(-((depth - np.float32(0.6)) ** 2) * 2.2)
    return line * (np.float32(0.085) + np.float32(0.05) * areola) + np.float32(0.06) * areola * (depth > 0)


def _draw_muscle(places: Places, coarse: Places, grid: Grid, *, rng: np.random.Generator) -> Field:
    """The pectoral muscle: bright towards the armpit, with fibres that run along its edge."""
    body = _step(places.in_muscle, -0.8, 1.6) * (0.72 + 0.28 * _step(places.in_muscle, 0, 22))
    noise = power_law_field(rng, beta=2.8, longest_mm=18)
    # fibres run from the armpit towards the chest wall, so that the noise is stretched along y
    fibres = grid.resample(sample_along(noise, coarse.in_muscle + 60, coarse.y / 4.5), COARSE)
    fade = 1 - 0.45 * np.clip(places.y / np.float32(220), 0, 1)
    return body * fade * (np.float32(_MUSCLE) + np.float32(0.022) * fibres)


def _step(value: Field, low: Field | float, high: Field | float) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    share = np.clip((value - low) / (high - low), 0, 1)
    smooth: Field = (share * share * (3 - 2 * share)).astype(np.float32)
    return smooth
