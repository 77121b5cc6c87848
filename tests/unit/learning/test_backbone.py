from collections.abc import Callable
from typing import ClassVar

import pytest
import timm
import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d

from mammoscope.errors import ConfigError
from mammoscope.learning.backbone import Layout, create_backbone, read_maps
from mammoscope.learning.network import build_network
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]


def _of_size(name: str, *, train: tuple[int, int], held_out: tuple[int, int] | None = None) -> list[str]:
    said = [f"backbone.name={name}"]
    for key, (rows, columns) in {"train": train, "held_out": held_out or train}.items():
        said += [f"picture.{key}_rows={rows}", f"picture.{key}_columns={columns}"]
    return said


@pytest.mark.parametrize("name", timm.list_models("test_*"))
def test_every_test_network_of_timm_learns_from_pictures_that_are_not_square(recipe_of: RecipeOf, name: str) -> None:
    torch.manual_seed(1)
    network = build_network(recipe_of(*_of_size(name, train=(128, 64))))
    output = network(torch.rand(2, 1, 128, 64))
    assert output.cancer.shape == (2,)
    assert torch.isfinite(output.cancer).all()
    output.cancer.sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert len(gradients) > 2  # more than the head's
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_an_unknown_network_is_refused_with_names_like_it(recipe_of: RecipeOf) -> None:
    with pytest.raises(
        ConfigError, match=r"backbone\.name: found 'resnet10', which timm .* not know; names.*resnet10t"
    ):
        build_network(recipe_of("backbone.name=resnet10"))
    with pytest.raises(ConfigError, match=r"names like it: none"):
        build_network(recipe_of("backbone.name=zzzzzzzz"))


def test_options_that_the_network_does_not_take_are_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(ConfigError, match=r"backbone: test_resnet cannot be made with options \{'colour': 3\} "):
        build_network(recipe_of("backbone.options.colour=3"))


def test_the_options_of_a_recipe_come_before_what_is_tried(recipe_of: RecipeOf) -> None:
    backbone, layout = create_backbone(recipe_of("backbone.name=test_vit", "backbone.options={img_size=96}"))
    assert backbone.patch_embed.img_size == (96, 96)
    assert layout == Layout("tokens", 64, n_prefix=1)


# the form of the features


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("test_resnet", Layout("maps", 96)),
        ("test_mambaout", Layout("channels-last", 64)),
        ("test_convnext", Layout("maps", 64, has_last_norm=True)),
        ("test_vit", Layout("tokens", 64, n_prefix=1)),
        ("test_vit_relpos", Layout("tokens", 96, has_last_norm=True)),
    ],
)
def test_how_features_come_is_found(recipe_of: RecipeOf, name: str, layout: Layout) -> None:
    assert create_backbone(recipe_of(f"backbone.name={name}"))[1] == layout


def test_tokens_of_places_lie_where_their_patches_do(recipe_of: RecipeOf) -> None:
    """A patch of 16 x 16 that changes changes the map at its row and column most, before attention mixes places."""
    backbone, layout = create_backbone(recipe_of(*_of_size("test_vit", train=(128, 64))))
    backbone.blocks = torch.nn.Identity()
    backbone.eval()
    black = torch.zeros(1, 1, 128, 64)
    dot = black.clone()
    dot[0, 0, 5 * 16 + 3, 2 * 16 + 3] = 1.0
    with torch.no_grad():
        change = (read_maps(backbone, dot, layout) - read_maps(backbone, black, layout)).abs().amax(dim=1)
    assert change.shape == (1, 8, 4)
    assert change.nonzero().tolist() == [[0, 5, 2]]


def test_the_class_token_is_left_out(recipe_of: RecipeOf) -> None:
    """The mean of the maps is timm's mean over the tokens of places."""
    backbone, layout = create_backbone(recipe_of(*_of_size("test_vit", train=(64, 32))))
    backbone.eval()
    picture = torch.rand(2, 1, 64, 32)
    with torch.no_grad():
        expected = backbone.forward_features(picture)[:, 1:].mean(dim=1)
        torch.testing.assert_close(read_maps(backbone, picture, layout).mean(dim=(2, 3)), expected)


def test_maps_with_the_channels_last_are_turned(recipe_of: RecipeOf) -> None:
    backbone, layout = create_backbone(recipe_of(*_of_size("test_mambaout", train=(128, 64))))
    backbone.eval()
    picture = torch.rand(2, 1, 128, 64)
    with torch.no_grad():
        maps = read_maps(backbone, picture, layout)
        theirs = SelectAdaptivePool2d(pool_type="avg", input_fmt="NHWC", flatten=True)(
            backbone.forward_features(picture)
        )
    assert maps.shape == (2, 64, 4, 2)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), theirs)


def test_places_that_fill_no_rows_come_as_one_column(recipe_of: RecipeOf) -> None:
    """Tokens of a picture of another shape than their own can still be pooled."""
    backbone, layout = create_backbone(recipe_of("backbone.name=test_vit_relpos"))
    backbone.forward_features = lambda pictures: pictures.new_zeros(len(pictures), 7, 96)
    assert read_maps(backbone, torch.rand(2, 1, 64, 32), layout).shape == (2, 96, 7, 1)


@pytest.mark.parametrize("name", ["test_convnext", "caformer_s18"])
def test_the_last_norm_is_part_of_the_features_where_it_stands_in_the_head(recipe_of: RecipeOf, name: str) -> None:
    """The maps are those of timm's own network without pooling."""
    backbone, layout = create_backbone(recipe_of(f"backbone.name={name}"))
    theirs = timm.create_model(name, in_chans=1, num_classes=0, global_pool="").eval()
    torch.nn.init.uniform_(backbone.head.norm.weight, 2.0, 3.0)
    theirs.load_state_dict(backbone.eval().state_dict())
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(read_maps(backbone, picture, layout), theirs(picture))


