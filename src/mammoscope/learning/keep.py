"""Which weights of a training are kept: averaged ones, of the last epoch or of that with the best held-out figures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from safetensors.torch import load_file

from mammoscope.learning.history import History
from mammoscope.learning.network import CancerNetwork

if TYPE_CHECKING:
    from mammoscope.learning.task import TrainingTask


class AveragedWeights(WeightAveraging):
    """Scores, and keeps, the exponential mean of the weights after each step.

    The shares of the steps add up to 1 from the first step on (the correction of Adam's means: Kingma & Ba 2015,
    arXiv:1412.6980, section 3), so that a short training does not score the weights of its beginning.
    """

    def __init__(self, decay: float, device: torch.device) -> None:
        super().__init__(device=device, avg_fn=partial(_take_in, decay=decay))


def _take_in(mean: torch.Tensor, latest: torch.Tensor, n_before: torch.Tensor | int, *, decay: float) -> torch.Tensor:
    """The mean of `n_before` weights with the latest."""
    n = int(n_before)
    kept = decay * (1 - decay**n) / (1 - decay ** (n + 1))
    return mean * kept + latest * (1 - kept)


class BestWeights(Callback):
    """Keeps the weights of the epoch with the best AUC of held-out breasts, or of these the best average precision.

    Of equal ones the first. It comes before the averaging of weights, so that it sees those that were judged. A file
    of an epoch stands until a point to go on from knows of a better one, so that none is lost by an interruption.
    """

    def __init__(self, folder: Path, history: History, write: Callable[[CancerNetwork, Path], None]) -> None:
        self.folder, self.history, self.write = folder, history, write
        self.best: dict[str, float] = {}

    def on_train_epoch_start(self, *_: object) -> None:
        """Forget the files of other epochs than the best; the last point to go on from does not need them."""
        if self.history.processes.is_first:
            for path in self.folder.glob("best-*.safetensors"):
                if not self.best or path != self._path:
                    path.unlink()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the weights where they are better."""
        row = self.history.rows[-1]
        figures = {"auc": row["held_out_breast_auc"], "ap": row["held_out_breast_ap"]}
        known = {name: value for name, value in figures.items() if value is not None}
        if self.best and tuple(known.values()) <= (self.best["auc"], self.best["ap"]):
            return
        self.best = {**known, "epoch": trainer.current_epoch}
        if self.history.processes.is_first:
            self.write(cast("TrainingTask", pl_module).network, self._path)

    def put_back(self, network: CancerNetwork) -> None:
        """Give a network the best weights."""
        network.load_state_dict(load_file(self._path))

    def state_dict(self) -> dict[str, float]:
        """The best figures and their epoch, for a training that goes on."""
        return self.best

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from there."""
        self.best = state_dict

    @property
    def _path(self) -> Path:
        return self.folder / f"best-{self.best['epoch']}.safetensors"
