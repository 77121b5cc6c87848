"""Prepared pictures to scores, by all networks of a bundle."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference.bundle import Bundle
from mammoscope.learning.scoring import score_batches


def score_pictures(bundle: Bundle, pictures: Sequence[CanvasPixels]) -> NDArray[np.float64]:
    """The score of each prepared picture, (row, column) each: the mean probability over the folds, (batch,)."""
    batch = torch.from_numpy(np.stack(pictures))  # (batch, row, column)
    by_fold = [
        score_batches(network, [batch], recipe=bundle.recipe, device=bundle.device) for network in bundle.networks
    ]
    mean: NDArray[np.float64] = np.mean(np.stack(by_fold), axis=0)  # (batch,)
    return mean
