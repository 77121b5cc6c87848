"""One picture: the healthy breast, its lesions, noise and side marker, as the values that a machine stores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.artefact_drawing import SpecialValues, draw_artefacts, overwrite_stored
from mammoscope.phantom.artefacts import Artefact, Scene
from mammoscope.phantom.fields import Field, Grid
from mammoscope.phantom.lesion_drawing import add_lesion
from mammoscope.phantom.lesions import Lesion
from mammoscope.phantom.machine import Machine, StoredValues
from mammoscope.phantom.outline import Outline
from mammoscope.phantom.tissue import Density, draw_tissue

FINEST_MM: Final = 0.1
"""Tissue is drawn no finer; finer detectors get interpolated values and their own noise."""

_NOISE: Final = 0.024  # standard deviation of quantum noise at brightness 1 and pixels of 0.1 mm
_DARKEST: Final = 0.004  # brightness is kept off 0 and 1, where the inverse of a sigmoid has no value

_MARKER_MM: Final = 5.0
_MARKER_MARGIN_MM: Final = 9.0
_MARKER_BRIGHTNESS: Final = 0.62


@dataclass(frozen=True, slots=True, eq=False)
class MammogramPlan:
    """All that one picture shows, before anything is drawn."""

    laterality: Laterality
    view: View
    density: Density
    outline: Outline
    lesions: tuple[Lesion, ...]
    pair_seed: int  # of what both sides have in common
    seed: int
    artefacts: frozenset[Artefact] = frozenset()
    enlargement: float = 1.0  # of the breast on the detector; lengths above are those before it

    @property
    def has_implant(self) -> bool:
        """Whether there is an implant in the breast."""
        return Artefact.IMPLANT in self.artefacts

    def seen_by(self, machine: Machine) -> Machine:
        """The machine with pixels of the size that they have in the breast."""
        return machine if self.enlargement == 1 else replace(machine, spacing_mm=machine.spacing_mm / self.enlargement)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the stored picture; the stops are exclusive."""

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int


@dataclass(frozen=True, slots=True)
class Pencil:
    """What a picture is drawn with."""

    rng: np.random.Generator  # of this picture alone
    pair_rng: np.random.Generator  # that both sides have in common
    finest_mm: float


def draw_picture(
    plan: MammogramPlan,
    machine: Machine,
    *,
    finest_mm: float = FINEST_MM,
    make_rng: Callable[[int], np.random.Generator] = np.random.default_rng,
) -> StoredValues:
    """The stored values of one mammogram, (row, column), the chest wall left for L and right for R.

    Args:
        plan: what it shows.
        machine: how it is stored.
        finest_mm: pixel of the drawing; finer machines get interpolated values and their own noise.
        make_rng: chance from a seed.
    """
    pencil = Pencil(make_rng(plan.seed), make_rng(plan.pair_seed), finest_mm)
    rng = pencil.rng
    brightness = _draw_breast(plan, plan.seen_by(machine), pencil) ** np.float32(machine.tone)
    breast = np.zeros((machine.rows, machine.columns), dtype=np.float32)
    breast[:, : brightness.shape[1]] = _add_noise(brightness, machine.spacing_mm, rng)
    if plan.laterality is Laterality.RIGHT:
        breast = breast[:, ::-1].copy()
    if machine.has_marker:
        _add_marker(breast, plan, machine.spacing_mm)
    if not plan.artefacts:
        return to_stored_values(breast, machine)
    scene = make_scene(plan, machine)
    draw_artefacts(breast, scene, plan.artefacts)
    stored = to_stored_values(breast, machine)
    low, high = machine.stored_range
    values = SpecialValues(low, high, air=machine.air, padding=padding_value(plan, machine))
    overwrite_stored(stored, scene, plan.artefacts, values)
    return stored


def make_scene(plan: MammogramPlan, machine: Machine) -> Scene:
    """What artefacts have to know; the breast is where the centre of a pixel lies before the skin."""
    x, y = Grid(machine.rows, machine.columns, plan.seen_by(machine).spacing_mm).coordinates()
    breast = x < plan.outline.skin_at(y[:, 0]).astype(np.float32)[:, np.newaxis]
    if plan.laterality is Laterality.RIGHT:
        breast = breast[:, ::-1].copy()
    return Scene(breast, plan.laterality, plan.view, machine.spacing_mm, plan.seed)


def padding_value(plan: MammogramPlan, machine: Machine) -> int | None:
    """The stored value that means no picture; a border of it needs one even where the machine has none."""
    if machine.padding is not None or Artefact.PADDING_BORDER not in plan.artefacts:
        return machine.padding
    return machine.stored_range[plan.seed % 2]


