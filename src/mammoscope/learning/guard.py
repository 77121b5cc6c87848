"""What a training does where its numbers run out: it skips the step, and ends when too many in a row are skipped."""

from collections.abc import Iterable
from typing import cast

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn.utils import get_total_norm

from mammoscope.errors import ConfigError
from mammoscope.learning.task import TrainingTask


class Guard(Callback):
    """Takes a step only where its losses and gradients are finite numbers.

    A step that is skipped leaves weights, buffers (the running statistics of BatchNorm, which one NaN among the
    activations would spoil for good) and the state of the optimizer as they were; the schedule goes on. With a gradient
    scaler (f16), a step with finite losses and without finite gradients says that the scale is too high: the scaler
    halves it, and the step does not count towards the divergence, unless there is nothing left to halve.

    It comes before the averaging of weights, so that this takes in nothing that is not finite.
    """

    def __init__(self) -> None:
        self.n_taken, self.n_skipped_in_a_row = 0, 0
        self._has_stepped = False
        self._buffers_before: list[torch.Tensor] = []

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: object,  # noqa: ARG002  # Lightning's signature
        batch_idx: int,
    ) -> None:
        """Keep the buffers as they are before a step."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._buffers_before = [buffer.clone() for buffer in pl_module.buffers()]

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Let a step pass, or make it change nothing; gradients are unscaled and not clipped here.

        Raises:
            ConfigError: as many steps in a row as the recipe allows have been skipped.
        """
        task = cast("TrainingTask", pl_module)
        has_own_losses = bool(torch.isfinite(torch.stack(task.step_losses)).all())
        has_losses = trainer.strategy.reduce_boolean_decision(has_own_losses, all=True)  # all processes do the same
        is_taken = has_losses and _are_finite(parameter.grad for parameter in task.parameters())
        task.end_step(is_taken=is_taken)
        self._has_stepped = is_taken
        if is_taken:
            self.n_taken, self.n_skipped_in_a_row = self.n_taken + 1, 0
            return
        optimizer.zero_grad(set_to_none=True)  # an optimizer passes over what has no gradient, state and decay too
        with torch.no_grad():
            for buffer, before in zip(task.buffers(), self._buffers_before, strict=True):
                buffer.copy_(before)
        if not (has_losses and _can_scale_down(trainer)):
            self._count_skipped(task)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object) -> None:  # noqa: ARG002  # Lightning's signature
        """After a step, see that the weights can go on.

        Raises:
            ConfigError: they cannot, because they are no finite numbers.
        """
        if self._has_stepped and not _are_finite(pl_module.parameters()):
            raise ConfigError(cast("TrainingTask", pl_module).describe_divergence("the weights"))
        self._has_stepped = False

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """See that there was a training.

        Raises:
            ConfigError: every step was skipped.
        """
        if not self.n_taken:
            raise ConfigError(cast("TrainingTask", pl_module).describe_divergence("the gradients of every step"))

    def state_dict(self) -> dict[str, int]:
        """What a training that goes on needs of this one."""
        return {"n_taken": self.n_taken, "n_skipped_in_a_row": self.n_skipped_in_a_row}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there."""
        self.n_taken, self.n_skipped_in_a_row = state_dict["n_taken"], state_dict["n_skipped_in_a_row"]

    def _count_skipped(self, task: TrainingTask) -> None:
        self.n_skipped_in_a_row += 1
        if self.n_skipped_in_a_row >= task.recipe.optimizer.most_skipped:
            raise ConfigError(
                task.describe_divergence(f"the losses or gradients of {self.n_skipped_in_a_row} steps in a row")
            )


def _are_finite(tensors: Iterable[torch.Tensor | None]) -> bool:
    """Whether all are finite, and their norm, which clipping divides by, is too."""
    norm = get_total_norm([tensor.detach() for tensor in tensors if tensor is not None])
    return bool(torch.isfinite(norm))


def _can_scale_down(trainer: lightning.Trainer) -> bool:
    plugin = trainer.precision_plugin
    return isinstance(plugin, MixedPrecision) and plugin.scaler is not None and plugin.scaler.get_scale() > 1
