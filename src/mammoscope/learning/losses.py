"""How wrong a batch of logits is."""

import torch
from torch.nn import functional

from mammoscope.learning.settings import LossSettings


def cancer_loss(logits: torch.Tensor, targets: torch.Tensor, settings: LossSettings) -> torch.Tensor:
    """The mean binary cross-entropy of logits against 0 or 1, both (batch,); cases weigh `positive_weight` times."""
    weight = torch.tensor(settings.positive_weight, device=logits.device)
    return functional.binary_cross_entropy_with_logits(logits.float(), targets.float(), pos_weight=weight)
