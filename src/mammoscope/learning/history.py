"""What is told of a training after each epoch: `history.csv` of a fold."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as lightning
import polars as pl
import torch
from lightning.pytorch.callbacks import Callback

from mammoscope.cohort.balance import count_epoch
from mammoscope.errors import UndefinedMetricError
from mammoscope.evaluation.discrimination import auc, average_precision
from mammoscope.evaluation.scores import list_breasts
from mammoscope.files import replacing
from mammoscope.learning.batches import EpochSampler
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.processes import Processes, gather_in_order
from mammoscope.learning.resume import count_done_batches
from mammoscope.learning.scoring import tabulate_scores

if TYPE_CHECKING:
    from mammoscope.learning.task import TrainingTask

_SCHEMA = {
    "epoch": pl.Int64,
    "train_loss": pl.Float64,
    "held_out_breast_auc": pl.Float64,
    "held_out_breast_ap": pl.Float64,
    "rate": pl.Float64,
    "skipped_steps": pl.Int64,
    "seconds": pl.Float64,
    "case_images": pl.Int64,
    "control_images": pl.Int64,
    "patients": pl.Int64,
    "machines": pl.Int64,
}


class History(Callback):
    """After each epoch, a row of history: loss, rate, how well the held-out breasts are told apart, what was seen."""

    def __init__(  # noqa: PLR0913  # what a row is made of, and where it goes
        self,
        path: Path,
        held_out: pl.DataFrame,
        sampler: EpochSampler,
        on_step: Callable[[int], None],
        *,
        processes: Processes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.held_out, self.sampler, self.on_step, self.clock = path, held_out, sampler, on_step, clock
        self.processes = processes
        self.rows: list[dict[str, float | None]] = []
        self._started, self._seconds_before = clock(), 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """After an interruption, keep the rows of the epochs that are done, and count the steps that are."""
        self._started = self.clock() - self._seconds_before
        if trainer.current_epoch:
            done = pl.read_csv(self.path, schema=_SCHEMA).filter(pl.col("epoch") < trainer.current_epoch)
            self.rows = done.to_dicts()
        n_done = trainer.current_epoch * int(trainer.num_training_batches) + count_done_batches(trainer)
        if n_done:
            self._advance(n_done)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002  # Lightning's signature
        """Start the clock."""
        self._started = self.clock()

    def on_train_batch_end(self, *_: object) -> None:
        """Advance the progress bar."""
        self._advance(1)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Judge the held-out breasts and write the history, whole."""
        task = cast("TrainingTask", pl_module)
        logits = gather_logits(task.take_held_out(), self.processes, n=self.held_out.height)
        breasts = list_breasts(tabulate_scores(self.held_out, logits, task.recipe.views.combine))
        row = {
            "epoch": trainer.current_epoch,
            "train_loss": _mean_over_processes(task, task.take_training_loss()),
            "held_out_breast_auc": _measure(auc, breasts),
            "held_out_breast_ap": _measure(average_precision, breasts),
            "rate": trainer.optimizers[0].param_groups[0]["lr"],
            "skipped_steps": task.take_skipped_steps(),
            "seconds": self.clock() - self._started,
            **asdict(count_epoch(self.sampler.draw_images(trainer.current_epoch))),
        }
        self.rows.append(row)
        if self.processes.is_first:
            self._write()

    def _write(self) -> None:
        with replacing(self.path) as beside:
            pl.DataFrame(self.rows, schema=_SCHEMA).write_csv(beside)

    def _advance(self, n_batches: int) -> None:
        if self.processes.is_first:
            self.on_step(n_batches)

    def state_dict(self) -> dict[str, float]:
        """The seconds of the epoch that is under way, for a training that goes on from here."""
        return {"seconds": self.clock() - self._started}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from there."""
        self._seconds_before = state_dict["seconds"]


def gather_logits(share: PictureLogits, processes: Processes, *, n: int) -> PictureLogits:
    """What all processes have said of n pictures, in their order."""
    cancer, view = (gather_in_order(part, processes, n=n) for part in (share.cancer, share.view))
    return PictureLogits(cancer, view)


def _mean_over_processes(task: "TrainingTask", loss: float | None) -> float | None:
    """None where no step was taken, which is so in all processes."""
    if loss is None:
        return None
    return float(task.trainer.strategy.reduce(torch.tensor(loss, dtype=torch.float64, device=task.device)))


def _measure(metric: Callable[..., float], breasts: pl.DataFrame) -> float | None:
    """The metric of the held-out breasts, None where they lack cases or controls."""
    try:
        return metric(breasts["score"].to_numpy(), breasts["cancer"].to_numpy())
    except UndefinedMetricError:
        return None
