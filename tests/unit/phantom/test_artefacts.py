from dataclasses import replace

import numpy as np
import pytest

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.artefact_drawing import SpecialValues, draw_artefacts, overwrite_stored
from mammoscope.phantom.artefacts import Artefact, Scene
from mammoscope.phantom.borders import cover, hidden_by
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.picture import draw_picture, padding_value
from mammoscope.phantom.sketch import Phantom, draw_phantom
from mammoscope.phantom.truth import breast_mask

MACHINE = replace(MACHINES[0].scaled(0.1), has_marker=False)
BORDERS = (
    Artefact.SHUTTER,
    Artefact.TILTED_SHUTTER,
    Artefact.WHITE_FRAME,
    Artefact.DETECTOR_BORDER,
    Artefact.PADDING_BORDER,
)
BESIDE_THE_BREAST = (
    Artefact.BODY_PART,
    Artefact.OTHER_BREAST,
    Artefact.NOISY_AIR,
    Artefact.LABELS,
    Artefact.LABEL_AT_BREAST,
)


def _phantom(artefact: Artefact | None = None, seed: int = 3) -> Phantom:
    return draw_phantom(seed, MACHINE, frozenset({artefact}) if artefact else frozenset())


def _scene(laterality: Laterality = Laterality.LEFT) -> Scene:
    """A breast of 40 x 30 pixels at the wall of a picture of 100 x 90 pixels of 1 mm."""
    breast = np.zeros((100, 90), dtype=np.bool_)
    breast[30:70, :30] = True
    return Scene(breast if laterality is Laterality.LEFT else breast[:, ::-1], laterality, View.CC, 1.0, seed=5)


@pytest.mark.parametrize("artefact", Artefact)
def test_every_artefact_is_seen(artefact: Artefact) -> None:
    changed = [(_phantom(artefact, seed).pixels != _phantom(seed=seed).pixels).mean() for seed in range(2)]
    assert max(changed) > 0.0002


def test_artefacts_are_drawn_the_same_again() -> None:
    first, second = (draw_phantom(3, MACHINE, frozenset(Artefact)) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("artefact", BESIDE_THE_BREAST)
def test_what_lies_beside_the_breast_leaves_it_alone(artefact: Artefact) -> None:
    for seed in range(3):
        clean, disturbed = _phantom(seed=seed), _phantom(artefact, seed)
        np.testing.assert_array_equal(disturbed.mask, clean.mask)
        np.testing.assert_array_equal(disturbed.pixels[clean.mask], clean.pixels[clean.mask])


@pytest.mark.parametrize("artefact", [Artefact.SHUTTER, Artefact.TILTED_SHUTTER, Artefact.PADDING_BORDER])
@pytest.mark.parametrize("laterality", Laterality)
def test_a_shutter_keeps_off_the_breast(artefact: Artefact, laterality: Laterality) -> None:
    for seed in range(20):
        scene = replace(_scene(laterality), seed=seed)
        area = cover(scene, artefact)
        assert area.any()
        assert not (area & scene.breast).any()


@pytest.mark.parametrize("artefact", [Artefact.WHITE_FRAME, Artefact.DETECTOR_BORDER])
def test_a_frame_hides_the_breast_below_it(artefact: Artefact) -> None:
    scene = _scene()
    area = hidden_by(scene, frozenset({artefact}))
    assert area[0].all()
    assert area[:, -1].all()
    assert (area & scene.breast).any()
    assert not area[10:-10, 10:-10].any()
    phantom = _phantom(artefact)
    assert not (phantom.mask & hidden_by(_scene_of(phantom), frozenset({artefact}))).any()


def _scene_of(phantom: Phantom) -> Scene:
    plan = phantom.plan
    whole = breast_mask(replace(plan, artefacts=frozenset()), MACHINE)
    return Scene(whole, plan.laterality, plan.view, MACHINE.spacing_mm, plan.seed)


@pytest.mark.parametrize("artefact", Artefact)
def test_a_picture_without_air_can_be_disturbed(artefact: Artefact) -> None:
    for share in (0, 1):
        scene = replace(_scene(), breast=np.full((60, 50), fill_value=share, dtype=np.bool_))
        brightness = np.full((60, 50), 0.3, dtype=np.float32)
        draw_artefacts(brightness, scene, frozenset({artefact}))
        assert np.isfinite(brightness).all()


def test_an_implant_is_bright_and_below_the_skin() -> None:
    clean, disturbed = _phantom(), _phantom(Artefact.IMPLANT)
    changed = disturbed.pixels.astype(int) - clean.pixels > 600
    assert 0.1 < changed.sum() / clean.mask.sum() < 0.7
    assert not (changed & ~clean.mask).any()
    assert disturbed.plan.has_implant


def test_raised_black_leaves_no_zero_and_no_less_order() -> None:
    clean, disturbed = _phantom(), _phantom(Artefact.RAISED_BLACK)
    assert disturbed.pixels.min() > 0.04 * 4095
    far = -1 if clean.plan.laterality is Laterality.LEFT else 0
    assert len(np.unique(disturbed.pixels[:, far])) == 1


def test_a_breast_that_fills_the_picture_reaches_its_far_edge() -> None:
    for seed in range(4):
        phantom = _phantom(Artefact.FILLS_PICTURE, seed)
        far = -1 if phantom.plan.laterality is Laterality.LEFT else 0
        assert phantom.mask[:, far].any()
        assert phantom.mask.mean() > 0.6


def test_a_nearly_empty_picture_holds_8_to_25_mm_of_tissue() -> None:
    for seed in range(4):
        phantom = _phantom(Artefact.NEARLY_EMPTY, seed)
        depth_mm = phantom.mask.any(axis=0).sum() * MACHINE.spacing_mm
        assert 7 < depth_mm < 26


def test_what_a_picture_no_longer_shows_is_no_lesion() -> None:
    for seed in range(6):
        for artefact in (Artefact.FILLS_PICTURE, Artefact.NEARLY_EMPTY):
            phantom = _phantom(artefact, seed)
            for box in phantom.lesion_boxes:
                middle = (box.row_start + box.row_stop) // 2, (box.column_start + box.column_stop) // 2
                assert phantom.mask[middle]


def test_only_padding_has_the_padding_value() -> None:
    for seed in range(3):
        phantom = _phantom(Artefact.PADDING_BORDER, seed)
        padding = padding_value(phantom.plan, MACHINE)
        area = cover(_scene_of(phantom), Artefact.PADDING_BORDER)
        assert (phantom.pixels[area] == padding).all()
        if padding != 0:  # else air has it too
            assert not (phantom.pixels[~area] == padding).any()


def test_padding_by_hand() -> None:
    stored = np.array([[0, 7, 15]] * 3, dtype=np.uint16)
    breast = np.zeros((3, 3), dtype=np.bool_)
    scene = Scene(breast, Laterality.LEFT, View.CC, 1.0, seed=0)
    overwrite_stored(stored, scene, frozenset({Artefact.PADDING_BORDER}), SpecialValues(0, 15, air=0, padding=15))
    assert (stored == [0, 7, 14]).all()  # too small for a shutter


def test_a_detector_border_is_of_extreme_values() -> None:
    phantom = _phantom(Artefact.DETECTOR_BORDER)
    assert set(np.unique(phantom.pixels[:, 0])) == {0, 4095}


def test_a_clean_picture_does_not_depend_on_artefacts() -> None:
    plan = _phantom().plan
    np.testing.assert_array_equal(
        draw_picture(replace(plan, artefacts=frozenset()), MACHINE), draw_picture(plan, MACHINE)
    )
