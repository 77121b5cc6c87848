"""How wrong a batch of logits is."""

import math
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
    """The loss of one training: its settings, and the numbers that they come to with its examples.

    `shift` is added to the logits before they are judged, so that the network learns logits without it.
    """

    settings: LossSettings
    positive_weight: float
    shift: float


def set_loss_terms(settings: LossSettings, *, drawn: ExampleCounts, trainable: ExampleCounts) -> LossTerms:
    """The loss of a training whose epochs draw so many cases and controls, out of so many that may be trained on.

    Raises:
        ConfigError: the settings go by the odds of an epoch, which lacks cases or controls.
    """
    weight, prevalence, shift = settings.positive_weight, settings.prevalence, 0.0
    if weight == "auto":
        _check_odds(drawn, key="positive_weight", found=weight)
        weight = drawn.controls / drawn.cases
    if prevalence is not None:
        _check_odds(drawn, key="prevalence", found=prevalence)
        true = trainable.cases / sum(trainable) if prevalence == "training" else prevalence
        shift = prevalence_shift(drawn, positive_weight=weight, prevalence=true)
    return LossTerms(settings=settings, positive_weight=weight, shift=shift)


def prevalence_shift(drawn: ExampleCounts, *, positive_weight: float, prevalence: float) -> float:
    """The log-odds of a case among what is trained on, weighed, less those where it has a prevalence, in (0, 1).

    A network that minimises cross-entropy on logits plus this shift gives the logits of the prevalence, if cases and
    controls are drawn by chance among their own: King and Zeng 2001 (doi:10.1093/oxfordjournals.pan.a004868), Menon et
    al. 2021 (arXiv:2007.07314).
    """
    trained_under = math.log(drawn.cases) - math.log(drawn.controls) + math.log(positive_weight)
    return trained_under - (math.log(prevalence) - math.log1p(-prevalence))


def cancer_loss(logits: torch.Tensor, targets: torch.Tensor, terms: LossTerms) -> torch.Tensor:
    """The loss of logits against 0 or 1, both (example,), computed in float32 or better."""
    settings, exact = terms.settings, torch.promote_types(logits.dtype, torch.float32)
    logits, targets = logits.to(exact) + terms.shift, targets.to(exact)
    mean_of_each = _loss_of_each(logits, targets, terms).mean()
    if settings.name == "average-precision":
        surrogate = average_precision_loss(logits, targets, temperature=settings.temperature)
    elif settings.name == "pf1":
        surrogate = probabilistic_f1_loss(logits, targets)
    else:
        return mean_of_each
    return settings.surrogate_share * surrogate + (1 - settings.surrogate_share) * mean_of_each


def average_precision_loss(logits: torch.Tensor, targets: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """One minus a smooth average precision of the batch, in [0, 1); 0 without any case, with a gradient of 0.

    Brown et al. 2020 (arXiv:2007.12163): the rank of an example among others counts how far each of them is above it,
    as a sigmoid of the difference of their logits over the temperature. As this goes to 0, the loss goes to one minus
    the average precision, where no logit of a case has its equal (equals count half here, and whole there). Targets are
    0 or 1. A number added to all logits changes nothing.
    """
    above = torch.sigmoid((logits.unsqueeze(0) - logits.unsqueeze(1)) / temperature)  # (example, other)
    rank_among_cases, rank = 0.5 + (above * targets).sum(dim=1), 0.5 + above.sum(dim=1)  # each is half above itself
    lost = targets * (1 - rank_among_cases / rank)
    return lost.sum() / targets.sum().clamp(min=1)


def probabilistic_f1_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """One minus the probabilistic F1 of the batch, in [0, 1]; 0 without any case, with a gradient of 0.

    The measure is that of `mammoscope.evaluation.discrimination`, without its demand for a control.
    """
    scores, n_cases = torch.sigmoid(logits), targets.sum()
    f1 = 2 * (scores * targets).sum() / (scores.sum() + n_cases.clamp(min=1))
    return torch.where(n_cases > 0, 1 - f1, 0 * f1)


def _loss_of_each(logits: torch.Tensor, targets: torch.Tensor, terms: LossTerms) -> torch.Tensor:
    """Cross-entropy or focal loss of each example, (example,), a case weighed and softened."""
    gamma = terms.settings.focal_gamma if terms.settings.name == "focal" else 0.0
    soften = terms.settings.soften_positives
    as_case, as_control = _losses_as_case_and_control(logits, gamma=gamma)
    softened = (1 - soften) * as_case + soften * as_control
    return targets * terms.positive_weight * softened + (1 - targets) * as_control


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
