"""Plans of pictures with artefacts: those that change the breast itself are applied to its outline and lesions."""

from dataclasses import replace
from typing import Final

import numpy as np

from mammoscope.phantom.artefacts import Artefact, artefact_stream
from mammoscope.phantom.machine import Machine
from mammoscope.phantom.outline import STEP_MM, Muscle
from mammoscope.phantom.picture import MammogramPlan

_LEAST_TISSUE_MM: Final = 8.0
_MOST_TISSUE_MM: Final = 25.0


def disturb(plan: MammogramPlan, artefacts: frozenset[Artefact], machine: Machine) -> MammogramPlan:
    """The plan of the same picture with these artefacts; lesions that it no longer shows are left out."""
    if Artefact.FILLS_PICTURE in artefacts:
        plan = _enlarge(plan, machine)
    if Artefact.NEARLY_EMPTY in artefacts:
        plan = _withdraw(plan)
    seen = plan.seen_by(machine)
    width_mm, height_mm = seen.columns * seen.spacing_mm, seen.rows * seen.spacing_mm
    shown = tuple(
        lesion
        for lesion in plan.lesions
        if lesion.radius_mm <= lesion.x_mm <= width_mm - lesion.radius_mm
        and lesion.radius_mm <= lesion.y_mm <= height_mm - lesion.radius_mm
    )
    return replace(plan, lesions=shown, artefacts=artefacts)


def _enlarge(plan: MammogramPlan, machine: Machine) -> MammogramPlan:
    """The breast so near to the eye that its nipple leaves the picture; its middle height stays."""
    rng = artefact_stream(plan.seed, Artefact.FILLS_PICTURE)
    width_mm, height_mm = machine.columns * machine.spacing_mm, machine.rows * machine.spacing_mm
    outline = plan.outline
    nipple_x, nipple_y = outline.nipple_mm
    enlargement = max(width_mm / nipple_x, 1.0) * float(rng.uniform(1.0, 1.2))
    top_mm = height_mm / 2 * (1 - 1 / enlargement)
    heights = np.arange(0, height_mm / enlargement + STEP_MM, STEP_MM)
    return replace(
        plan,
        outline=replace(
            outline,
            skin_mm=outline.skin_at(heights + top_mm),
            nipple_mm=(nipple_x, nipple_y - top_mm),
            muscle=_cut_muscle(outline.muscle, top_mm),
        ),
        lesions=tuple(replace(lesion, y_mm=lesion.y_mm - top_mm) for lesion in plan.lesions),
        enlargement=enlargement,
    )


def _cut_muscle(muscle: Muscle | None, top_mm: float) -> Muscle | None:
    """The same edge from a lower start on: its root and its curvature stay."""
    if muscle is None or muscle.length_mm <= top_mm:
        return None
    length_mm = muscle.length_mm - top_mm
    return Muscle(
        width_mm=float(muscle.edge_mm(top_mm)),
        length_mm=length_mm,
        bulge_mm=muscle.bulge_mm * (length_mm / muscle.length_mm) ** 2,
    )


def _withdraw(plan: MammogramPlan) -> MammogramPlan:
    """Little of the breast on the detector: 8 to 25 mm at its deepest."""
    rng = artefact_stream(plan.seed, Artefact.NEARLY_EMPTY)
    outline, muscle = plan.outline, plan.outline.muscle
    shift_mm = max(0.0, float(outline.skin_mm.max()) - float(rng.uniform(_LEAST_TISSUE_MM, _MOST_TISSUE_MM)))
    nipple_x, nipple_y = outline.nipple_mm
    is_muscle_seen = muscle is not None and muscle.width_mm > shift_mm
    return replace(
        plan,
        outline=replace(
            outline,
            skin_mm=np.clip(outline.skin_mm - shift_mm, 0, None),
            nipple_mm=(nipple_x - shift_mm, nipple_y),
            muscle=replace(muscle, width_mm=muscle.width_mm - shift_mm) if muscle and is_muscle_seen else None,
        ),
        lesions=tuple(replace(lesion, x_mm=lesion.x_mm - shift_mm) for lesion in plan.lesions),
    )
