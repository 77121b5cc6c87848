"""The loss against torch's own, and worked by hand."""

import math

import pytest
import torch

from mammoscope.learning.losses import cancer_loss
from mammoscope.learning.settings import LossSettings


def test_the_loss_worked_by_hand() -> None:
    # a logit of ln 3 is a probability of 3/4
    logits, targets = torch.tensor([math.log(3), math.log(3)]), torch.tensor([1.0, 0.0])
    plain = cancer_loss(logits, targets, LossSettings())
    assert plain.item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)
    weighed = cancer_loss(logits, targets, LossSettings(positive_weight=5.0))
    assert weighed.item() == pytest.approx((-5 * math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.3, 20.0])
def test_the_loss_is_torchs(weight: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(64, generator=generator) * 4
    targets = (torch.rand(64, generator=generator) < 0.3).float()
    reference = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))(logits, targets)
    assert cancer_loss(logits, targets, LossSettings(positive_weight=weight)).item() == pytest.approx(reference.item())


def test_logits_in_bfloat16_are_judged_in_full_precision() -> None:
    logits, targets = torch.tensor([80.0, -80.0]), torch.tensor([0.0, 1.0])
    loss = cancer_loss(logits.bfloat16(), targets, LossSettings())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(80.0)
