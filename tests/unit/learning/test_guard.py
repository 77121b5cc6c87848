"""What a training does with losses, gradients and weights that are no finite numbers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from mammoscope.errors import ConfigError
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import losses as losses_module
from mammoscope.learning import task, training
from mammoscope.learning.keep import AveragedWeights
from mammoscope.learning.losses import LossTerms
from mammoscope.learning.network import CancerNetwork, NetworkOutput, build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_layer import TableTensors
from mammoscope.learning.task import TrainingTask, build_optimizer
from mammoscope.learning.training import train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
Train = Callable[..., Run]
ComputeInHalf = Callable[[float], None]
Plant = Callable[[str, set[int]], list[float]]
NAN, INF = math.nan, math.inf

PLAIN = ("optimizer.name=sgd", "optimizer.rate=0.05", "optimizer.weight_decay=0.1", "schedule.name=constant")


@pytest.fixture
def train(tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun) -> Train:
    """Train fold 0 of the tiny cohort: 2 epochs of 4 batches of 4; the run."""

    def train_recipe(recipe: Recipe, run: Run | None = None) -> Run:
        run = run or start_tiny_run(recipe)
        train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=lambda _: None)
        return run

    return train_recipe


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Plant what is not finite in batches of given numbers; the losses of all batches, as they come."""

    def patch(kind: str, batches: set[int]) -> list[float]:
        losses: list[float] = []
        original_loss, original_forward = losses_module.cancer_loss, CancerNetwork.forward

        def forward(self: CancerNetwork, pictures: torch.Tensor, table: TableTensors | None = None) -> NetworkOutput:
            if self.training and kind == "activation" and len(losses) in batches:
                pictures = pictures.clone()
                pictures[0, 0, 5, 5] = NAN
            return original_forward(self, pictures, table)

        def loss_of(logits: torch.Tensor, targets: torch.Tensor, terms: LossTerms) -> torch.Tensor:
            loss = original_loss(logits, targets, terms)
            if kind == "gradient" and len(losses) in batches:
                logits.register_hook(_overflow)  # type: ignore[no-untyped-call]  # torch's own
            if kind == "loss" and len(losses) in batches:
                loss = loss + INF  # with finite gradients
            losses.append(loss.item())
            return loss

        monkeypatch.setattr(task, "cancer_loss", loss_of)
        monkeypatch.setattr(CancerNetwork, "forward", forward)
        return losses

    return patch


def _overflow(gradient: torch.Tensor) -> torch.Tensor:
    return gradient * INF


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.weights_path(0))


def _history(run: Run) -> pl.DataFrame:
    return pl.read_csv(run.fold_path(0) / "history.csv")


def _train_by_hand(
    recipe: Recipe, rows: pl.DataFrame, store: PreparedStore, skipped: set[int]
) -> dict[str, torch.Tensor]:
    """SGD with momentum and decay, with torch alone; a step that is skipped is as if its batch were not there."""
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        network = build_network(recipe).train()
    pictures = torch.stack([torch.from_numpy(store.read(image).copy()) for image in rows["image_id"]])
    targets = torch.tensor(rows["cancer"].to_list()).float()
    decayed = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.optimizer.weight_decay},
        {"params": others},
    ]
    optimizer = torch.optim.SGD(groups, lr=recipe.optimizer.rate, momentum=0.9)
    for epoch in range(recipe.epochs):
        for number, positions in enumerate(np.random.default_rng((0, 0, epoch)).permutation(16).reshape(4, 4)):
            if 4 * epoch + number in skipped:
                continue
            optimizer.zero_grad()
            logits = network((pictures[positions].float() / 255).unsqueeze(1)).cancer
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[positions])
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.optimizer.clip_norm)
            optimizer.step()
    return network.state_dict()


# a step is skipped


