import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from mammoscope.errors import WeightsError
from mammoscope.learning.network import build_network
from mammoscope.learning.settings import Recipe
from mammoscope.learning.weights import adopt_metadata, adopt_weights_metadata, load_backbone

RecipeOf = Callable[..., Recipe]


@pytest.fixture
def colour_weights(tmp_path: Path) -> Path:
    """The weights of a `test_resnet` for colours, with its classifier."""
    torch.manual_seed(5)
    path = tmp_path / "colour.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path, metadata={"architecture": "test_resnet"})
    return path


def test_random_weights_stay_as_they_are(recipe_of: RecipeOf) -> None:
    recipe = recipe_of()
    network = build_network(recipe)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    load_backbone(network, recipe.backbone)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_weights_of_a_file_are_put_in(recipe_of: RecipeOf, tmp_path: Path) -> None:
    recipe = recipe_of()
    torch.manual_seed(7)
    donor = build_network(recipe)
    half = {key: value.half().contiguous() for key, value in donor.backbone.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    network = build_network(recipe)
    load_backbone(network, recipe.backbone.model_copy(update={"weights": str(tmp_path / "half.safetensors")}))
    assert network.backbone.conv1[0].weight.dtype == torch.float32
    for key, value in network.backbone.state_dict().items():
        torch.testing.assert_close(value, donor.backbone.state_dict()[key], rtol=1e-3, atol=1e-6)


def test_weights_of_another_network_are_refused_with_the_keys(recipe_of: RecipeOf, colour_weights: Path) -> None:
    network = build_network(recipe_of("backbone.name=test_efficientnet"))
    settings = recipe_of("backbone.name=test_efficientnet", f"backbone.weights={colour_weights}").backbone
    with pytest.raises(WeightsError, match=r"do not fit test_efficientnet: \d+ keys differ, such as conv_stem\.weight"):
        load_backbone(network, settings)


def test_weights_of_another_width_are_refused_with_both_shapes(recipe_of: RecipeOf, tmp_path: Path) -> None:
    network = build_network(recipe_of())
    weights = {key: value.contiguous() for key, value in network.backbone.state_dict().items()}
    weights["bn1.weight"] = torch.zeros(3)
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"1 keys differ, such as bn1\.weight has shape \(3,\), expected \(\d+,\)"):
        load_backbone(network, recipe_of(f"backbone.weights={tmp_path / 'w.safetensors'}").backbone)


