"""What stands on a backbone: the pooling of its features, the head, and the weights of views."""

from collections.abc import Mapping

import torch
from torch import nn

from mammoscope.learning.settings import HeadSettings

_ATTENTION_WIDTH = 128  # as in the experiments of arXiv:1802.04712
_GEM_POWER, _GEM_FLOOR = 3.0, 1e-4  # Radenović et al. 2018 (arXiv:1711.02512); the floor keeps half precision finite


class Pooling(nn.Module):
    """Features (picture, channel, row, column) to (picture, channel), or twice the channels for catavgmax."""

    def __init__(self, kind: str, n_channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.width = 2 * n_channels if kind == "catavgmax" else n_channels
        self.power = nn.Parameter(torch.tensor(_GEM_POWER)) if kind == "gem" else None
        self.attention = GatedAttention(n_channels) if kind == "attention" else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool the features of each picture."""
        if self.power is not None:
            powered = features.float().clamp(min=_GEM_FLOOR) ** self.power
            return powered.mean(dim=(2, 3)) ** (1 / self.power)  # (picture, channel)
        if self.attention is not None:
            places = features.flatten(2).transpose(1, 2)  # (picture, place, channel)
            weights = torch.softmax(self.attention(places).float(), dim=1)  # (picture, place)
            return (weights.unsqueeze(2) * places).sum(dim=1)  # (picture, channel)
        parts = []
        if self.kind in {"avg", "catavgmax"}:
            parts.append(features.mean(dim=(2, 3)))
        if self.kind in {"max", "catavgmax"}:
            parts.append(features.amax(dim=(2, 3)))
        return torch.cat(parts, dim=1)  # (picture, width)


class GatedAttention(nn.Module):
    """Features (..., channel) to the log weights of each among others, of the places of a picture or views of a breast.

    The gated attention of Ilse, Tomczak & Welling 2018, arXiv:1802.04712, equation 9, before its softmax.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.signal, self.gate = nn.Linear(n_channels, _ATTENTION_WIDTH), nn.Linear(n_channels, _ATTENTION_WIDTH)
        self.weight = nn.Linear(_ATTENTION_WIDTH, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The log weights, (...)."""
        gated = torch.tanh(self.signal(features)) * torch.sigmoid(self.gate(features))  # (..., hidden)
        weights: torch.Tensor = self.weight(gated).squeeze(-1)  # (...)
        return weights


def build_head(width: int, head: HeadSettings) -> nn.Sequential:
    """Pooled features (picture, width) to a logit for each picture, (picture, 1)."""
    modules: list[nn.Module] = [nn.BatchNorm1d(width)] if head.batch_norm else []
    for hidden in head.layers:
        modules += [nn.Linear(width, hidden), nn.ReLU()]
        modules += [nn.BatchNorm1d(hidden)] if head.batch_norm else []
        modules += [nn.Dropout(head.dropout)]
        width = hidden
    if not head.layers:
        modules += [nn.Dropout(head.dropout)]
    return nn.Sequential(*modules, nn.Linear(width, 1))


def sample_logits(head: nn.Sequential, features: torch.Tensor, *, n_samples: int) -> torch.Tensor:
    """The logits of pooled features (picture, width) under as many masks of the last dropout, (sample, picture).

    Multi-sample dropout, Inoue 2019 (arXiv:1905.09788). Where nothing is dropped, one sample says all.
    """
    *before, dropout, last = head
    for module in before:
        features = module(features)
    n_masks = n_samples if head.training else 1
    return torch.stack([last(dropout(features)).squeeze(1) for _ in range(n_masks)])  # (sample, picture)


def build_questions(width: int, n_logits_by_head: Mapping[str, int]) -> nn.ModuleDict:
    """A layer for each further question: pooled features (picture, width) to its logits."""
    return nn.ModuleDict({head: nn.Linear(width, n_logits) for head, n_logits in n_logits_by_head.items()})


def answer_questions(questions: nn.ModuleDict, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
    """The logits of each further question, (picture, class), or (picture,) for yes and no."""
    answers = {head: layer(pooled) for head, layer in questions.items()}
    return {head: logits.squeeze(1) if logits.shape[1] == 1 else logits for head, logits in answers.items()}
