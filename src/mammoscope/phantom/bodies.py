"""Other things in the beam: an implant in the breast; an arm, a chin, the other breast beside it."""

from typing import Final

import cv2
import numpy as np

from mammoscope.anatomy import View
from mammoscope.phantom.artefacts import Scene
from mammoscope.phantom.fields import Field, step

_IMPLANT_BRIGHTNESS: Final = 0.76
_LEAST_FOLD_MM: Final = 10.0


def add_implant(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """A bright smooth ellipse at the chest wall, 6 mm and more below the skin, in place."""
    rows, columns = np.flatnonzero(scene.breast.any(axis=1)), np.flatnonzero(scene.breast.any(axis=0))
    if not rows.size:
        return
    n_columns = brightness.shape[1]
    depth = columns.size
    widest = int(scene.breast.sum(axis=1).argmax())
    height = min(rows.size, 2 * depth)
    middle = widest - (0.12 * height if scene.view is View.MLO else 0)
    y, x = np.ogrid[: brightness.shape[0], :n_columns]
    from_wall = x if scene.is_wall_left else n_columns - 1 - x
    radius_x, radius_y = rng.uniform(0.32, 0.42) * depth, rng.uniform(0.30, 0.40) * height
    distance = np.hypot((from_wall - 0.7 * radius_x) / radius_x, (y - middle) / radius_y).astype(np.float32)
    body = np.clip((1 - distance) / np.float32(0.03), 0, 1) * _below_skin(scene, 6.0)
    shade = np.float32(_IMPLANT_BRIGHTNESS) + np.float32(0.08) * np.clip(distance, 0, 1) ** 4  # the shell is densest
    brightness *= 1 - np.float32(0.9) * body
    brightness += body * shade


def add_body_part(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """Arm, shoulder or chin: a lump of 20 to 70 mm in a far corner, apart from the breast or just at it, in place."""
    n_rows, n_columns = brightness.shape
    corner_row = 0 if rng.random() < 0.7 else n_rows - 1  # noqa: PLR2004  # mostly from above
    corner_column = n_columns - 1 if scene.is_wall_left else 0
    _add_lump(brightness, scene, rng, corner=(corner_row, corner_column), sizes_mm=(20, 70))


def add_other_breast(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """The fold of the other breast beside this one, in place.

    At the chest wall where there is room above or below, as in CC; else at the far edge, as where it hangs into an MLO.
    """
    n_rows, n_columns = brightness.shape
    room = scene.room_px()
    is_room_at_wall = max(room["top"], room["bottom"]) >= scene.to_pixels(_LEAST_FOLD_MM)
    row = 0 if room["top"] >= room["bottom"] else n_rows - 1
    column = 0 if scene.is_wall_left == is_room_at_wall else n_columns - 1
    _add_lump(brightness, scene, rng, corner=(row, column), sizes_mm=(15, 45))


def _add_lump(
    brightness: Field,
    scene: Scene,
    rng: np.random.Generator,
    *,
    corner: tuple[int, int],
    sizes_mm: tuple[float, float],
) -> None:
    """Soft tissue with a rounded, wavy edge round a corner of the picture; the breast lies before it."""
    n_rows, n_columns = brightness.shape
    y, x = np.ogrid[:n_rows, :n_columns]
    stretch = float(rng.uniform(0.6, 1.7))
    away = np.hypot((y - corner[0]) / np.sqrt(stretch), (x - corner[1]) * np.sqrt(stretch)).astype(np.float32)
    nearest = float(away[scene.breast].min()) if scene.breast.any() else float(away.max())
    reach = np.float32(min(scene.to_pixels(rng.uniform(*sizes_mm)), nearest * float(rng.uniform(0.8, 1.15))))
    angle = np.arctan2(y - corner[0], x - corner[1]).astype(np.float32)
    edge = reach * (1 - np.float32(0.07) * np.abs(np.sin(rng.integers(2, 5) * angle + rng.uniform(0, 6))))
    lump = step(edge - away, 0.0, float(scene.to_pixels(4.0)))
    cloud = cv2.resize(
        rng.standard_normal((12, 10), dtype=np.float32), (n_columns, n_rows), None, 0, 0, cv2.INTER_CUBIC
    )
    noise = rng.standard_normal(brightness.shape, dtype=np.float32)
    grey = np.float32(rng.uniform(0.25, 0.6)) + np.float32(0.04) * cloud + np.float32(0.01) * noise
    np.maximum(brightness, np.where(scene.breast, 0, lump * grey), out=brightness)


def _below_skin(scene: Scene, depth_mm: float) -> Field:
    """1 as deep below the skin as that and deeper, 0 above, soft by 1 mm."""
    breast = np.pad(scene.breast.astype(np.uint8), ((1, 1), (1, 1)), mode="edge")  # the wall is no skin
    distance = cv2.distanceTransform(breast, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1] * np.float32(scene.spacing_mm)
    return np.asarray(np.clip(distance - np.float32(depth_mm), 0, 1), dtype=np.float32)
