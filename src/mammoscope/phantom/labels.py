"""Labels that are burned into a picture: side markers, plates, notes; in air, at the breast, at the chest wall."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mammoscope.phantom.artefacts import Scene
from mammoscope.phantom.fields import Field

_TEXTS: Final = ("R.S.", "AB", "MAG 1.0", "28kV 85mAs", "PHANTOM", "P7", "12 / 4", "SCREEN", "2.1", "X-RAY No 83")
_FONTS: Final = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)
_CAPITAL_PX: Final = 22  # height of a capital of these fonts at scale 1
_PLACING_TRIES: Final = 40


def add_labels(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """Two to five labels anywhere in air, in place."""
    for number in range(int(rng.integers(2, 6))):
        text = f"{scene.laterality}-{scene.view}" if number == 0 else str(rng.choice(_TEXTS))
        plate = _draw_plate(text, scene, rng)
        place = _find_air(plate.shape, scene, rng)
        if place is not None:
            _paste(brightness, plate, *place)


def add_label_at_breast(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """A label 0.3 to 3 mm beside the skin, at the height of the breast, in place."""
    plate = _draw_plate(f"{scene.laterality}{scene.view}", scene, rng)
    height, width = plate.shape
    n_rows, n_columns = scene.breast.shape
    row = int(rng.uniform(0.1, 0.9) * max(1, n_rows - height))
    beside = np.flatnonzero(scene.breast[row : row + height].any(axis=0))
    gap = scene.to_pixels(rng.uniform(0.3, 3.0))
    if scene.is_wall_left:
        column = (int(beside[-1]) if beside.size else -1) + 1 + gap
    else:
        column = (int(beside[0]) if beside.size else n_columns) - gap - width
    if 0 <= column <= n_columns - width:
        _paste(brightness, plate, row, column)


def add_label_at_wall(brightness: Field, scene: Scene, rng: np.random.Generator) -> None:
    """A label within 2 mm of the chest wall, in the larger gap above or below the breast, in place."""
    plate = _draw_plate(f"{scene.laterality} {rng.choice(_TEXTS)}", scene, rng)
    n_rows, n_columns = scene.breast.shape
    room = scene.room_px()
    spare = max(0, max(room["top"], room["bottom"]) - plate.shape[0])
    offset = int(rng.uniform(0, 1) * spare)
    row = offset if room["top"] > room["bottom"] else max(0, n_rows - plate.shape[0] - offset)
    margin = round(rng.uniform(0, 2) / scene.spacing_mm)
    _paste(brightness, plate, row, margin if scene.is_wall_left else max(0, n_columns - margin - plate.shape[1]))


def _draw_plate(text: str, scene: Scene, rng: np.random.Generator) -> Field:
    """Letters of 3 to 7 mm: bright on nothing, or dark on a grey plate, upright or turned."""
    font, capital_px = int(rng.choice(_FONTS)), scene.to_pixels(rng.uniform(3, 7))
    size = capital_px / _CAPITAL_PX
    thickness = max(1, round(rng.uniform(1.2, 2.4) * size))
    (width, height), below = cv2.getTextSize(text, font, size, thickness)
    margin = max(1, height // 3)
    letters = np.zeros((height + below + 2 * margin, width + 2 * margin), dtype=np.uint8)
    cv2.putText(letters, text, (margin, margin + height), font, size, 255, thickness, cv2.LINE_AA)
    grey = float(rng.uniform(0.45, 1.0))
    share = letters.astype(np.float32) / 255
    is_plate, turns = rng.random() < 0.4, int(rng.choice([0, 0, 0, 1, 3]))  # noqa: PLR2004  # most are bare letters
    plate = grey * (1 - np.float32(0.85) * share) if is_plate else grey * share
    return np.ascontiguousarray(np.rot90(plate, turns), dtype=np.float32)


def _find_air(shape: tuple[int, ...], scene: Scene, rng: np.random.Generator) -> tuple[int, int] | None:
    """The upper left corner of a free rectangle, None where chance finds none."""
    n_rows, n_columns = scene.breast.shape
    if shape[0] >= n_rows or shape[1] >= n_columns:
        return None
    for _ in range(_PLACING_TRIES):
        row, column = int(rng.integers(n_rows - shape[0])), int(rng.integers(n_columns - shape[1]))
        if not scene.breast[row : row + shape[0], column : column + shape[1]].any():
            return row, column
    return None


def _paste(brightness: Field, plate: NDArray[np.float32], row: int, column: int) -> None:
    corner = brightness[row : row + plate.shape[0], column : column + plate.shape[1]]
    np.maximum(corner, plate[: corner.shape[0], : corner.shape[1]], out=corner)
