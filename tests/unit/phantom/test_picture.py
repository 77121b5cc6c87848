from dataclasses import replace

import numpy as np
import pytest

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.lesions import Lesion, LesionKind
from mammoscope.phantom.machine import MACHINES, Machine
from mammoscope.phantom.outline import draw_shape, project_outline
from mammoscope.phantom.picture import MammogramPlan, draw_picture, locate_lesion, to_stored_values

SMALL = tuple(machine.scaled(0.1) for machine in MACHINES)
MASS = Lesion(LesionKind.MASS, x_mm=40, y_mm=115, radius_mm=9, contrast=0.45, seed=1)


def _plan(laterality: Laterality = Laterality.LEFT, lesions: tuple[Lesion, ...] = ()) -> MammogramPlan:
    rng = np.random.default_rng(7)
    outline = project_outline(draw_shape(rng), View.CC, height_mm=230, rng=rng)
    return MammogramPlan(laterality, View.CC, "B", outline, lesions, pair_seed=1, seed=2)


@pytest.mark.parametrize("machine", SMALL)
def test_a_picture_has_the_size_and_the_bits_of_its_machine(machine: Machine) -> None:
    pixels = draw_picture(_plan(), machine)
    assert pixels.shape == (machine.rows, machine.columns)
    assert pixels.dtype == np.uint16
    assert pixels.max() < 2**machine.bits_stored


@pytest.mark.parametrize("machine", SMALL)
def test_the_chest_wall_is_left_for_a_left_breast_and_right_for_a_right_one(machine: Machine) -> None:
    middle = slice(machine.rows // 3, 2 * machine.rows // 3)
    distance_to_background = {}
    for side in Laterality:
        pixels = draw_picture(_plan(side), machine)[middle].astype(float)
        background = float(pixels[:, machine.columns // 2 :].max()) if machine.is_inverted else 0.0
        distance_to_background[side] = np.abs(pixels - background).mean(axis=0)
    tenth = machine.columns // 10
    left, right = distance_to_background[Laterality.LEFT], distance_to_background[Laterality.RIGHT]
    assert left[:tenth].mean() > 10 * left[-tenth:].mean()
    assert right[-tenth:].mean() > 10 * right[:tenth].mean()


def test_the_other_side_is_the_mirror_picture() -> None:
    machine = replace(SMALL[0], has_marker=False)
    left, right = (draw_picture(_plan(side), machine) for side in Laterality)
    np.testing.assert_array_equal(left[:, ::-1], right)


def test_the_background_of_a_black_machine_is_zero_and_of_an_inverted_one_its_highest_value() -> None:
    for machine in SMALL:
        pixels = draw_picture(_plan(), replace(machine, has_marker=False))
        corner = pixels[:5, -5:]
        assert (corner == (pixels.max() if machine.is_inverted else 0)).all()


def test_the_marker_stands_away_from_the_breast() -> None:
    machine = MACHINES[0].scaled(0.25)
    bare = draw_picture(_plan(), replace(machine, has_marker=False))
    marked = draw_picture(_plan(), machine)
    rows, columns = np.nonzero(bare != marked)
    assert len(rows) > 100
    assert rows.max() < machine.rows / 5
    assert columns.min() > machine.columns / 2
    assert (bare[rows, columns] == 0).all()


@pytest.mark.parametrize("laterality", Laterality)
def test_the_box_of_a_lesion_holds_it(laterality: Laterality) -> None:
    machine = MACHINES[0].scaled(0.25)
    without, with_mass = (draw_picture(_plan(laterality, lesions), machine).astype(int) for lesions in ((), (MASS,)))
    changed = np.abs(with_mass - without) > 0
    box = locate_lesion(MASS, laterality, machine)
    inside = changed[box.row_start : box.row_stop, box.column_start : box.column_stop]
    assert inside.mean() > 0.4
    assert changed.sum() == inside.sum()


def test_the_box_of_a_lesion_by_hand() -> None:
    machine = replace(MACHINES[0], rows=1000, columns=800, spacing_mm=0.25)
    lesion = Lesion(LesionKind.MASS, x_mm=50, y_mm=100, radius_mm=10, contrast=0.4, seed=0)  # reach 11.5 mm
    left = locate_lesion(lesion, Laterality.LEFT, machine)
    right = locate_lesion(lesion, Laterality.RIGHT, machine)
    assert (left.row_start, left.row_stop, left.column_start, left.column_stop) == (354, 446, 154, 246)
    assert (right.row_start, right.row_stop, right.column_start, right.column_stop) == (354, 446, 554, 646)


def test_a_box_over_the_edge_is_cut() -> None:
    machine = replace(MACHINES[0], rows=1000, columns=800, spacing_mm=0.25)
    lesion = Lesion(LesionKind.MASS, x_mm=5, y_mm=248, radius_mm=10, contrast=0.4, seed=0)
    box = locate_lesion(lesion, Laterality.LEFT, machine)
    assert (box.row_start, box.row_stop, box.column_start, box.column_stop) == (946, 1000, 0, 66)


def test_a_bright_place_has_a_low_value_only_on_an_inverted_machine() -> None:
    ramp = np.array([[0.1, 0.9]], dtype=np.float32)
    for machine in MACHINES:
        dark, bright = to_stored_values(ramp, machine)[0]
        assert (dark > bright) == machine.is_inverted
