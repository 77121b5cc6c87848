"""How wrong a batch of logits is."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from mammoscope.errors import ConfigError
from mammoscope.learning.settings import LossSettings


class ExampleCounts(NamedTuple):
    """How many examples are of cases, and how many of controls."""

    cases: int
    controls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """The loss of one training: its settings, and the numbers that they come to with its examples."""

    settings: LossSettings
    positive_weight: float


def set_loss_terms(settings: LossSettings, *, drawn: ExampleCounts) -> LossTerms:
    """The loss of a training whose epochs draw that many cases and controls.

    Raises:
        ConfigError: the settings go by the odds of an epoch, which lacks cases or controls.
    """
    if settings.positive_weight == "auto":
        _check_odds(drawn, key="positive_weight", found=settings.positive_weight)
        return LossTerms(settings=settings, positive_weight=drawn.controls / drawn.cases)
    return LossTerms(settings=settings, positive_weight=settings.positive_weight)


def cancer_loss(logits: torch.Tensor, targets: torch.Tensor, terms: LossTerms) -> torch.Tensor:
    """The mean loss of logits against 0 or 1, both (example,), computed in float32 or better."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    gamma = terms.settings.focal_gamma if terms.settings.name == "focal" else 0.0
    soften = terms.settings.soften_positives
    as_case, as_control = _losses_as_case_and_control(logits.to(exact), gamma=gamma)
    softened = (1 - soften) * as_case + soften * as_control
    is_case = targets.to(exact)
    return (is_case * terms.positive_weight * softened + (1 - is_case) * as_control).mean()


def _losses_as_case_and_control(logits: torch.Tensor, *, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The focal loss of each logit if it is of a case, and if it is of a control; cross-entropy where gamma is 0.

    Lin et al. 2017 (arXiv:1708.02002); their alpha is `positive_weight` / (1 + `positive_weight`). Powers as
    exponentials of logarithms keep the gradient finite where a probability comes to 0.
    """
    log_score, log_rest = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return -torch.exp(gamma * log_rest) * log_score, -torch.exp(gamma * log_score) * log_rest


def _check_odds(drawn: ExampleCounts, *, key: str, found: object) -> None:
    if not (drawn.cases and drawn.controls):
        raise ConfigError(
            f"loss.{key}: found {found!r}, which goes by the cases and controls of an epoch, but found {drawn.cases} "
            f"cases and {drawn.controls} controls in one; choose another sampling or balance, or leave this key out"
        )
