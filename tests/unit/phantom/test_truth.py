from dataclasses import replace

import cv2
import numpy as np
import pytest
from matplotlib.path import Path

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.artefacts import Artefact
from mammoscope.phantom.machine import MACHINES, Machine
from mammoscope.phantom.outline import Muscle, Outline
from mammoscope.phantom.picture import Box, MammogramPlan, draw_picture
from mammoscope.phantom.reshaping import disturb
from mammoscope.phantom.sketch import draw_phantom
from mammoscope.phantom.truth import Point, box_of, breast_mask, locate_nipple, outline_polygon

MACHINE = replace(MACHINES[0], rows=100, columns=80, spacing_mm=1.0, has_marker=False)


def _wedge(laterality: Laterality = Laterality.LEFT, muscle: Muscle | None = None) -> MammogramPlan:
    """Skin from (0, 20) over (40, 60) back to (0, 100), in mm of x and y: a triangle with its tip at the nipple."""
    y = np.arange(0, 100.5, 0.5)
    skin = np.clip(40 - np.abs(y - 60), 0, None)
    return MammogramPlan(
        laterality, View.CC, "B", Outline(View.CC, skin, (40.0, 60.0), muscle), (), pair_seed=1, seed=2
    )


def test_the_mask_of_a_wedge_by_hand() -> None:
    mask = breast_mask(_wedge(), MACHINE)
    # the centre of row 30 lies at y = 30.5, where the skin is at x = 10.5: ten centres lie before it
    assert mask[30].sum() == 10
    assert mask[59].sum() == 39
    assert mask[:20].sum() == 0
    assert not mask[:, 40:].any()
    assert abs(int(mask.sum()) - 1600) <= 60


def test_the_mask_of_a_right_breast_is_the_mirror_picture() -> None:
    left, right = (breast_mask(_wedge(side), MACHINE) for side in Laterality)
    np.testing.assert_array_equal(left[:, ::-1], right)


@pytest.mark.parametrize(
    ("laterality", "expected"), [(Laterality.LEFT, Point(60.0, 40.0)), (Laterality.RIGHT, Point(60.0, 40.0))]
)
def test_the_nipple_by_hand(laterality: Laterality, expected: Point) -> None:
    assert locate_nipple(_wedge(laterality), MACHINE) == expected  # of 80 columns, 40 from either side


def test_a_nipple_outside_of_the_picture_is_none() -> None:
    plan = _wedge()
    assert locate_nipple(disturb(plan, frozenset({Artefact.FILLS_PICTURE}), MACHINE), MACHINE) is None
    assert locate_nipple(plan, replace(MACHINE, columns=40)) is None


def test_the_box_of_a_mask_by_hand() -> None:
    mask = np.zeros((6, 7), dtype=np.bool_)
    assert box_of(mask) is None
    mask[2, 3] = mask[4, 1] = True
    assert box_of(mask) == Box(2, 5, 1, 4)


def test_the_polygon_of_a_wedge_by_hand() -> None:
    polygon = outline_polygon(_wedge(Laterality.RIGHT), MACHINE)
    assert tuple(polygon[0]) == (20.0, 80.0)
    assert tuple(polygon[-1]) == (100.0, 80.0)
    assert (polygon == [60.0, 40.0]).all(axis=1).any()
    rows, columns = polygon[:, 0], polygon[:, 1]
    area = abs(float(np.sum(rows * np.roll(columns, -1) - columns * np.roll(rows, -1)))) / 2
    assert area == pytest.approx(1600)


def test_no_breast_has_no_polygon() -> None:
    plan = _wedge()
    empty = replace(plan, outline=replace(plan.outline, skin_mm=np.zeros(201)))
    assert outline_polygon(empty, MACHINE).shape == (0, 2)
    assert box_of(breast_mask(empty, MACHINE)) is None


@pytest.mark.parametrize("artefact", [None, Artefact.FILLS_PICTURE, Artefact.NEARLY_EMPTY])
@pytest.mark.parametrize("view", [View.CC, View.MLO])
def test_the_pixel_centres_in_the_polygon_are_the_mask(artefact: Artefact | None, view: View) -> None:
    machine = MACHINES[0].scaled(0.1)
    phantom = draw_phantom(4, machine, frozenset({artefact}) if artefact else frozenset(), view=view)
    centres = np.argwhere(np.ones_like(phantom.mask)) + 0.5
    inside = Path(outline_polygon(phantom.plan, machine)).contains_points(centres).reshape(phantom.mask.shape)
    assert (inside != phantom.mask).sum() <= 3  # centres on the line itself


@pytest.mark.parametrize("artefact", [None, Artefact.FILLS_PICTURE, Artefact.NEARLY_EMPTY])
@pytest.mark.parametrize("machine", [machine.scaled(0.12) for machine in MACHINES], ids=lambda m: str(m.machine_id))
def test_the_mask_is_where_tissue_was_drawn(machine: Machine, artefact: Artefact | None) -> None:
    machine = replace(
        machine, has_marker=False, is_inverted=False, voi_function=None, bits_stored=12, windows=((2048.0, 4096.0),)
    )
    for view in (View.CC, View.MLO):
        plan = draw_phantom(7, machine, frozenset({artefact}) if artefact else frozenset(), view=view).plan
        drawn, mask = draw_picture(plan, machine) > 0, breast_mask(plan, machine)
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
        assert not (drawn & ~grown).any()
        shrunk = cv2.erode(mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
        assert not (shrunk & ~drawn).any()


def test_a_cut_muscle_keeps_its_edge() -> None:
    machine = MACHINES[0].scaled(0.2)
    plan = draw_phantom(1, machine, view=View.MLO).plan
    muscle = plan.outline.muscle
    near = disturb(plan, frozenset({Artefact.FILLS_PICTURE}), machine)
    assert muscle is not None
    assert near.outline.muscle is not None
    top_mm = plan.outline.nipple_mm[1] - near.outline.nipple_mm[1]
    heights = np.linspace(0, 40, 9)
    np.testing.assert_allclose(near.outline.muscle.edge_mm(heights), muscle.edge_mm(heights + top_mm))
