from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from mammoscope.errors import RunError
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.engine import score_pictures
from mammoscope.inference.heat import (
    HeatMapper,
    Stage,
    contribute,
    contribute_at,
    find_stage,
    look_at,
    measure_offset,
    refine,
)
from mammoscope.learning.backbone import Layout
from mammoscope.learning.network import CancerNetwork, NetworkOutput, build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import fit_table_encoder, write_table_encoder
from mammoscope.learning.training import write_weights

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
CPU = torch.device("cpu")


def at(name: str, rows: int, columns: int) -> tuple[str, ...]:
    sides = (("rows", rows), ("columns", columns))
    sizes = {f"{part}_{side}": n for part in ("train", "held_out") for side, n in sides}
    return (f"backbone.name={name}", *(f"picture.{key}={n}" for key, n in sizes.items()))


def random_network(recipe: Recipe) -> CancerNetwork:
    torch.manual_seed(4)
    return build_network(recipe).eval()


def last_layer(network: CancerNetwork) -> nn.Linear:
    layer = network.head[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def grey(rows: int, columns: int, n_pictures: int = 2) -> torch.Tensor:
    return torch.rand(n_pictures, 1, rows, columns, generator=torch.Generator().manual_seed(2))


def stored(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8))


LAYOUTS = [("test_resnet", 64, 32), ("test_convnext", 64, 32), ("test_vit", 64, 32)]


@pytest.mark.parametrize(("name", "rows", "columns"), LAYOUTS, ids=[name for name, *_ in LAYOUTS])
def test_of_a_mean_and_a_linear_head_the_map_and_the_bias_are_the_logit(
    recipe_of: RecipeOf, name: str, rows: int, columns: int
) -> None:
    """What each place adds is its channels times the weights, by the number of places; together, the logit."""
    network = random_network(recipe_of(*at(name, rows, columns)))
    pictures = grey(rows, columns)
    maps = network.look(pictures)
    output, added = contribute(network, maps)
    weight, bias = last_layer(network).weight[0], last_layer(network).bias
    expected = torch.einsum("pcij,c->pij", maps, weight) / maps[0, 0].numel()
    assert torch.allclose(added, expected, atol=1e-6)
    logits = network(pictures).cancer
    assert torch.allclose(output.cancer, logits, atol=1e-6)
    assert torch.allclose(added.sum(dim=(1, 2)) + bias, logits, atol=1e-5)
    assert added.abs().max() > 1e-4


@pytest.mark.parametrize("pooling", ["max", "catavgmax", "gem"])
def test_of_other_poolings_the_map_and_the_bias_are_the_logit_too(recipe_of: RecipeOf, pooling: str) -> None:
    """They are homogeneous: Euler's theorem says that gradient times activation sums up to them."""
    network = random_network(recipe_of(f"head.pooling={pooling}"))
    maps = network.look(grey(64, 32)).abs() + 0.01  # above the floor of the generalised mean
    output, added = contribute(network, maps)
    assert torch.allclose(added.sum(dim=(1, 2)) + last_layer(network).bias, output.cancer, atol=1e-5)


def test_the_maximum_is_where_the_maximum_is(recipe_of: RecipeOf) -> None:
    network = random_network(recipe_of("head.pooling=max"))
    maps = torch.zeros(1, 96, 4, 2)
    maps[0, :, 3, 1] = 1.0
    _, added = contribute(network, maps)
    assert torch.nonzero(added).tolist() == [[0, 3, 1]]


def test_attention_over_places_is_explained(recipe_of: RecipeOf) -> None:
    network = random_network(recipe_of("head.pooling=attention"))
    maps = network.look(grey(64, 32))
    _, added = contribute(network, maps)
    step = 1e-3
    higher, lower = (network.judge(maps * (1 + sign * step)).cancer for sign in (1, -1))
    # the derivative along the activations themselves, by finite differences
    assert torch.allclose(added.sum(dim=(1, 2)), (higher - lower) / (2 * step), atol=1e-3)


