from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import timm
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn

from mammoscope.errors import MammoscopeError
from mammoscope.learning.batches import Batch
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder, TableSettings, fit_table_encoder
from mammoscope.learning.table_layer import TableLayer, TableTensors, drop_table, join_table, to_tensors
from mammoscope.learning.task import build_optimizer

RecipeOf = Callable[..., Recipe]
COLUMNS = "table.columns=['age_years', 'density', 'implant']"


@pytest.fixture
def rows() -> pl.DataFrame:
    """Four images, of which training never saw that anything is missing."""
    return pl.DataFrame(
        {
            "image_id": ["a", "b", "c", "d"],
            "age_years": [40.0, 50.0, 60.0, 70.0],
            "density": ["A", "B", "C", "A"],
            "implant": [False, False, True, False],
        }
    )


@pytest.fixture
def encoder(rows: pl.DataFrame) -> TableEncoder:
    return fit_table_encoder(rows, TableSettings(columns=("age_years", "density", "implant")))


@pytest.fixture
def nothing(rows: pl.DataFrame, encoder: TableEncoder) -> TableTensors:
    """A picture of a woman of the mean age of whom nothing is known, and one with values that training never saw."""
    unknown = rows[:2].with_columns(
        age_years=pl.Series([None, 55.0]),
        density=pl.Series([None, "D"]),
        implant=pl.Series([None, None], dtype=pl.Boolean),
    )
    return to_tensors(encoder.encode(unknown))


def test_the_vector_is_the_layer_of_numbers_and_embeddings(rows: pl.DataFrame, encoder: TableEncoder) -> None:
    """By hand: one matrix product, values below 0 cut off."""
    torch.manual_seed(2)
    layer = TableLayer(encoder, TableSettings(embedding=3, hidden=5))
    encoded = encoder.encode(rows)
    density, implant = (layer.get_parameter(f"embeddings.{place}.weight").detach().numpy() for place in (0, 1))
    assert (density.shape, implant.shape) == ((5, 3), (4, 3))
    inputs = np.concatenate(
        [encoded.numbers, density[encoded.categories[:, 0]], implant[encoded.categories[:, 1]]], axis=1
    )
    weight, bias = (layer.get_parameter(f"layer.{name}").detach().numpy() for name in ("weight", "bias"))
    expected = np.maximum(inputs @ weight.T + bias, 0)
    assert expected.shape == (4, 5)
    assert layer(to_tensors(encoded)).detach().numpy() == pytest.approx(expected, abs=1e-6)


def test_what_is_missing_or_unknown_says_nothing_until_it_is_learned(
    encoder: TableEncoder, nothing: TableTensors
) -> None:
    torch.manual_seed(2)
    layer = TableLayer(encoder, TableSettings())
    silent = torch.relu(layer.get_parameter("layer.bias"))
    assert torch.allclose(layer(nothing), silent.expand(2, -1), atol=1e-7)


def test_what_training_never_saw_stays_without_a_say(
    rows: pl.DataFrame, encoder: TableEncoder, nothing: TableTensors
) -> None:
    """With decayed weights, as the optimizer of a recipe has them; what it saw has moved."""
    torch.manual_seed(2)
    layer = TableLayer(encoder, TableSettings())
    before = layer(to_tensors(encoder.encode(rows))).detach()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layer(to_tensors(encoder.encode(rows))).square().sum().backward()
        optimizer.step()
    silent = torch.relu(layer.get_parameter("layer.bias"))
    assert torch.allclose(layer(nothing), silent.expand(2, -1), atol=1e-7)
    assert not torch.allclose(layer(to_tensors(encoder.encode(rows))), before, atol=0.1)


