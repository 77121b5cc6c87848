"""Phantoms in memory, many and fast: pixels with their truth, without files and without encoding."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.artefacts import Artefact, Mask
from mammoscope.phantom.fields import thrifty_rng
from mammoscope.phantom.machine import Machine, StoredValues
from mammoscope.phantom.patient import VIEWS, Assignment, plan_patient
from mammoscope.phantom.picture import Box, MammogramPlan, draw_picture, locate_lesion
from mammoscope.phantom.reshaping import disturb
from mammoscope.phantom.truth import breast_mask

_FINEST_MM: Final = 0.5  # the pixel of the random fields: coarser loses the skin line


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """One picture with its truth."""

    pixels: StoredValues  # (row, column)
    mask: Mask  # (row, column): which of them are breast
    lesion_boxes: tuple[Box, ...]
    plan: MammogramPlan
    machine: Machine


def draw_phantom(
    seed: int,
    machine: Machine,
    artefacts: frozenset[Artefact] = frozenset(),
    *,
    laterality: Laterality | None = None,
    view: View | None = None,
) -> Phantom:
    """One picture of a woman of that seed; half of the women have cancer.

    Its tissue is drawn on pixels of 0.5 mm at least, from a stock of random fields, so that 2,000 of them take
    minutes; in everything else it is as in a cohort.

    Args:
        seed: of the woman; the same seed gives the same picture.
        machine: how it is stored; `scaled(0.25)` gives about 700 x 600 pixels.
        artefacts: what disturbs it.
        laterality: left or right; None lets chance choose.
        view: CC or MLO; None lets chance choose.
    """
    rng = np.random.default_rng(seed)
    is_case, side_number, view_number = (int(number) for number in rng.integers(2, size=3))
    laterality = laterality or tuple(Laterality)[side_number]
    view = view or VIEWS[view_number]
    patient = plan_patient(
        Assignment(1, "train", machine, bool(is_case)),
        conspicuity=1.0,
        height_mm=machine.rows * machine.spacing_mm,
        rng=rng,
    )
    plan = next(each for each in patient.mammograms if each.laterality is laterality and each.view is view)
    plan = disturb(plan, artefacts, machine) if artefacts else plan
    boxes = tuple(locate_lesion(lesion, laterality, plan.seen_by(machine)) for lesion in plan.lesions)
    pixels = draw_picture(plan, machine, finest_mm=_FINEST_MM, make_rng=thrifty_rng)
    return Phantom(pixels, breast_mask(plan, machine), boxes, plan, machine)
