"""What a random change of pictures may never do, and what it must."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.learning.augment import affine_matrices, augment
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.settings import AugmentSettings

ROWS, COLUMNS = 64, 32


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pictures(n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 1, ROWS, COLUMNS, generator=_generator(seed))


def _disc(row: float, column: float, radius: float, shape: tuple[int, int] = (ROWS, COLUMNS)) -> torch.Tensor:
    """A white disc on black, (1, 1, row, column)."""
    rows = torch.arange(shape[0])[:, None] - row
    columns = torch.arange(shape[1])[None, :] - column
    return (rows**2 + columns**2 <= radius**2).float()[None, None]


STRENGTHS = st.builds(
    AugmentSettings,
    flip_horizontal=st.floats(0, 1),
    flip_vertical=st.floats(0, 1),
    rotation_degrees=st.floats(0, 180),
    shift=st.floats(0, 0.5),
    zoom=st.floats(0, 0.9),
    shear_degrees=st.floats(0, 45),
    contrast=st.floats(0, 0.9),
    gamma=st.floats(0, 0.9),
)


@settings(max_examples=25, deadline=None)
@given(strengths=STRENGTHS, seed=st.integers(0, 2**32))
def test_a_seed_gives_the_same_pictures_again_all_in_range(strengths: AugmentSettings, seed: int) -> None:
    first = augment(_pictures(), strengths, generator=_generator(seed))
    assert first.shape == (4, 1, ROWS, COLUMNS)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, augment(_pictures(), strengths, generator=_generator(seed)))


@settings(max_examples=15, deadline=None)
@given(strengths=STRENGTHS, seed=st.integers(0, 2**32))
def test_black_stays_black(strengths: AugmentSettings, seed: int) -> None:
    assert augment(torch.zeros(3, 1, ROWS, COLUMNS), strengths, generator=_generator(seed)).max() == 0


def test_no_strength_changes_nothing() -> None:
    assert torch.equal(augment(_pictures(), AugmentSettings(), generator=_generator()), _pictures())


@pytest.mark.parametrize(("key", "axis"), [("flip_horizontal", 3), ("flip_vertical", 2)])
def test_a_flip_is_exact(key: str, axis: int) -> None:
    flipped = augment(_pictures(), AugmentSettings.model_validate({key: 1.0}), generator=_generator())
    assert torch.equal(flipped, _pictures().flip(axis))


@pytest.mark.parametrize(("key", "axis"), [("flip_horizontal", 3), ("flip_vertical", 2)])
def test_a_flip_among_other_changes_of_place_is_the_same_flip(key: str, axis: int) -> None:
    strengths = AugmentSettings.model_validate({key: 1.0, "rotation_degrees": 1e-9})
    flipped = augment(_pictures(), strengths, generator=_generator())
    torch.testing.assert_close(flipped, _pictures().flip(axis), atol=1e-4, rtol=0)


def test_half_of_the_pictures_are_flipped_each_by_its_own_chance() -> None:
    pictures = torch.zeros(400, 1, 2, 2)
    pictures[:, :, 0, 0] = 1
    flipped = augment(pictures, AugmentSettings(flip_horizontal=0.5, flip_vertical=0.5), generator=_generator())
    share_by_corner = flipped.mean(dim=(0, 1))
    # 400 draws of a chance of 1/4 stray from it by 0.022; four times that
    assert (share_by_corner - 0.25).abs().max() < 0.09


@pytest.mark.parametrize(
    "strengths",
    [
        {"rotation_degrees": 30.0},
        {"shift": 0.2},
        {"zoom": 0.3},
        {"shear_degrees": 20.0},
        {"contrast": 0.5},
        {"gamma": 0.5},
    ],
)
def test_every_strength_changes_each_picture_in_its_own_way(strengths: dict[str, float]) -> None:
    one = _pictures(1).repeat(4, 1, 1, 1)
    changed = augment(one, AugmentSettings.model_validate(strengths), generator=_generator())
    assert not torch.allclose(changed[0], one[0], atol=1e-3)
    for first in range(4):
        assert all(not torch.allclose(changed[first], changed[second], atol=1e-3) for second in range(first))


@pytest.mark.parametrize("shape", [(128, 64), (64, 128), (96, 96)])
def test_a_disc_stays_a_disc_when_a_picture_is_turned(shape: tuple[int, int]) -> None:
    """The spread about the centre is that of a disc, radius² / 4 in every direction, whatever the sides' proportion."""
    radius = 16.0
    centre = (shape[0] / 2 - 0.5, shape[1] / 2 - 0.5)
    turned = augment(
        _disc(*centre, radius, shape).repeat(8, 1, 1, 1),
        AugmentSettings(rotation_degrees=90.0),
        generator=_generator(),
    )
    rows = torch.arange(shape[0])[:, None] - centre[0]
    columns = torch.arange(shape[1])[None, :] - centre[1]
    for picture in turned[:, 0]:
        area = picture.sum()
        assert area.item() == pytest.approx(math.pi * radius**2, rel=0.02)
        moments = [(picture * product).sum() / area for product in (rows**2, columns**2, rows * columns)]
        assert [moment.item() for moment in moments] == pytest.approx([radius**2 / 4, radius**2 / 4, 0], abs=1.5)


