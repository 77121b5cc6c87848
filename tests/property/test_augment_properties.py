"""What a random change of pictures may never do, and what it must."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.learning.augment.augment import augment
from mammoscope.learning.augment.chance import Purpose, draw_chance
from mammoscope.learning.settings import AugmentSettings

ROWS, COLUMNS = 64, 32


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pictures(n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 1, ROWS, COLUMNS, generator=_generator(seed))


def _breasts(n: int = 4, seed: int = 1) -> torch.Tensor:
    """A textured half disc at the left edge, with air around it."""
    rows = (torch.arange(ROWS)[:, None] - 31.5) / 24
    columns = torch.arange(COLUMNS)[None, :] / 22
    return (rows**2 + columns**2 < 1) * (0.3 + 0.6 * _pictures(n, seed))


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
    crop=st.floats(0, 0.9),
    elastic=st.floats(0, 0.1),
    blur_px=st.floats(0, 10),
    noise=st.floats(0, 1),
    window=st.floats(0, 0.45),
    gamma=st.floats(0, 0.9),
    tone_curve=st.floats(0, 2),
    brightness=st.floats(0, 1),
    contrast=st.floats(0, 0.9),
    erase=st.floats(0, 0.5),
    erase_side=st.floats(0.02, 0.5),
)
# every change alone, at a setting where each picture shows it
ALONE: dict[str, float] = {
    "rotation_degrees": 30.0,
    "shift": 0.2,
    "zoom": 0.3,
    "shear_degrees": 20.0,
    "crop": 0.3,
    "elastic": 0.1,
    "blur_px": 3.0,
    "noise": 0.2,
    "window": 0.2,
    "gamma": 0.5,
    "tone_curve": 1.0,
    "brightness": 0.3,
    "contrast": 0.5,
    "erase": 0.5,
}
ALL = AugmentSettings(flip_horizontal=0.5, flip_vertical=0.5, **ALONE)


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


def test_no_strength_changes_nothing_and_asks_chance_for_nothing() -> None:
    pictures, generator = _pictures(), _generator()
    assert augment(pictures, AugmentSettings(), generator=generator) is pictures
    assert torch.equal(generator.get_state(), _generator().get_state())
    unused = AugmentSettings(erase_side=0.2)
    assert torch.equal(augment(pictures, unused, generator=generator), pictures)


def test_an_empty_batch_stays_empty() -> None:
    assert augment(torch.zeros(0, 1, ROWS, COLUMNS), ALL, generator=_generator()).shape == (0, 1, ROWS, COLUMNS)


def test_the_pictures_given_stay_as_they_are() -> None:
    pictures = _breasts()
    for key, greatest in ALONE.items():
        augment(pictures, AugmentSettings.model_validate({key: greatest}), generator=_generator())
        assert torch.equal(pictures, _breasts()), key


@settings(max_examples=15, deadline=None)
@given(strengths=STRENGTHS, seed=st.integers(0, 2**32), cut=st.integers(1, 5))
def test_a_picture_changes_alike_in_a_batch_of_any_size(strengths: AugmentSettings, seed: int, cut: int) -> None:
    pictures, times, generator = _breasts(6), [1.0, 2.0, 1.0, 0.5, 1.0, 1.0], _generator(seed)
    whole = augment(pictures, strengths, generator=_generator(seed), strengths=times)
    parts = [
        augment(pictures[part], strengths, generator=generator, strengths=times[part])
        for part in (slice(cut), slice(cut, None))
    ]
    # rounding depends on the size of a batch, and a root of a grey near 0 shows it
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("key", ALONE)
def test_one_change_says_nothing_of_another(key: str) -> None:
    """With all changes but one at next to nothing, that one is what it is alone."""
    alone = AugmentSettings.model_validate({key: ALONE[key]})
    barely = AugmentSettings.model_validate(
        {each: 1e-6 for each in ALONE if each not in {"erase", key}} | {key: ALONE[key]}
    )
    first, second = (augment(_breasts(), each, generator=_generator()) for each in (alone, barely))
    assert not torch.equal(first, _breasts())
    # a place that is a hair off takes the edge of the breast from the pixel beside: a few pixels may differ
    assert ((first - second).abs() < 1e-3).float().mean() > 0.99


@pytest.mark.parametrize("key", [key for key in ALONE if key != "blur_px"])
def test_air_stays_black_around_the_breast(key: str) -> None:
    """What was beyond the breast and its neighbour is black after it; a change of place is asked of a larger disc."""
    changed = augment(_breasts(16), AugmentSettings.model_validate({key: ALONE[key]}), generator=_generator())
    is_air = (_breasts(16) == 0).float()
    if key in {"rotation_degrees", "shift", "zoom", "shear_degrees", "crop", "elastic"}:
        mask = augment(1 - is_air, AugmentSettings.model_validate({key: ALONE[key]}), generator=_generator())
        is_air = (mask == 0).float()
    assert (changed * is_air).max() == 0
    assert changed.max() > 0.3


def test_blur_spreads_the_breast_three_deviations_into_the_air_and_no_farther() -> None:
    picture = torch.zeros(32, 1, 64, 64)
    picture[:, :, :, :20] = 0.8
    blurred = augment(picture, AugmentSettings(blur_px=4.0), generator=_generator())
    assert blurred[:, :, :, 20:].amax() > 0.3
    assert blurred[:, :, :, 32:].amax() == 0


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


@pytest.mark.parametrize("key", ALONE)
def test_every_strength_changes_each_picture_in_its_own_way(key: str) -> None:
    one = _breasts(1).repeat(4, 1, 1, 1)
    changed = augment(one, AugmentSettings.model_validate({key: ALONE[key]}), generator=_generator())
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
    angles = draw_chance(16, _generator()).either_way(Purpose.ROTATION, 60.0)[:, 0]
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


def test_places_are_computed_in_full_precision_when_the_network_is_not() -> None:
    """In bfloat16, a place in a picture of 1024 rows would be up to two pixels off."""
    pictures = torch.rand(2, 1, 256, 64, generator=_generator(1))
    strengths = AugmentSettings(rotation_degrees=10.0, elastic=0.1, blur_px=1.0, tone_curve=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = augment(pictures, strengths, generator=_generator())
    torch.testing.assert_close(mixed, augment(pictures, strengths, generator=_generator()))


@pytest.mark.parametrize("key", ALONE)
def test_twice_the_strength_is_the_change_of_twice_the_setting(key: str) -> None:
    most = ALONE[key] / 2
    once, twice = (AugmentSettings.model_validate({key: each}) for each in (most, 2 * most))
    pictures = _breasts()
    strong = augment(pictures, once, generator=_generator(), strengths=[2.0] * len(pictures))
    torch.testing.assert_close(strong, augment(pictures, twice, generator=_generator()))
    assert not torch.equal(strong, augment(pictures, once, generator=_generator()))


def test_each_picture_has_its_own_strength() -> None:
    settings = AugmentSettings(rotation_degrees=10.0, contrast=0.2, erase=0.1, blur_px=0.5, flip_horizontal=0.5)
    pictures = _breasts()
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
