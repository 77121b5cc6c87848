"""What stands on a backbone: the pooling of its features, the head, and the weights of views."""

import torch
from torch import nn

from mammoscope.learning.settings import HeadSettings

_ATTENTION_WIDTH = 128  # as in the experiments of arXiv:1802.04712
_GEM_POWER, _GEM_FLOOR = 3.0, 1e-4  # Radenović et al. 2018 (arXiv:1711.02512); the floor keeps half precision finite


class Pooling(nn.Module):
    """Features (batch, channel, row, column) to (batch, channel), or twice the channels for catavgmax."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.power = nn.Parameter(torch.tensor(_GEM_POWER)) if kind == "gem" else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool the features of each picture."""
        if self.power is not None:
            powered = features.float().clamp(min=_GEM_FLOOR) ** self.power
            return powered.mean(dim=(2, 3)) ** (1 / self.power)  # (batch, channel)
        parts = []
        if self.kind in {"avg", "catavgmax"}:
            parts.append(features.mean(dim=(2, 3)))
        if self.kind in {"max", "catavgmax"}:
            parts.append(features.amax(dim=(2, 3)))
        return torch.cat(parts, dim=1)  # (batch, channel) or (batch, 2 * channel)


class ViewAttention(nn.Module):
    """Features (picture, channel) to the log weights of the pictures among the views of their breast, (picture,).

    The gated attention of Ilse, Tomczak & Welling 2018, arXiv:1802.04712, equation 9.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.signal, self.gate = nn.Linear(width, _ATTENTION_WIDTH), nn.Linear(width, _ATTENTION_WIDTH)
        self.weight = nn.Linear(_ATTENTION_WIDTH, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The log weights of pictures."""
        gated = torch.tanh(self.signal(features)) * torch.sigmoid(self.gate(features))  # (picture, hidden)
        weights: torch.Tensor = self.weight(gated).squeeze(1)  # (picture,)
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
