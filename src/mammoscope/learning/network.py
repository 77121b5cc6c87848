"""A timm backbone, a pooling and a head: a logit for each picture, and its weight among the views of a breast."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from mammoscope.errors import ConfigError, MammoscopeError
from mammoscope.learning.auxiliary import count_logits
from mammoscope.learning.backbone import create_backbone, read_maps
from mammoscope.learning.fine_tuning import fix_batch_norms, prepare_backbone
from mammoscope.learning.head import (
    GatedAttention,
    Pooling,
    answer_questions,
    build_head,
    build_questions,
    sample_logits,
)
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder
from mammoscope.learning.table_layer import TableLayer, TableTensors, join_table


class NetworkOutput(NamedTuple):
    """What is said of pictures: the logit of cancer and the log weight among the views of a breast, both (picture,).

    `samples` are the logits of cancer under each mask of the last dropout, (sample, picture), whose mean is `cancer`;
    the loss is the mean of theirs. There is one where nothing is dropped. `auxiliary` has the logits of each further
    question, (picture, class), or (picture,) for yes and no; they are for training alone, and empty in evaluation.
    `features` are what the head sees of the picture alone, (picture, channel); None where they are not kept.
    """

    cancer: torch.Tensor
    view: torch.Tensor
    samples: torch.Tensor
    auxiliary: dict[str, torch.Tensor]
    features: torch.Tensor | None = None

    @property
    def is_finite(self) -> bool:
        """Whether every logit and weight is a finite number."""
        return bool(torch.isfinite(torch.stack([self.cancer, self.view])).all())


class CancerNetwork(nn.Module):
    """Pictures (picture, 1, row, column) in [0, 1], and what the table says of them, to what is said of each."""

    backbone: Any  # timm's networks share methods, not a type

    def __init__(self, recipe: Recipe, encoder: TableEncoder | None = None) -> None:
        super().__init__()
        self.mean, self.spread = recipe.picture.mean, recipe.picture.spread
        self.backbone, self.layout = create_backbone(recipe)
        prepare_backbone(self.backbone, recipe)
        if self.layout.form == "pooled" and recipe.head.pooling != "avg":
            raise ConfigError(
                f"head.pooling: found {recipe.head.pooling!r}, but {recipe.backbone.name} pools its features itself; "
                "expected 'avg', which leaves them as they are"
            )
        self.pooling = Pooling(recipe.head.pooling, self.layout.n_channels)
        self.table_layer = None if encoder is None else TableLayer(encoder, recipe.table)
        width = self.pooling.width + (0 if encoder is None else recipe.table.hidden)
        self.n_samples = recipe.head.dropout_samples
        self.head = build_head(width, recipe.head)
        self.view_attention = GatedAttention(width) if recipe.views.combine == "attention" else None
        # of the picture alone: the table may hold the answers
        self.auxiliary = build_questions(self.pooling.width, count_logits(recipe.auxiliary))
        self.has_fixed_batch_norms = recipe.fine_tuning.freeze_batch_norm
        self.train()

    def forward(self, pictures: torch.Tensor, table: TableTensors | None = None) -> NetworkOutput:
        """The logits of pictures, and their weights where views are combined by attention, else zeros."""
        return self.judge(self.look(pictures), table)

    def look(self, pictures: torch.Tensor) -> torch.Tensor:
        """The last feature maps of pictures, (picture, channel, row, column)."""
        return read_maps(self.backbone, (pictures - self.mean) / self.spread, self.layout)

    def judge(self, maps: torch.Tensor, table: TableTensors | None = None) -> NetworkOutput:
        """What is said of pictures by their last feature maps."""
        pooled = self.pooling(maps)  # (picture, channel)
        features = join_table(pooled, table, self.table_layer)  # (picture, channel and the table's)
        samples = sample_logits(self.head, features, n_samples=self.n_samples)  # (sample, picture)
        cancer = samples.mean(dim=0)  # (picture,)
        view = torch.zeros_like(cancer) if self.view_attention is None else self.view_attention(features)
        answers = answer_questions(self.auxiliary, pooled) if self.training else {}
        return NetworkOutput(cancer, view, samples, answers, pooled)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001  # torch's signature
        """Go over to training, or to evaluation; statistics that are fixed stay so."""
        super().train(mode)
        if self.has_fixed_batch_norms:
            fix_batch_norms(self.backbone)
        return self


def build_network(recipe: Recipe, encoder: TableEncoder | None = None) -> CancerNetwork:
    """The network of a recipe with random weights, in the memory order of the recipe.

    `encoder` is that of the fold, where the recipe has columns of the table.

    Raises:
        ConfigError: as `create_backbone` and `prepare_backbone`, or the head pools what is pooled.
        MammoscopeError: the encoder is of other columns than the recipe.
    """
    found = () if encoder is None else encoder.columns
    if set(found) != set(recipe.table.columns):
        raise MammoscopeError(
            f"network: found an encoder of the columns {', '.join(found) or 'none'}, expected those of the recipe, "
            f"{', '.join(recipe.table.columns) or 'none'}; give the encoder of the fold"
        )
    order = torch.channels_last if recipe.compute.channels_last else torch.contiguous_format
    return CancerNetwork(recipe, encoder).to(memory_format=order)


def compile_for_training(network: CancerNetwork) -> Callable[[torch.Tensor, TableTensors | None], NetworkOutput]:
    """The same function as the network, compiled by torch at its first call; the network stays as it is.

    Calls raise:
        ConfigError: torch cannot compile here, or not this network.
    """
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415  # takes seconds, which only this function needs

    compiled = torch.compile(network.forward)

    def compute(pictures: torch.Tensor, table: TableTensors | None) -> NetworkOutput:
        try:
            return compiled(pictures, table)
        except TorchDynamoException as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[:2]).strip()
            raise ConfigError(
                f"compute.compile: found true, but torch cannot compile this network here ({reason}); set it to false, "
                "or install the compiler that torch asks for"
            ) from error

    return compute
