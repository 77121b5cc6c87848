"""Artefacts that hide the edges of a picture: frames, shutters, the borders of detector and padding."""

from collections.abc import Callable
from typing import Final

import numpy as np

from mammoscope.phantom.artefacts import Artefact, Mask, Scene

_LEAST_AIR_MM: Final = 2.0  # between a shutter and the breast
_WIDEST_SHUTTER_MM: Final = 25.0


def hidden_by(scene: Scene, artefacts: frozenset[Artefact]) -> Mask:
    """The pixels that are hidden by a border, whatever lies behind it."""
    hidden = np.zeros(scene.breast.shape, dtype=np.bool_)
    for artefact, cover in _COVERS.items():
        if artefact in artefacts:
            hidden |= cover(scene, scene.stream(artefact))
    return hidden


def cover(scene: Scene, artefact: Artefact) -> Mask:
    """The pixels that one border hides."""
    return _COVERS[artefact](scene, scene.stream(artefact))


def _cover_frame(scene: Scene, rng: np.random.Generator) -> Mask:
    return _border(scene, scene.to_pixels(rng.uniform(0.3, 3.0)))


def _cover_detector_border(scene: Scene, rng: np.random.Generator) -> Mask:
    return _border(scene, int(rng.integers(1, 5)))


def _cover_shutter(scene: Scene, rng: np.random.Generator) -> Mask:
    return _shut(scene, rng, tilt_degrees=0.0)


def _cover_tilted_shutter(scene: Scene, rng: np.random.Generator) -> Mask:
    return _shut(scene, rng, tilt_degrees=float(rng.uniform(0.6, 2.0) * rng.choice([-1, 1])))


def _border(scene: Scene, width: int) -> Mask:
    cover = np.ones(scene.breast.shape, dtype=np.bool_)
    cover[width:-width, width:-width] = False
    return cover


def _shut(scene: Scene, rng: np.random.Generator, *, tilt_degrees: float) -> Mask:
    """Bars on the far side and on some others, as far as the breast leaves room."""
    n_rows, n_columns = scene.breast.shape
    slope = np.tan(np.deg2rad(tilt_degrees))
    y, x = np.arange(n_rows)[:, np.newaxis], np.arange(n_columns)[np.newaxis, :]
    from_far = n_columns - 1 - x if scene.is_wall_left else x
    depth_of = {
        "top": y + slope * (x - n_columns / 2),
        "bottom": n_rows - 1 - y - slope * (x - n_columns / 2),
        "far": from_far + slope * (y - n_rows / 2),
    }
    room = scene.room_px()
    cover = np.zeros(scene.breast.shape, dtype=np.bool_)
    for side, depth in depth_of.items():
        share, is_chosen = rng.uniform(0.3, 1.0), side == "far" or rng.random() < 0.6  # noqa: PLR2004  # most have several
        reach = abs(slope) * (n_rows if side == "far" else n_columns) / 2  # a tilted bar is wider at one end
        free = min(room[side] - scene.to_pixels(_LEAST_AIR_MM), scene.to_pixels(_WIDEST_SHUTTER_MM)) - reach
        if is_chosen and free >= 1:
            cover |= depth < share * free
    return cover


_COVERS: Final[dict[Artefact, Callable[[Scene, np.random.Generator], Mask]]] = {
    Artefact.SHUTTER: _cover_shutter,
    Artefact.TILTED_SHUTTER: _cover_tilted_shutter,
    Artefact.WHITE_FRAME: _cover_frame,
    Artefact.DETECTOR_BORDER: _cover_detector_border,
    Artefact.PADDING_BORDER: _cover_shutter,
}
