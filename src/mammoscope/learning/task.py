"""The training of one fold as Lightning sees it."""

from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR

from mammoscope.errors import ConfigError
from mammoscope.learning.augment import augment
from mammoscope.learning.batches import Batch, to_network_input
from mammoscope.learning.losses import LossTerms, cancer_loss
from mammoscope.learning.network import CancerNetwork, NetworkOutput
from mammoscope.learning.schedule import rate_factor
from mammoscope.learning.scoring import gather_outputs
from mammoscope.learning.settings import OptimizerSettings, Recipe
from mammoscope.learning.table_layer import TableTensors, drop_table
from mammoscope.learning.views import PictureLogits, combine_views


class TrainingTask(lightning.LightningModule):
    """Batches to losses: the network of a recipe, its optimizer and its schedule over `n_steps` steps."""

    def __init__(
        self, network: CancerNetwork, recipe: Recipe, *, fold: int, n_steps: int, loss_terms: LossTerms
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.fold, self.n_steps = network, recipe, fold, n_steps
        self.loss_terms = loss_terms
        self.generator = torch.Generator()
        self._losses: list[torch.Tensor] = []
        self._held_out: list[NetworkOutput] = []

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """The loss of a batch of stored pictures.

        Raises:
            ConfigError: the loss is no finite number any more.
        """
        self._begin_chance(batch_index)
        picture = self.recipe.picture
        grey = to_network_input(batch.pictures, rows=picture.train_rows, columns=picture.train_columns)
        changed = augment(grey, self.recipe.augment, generator=self.generator, strengths=batch.strengths)
        logits = self._combine(self.network(changed, self._drop_table(batch)), batch)
        loss = cancer_loss(logits, batch.targets, self.loss_terms)
        self._refuse_divergence(loss.detach(), "loss")
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002  # Lightning's signature
        """Score held-out pictures, with the averaged weights where there are some.

        Raises:
            ConfigError: a score is no finite number.
        """
        picture = self.recipe.picture
        grey = to_network_input(batch.pictures, rows=picture.held_out_rows, columns=picture.held_out_columns)
        output = NetworkOutput(*(part.detach().cpu() for part in self.network(grey, batch.table)))
        self._refuse_divergence(torch.stack(output), "scores")
        self._held_out.append(output)

    def take_training_loss(self) -> float:
        """The mean loss since the last call."""
        mean = self._stack_losses().mean().item()
        self._losses.clear()
        return mean

    def take_held_out(self) -> PictureLogits:
        """What was said of the held-out pictures, in their order, since the last call."""
        logits = gather_outputs(self._held_out)
        self._held_out.clear()
        return logits

    def _drop_table(self, batch: Batch) -> TableTensors | None:
        chance, n_examples = self.recipe.table.dropout, len(batch.targets)
        return drop_table(batch.table, batch.examples, n_examples=n_examples, chance=chance, generator=self.generator)

    def _combine(self, output: NetworkOutput, batch: Batch) -> torch.Tensor:
        """The logits of the examples of a batch, (example,), in full precision."""
        if self.recipe.level == "image":
            return output.cancer.float()
        return combine_views(
            output.cancer.float(),
            output.view.float(),
            batch.examples,
            n_breasts=len(batch.targets),
            combination=self.recipe.views.combine,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of the epoch that is under way, the means over the processes."""
        losses = self._stack_losses()
        checkpoint["losses"] = self.trainer.strategy.reduce(losses) if self._losses else losses

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self._losses = list(checkpoint["losses"])

    def _stack_losses(self) -> torch.Tensor:
        """The losses of the epoch that is under way, (batch,); those before an interruption were kept on the CPU."""
        return torch.stack([loss.to(self.device) for loss in self._losses]) if self._losses else torch.empty(0)

    def _begin_chance(self, batch_index: int) -> None:
        """Chance starts anew for each batch from (seed, fold, epoch, batch in the epoch, process).

        So a training that goes on in the midst of an epoch draws what an undisturbed one does, and nothing of chance is
        kept: what Lightning and the loader draw depends on what was before.
        """
        place = (self.recipe.seed, self.fold, self.current_epoch, batch_index, self.global_rank)
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # dropout draws from torch's own state, which `train_fold` has forked

    def _refuse_divergence(self, values: torch.Tensor, name: str) -> None:
        if not torch.isfinite(values).all():
            raise ConfigError(
                f"optimizer.rate: found {self.recipe.optimizer.rate:g}, with which the {name} of fold {self.fold} "
                f"ran out of the finite numbers in epoch {self.current_epoch}; expected a rate that a training "
                "survives; lower it, set optimizer.clip_norm to 1, or set precision to f32"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer over what is not frozen, and its schedule for each step."""
        optimizer = build_optimizer(self.network, self.recipe.optimizer)
        schedule = LambdaLR(
            optimizer, lambda step: rate_factor(step, n_steps=self.n_steps, schedule=self.recipe.schedule)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(network: CancerNetwork, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer of a recipe; biases and the weights of norms are not decayed."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [parameter for parameter in learned if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in learned if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.rate, momentum=0.9)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=settings.rate)
    return torch.optim.AdamW(groups, lr=settings.rate)
