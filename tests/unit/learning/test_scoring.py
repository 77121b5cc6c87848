from collections.abc import Callable

import numpy as np
import pytest
import torch

from mammoscope.errors import ConfigError
from mammoscope.learning import scoring
from mammoscope.learning.batches import Pictures
from mammoscope.learning.network import build_network
from mammoscope.learning.scoring import autocast_type, check_precision, choose_device, score_batches
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_no_batch_gives_no_score(recipe_of: RecipeOf) -> None:
    scores = score_batches(build_network(recipe_of()), [], recipe=recipe_of(), device=CPU)
    assert scores.probabilities.shape == (0,)


def test_scores_are_probabilities_whatever_the_batches(recipe_of: RecipeOf) -> None:
    torch.manual_seed(3)
    network = build_network(recipe_of("head.dropout=0.5")).train()
    pictures = torch.randint(0, 256, (7, 64, 32), dtype=torch.uint8)
    whole = score_batches(network, [Pictures(pictures)], recipe=recipe_of(), device=CPU).probabilities
    three = [Pictures(part) for part in (pictures[:2], pictures[2:4], pictures[4:])]
    parts = score_batches(network, three, recipe=recipe_of(), device=CPU).probabilities
    assert whole.dtype == np.float64
    assert ((whole > 0) & (whole < 1)).all()
    assert np.abs(whole - parts).max() < 1e-6
    assert len(set(whole)) == 7


def test_pictures_of_16_bits_are_scored_as_those_of_8(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of())
    grey = np.random.default_rng(0).integers(0, 256, (2, 64, 32))
    eight, sixteen = torch.from_numpy(grey.astype(np.uint8)), torch.from_numpy((grey * 257).astype(np.uint16))
    scores = [score_batches(network, [Pictures(each)], recipe=recipe_of(), device=CPU) for each in (eight, sixteen)]
    assert np.abs(scores[0].probabilities - scores[1].probabilities).max() < 1e-6


def test_the_size_to_score_at_is_the_held_out_one(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("picture.held_out_rows=128", "picture.held_out_columns=64")
    network, seen = build_network(recipe), []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    score_batches(network, [Pictures(torch.zeros(2, 64, 32, dtype=torch.uint8))], recipe=recipe, device=CPU)
    assert seen == [(2, 1, 128, 64)]


@pytest.mark.parametrize(("precision", "expected"), [("f32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_precision_of_the_recipe(
    recipe_of: RecipeOf, precision: str, expected: torch.dtype
) -> None:
    recipe, seen = recipe_of(f"precision={precision}"), []
    network = build_network(recipe)
    network.head[-1].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    score_batches(network, [Pictures(torch.zeros(1, 64, 32, dtype=torch.uint8))], recipe=recipe, device=CPU)
    assert seen == [expected]


def test_precision_follows_recipe_and_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    assert autocast_type("f32", CPU) is autocast_type("f32", GPU) is None
    assert autocast_type("bf16", CPU) is autocast_type("bf16", GPU) is torch.bfloat16
    assert autocast_type("f16", GPU) is torch.float16
    assert autocast_type("f16", CPU) is None
    for is_able, on_cpu, on_gpu in ((True, torch.bfloat16, torch.bfloat16), (False, None, torch.float16)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda is_able=is_able: is_able)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda is_able=is_able, **_: is_able)
        assert autocast_type("auto", CPU) is on_cpu
        assert autocast_type("auto", GPU) is on_gpu


def test_only_a_gpu_trains_in_f16(recipe_of: RecipeOf) -> None:
    for precision in ("auto", "f32", "bf16"):
        check_precision(recipe_of(f"precision={precision}"), CPU)
    check_precision(recipe_of("precision=f16"), GPU)
    with pytest.raises(ConfigError, match=r"precision: found f16, which is for GPUs, .* expected auto, bf16 or f32"):
        check_precision(recipe_of("precision=f16"), CPU)


def test_what_half_precision_cannot_hold_is_scored_in_full_precision(
    recipe_of: RecipeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations a million times as large, which the head brings down again."""
    torch.manual_seed(4)
    network, seen = build_network(recipe_of()), []
    pictures = torch.randint(0, 256, (3, 64, 32), dtype=torch.uint8)
    grey = pictures.unsqueeze(1) / 255
    with torch.no_grad():
        weights = network.state_dict()
        for layer, factor in (("backbone.conv1.0", 1e3), ("backbone.conv1.3", 1e3), ("head.1", 1e-6)):
            weights[f"{layer}.weight"].mul_(factor)
        expected = torch.sigmoid(network.eval()(grey).cancer.double())
        with torch.autocast("cpu", torch.float16):
            assert not network(grey).cancer.isfinite().any()
    network.head[-1].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    monkeypatch.setattr(scoring, "autocast_type", lambda *_: torch.float16)
    scores = score_batches(network, [Pictures(pictures)], recipe=recipe_of(), device=CPU).probabilities
    assert seen == [torch.float16, torch.float32]
    assert scores == pytest.approx(expected.numpy(), abs=1e-6)
    assert 0.001 < scores.min() < scores.max() < 0.999


def test_the_device_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_there, expected in ((True, GPU), (False, CPU)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_there=is_there: is_there)
        assert choose_device() == expected
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("flips", "axes"), [("none", [()]), ("horizontal", [(), (2,)]), ("all", [(), (2,), (1,), (1, 2)])]
)
def test_flipped_pictures_are_scored_by_the_mean_of_their_logits(
    recipe_of: RecipeOf, flips: str, axes: list[tuple[int, ...]]
) -> None:
    recipe = recipe_of(f"scoring.flips={flips}", "views.combine=attention", "level=breast")
    torch.manual_seed(5)
    network = build_network(recipe)
    pictures = torch.randint(0, 256, (3, 64, 32), dtype=torch.uint8)
    seen = score_batches(network, [Pictures(pictures)], recipe=recipe, device=CPU)
    with torch.no_grad():
        by_hand = [network(pictures.flip(each).unsqueeze(1) / 255) for each in axes]
    for name in ("cancer", "view"):
        expected = torch.stack([getattr(output, name) for output in by_hand]).mean(dim=0).numpy()
        assert getattr(seen, name) == pytest.approx(expected, abs=1e-5)


def test_features_are_kept_only_if_they_are_asked_for(recipe_of: RecipeOf) -> None:
    network = build_network(recipe_of())
    batches = [Pictures(torch.randint(0, 256, (3, 64, 32), dtype=torch.uint8), None) for _ in range(2)]
    plain = score_batches(network, batches, recipe=recipe_of(), device=torch.device("cpu"))
    asked = score_batches(network, batches, recipe=recipe_of(), device=torch.device("cpu"), keeps_features=True)
    assert plain.features is None
    assert asked.features is not None
    assert asked.features.shape == (6, 96)
    np.testing.assert_array_equal(plain.cancer, asked.cancer)


def test_scores_over_all_flips_are_those_of_the_mirror_image(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("scoring.flips=all")
    torch.manual_seed(6)
    network = build_network(recipe)
    pictures = torch.randint(0, 256, (3, 64, 32), dtype=torch.uint8)
    scores, mirrored = (
        score_batches(network, [Pictures(each)], recipe=recipe, device=CPU).probabilities
        for each in (pictures, pictures.flip(1, 2))
    )
    assert scores == pytest.approx(mirrored, abs=1e-6)
