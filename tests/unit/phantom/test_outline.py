from dataclasses import replace

import numpy as np
import pytest

from mammoscope.anatomy import View
from mammoscope.phantom.outline import BreastShape, Muscle, Outline, draw_shape, project_outline, vary_shape

HEIGHT_MM = 230.0


def _outline(view: View, seed: int = 0) -> Outline:
    rng = np.random.default_rng(seed)
    return project_outline(draw_shape(rng), view, height_mm=HEIGHT_MM, rng=rng)


@pytest.mark.parametrize("view", [View.CC, View.MLO])
@pytest.mark.parametrize("seed", range(10))
def test_the_nipple_is_the_point_farthest_from_the_chest_wall(view: View, seed: int) -> None:
    outline = _outline(view, seed)
    heights = np.arange(0, HEIGHT_MM, 0.5)
    farthest = heights[int(np.argmax(outline.skin_at(heights)))]
    assert abs(farthest - outline.nipple_mm[1]) < 6


def test_only_the_oblique_view_shows_the_pectoral_muscle() -> None:
    assert _outline(View.CC).muscle is None
    assert _outline(View.MLO).muscle is not None


def test_the_craniocaudal_breast_ends_inside_the_picture() -> None:
    outline = _outline(View.CC)
    assert outline.skin_mm[0] == 0
    assert outline.skin_mm[-1] == 0


def test_the_oblique_breast_reaches_the_upper_edge() -> None:
    assert _outline(View.MLO).skin_mm[0] > 20


def test_the_edge_of_the_muscle_goes_from_the_upper_edge_to_the_chest_wall() -> None:
    muscle = Muscle(width_mm=40, length_mm=120, bulge_mm=0)
    np.testing.assert_allclose(muscle.edge_mm([0, 60, 120]), [40, 20, 0])


def test_the_edge_of_the_muscle_bends_most_in_its_middle() -> None:
    muscle = Muscle(width_mm=40, length_mm=120, bulge_mm=5)
    np.testing.assert_allclose(muscle.edge_mm([0, 60, 120]), [40, 25, 0])


def test_a_disc_is_held_only_where_all_of_it_is_breast() -> None:
    # a rectangle of breast, 80 mm deep, with a muscle of 20 mm at its upper end
    outline = Outline(View.MLO, np.full(401, 80.0), (80.0, 100.0), Muscle(width_mm=20, length_mm=100, bulge_mm=0))
    assert outline.holds(50, 100, margin_mm=10)
    assert not outline.holds(75, 100, margin_mm=10)  # through the skin
    assert not outline.holds(5, 150, margin_mm=10)  # through the chest wall
    assert not outline.holds(15, 20, margin_mm=10)  # into the muscle
    assert not outline.holds(50, 4, margin_mm=10)  # over the upper edge


def test_both_sides_of_a_woman_are_of_one_size() -> None:
    rng = np.random.default_rng(3)
    shape = draw_shape(rng)
    others = [vary_shape(shape, rng).depth_mm / shape.depth_mm for _ in range(50)]
    assert 0.005 < np.std(others) < 0.08


def test_the_same_chance_gives_the_same_outline() -> None:
    np.testing.assert_array_equal(_outline(View.MLO, 4).skin_mm, _outline(View.MLO, 4).skin_mm)


def test_a_deeper_breast_is_deeper_in_the_picture() -> None:
    shape: BreastShape = draw_shape(np.random.default_rng(0))
    depths = [
        project_outline(
            replace(shape, depth_mm=depth), View.CC, height_mm=HEIGHT_MM, rng=np.random.default_rng(1)
        ).nipple_mm[0]
        for depth in (60.0, 90.0)
    ]
    assert depths == [60.0, 90.0]
