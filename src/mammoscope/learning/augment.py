"""Random changes of a batch of pictures, on its device, each picture its own."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from mammoscope.learning.settings import AugmentSettings


def augment(
    pictures: torch.Tensor, settings: AugmentSettings, *, generator: torch.Generator, strengths: Sequence[float] = ()
) -> torch.Tensor:
    """Changed pictures, (batch, channel, row, column) in [0, 1] to the same; what comes in from outside is black.

    `generator` is of the CPU, whatever the device, so that the same seed gives the same changes everywhere. `strengths`
    multiply the greatest changes of place and grey of each picture, not the chances of flips; without any it is once.
    """
    times = torch.tensor(strengths) if strengths else torch.ones(pictures.shape[0])  # (batch,)
    return _change_grey(_change_place(pictures, settings, generator, times), settings, generator, times)


def _uniform(times: torch.Tensor, greatest: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(len(times), generator=generator) * 2 - 1) * greatest * times


def _flip_signs(n: int, chance: float, generator: torch.Generator) -> torch.Tensor:
    return 1 - 2 * (torch.rand(n, generator=generator) < chance).float()


def _change_place(
    pictures: torch.Tensor, settings: AugmentSettings, generator: torch.Generator, times: torch.Tensor
) -> torch.Tensor:
    matrices = affine_matrices(pictures.shape, settings, generator, times).to(pictures.device)  # (batch, 2, 3)
    if not (settings.rotation_degrees or settings.shift or settings.zoom or settings.shear_degrees):
        return _flip(pictures, along_x=matrices[:, 0, 0] < 0, along_y=matrices[:, 1, 1] < 0)
    with torch.autocast(pictures.device.type, enabled=False):  # places in bfloat16 would be whole pixels off
        grid = functional.affine_grid(matrices, list(pictures.shape), align_corners=False)
        return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _flip(pictures: torch.Tensor, *, along_x: torch.Tensor, along_y: torch.Tensor) -> torch.Tensor:
    """Mirrored pictures without resampling, where (batch,) says so: every grey value stays exactly as it is."""
    pictures = torch.where(along_x.view(-1, 1, 1, 1), pictures.flip(3), pictures)
    return torch.where(along_y.view(-1, 1, 1, 1), pictures.flip(2), pictures)  # (batch, channel, row, column)


def affine_matrices(
    shape: torch.Size, settings: AugmentSettings, generator: torch.Generator, times: torch.Tensor
) -> torch.Tensor:
    """The maps from each new picture to its old one, in units of half a picture: (batch, 2, 3), order (x, y)."""
    n, _, n_rows, n_columns = shape
    angle = _uniform(times, math.radians(settings.rotation_degrees), generator)
    shear = torch.tan(_uniform(times, math.radians(settings.shear_degrees), generator))
    zoom = 1 + _uniform(times, settings.zoom, generator)
    shift_x, shift_y = _uniform(times, 2 * settings.shift, generator), _uniform(times, 2 * settings.shift, generator)
    flip_x = _flip_signs(n, settings.flip_horizontal, generator)
    flip_y = _flip_signs(n, settings.flip_vertical, generator)
    cos, sin, aspect = torch.cos(angle) * zoom, torch.sin(angle) * zoom, n_rows / n_columns
    row_x = torch.stack([cos * flip_x, (cos * shear - sin) * aspect * flip_x, shift_x], dim=1)
    row_y = torch.stack([sin / aspect * flip_y, (sin * shear + cos) * flip_y, shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)  # (batch, 2, 3)


def _change_grey(
    pictures: torch.Tensor, settings: AugmentSettings, generator: torch.Generator, times: torch.Tensor
) -> torch.Tensor:
    n = pictures.shape[0]
    gamma = torch.exp(_uniform(times, settings.gamma, generator)).view(n, 1, 1, 1).to(pictures.device)
    contrast = (1 + _uniform(times, settings.contrast, generator)).view(n, 1, 1, 1).to(pictures.device)
    # both leave a black background black
    return (pictures.clamp(0, 1) ** gamma * contrast).clamp(0, 1)
