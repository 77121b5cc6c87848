"""One fold: its rows, its training, its weights, its out-of-fold scores."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import lightning.pytorch as lightning
import numpy as np
import polars as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from mammoscope.cohort.balance import count_epoch, sample_rows, tabulate_match
from mammoscope.errors import ConfigError, StoreError, TableError
from mammoscope.evaluation.scores import read_scores, write_scores
from mammoscope.files import replacing
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.auxiliary import label_rows
from mammoscope.learning.batches import (
    Batch,
    EpochSampler,
    EpochShare,
    Pictures,
    StorePictures,
    held_out_batches,
    training_batches,
)
from mammoscope.learning.curves import Curves
from mammoscope.learning.examples import list_examples
from mammoscope.learning.guard import Guard
from mammoscope.learning.history import History, gather_logits
from mammoscope.learning.keep import AveragedWeights, BestWeights
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.losses import ExampleCounts, LossTerms, set_loss_terms
from mammoscope.learning.micro import find_micro, try_micro
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.processes import Processes, agree_on_weights, backend_of, share_statistics
from mammoscope.learning.resume import SAVE_EVERY_S, ResumePoint, WholeFiles
from mammoscope.learning.run import Run, forget_resume_point, record_weights_hash
from mammoscope.learning.schedule import check_warm_up
from mammoscope.learning.scoring import autocast_type, check_precision, choose_device, score_batches, tabulate_scores
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder, fit_table_encoder, write_table_encoder
from mammoscope.learning.task import TrainingTask
from mammoscope.learning.weights import load_backbone

_HELD_OUT_BATCH = 32
_LIGHTNINGS_WORD: dict[torch.dtype | None, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    None: "32-true",
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",  # with a gradient scaler
}
_LEAST_SCORED = 0.9  # of the controls: `predict` and interrupted runs leave some out, another cohort nearly all


def select_rows(
    manifest: pl.DataFrame, store: PreparedStore, *, fold: int, recipe: Recipe
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that may be trained on, before sampling, and the held-out rows: those of the fold.

    Only rows with an outcome whose picture is in the store.

    Raises:
        TableError: the manifest is not split or has no such fold, nothing is held out, or there are not both cases and
            controls to train on, or to choose an epoch by.
        StoreError: the store holds no picture of the manifest.
        ConfigError: a batch is bigger than the data, the warm-up as long as the training, or as `set_loss_terms`
            and `label_rows`.
    """
    _check_fold(manifest, fold)
    stored = manifest.filter(pl.col("image_id").is_in(store.image_ids))
    if stored.is_empty():
        raise StoreError(
            f"{store.path}: holds none of the manifest's {manifest.height} images; "
            "give the store that was prepared from this cohort"
        )
    usable = stored.filter(pl.col("cancer").is_not_null())
    held_out = usable.filter(pl.col("fold") == fold)
    # a patient without a fold is never held out, so trained on always
    training = usable.filter(pl.col("fold").ne_missing(fold))
    sampled = sample_rows(training, recipe.sampling)
    if held_out.is_empty():
        raise TableError(f"fold {fold}: no held-out image has an outcome and a picture; prepare the cohort's images")
    if sampled["cancer"].n_unique() != 2:  # noqa: PLR2004  # cases and controls
        raise TableError(
            f"fold {fold}: found {sampled.height} images to train on without both cases and controls, expected both; "
            "split with other folds, or prepare more pictures"
        )
    if recipe.keep == "best" and held_out["cancer"].n_unique() != 2:  # noqa: PLR2004  # cases and controls
        raise TableError(
            f"keep: found 'best', but fold {fold} holds out no cases, or no controls, by which to tell an epoch from "
            'another; split with other folds, or set keep = "last"'
        )
    if recipe.balance.scores is not None:
        training = add_scores(training, Path(recipe.balance.scores))
    sampler = EpochSampler(training, recipe, fold=fold)
    if not len(sampler):
        n_examples = list_examples(training, recipe.level).height
        raise ConfigError(
            f"batch.size: found {recipe.batch.size}, but fold {fold} has only {n_examples} {recipe.level}s to train "
            f"on, which fill no batch with sampling = {recipe.sampling!r}; set a smaller one"
        )
    check_warm_up(recipe, fold=fold, n_steps=recipe.epochs * count_steps(len(sampler), recipe))
    loss_terms_of(sampler)  # what cannot be had ends here, not after the folds before
    label_rows(training, recipe.auxiliary)
    return training, held_out


