"""Where a training goes on after an interruption: all of it that cannot be had anew, written whole or not at all."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from mammoscope.errors import RunError
from mammoscope.files import replacing
from mammoscope.learning.batches import EpochShare

SAVE_EVERY_S = 60.0


def count_done_batches(trainer: lightning.Trainer) -> int:
    """At the start of a training, the batches in memory that are done of its first epoch."""
    n_done: int = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return n_done % int(trainer.num_training_batches)  # an epoch that is done counts as none of the next


class ResumePoint(Checkpoint):
    """All that it takes to go on, after a step of the optimizer when the last writing is `every_s` ago, and each epoch.

    The last epoch needs none at its end, because the fold's scores and weights follow it at once.
    """

    def __init__(
        self,
        path: Path,
        share: EpochShare,
        *,
        precision: str,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.share, self.precision, self.every_s, self.clock = path, share, precision, every_s, clock
        self._written = clock()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """After an interruption, leave out what the epoch that is under way has drawn already."""
        self.share.leave_out(count_done_batches(trainer), epoch=trainer.current_epoch)
        self._written = self.clock()

    def on_train_batch_end(  # Lightning's signature
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        outputs: torch.Tensor | Mapping[str, Any] | None,  # noqa: ARG002
        batch: object,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Write the state of the training where it is time: between steps, because gradients are not in it."""
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        is_due = self.clock() - self._written >= self.every_s
        if trainer.strategy.reduce_boolean_decision(is_due, all=False):
            self._write(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """Write the state of the training."""
        if trainer.current_epoch + 1 != trainer.max_epochs:
            self._write(trainer)

    def state_dict(self) -> dict[str, int | str]:
        """How many processes train, with how many examples in the memory of each, and in what precision."""
        return {
            "n_processes": self.share.n_processes,
            "n_in_memory": self.share.n_in_memory,  # batches are counted in these
            "precision": self.precision,
        }

    def load_state_dict(self, state_dict: dict[str, int | str]) -> None:
        """See that what is done was trained in the same way as what is to come.

        Raises:
            RunError: the batches were of another size, or the precision was another.
        """
        if state_dict != self.state_dict():
            raise RunError(
                f"{self.path}: was written by {state_dict['n_processes']} processes with {state_dict['n_in_memory']} "
                f"examples in memory, in {state_dict['precision']}, found {self.share.n_processes} with "
                f"{self.share.n_in_memory} in {self.precision}; go on with the same number of processes on the same "
                "kind of device, or remove the file to begin the fold anew"
            )

    def _write(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._written = self.clock()


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are whole or not there, written in the folder where they are to be."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: as `replacing`.
        """
        with replacing(Path(path)) as beside, _temporary_files_in(beside.parent):
            super().save_checkpoint(checkpoint, beside, storage_options)


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let Lightning write there first; the system's folder for this may be small, and keeps what a kill leaves."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
