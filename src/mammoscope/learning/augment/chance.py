"""The chance of each picture of a batch: numbers of its own, the same on every device and in every batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import torch

# SplitMix64, of which the i-th number follows from the seed alone (Steele, Lea, Flood 2014,
# doi:10.1145/2660193.2660195). Whole numbers are the same on every device; torch's have a sign, and wrap round
_GOLDEN: Final = 0x9E3779B97F4A7C15 - 2**64
_FIRST: Final = 0xBF58476D1CE4E5B9 - 2**64
_SECOND: Final = 0x94D049BB133111EB - 2**64
_UNIFORM_BITS: Final = 24  # as many as a float has


class Purpose(IntEnum):
    """What numbers are drawn for; each has a sequence of its own, so that one change says nothing of another."""

    FLIP_HORIZONTAL = 1
    FLIP_VERTICAL = 2
    ROTATION = 3
    SHIFT = 4
    ZOOM = 5
    SHEAR = 6
    CROP = 7
    CROP_PLACE = 8
    ELASTIC = 9
    BLUR = 10
    NOISE = 11
    NOISE_OF_PIXELS = 12
    WINDOW = 13
    GAMMA = 14
    TONE_CURVE = 15
    BRIGHTNESS = 16
    CONTRAST = 17
    ERASED_SHARE = 18
    ERASED_PLACES = 19


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """What decides on the changes of each picture.

    Attributes:
        keys: (batch,) of int64; all numbers of a picture follow from its own.
        strengths: (batch,); they multiply the greatest changes.
    """

    keys: torch.Tensor
    strengths: torch.Tensor

    def uniform(self, purpose: Purpose, count: int = 1) -> torch.Tensor:
        """Numbers in [0, 1), (batch, count)."""
        bits = self._bits(purpose, count) >> (64 - _UNIFORM_BITS)
        return (bits & (2**_UNIFORM_BITS - 1)).float() / 2**_UNIFORM_BITS

    def up_to(self, purpose: Purpose, greatest: float, count: int = 1) -> torch.Tensor:
        """Numbers from 0 to the greatest change of each picture, (batch, count)."""
        return self.uniform(purpose, count) * greatest * self.strengths[:, None]

    def either_way(self, purpose: Purpose, greatest: float, count: int = 1) -> torch.Tensor:
        """Numbers from the greatest change of each picture below 0 to that above, (batch, count)."""
        return (self.uniform(purpose, count) * 2 - 1) * greatest * self.strengths[:, None]

    def normal(self, purpose: Purpose, count: int, device: torch.device) -> torch.Tensor:
        """Normal numbers of mean 0 and deviation 1, (batch, count), made on a device; two of each number of 64 bits."""
        there = Chance(self.keys.to(device), self.strengths)
        halves = there._bits(purpose, (count + 1) // 2).view(torch.int32)  # (batch, count), or one more
        shares = (halves[:, :count] >> 8).float().add_(0.5).div_(2.0**23)  # in (-1, 1): neither end, which is infinite
        return torch.erfinv(shares).mul_(2**0.5)

    def _bits(self, purpose: Purpose, count: int) -> torch.Tensor:
        places = torch.arange(1, count + 1, device=self.keys.device)
        seeds = _mix(self.keys + torch.full_like(self.keys, _GOLDEN) * int(purpose))
        return _mix(seeds[:, None] + places * _GOLDEN)  # (batch, count)


def draw_chance(n_pictures: int, generator: torch.Generator, strengths: Sequence[float] = ()) -> Chance:
    """The chance of so many pictures, one number of the CPU's generator for each; without strengths, they are 1."""
    keys = torch.empty(n_pictures, dtype=torch.int64).random_(generator=generator)
    return Chance(keys, torch.tensor(strengths) if strengths else torch.ones(n_pictures))


def _mix(numbers: torch.Tensor) -> torch.Tensor:
    """Each number of 64 bits to another, of which every bit depends on all of its own; a new tensor."""
    mixed = numbers ^ _shift_right(numbers, 30)
    mixed.mul_(_FIRST)
    mixed.bitwise_xor_(_shift_right(mixed, 27)).mul_(_SECOND)
    return mixed.bitwise_xor_(_shift_right(mixed, 31))


def _shift_right(numbers: torch.Tensor, n_bits: int) -> torch.Tensor:
    """The bits moved down, zeros after them; torch's own shift repeats the sign."""
    return (numbers >> n_bits).bitwise_and_(2 ** (64 - n_bits) - 1)