def loss_terms_of(sampler: EpochSampler) -> LossTerms:
    """The loss of a training, from the examples that its epochs draw and those that they draw from.

    Raises:
        ConfigError: as `set_loss_terms`.
    """
    drawn, trainable = (
        ExampleCounts(counts.case_images, counts.control_images)
        for counts in (sampler.counts, count_epoch(list_examples(sampler.rows, sampler.recipe.level)))
    )
    return set_loss_terms(sampler.recipe.loss, drawn=drawn, trainable=trainable)


def fit_table(training: pl.DataFrame, recipe: Recipe) -> TableEncoder | None:
    """The encoder of the recipe's columns, from all rows that may be trained on; None for a recipe without columns.

    Raises:
        ConfigError, TableError: as `fit_table_encoder`.
    """
    return fit_table_encoder(training, recipe.table) if recipe.table.columns else None


def add_scores(training: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The rows with the column `score` of an earlier run's scores of images; null where it has none.

    Raises:
        TableError: the scores cannot be read, lack more than a tenth of the controls that are trained on, or are of a
            run on other folds: one that may have trained on whoever is held out for good here.
    """
    scores = read_scores(path).filter(pl.col("level") == "image").select("image_id", "score", score_fold="fold")
    scored = training.join(scores, on="image_id", how="left", maintain_order="left")
    controls = scored.filter(~pl.col("cancer"))
    n_scored = controls["score"].count()
    if n_scored < _LEAST_SCORED * controls.height:
        raise TableError(
            f"balance.scores: {path} has a score of {n_scored} of {controls.height} controls that are trained on, "
            f"expected {_LEAST_SCORED:.0%} or more; give scores.parquet of a run on the same cohort, with all its folds"
        )
    n_moved = scored.filter(pl.col("score_fold").is_not_null(), pl.col("score_fold").ne_missing(pl.col("fold"))).height
    if n_moved:
        raise TableError(
            f"balance.scores: {path} has {n_moved} of {scored.height} images in another fold than the manifest; "
            "give scores.parquet of a run on the same folds, or split as for that run"
        )
    return scored.drop("score_fold")


def list_folds(manifest: pl.DataFrame) -> list[int]:
    """The folds of a manifest; patients without one are never held out.

    Raises:
        TableError: it is not split.
    """
    folds = sorted(manifest["fold"].drop_nulls().unique().to_list())
    if not folds:
        raise TableError("manifest: fold is empty; split the cohort first with `mammoscope split`")
    return folds


def _check_fold(manifest: pl.DataFrame, fold: int) -> None:
    known = list_folds(manifest)
    if fold not in known:
        raise TableError(f"fold {fold}: the manifest has none of that number, only {', '.join(map(str, known))}")


def check_store(store: PreparedStore, recipe: Recipe) -> None:
    """Refuse a store that is not what the recipe asks for.

    Raises:
        StoreError: rows, columns or bits differ.
    """
    for name in ("rows", "columns", "bits"):
        wanted, found = getattr(recipe.store, name), getattr(store.settings, name)
        if wanted is not None and wanted != found:
            raise StoreError(
                f"{store.path}: the store has {name} = {found}, the recipe asks for store.{name} = {wanted}; "
                "prepare a store for this recipe, or give another recipe"
            )


def count_steps(n_rows: int, recipe: Recipe) -> int:
    """The steps of the optimizer in one epoch."""
    return n_rows // recipe.batch.size


def count_batches(n_rows: int, recipe: Recipe, *, n_processes: int = 1) -> int:
    """The batches in memory of a whole training, in each process: `batch.micro` examples each."""
    return recipe.epochs * count_steps(n_rows, recipe) * _count_accumulated(recipe, n_processes)


def _count_accumulated(recipe: Recipe, n_processes: int) -> int:
    return recipe.batch.size // n_processes // recipe.batch.count_in_memory(n_processes)


def train_fold(  # noqa: PLR0913  # the parts of one training, all but the first by name
    run: Run,
    manifest: pl.DataFrame,
    store: PreparedStore,
    *,
    fold: int,
    on_step: Callable[[int], None],
    save_every_s: float = SAVE_EVERY_S,
    processes: Processes | None = None,
) -> pl.DataFrame:
    """Train one fold, or go on with it; write its history, out-of-fold scores, table and weights; return the scores.

    Between epochs too, what it takes to go on is written every `save_every_s` seconds, or after every step where 0.
    Several processes train together; each calls this, and the first one writes.

    Raises:
        TableError, StoreError, ConfigError, WeightsError: as `select_rows`, `build_network` and `load_backbone`, or the
            training ran out of the finite numbers.
    """
    processes, recipe = processes or Processes(choose_device()), run.recipe
    check_precision(recipe, processes.device)
    training, held_out = select_rows(manifest, store, fold=fold, recipe=recipe)
    encoder = fit_table(training, recipe)
    with _chance_of_its_own(recipe.seed + fold, processes.device):
        network = build_network(recipe, encoder)
        load_backbone(network, recipe.backbone)
        network = share_statistics(network, processes)
        sampler = EpochSampler(training, recipe, fold=fold)
        share = EpochShare(sampler, rank=processes.rank, n_processes=processes.n)
        labels = label_rows(training, recipe.auxiliary)
        batches = training_batches(StorePictures(training, store, encoder, labels=labels), share)
        held_out_loader = held_out_batches(
            StorePictures(held_out, store, encoder), size=_HELD_OUT_BATCH, rank=processes.rank, n_processes=processes.n
        )
        history = History(run.fold_path(fold) / "history.csv", held_out, sampler, on_step, processes=processes)
        word = _LIGHTNINGS_WORD[autocast_type(recipe.precision, processes.device)]
        point = run.fold_path(fold) / "resume" / "state.ckpt"
        resume = ResumePoint(point, share, precision=word, every_s=save_every_s)
        _fit(_set_task(network, sampler), batches, held_out_loader, history=history, resume=resume)
        logits = _score(network, held_out_loader, recipe, processes)
    scores = tabulate_scores(held_out, gather_logits(logits, processes, n=held_out.height), recipe.views.combine)
    if processes.is_first:
        _write_fold(run, fold, network, scores=scores, encoder=encoder, training=training)
    return scores


@contextmanager
def _chance_of_its_own(seed: int, device: torch.device) -> Iterator[None]:
    """Begin torch's chance at a seed; the caller's stays as it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _score(network: CancerNetwork, held_out: DataLoader[Batch], recipe: Recipe, processes: Processes) -> PictureLogits:
    """What the trained network says of this process's share of the held-out pictures."""
    agree_on_weights(network, processes)
    pictures = (Pictures(batch.pictures, batch.table) for batch in held_out)
    return score_batches(network.to(processes.device), pictures, recipe=recipe, device=processes.device)


def choose_micro(
    manifest: pl.DataFrame, store: PreparedStore, *, fold: int, recipe: Recipe, processes: Processes
) -> int:
    """The examples that a process can have in memory at once: on a CPU its share of a batch, on a GPU what fits.

    Raises:
        ConfigError: as `find_micro`.
    """
    n_shared, device = recipe.batch.size // processes.n, processes.device
    if device.type != "cuda":
        return n_shared
    rows, _ = select_rows(manifest, store, fold=fold, recipe=recipe)
    encoder, sampler = fit_table(rows, recipe), EpochSampler(rows, recipe, fold=fold)
    with torch.random.fork_rng([device]):
        task = _set_task(build_network(recipe, encoder), sampler).to(device)
        pictures = StorePictures(rows, store, encoder, labels=label_rows(rows, recipe.auxiliary))
        dtype = autocast_type(recipe.precision, device)
        least = 2 if recipe.head.batch_norm else 1
        return find_micro(n_shared, try_micro(task, pictures, list(sampler), dtype=dtype), least=least)


def _set_task(network: CancerNetwork, sampler: EpochSampler) -> TrainingTask:
    recipe, n_steps = sampler.recipe, sampler.recipe.epochs * count_steps(len(sampler), sampler.recipe)
    return TrainingTask(network, recipe, fold=sampler.fold, n_steps=n_steps, loss_terms=loss_terms_of(sampler))


def _write_fold(  # noqa: PLR0913  # all that a fold leaves behind
    run: Run,
    fold: int,
    network: CancerNetwork,
    *,
    scores: pl.DataFrame,
    encoder: TableEncoder | None,
    training: pl.DataFrame,
) -> None:
    """Write what a trained fold leaves behind, the weights and their hash last."""
    recipe = run.recipe
    if recipe.sampling == "matched":
        _write_balance(training, recipe, fold=fold, path=run.fold_path(fold) / "balance.csv")
    write_scores(scores, run.fold_path(fold) / "scores.parquet")
    if encoder is not None:
        write_table_encoder(encoder, run.table_path(fold))
    run.weights_hash_path(fold).unlink(missing_ok=True)  # of weights that were removed
    write_weights(network, run.weights_path(fold))
    record_weights_hash(run, fold)
    forget_resume_point(run, fold)


def _write_balance(training: pl.DataFrame, recipe: Recipe, *, fold: int, path: Path) -> None:
    """How even the match of the first epoch is, drawn as `EpochSampler` draws it."""
    table = tabulate_match(training, recipe.balance, rng=np.random.default_rng((recipe.seed, fold, 0)))
    with replacing(path) as beside:
        table.write_csv(beside, float_precision=6)


def write_weights(network: CancerNetwork, path: Path) -> None:
    """Write all weights and buffers of a network as safetensors, whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with replacing(path) as beside:
        save_file(state, beside)


def _fit(
    task: TrainingTask,
    batches: DataLoader[Batch],
    held_out: DataLoader[Batch],
    *,
    history: History,
    resume: ResumePoint,
) -> None:
    """Train; the network of the task has the weights to keep afterwards."""
    recipe, processes = task.recipe, history.processes
    best = BestWeights(resume.path.parent, history, write_weights) if recipe.keep == "best" else None
    others = [*([best] if best else []), Curves(history.path.parent / "curves", history)]
    averaging = [AveragedWeights(recipe.ema, processes.device)] if recipe.ema else []
    callbacks = [Guard(), history, *others, *averaging, resume]
    with quiet_lightning():
        trainer = build_trainer(recipe, callbacks, processes=processes, max_epochs=recipe.epochs)
        trainer.fit(task, batches, held_out, ckpt_path=resume.path if resume.path.exists() else None, weights_only=True)
    if best is not None and processes.is_first:
        best.put_back(task.network)


def build_trainer(
    recipe: Recipe, callbacks: list[Callback], *, processes: Processes, max_epochs: int, max_steps: int = -1
) -> lightning.Trainer:
    """A trainer that computes, accumulates and clips as the recipe says; it writes what the callbacks write."""
    device = processes.device
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1 if processes.n == 1 else processes.n_here,
        num_nodes=processes.n // processes.n_here,
        strategy=_choose_strategy(processes),
        use_distributed_sampler=False,  # `EpochShare` is one
        precision=_LIGHTNINGS_WORD[autocast_type(recipe.precision, device)],
        max_epochs=max_epochs,
        max_steps=max_steps,
        accumulate_grad_batches=_count_accumulated(recipe, processes.n),
        gradient_clip_val=recipe.optimizer.clip_norm or None,
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _choose_strategy(processes: Processes) -> str | DDPStrategy:
    if processes.n == 1:
        return "auto"
    # stages whose turn has not come yet are in the network and get no gradient, nor do layers before timm's classes
    return DDPStrategy(process_group_backend=backend_of(processes), find_unused_parameters=True)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advertisements: what it says of devices, and its advice on loader processes."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")  # slower, not wrong
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        try:
            yield
        finally:
            logger.setLevel(level)