@pytest.mark.parametrize("content", [None, b"", b"no weights at all"])
def test_a_file_that_holds_no_weights_is_refused(recipe_of: RecipeOf, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    recipe = recipe_of(f"backbone.weights={path}")
    with pytest.raises(WeightsError, match=r"w\.safetensors: cannot be read .* expected a safetensors file"):
        load_backbone(build_network(recipe), recipe.backbone)
    with pytest.raises(WeightsError, match=r"w\.safetensors: cannot be read"):
        adopt_weights_metadata(recipe, path)


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("no pretrained weights"), ValueError("offline")])
def test_a_hub_that_cannot_be_reached_is_said(
    recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    recipe = recipe_of("backbone.weights=hub")
    network = build_network(recipe)

    def refuse(*_: object, **options: object) -> None:
        assert options["pretrained"] is True
        raise error

    monkeypatch.setattr(sys.modules["timm"], "create_model", refuse)
    with pytest.raises(WeightsError, match=r"weights of test_resnet cannot be fetched \(\w+\); .*--weights FILE"):
        load_backbone(network, recipe.backbone)


def test_metadata_of_weights_are_taken_over(recipe_of: RecipeOf, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    said = {"architecture": "test_resnet", "mean": "0.2,0.4,0.6", "std": "0.1,0.2,0.3", "pad_type": "same"}
    save_file({"a": torch.zeros(1)}, path, metadata=said)
    adopted = adopt_weights_metadata(recipe_of("backbone.options.drop_rate=0.1"), path)
    assert adopted.backbone.weights == str(path)
    assert adopted.backbone.options == {"drop_rate": 0.1, "pad_type": "same"}
    assert [adopted.picture.mean, adopted.picture.spread] == pytest.approx([0.4, 0.2])


def test_weights_of_the_hub_come_with_timms_mean_and_spread(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("backbone.name=efficientnet_b4", "backbone.weights=hub")
    adopted = adopt_metadata(recipe, None).picture
    # timm's IMAGENET_DEFAULT_MEAN and _STD, over the three colours
    assert [adopted.mean, adopted.spread] == pytest.approx([(0.485 + 0.456 + 0.406) / 3, (0.229 + 0.224 + 0.225) / 3])


def test_random_weights_keep_the_recipes_mean_and_spread(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("backbone.weights=none", "picture.mean=0.3")
    assert adopt_metadata(recipe, None) == recipe


def test_a_given_file_takes_the_place_of_the_recipes_weights(recipe_of: RecipeOf, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"mean": "0,0,0"})
    adopted = adopt_metadata(recipe_of("backbone.weights=hub"), path)
    assert (adopted.backbone.weights, adopted.picture.mean) == (str(path), 0.0)
    assert adopt_metadata(recipe_of(f"backbone.weights={path}"), None) == adopted


def test_weights_without_metadata_change_nothing_but_the_weights(recipe_of: RecipeOf, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    recipe = recipe_of()
    adopted = adopt_weights_metadata(recipe, tmp_path / "w.safetensors")
    assert adopted == recipe_of(f"backbone.weights={tmp_path / 'w.safetensors'}")


def test_weights_that_say_another_network_are_refused(recipe_of: RecipeOf, colour_weights: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"made for test_resnet, but .* is test_vit; add --set backbone\.name=test_res"
    ):
        adopt_weights_metadata(recipe_of("backbone.name=test_vit"), colour_weights)


@pytest.mark.parametrize("said", [{"std": "0,0,0"}, {"mean": "grey"}, {"mean": ""}, {"std": "nan"}, {"mean": "124"}])
def test_metadata_that_cannot_be_are_refused(recipe_of: RecipeOf, tmp_path: Path, said: dict[str, str]) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata=said)
    with pytest.raises(WeightsError, match=r"found (mean|std) = '.*' in its metadata, expected numbers from 0 to 1"):
        adopt_weights_metadata(recipe_of(), tmp_path / "w.safetensors")


# networks that timm pools before their last norm, or makes for one size


def test_a_norm_behind_timms_pooling_becomes_the_norm_before_ours(recipe_of: RecipeOf, tmp_path: Path) -> None:
    torch.manual_seed(3)
    donor = timm.create_model("test_vit2").state_dict()  # it pools the mean, then has `fc_norm`
    donor["fc_norm.weight"] = torch.rand(64)
    assert "norm.weight" not in donor
    save_file(donor, tmp_path / "w.safetensors")
    recipe = recipe_of("backbone.name=test_vit2", f"backbone.weights={tmp_path / 'w.safetensors'}")
    network = build_network(recipe)
    load_backbone(network, recipe.backbone)
    assert torch.equal(network.backbone.state_dict()["norm.weight"], donor["fc_norm.weight"])


@pytest.mark.parametrize("size", [(64, 32), (400, 64)])
def test_position_embeddings_are_brought_to_the_size_of_the_pictures_as_timm_does(
    recipe_of: RecipeOf, tmp_path: Path, size: tuple[int, int]
) -> None:
    """400 x 64 has as many patches of 16 x 16 as the 160 x 160 that the weights were made for, at other places."""
    torch.manual_seed(4)
    donor = timm.create_model("test_vit").state_dict()
    donor["pos_embed"] = torch.randn_like(donor["pos_embed"])
    save_file(donor, tmp_path / "w.safetensors")
    options = "backbone.options={dynamic_img_size=false}"
    sizes = [f"picture.train_rows={size[0]}", f"picture.train_columns={size[1]}"]
    recipe = recipe_of("backbone.name=test_vit", options, *sizes, f"backbone.weights={tmp_path / 'w.safetensors'}")
    network = build_network(recipe)
    load_backbone(network, recipe.backbone)
    theirs = timm.create_model("test_vit", img_size=size, pretrained=True, pretrained_cfg_overlay={"state_dict": donor})
    embeddings = network.backbone.state_dict()["pos_embed"]
    assert torch.equal(embeddings, theirs.state_dict()["pos_embed"])
    assert not torch.equal(embeddings[:, :5], donor["pos_embed"][:, :5])


def test_weights_for_three_colours_fit_a_network_that_is_asked_for_three(
    recipe_of: RecipeOf, colour_weights: Path
) -> None:
    recipe = recipe_of("backbone.options={in_chans=3}", f"backbone.weights={colour_weights}")
    network = build_network(recipe)
    load_backbone(network, recipe.backbone)
    assert network.backbone.conv1[0].weight.shape[1] == 3
