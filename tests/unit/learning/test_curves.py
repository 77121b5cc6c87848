import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]


class _InterruptionError(Exception):
    """Stands for whatever ends a training."""


def _read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The steps and values of each curve, as TensorBoard reads them."""
    events = EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("breaks_off_at", [None, 5, 8, 13])
def test_curves_have_every_step_and_epoch_once(
    recipe_of: RecipeOf,
    start_tiny_run: StartRun,
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    breaks_off_at: int | None,
) -> None:
    """8 batches and 4 steps an epoch; broken off within a step, at the end of an epoch, and within the next."""
    recipe = recipe_of("epochs=2", "batch.micro=2", "schedule.name=constant", "schedule.warm_up=0.0")
    run, n_done = start_tiny_run(recipe), [0]

    def break_off(n: int) -> None:
        n_done[0] += n
        if n_done[0] == breaks_off_at:
            raise _InterruptionError

    every = {5: 0.0}.get(breaks_off_at or 0, 1000.0)
    if breaks_off_at is not None:
        with pytest.raises(_InterruptionError):
            train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=break_off, save_every_s=every)
        time.sleep(1.1)  # TensorBoard puts its files in order by the second in which they were begun
    train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=lambda _: None)
    curves = _read(run.fold_path(0) / "curves")
    history = pl.read_csv(run.fold_path(0) / "history.csv")
    assert [step for step, _ in curves["step/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    losses = [value for _, value in curves["step/loss"]]
    assert [sum(losses[:4]) / 4, sum(losses[4:]) / 4] == pytest.approx(history["train_loss"].to_list(), abs=1e-5)
    assert [step for step, _ in curves["step/rate"]] == list(range(1, 9))
    assert [rate for _, rate in curves["step/rate"]] == pytest.approx([1e-3] * 8)
    for name in ("train_loss", "held_out_breast_auc", "held_out_breast_ap", "rate", "seconds"):
        assert [step for step, _ in curves[f"epoch/{name}"]] == [4, 8]
        assert [value for _, value in curves[f"epoch/{name}"]] == pytest.approx(history[name].to_list(), abs=1e-5)


def test_what_was_not_measured_has_no_curve(
    recipe_of: RecipeOf, start_tiny_run: StartRun, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    controls = tiny_manifest.with_columns(
        cancer=pl.when(pl.col("cancer").is_not_null()).then(pl.col("cancer") & (pl.col("fold") != 0))
    )
    run = start_tiny_run(recipe_of("epochs=1"))
    train_fold(run, controls, tiny_store, fold=0, on_step=lambda _: None)
    curves = _read(run.fold_path(0) / "curves")
    assert set(curves) == {"step/loss", "step/rate", "epoch/train_loss", "epoch/rate", "epoch/seconds"}