def test_a_last_norm_of_tokens_is_part_of_the_features(recipe_of: RecipeOf) -> None:
    backbone, layout = create_backbone(recipe_of("backbone.name=test_vit_relpos"))
    torch.nn.init.uniform_(backbone.fc_norm.weight, 2.0, 3.0)
    picture = torch.rand(1, 1, *backbone.patch_embed.img_size)
    with torch.no_grad():
        expected = backbone.eval()(picture).mean(dim=1)  # (picture, channel)
        torch.testing.assert_close(read_maps(backbone, picture, layout).mean(dim=(2, 3)), expected)


@pytest.mark.parametrize("name", ["pit_ti_224", "crossvit_9_240", "efficientvim_m1"])
def test_a_network_that_pools_by_itself_is_taken_as_it_is(recipe_of: RecipeOf, name: str) -> None:
    network = build_network(recipe_of(*_of_size(name, train=(240, 240)))).eval()
    assert torch.isfinite(network(torch.rand(1, 1, 240, 240)).cancer).all()


def test_pooling_what_is_pooled_is_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(ConfigError, match=r"head\.pooling: found 'gem', but efficientvim_m1 pools its features itself"):
        build_network(recipe_of("backbone.name=efficientvim_m1", "head.pooling=gem"))


def test_a_network_for_colours_only_sees_the_grey_picture_three_times(recipe_of: RecipeOf) -> None:
    backbone, layout = create_backbone(recipe_of("backbone.name=test_resnet", "backbone.options={in_chans=3}"))
    assert layout == Layout("maps", 96, n_colours=3)
    backbone.eval()
    picture = torch.rand(2, 1, 64, 32)
    with torch.no_grad():
        expected = backbone.forward_features(picture.repeat(1, 3, 1, 1))
        torch.testing.assert_close(read_maps(backbone, picture, layout), expected)


# sizes of pictures


def test_a_network_of_fixed_size_is_made_for_the_size_of_the_recipe(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of(*_of_size("vit_tiny_patch16_224", train=(64, 32)))).eval()
    assert network.backbone.patch_embed.img_size == (64, 32)
    with pytest.raises(AssertionError, match="doesn't match model"):  # timm's own: one size means one size
        network(torch.rand(1, 1, 224, 224))


def test_training_and_scoring_at_two_sizes_is_possible_where_timm_resizes_embeddings(recipe_of: RecipeOf) -> None:
    recipe = recipe_of(*_of_size("vit_tiny_patch16_224", train=(64, 32), held_out=(96, 64)))
    network = build_network(recipe).eval()
    assert network.backbone.patch_embed.grid_size == (4, 2)
    for size in ((64, 32), (96, 64)):
        assert torch.isfinite(network(torch.rand(1, 1, *size)).cancer).all()


def test_two_sizes_are_refused_where_the_network_has_one(recipe_of: RecipeOf) -> None:
    with pytest.raises(
        ConfigError,
        match=r"found test_maxvit, which does not serve for pictures of 128 x 64 and 160 x 96 \(.+\); set picture\.t",
    ):
        build_network(recipe_of(*_of_size("test_maxvit", train=(128, 64), held_out=(160, 96))))


def test_pictures_that_would_be_cut_to_whole_patches_are_refused(recipe_of: RecipeOf) -> None:
    cut = _of_size("test_vit", train=(100, 64))
    with pytest.raises(ConfigError, match=r"test_vit, which .* pictures of 100 x 64 \(expected multiples of 16 rows"):
        build_network(recipe_of(*cut, "backbone.options={dynamic_img_size=false}"))
    padded = recipe_of(*cut, "backbone.options={dynamic_img_pad=true}")
    assert torch.isfinite(build_network(padded).eval()(torch.rand(1, 1, 100, 64)).cancer).all()


def test_pictures_that_would_be_shrunk_are_refused(recipe_of: RecipeOf) -> None:
    with pytest.raises(ConfigError, match=r"crossvit_9_240, which .* for pictures of 240 x 240 and 480 x 480"):
        build_network(recipe_of(*_of_size("crossvit_9_240", train=(240, 240), held_out=(480, 480))))


# what serves in no way: stand-ins for networks that timm does not have yet


class _Stub(torch.nn.Module):
    num_features = 8
    num_prefix_tokens = 0
    pretrained_cfg: ClassVar = {"input_size": (3, 32, 32)}

    def __init__(self, features: object) -> None:
        super().__init__()
        self.features = features

    def forward_features(self, _: torch.Tensor) -> object:
        return self.features

    def forward_head(self, features: object, *, pre_logits: bool) -> object:
        assert pre_logits
        return features


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (torch.empty(1, 5, 4, 4), r"its features come as \(1, 5, 4, 4\), expected 8 channels"),
        (torch.empty(1, 16, 5), r"its features come as \(1, 16, 5\), expected 8 channels"),
        ([torch.empty(1, 8)], r"its features come as list, and it does not pool them"),
    ],
)
def test_features_of_an_unknown_form_are_refused(
    recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch, features: object, reason: str
) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: _Stub(features))
    with pytest.raises(ConfigError, match=rf"test_resnet, which .* for pictures of its own size \({reason}\)"):
        build_network(recipe_of())


def test_a_refusal_without_words_is_named_by_its_kind(recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ConfigError, match=r"cannot be made with options \{\} \(AssertionError\); correct"):
        build_network(recipe_of())
