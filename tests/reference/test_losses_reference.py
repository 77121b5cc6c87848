"""The loss against torch's own and torchvision's, and worked by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchvision.ops import sigmoid_focal_loss

from mammoscope.evaluation.discrimination import average_precision, probabilistic_f1
from mammoscope.learning.losses import LossTerms, average_precision_loss, cancer_loss, probabilistic_f1_loss
from mammoscope.learning.settings import LossSettings


def terms_of(*, positive_weight: float = 1.0, shift: float = 0.0, **settings: object) -> LossTerms:
    return LossTerms(settings=LossSettings.model_validate(settings), positive_weight=positive_weight, shift=shift)


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


def test_the_shift_is_added_to_the_logits() -> None:
    logits, targets = draw_examples()
    reference = torch.nn.BCEWithLogitsLoss()(logits + 1.5, targets)
    assert cancer_loss(logits, targets, terms_of(shift=1.5)).item() == pytest.approx(reference.item(), rel=1e-9)


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
    terms_of(positive_weight=3.0, shift=-2.0),
    terms_of(positive_weight=3.0, soften_positives=0.2),
    terms_of(name="focal", focal_gamma=0.5, positive_weight=3.0, soften_positives=0.2),
    terms_of(name="focal", focal_gamma=2.0),
    terms_of(name="average-precision", surrogate_share=1.0),
    terms_of(name="average-precision", surrogate_share=0.3, temperature=0.5, positive_weight=3.0, soften_positives=0.2),
    terms_of(name="average-precision", temperature=0.001),
    terms_of(name="pf1", surrogate_share=1.0),
    terms_of(name="pf1", surrogate_share=0.3, positive_weight=3.0, soften_positives=0.2),
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
@pytest.mark.parametrize("autocast", [False, True])
def test_logits_in_bfloat16_are_judged_in_full_precision_under_autocast_too(terms: LossTerms, autocast: bool) -> None:
    logits, targets = draw_examples(spread=1.0)
    logits = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = cancer_loss(logits, targets, terms)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(cancer_loss(logits.double(), targets, terms).item(), rel=1e-6)


# losses of a batch as a whole


def test_the_smooth_average_precision_goes_to_scikit_learns_with_the_temperature() -> None:
    logits, targets = draw_examples(200)
    exact = 1 - average_precision_score(targets.numpy(), logits.numpy())
    errors = [
        abs(average_precision_loss(logits, targets, temperature=temperature).item() - exact)
        for temperature in (1.0, 0.1, 0.01, 1e-3, 1e-6)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-3
    assert errors[-1] < 1e-12


def test_the_smooth_average_precision_worked_by_hand() -> None:
    """A case, a control ln 3 above it, and a case far below both; sigmoid(ln 3) is 3/4."""
    logits, targets = torch.tensor([0.0, math.log(3), -1000.0]), torch.tensor([1.0, 0.0, 1.0])
    precisions = [1 / 1.75, 2 / 3]
    loss = average_precision_loss(logits, targets, temperature=1.0)
    assert loss.item() == pytest.approx(1 - sum(precisions) / 2, rel=1e-6)
    halved = average_precision_loss(logits, targets, temperature=0.5)  # sigmoid(2 ln 3) is 9/10
    assert halved.item() == pytest.approx(1 - (1 / 1.9 + 2 / 3) / 2, rel=1e-6)


def test_equal_logits_count_half() -> None:
    logits, targets = torch.zeros(4), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert average_precision_loss(logits, targets, temperature=1e-3).item() == pytest.approx(1 - 1 / 2.5)
    assert average_precision_score(targets.numpy(), logits.numpy()) == 1 / 4


def test_a_number_added_to_all_logits_does_not_change_the_smooth_average_precision() -> None:
    logits, targets = draw_examples()
    added = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss = average_precision_loss(logits + added, targets, temperature=1.0)
    torch.autograd.backward(loss)
    assert added.grad is not None
    assert added.grad.item() == pytest.approx(0.0, abs=1e-12)
    moved = average_precision_loss(logits + 3.0, targets, temperature=1.0)
    assert moved.item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_the_pf1_is_that_of_the_evaluation(spread: float) -> None:
    logits, targets = draw_examples(spread=spread)
    exact = probabilistic_f1(torch.sigmoid(logits).numpy(), targets.numpy().astype(np.bool_))
    assert probabilistic_f1_loss(logits, targets).item() == pytest.approx(1 - exact, rel=1e-12)


@pytest.mark.parametrize("terms", [terms for terms in ALL_TERMS if terms.settings.surrogate_share == 1.0], ids=str)
@pytest.mark.parametrize("logit", [0.0, 3.0, -1e4, 1e30])
def test_a_batch_without_a_case_has_no_loss_and_no_gradient_as_a_whole(terms: LossTerms, logit: float) -> None:
    logits = torch.tensor([logit, logit - 1], requires_grad=True)
    loss = cancer_loss(logits, torch.zeros(2), terms)
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["average-precision", "pf1"])
def test_a_batch_without_a_case_keeps_its_share_of_cross_entropy(name: str) -> None:
    logits, controls = torch.tensor([math.log(3), math.log(3)]), torch.zeros(2)
    loss = cancer_loss(logits, controls, terms_of(name=name, surrogate_share=0.25))
    assert loss.item() == pytest.approx(-0.75 * math.log(0.25), rel=1e-6)


def test_a_batch_of_cases_alone() -> None:
    """No control can be ranked above one; pF1 still asks for higher scores."""
    logits, cases = torch.tensor([0.0, math.log(3)]), torch.ones(2)
    assert average_precision_loss(logits, cases, temperature=1.0).item() == 0.0
    assert probabilistic_f1_loss(logits, cases).item() == pytest.approx(1 - 2 * 1.25 / (1.25 + 2))


@pytest.mark.parametrize("name", ["average-precision", "pf1"])
def test_steps_down_the_loss_raise_what_it_stands_for(name: str) -> None:
    logits, targets = draw_examples(spread=1.0)
    terms, learned = terms_of(name=name, surrogate_share=1.0), logits.clone().requires_grad_()

    def measure(each: torch.Tensor) -> float:
        scores, outcomes = torch.sigmoid(each.detach()).numpy(), targets.numpy().astype(np.bool_)
        exact = average_precision if name == "average-precision" else probabilistic_f1
        return exact(scores, outcomes)

    optimizer = torch.optim.SGD([learned], lr=5.0)
    for _ in range(20):
        optimizer.zero_grad()
        torch.autograd.backward(cancer_loss(learned, targets, terms))
        optimizer.step()
    assert measure(learned) > measure(logits) + 0.05
