"""A training that was broken off goes on from its last step, and comes to the same bits."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import torch
from fsspec.implementations.local import LocalFileOpener
from safetensors.torch import load_file

from mammoscope.errors import RunError
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import training
from mammoscope.learning.history import History
from mammoscope.learning.resume import ResumePoint, WholeFiles
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
CliRun = Callable[..., tuple[int, str, str]]
CHANCE = ("epochs=3", "head.dropout=0.3", "augment.rotation_degrees=10", "augment.flip_horizontal=0.5")


class _InterruptionError(Exception):
    """Stands for whatever ends a training."""


class _Progress:
    """Counts the batches of one attempt, and breaks it off at one of them; tells the time in batches."""

    def __init__(self, breaks_off_at: int | None = None) -> None:
        self.breaks_off_at, self.n_done, self.n_skipped, self.seconds = breaks_off_at, 0, 0, 100.0

    def __call__(self, n: int) -> None:
        if n > 1:
            self.n_skipped += n
            return
        self.n_done += 1
        self.seconds += 1
        if self.n_done == self.breaks_off_at:
            raise _InterruptionError

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def attempt(
    tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., _Progress]:
    """Train fold 0, or go on with it, up to a batch, with a point to go on from after every so many batches."""

    def train(run: Run, breaks_off_at: int | None = None, *, save_every_s: float = 0.0) -> _Progress:
        progress = _Progress(breaks_off_at)
        monkeypatch.setattr(training, "History", partial(History, clock=progress.clock))
        monkeypatch.setattr(training, "ResumePoint", partial(ResumePoint, clock=progress.clock))
        options = {"fold": 0, "on_step": progress, "save_every_s": save_every_s}
        if breaks_off_at is None:
            training.train_fold(run, tiny_manifest, tiny_store, **options)  # type: ignore[arg-type]  # one for each
        else:
            with pytest.raises(_InterruptionError):
                training.train_fold(run, tiny_manifest, tiny_store, **options)  # type: ignore[arg-type]  # the same
        return progress

    return train


def _differ(first: Run, second: Run) -> list[str]:
    one, other = (load_file(run.weights_path(0)) for run in (first, second))
    assert one.keys() == other.keys()
    return [key for key, value in one.items() if not torch.equal(value, other[key])]


def _history(run: Run) -> pl.DataFrame:
    return pl.read_csv(run.fold_path(0) / "history.csv")


@pytest.mark.parametrize(
    ("assignments", "breaks", "n_done_before"),
    [
        # 4 batches an epoch, each a step
        ((), (6, 3), (5, 7)),
        (("ema=0.9", "sampling=upsample", "balance.repeat_strength=2.0"), (6, 3), (5, 7)),
        # 8 batches an epoch, two to a step: the half of a step is done anew
        (("batch.micro=2", "ema=0.9"), (13, 4), (12, 14)),
        # a stage more in each epoch, and features computed twice
        (
            ("fine_tuning={train='staged', layer_decay=0.5, drop_path=0.3}", "optimizer.weight_decay=0.5"),
            (6, 5),
            (5, 9),
        ),
        (("fine_tuning={train='staged', gradient_checkpointing=true}", "optimizer.name=sgd"), (6, 3), (5, 7)),
        (("fine_tuning={train='all', freeze_batch_norm=true, drop_path=0.3}", "ema=0.9"), (6, 3), (5, 7)),
        # all of these at once, two parts to a step
        (
            (
                "fine_tuning={train='staged', gradient_checkpointing=true, layer_decay=0.7, drop_path=0.3}",
                *("keep=best", "ema=0.9", "auxiliary={view=0.5}", "head.dropout_samples=3"),
                *("level=breast", "views={combine='attention', most=1}", "table={columns=['view'], dropout=0.4}"),
                *("batch={size=2, micro=1}", "head.pooling=attention"),
            ),
            (11, 4),
            (10, 12),
        ),
        # at the last step of an epoch, and at the first of the next
        (("level=breast", "batch.size=2", "views.combine=attention"), (4, 1), (3, 3)),
    ],
)
def test_a_training_goes_on_in_the_midst_of_an_epoch_to_the_same_bits(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf,
    start_tiny_run: StartRun,
    attempt: Callable[..., _Progress],
    assignments: tuple[str, ...],
    breaks: tuple[int, int],
    n_done_before: tuple[int, int],
) -> None:
    """Broken off twice; with chance in order, dropout and changes, and statistics of batches."""
    recipe = recipe_of(*CHANCE, *assignments)
    undisturbed, run = start_tiny_run(recipe), start_tiny_run(recipe)
    n_all = attempt(undisturbed).n_done
    attempts = [attempt(run, breaks[0]), attempt(run, breaks[1]), attempt(run)]
    assert [each.n_skipped for each in attempts] == [0, *n_done_before]
    assert attempts[-1].n_skipped + attempts[-1].n_done == n_all
    assert _differ(undisturbed, run) == []
    assert _history(undisturbed).equals(_history(run))  # seconds too: a batch is one
    assert _history(run)["seconds"].to_list() == [n_all / 3] * 3


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_training_without_points_between_goes_on_after_its_last_whole_epoch(
    recipe_of: RecipeOf, start_tiny_run: StartRun, attempt: Callable[..., _Progress], ema: float
) -> None:
    recipe = recipe_of(*CHANCE, f"ema={ema}", "batch.micro=2")  # 8 batches an epoch
    undisturbed, run = start_tiny_run(recipe), start_tiny_run(recipe)
    attempt(undisturbed)
    rarely = partial(attempt, run, save_every_s=1000.0)
    attempts = [rarely(13), rarely(13), rarely()]
    assert [each.n_skipped for each in attempts] == [0, 8, 16]
    assert attempts[-1].n_done == 8
    assert _differ(undisturbed, run) == []
    assert _history(undisturbed).equals(_history(run))
    assert not (run.fold_path(0) / "resume").exists()


def test_a_fold_goes_on_with_the_batches_in_memory_that_it_had(
    recipe_of: RecipeOf, start_tiny_run: StartRun, attempt: Callable[..., _Progress]
) -> None:
    run = start_tiny_run(recipe_of("batch.micro=2"))
    attempt(run, 6)
    with pytest.raises(
        RunError, match=r"by 1 processes with 2 examples in memory, in 32-true, found 1 with 4 in 32-true; go"
    ):
        attempt(replace(run, recipe=recipe_of("batch.micro=4")))
    assert attempt(run).n_skipped == 4


def test_a_fold_goes_on_in_the_precision_that_it_had(
    recipe_of: RecipeOf, start_tiny_run: StartRun, attempt: Callable[..., _Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_tiny_run(recipe_of())
    attempt(run, 6)
    with monkeypatch.context() as patch:
        patch.setattr(training, "autocast_type", lambda *_: torch.bfloat16)
        with pytest.raises(RunError, match=r"examples in memory, in 32-true, found 1 with \d+ in bf16-mixed; go on"):
            attempt(run)
    assert attempt(run).n_skipped == 5


@pytest.mark.parametrize(("every", "n_written"), [(0.0, 7), (3.0, 2), (7.0, 1), (8.0, 0)])
def test_a_point_to_go_on_from_is_written_when_it_is_time(  # noqa: PLR0913, PLR0917  # fixtures and cases
    recipe_of: RecipeOf,
    start_tiny_run: StartRun,
    attempt: Callable[..., _Progress],
    monkeypatch: pytest.MonkeyPatch,
    every: float,
    n_written: int,
) -> None:
    """8 steps of one second; the last of an epoch writes none, because its end does, and the last epoch has no end."""
    written = []
    monkeypatch.setattr(WholeFiles, "save_checkpoint", lambda *_, **__: written.append(1))
    attempt(start_tiny_run(recipe_of("epochs=1", "batch.size=2")), save_every_s=every)
    assert len(written) == n_written


def test_between_the_parts_of_a_step_nothing_is_written(
    recipe_of: RecipeOf, start_tiny_run: StartRun, attempt: Callable[..., _Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(WholeFiles, "save_checkpoint", lambda *_, **__: written.append(1))
    attempt(start_tiny_run(recipe_of("epochs=1", "batch.size=8", "batch.micro=2")))
    assert len(written) == 1  # 8 parts, 2 steps, of which one is the last


def test_a_full_disk_leaves_the_point_before_it(
    recipe_of: RecipeOf, start_tiny_run: StartRun, attempt: Callable[..., _Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(*CHANCE)
    undisturbed, run = start_tiny_run(recipe), start_tiny_run(recipe)
    attempt(undisturbed)
    attempt(run, 6)
    state = run.fold_path(0) / "resume" / "state.ckpt"
    before = state.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileOpener, "write", _write_half)
        with pytest.raises(OSError, match="No space left on device") as full:
            attempt(run)
    assert full.value.filename == str(state)
    assert state.read_bytes() == before
    assert [path.name for path in state.parent.iterdir()] == ["state.ckpt"]
    assert attempt(run).n_skipped == 5
    assert _differ(undisturbed, run) == []


def _write_half(file: LocalFileOpener, content: memoryview) -> int:
    file.f.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def arguments(tiny_recipe_path: Path, tiny_cohort: Path, tiny_store_path: Path) -> tuple[str, ...]:
    """A training of one fold that takes some seconds, but for the folder of the run."""
    chance = [part for each in (*CHANCE, "epochs=4", "ema=0.9") for part in ("--set", each)]
    data = ("--cohort", str(tiny_cohort), "--store", str(tiny_store_path), "--fold", "0")
    return ("train", str(tiny_recipe_path), *data, "--save-every", "0", *chance)


def test_a_full_disk_ends_the_command_with_one_sentence(
    run_cli: CliRun, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalFileOpener, "write", _write_half)
    code, out, err = run_cli(*arguments, "-o", tmp_path / "run")
    assert (code, out) == (2, ""), err
    state = tmp_path / "run" / "folds" / "0" / "resume" / "state.ckpt"
    assert f"error: {state}: No space left on device; check the path, the rights and the free space\n" in err


def test_the_same_command_goes_on_after_kill_9(run_cli: CliRun, arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert run_cli(*arguments, "-o", tmp_path / "undisturbed")[0] == 0
    command = [sys.executable, "-m", "mammoscope.cli.main", *arguments, "-o", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # as the other training; sums go by the threads
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  # our own command
    fold = tmp_path / "run" / "folds" / "0"
    try:
        while process.poll() is None and not (fold / "history.csv").exists():
            time.sleep(0.01)
        for _ in range(2):  # then some steps into the second epoch
            written = (fold / "resume" / "state.ckpt").stat().st_mtime_ns
            while process.poll() is None and (fold / "resume" / "state.ckpt").stat().st_mtime_ns == written:
                time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (fold / "weights.safetensors").exists()
    assert (fold / "resume" / "state.ckpt").exists()
    assert run_cli(*arguments, "-o", tmp_path / "run")[0] == 0
    one, other = (load_file(tmp_path / name / "folds/0/weights.safetensors") for name in ("undisturbed", "run"))
    assert [key for key, value in one.items() if not torch.equal(value, other[key])] == []
