"""The course of a training while it runs, for TensorBoard: `curves/` of a fold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.tensorboard import SummaryWriter

from mammoscope.learning.history import History

_OF_AN_EPOCH = ("train_loss", "held_out_breast_auc", "held_out_breast_ap", "rate", "seconds")


class Curves(Callback):
    """Loss and rate of each step, and the figures of each epoch from its row of history; at the steps done so far.

    After an interruption, what was written of the steps that are done anew is taken back.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history
        self._writer: SummaryWriter | None = None
        self._step_losses: list[torch.Tensor] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """Begin to write, where this is the process that does."""
        if self.history.processes.is_first:
            self._writer = SummaryWriter(str(self.folder), purge_step=trainer.global_step + 1)

    def on_train_batch_end(  # Lightning's signature
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: object,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Write the loss of a step, the mean over its batches in memory, and the rate that comes next."""
        if isinstance(outputs, Mapping):  # the loss is divided by the number of batches of a step
            self._step_losses.append(outputs["loss"].detach())
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self._step_losses:
            self._write("step/loss", float(torch.stack(self._step_losses).sum()), trainer.global_step)
        self._write("step/rate", trainer.optimizers[0].param_groups[0]["lr"], trainer.global_step)
        self._step_losses.clear()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """Write the figures of an epoch."""
        row = self.history.rows[-1]
        for name in _OF_AN_EPOCH:
            value = row[name]
            if value is not None:
                self._write(f"epoch/{name}", value, trainer.global_step)

    def on_save_checkpoint(self, *_: object) -> None:
        """See that what is written up to a point to go on from is there."""
        if self._writer is not None:
            self._writer.flush()

    def on_train_end(self, *_: object) -> None:
        """Write no more."""
        self._close()

    def on_exception(self, *_: object) -> None:
        """Write no more."""
        self._close()

    def _write(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
