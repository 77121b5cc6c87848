import numpy as np
import pytest

from mammoscope.phantom.fields import Field, Grid
from mammoscope.phantom.lesion_drawing import add_lesion
from mammoscope.phantom.lesions import Lesion, LesionKind

GRID = Grid(rows=200, columns=160, spacing_mm=0.4)


def _drawn(kind: LesionKind, *, grid: Grid = GRID, contrast: float = 0.4, y_mm: float = 40.0) -> Field:
    tissue = np.zeros((grid.rows, grid.columns), dtype=np.float32)
    add_lesion(tissue, Lesion(kind, x_mm=30, y_mm=y_mm, radius_mm=8, contrast=contrast, seed=5), grid)
    return tissue


@pytest.mark.parametrize("kind", LesionKind)
def test_a_lesion_is_bright_inside_its_box_and_nowhere_else(kind: LesionKind) -> None:
    drawn = _drawn(kind)
    reach_mm = Lesion(kind, 30, 40, 8, 0.4, 5).reach_mm
    rows, columns = np.nonzero(drawn)
    assert drawn.max() > 0.15
    assert rows.min() >= np.floor((40 - reach_mm) / 0.4)
    assert rows.max() < np.ceil((40 + reach_mm) / 0.4)
    assert columns.min() >= np.floor((30 - reach_mm) / 0.4)
    assert columns.max() < np.ceil((30 + reach_mm) / 0.4)


@pytest.mark.parametrize("kind", LesionKind)
def test_brightness_follows_contrast(kind: LesionKind) -> None:
    faint, strong = _drawn(kind, contrast=0.1), _drawn(kind, contrast=0.2)
    assert strong.sum() == pytest.approx(2 * faint.sum(), rel=1e-3)


@pytest.mark.parametrize("kind", [LesionKind.MASS, LesionKind.BENIGN_MASS, LesionKind.COARSE_CALCIFICATION])
def test_a_lesion_covers_the_same_area_at_every_pixel_size(kind: LesionKind) -> None:
    coarse, fine = _drawn(kind), _drawn(kind, grid=Grid(rows=800, columns=640, spacing_mm=0.1))
    area = [np.count_nonzero(drawn > 0.1) * spacing**2 for drawn, spacing in ((coarse, 0.4), (fine, 0.1))]
    assert area[0] == pytest.approx(area[1], rel=0.12)


def test_a_spiculated_mass_has_rays_where_a_benign_mass_has_none() -> None:
    rows, columns = np.indices((GRID.rows, GRID.columns)) * 0.4 + 0.2
    distance = np.hypot(rows - 40, columns - 30)
    ring = (distance > 1.15 * 8) & (distance < 1.4 * 8)
    assert _drawn(LesionKind.SPICULATED_MASS)[ring].max() > 0.05
    assert _drawn(LesionKind.BENIGN_MASS)[ring].max() == 0


def test_microcalcifications_are_many_small_spots() -> None:
    drawn = _drawn(LesionKind.MICROCALCIFICATIONS, grid=Grid(rows=800, columns=640, spacing_mm=0.1), contrast=0.8)
    bright = drawn > 0.45
    # a spot begins where a bright pixel has none to its left
    starts = np.count_nonzero(bright[:, 1:] & ~bright[:, :-1])
    assert starts > 30
    assert np.count_nonzero(bright) * 0.01 < 60  # mm², of the 201 of the lesion's disc


def test_a_lesion_over_the_edge_of_the_grid_is_drawn_as_far_as_it_reaches() -> None:
    assert _drawn(LesionKind.MASS, y_mm=1.0)[:10].max() > 0.2


def test_dense_tissue_leaves_less_room_for_a_lesion() -> None:
    bright = np.full((GRID.rows, GRID.columns), 0.7, dtype=np.float32)
    add_lesion(bright, Lesion(LesionKind.MASS, 30, 40, 8, 0.4, 5), GRID)
    assert 0 < bright.max() - 0.7 < 0.7 * _drawn(LesionKind.MASS).max()
