"""Groups of parameters against timm's, which names, scales and spares them for a network with its own classifier."""

from typing import Any

import pytest
import timm
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from mammoscope.learning.fine_tuning import group_for_optimizer
from mammoscope.learning.network import build_network
from mammoscope.learning.settings import BackboneSettings, FineTuningSettings, OptimizerSettings, Recipe

# the last one has tables of biases, which timm spares from weight decay
NAMES = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_vit2", "test_vit_relpos", "test_maxvit"]


def _rates_and_decays(groups: list[dict[str, Any]], module: nn.Module) -> dict[str, tuple[float, float]]:
    name_by_id = {id(parameter): name for name, parameter in module.named_parameters()}
    found = {name_by_id[id(each)]: group for group in groups for each in group["params"]}
    key = "lr_scale" if "lr_scale" in groups[0] else "lr"
    return {name: (group[key], group["weight_decay"]) for name, group in found.items()}


@pytest.mark.parametrize("decay", [0.75, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_rates_and_decays_of_a_backbone_are_timms(name: str, decay: float) -> None:
    theirs = timm.create_model(name, num_classes=1, in_chans=1)
    spared: Any = getattr(theirs, "no_weight_decay", set)
    groups = param_groups_layer_decay(theirs, weight_decay=0.1, layer_decay=decay, no_weight_decay_list=spared())
    expected = _rates_and_decays(groups, theirs)
    recipe = Recipe(
        backbone=BackboneSettings(name=name, weights="none"),
        fine_tuning=FineTuningSettings(layer_decay=decay),
        optimizer=OptimizerSettings(rate=1.0, weight_decay=0.1),
    )
    network = build_network(recipe)
    ours = _rates_and_decays(group_for_optimizer(network, recipe), network)
    assert ours.pop("head.1.weight") == (1.0, 0.1)
    assert ours.pop("head.1.bias") == (1.0, 0.0)
    assert len({rate for rate, _ in ours.values()}) > 4
    for full_name, found in ours.items():
        name = full_name.removeprefix("backbone.")
        if name.startswith("norm.") and name not in expected:
            continue  # timm's stands behind its pooling, with the head, and ours before it, with the last layer
        assert found == pytest.approx(expected[name]), name
