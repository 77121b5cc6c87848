from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from mammoscope.errors import ConfigError
from mammoscope.evaluation.run_folder import read_environment
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import training
from mammoscope.learning.batches import Draw, EpochSampler, StorePictures
from mammoscope.learning.micro import find_micro, recorded_micro, try_micro
from mammoscope.learning.network import CancerNetwork, NetworkOutput, build_network
from mammoscope.learning.processes import Processes
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import choose_micro, select_rows

RecipeOf = Callable[..., Recipe]
CliRun = Callable[..., tuple[int, str, str]]
CPU = torch.device("cpu")


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Run out of memory with more than 5 pictures; the numbers of pictures that were tried."""
    tried = []
    forward = CancerNetwork.forward

    def run_out(self: CancerNetwork, pictures: torch.Tensor, *others: Any) -> NetworkOutput:  # noqa: ANN401  # the network's own
        tried.append(len(pictures))
        if len(pictures) > 5:
            raise torch.OutOfMemoryError("planted")
        return forward(self, pictures, *others)

    monkeypatch.setattr(CancerNetwork, "forward", run_out)
    return tried


@pytest.mark.parametrize(
    ("n_shared", "most", "expected"), [(16, 16, 16), (16, 15, 8), (12, 5, 4), (12, 1, 1), (7, 6, 1)]
)
def test_the_greatest_divisor_that_fits_is_found(n_shared: int, most: int, expected: int) -> None:
    assert find_micro(n_shared, lambda n: n <= most) == expected


def test_a_head_with_batch_norm_is_not_tried_with_one_example() -> None:
    assert find_micro(6, lambda n: n <= 2, least=2) == 2
    with pytest.raises(ConfigError, match=r"^batch\.micro: found 'auto', but not even 2 of 6 examples fit"):
        find_micro(6, lambda n: n <= 1, least=2)


def test_what_fits_not_even_once_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^batch\.micro: found 'auto', but not even 1 of 4 examples fit into the memory"
    ):
        find_micro(4, lambda _: False)


@pytest.mark.parametrize(
    ("assignments", "expected", "tried"),
    [
        (("batch.size=12", "ema=0.9"), 4, [12, 6, 4]),
        (("batch.size=4",), 4, [4]),
        # a breast has two images
        (("batch.size=8", "level=breast", "views.combine=max"), 2, [16, 8, 4]),
        (("batch.size=8", "level=breast", "views.most=1"), 4, [8, 4]),
    ],
)
def test_steps_are_tried_until_one_fits(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf,
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    small_memory: list[int],
    assignments: tuple[str, ...],
    expected: int,
    tried: list[int],
) -> None:
    recipe = recipe_of(*assignments, "batch.micro=auto", "augment.zoom=0.2", "loss.prevalence=0.1")
    rows, _ = select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe)
    sampler = EpochSampler(rows, recipe, fold=0)
    task = training._set_task(build_network(recipe), sampler)
    fits = try_micro(task, StorePictures(rows, tiny_store), list(sampler), dtype=None)
    assert find_micro(recipe.batch.size, fits) == expected
    assert small_memory == tried
    assert all(parameter.grad is None for parameter in task.parameters())


def test_the_examples_with_the_most_pictures_are_tried(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, small_memory: list[int]
) -> None:
    recipe = recipe_of("level=breast")
    rows, _ = select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe)
    sampler = EpochSampler(rows, recipe, fold=0)
    task = training._set_task(build_network(recipe), sampler)
    fits = try_micro(
        task, StorePictures(rows, tiny_store), [Draw((0,)), Draw((1, 2, 3)), Draw((4, 5))], dtype=torch.bfloat16
    )
    assert fits(1)
    assert fits(2)
    assert not fits(3)
    assert small_memory == [3, 5, 6]


def test_on_a_cpu_all_of_a_share_is_in_memory(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, small_memory: list[int]
) -> None:
    recipe, two = recipe_of("batch.size=16", "batch.micro=auto"), Processes(CPU, n=2)
    assert choose_micro(tiny_manifest, tiny_store, fold=0, recipe=recipe, processes=two) == 8
    assert small_memory == []


def test_what_was_found_is_recorded_and_gone_on_with(  # noqa: PLR0913, PLR0917  # fixtures
    run_cli: CliRun,
    tiny_recipe_path: Path,
    tiny_cohort: Path,
    tiny_store_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = ("--cohort", tiny_cohort, "--store", tiny_store_path, "-o", tmp_path / "run")
    seen: list[object] = []
    train_fold = training.train_fold

    def watch(run: Any, *others: Any, **options: Any) -> pl.DataFrame:  # noqa: ANN401  # the function's own
        seen.append(run.recipe.batch.micro)
        return train_fold(run, *others, **options)

    monkeypatch.setattr(training, "train_fold", watch)
    monkeypatch.setattr(training, "choose_micro", lambda *_, **__: 2)
    assert recorded_micro(tmp_path / "run", CPU) is None
    assert run_cli("train", tiny_recipe_path, *data, "--set", "batch.micro=auto", "--fold", 0)[0] == 0
    environment = read_environment(tmp_path / "run" / "environment.json")
    assert environment is not None
    assert environment["batch_micro"] == recorded_micro(tmp_path / "run", CPU) == 2
    assert 'micro = "auto"' in (tmp_path / "run" / "recipe.toml").read_text()
    monkeypatch.setattr(training, "choose_micro", lambda *_, **__: 4)
    assert run_cli("train", tiny_recipe_path, *data, "--set", "batch.micro=auto", "--fold", 1)[0] == 0
    assert seen == [2, 2]
    assert recorded_micro(tmp_path / "run", torch.device("cuda")) is None