def test_a_value_that_training_saw_missing_is_learned(rows: pl.DataFrame) -> None:
    gaps = rows.with_columns(age_years=pl.Series([None, 50.0, 60.0, 70.0]), density=pl.Series([None, "B", "C", "A"]))
    encoder = fit_table_encoder(gaps, TableSettings(columns=("age_years", "density")))
    torch.manual_seed(2)
    layer = TableLayer(encoder, TableSettings())
    layer(to_tensors(encoder.encode(gaps)))[0].sum().backward()
    flag, missing = layer.get_parameter("layer.weight").grad, layer.get_parameter("embeddings.0.weight").grad
    assert flag is not None
    assert missing is not None
    assert flag[:, 1].abs().max() > 0
    assert missing[0].abs().max() > 0
    assert missing[1:].abs().max() == 0


# in the network


def test_the_vector_stands_behind_the_features_of_the_picture(
    recipe_of: RecipeOf, rows: pl.DataFrame, encoder: TableEncoder
) -> None:
    torch.manual_seed(3)
    network = build_network(recipe_of(COLUMNS, "table.hidden=7"), encoder).eval()
    pictures, table = torch.rand(4, 1, 64, 32), to_tensors(encoder.encode(rows))
    assert network.table_layer is not None
    with torch.no_grad():
        pooled: torch.Tensor = network.pooling(network.backbone.forward_features((pictures - 0.5) / 0.5))
        expected = network.head(torch.cat([pooled, network.table_layer(table)], dim=1)).squeeze(1)
        said = network(pictures, table).cancer
    assert [layer.in_features for layer in network.head if isinstance(layer, nn.Linear)] == [pooled.shape[1] + 7]
    assert torch.equal(said, expected)


def test_the_table_of_a_picture_moves_its_own_score_alone(
    recipe_of: RecipeOf, rows: pl.DataFrame, encoder: TableEncoder
) -> None:
    """And the weight of its view, where views are weighed."""
    torch.manual_seed(3)
    recipe = recipe_of(COLUMNS, "level=breast", "views.combine=attention")
    network, pictures = build_network(recipe, encoder).eval(), torch.rand(4, 1, 64, 32)
    older = rows.with_columns(age_years=pl.Series([40.0, 50.0, 60.0, 110.0]))
    with torch.no_grad():
        first, second = (network(pictures, to_tensors(encoder.encode(each))) for each in (rows, older))
    for before, after in ((first.cancer, second.cancer), (first.view, second.view)):
        assert torch.allclose(before[:3], after[:3], atol=1e-6)
        assert (before[3] - after[3]).abs() > 1e-4


def test_a_recipe_without_a_table_gives_the_network_that_it_always_gave(recipe_of: RecipeOf) -> None:
    """Built from timm and torch alone, in the order in which chance is drawn."""
    torch.manual_seed(11)
    backbone: Any = timm.create_model("test_resnet", in_chans=1, num_classes=0, global_pool="")
    head = nn.Sequential(nn.Dropout(0.0), nn.Linear(backbone.num_features, 1))
    expected = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    expected |= {f"head.{key}": value for key, value in head.state_dict().items()}
    torch.manual_seed(11)
    found = build_network(recipe_of()).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_a_network_without_its_encoder_is_refused(recipe_of: RecipeOf, encoder: TableEncoder) -> None:
    sentence = r"found an encoder of the columns none, expected those of the recipe, age_years, density, implant; give"
    with pytest.raises(MammoscopeError, match=sentence):
        build_network(recipe_of(COLUMNS))
    sentence = r"found an encoder of the columns age_years, density, implant, expected those of the recipe, none"
    with pytest.raises(MammoscopeError, match=sentence):
        build_network(recipe_of(), encoder)


def test_a_table_is_never_left_away_in_silence(recipe_of: RecipeOf, encoder: TableEncoder, rows: pl.DataFrame) -> None:
    pictures, table = torch.rand(4, 1, 64, 32), to_tensors(encoder.encode(rows))
    with pytest.raises(MammoscopeError, match="found no table beside the pictures, expected what the columns of the"):
        build_network(recipe_of(COLUMNS), encoder).eval()(pictures)
    with pytest.raises(MammoscopeError, match="found a table beside the pictures, expected none"):
        build_network(recipe_of()).eval()(pictures, table)
    features = torch.rand(4, 3)
    assert join_table(features, None, None) is features


