from collections.abc import Callable

import pytest
import torch
from torch import nn

from mammoscope.learning.network import build_network
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]


def test_the_head_of_the_baseline_is_the_public_one() -> None:
    torch.manual_seed(0)
    network = build_network(read_recipe("baseline", []))
    expected = [nn.BatchNorm1d, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d]
    assert [type(module) for module in network.head] == [*expected, nn.Dropout, nn.Linear]
    assert [tuple(layer.weight.shape) for layer in network.head if isinstance(layer, nn.Linear)] == [
        (512, 3584),
        (128, 512),
        (1, 128),
    ]
    assert [layer.p for layer in network.head if isinstance(layer, nn.Dropout)] == [0.4, 0.4]
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert all(parameter.requires_grad for parameter in network.head.parameters())


def test_a_head_without_layers_is_dropout_and_one_layer(recipe_of: RecipeOf) -> None:
    head = build_network(recipe_of("head.dropout=0.25")).head
    assert [type(module) for module in head] == [nn.Dropout, nn.Linear]
    head = build_network(recipe_of("head.layers=[7]", "head.dropout=0.25")).head
    assert [type(module) for module in head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_the_network_gives_one_logit_for_each_picture(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of("head.pooling=gem")).eval()
    assert network(torch.rand(3, 1, 64, 32)).cancer.shape == (3,)
    assert network(torch.rand(1, 1, 64, 32)).cancer.shape == (1,)


def test_mean_and_spread_are_taken_from_the_pictures(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of("picture.mean=0.25", "picture.spread=0.125")).eval()
    seen: list[torch.Tensor] = []
    network.backbone.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, 1, 64, 32), 0.5))
    assert set(seen[0].flatten().tolist()) == {2.0}


@pytest.mark.parametrize("frozen", [False, True])
def test_only_a_frozen_backbone_is_not_learned(recipe_of: RecipeOf, *, frozen: bool) -> None:
    network = build_network(recipe_of(f"backbone.frozen={str(frozen).lower()}"))
    assert {parameter.requires_grad for parameter in network.backbone.parameters()} == {not frozen}
