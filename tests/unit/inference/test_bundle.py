import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mammoscope.errors import RunError
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.engine import score_pictures
from mammoscope.learning.network import build_network
from mammoscope.learning.run import Run, check_weights_hash, record_weights_hash
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import write_weights

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
CPU = torch.device("cpu")


def test_a_bundle_holds_the_networks_of_all_folds_ready_to_score(random_run: Run) -> None:
    bundle = open_bundle(random_run.path, CPU)
    assert len(bundle.networks) == 2
    assert not any(network.training for network in bundle.networks)
    assert (bundle.recipe, bundle.prepare) == (random_run.recipe, random_run.prepare)
    for fold, network in enumerate(bundle.networks):
        weights = load_file(random_run.weights_path(fold))
        assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


def test_a_run_without_a_trained_fold_is_refused(recipe_of: RecipeOf, start_tiny_run: StartRun) -> None:
    with pytest.raises(RunError, match="no fold of this run is trained; finish `mammoscope train` first"):
        open_bundle(start_tiny_run(recipe_of()).path, CPU)


@pytest.mark.parametrize("n_bytes", [0, 4, 1000, -1])
def test_torn_weights_are_refused(random_run: Run, n_bytes: int) -> None:
    path = random_run.weights_path(1)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(RunError, match=r"folds/1/weights\.safetensors: not the weights of this run's network"):
        open_bundle(random_run.path, CPU)


def test_weights_of_another_network_are_refused_with_the_keys(random_run: Run, recipe_of: RecipeOf) -> None:
    write_weights(build_network(recipe_of("head.layers=[3]")), random_run.weights_path(0))
    with pytest.raises(RunError, match=r"not the weights of this run's network \(.*head\.1\.weight"):
        open_bundle(random_run.path, CPU)


def test_weights_with_a_key_too_few_are_refused(random_run: Run) -> None:
    weights = load_file(random_run.weights_path(0))
    del weights["head.1.bias"]
    save_file(weights, random_run.weights_path(0))
    with pytest.raises(RunError, match=r"Missing key.*head\.1\.bias"):
        open_bundle(random_run.path, CPU)


def test_the_weights_that_training_started_from_are_not_needed(recipe_of: RecipeOf, start_tiny_run: StartRun) -> None:
    run = start_tiny_run(recipe_of("backbone.weights=/nowhere/backbone.safetensors"))
    write_weights(build_network(run.recipe), run.weights_path(0))
    assert len(open_bundle(run.path, CPU).networks) == 1


def test_each_network_of_a_bundle_says_what_it_thinks(random_run: Run) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 64, 32)).astype(np.uint8))
    both = open_bundle(random_run.path, CPU)
    by_network = score_pictures(both, pictures)
    inputs = torch.from_numpy(np.stack(pictures))[:, None].float() / 255
    with torch.no_grad():
        by_fold = [torch.sigmoid(network(inputs).cancer).numpy() for network in both.networks]
    assert np.abs(by_fold[0] - by_fold[1]).max() > 1e-3
    for logits, expected in zip(by_network, by_fold, strict=True):
        assert logits.probabilities == pytest.approx(expected, abs=1e-6)


def test_weights_that_are_not_those_of_the_training_are_refused(random_run: Run) -> None:
    record_weights_hash(random_run, 1)
    assert len(open_bundle(random_run.path, CPU).networks) == 2  # fold 0 has no record, as early runs
    path = random_run.weights_path(1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last bit of a number: whole weights of this network, but others
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"folds/1/weights\.safetensors: found other weights than the training wrote"):
        open_bundle(random_run.path, CPU)


@pytest.mark.parametrize("record", ["", "0" * 64])
def test_a_record_of_other_weights_is_refused(random_run: Run, record: str) -> None:
    random_run.weights_hash_path(0).write_text(record)
    with pytest.raises(RunError, match=f"expected {record[:12] or 'none'}"):
        open_bundle(random_run.path, CPU)


def test_the_record_is_what_sha256sum_reads(random_run: Run) -> None:
    record_weights_hash(random_run, 0)
    expected = hashlib.sha256(random_run.weights_path(0).read_bytes()).hexdigest()
    assert random_run.weights_hash_path(0).read_text() == f"{expected}  weights.safetensors\n"
    assert check_weights_hash(random_run, 0) == expected
