"""Random changes of a batch of pictures, on its device, each picture its own: the order of the steps."""

from collections.abc import Sequence

import torch

from mammoscope.learning.augment.chance import Chance, draw_chance
from mammoscope.learning.augment.disturb import add_noise, blur, erase
from mammoscope.learning.augment.grey import change_grey
from mammoscope.learning.augment.place import change_place
from mammoscope.learning.settings import AugmentSettings


def augment(
    pictures: torch.Tensor, settings: AugmentSettings, *, generator: torch.Generator, strengths: Sequence[float] = ()
) -> torch.Tensor:
    """Changed pictures, (batch, 1, row, column) in [0, 1] to the same; as they are where nothing is switched on.

    The order is that of an examination: the breast is placed, the exposure blurs and adds noise, the display changes
    the grey values; what is erased comes last. What comes in from outside is black.

    `generator` is of the CPU, whatever the device, and gives each picture one number, on which all of its changes
    depend: but for rounding, the same seed gives the same changes on every device, in batches of any size, and whatever
    else is switched on. `strengths` multiply the greatest changes of each picture, not the chances of flips; without
    any it is once.
    """
    if settings == AugmentSettings() or not len(pictures):
        return pictures
    chance = draw_chance(len(pictures), generator, strengths)
    # one channel lies in memory as rows of pixels either way, but torch works faster where the strides say so
    plain = pictures.flatten(1).view(pictures.shape)
    with torch.autocast(pictures.device.type, enabled=False):  # places in bfloat16 would be whole pixels off
        return _change(plain, settings, chance)


def _change(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    placed = change_place(pictures, settings, chance)
    exposed = add_noise(blur(placed, settings, chance), settings, chance)
    return erase(change_grey(exposed, settings, chance), settings, chance)
