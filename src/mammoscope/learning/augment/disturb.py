"""What disturbs a picture at random: blur, noise, and erased rectangles."""

import itertools
import math
from typing import Final

import torch
from torch.nn import functional

from mammoscope.learning.augment.chance import Chance, Purpose
from mammoscope.learning.augment.place import AIR
from mammoscope.learning.settings import AugmentSettings

_REACH: Final = 3  # deviations of a Gaussian that are summed up: 99.7 % of it
_SHARPEST_PX: Final = 1e-3  # blurs nothing, and can be divided by
_SHORTEST: Final = 0.5  # side of an erased rectangle, of the longest


def blur(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Pictures (batch, channel, row, column), each blurred by a Gaussian of its own; beyond an edge is its last grey.

    The light of the breast spreads into the black around it, three deviations far.
    """
    if not settings.blur_px:
        return pictures
    deviations = chance.up_to(Purpose.BLUR, settings.blur_px).clamp(min=_SHARPEST_PX)  # (batch, 1)
    taps = torch.arange(math.ceil(_REACH * deviations.max().item()) + 1)
    weights = torch.exp(-0.5 * (taps / deviations) ** 2)  # (batch, tap), from the centre to one side
    weights *= taps <= _REACH * deviations  # each to its own reach, whatever the others of its batch have
    weights /= 2 * weights.sum(dim=1, keepdim=True) - weights[:, :1]
    weights = weights.T.reshape(-1, len(pictures), 1, 1, 1).to(pictures.device)  # (tap, batch, 1, 1, 1)
    blurred = _blur_along(_blur_along(pictures, weights, axis=2), weights, axis=3)
    return blurred.clamp_(0, 1)  # the weights may add up to a little more than 1


def _blur_along(pictures: torch.Tensor, weights: torch.Tensor, *, axis: int) -> torch.Tensor:
    reach, length = len(weights) - 1, pictures.shape[axis]
    margins = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)  # noqa: PLR2004  # rows
    padded = functional.pad(pictures, margins, mode="replicate")
    blurred = pictures * weights[0]
    for tap in range(1, reach + 1):
        pair = padded.narrow(axis, reach - tap, length) + padded.narrow(axis, reach + tap, length)
        blurred.addcmul_(pair, weights[tap])
    return blurred


def add_noise(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Pictures (batch, channel, row, column) in [0, 1] with normal noise in each pixel.

    As that of X-ray quanta, its variance is proportional to the grey: white has the most, black none.
    """
    if not settings.noise:
        return pictures
    deviations = chance.up_to(Purpose.NOISE, settings.noise).view(-1, 1, 1, 1).to(pictures.device)
    noise = chance.normal(Purpose.NOISE_OF_PIXELS, pictures[0].numel(), pictures.device).view(pictures.shape)
    return noise.mul_(pictures.sqrt()).mul_(deviations).add_(pictures).clamp_(0, 1)


def erase(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Pictures (batch, 1, row, column) with rectangles in the mean grey of their tissue; none has a corner in air.

    Random erasing (arXiv:1708.04896) in many rectangles. All together cover at most the share `erase` of the breast,
    and none is longer than `erase_side` of the longer side of the picture: one alone hides nothing larger.
    """
    if not settings.erase:
        return pictures
    tissue = (pictures > AIR).float()
    area_px = tissue.sum(dim=(2, 3), keepdim=True)
    mean = (tissue * pictures).sum(dim=(2, 3), keepdim=True) / area_px.clamp(min=1)  # (batch, 1, 1, 1)
    most = chance.up_to(Purpose.ERASED_SHARE, settings.erase)  # (batch, 1)
    corners = _draw_rectangles(tissue.shape[2:], most, settings, chance).to(tissue.device)
    cover = _cover(tissue[:, 0], corners, most_px=most.to(tissue.device) * area_px[:, 0, 0])
    return torch.lerp(pictures, mean, cover.unsqueeze(1))


def _draw_rectangles(shape: torch.Size, most: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Where rectangles start and stop, in pixels: (start or stop, batch, rectangle, row or column).

    There are as many as cover the share `most` (batch, 1) of a picture; those that it has beyond are empty.
    """
    size = torch.tensor(shape)
    longest = settings.erase_side * max(shape)
    counts = (most * size.prod() / (longest * (_SHORTEST + 1) / 2) ** 2).ceil()  # (batch, 1)
    n_most = int(counts.max())
    numbers = chance.uniform(Purpose.ERASED_PLACES, 4 * n_most).view(len(most), n_most, 4)  # (batch, rectangle, 4)
    sides = (longest * (_SHORTEST + (1 - _SHORTEST) * numbers[:, :, :2])).floor()
    sides = torch.minimum(sides, size) * (torch.arange(n_most) < counts).unsqueeze(2)  # (batch, rectangle, 2)
    starts = (numbers[:, :, 2:] * (size - sides + 1)).floor().minimum(size - 1)
    return torch.stack([starts, starts + sides])  # (start or stop, batch, rectangle, row or column)


def _cover(tissue: torch.Tensor, corners: torch.Tensor, *, most_px: torch.Tensor) -> torch.Tensor:
    """1 in the first rectangles that lie in tissue and have at most so many pixels, else 0: (batch, row, column)."""
    starts, stops = corners
    areas_px = (stops - starts).prod(dim=2) * _is_inside(tissue, starts, stops)  # (batch, rectangle)
    stops = stops * (areas_px.cumsum(dim=1) <= most_px).unsqueeze(2) * (areas_px > 0).unsqueeze(2)
    rows = _between(starts[:, :, 0], stops[:, :, 0], tissue.shape[1])  # (batch, rectangle, row)
    columns = _between(starts[:, :, 1], stops[:, :, 1], tissue.shape[2])  # (batch, rectangle, column)
    return (rows.transpose(1, 2) @ columns).clamp_(max=1)  # (batch, row, column)


def _is_inside(tissue: torch.Tensor, starts: torch.Tensor, stops: torch.Tensor) -> torch.Tensor:
    """1 where all four corners are tissue, else 0: (batch, rectangle)."""
    ends = torch.stack([starts, (stops - 1).clamp(min=0)]).long()  # (first or last, batch, rectangle, row or column)
    inside = torch.ones_like(starts[:, :, 0])
    for rows, columns in itertools.product(ends[..., 0], ends[..., 1]):
        inside *= tissue.flatten(1).gather(1, rows * tissue.shape[2] + columns)
    return inside


def _between(starts: torch.Tensor, stops: torch.Tensor, length: int) -> torch.Tensor:
    """1 at the places from each start up to its stop, else 0: (batch, rectangle, place)."""
    places = torch.arange(length, device=starts.device)
    return ((places >= starts.unsqueeze(2)) & (places < stops.unsqueeze(2))).float()