class Symmetric(nn.Module):
    """A network that treats left and right, up and down alike: a convolution of a symmetric kernel, a mean, a layer."""

    layout = Layout("maps", 2)
    backbone = nn.Identity()

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, -3.0, 2.0], [1.0, 2.0, 1.0]])
        self.kernels = torch.stack([kernel, -kernel])[:, None]  # (channel, 1, row, column)

    def look(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.relu(nn.functional.conv2d(pictures, self.kernels, padding=1))

    def judge(self, maps: torch.Tensor, table: None = None) -> NetworkOutput:
        assert table is None
        logit = maps.mean(dim=(2, 3)) @ torch.tensor([1.0, -0.5]) ** 2 - 1.0
        return NetworkOutput(logit, torch.zeros_like(logit), logit[None], {})


def explain(network: Any, pictures: torch.Tensor, run: Run, offset: float | None = None) -> np.ndarray:  # noqa: ANN401  # or one that stands for it
    mapper = HeatMapper(Bundle(run, (network,), CPU))
    mapper.offset = mapper.offset if offset is None else offset
    return mapper.explain_by(network, pictures)[0]


@pytest.mark.parametrize("axis", [1, 2], ids=["up and down", "left and right"])
def test_flipping_the_image_flips_the_heat_map_of_a_symmetric_network(random_run: Run, axis: int) -> None:
    pictures = stored(2, 40, 24)
    heat, flipped = (explain(Symmetric(), each, random_run, offset=0.0) for each in (pictures, pictures.flip(axis)))
    assert heat.shape == (2, 16, 8)
    np.testing.assert_allclose(np.flip(heat, axis), flipped, atol=1e-6)
    assert np.abs(heat - flipped).max() > 1e-3


@pytest.mark.parametrize(("flips", "axis"), [("horizontal", 2), ("all", 1), ("all", 2)])
def test_flipping_the_image_flips_the_heat_map_where_the_score_is_of_all_flips(
    recipe_of: RecipeOf, start_tiny_run: StartRun, flips: str, axis: int
) -> None:
    run = start_tiny_run(recipe_of(f"scoring.flips={flips}"))
    network, pictures = random_network(run.recipe), stored(2, 128, 96)
    heat, flipped = (explain(network, each, run, offset=0.4) for each in (pictures, pictures.flip(axis)))
    highest = np.abs(heat).max()
    np.testing.assert_allclose(np.flip(heat, axis), flipped, atol=1e-3 * highest)
    assert np.abs(heat - flipped).max() > 0.3 * highest


def test_heat_is_where_the_picture_is_bright_for_a_network_that_sees_light(random_run: Run) -> None:
    class Light(Symmetric):
        def look(self, pictures: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(pictures, 8).expand(-1, 2, -1, -1)

    pictures = torch.zeros(1, 64, 32, dtype=torch.uint8)
    pictures[0, 40:48, 8:16] = 255
    heat = explain(Light(), pictures, random_run)[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (10 <= row < 12, 2 <= column < 4) == (True, True)  # in the fine map of 16 x 8


# the stage


@pytest.mark.parametrize(
    ("name", "rows", "columns", "expected"),
    [
        ("test_resnet", 256, 128, Stage("layer3", 192)),
        ("test_resnet", 160, 128, Stage("layer2", 48)),
        ("test_resnet", 512, 128, None),  # whose last map has sixteen rows of places
        ("mobilenetv2_100", 256, 160, Stage("blocks.4", 96)),
        ("test_convnext", 256, 128, None),  # where each place of a stage is normed next
        ("swin_s3_tiny_224", 224, 224, None),
        ("test_vit", 128, 64, None),  # whose places are the same in all stages
    ],
)
def test_places_are_those_of_the_last_stage_that_has_enough_of_them(
    recipe_of: RecipeOf, name: str, rows: int, columns: int, expected: Stage | None
) -> None:
    network = random_network(recipe_of(*at(name, rows, columns)))
    stage = find_stage(network, (rows, columns), CPU)
    assert stage == expected
    if expected is not None:
        places = look_at(network, grey(rows, columns), stage).shape
        assert places[1] == expected.n_channels
        assert places[2] >= 16


@pytest.mark.parametrize(
    "listed",
    [
        None,
        [],
        [{"module": "layer3", "reduction": 16, "num_chs": 7}] * 2,
        [{"module": "not_there", "reduction": 16, "num_chs": 192}] * 2,
        [{"module": "layer4", "reduction": 16, "num_chs": 96}] * 2,  # of eight rows
        [{"module": "act1", "reduction": 2, "num_chs": 32}] * 2,
    ],
    ids=["no list", "empty", "channels", "name", "rows", "passed often"],
)
def test_a_stage_that_is_not_listed_or_gives_something_else_leaves_the_last_map(
    recipe_of: RecipeOf, listed: list[dict[str, object]] | None
) -> None:
    network = random_network(recipe_of())
    network.backbone.feature_info = listed
    if listed and listed[0]["module"] == "act1":
        network.backbone.layer1.register_forward_pre_hook(lambda _module, inputs: (network.backbone.act1(inputs[0]),))
    assert find_stage(network, (256, 128), CPU) is None


# a transformer of windows has its channels last; within a stage, what is normed is added to what is not
INNER = [("test_resnet", 64, Stage("layer3", 192), 16), ("swin_s3_tiny_224", 224, Stage("layers.3.blocks.0", 768), 32)]


@pytest.mark.parametrize(("name", "side", "stage", "place_px"), INNER, ids=[name for name, *_ in INNER])
def test_what_the_places_of_a_stage_add_is_the_derivative_along_its_activations(
    recipe_of: RecipeOf, name: str, side: int, stage: Stage, place_px: int
) -> None:
    network = random_network(recipe_of(*at(name, side, side)))
    pictures = grey(side, side)
    output, added = contribute_at(network, pictures, None, stage=stage, recipe=recipe_of())
    assert torch.allclose(output.cancer, network(pictures).cancer, atol=1e-6)
    assert added.shape == (2, side // place_px, side // place_px)
    step = 1e-2
    logits = []
    for factor in (1 + step, 1 - step):
        with stage.watched(network, lambda _module, _inputs, maps, factor=factor: maps * factor), torch.no_grad():
            logits.append(network(pictures).cancer)
    derivative = (logits[0] - logits[1]) / (2 * step)
    assert derivative.abs().max() > 1e-3
    assert torch.allclose(added.sum(dim=(1, 2)), derivative, rtol=0.02, atol=1e-4)


def test_a_place_of_a_stage_adds_what_its_own_activation_does(recipe_of: RecipeOf) -> None:
    """And no other's: by scaling one place at a time."""
    network, pictures = random_network(recipe_of()), grey(64, 32, n_pictures=1)
    stage = Stage("layer3", 192)
    _, added = contribute_at(network, pictures, None, stage=stage, recipe=recipe_of())
    for row, column in ((0, 0), (2, 1), (3, 0)):
        scale = torch.zeros(4, 2)
        scale[row, column] = 1e-2
        logits = []
        for sign in (1, -1):
            with (
                stage.watched(network, lambda _m, _i, maps, sign=sign, scale=scale: maps * (1 + sign * scale)),
                torch.no_grad(),
            ):
                logits.append(network(pictures).cancer)
        derivative = (logits[0] - logits[1]) / 2e-2
        assert added[0, row, column].item() == pytest.approx(derivative.item(), rel=0.05, abs=2e-4)


def test_the_mapper_takes_the_stage_and_where_its_places_look(recipe_of: RecipeOf, start_tiny_run: StartRun) -> None:
    run = start_tiny_run(recipe_of(*at("tf_efficientnet_b0", 256, 128)))
    network = random_network(run.recipe)
    mapper = HeatMapper(Bundle(run, (network,), CPU))
    stage = Stage("blocks.4", 112)
    assert mapper.stage == stage
    assert mapper.offset == measure_offset(network, (256, 128), CPU, stage)
    assert mapper.offset != measure_offset(network, (256, 128), CPU)


def test_a_stage_is_explained_in_the_recipes_precision(recipe_of: RecipeOf) -> None:
    network, pictures = random_network(recipe_of()), grey(64, 32)
    recipes = [recipe_of(f"precision={precision}") for precision in ("f32", "bf16")]
    exact, rounded = (
        contribute_at(network, pictures, None, stage=Stage("layer3", 192), recipe=recipe)[1] for recipe in recipes
    )
    highest = exact.abs().max()
    assert 1e-5 * highest < (exact - rounded).abs().max() < 0.2 * highest


def test_a_network_is_left_as_it_was(recipe_of: RecipeOf) -> None:
    network, pictures = random_network(recipe_of()), grey(64, 32)
    before = network(pictures).cancer
    contribute_at(network, pictures, None, stage=Stage("layer3", 192), recipe=recipe_of())
    assert torch.equal(network(pictures).cancer, before)
    assert network(pictures).cancer.requires_grad  # its own parameters', as before


def test_activations_that_half_precision_cannot_hold_are_computed_in_full(
    recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, pictures = random_network(recipe_of()), grey(64, 32)
    expected = contribute_at(network, pictures, None, stage=Stage("layer3", 192), recipe=recipe_of())[1]
    judge, calls = network.judge, []

    def overflow_once(maps: torch.Tensor, table: None = None) -> NetworkOutput:
        calls.append(maps)
        output = judge(maps, table)
        return output._replace(cancer=output.cancer * float("inf")) if len(calls) == 1 else output

    monkeypatch.setattr(network, "judge", overflow_once)
    half = contribute_at(network, pictures, None, stage=Stage("layer3", 192), recipe=recipe_of("precision=bf16"))[1]
    assert len(calls) == 2
    assert torch.allclose(half, expected, atol=1e-6)


# from places to pixels


def test_a_refined_map_goes_through_its_places() -> None:
    places = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(refine(places, (5, 3)), places, atol=1e-5)
    np.testing.assert_allclose(refine(places, (15, 9))[1::3, 1::3], places, atol=1e-5)


@pytest.mark.parametrize(("offset", "expected"), [(0.0, 28), (0.5, 32), (-0.5, 24)])
def test_an_offset_moves_a_refined_map_down_and_right(offset: float, expected: int) -> None:
    """Place 3 of 8 has its centre at 28 of 64 pixels; half a place is 4 pixels."""
    places = np.zeros((8, 8), dtype=np.float32)
    places[3, 3] = 1.0
    fine = refine(places, (64, 64), offset)
    assert [each.tolist() for each in np.nonzero(fine > 0.98)] == [
        [expected - 1, expected - 1, expected, expected],
        [expected - 1, expected, expected - 1, expected],
    ]


def test_a_map_of_one_place_is_even() -> None:
    assert (refine(np.array([[2.0]], dtype=np.float32), (6, 3)) == 2.0).all()


@pytest.mark.parametrize(
    ("name", "rows", "columns", "expected"),
    [
        ("resnet18", 256, 128, -15.5 / 32),  # five strides that pad on both sides: places look at 32 i + 0.5
        ("tf_efficientnet_b0", 256, 160, 15.5 / 32),  # that pad at the end: at 32 i + 31.5
        ("test_convnext", 128, 64, 0.0),  # patches that tile
        ("test_vit", 64, 32, 0.0),
    ],
)
def test_where_places_look_is_what_their_paddings_say(
    recipe_of: RecipeOf, name: str, rows: int, columns: int, expected: float
) -> None:
    network = random_network(recipe_of(*at(name, rows, columns)))
    assert measure_offset(network, (rows, columns), CPU) == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(("name", "expected"), [("resnet18", -7.5 / 16), ("tf_efficientnet_b0", 7.5 / 16)])
def test_where_places_of_a_stage_look_is_what_the_paddings_before_it_say(
    recipe_of: RecipeOf, name: str, expected: float
) -> None:
    network = random_network(recipe_of(*at(name, 256, 128)))
    stage = find_stage(network, (256, 128), CPU)
    assert measure_offset(network, (256, 128), CPU, stage) == pytest.approx(expected, abs=0.2)


def test_heat_maps_are_the_mean_over_the_folds(random_run: Run) -> None:
    bundle = open_bundle(random_run.path, CPU)
    pictures = list(stored(3, 64, 32).numpy())
    both = HeatMapper(bundle).explain(pictures)
    singles = [
        HeatMapper(replace(bundle, networks=(network,), encoders=())).explain(pictures) for network in bundle.networks
    ]
    for place, heat in enumerate(both.heats):
        assert heat.shape == (16, 8)
        np.testing.assert_allclose(heat, np.mean([each.heats[place] for each in singles], axis=0), atol=2e-4)
    for ours, scored in zip(both.by_network, score_pictures(bundle, pictures), strict=True):
        np.testing.assert_allclose(ours.cancer, scored.cancer, atol=1e-5)


def test_a_network_that_is_given_a_table_is_explained_with_it(
    recipe_of: RecipeOf,
    start_tiny_run: StartRun,
    tiny_manifest: pl.DataFrame,
) -> None:

    run = start_tiny_run(recipe_of('table.columns=["view"]'))
    encoder = fit_table_encoder(tiny_manifest, run.recipe.table)
    torch.manual_seed(0)
    network = build_network(run.recipe, encoder)
    write_weights(network, run.weights_path(0))
    write_table_encoder(encoder, run.table_path(0))
    bundle = open_bundle(run.path, CPU)
    rows, pictures = tiny_manifest[:2], list(stored(2, 64, 32).numpy())
    explanation = HeatMapper(bundle).explain(pictures, rows)
    np.testing.assert_allclose(
        explanation.by_network[0].cancer, score_pictures(bundle, pictures, rows)[0].cancer, atol=1e-5
    )


def test_a_network_that_pools_its_features_itself_is_refused(random_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(random_run.path, CPU)
    monkeypatch.setattr(bundle.networks[0], "layout", Layout("pooled", 96))
    with pytest.raises(RunError, match="test_resnet pools its features itself, expected a network with a map of plac"):
        HeatMapper(bundle)


def test_places_that_stand_in_a_row_are_refused(random_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CancerNetwork, "look", lambda *_: torch.zeros(1, 96, 8, 1))
    with pytest.raises(RunError, match=r"test_resnet gives 8 x 1 places for pictures of 64 x 32, expected a network"):
        HeatMapper(open_bundle(random_run.path, CPU))
