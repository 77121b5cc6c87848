from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from mammoscope.errors import ConfigError
from mammoscope.learning.head import sample_logits
from mammoscope.learning.network import build_network, compile_for_training
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]
PICTURES = torch.rand(2, 1, 64, 32, generator=torch.Generator().manual_seed(1))


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


@pytest.mark.parametrize("layers", ["[]", "[7]", "[9, 8, 7]"])
@pytest.mark.parametrize("batch_norm", ["true", "false"])
def test_samples_of_dropout_differ_in_the_last_dropout_only(recipe_of: RecipeOf, layers: str, batch_norm: str) -> None:
    """The logits of masks that are drawn anew for each sample, over the same hidden layers."""
    options = [f"head.layers={layers}", f"head.batch_norm={batch_norm}", "head.dropout=0.5"]
    network = build_network(recipe_of("head.dropout_samples=3", *options)).train()
    features = torch.rand(4, 96)
    torch.manual_seed(5)
    samples = sample_logits(network.head, features, n_samples=3)
    torch.manual_seed(5)
    hidden = network.head[:-2](features)  # (picture, hidden)
    masked = [functional.dropout(hidden, 0.5, training=True) for _ in range(3)]
    expected = torch.stack([network.head[-1](each)[:, 0] for each in masked])
    assert torch.equal(samples, expected)
    assert not torch.equal(samples[0], samples[1])


def test_without_training_samples_of_dropout_are_one_and_the_plain_head(recipe_of: RecipeOf) -> None:
    options = ["head.dropout=0.5", "head.layers=[7]"]
    network = build_network(recipe_of("head.dropout_samples=5", *options)).eval()
    plain = build_network(recipe_of(*options)).eval()
    plain.load_state_dict(network.state_dict())
    pictures = torch.rand(3, 1, 64, 32)
    assert network(pictures).samples.shape == (1, 3)
    assert torch.equal(network(pictures).cancer, plain(pictures).cancer)
    assert network.train()(pictures).samples.shape == (5, 3)


def test_one_sample_of_dropout_is_plain_dropout(recipe_of: RecipeOf) -> None:
    head = build_network(recipe_of("head.dropout=0.5", "head.layers=[7]")).head.train()
    features = torch.rand(4, 96)
    torch.manual_seed(5)
    plain = head(features)[:, 0]
    torch.manual_seed(5)
    assert torch.equal(sample_logits(head, features, n_samples=1)[0], plain)


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


@pytest.mark.parametrize("is_channels_last", [True, False])
def test_weights_lie_in_the_memory_order_of_the_recipe(recipe_of: RecipeOf, *, is_channels_last: bool) -> None:
    network = build_network(recipe_of(f"compute.channels_last={str(is_channels_last).lower()}")).eval()
    weight = network.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is is_channels_last
    with torch.no_grad():
        features = network.backbone.forward_features(torch.rand(2, 1, 64, 64))
    assert features.is_contiguous(memory_format=torch.channels_last) is is_channels_last


def test_a_compiled_network_computes_the_same_and_keeps_its_names(
    recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # without a C++ compiler
    network = build_network(recipe_of()).eval()
    names = list(network.state_dict())
    compute = compile_for_training(network)
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        torch.testing.assert_close(compute(PICTURES, None).cancer, network(PICTURES).cancer)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert list(network.state_dict()) == names


def test_a_network_that_cannot_be_compiled_is_said(recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=refuse))
    compute = compile_for_training(build_network(recipe_of()))
    with pytest.raises(ConfigError, match=r"compute\.compile: found true, but .*\(.*No working C\+\+.*\); set"):
        compute(PICTURES, None)


QUESTIONS = ("auxiliary.view=0.5", "auxiliary.biopsy=0.1")


def test_further_questions_are_answered_from_the_pooled_features_in_training_alone(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of(*QUESTIONS, "head.pooling=catavgmax"))
    answers = network(PICTURES).auxiliary
    assert {head: logits.shape for head, logits in answers.items()} == {"view": (2, 11), "biopsy": (2,)}
    with torch.no_grad():
        pooled = network.pooling(network.backbone.forward_features((PICTURES - 0.5) / 0.5))
    for head, logits in answers.items():
        torch.testing.assert_close(logits, network.auxiliary[head](pooled).squeeze(1))
    assert network.eval()(PICTURES).auxiliary == {}


def test_further_questions_leave_the_network_below_as_it_was(recipe_of: RecipeOf) -> None:
    torch.manual_seed(8)
    plain = build_network(recipe_of()).state_dict()
    torch.manual_seed(8)
    asked = build_network(recipe_of(*QUESTIONS)).state_dict()
    parts = ("view.weight", "view.bias", "biopsy.weight", "biopsy.bias")
    assert asked.keys() - plain.keys() == {f"auxiliary.{part}" for part in parts}
    assert all(torch.equal(asked[key], value) for key, value in plain.items())


def test_answers_teach_the_backbone(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of(*QUESTIONS))
    torch.autograd.backward(network(PICTURES).auxiliary["view"].square().sum())
    assert network.backbone.conv1[0].weight.grad.abs().max() > 0