@pytest.mark.parametrize("fine_tuning", ["train=all", "train=head", "layer_decay=0.5"])
def test_the_table_learns_at_the_rate_of_the_head(recipe_of: RecipeOf, encoder: TableEncoder, fine_tuning: str) -> None:
    """Whatever happens to the backbone; embeddings and matrices are decayed, biases are not."""
    recipe = recipe_of(COLUMNS, f"fine_tuning.{fine_tuning}", "optimizer.rate=0.03")
    network = build_network(recipe, encoder)
    groups = build_optimizer(network, recipe).param_groups
    rate_and_decay = {id(each): (group["lr"], group["weight_decay"]) for group in groups for each in group["params"]}

    def of(module: nn.Module | None) -> dict[str, tuple[float, float]]:
        assert module is not None
        return {name.split(".")[-1]: rate_and_decay[id(each)] for name, each in module.named_parameters()}

    assert of(network.table_layer) == of(network.head) == {"weight": (0.03, 0.01), "bias": (0.03, 0.0)}


# in batches


def test_a_batch_takes_its_table_to_the_device(encoder: TableEncoder, rows: pl.DataFrame) -> None:
    table = to_tensors(encoder.encode(rows))
    batch = Batch(torch.zeros(4, 8, 8), torch.arange(4), torch.zeros(4), (1.0,) * 4, table)
    meta = torch.device("meta")
    moved = move_data_to_device(batch, meta)
    assert isinstance(moved, Batch)
    assert moved.table is not None
    assert moved.table.numbers.device == moved.table.categories.device == table.to(meta).numbers.device == meta
    assert move_data_to_device(batch._replace(table=None), meta).table is None
    kept = TableTensors(table.numbers, table.categories, torch.ones(4))
    assert kept.to(meta).shares is not None
    assert kept.take([2]).shares is not None


def test_the_table_of_an_example_is_dropped_for_all_its_pictures(encoder: TableEncoder, rows: pl.DataFrame) -> None:
    table, examples = to_tensors(encoder.encode(rows)).take([0, 1, 2, 3] * 500), torch.arange(1000).repeat_interleave(2)
    generator = torch.Generator().manual_seed(0)
    dropped = drop_table(table, examples, n_examples=1000, chance=0.3, generator=generator)
    assert dropped is not None
    assert dropped.shares is not None
    shares = dropped.shares.view(1000, 2)
    assert torch.equal(shares[:, 0], shares[:, 1])
    expected = torch.rand(1000, generator=torch.Generator().manual_seed(0)) >= 0.3
    assert torch.equal(shares[:, 0], expected.float())
    assert set(dropped.shares.tolist()) == {0.0, 1.0}
    assert 1 - shares.mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 1000) ** 0.5)
    layer = TableLayer(encoder, TableSettings())
    vectors, whole = layer(dropped), layer(table)
    is_kept = dropped.shares == 1
    assert torch.equal(vectors[is_kept], whole[is_kept])
    assert vectors[~is_kept].abs().max() == 0


def test_without_dropout_no_chance_is_drawn(encoder: TableEncoder, rows: pl.DataFrame) -> None:
    generator = torch.Generator().manual_seed(0)
    table, state = to_tensors(encoder.encode(rows)), generator.get_state()
    assert drop_table(table, torch.arange(4), n_examples=4, chance=0.0, generator=generator) is table
    assert drop_table(None, torch.arange(4), n_examples=4, chance=0.5, generator=generator) is None
    assert torch.equal(generator.get_state(), state)


def test_scores_do_not_depend_on_dropout(recipe_of: RecipeOf, encoder: TableEncoder, rows: pl.DataFrame) -> None:
    networks: list[CancerNetwork] = []
    for dropout in (0.0, 0.9):
        torch.manual_seed(1)
        networks.append(build_network(recipe_of(COLUMNS, f"table.dropout={dropout}"), encoder).eval())
    pictures, table = torch.rand(4, 1, 64, 32), to_tensors(encoder.encode(rows))
    assert torch.equal(*(network(pictures, table).cancer for network in networks))