def locate_lesion(lesion: Lesion, laterality: Laterality, machine: Machine) -> Box:
    """The pixels that hold all of a lesion, inside the picture."""
    reach = lesion.reach_mm
    left, right = lesion.x_mm - reach, lesion.x_mm + reach
    if laterality is Laterality.RIGHT:
        width_mm = machine.columns * machine.spacing_mm
        left, right = width_mm - right, width_mm - left
    row_start, row_stop = _to_pixels(lesion.y_mm - reach, lesion.y_mm + reach, machine.spacing_mm, machine.rows)
    column_start, column_stop = _to_pixels(left, right, machine.spacing_mm, machine.columns)
    return Box(row_start, row_stop, column_start, column_stop)


def to_stored_values(brightness: Field, machine: Machine) -> NDArray[np.uint16]:
    """The values that the machine's first window shows as that brightness (the inverse of PS3.3 C.11.2)."""
    shown = np.clip(brightness, _DARKEST, 1 - _DARKEST)
    if machine.is_inverted:
        shown = 1 - shown
    stored = (_before_display(shown, machine) - machine.intercept) / machine.slope
    if machine.voi_function != "SIGMOID":
        stored = np.where(brightness <= _DARKEST, machine.air, stored)  # the unexposed detector, blacked out
    values = np.clip(np.rint(stored), *machine.stored_range)
    return np.asarray(values, dtype=np.int16) if machine.is_signed else np.asarray(values, dtype=np.uint16)


def _before_display(shown: Field, machine: Machine) -> Field:
    """The values that the machine's LUT or first window turns into these."""
    low, high = machine.stored_range
    if machine.lut_gamma is not None:
        return np.asarray(low + (high - low) * shown ** (1 / machine.lut_gamma))
    if not machine.windows:
        return np.asarray(low + (high - low) * shown)
    centre, width = machine.windows[0]
    if machine.voi_function == "SIGMOID":
        return np.asarray(centre + width / 4 * np.log(shown / (1 - shown)))
    if machine.voi_function == "LINEAR_EXACT":
        return np.asarray(centre + (shown - 0.5) * width)
    return np.asarray(centre - 0.5 + (shown - 0.5) * (width - 1))


def _draw_breast(plan: MammogramPlan, machine: Machine, pencil: Pencil) -> Field:
    """The brightness of the columns that hold the breast, at the machine's pixels."""
    spacing = max(machine.spacing_mm, pencil.finest_mm)
    depth_mm = min(float(plan.outline.skin_mm.max()) + 4, machine.columns * machine.spacing_mm)
    grid = Grid(
        rows=int(np.ceil(machine.rows * machine.spacing_mm / spacing)),
        columns=int(np.ceil(depth_mm / spacing)),
        spacing_mm=spacing,
    )
    tissue = draw_tissue(plan.outline, plan.density, grid, pair_rng=pencil.pair_rng, rng=pencil.rng)
    for lesion in plan.lesions:
        add_lesion(tissue, lesion, grid)
    np.clip(tissue, 0, 1, out=tissue)
    if spacing == machine.spacing_mm:
        return tissue[: machine.rows, : machine.columns]
    columns = min(int(depth_mm / machine.spacing_mm), machine.columns)
    return np.clip(Grid(machine.rows, columns, machine.spacing_mm).resample(tissue, grid), 0, 1)


def _add_noise(brightness: Field, spacing_mm: float, rng: np.random.Generator) -> Field:
    """Quantum noise: its deviation falls with the square root of the pixel's area, and is nil in air."""
    noise = rng.standard_normal(brightness.shape, dtype=np.float32)
    noise *= np.sqrt(brightness) * np.float32(_NOISE * min(1.0, FINEST_MM / spacing_mm))
    noise += brightness
    return noise


def _add_marker(brightness: Field, plan: MammogramPlan, spacing_mm: float) -> None:
    """The side and view near the upper corner away from the breast, in place."""
    text = f"{plan.laterality}-{plan.view}"
    font_scale = _MARKER_MM / spacing_mm / 22  # a capital of this font is 22 pixels high at scale 1
    thickness = max(1, round(1.5 * font_scale))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font_scale, thickness)
    plate = np.zeros((2 * height, width), dtype=np.uint8)
    cv2.putText(
        plate, text, (0, round(1.5 * height)), cv2.FONT_HERSHEY_SIMPLEX, font_scale, 255, thickness, cv2.LINE_AA
    )
    margin = round(_MARKER_MARGIN_MM / spacing_mm)
    is_left = plan.laterality is Laterality.LEFT
    column = brightness.shape[1] - margin - width if is_left else margin
    corner = brightness[margin : margin + plate.shape[0], column : column + width]
    np.maximum(corner, plate * np.float32(_MARKER_BRIGHTNESS / 255), out=corner)


def _to_pixels(low_mm: float, high_mm: float, spacing_mm: float, length: int) -> tuple[int, int]:
    start = int(np.clip(np.floor(low_mm / spacing_mm), 0, length - 1))
    return start, int(np.clip(np.ceil(high_mm / spacing_mm), start + 1, length))
