from collections.abc import Callable

import pytest
import torch
from timm.layers.drop import DropPath
from torch import nn

from mammoscope.errors import ConfigError
from mammoscope.learning.fine_tuning import group_for_optimizer, list_stages, thaw_stages
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.settings import Recipe
from mammoscope.learning.task import build_optimizer

RecipeOf = Callable[..., Recipe]
PICTURES = torch.rand(4, 1, 64, 32, generator=torch.Generator().manual_seed(1))


def _learning(network: CancerNetwork) -> set[str]:
    """The parts of a backbone of ResNet's kind that learn."""
    parts = {name.split(".")[0] for name, value in network.backbone.named_parameters() if value.requires_grad}
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    return {part for part in parts if part.startswith("layer")} | ({"stem"} if "conv1" in parts else set())


# what learns


def test_the_stages_of_a_resnet_are_its_stem_and_its_layers(recipe_of: RecipeOf) -> None:
    stages = list_stages(build_network(recipe_of()).backbone, "test_resnet")
    assert [{name.split(".")[0] for name in stage} for stage in stages] == [
        {"conv1", "bn1"},
        {"layer1"},
        {"layer2"},
        {"layer3"},
        {"layer4"},
    ]


def test_the_stages_of_a_transformer_are_its_embedding_and_its_blocks(recipe_of: RecipeOf) -> None:
    stages = list_stages(build_network(recipe_of("backbone.name=test_vit")).backbone, "test_vit")
    assert {name.split(".")[0] for name in stages[0]} == {"cls_token", "pos_embed", "patch_embed"}
    assert [{".".join(name.split(".")[:2]) for name in stage} for stage in stages[1:-1]] == [
        {f"blocks.{number}"} for number in range(5)
    ]
    assert {".".join(name.split(".")[:2]) for name in stages[-1]} == {"blocks.5", "norm.weight", "norm.bias"}


def test_what_is_above_all_stages_is_in_none(recipe_of: RecipeOf) -> None:
    backbone = build_network(recipe_of("backbone.name=test_convnext")).backbone
    named = {name for stage in list_stages(backbone, "test_convnext") for name in stage}
    assert {name for name, _ in backbone.named_parameters()} - named == {"head.norm.weight", "head.norm.bias"}


def test_the_whole_network_learns_from_the_start(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_frozen_backbone_is_not_in_the_optimizer(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("fine_tuning.train=head", "head.pooling=gem")
    network = build_network(recipe)
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    optimized = {id(each) for group in build_optimizer(network, recipe).param_groups for each in group["params"]}
    assert optimized == {id(each) for each in [*network.head.parameters(), *network.pooling.parameters()]}


@pytest.mark.parametrize(
    ("epoch", "learning"),
    [
        (0, set()),
        (1, set()),
        (2, {"layer4"}),
        (3, {"layer4"}),
        (4, {"layer4", "layer3"}),
        (9, {"layer4", "layer3", "layer2", "layer1"}),
        (10, {"layer4", "layer3", "layer2", "layer1", "stem"}),
        (99, {"layer4", "layer3", "layer2", "layer1", "stem"}),
    ],
)
def test_stages_learn_from_the_last_to_the_first(recipe_of: RecipeOf, epoch: int, learning: set[str]) -> None:
    recipe = recipe_of("epochs=100", "fine_tuning.train=staged", "fine_tuning.stage_epochs=2")
    network = build_network(recipe)
    assert _learning(network) == {"layer4", "layer3", "layer2", "layer1", "stem"}  # all are in the optimizer
    thaw_stages(network.backbone, recipe, epoch=epoch)
    assert _learning(network) == learning


@pytest.mark.parametrize("name", ["pit_ti_224", "caformer_s18"])
@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        (
            "train=staged",
            r"train: found 'staged', but {} is a network whose stages timm does not name; leave this key out",
        ),
        ("layer_decay=0.75", r"layer_decay: found 0\.75, but {} is a network whose layers timm does not name"),
    ],
)
def test_a_network_whose_layers_timm_does_not_name_is_refused(
    recipe_of: RecipeOf, name: str, assignment: str, sentence: str
) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=rf"fine_tuning\.{sentence.format(name)}"):
        build_network(recipe_of(f"backbone.name={name}", f"fine_tuning.{assignment}"))


# how fast


def test_rates_fall_from_the_head_to_the_picture(recipe_of: RecipeOf) -> None:
    """Five layers below the head: 0.5 for layer4, 0.25 for layer3, and so on, worked by hand."""
    recipe = recipe_of("fine_tuning.layer_decay=0.5", "optimizer.rate=0.8", "optimizer.weight_decay=0.1")
    network = build_network(recipe)
    name_by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, recipe).param_groups
    assert groups[0]["lr"] == 0.8  # the history takes the rate of the first one
    rates = {name_by_id[id(each)]: group["lr"] for group in groups for each in group["params"]}
    decays = {name_by_id[id(each)]: group["weight_decay"] for group in groups for each in group["params"]}
    assert rates.keys() == decays.keys() == set(name_by_id.values())
    expected = {"head.1": 0.8, "backbone.layer4": 0.4, "backbone.layer3": 0.2, "backbone.layer2": 0.1}
    expected |= {"backbone.layer1": 0.05, "backbone.conv1": 0.025, "backbone.bn1": 0.025}
    for name, rate in rates.items():
        assert rate == pytest.approx(expected[".".join(name.split(".")[:2])]), name
    for name, parameter in network.named_parameters():
        assert decays[name] == (0.1 if parameter.ndim > 1 else 0.0), name


