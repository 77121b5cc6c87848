"""Prepared pictures to scores, by all networks of a bundle."""

from collections.abc import Sequence

import numpy as np
import torch

from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference.bundle import Bundle
from mammoscope.learning.scoring import score_batches
from mammoscope.learning.views import PictureLogits


def score_pictures(bundle: Bundle, pictures: Sequence[CanvasPixels]) -> list[PictureLogits]:
    """What each network of a bundle says of prepared pictures, (row, column) each."""
    batch = torch.from_numpy(np.stack(pictures))  # (picture, row, column)
    return [score_batches(network, [batch], recipe=bundle.recipe, device=bundle.device) for network in bundle.networks]
