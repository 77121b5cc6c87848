from typing import get_args

import numpy as np

from mammoscope.anatomy import View
from mammoscope.phantom.fields import COARSE, Field, Grid
from mammoscope.phantom.outline import Outline, draw_shape, project_outline
from mammoscope.phantom.tissue import COMPOSITIONS, Density, _under_fat, draw_tissue, locate

HEIGHT_MM = 230.0
GRID = Grid(rows=230, columns=130, spacing_mm=1.0)


def _outline(view: View = View.CC, seed: int = 2) -> Outline:
    rng = np.random.default_rng(seed)
    return project_outline(draw_shape(rng), view, height_mm=HEIGHT_MM, rng=rng)


def _tissue(outline: Outline, density: Density = "B", pair: int = 0, own: int = 0) -> Field:
    return draw_tissue(outline, density, GRID, pair_rng=np.random.default_rng(pair), rng=np.random.default_rng(own))


def test_every_density_category_has_a_composition() -> None:
    assert tuple(COMPOSITIONS) == get_args(Density)


def test_brightness_rises_with_density() -> None:
    outline = _outline()
    inside = locate(outline, GRID).below_skin > 0
    means = [float(_tissue(outline, density)[inside].mean()) for density in get_args(Density)]
    assert means == sorted(means)
    assert means[-1] > 1.3 * means[0]


def test_air_is_black() -> None:
    outline = _outline()
    air = locate(outline, GRID).below_skin < -1.5
    assert _tissue(outline)[air].max() == 0


def test_the_skin_is_brighter_than_the_fat_below_it() -> None:
    outline = _outline()
    depth = locate(outline, Grid(920, 520, 0.25))
    tissue = draw_tissue(
        outline,
        "A",
        Grid(920, 520, 0.25),
        pair_rng=np.random.default_rng(0),
        rng=np.random.default_rng(0),
    )
    skin = tissue[(depth.below_skin > 0.5) & (depth.below_skin < 1.2)]
    fat = tissue[(depth.below_skin > 3) & (depth.below_skin < 4.5)]
    assert np.median(skin) > np.median(fat) + 0.03


def test_the_muscle_is_brighter_than_fat() -> None:
    outline = _outline(View.MLO)
    places = locate(outline, GRID)
    tissue = _tissue(outline, "A")
    muscle = tissue[(places.in_muscle > 5) & (places.y < 60)]
    fat = tissue[(places.in_muscle < -5) & (places.in_muscle > -25) & (places.below_skin > 8) & (places.y < 60)]
    assert muscle.mean() > fat.mean() + 0.1


def test_both_sides_of_a_woman_look_alike() -> None:
    outline = _outline()
    inside = locate(outline, GRID).below_skin > 15

    def likeness(pair_one: int, pair_two: int) -> float:
        one = _tissue(outline, "C", pair=pair_one, own=1)[inside]
        two = _tissue(outline, "C", pair=pair_two, own=2)[inside]
        return float(np.corrcoef(one, two)[0, 1])

    same = np.mean([likeness(pair, pair) for pair in range(4)])
    different = np.mean([likeness(pair, pair + 100) for pair in range(4)])
    assert same > different + 0.1


def test_the_distance_below_the_skin_is_right_in_the_middle_of_a_straight_edge() -> None:
    # a breast with a straight skin line at 80 mm
    outline = Outline(View.CC, np.full(461, 80.0), (80.0, 115.0), muscle=None)
    below_skin = locate(outline, GRID).below_skin
    np.testing.assert_allclose(below_skin[115, [10, 40, 78, 79]], [69.5, 39.5, 1.5, 0.5], atol=0.6)


def test_the_fat_below_the_skin_leaves_no_holes_deep_inside() -> None:
    outline = _outline()
    places = locate(outline, COARSE)
    deep = places.below_skin > 3 * COMPOSITIONS["D"].fat_rim_mm
    for seed in range(40):
        under_fat = _under_fat(places, outline, COMPOSITIONS["D"], rng=np.random.default_rng(seed))
        assert under_fat[deep].min() == 1
        assert under_fat[places.below_skin < 0.5].max() < 0.5
