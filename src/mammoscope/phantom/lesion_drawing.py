"""How lesions look: each kind drawn as brightness above the tissue around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from mammoscope.phantom.fields import Field, Grid
from mammoscope.phantom.lesions import TRAITS, Lesion, LesionKind

_SUBPIXEL_BITS: Final = 4
_N_SPICULE_PIECES: Final = 7
_CLEAR_CENTRE_SHARE: Final = 0.5  # of coarse calcifications: eggshells, skin calcifications
_HAZE: Final = 0.38  # density behind microcalcifications, as a share of their contrast


@dataclass(frozen=True, slots=True)
class Patch:
    """A small grid around a lesion, and the lesion's place on it."""

    grid: Grid
    x_mm: float
    y_mm: float

    def offsets(self) -> tuple[Field, Field]:
        """The (x, y) of each pixel from the lesion's centre, in mm; shapes (1, column) and (row, 1)."""
        x, y = self.grid.coordinates()
        return x - np.float32(self.x_mm), y - np.float32(self.y_mm)

    def blank(self) -> Field:
        """Nothing drawn yet."""
        return np.zeros((self.grid.rows, self.grid.columns), dtype=np.float32)


def add_lesion(tissue: Field, lesion: Lesion, grid: Grid) -> None:
    """Draw a lesion into a picture of brightness on the grid, in place."""
    reach = lesion.reach_mm
    rows = _clipped_slice(lesion.y_mm - reach, lesion.y_mm + reach, grid.spacing_mm, grid.rows)
    columns = _clipped_slice(lesion.x_mm - reach, lesion.x_mm + reach, grid.spacing_mm, grid.columns)
    patch = Patch(
        Grid(rows.stop - rows.start, columns.stop - columns.start, grid.spacing_mm),
        x_mm=lesion.x_mm - columns.start * grid.spacing_mm,
        y_mm=lesion.y_mm - rows.start * grid.spacing_mm,
    )
    drawing = _DRAWERS[lesion.kind](patch, lesion, np.random.default_rng(lesion.seed))
    drawing *= _fade_out(patch, reach)
    # dense tissue leaves less room below white
    tissue[rows, columns] += drawing * np.clip(1.3 - tissue[rows, columns], 0.4, 1)


def _fade_out(patch: Patch, reach_mm: float) -> Field:
    """1 inside, falling to 0 at the reach, so that the box holds all of the lesion."""
    distance = np.hypot(*patch.offsets()) / np.float32(reach_mm)
    return np.clip((1 - distance) / np.float32(0.08), 0, 1)


def _draw_body(patch: Patch, lesion: Lesion, rng: np.random.Generator, *, waviness: float, edge: float) -> Field:
    """A dense disc with a wavy outline; `edge` is the width of its border as a share of the radius."""
    x, y = patch.offsets()
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for harmonic in range(2, 8):
        outline += waviness / harmonic**1.4 * rng.normal() * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    squeeze = rng.uniform(0.8, 1.0)
    distance = np.hypot(x, y / np.float32(squeeze)) / (0.8 * lesion.radius_mm * np.clip(outline, 0.5, 1.3))
    body = 1 / (1 + np.exp(np.clip((distance - 1) / edge, -30, 30)))
    dome = 0.75 + 0.25 * np.sqrt(np.clip(1 - distance**2, 0, 1))
    return np.asarray(lesion.contrast * body * dome * _mottle(patch, rng), dtype=np.float32)


def _mottle(patch: Patch, rng: np.random.Generator) -> Field:
    """Gentle unevenness around 1, of spots of about 3 mm."""
    n_rows, n_columns = (max(2, round(n * patch.grid.spacing_mm / 1.5)) for n in (patch.grid.rows, patch.grid.columns))
    spots = rng.standard_normal((n_rows, n_columns), dtype=np.float32)
    size = (patch.grid.columns, patch.grid.rows)
    return np.asarray(1 + 0.12 * cv2.resize(spots, size, interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _draw_spiculated_mass(patch: Patch, lesion: Lesion, rng: np.random.Generator) -> Field:
    body = _draw_body(patch, lesion, rng, waviness=0.25, edge=0.14)
    spicules = np.minimum(_draw_spicules(patch, lesion, rng), 1)
    return np.asarray(np.maximum(body, 0.75 * lesion.contrast * spicules), dtype=np.float32)


def _draw_spicules(patch: Patch, lesion: Lesion, rng: np.random.Generator) -> Field:
    """Lines that radiate from the mass and grow thin and faint towards their ends, 0 to 1."""
    n_spicules = int(rng.integers(34, 52))
    angles = rng.uniform(0, 2 * np.pi, n_spicules)
    bends = rng.normal(0, 0.12, n_spicules)
    lengths = lesion.radius_mm * rng.uniform(1.0, TRAITS[lesion.kind].reach, n_spicules)
    widths_mm = rng.uniform(0.4, 1.0, n_spicules)
    spacing = patch.grid.spacing_mm
    canvas = np.zeros((patch.grid.rows, patch.grid.columns), dtype=np.uint8)
    shares = np.linspace(0, 1, _N_SPICULE_PIECES + 1)[:, np.newaxis]  # (point, spicule)
    radii = 0.45 * lesion.radius_mm * (1 - shares) + lengths * shares
    turned = angles + bends * shares
    points_mm = np.stack([patch.x_mm + radii * np.cos(turned), patch.y_mm + radii * np.sin(turned)], axis=-1)
    fixed = np.round((points_mm / spacing - 0.5) * 2**_SUBPIXEL_BITS).astype(int)
    # the outer pieces first, so that the brighter inner ones are drawn over them
    for piece in reversed(range(_N_SPICULE_PIECES)):
        strength = (1 - piece / _N_SPICULE_PIECES) ** 1.1
        for start, stop, width_mm in zip(fixed[piece], fixed[piece + 1], widths_mm, strict=True):
            width_px = width_mm * strength / spacing
            # a line thinner than a pixel is drawn one pixel wide and fainter
            shade = round(255 * strength * min(1.0, width_px))
            ends = (tuple(start.tolist()), tuple(stop.tolist()))
            cv2.line(canvas, *ends, shade, max(1, round(width_px)), cv2.LINE_AA, _SUBPIXEL_BITS)
    blurred = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), max(0.2 / spacing, 0.4))
    return np.asarray(blurred / 255, dtype=np.float32)


