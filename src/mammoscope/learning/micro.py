"""How many examples a process can have in its memory at once: tried before the training, from the most down."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from mammoscope.errors import ConfigError
from mammoscope.evaluation.run_folder import read_environment
from mammoscope.learning.batches import Batch, Draw, StorePictures
from mammoscope.learning.task import TrainingTask, build_optimizer


def find_micro(n_shared: int, fits: Callable[[int], bool], *, least: int = 1) -> int:
    """The greatest divisor of a process's share of a batch that fits, of `least` examples or more.

    Raises:
        ConfigError: none does.
    """
    for micro in range(n_shared, least - 1, -1):
        if n_shared % micro == 0 and fits(micro):
            return micro
    raise ConfigError(
        f"batch.micro: found 'auto', but not even {least} of {n_shared} examples fit into the memory of the GPU; set "
        "smaller picture.train_rows and train_columns, a smaller views.most, or a smaller backbone"
    )


def recorded_micro(path: Path, device: torch.device) -> int | None:
    """What was found when a run was started that has come to a fold, and goes on on the same kind of device."""
    if not (path / "folds").exists():
        return None
    environment = read_environment(path / "environment.json") or {}
    return environment.get("batch_micro") if environment.get("batch_micro_device") == device.type else None


def try_micro(
    task: TrainingTask, pictures: StorePictures, draws: Sequence[Draw], *, dtype: torch.dtype | None
) -> Callable[[int], bool]:
    """Whether a step with so many examples fits into the memory of the task's device.

    The step is a whole one, with changes of the pictures, gradients, the state of the optimizer and, where the recipe
    has them, averaged weights, and on the examples with the most pictures. It spoils the task's weights.
    """
    most_first = sorted(draws, key=lambda draw: len(draw.positions), reverse=True)
    averaged = copy.deepcopy(task.network) if task.recipe.ema else None

    def fits(n_examples: int) -> bool:
        try:
            _take_step(task, pictures.__getitems__(most_first[:n_examples]), dtype)
        except torch.OutOfMemoryError:
            return False
        finally:
            _free(task, averaged)
        return True

    return fits


def _take_step(task: TrainingTask, batch: Batch, dtype: torch.dtype | None) -> None:
    device, network = task.device, task.train()
    on_device = task.transfer_batch_to_device(batch, device, 0)
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        loss = network.training_step(on_device, 0)
    torch.autograd.backward(loss)
    build_optimizer(task.network, task.recipe).step()


def _free(task: TrainingTask, _kept: nn.Module | None) -> None:
    """Give back what a try has taken; what is kept takes its place until after it."""
    task.zero_grad(set_to_none=True)
    if task.device.type == "cuda":
        torch.cuda.empty_cache()
