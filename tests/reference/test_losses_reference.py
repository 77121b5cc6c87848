"""The loss against torch's own and torchvision's, and worked by hand."""

import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from mammoscope.learning.losses import LossTerms, cancer_loss
from mammoscope.learning.settings import LossSettings


def terms_of(*, positive_weight: float = 1.0, **settings: object) -> LossTerms:
    return LossTerms(settings=LossSettings.model_validate(settings), positive_weight=positive_weight)


def draw_examples(n: int = 64, *, spread: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (example,) in double precision, and targets of which three in ten are 1."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(n, generator=generator, dtype=torch.float64) * spread
    return logits, (torch.rand(n, generator=generator) < 0.3).double()


def test_the_loss_worked_by_hand() -> None:
    # a logit of ln 3 is a probability of 3/4
    logits, targets = torch.tensor([math.log(3), math.log(3)]), torch.tensor([1.0, 0.0])
    plain = cancer_loss(logits, targets, terms_of())
    assert plain.item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)
    weighed = cancer_loss(logits, targets, terms_of(positive_weight=5.0))
    assert weighed.item() == pytest.approx((-5 * math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)
    softened = cancer_loss(logits, targets, terms_of(positive_weight=5.0, soften_positives=0.2))
    of_case = -0.8 * math.log(0.75) - 0.2 * math.log(0.25)
    assert softened.item() == pytest.approx((5 * of_case - math.log(0.25)) / 2, rel=1e-6)
    focal = cancer_loss(logits, targets, terms_of(name="focal", focal_gamma=2.0))
    assert focal.item() == pytest.approx((-math.log(0.75) / 16 - 9 * math.log(0.25) / 16) / 2, rel=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.3, 20.0])
def test_the_loss_is_torchs(weight: float) -> None:
    logits, targets = draw_examples()
    reference = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight, dtype=torch.float64))(logits, targets)
    ours = cancer_loss(logits, targets, terms_of(positive_weight=weight))
    assert ours.item() == pytest.approx(reference.item(), rel=1e-9)


def test_softened_cases_are_torchs_with_their_lower_target() -> None:
    logits, targets = draw_examples()
    weights = torch.where(targets == 1, 3.0, 1.0).double()
    reference = torch.nn.BCEWithLogitsLoss(weight=weights)(logits, targets * 0.8)
    ours = cancer_loss(logits, targets, terms_of(positive_weight=3.0, soften_positives=0.2))
    assert ours.item() == pytest.approx(reference.item(), rel=1e-9)


def test_a_softened_loss_of_a_case_is_least_at_its_target() -> None:
    scores = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    losses = [cancer_loss(torch.logit(score[None]), torch.ones(1), terms_of(soften_positives=0.2)) for score in scores]
    assert scores[torch.stack(losses).argmin()].item() == pytest.approx(0.8)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_focal_loss_is_torchvisions(gamma: float, weight: float) -> None:
    """Its alpha weighs both classes; ours is a factor on the cases alone, as with cross-entropy."""
    logits, targets = draw_examples()
    alpha = weight / (1 + weight)
    reference = (1 + weight) * sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="mean")
    ours = cancer_loss(logits, targets, terms_of(name="focal", focal_gamma=gamma, positive_weight=weight))
    assert ours.item() == pytest.approx(reference.item(), rel=1e-9)


@pytest.mark.parametrize("soften", [0.0, 0.2])
def test_the_focal_loss_with_gamma_0_is_cross_entropy(soften: float) -> None:
    logits, targets = draw_examples()
    focal, bce = (
        cancer_loss(logits, targets, terms_of(name=name, focal_gamma=0.0, positive_weight=3.0, soften_positives=soften))
        for name in ("focal", "bce")
    )
    assert focal.item() == bce.item()


ALL_TERMS = [
    terms_of(positive_weight=3.0),
    terms_of(positive_weight=3.0, soften_positives=0.2),
    terms_of(name="focal", focal_gamma=0.5, positive_weight=3.0, soften_positives=0.2),
    terms_of(name="focal", focal_gamma=2.0),
]


@pytest.mark.parametrize("terms", ALL_TERMS, ids=str)
def test_the_gradient_is_that_of_small_differences(terms: LossTerms) -> None:
    logits, targets = draw_examples(12, spread=2.0)
    assert torch.autograd.gradcheck(lambda each: cancer_loss(each, targets, terms), logits.requires_grad_())


@pytest.mark.parametrize("terms", ALL_TERMS, ids=str)
@pytest.mark.parametrize("size", [0.0, 50.0, 1e4, 1e30])
def test_loss_and_gradient_are_finite_for_any_logits(terms: LossTerms, size: float) -> None:
    """Probabilities of 0 and 1 in single precision."""
    logits = torch.tensor([size, -size, size, -size], requires_grad=True)
    loss = cancer_loss(logits, torch.tensor([1.0, 1.0, 0.0, 0.0]), terms)
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("terms", ALL_TERMS, ids=str)
def test_logits_in_bfloat16_are_judged_in_full_precision_under_autocast_too(terms: LossTerms) -> None:
    logits, targets = draw_examples(spread=1.0)
    logits = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = cancer_loss(logits, targets, terms)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(cancer_loss(logits.double(), targets, terms).item(), rel=1e-6)