def _draw_mass(patch: Patch, lesion: Lesion, rng: np.random.Generator) -> Field:
    return _draw_body(patch, lesion, rng, waviness=0.24, edge=0.10)


def _draw_benign_mass(patch: Patch, lesion: Lesion, rng: np.random.Generator) -> Field:
    return _draw_body(patch, lesion, rng, waviness=0.06, edge=0.05)


def _draw_microcalcifications(patch: Patch, lesion: Lesion, rng: np.random.Generator) -> Field:
    """Bright specks along one direction, as in a segment of ducts, with a faint density behind them."""
    n_specks = int(rng.integers(40, 75))
    direction = rng.uniform(0, np.pi)
    along, aside = rng.normal(0, 0.42, n_specks), rng.normal(0, 0.30, n_specks)
    specks = patch.blank()
    for step_along, step_aside in zip(along, aside, strict=True):
        x = step_along * np.cos(direction) - step_aside * np.sin(direction)
        y = step_along * np.sin(direction) + step_aside * np.cos(direction)
        place = np.clip((x, y), -0.95, 0.95) * lesion.radius_mm
        radius_mm = float(np.clip(rng.lognormal(np.log(0.42), 0.30), 0.2, 0.8))
        _add_speck(specks, patch, place, radius_mm=radius_mm, brightness=lesion.contrast * rng.uniform(0.7, 1))
    return specks + np.float32(_HAZE) * _draw_body(patch, lesion, rng, waviness=0.4, edge=0.2)


def _add_speck(canvas: Field, patch: Patch, place: tuple[float, float], *, radius_mm: float, brightness: float) -> None:
    """Add a round spot at a place (x, y) in mm from the centre; a pixel larger than it shows it fainter."""
    spacing = patch.grid.spacing_mm
    sigma = max(0.55 * radius_mm, 0.45 * spacing)
    peak = brightness * min(1.0, (0.55 * radius_mm / sigma) ** 2)
    x_mm, y_mm = patch.x_mm + place[0], patch.y_mm + place[1]
    rows = _clipped_slice(y_mm - 3.5 * sigma, y_mm + 3.5 * sigma, spacing, canvas.shape[0])
    columns = _clipped_slice(x_mm - 3.5 * sigma, x_mm + 3.5 * sigma, spacing, canvas.shape[1])
    y = (np.arange(rows.start, rows.stop)[:, np.newaxis] + 0.5) * spacing - y_mm
    x = (np.arange(columns.start, columns.stop)[np.newaxis, :] + 0.5) * spacing - x_mm
    spot = peak * np.exp(-((np.hypot(x, y) / (1.414 * sigma)) ** 2.6))
    np.maximum(canvas[rows, columns], spot, out=canvas[rows, columns], casting="same_kind")


def _draw_coarse_calcification(patch: Patch, lesion: Lesion, rng: np.random.Generator) -> Field:
    body = _draw_body(patch, lesion, rng, waviness=0.2, edge=0.10)
    if rng.random() < _CLEAR_CENTRE_SHARE:
        distance = np.hypot(*patch.offsets()) / np.float32(0.4 * lesion.radius_mm)
        body *= 1 - np.float32(0.6) * np.exp(-(distance**2))
    return body


def _clipped_slice(low_mm: float, high_mm: float, spacing_mm: float, length: int) -> slice:
    start = int(np.clip(np.floor(low_mm / spacing_mm), 0, length))
    return slice(start, int(np.clip(np.ceil(high_mm / spacing_mm), start, length)))


_DRAWERS: Final[dict[LesionKind, Callable[[Patch, Lesion, np.random.Generator], Field]]] = {
    LesionKind.SPICULATED_MASS: _draw_spiculated_mass,
    LesionKind.MASS: _draw_mass,
    LesionKind.MICROCALCIFICATIONS: _draw_microcalcifications,
    LesionKind.BENIGN_MASS: _draw_benign_mass,
    LesionKind.COARSE_CALCIFICATION: _draw_coarse_calcification,
}
