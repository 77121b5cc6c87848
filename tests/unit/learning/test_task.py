from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from mammoscope.learning.batches import Batch
from mammoscope.learning.losses import LossTerms
from mammoscope.learning.network import NetworkOutput, build_network
from mammoscope.learning.settings import Recipe
from mammoscope.learning.task import TrainingTask

RecipeOf = Callable[..., Recipe]


def _lose(
    recipe: Recipe,
    output: NetworkOutput,
    targets: torch.Tensor,
    labels: dict[str, torch.Tensor] | None = None,
    examples: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of a recipe's training for an output of its network."""
    examples = torch.arange(len(targets)) if examples is None else examples
    batch = Batch(torch.zeros(len(examples), 64, 32), examples, targets, labels=labels)
    terms = LossTerms(settings=recipe.loss, positive_weight=1.0, shift=0.0)
    return TrainingTask(build_network(recipe), recipe, fold=0, n_steps=1, loss_terms=terms)._lose(output, batch)


def test_the_loss_is_the_mean_over_the_samples_of_dropout_and_not_that_of_their_mean(
    recipe_of: RecipeOf,
) -> None:
    """Equation 1 of arXiv:1905.09788 with torch's own cross-entropy."""
    samples, targets = torch.tensor([[2.0, -1.0], [-3.0, 1.0], [0.5, 4.0]]), torch.tensor([1.0, 0.0])
    output = NetworkOutput(samples.mean(dim=0), torch.zeros(2), samples, {})
    loss = _lose(recipe_of("head.dropout=0.5", "head.dropout_samples=3"), output, targets)
    each = [functional.binary_cross_entropy_with_logits(logits, targets).item() for logits in samples]
    assert loss.item() == pytest.approx(sum(each) / 3)
    assert loss > functional.binary_cross_entropy_with_logits(samples.mean(dim=0), targets)  # Jensen


@pytest.mark.parametrize("level", ["image", "breast"])
def test_the_loss_of_further_questions_is_added_with_its_weight(recipe_of: RecipeOf, level: str) -> None:
    """Cross-entropy over the pictures that have an answer, by torch; with breasts, of their pictures too."""
    is_breast = level == "breast"
    examples = torch.tensor([0, 0, 1, 1]) if is_breast else torch.arange(4)
    targets = torch.tensor([1.0, 0.0]) if is_breast else torch.tensor([1.0, 0.0, 1.0, 0.0])
    generator = torch.Generator().manual_seed(6)
    logits, view, density = torch.randn(4), torch.randn(4, 11, generator=generator), torch.randn(4, 4)
    labels = {"view": torch.tensor([0, 1, 10, -1]), "density": torch.tensor([-1, 3, -1, -1])}
    recipe = [f"level={level}", "auxiliary.view=0.5", "auxiliary.density=2.0"]
    plain = NetworkOutput(logits, torch.zeros(4), logits.unsqueeze(0), {})
    asked = plain._replace(auxiliary={"view": view, "density": density})
    found = _lose(recipe_of(*recipe), asked, targets, labels, examples)
    expected = _lose(recipe_of(*recipe), plain, targets, None, examples)
    expected = expected + 0.5 * functional.cross_entropy(view[:3], labels["view"][:3])
    expected = expected + 2.0 * functional.cross_entropy(density[1:2], labels["density"][1:2])
    torch.testing.assert_close(found, expected)