def test_what_stands_on_the_backbone_learns_faster_by_its_factor(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("fine_tuning.head_factor=10", "optimizer.rate=0.1", "auxiliary.view=0.1")
    network = build_network(recipe)
    name_by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, recipe).param_groups
    rates = {name_by_id[id(each)]: group["lr"] for group in groups for each in group["params"]}
    assert rates.keys() == set(name_by_id.values())
    for name, rate in rates.items():
        assert rate == pytest.approx(0.1 if name.startswith("backbone.") else 1.0), name


def test_without_decay_of_layers_there_are_two_groups(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("optimizer.weight_decay=0.1")
    groups = group_for_optimizer(build_network(recipe), recipe)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.001, 0.1), (0.001, 0.0)]


# how it is computed


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)]


@pytest.mark.parametrize("train", ["all", "head"])
def test_fixed_statistics_are_used_and_do_not_follow_the_data(recipe_of: RecipeOf, train: str) -> None:
    fixed = build_network(
        recipe_of("fine_tuning.freeze_batch_norm=true", f"fine_tuning.train={train}", "head.batch_norm=true")
    )
    norms = _batch_norms(fixed.backbone)
    assert len(norms) == 15
    for _ in range(2):  # as built, and after an evaluation
        assert not any(norm.training for norm in norms)
        assert all(norm.training for norm in _batch_norms(fixed.head))
        before = {key: value.clone() for key, value in fixed.backbone.state_dict().items()}
        features = fixed.backbone.forward_features(PICTURES)
        fixed(PICTURES)
        assert all(torch.equal(value, before[key]) for key, value in fixed.backbone.state_dict().items())
        torch.testing.assert_close(fixed.eval().backbone.forward_features(PICTURES), features)  # torch's own evaluation
        fixed.train()


def test_statistics_follow_the_data_where_they_are_not_fixed(recipe_of: RecipeOf) -> None:
    """As the public baseline had it: in a frozen backbone too."""
    network = build_network(recipe_of("fine_tuning.train=head"))
    before = network.backbone.bn1.running_mean.clone()
    network(PICTURES)
    assert not torch.equal(network.backbone.bn1.running_mean, before)


def test_fixing_what_is_not_there_is_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(
        ConfigError, match=r"freeze_batch_norm: found true, but test_vit has no BatchNorm; leave this key"
    ):
        build_network(recipe_of("backbone.name=test_vit", "fine_tuning.freeze_batch_norm=true"))


def test_blocks_are_left_out_with_rising_chances(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of("fine_tuning.drop_path=0.3"))
    chances = [each.drop_prob for each in network.backbone.modules() if isinstance(each, DropPath)]
    assert chances == sorted(chances)
    assert chances[-1] == pytest.approx(0.3)
    assert not [each for each in build_network(recipe_of()).backbone.modules() if isinstance(each, DropPath)]


def test_leaving_out_blocks_of_a_network_without_a_way_around_them_is_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(ConfigError, match=r"densenet121 cannot be made with options \{'drop_path_rate': 0\.2\}"):
        build_network(recipe_of("backbone.name=densenet121", "fine_tuning.drop_path=0.2"))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_features_that_are_computed_again_give_the_same_gradients(recipe_of: RecipeOf, name: str) -> None:
    gradients, n_calls = [], []
    for is_again in ("false", "true"):
        torch.manual_seed(3)
        options = [f"fine_tuning.gradient_checkpointing={is_again}", "fine_tuning.drop_path=0.5"]
        network = build_network(recipe_of(f"backbone.name={name}", *options))
        blocks = network.backbone.layer4 if name == "test_resnet" else network.backbone.blocks
        calls: list[int] = []
        layer = next(each for each in blocks.modules() if isinstance(each, nn.Conv2d | nn.Linear))
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(4)
        torch.autograd.backward(network(PICTURES).cancer.square().sum())
        gradients.append({key: each.grad for key, each in network.named_parameters() if each.grad is not None})
        n_calls.append(len(calls))
    assert n_calls == [1, 2]
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[1][key], gradient) for key, gradient in gradients[0].items())


def test_a_network_that_cannot_compute_again_is_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(
        ConfigError, match=r"gradient_checkpointing: found true, but timm cannot do that with pit_ti_224"
    ):
        build_network(recipe_of("backbone.name=pit_ti_224", "fine_tuning.gradient_checkpointing=true"))
