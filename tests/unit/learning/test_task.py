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


def _lose(recipe: Recipe, output: NetworkOutput, targets: torch.Tensor) -> torch.Tensor:
    """The loss of a recipe's training for an output of its network."""
    batch = Batch(torch.zeros(len(targets), 64, 32), torch.arange(len(targets)), targets)
    terms = LossTerms(settings=recipe.loss, positive_weight=1.0, shift=0.0)
    return TrainingTask(build_network(recipe), recipe, fold=0, n_steps=1, loss_terms=terms)._lose(output, batch)


def test_the_loss_is_the_mean_over_the_samples_of_dropout_and_not_that_of_their_mean(
    recipe_of: RecipeOf,
) -> None:
    """Equation 1 of arXiv:1905.09788 with torch's own cross-entropy."""
    samples, targets = torch.tensor([[2.0, -1.0], [-3.0, 1.0], [0.5, 4.0]]), torch.tensor([1.0, 0.0])
    output = NetworkOutput(samples.mean(dim=0), torch.zeros(2), samples)
    loss = _lose(recipe_of("head.dropout=0.5", "head.dropout_samples=3"), output, targets)
    each = [functional.binary_cross_entropy_with_logits(logits, targets).item() for logits in samples]
    assert loss.item() == pytest.approx(sum(each) / 3)
    assert loss > functional.binary_cross_entropy_with_logits(samples.mean(dim=0), targets)  # Jensen
