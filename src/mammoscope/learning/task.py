"""The training of one fold as Lightning sees it."""

from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR

from mammoscope.errors import ConfigError
from mammoscope.learning.augment.augment import augment
from mammoscope.learning.auxiliary import auxiliary_loss
from mammoscope.learning.batches import Batch, to_network_input
from mammoscope.learning.fine_tuning import group_for_optimizer, thaw_stages
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.losses import LossTerms, cancer_loss
from mammoscope.learning.network import CancerNetwork, NetworkOutput, compile_for_training
from mammoscope.learning.schedule import count_warm_up, rate_factor
from mammoscope.learning.scoring import compute_outputs, gather_outputs
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_layer import TableTensors, drop_table
from mammoscope.learning.views import combine_views


class TrainingTask(lightning.LightningModule):
    """Batches to losses: the network of a recipe, its optimizer and its schedule over `n_steps` steps."""

    def __init__(
        self, network: CancerNetwork, recipe: Recipe, *, fold: int, n_steps: int, loss_terms: LossTerms
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.fold, self.n_steps = network, recipe, fold, n_steps
        self.loss_terms = loss_terms
        # a function, so that its weights are the network's and nowhere else
        self._compiled = compile_for_training(network) if recipe.compute.compile else None
        self.generator = torch.Generator()
        self.step_losses: list[torch.Tensor] = []  # of the batches of the step that is under way
        self._losses: list[torch.Tensor] = []  # of the batches of the steps that were taken
        self._n_skipped = 0
        self._held_out: list[NetworkOutput] = []
        self._staged_for: int | None = None  # the epoch whose stages learn
        self._statistics: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002  # Lightning's signature
        """Let those stages of the backbone learn whose turn has come.

        Not in a hook of the epoch's start, which a training that goes on in its midst does not come by.
        """
        if self.recipe.fine_tuning.train == "staged" and self._staged_for != self.current_epoch:
            thaw_stages(self.network.backbone, self.recipe, epoch=self.current_epoch)
            self._staged_for = self.current_epoch

    def on_before_backward(self, loss: torch.Tensor) -> None:  # noqa: ARG002  # Lightning's signature
        """Note the statistics of BatchNorm where features are computed a second time for the gradient."""
        if self.recipe.fine_tuning.gradient_checkpointing:
            self._statistics = [(each, each.clone()) for each in self.network.backbone.buffers()]

    def on_after_backward(self) -> None:
        """Put them back, so that a batch moves them once and not twice."""
        for statistic, noted in self._statistics:
            statistic.copy_(noted)
        self._statistics.clear()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """The loss of a batch of stored pictures."""
        self._begin_chance(batch_index)
        changed = to_training_input(batch, self.recipe, generator=self.generator)
        loss = self._lose(self._compute(changed, self._drop_table(batch)), batch)
        self.step_losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002  # Lightning's signature
        """Score held-out pictures, with the averaged weights where there are some.

        Raises:
            ConfigError: a score is no finite number.
        """
        picture = self.recipe.picture
        grey = to_network_input(batch.pictures, rows=picture.held_out_rows, columns=picture.held_out_columns)
        output = compute_outputs(self.network, grey, batch.table)
        if not output.is_finite:
            raise ConfigError(self.describe_divergence("the scores"))
        self._held_out.append(output._replace(features=None))  # which are large, and asked for by nobody

    def end_step(self, *, is_taken: bool) -> None:
        """The losses of the step that ends count, or else it counts as skipped."""
        if is_taken:
            self._losses += self.step_losses
        self._n_skipped += not is_taken
        self.step_losses.clear()

    def take_training_loss(self) -> float | None:
        """The mean loss over the batches of the steps taken since the last call; None where none was taken."""
        losses = self._stack_losses()
        self._losses.clear()
        return losses.mean().item() if losses.numel() else None

    def take_skipped_steps(self) -> int:
        """The number of steps skipped since the last call."""
        n_skipped, self._n_skipped = self._n_skipped, 0
        return n_skipped

    def take_held_out(self) -> PictureLogits:
        """What was said of the held-out pictures, in their order, since the last call."""
        logits = gather_outputs(self._held_out)
        self._held_out.clear()
        return logits

    def _drop_table(self, batch: Batch) -> TableTensors | None:
        chance, n_examples = self.recipe.table.dropout, len(batch.targets)
        return drop_table(batch.table, batch.examples, n_examples=n_examples, chance=chance, generator=self.generator)

    def _compute(self, pictures: torch.Tensor, table: TableTensors | None) -> NetworkOutput:
        output: NetworkOutput = (self._compiled or self.network)(pictures, table)
        return output

    def _lose(self, output: NetworkOutput, batch: Batch) -> torch.Tensor:
        """The loss of a batch: the mean over the samples of dropout, and those of further questions."""
        examples = [self._combine(cancer, output.view, batch) for cancer in output.samples]
        loss = torch.stack([cancer_loss(logits, batch.targets, self.loss_terms) for logits in examples]).mean()
        if batch.labels is None:
            return loss
        return loss + auxiliary_loss(output.auxiliary, batch.labels, self.recipe.auxiliary)

    def _combine(self, cancer: torch.Tensor, view: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The logits of the examples of a batch, (example,), in full precision."""
        if self.recipe.level == "image":
            return cancer.float()
        return combine_views(
            cancer.float(),
            view.float(),
            batch.examples,
            n_breasts=len(batch.targets),
            combination=self.recipe.views.combine,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of the epoch that is under way, the means over the processes, and its skipped steps."""
        losses = self._stack_losses()
        checkpoint["losses"] = self.trainer.strategy.reduce(losses) if self._losses else losses
        checkpoint["n_skipped"] = self._n_skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self._losses, self._n_skipped = list(checkpoint["losses"]), checkpoint["n_skipped"]

    def _stack_losses(self) -> torch.Tensor:
        """The losses of the epoch that is under way, (batch,); those before an interruption were kept on the CPU."""
        return torch.stack([loss.to(self.device) for loss in self._losses]) if self._losses else torch.empty(0)

    def _begin_chance(self, batch_index: int) -> None:
        """Chance starts anew for each batch from (seed, fold, epoch, batch in the epoch, process).

        So a training that goes on in the midst of an epoch draws what an undisturbed one does, and nothing of chance is
        kept: what Lightning and the loader draw depends on what was before.
        """
        seed = seed_of_batch(
            self.recipe,
            fold=self.fold,
            epoch=self.current_epoch,
            batch_index=batch_index,
            process=self.global_rank,
        )
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout draws from torch's own state, which `train_fold` has forked

    def describe_divergence(self, what: str) -> str:
        """The sentence of an error: what ran out of the finite numbers, and what to change."""
        ways = ["lower it"]
        ways += ["set optimizer.clip_norm to 1"] if not self.recipe.optimizer.clip_norm else []
        ways += ["set precision to f32"] if self.recipe.precision != "f32" else []
        return (
            f"optimizer.rate: found {self.recipe.optimizer.rate:g}, with which {what} of fold {self.fold} ran out of "
            f"the finite numbers in epoch {self.current_epoch}; expected a rate that a training survives, such as "
            f"`mammoscope find-lr` proposes; {', or '.join(ways)}"
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer over what is not frozen, and its schedule for each step."""
        optimizer = build_optimizer(self.network, self.recipe)
        n_warm_up = count_warm_up(self.recipe, n_steps=self.n_steps)
        schedule = LambdaLR(
            optimizer,
            lambda step: rate_factor(step, n_steps=self.n_steps, n_warm_up=n_warm_up, schedule=self.recipe.schedule),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def seed_of_batch(recipe: Recipe, *, fold: int, epoch: int, batch_index: int, process: int = 0) -> int:
    """The start of all chance of a batch in the memory of a process, which is counted within its epoch."""
    return int(np.random.SeedSequence((recipe.seed, fold, epoch, batch_index, process)).generate_state(1)[0])


def to_training_input(batch: Batch, recipe: Recipe, *, generator: torch.Generator) -> torch.Tensor:
    """What the network is trained on: (picture, 1, row, column) in [0, 1], of the recipe's size, changed at random."""
    grey = to_network_input(batch.pictures, rows=recipe.picture.train_rows, columns=recipe.picture.train_columns)
    return augment(grey, recipe.augment, generator=generator, strengths=batch.strengths)


def build_optimizer(network: CancerNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe over what learns."""
    groups, rate = group_for_optimizer(network, recipe), recipe.optimizer.rate
    if recipe.optimizer.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9)
    if recipe.optimizer.name == "adam":
        return torch.optim.Adam(groups, lr=rate)
    return torch.optim.AdamW(groups, lr=rate)