@pytest.mark.parametrize(
    ("kind", "batches"), [("loss", {0, 1, 2}), ("gradient", {2, 3, 4, 5}), ("activation", {1}), ("activation", {7})]
)
def test_a_training_with_skipped_steps_is_the_plain_loop_without_their_batches(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf,
    train: Train,
    plant: Plant,
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    kind: str,
    batches: set[int],
) -> None:
    """Weights, running statistics (of which an activation without a number would be the end) and momentum.

    Not of every set of batches: without the first alone, a ReLU meets its kink, and the last digit decides.
    """
    recipe = recipe_of(*PLAIN)
    rows = tiny_manifest.filter(pl.col("fold") == 1, pl.col("cancer").is_not_null())
    by_hand = _train_by_hand(recipe, rows, tiny_store, batches)
    without_skips = _train_by_hand(recipe, rows, tiny_store, set())
    losses = plant(kind, batches)
    run = train(recipe)
    trained, history = _weights(run), _history(run)
    assert len(losses) == 8
    for key, value in by_hand.items():
        torch.testing.assert_close(trained[key], value, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(trained["head.1.weight"], without_skips["head.1.weight"], rtol=1e-3, atol=1e-5)
    epochs = [range(4), range(4, 8)]
    assert history["skipped_steps"].to_list() == [len(batches.intersection(epoch)) for epoch in epochs]
    taken = [[losses[batch] for batch in epoch if batch not in batches] for epoch in epochs]
    assert history["train_loss"].to_list() == pytest.approx([np.mean(each) for each in taken], rel=1e-5)


def test_one_batch_without_a_number_skips_the_whole_step_that_it_is_part_of(
    recipe_of: RecipeOf, train: Train, plant: Plant
) -> None:
    losses = plant("activation", {0})  # of which the statistics go into the second batch of the step
    run = train(recipe_of("batch.micro=2"))
    assert _history(run)["skipped_steps"].to_list() == [1, 0]
    assert _history(run)["train_loss"][0] == pytest.approx(np.mean(losses[2:8]), rel=1e-5)
    assert all(value.isfinite().all() for value in _weights(run).values())


def test_an_epoch_of_which_no_step_is_taken_has_no_loss(recipe_of: RecipeOf, train: Train, plant: Plant) -> None:
    plant("gradient", {0, 1, 2, 3})
    history = _history(train(recipe_of("optimizer.rate=0.01")))
    assert history["train_loss"].is_null().to_list() == [True, False]
    assert history["skipped_steps"].to_list() == [4, 0]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_optimizer_passes_over_what_has_no_gradient(recipe_of: RecipeOf, name: str) -> None:
    """On which skipping rests: neither weights, nor decay, nor the state and its count of steps."""
    recipe = recipe_of(f"optimizer.name={name}", "optimizer.rate=0.1", "optimizer.weight_decay=0.5")
    network = build_network(recipe)
    optimizer = build_optimizer(network, recipe)
    for _ in range(2):
        torch.autograd.backward(network(torch.rand(4, 1, 64, 32)).cancer.sum())
        optimizer.step()
    before = [value.clone() for value in _tensors_of(network, optimizer)]
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    after = _tensors_of(network, optimizer)
    assert len(before) > 100
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))


