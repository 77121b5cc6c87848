from collections.abc import Callable

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from mammoscope.errors import TableError
from mammoscope.evaluation.discrimination import auc
from mammoscope.evaluation.scores import list_breasts, read_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import history
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import select_rows, train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
Train = Callable[..., Run]


class _InterruptionError(Exception):
    """Stands for whatever ends a training."""


@pytest.fixture
def train(start_tiny_run: StartRun, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> Train:
    def train_recipe(recipe: Recipe, run: Run | None = None, *, breaks_off_at: int | None = None) -> Run:
        run, n_done = run or start_tiny_run(recipe), [0]

        def advance(n: int) -> None:
            n_done[0] += n
            if n_done[0] == breaks_off_at:
                raise _InterruptionError

        train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=advance, save_every_s=0.0)
        return run

    return train_recipe


def _plant(monkeypatch: pytest.MonkeyPatch, aucs: list[float], aps: list[float]) -> None:
    """Let the epochs have these figures, by their number."""
    figures = {"auc": aucs, "average_precision": aps}
    taken = {"auc": 0, "average_precision": 0}

    def measure(metric: Callable[..., float], breasts: pl.DataFrame) -> float:  # noqa: ARG001  # the function's own
        name = metric.__name__
        taken[name] += 1
        return figures[name][taken[name] - 1]

    monkeypatch.setattr(history, "_measure", measure)


def _differ(first: Run, second: Run) -> bool:
    one, other = (load_file(run.weights_path(0)) for run in (first, second))
    return any(not torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("ema", ["ema=0.0", "ema=0.7"])
@pytest.mark.parametrize(
    ("aucs", "aps", "best"),
    [
        ([0.5, 0.9, 0.8], [0.9, 0.1, 0.8], 1),
        ([0.8, 0.9, 0.9], [0.1, 0.1, 0.2], 2),
        ([0.9, 0.9, 0.9], [0.2, 0.2, 0.1], 0),
    ],
)
def test_the_weights_of_the_best_epoch_are_kept(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    ema: str,
    aucs: list[float],
    aps: list[float],
    best: int,
) -> None:
    """As a training that ends with that epoch, under a schedule that does not look at the end."""
    keys = (ema, "schedule.name=constant", "schedule.warm_up=0.0", "head.dropout=0.2")
    short = train(recipe_of(*keys, f"epochs={best + 1}"))
    _plant(monkeypatch, aucs, aps)
    kept = train(recipe_of(*keys, "epochs=3", "keep=best"))
    assert not _differ(short, kept)
    scores = [read_scores(run.fold_path(0) / "scores.parquet")["score"] for run in (short, kept)]
    assert scores[0].equals(scores[1])
    assert not list(kept.fold_path(0).rglob("best-*"))


@pytest.mark.parametrize("breaks_off_at", [7, 10])
def test_the_best_weights_survive_interruptions(
    recipe_of: RecipeOf, train: Train, monkeypatch: pytest.MonkeyPatch, breaks_off_at: int
) -> None:
    """4 steps an epoch; the first is the best."""
    keys = ("schedule.name=constant", "schedule.warm_up=0.0", "ema=0.7")
    short = train(recipe_of(*keys, "epochs=1"))
    _plant(monkeypatch, [0.9, 0.5, 0.5], [0.5] * 3)
    recipe = recipe_of(*keys, "epochs=3", "keep=best")
    run = train(recipe_of("epochs=1"))
    run = Run(run.path.with_name("broken"), recipe, run.prepare, run.environment)
    _plant(monkeypatch, [0.9, 0.5, 0.5], [0.5] * 3)
    with pytest.raises(_InterruptionError):
        train(recipe, run, breaks_off_at=breaks_off_at)
    train(recipe, run)
    assert not _differ(short, run)


def test_the_figures_of_the_run_are_those_of_the_kept_epoch(recipe_of: RecipeOf, train: Train) -> None:
    run = train(recipe_of("epochs=4", "keep=best", "optimizer.rate=0.02"))
    told = pl.read_csv(run.fold_path(0) / "history.csv")
    breasts = list_breasts(read_scores(run.fold_path(0) / "scores.parquet"))
    figure = auc(breasts["score"].to_numpy(), breasts["cancer"].to_numpy())
    assert figure == pytest.approx(told["held_out_breast_auc"].max(), abs=1e-6)


def test_a_fold_by_which_no_epoch_can_be_chosen_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    controls = tiny_manifest.with_columns(
        cancer=pl.when(pl.col("cancer").is_not_null()).then(pl.col("cancer") & (pl.col("fold") != 0))
    )
    with pytest.raises(TableError, match=r"keep: found 'best', but fold 0 holds out no cases, or no controls"):
        select_rows(controls, tiny_store, fold=0, recipe=recipe_of("keep=best"))
