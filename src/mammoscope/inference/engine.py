"""Prepared pictures to scores, by all networks of a bundle."""

import numpy as np
import torch
from numpy.typing import NDArray

from mammoscope.inference.bundle import Bundle
from mammoscope.learning.scoring import score_batches


def score_pictures(bundle: Bundle, pictures: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float64]:
    """The score of each prepared picture, (batch, row, column) to (batch,): the mean probability over the folds."""
    batch = torch.from_numpy(pictures)
    each = [score_batches(network, [batch], recipe=bundle.recipe, device=bundle.device) for network in bundle.networks]
    return np.mean(each, axis=0)  # (batch,)
