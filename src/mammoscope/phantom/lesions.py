"""Lesions: what kinds there are, and where one lies in both views of a breast.

A lesion keeps its distance to the nipple from one view to the other, which is how a reader finds it again
(the arc rule of mammography).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from mammoscope.phantom.outline import Outline

_MARGIN_MM: Final = 4.0  # between a lesion and the skin, the chest wall or the muscle
_PLACING_TRIES: Final = 400
_WIDEST_ANGLE: Final = 0.9  # radians off the line from the nipple to the chest wall


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
        return self in MALIGNANT_KINDS


MALIGNANT_KINDS: Final = (LesionKind.SPICULATED_MASS, LesionKind.MASS, LesionKind.MICROCALCIFICATIONS)


@dataclass(frozen=True, slots=True)
class Traits:
    """The range of one kind of lesion."""

    radius_range_mm: tuple[float, float]
    contrast_range: tuple[float, float]  # brightness above the surroundings, at conspicuity 1
    reach: float  # half-width of all that is drawn, in radii


# Cancers found by screening are mostly 10 to 20 mm across; these are of the larger ones, so that a small network
# learns them from a few hundred patients.
TRAITS: Final = {
    LesionKind.SPICULATED_MASS: Traits((7.0, 11.0), (0.32, 0.52), reach=1.7),
    LesionKind.MASS: Traits((7.5, 11.5), (0.34, 0.56), reach=1.15),
    LesionKind.MICROCALCIFICATIONS: Traits((8.0, 11.5), (0.55, 0.90), reach=1.15),
    LesionKind.BENIGN_MASS: Traits((3.5, 6.5), (0.10, 0.18), reach=1.15),
    LesionKind.COARSE_CALCIFICATION: Traits((0.8, 1.9), (0.45, 0.75), reach=1.15),
}


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
        return self.radius_mm * TRAITS[self.kind].reach


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
    radius = float(rng.uniform(*TRAITS[kind].radius_range_mm))
    contrast = float(rng.uniform(*TRAITS[kind].contrast_range)) * (conspicuity if kind.is_malignant else 1.0)
    places = _find_places(outlines, margin_mm=radius + _MARGIN_MM, rng=rng)
    seeds = rng.integers(0, 2**31, size=len(outlines))
    return tuple(
        Lesion(kind, *place, radius_mm=radius, contrast=contrast, seed=int(seed))
        for place, seed in zip(places, seeds, strict=True)
    )


def _find_places(
    outlines: tuple[Outline, ...], *, margin_mm: float, rng: np.random.Generator
) -> tuple[tuple[float, float], ...]:
    """One place (x, y) in mm per view, all at the same distance from the nipple."""
    depth = min(outline.nipple_mm[0] for outline in outlines)
    nearest = margin_mm + 5
    farthest = max(0.75 * depth, nearest)
    places: tuple[tuple[float, float], ...] = ()
    for attempt in range(_PLACING_TRIES):
        # late tries come closer to the nipple and to the line behind it, where there is always room
        patience = 1 - attempt / _PLACING_TRIES
        distance = float(rng.uniform(nearest, nearest + (farthest - nearest) * patience))
        angles = rng.uniform(-_WIDEST_ANGLE, 0.7 * _WIDEST_ANGLE, size=len(outlines)) * patience
        places = tuple(
            _on_arc(outline, distance, float(angle)) for outline, angle in zip(outlines, angles, strict=True)
        )
        if all(outline.holds(*place, margin_mm=margin_mm) for outline, place in zip(outlines, places, strict=True)):
            break
    return places


def _on_arc(outline: Outline, distance_mm: float, angle: float) -> tuple[float, float]:
    """The place at that distance from the nipple; angle 0 is straight towards the chest wall, negative is up."""
    nipple_x, nipple_y = outline.nipple_mm
    return nipple_x - distance_mm * float(np.cos(angle)), nipple_y + distance_mm * float(np.sin(angle))
