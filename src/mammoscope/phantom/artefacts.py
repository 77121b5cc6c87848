"""What disturbs real mammograms: labels, frames, shutters, implants, other parts of the body, odd backgrounds.

Each artefact has its own stream of chance, made from the seed of its picture, so that a picture without any is the
same as ever.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mammoscope.anatomy import Laterality, View

Mask = NDArray[np.bool_]

_STREAM: Final = 1  # of the picture's seed; tissue and noise use the seed itself


class Artefact(StrEnum):
    """What disturbs a picture; the seeds follow the order, so that new ones come last."""

    FILLS_PICTURE = "fills_picture"  # a breast larger than the detector
    NEARLY_EMPTY = "nearly_empty"  # little tissue at the chest wall
    IMPLANT = "implant"
    BODY_PART = "body_part"  # arm, shoulder or chin in a far corner
    OTHER_BREAST = "other_breast"  # its fold beside the breast
    RAISED_BLACK = "raised_black"  # air is an even grey
    NOISY_AIR = "noisy_air"
    LABELS = "labels"
    LABEL_AT_BREAST = "label_at_breast"
    LABEL_AT_WALL = "label_at_wall"
    SCRATCHES = "scratches"
    SHUTTER = "shutter"  # the unexposed border beyond the collimator, straight
    TILTED_SHUTTER = "tilted_shutter"
    WHITE_FRAME = "white_frame"
    DETECTOR_BORDER = "detector_border"  # a few rows and columns of extreme values
    PADDING_BORDER = "padding_border"  # a border of the Pixel Padding Value


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What an artefact has to know about its picture."""

    breast: Mask  # (row, column), as stored
    laterality: Laterality
    view: View
    spacing_mm: float
    seed: int

    @property
    def is_wall_left(self) -> bool:
        """Whether the chest wall is at the first column."""
        return self.laterality is Laterality.LEFT

    def stream(self, artefact: Artefact) -> np.random.Generator:
        """The chance of one artefact in this picture."""
        return artefact_stream(self.seed, artefact)

    def to_pixels(self, length_mm: float) -> int:
        """A length in pixels, at least one."""
        return max(1, round(length_mm / self.spacing_mm))

    def room_px(self) -> dict[str, int]:
        """Pixels of air between the breast and the upper, the lower and the far edge of the picture."""
        n_rows, n_columns = self.breast.shape
        rows, columns = np.flatnonzero(self.breast.any(axis=1)), np.flatnonzero(self.breast.any(axis=0))
        if not rows.size:
            return {"top": n_rows // 2, "bottom": n_rows // 2, "far": n_columns // 2}
        far = n_columns - 1 - columns[-1] if self.is_wall_left else columns[0]
        return {"top": int(rows[0]), "bottom": int(n_rows - 1 - rows[-1]), "far": int(far)}


def artefact_stream(seed: int, artefact: Artefact) -> np.random.Generator:
    """The chance of one artefact in the picture of that seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, list(Artefact).index(artefact))))
