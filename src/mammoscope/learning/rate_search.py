"""The range test: which learning rate a training can bear, found by raising it from step to step.

Smith 2017 (arXiv:1506.01186), section 3.3. The network is trained as in a training, on the batches of a fold, while the
rate rises exponentially; the smoothed loss stays, falls, and runs away. Nothing of it is kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import lightning.pytorch as lightning
import numpy as np
import polars as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch.optim.lr_scheduler import LambdaLR

from mammoscope.errors import ConfigError, UserInputError
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.auxiliary import label_rows
from mammoscope.learning.batches import Batch, EpochSampler, EpochShare, StorePictures, training_batches
from mammoscope.learning.losses import LossTerms
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.processes import Processes
from mammoscope.learning.scoring import check_precision, choose_device
from mammoscope.learning.settings import Recipe
from mammoscope.learning.task import TrainingTask, build_optimizer
from mammoscope.learning.training import build_trainer, fit_table, loss_terms_of, quiet_lightning, select_rows
from mammoscope.learning.weights import load_backbone

FEWEST_STEPS = 50
# the smoothed loss has run away at four times its least, and the rate to take is a tenth of that of the least loss:
# Gugger 2018, https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html
RUNAWAY_FACTOR = 4.0
SHARE_OF_LEAST = 0.1
_STANDARD_ERRORS = 4.0  # of the least of a hundred noisy values that do not fall, one in a thousand is further below


@dataclass(frozen=True, slots=True)
class RateRange:
    """The rates of a test: `n_steps` from the lowest to the highest, each the same factor above the one before."""

    lowest: float
    highest: float
    n_steps: int

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise UserInputError(
                f"rates from {self.lowest:g} to {self.highest:g}: expected numbers above 0, the first below the "
                "second; give others with --from and --to"
            )
        if self.n_steps < FEWEST_STEPS:
            raise UserInputError(f"{self.n_steps} steps: expected {FEWEST_STEPS} or more; give others with --steps")

    def factor(self, step: int) -> float:
        """The factor on the lowest rate at a step, 0 to n_steps - 1."""
        return math.pow(self.highest / self.lowest, step / (self.n_steps - 1))


@dataclass(frozen=True, slots=True)
class RateCurve:
    """The losses of a range test, of each step before it ended; `has_run_away` says that the loss ended it."""

    tested: RateRange
    losses: tuple[float, ...]
    has_run_away: bool

    @property
    def rates(self) -> NDArray[np.float64]:
        """The rate of each step."""
        return np.array([self.tested.lowest * self.tested.factor(step) for step in range(len(self.losses))])

    @property
    def memory(self) -> float:
        """The steps that the smoothed loss looks back on: a tenth of the test, whatever its length."""
        return self.tested.n_steps / 10

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """The exponential mean of the losses up to each step, with Adam's correction of its bias (arXiv:1412.6980)."""
        return pl.Series(self.losses, dtype=pl.Float64).ewm_mean(alpha=1 / self.memory, adjust=True).to_numpy()


def run_range_test(  # noqa: PLR0913  # the four of every training, and what to test
    recipe: Recipe,
    manifest: pl.DataFrame,
    store: PreparedStore,
    *,
    fold: int,
    tested: RateRange,
    on_step: Callable[[int], None],
) -> RateCurve:
    """The curve of a fold's training batches; where they are fewer than the steps, they come again as in a training.

    Raises:
        TableError, StoreError, ConfigError, WeightsError: as `training.train_fold`, before anything is computed.
    """
    device = choose_device()
    check_precision(recipe, device)
    rows, _ = select_rows(manifest, store, fold=fold, recipe=recipe)
    encoder, sampler = fit_table(rows, recipe), EpochSampler(rows, recipe, fold=fold)
    # what follows draws from torch's own state; the caller's stays as it was
    with torch.random.fork_rng([0] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed + fold)
        network = build_network(recipe, encoder)
        load_backbone(network, recipe.backbone)
        task = _RangeTask(network, recipe, fold=fold, tested=tested, loss_terms=loss_terms_of(sampler))
        pictures = StorePictures(rows, store, encoder, labels=label_rows(rows, recipe.auxiliary))
        watch = _Watch(tested, on_step)
        with quiet_lightning():
            trainer = build_trainer(
                recipe, [watch], processes=Processes(device), max_epochs=-1, max_steps=tested.n_steps
            )
            trainer.fit(task, training_batches(pictures, EpochShare(sampler)))
    return watch.curve


