"""Draws artefacts: into the brightness of a picture, or into the values that are stored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from mammoscope.phantom.artefacts import Artefact, Scene
from mammoscope.phantom.bodies import add_body_part, add_implant, add_other_breast
from mammoscope.phantom.borders import cover
from mammoscope.phantom.fields import Field
from mammoscope.phantom.labels import add_label_at_breast, add_label_at_wall, add_labels
from mammoscope.phantom.machine import StoredValues

Drawer = Callable[[Field, Scene, np.random.Generator], None]


def draw_artefacts(brightness: Field, scene: Scene, artefacts: frozenset[Artefact]) -> None:
    """Draw artefacts into a picture of brightness, in place."""
    for artefact, draw in _DRAWERS.items():
        if artefact in artefacts:
            draw(brightness, scene, scene.stream(artefact))


@dataclass(frozen=True, slots=True)
class SpecialValues:
    """The stored values of one picture that are not just brightness."""

    lowest: int
    highest: int
    air: int  # black
    padding: int | None  # means no picture


def overwrite_stored(stored: StoredValues, scene: Scene, artefacts: frozenset[Artefact], values: SpecialValues) -> None:
    """Write what consists of stored values, not of brightness, in place; only air may have the value of padding too."""
    if Artefact.DETECTOR_BORDER in artefacts:
        is_low = scene.stream(Artefact.DETECTOR_BORDER).random(stored.shape[0]) < 0.5  # noqa: PLR2004  # either
        extremes = np.where(is_low, values.lowest, values.highest)[:, np.newaxis]
        area = cover(scene, Artefact.DETECTOR_BORDER)
        stored[area] = np.broadcast_to(extremes, stored.shape)[area]
    padding = values.padding
    if padding is not None and Artefact.PADDING_BORDER in artefacts:
        if padding != values.air:
            stored[stored == padding] = padding + 1 if padding == values.lowest else padding - 1
        stored[cover(scene, Artefact.PADDING_BORDER)] = padding


def _raise_black(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """Air is grey; bright tissue stays as bright as it is."""
    del scene
    level = np.float32(rng.uniform(0.05, 0.18))
    brightness *= 1 - level
    brightness += level


def _add_noise_in_air(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    deviation = np.float32(rng.uniform(0.015, 0.05))
    noise = np.abs(rng.standard_normal(brightness.shape, dtype=np.float32)) * deviation
    brightness += noise * ~scene.breast


def _add_scratches(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """Thin bright lines of 8 to 90 mm, straight or slightly bent, anywhere."""
    n_rows, n_columns = brightness.shape
    strokes = np.zeros(brightness.shape, dtype=np.uint8)
    for _ in range(int(rng.integers(2, 9))):
        start_x, start_y = rng.uniform(0, n_columns), rng.uniform(0, n_rows)
        angle, length = rng.uniform(0, 2 * np.pi), scene.to_pixels(rng.uniform(8, 90))
        along = np.linspace(0, length, 12)
        aside = rng.normal(0, 0.03) * along**2 / length
        x = start_x + along * np.cos(angle) - aside * np.sin(angle)
        y = start_y + along * np.sin(angle) + aside * np.cos(angle)
        points = np.round(np.stack([x, y], axis=1)).astype(np.int32)
        width = scene.to_pixels(rng.uniform(0.1, 0.4))
        cv2.polylines(strokes, [points], isClosed=False, color=255, thickness=width, lineType=cv2.LINE_AA)
    np.maximum(brightness, strokes * np.float32(rng.uniform(0.5, 0.95) / 255), out=brightness)


def _paint(artefact: Artefact, darkest: float, brightest: float) -> Drawer:
    """Draws a border of one grey."""

    def paint(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
        brightness[cover(scene, artefact)] = np.float32(rng.uniform(darkest, brightest))

    return paint


# in the order of drawing: what lies behind comes first
_DRAWERS: Final[dict[Artefact, Drawer]] = {
    Artefact.IMPLANT: add_implant,
    Artefact.BODY_PART: add_body_part,
    Artefact.OTHER_BREAST: add_other_breast,
    Artefact.RAISED_BLACK: _raise_black,
    Artefact.NOISY_AIR: _add_noise_in_air,
    Artefact.LABELS: add_labels,
    Artefact.LABEL_AT_BREAST: add_label_at_breast,
    Artefact.LABEL_AT_WALL: add_label_at_wall,
    Artefact.SCRATCHES: _add_scratches,
    Artefact.SHUTTER: _paint(Artefact.SHUTTER, 0.35, 1.0),
    Artefact.TILTED_SHUTTER: _paint(Artefact.TILTED_SHUTTER, 0.35, 1.0),
    Artefact.WHITE_FRAME: _paint(Artefact.WHITE_FRAME, 0.8, 1.0),
}
