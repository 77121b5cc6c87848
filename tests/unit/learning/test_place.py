"""That a breast stays in the picture when its place changes, and that pictures change where they are."""

import pytest
import torch
from torch.nn import functional

from mammoscope.learning.augment.augment import _change
from mammoscope.learning.augment.chance import Chance, draw_chance
from mammoscope.learning.augment.place import affine_matrices, change_place, draw_grid
from mammoscope.learning.settings import AugmentSettings

N = 200


def _chance(n: int = N) -> Chance:
    return draw_chance(n, torch.Generator().manual_seed(3))


def _block(*, rows: slice, columns: slice) -> torch.Tensor:
    """Pictures of 64 x 48 pixels with tissue in these rows and columns, air elsewhere."""
    picture = torch.zeros(1, 1, 64, 48)
    picture[:, :, rows, columns] = 0.5
    return picture.repeat(N, 1, 1, 1)


def _share_kept(pictures: torch.Tensor, settings: AugmentSettings) -> torch.Tensor:
    return change_place(pictures, settings, _chance()).sum(dim=(1, 2, 3)) / pictures.sum(dim=(1, 2, 3))


@pytest.mark.parametrize("columns", [slice(18), slice(30, 48)])
def test_a_breast_at_an_edge_is_shifted_away_from_it_only(columns: slice) -> None:
    pictures = _block(rows=slice(24, 40), columns=columns)
    settings = AugmentSettings(shift=0.3)
    kept = _share_kept(pictures, settings)
    assert kept.min() > 0.9  # 2 % of the area, and half a cell of three columns, may go
    wanted = affine_matrices(pictures.shape, settings, _chance())[:, 0, 2]
    got = draw_grid(pictures, settings, _chance())[:, 0, :, 0].mean(dim=1)
    away = wanted < 0 if columns.start is None else wanted > 0  # a place that lies before shows the picture farther on
    torch.testing.assert_close(got[away], wanted[away], atol=1e-5, rtol=0)
    assert away.float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert got[~away].abs().max() < 0.1  # against 0.6


def test_a_crop_takes_air_away_where_there_is_some() -> None:
    settings = AugmentSettings(crop=0.3)
    magnified = _share_kept(_block(rows=slice(24, 40), columns=slice(18, 30)), settings)  # nothing near an edge
    at_edge = _share_kept(_block(rows=slice(24, 40), columns=slice(12)), settings)
    assert (at_edge / magnified).min() > 0.9


def test_a_breast_that_fills_the_picture_is_cropped_anywhere() -> None:
    settings, pictures = AugmentSettings(crop=0.3), _block(rows=slice(None), columns=slice(None))
    wanted = functional.affine_grid(
        affine_matrices(pictures.shape, settings, _chance()), [*pictures.shape], align_corners=False
    )
    found = draw_grid(pictures, settings, _chance())
    assert (found - wanted).abs().max() < 0.07  # a rim of 2 % of the sides, which are 2 long, may go for another


def test_a_picture_without_a_breast_changes_too() -> None:
    settings = AugmentSettings(shift=0.3, crop=0.3, rotation_degrees=90, zoom=0.5, elastic=0.1)
    grid = draw_grid(torch.zeros(N, 1, 64, 48), settings, _chance())
    assert torch.isfinite(grid).all()


def test_a_mask_that_follows_its_picture_moves_with_it() -> None:
    settings = AugmentSettings(shift=0.3, rotation_degrees=40, zoom=0.5, flip_horizontal=0.5, elastic=0.1)
    pictures = _block(rows=slice(20, 50), columns=slice(30))
    both = change_place(torch.cat([pictures, pictures * 2], dim=1), settings, _chance())
    torch.testing.assert_close(both[:, 0], change_place(pictures, settings, _chance())[:, 0])
    torch.testing.assert_close(both[:, 1], both[:, 0] * 2)
    flips = AugmentSettings(flip_horizontal=0.5, flip_vertical=0.5)
    both = change_place(torch.cat([pictures, pictures * 2], dim=1), flips, _chance())
    assert torch.equal(both[:, 1], both[:, 0] * 2)


@pytest.mark.parametrize(
    "settings",
    [
        AugmentSettings(flip_horizontal=0.5, flip_vertical=0.5),
        AugmentSettings(
            rotation_degrees=10,
            shift=0.1,
            crop=0.1,
            elastic=0.05,
            blur_px=1,
            noise=0.1,
            window=0.1,
            gamma=0.1,
            tone_curve=0.5,
            brightness=0.1,
            contrast=0.1,
            erase=0.1,
        ),
    ],
)
def test_pictures_of_another_device_are_changed_there(settings: AugmentSettings) -> None:
    """The device `meta` computes nothing, but refuses numbers of the CPU as a GPU does."""
    pictures = torch.zeros(4, 1, 64, 32, device="meta")
    changed = _change(pictures, settings, _chance(4))
    assert (changed.device, changed.shape) == (pictures.device, pictures.shape)
