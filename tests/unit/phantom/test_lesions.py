import numpy as np
import pytest

from mammoscope.anatomy import View
from mammoscope.phantom.lesions import MALIGNANT_KINDS, LesionKind, place_lesion
from mammoscope.phantom.outline import Outline, draw_shape, project_outline


def _outlines(seed: int) -> tuple[Outline, ...]:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    return tuple(project_outline(shape, view, height_mm=230, rng=rng) for view in (View.CC, View.MLO))


@pytest.mark.parametrize("kind", LesionKind)
def test_a_lesion_keeps_its_distance_to_the_nipple_in_both_views(kind: LesionKind) -> None:
    outlines = _outlines(0)
    lesions = place_lesion(kind, outlines, conspicuity=1, rng=np.random.default_rng(0))
    distances = [
        np.hypot(lesion.x_mm - outline.nipple_mm[0], lesion.y_mm - outline.nipple_mm[1])
        for lesion, outline in zip(lesions, outlines, strict=True)
    ]
    assert distances[0] == pytest.approx(distances[1])
    assert lesions[0].radius_mm == lesions[1].radius_mm
    assert lesions[0].seed != lesions[1].seed


@pytest.mark.parametrize("kind", LesionKind)
def test_conspicuity_changes_malignant_lesions_alone(kind: LesionKind) -> None:
    plain, strong = (
        place_lesion(kind, _outlines(1), conspicuity=factor, rng=np.random.default_rng(0))[0] for factor in (1.0, 1.5)
    )
    expected = 1.5 if kind.is_malignant else 1.0
    assert strong.contrast / plain.contrast == pytest.approx(expected)


def test_masses_and_microcalcifications_are_malignant_and_distractors_are_not() -> None:
    assert set(LesionKind) - set(MALIGNANT_KINDS) == {LesionKind.BENIGN_MASS, LesionKind.COARSE_CALCIFICATION}
    assert all(kind.is_malignant for kind in MALIGNANT_KINDS)


def test_the_reach_of_a_spiculated_mass_holds_its_spicules() -> None:
    lesion = place_lesion(LesionKind.SPICULATED_MASS, _outlines(0), conspicuity=1, rng=np.random.default_rng(0))[0]
    assert lesion.reach_mm == pytest.approx(1.7 * lesion.radius_mm)
