"""Random changes of grey values: each a rising curve of a picture that begins at black, so that air stays black."""

import math
from typing import Final

import torch

from mammoscope.learning.augment.chance import Chance, Purpose
from mammoscope.learning.settings import AugmentSettings

_FULL_AT: Final = 0.1  # the grey from which brightness is added in full: that of the skin line, which then has no step
_CURVE_PIECES: Final = 5


def change_grey(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Pictures (batch, channel, row, column) in [0, 1] with other grey values; as they are where none are asked for."""
    if settings.window:
        pictures = _narrow_window(pictures, settings, chance)
    if settings.gamma:
        pictures = pictures ** _of_each(torch.exp(chance.either_way(Purpose.GAMMA, settings.gamma)), pictures)
    if settings.tone_curve:
        pictures = _apply_tone_curve(pictures, settings, chance)
    if settings.brightness:
        added = _of_each(chance.either_way(Purpose.BRIGHTNESS, settings.brightness), pictures)
        pictures = (pictures / _FULL_AT).clamp_(max=1).mul_(added).add_(pictures).clamp_(0, 1)
    if settings.contrast:
        factors = 1 + chance.either_way(Purpose.CONTRAST, settings.contrast)
        pictures = (pictures * _of_each(factors, pictures)).clamp_(0, 1)
    return pictures


def _of_each(numbers: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """A number of each picture, as (batch, 1, 1, 1) on its device."""
    return numbers.view(-1, 1, 1, 1).to(pictures.device)


def _narrow_window(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Another linear window inside the stored range (PS3.3 C.11.2.1.2): darker than it is black, brighter is white."""
    below_and_above = chance.up_to(Purpose.WINDOW, settings.window, 2)
    width = 1 - below_and_above.sum(dim=1)  # (batch,)
    return (pictures - _of_each(below_and_above[:, 0], pictures)).div_(_of_each(width, pictures)).clamp_(0, 1)


def _apply_tone_curve(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """A smooth rising curve from (0, 0) to (1, 1), of its own for each picture.

    A Bézier curve (as in Models Genesis, arXiv:1908.06912) over equal steps of grey, which is a Bernstein polynomial:
    it rises where its coefficients do, and its slope lies between the least and the greatest of theirs (Farouki 2012,
    doi:10.1016/j.cagd.2012.03.001).
    """
    rises = torch.exp(chance.either_way(Purpose.TONE_CURVE, settings.tone_curve / 2, _CURVE_PIECES))
    heights = rises.cumsum(dim=1) / rises.sum(dim=1, keepdim=True)  # (batch, coefficient), the first after 0
    powers = heights @ _bernstein_in_powers(_CURVE_PIECES)  # (batch, power), from the first
    curve = pictures * _of_each(powers[:, -1], pictures)
    for power in reversed(range(_CURVE_PIECES - 1)):  # Horner's way
        curve.add_(_of_each(powers[:, power], pictures)).mul_(pictures)
    return curve.clamp_(0, 1)  # rounding may be beyond


def _bernstein_in_powers(degree: int) -> torch.Tensor:
    """The coefficients of Bernstein's polynomials in powers, (polynomial, power), each from the first to the last."""
    return torch.tensor(
        [
            [
                (-1.0) ** (power - number) * math.comb(degree, number) * math.comb(degree - number, power - number)
                if power >= number
                else 0.0
                for power in range(1, degree + 1)
            ]
            for number in range(1, degree + 1)
        ]
    )