def test_a_picture_turns_by_the_angle_in_pixels() -> None:
    """A point above the centre comes to lie at the angle and the distance that it had, in pixels, not in shares."""
    shape, distance = (128, 64), 20.0
    centre = (63.5, 31.5)
    point = _disc(centre[0] - distance, centre[1], 3, shape).repeat(16, 1, 1, 1)
    strengths = AugmentSettings(rotation_degrees=60.0)
    turned = augment(point, strengths, generator=_generator())[:, 0]
    angles = (torch.rand(16, generator=_generator()) * 2 - 1) * 60
    for picture, angle in zip(turned, angles.tolist(), strict=True):
        row = (picture.sum(dim=1) * torch.arange(128)).sum() / picture.sum() - centre[0]
        column = (picture.sum(dim=0) * torch.arange(64)).sum() / picture.sum() - centre[1]
        assert math.hypot(row, column) == pytest.approx(distance, abs=0.3)
        assert abs(math.degrees(math.atan2(column, -row))) == pytest.approx(abs(angle), abs=1)


def test_a_shift_is_a_share_of_the_side() -> None:
    disc = _disc(31.5, 15.5, 3).repeat(64, 1, 1, 1)
    shifted = augment(disc, AugmentSettings(shift=0.25), generator=_generator())[:, 0]
    rows = (shifted.sum(dim=2) * torch.arange(ROWS)).sum(dim=1) / shifted.sum(dim=(1, 2)) - 31.5
    columns = (shifted.sum(dim=1) * torch.arange(COLUMNS)).sum(dim=1) / shifted.sum(dim=(1, 2)) - 15.5
    assert 0.2 * ROWS < rows.abs().max() <= 0.25 * ROWS + 0.1
    assert 0.2 * COLUMNS < columns.abs().max() <= 0.25 * COLUMNS + 0.1


def test_zoom_makes_sizes_from_1_over_1_plus_zoom_to_1_over_1_minus_zoom() -> None:
    disc = _disc(31.5, 15.5, 8).repeat(64, 1, 1, 1)
    radii = (augment(disc, AugmentSettings(zoom=0.25), generator=_generator()).sum(dim=(1, 2, 3)) / math.pi).sqrt()
    assert radii.min().item() == pytest.approx(8 / 1.25, abs=0.4)
    assert radii.max().item() == pytest.approx(8 / 0.75, abs=0.4)


def test_gamma_and_contrast_worked_by_hand() -> None:
    grey = torch.full((200, 1, 2, 2), 0.5)
    gamma = augment(grey, AugmentSettings(gamma=0.5), generator=_generator())
    assert gamma.max().item() == pytest.approx(0.5 ** math.exp(-0.5), abs=0.01)
    assert gamma.min().item() == pytest.approx(0.5 ** math.exp(0.5), abs=0.01)
    contrast = augment(grey, AugmentSettings(contrast=0.4), generator=_generator())
    assert (contrast.min().item(), contrast.max().item()) == pytest.approx((0.3, 0.7), abs=0.01)


def test_places_are_computed_in_full_precision_when_the_network_is_not() -> None:
    """In bfloat16, a place in a picture of 1024 rows would be up to two pixels off."""
    pictures = torch.rand(2, 1, 256, 64, generator=_generator(1))
    strengths = AugmentSettings(rotation_degrees=10.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = augment(pictures, strengths, generator=_generator())
    torch.testing.assert_close(mixed, augment(pictures, strengths, generator=_generator()))


def test_few_places_of_the_breast_leave_the_picture_at_the_strengths_of_small() -> None:
    """Of the places in a breast that fills 80 % of the canvas, at most one in ten is moved out of the picture."""
    strengths = read_recipe("small", []).augment
    n = 200
    matrices = affine_matrices(torch.Size([n, 1, 256, 128]), strengths, _generator(), torch.ones(n))
    generator = _generator(9)
    angle = (torch.rand(n, 200, generator=generator) - 0.5) * math.pi
    distance = 0.8 * torch.rand(n, 200, generator=generator).sqrt()
    # a half disc at the chest wall, the left side, in units of half a picture
    places = torch.stack([2 * distance * angle.cos() - 1, distance * angle.sin()], dim=1)  # (batch, xy, place)
    moved = torch.bmm(matrices[:, :, :2].inverse(), places - matrices[:, :, 2:])
    share_outside = (moved.abs() > 1).any(dim=1).float().mean().item()
    assert share_outside < 0.1


@pytest.mark.parametrize("key", ["rotation_degrees", "shift", "zoom", "shear_degrees", "contrast", "gamma"])
def test_twice_the_strength_is_the_change_of_twice_the_setting(key: str) -> None:
    most = {"rotation_degrees": 10.0, "shear_degrees": 10.0}.get(key, 0.2)
    once, twice = (AugmentSettings.model_validate({key: each}) for each in (most, 2 * most))
    pictures = _pictures()
    strong = augment(pictures, once, generator=_generator(), strengths=[2.0] * len(pictures))
    torch.testing.assert_close(strong, augment(pictures, twice, generator=_generator()))
    assert not torch.equal(strong, augment(pictures, once, generator=_generator()))


def test_each_picture_has_its_own_strength() -> None:
    settings = AugmentSettings(rotation_degrees=10.0, contrast=0.2, flip_horizontal=0.5)
    pictures = _pictures()
    strengths = [1.0] * len(pictures)
    plain = augment(pictures, settings, generator=_generator())
    assert torch.equal(plain, augment(pictures, settings, generator=_generator(), strengths=strengths))
    strengths[1] = 2.0
    changed = augment(pictures, settings, generator=_generator(), strengths=strengths)
    assert [torch.equal(*pair) for pair in zip(plain, changed, strict=True)] == [
        number != 1 for number in range(len(pictures))
    ]


def test_flips_are_as_likely_whatever_the_strength() -> None:
    settings = AugmentSettings(flip_horizontal=0.5, flip_vertical=0.5)
    pictures = _pictures()
    strong = augment(pictures, settings, generator=_generator(), strengths=[5.0] * len(pictures))
    assert torch.equal(strong, augment(pictures, settings, generator=_generator()))