def _tensors_of(network: CancerNetwork, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    states = [value for state in optimizer.state.values() for value in state.values()]
    return [*network.state_dict().values(), *states]


# too many are skipped


@pytest.mark.parametrize(("kind", "most"), [("loss", 1), ("gradient", 3), ("activation", 3)])
def test_too_many_skipped_steps_in_a_row_end_the_training(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf, train: Train, plant: Plant, start_tiny_run: StartRun, kind: str, most: int
) -> None:
    losses = plant(kind, set(range(2, 8)))
    run = start_tiny_run(recipe_of(f"optimizer.most_skipped={most}"))
    sentence = (
        rf"optimizer\.rate: found 0\.001, with which the losses or gradients of {most} steps in a row of fold 0 ran"
    )
    with pytest.raises(ConfigError, match=sentence):
        train(run.recipe, run)
    assert len(losses) == 2 + most
    assert run.trained_folds == ()


def test_skipped_steps_that_do_not_follow_each_other_end_nothing(
    recipe_of: RecipeOf, train: Train, plant: Plant
) -> None:
    plant("gradient", {0, 2, 4, 6})
    assert _history(train(recipe_of("optimizer.most_skipped=2")))["skipped_steps"].to_list() == [2, 2]


def test_a_training_of_which_no_step_is_taken_is_none(
    recipe_of: RecipeOf, train: Train, plant: Plant, start_tiny_run: StartRun
) -> None:
    """Eight steps, fewer than the ten that end a training."""
    plant("gradient", set(range(8)))
    run = start_tiny_run(recipe_of())
    with pytest.raises(ConfigError, match=r"with which the gradients of every step of fold 0 ran out of the finite"):
        train(run.recipe, run)
    assert run.trained_folds == ()


class _InterruptionError(Exception):
    """Stands for whatever ends a training."""


@pytest.fixture
def break_off(tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> Callable[[Run, int], None]:
    """Train up to a batch, with a point to go on from after every step before it."""

    def train_and_break_off(run: Run, n_batches: int) -> None:
        done: list[int] = []

        def count(n: int) -> None:
            done.append(n)
            if len(done) == n_batches:
                raise _InterruptionError

        with pytest.raises(_InterruptionError):
            train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=count, save_every_s=0.0)

    return train_and_break_off


def test_skipped_steps_in_a_row_are_counted_over_an_interruption(
    recipe_of: RecipeOf, train: Train, plant: Plant, start_tiny_run: StartRun, break_off: Callable[[Run, int], None]
) -> None:
    """The last two steps of the first epoch are skipped, then, after the interruption, the first of the second."""
    run = start_tiny_run(recipe_of("optimizer.most_skipped=3"))
    plant("gradient", {2, 3})
    break_off(run, 5)
    plant("gradient", {0})
    with pytest.raises(ConfigError, match="the losses or gradients of 3 steps in a row"):
        train(run.recipe, run)


def test_skipped_steps_of_an_epoch_are_counted_over_an_interruption(  # noqa: PLR0913, PLR0917  # fixtures
    recipe_of: RecipeOf,
    train: Train,
    plant: Plant,
    start_tiny_run: StartRun,
    break_off: Callable[[Run, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first two steps are skipped, and the third is broken off."""
    recipe = recipe_of("optimizer.name=adamw")
    run = start_tiny_run(recipe)
    with monkeypatch.context() as patch:
        patch.setattr(task, "cancer_loss", task.cancer_loss)  # type: ignore[attr-defined]  # put back what is planted
        plant("gradient", {0, 1})
        break_off(run, 3)
    plant("gradient", set())
    assert _history(train(recipe, run))["skipped_steps"].to_list() == [2, 0]


@pytest.mark.parametrize(
    ("assignments", "ways"),
    [
        (("optimizer.clip_norm=1.0", "precision=f32"), "lower it"),
        (("optimizer.clip_norm=0.0", "precision=f32"), "lower it, or set optimizer.clip_norm to 1"),
        (("precision=bf16",), "lower it, or set precision to f32"),
    ],
)
def test_the_sentence_names_what_can_still_be_changed(
    recipe_of: RecipeOf, assignments: tuple[str, ...], ways: str
) -> None:
    recipe = recipe_of(*assignments)
    terms = LossTerms(settings=recipe.loss, positive_weight=1.0, shift=0.0)
    task_of_fold = TrainingTask(build_network(recipe), recipe, fold=2, n_steps=1, loss_terms=terms)
    assert task_of_fold.describe_divergence("the weights") == (
        "optimizer.rate: found 0.001, with which the weights of fold 2 ran out of the finite numbers in epoch 0; "
        f"expected a rate that a training survives, such as `mammoscope find-lr` proposes; {ways}"
    )


# the weights themselves


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_weights_that_are_no_numbers_end_the_training_and_are_not_averaged(
    recipe_of: RecipeOf, train: Train, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    """Finite gradients, and a rate at which the weights overflow in the second step."""
    averages: list[AveragedWeights] = []

    class Kept(AveragedWeights):
        def __init__(self, decay: float, device: torch.device) -> None:
            super().__init__(decay, device)
            averages.append(self)

    monkeypatch.setattr(training, "AveragedWeights", Kept)
    recipe = recipe_of(f"ema={ema}", "optimizer.rate=1e38", "optimizer.clip_norm=0", "optimizer.weight_decay=0")
    with pytest.raises(ConfigError, match=r"optimizer\.rate: found 1e\+38, with which the weights of fold 0 ran out"):
        train(recipe)
    assert len(averages) == bool(ema)
    for averaging in averages:
        assert averaging._average_model is not None
        assert all(value.isfinite().all() for value in averaging._average_model.parameters())
        assert averaging._latest_update_step == 0


# half precision and its scale


def test_gradients_are_clipped_after_they_are_unscaled(
    recipe_of: RecipeOf, train: Train, compute_in_half: ComputeInHalf
) -> None:
    """One step of SGD at a rate of 1 changes the weights by the norm that is clipped to, whatever the scale."""
    compute_in_half(1024.0)
    plain = ("optimizer.name=sgd", "optimizer.rate=1.0", "optimizer.weight_decay=0.0", "schedule.name=constant")
    recipe = recipe_of(*plain, "optimizer.clip_norm=0.01", "batch.size=16", "epochs=1", "precision=f16")
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        start = dict(build_network(recipe).named_parameters())
    run = train(recipe)
    trained = _weights(run)
    change = torch.cat([(trained[key] - value).flatten() for key, value in start.items()])
    assert _history(run)["skipped_steps"].to_list() == [0]
    assert change.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_scale_that_is_too_high_at_first_is_no_divergence(
    recipe_of: RecipeOf, train: Train, compute_in_half: ComputeInHalf
) -> None:
    compute_in_half(2.0**24)
    run = train(recipe_of("epochs=6", "optimizer.most_skipped=1", "precision=f16"))
    skipped = _history(run)["skipped_steps"].to_list()
    assert skipped[0] == 4
    assert skipped[-1] == 0
    assert all(value.isfinite().all() for value in _weights(run).values())


@pytest.mark.parametrize(("kind", "scale"), [("gradient", 1.0), ("loss", 1024.0), ("activation", 1024.0)])
def test_what_no_lower_scale_can_mend_is_a_divergence(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf, train: Train, plant: Plant, compute_in_half: ComputeInHalf, kind: str, scale: float
) -> None:
    compute_in_half(scale)
    losses = plant(kind, set(range(2, 8)))
    with pytest.raises(ConfigError, match="the losses or gradients of 2 steps in a row of fold 0"):
        train(recipe_of("optimizer.most_skipped=2", "precision=f16"))
    assert len(losses) == 4


def test_a_scale_that_is_never_found_is_no_training(
    recipe_of: RecipeOf, train: Train, compute_in_half: ComputeInHalf
) -> None:
    compute_in_half(2.0**60)
    with pytest.raises(ConfigError, match=r"the gradients of every step .*; lower it, or set precision to f32"):
        train(recipe_of("optimizer.most_skipped=1", "precision=f16"))


def test_f16_without_a_gpu_is_refused(
    recipe_of: RecipeOf, train: Train, start_tiny_run: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = start_tiny_run(recipe_of("precision=f16"))
    with pytest.raises(ConfigError, match=r"precision: found f16, which is for GPUs, and torch can use none here; exp"):
        train(run.recipe, run)
    assert not (run.path / "folds").exists()
