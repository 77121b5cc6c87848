"""A network's scores of pictures: the one way, in training and in prediction."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from mammoscope.learning.batches import to_network_input
from mammoscope.learning.network import CancerNetwork
from mammoscope.learning.settings import Recipe


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that `auto` (or f32, bf16) means on a device; None is full precision.

    `auto` takes bf16 where the hardware computes in it: newer NVIDIA GPUs, CPUs with AVX-512 BF16.
    """
    if precision == "f32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None  # noqa: SLF001  # torch has no public way


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` is the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def score_batches(
    network: CancerNetwork, batches: Iterable[torch.Tensor], *, recipe: Recipe, device: torch.device
) -> NDArray[np.float64]:
    """The probability of cancer of each stored picture, in [0, 1]; batches are (batch, row, column)."""
    network.eval()
    dtype = autocast_type(recipe.precision, device)
    scores = []
    for pictures in batches:
        grey = to_network_input(
            pictures.to(device), rows=recipe.picture.held_out_rows, columns=recipe.picture.held_out_columns
        )
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            logits = network(grey)
        scores.append(torch.sigmoid(logits.double()).cpu().numpy())
    return np.concatenate(scores) if scores else np.empty(0)
