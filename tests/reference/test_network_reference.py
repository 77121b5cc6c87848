"""Pooling worked by hand and against timm's; weights for colours against the network for colours itself."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d

from mammoscope.learning.head import Pooling
from mammoscope.learning.network import build_network
from mammoscope.learning.settings import BackboneSettings, Recipe
from mammoscope.learning.weights import load_backbone

FEATURES = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])  # (picture, 2 channels, row, column)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("avg", [3.0, 1.0]),
        ("max", [6.0, 4.0]),
        ("catavgmax", [3.0, 1.0, 6.0, 4.0]),
        ("gem", [((1 + 8 + 27 + 216) / 4) ** (1 / 3), (64 / 4) ** (1 / 3)]),
    ],
)
def test_pooling_worked_by_hand(kind: str, expected: list[float]) -> None:
    assert Pooling(kind, 2)(FEATURES)[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_the_generalised_mean_of_power_1_is_the_mean() -> None:
    pooling = Pooling("gem", 5)
    assert pooling.power is not None
    pooling.power.data.fill_(1.0)
    features = torch.rand(3, 5, 4, 2, generator=torch.Generator().manual_seed(2)) + 0.01
    torch.testing.assert_close(pooling(features), features.mean(dim=(2, 3)))


def test_the_power_of_the_generalised_mean_is_learned_and_stays_finite_on_zeros() -> None:
    pooling = Pooling("gem", 2)
    assert pooling.power is not None
    pooling(torch.zeros(1, 2, 2, 2)).sum().backward()
    assert pooling.power.grad is not None
    assert torch.isfinite(pooling.power.grad)


@pytest.mark.parametrize("kind", ["avg", "max", "catavgmax"])
def test_pooling_is_timms(kind: str) -> None:
    features = torch.randn(2, 6, 5, 3, generator=torch.Generator().manual_seed(3))
    ours, theirs = Pooling(kind, 6)(features), SelectAdaptivePool2d(pool_type=kind, flatten=True)(features)
    if kind == "catavgmax":
        torch.testing.assert_close(ours.sort(dim=1).values, theirs.sort(dim=1).values)
    else:
        torch.testing.assert_close(ours, theirs)


def test_attention_over_places_is_the_equation_of_its_paper() -> None:
    """Equations 8 and 9 of arXiv:1802.04712, place by place, in numpy."""
    torch.manual_seed(14)
    pooling = Pooling("attention", 6)
    attention = pooling.attention
    assert attention is not None
    features = torch.randn(2, 6, 3, 2)
    signal, gate = (part.weight.detach().numpy() for part in (attention.signal, attention.gate))
    for each in range(2):
        places = features[each].reshape(6, 6).numpy().T  # (place, channel)
        scores = []
        for place in places:
            tanh = np.tanh(signal @ place + attention.signal.bias.detach().numpy())
            sigmoid = 1 / (1 + np.exp(-(gate @ place + attention.gate.bias.detach().numpy())))
            scores.append((attention.weight.weight.detach().numpy() @ (tanh * sigmoid)).item())  # its bias cancels out
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = sum(weight * place for weight, place in zip(weights, places, strict=True))
        assert pooling(features)[each].tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)


def test_attention_that_tells_no_place_from_another_is_the_mean() -> None:
    pooling = Pooling("attention", 5)
    assert pooling.attention is not None
    torch.nn.init.zeros_(pooling.attention.weight.weight)
    features = torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(15))
    torch.testing.assert_close(pooling(features), features.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_grey_picture_is_to_summed_weights_what_three_equal_channels_are_to_those_for_colours(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(11)
    colour = timm.create_model(name, num_classes=0, global_pool="").eval()
    save_file(colour.state_dict(), tmp_path / "w.safetensors")
    settings = BackboneSettings(name=name, weights=str(tmp_path / "w.safetensors"))
    network = build_network(Recipe(backbone=settings)).eval()
    load_backbone(network, settings)
    grey = torch.rand(2, 1, 64, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = colour(grey.repeat(1, 3, 1, 1))
        torch.testing.assert_close(network.backbone.forward_features(grey), expected, rtol=1e-4, atol=1e-5)


def test_the_probability_is_timms_backbone_pooled_and_multiplied() -> None:
    """The whole way of a picture, done by hand with the parts of the network."""
    torch.manual_seed(12)
    recipe = Recipe(backbone=BackboneSettings(name="test_resnet", weights="none"))
    network = build_network(recipe).eval()
    reference = timm.create_model("test_resnet", in_chans=1, num_classes=1).eval()
    state = dict(network.backbone.state_dict())
    linear = network.head[-1]
    reference.load_state_dict(state | {"fc.weight": linear.weight, "fc.bias": linear.bias})
    pictures = torch.rand(2, 1, 64, 32, generator=torch.Generator().manual_seed(13))
    with torch.no_grad():
        torch.testing.assert_close(network(pictures).cancer, reference((pictures - 0.5) / 0.5)[:, 0])