def propose_rate(curve: RateCurve) -> float:
    """A tenth of the rate at which the smoothed loss is least, with two digits.

    The rate of the least loss is itself too high: there, gains and losses of a step are even, and smoothing lags.

    Raises:
        ConfigError: the curve does not show one: it does not fall, or not to a least within the rates of the test.
    """
    smoothed, rates, tested = curve.smoothed, curve.rates, curve.tested
    least = int(np.argmin(smoothed)) if smoothed.size else 0
    if not _falls(curve, least):
        other_rates = "a lower --from" if curve.has_run_away else "a higher --to"
        raise ConfigError(
            f"optimizer.rate: none can be proposed: in {smoothed.size} steps from {tested.lowest:g} on the loss fell "
            f"by no more than chance makes it; expected it to fall before it rises; try {other_rates}, more --steps, "
            "larger batches, or other weights to start from"
        )
    if least == smoothed.size - 1 and not curve.has_run_away:
        raise ConfigError(
            f"optimizer.rate: none can be proposed: the loss still falls at {rates[least]:g}, the highest rate of the "
            "test; expected it to rise before; give a higher --to"
        )
    rate = SHARE_OF_LEAST * rates[least]
    if rate < tested.lowest:
        raise ConfigError(
            f"optimizer.rate: none can be proposed: the loss is least at {rates[least]:.1e}, a tenth of which was not "
            f"tested; expected it at ten times --from or more; give a lower --from than {tested.lowest:g}"
        )
    return float(f"{rate:.1e}")


def _falls(curve: RateCurve, least: int) -> bool:
    """Whether the least is further below the beginning than the noise of the losses makes it."""
    memory = round(curve.memory)
    if least < memory:
        return False
    losses = np.array(curve.losses)
    noise = np.diff(losses[: least + 1]).std() / math.sqrt(2)  # of differences, so that a slope is none
    # the variances of a mean of `memory` losses, and of an exponential mean with that memory
    standard_error = noise * math.sqrt(1 / memory + 1 / (2 * curve.memory - 1))
    return bool(losses[:memory].mean() - curve.smoothed[least] > _STANDARD_ERRORS * standard_error)


class _RangeTask(TrainingTask):
    """A training whose rate rises exponentially."""

    def __init__(
        self, network: CancerNetwork, recipe: Recipe, *, fold: int, tested: RateRange, loss_terms: LossTerms
    ) -> None:
        super().__init__(network, recipe, fold=fold, n_steps=tested.n_steps, loss_terms=loss_terms)
        self.tested = tested

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Let all stages learn at once: the rate has to suit those too whose turn comes last."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer, begun at the lowest rate."""
        settings = self.recipe.optimizer.model_copy(update={"rate": self.tested.lowest})
        optimizer = build_optimizer(self.network, self.recipe.model_copy(update={"optimizer": settings}))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.tested.factor), "interval": "step"},
        }


class _Watch(Callback):
    """Keeps the mean loss of each step, and ends the test when the loss runs away."""

    def __init__(self, tested: RateRange, on_step: Callable[[int], None]) -> None:
        self.curve, self.on_step = RateCurve(tested, (), has_run_away=False), on_step

    def on_before_optimizer_step(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002  # Lightning's signature
    ) -> None:
        """Take the losses of the batches of a step, before the step."""
        task = cast("TrainingTask", pl_module)
        loss = torch.stack(task.step_losses).mean().item()
        task.end_step(is_taken=True)
        self.on_step(1)
        if math.isfinite(loss):
            self.curve = replace(self.curve, losses=(*self.curve.losses, loss))
        smoothed = self.curve.smoothed
        if not math.isfinite(loss) or smoothed[-1] > RUNAWAY_FACTOR * smoothed.min():
            self.curve = replace(self.curve, has_run_away=True)
            trainer.should_stop = True
