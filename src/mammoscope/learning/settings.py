"""What each part of a recipe can say: strict settings, each with its unit and range."""

from typing import Annotated, Literal

from pydantic import Field

from mammoscope.cohort.balance import BalanceSettings, SamplingStrategy
from mammoscope.config import Settings
from mammoscope.learning.table_inputs import TableSettings
from mammoscope.learning.views import Combination

Level = Literal["image", "breast"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=32, le=8192)]


class StoreSettings(Settings):
    """What the recipe asks of the prepared store; a key left out asks nothing."""

    rows: Pixels | None = None
    columns: Pixels | None = None
    bits: Literal[8, 16] | None = None


class PictureSettings(Settings):
    """What the network sees. Sizes in pixels, the store's where left out; mean and spread of the input grey, 0 to 1."""

    train_rows: Pixels | None = None
    train_columns: Pixels | None = None
    held_out_rows: Pixels | None = None
    held_out_columns: Pixels | None = None
    mean: Share = 0.5
    spread: Positive = 0.5


class BackboneSettings(Settings):
    """A timm network without its classifier.

    `weights` is "hub" (timm's own, over the network), "none" (random), or the path of a safetensors file; `options`
    go to timm's `create_model`.
    """

    name: str
    weights: str = "hub"
    frozen: bool = False
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)


class ViewsSettings(Settings):
    """How the views of a breast become its score; `most` of them are trained on at once, others in each epoch."""

    combine: Combination = "mean"
    most: Count = 8


class HeadSettings(Settings):
    """Pooling, hidden layers (their widths), BatchNorm before each layer, dropout after each hidden layer."""

    pooling: Literal["avg", "max", "catavgmax", "gem"] = "avg"
    layers: tuple[Count, ...] = ()
    batch_norm: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AugmentSettings(Settings):
    """Random changes for each picture: chances of flips; greatest changes of place and of grey."""

    flip_horizontal: Share = 0.0
    flip_vertical: Share = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear_degrees: Annotated[float, Field(ge=0, le=45)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0


class LossSettings(Settings):
    """Binary cross-entropy; `positive_weight` multiplies the loss of the cases."""

    positive_weight: Positive = 1.0


class OptimizerSettings(Settings):
    """Rate per step, weight decay, and the largest gradient norm (0: not clipped)."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    rate: Positive = 1e-3
    weight_decay: NotNegative = 0.01
    clip_norm: NotNegative = 1.0


class ScheduleSettings(Settings):
    """How the rate goes over the steps of a training; `warm_up` is the share of the steps in which it rises."""

    name: Literal["constant", "cosine", "one-cycle"] = "one-cycle"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.25


class BatchSettings(Settings):
    """`size` examples make one step of the optimizer; `micro` of them are in memory at once (default: all)."""

    size: Count = 16
    micro: Count | None = None


class Recipe(Settings):
    """A whole recipe: `level` is what one example is; `ema` the decay of the averaged weights per step (0: none)."""

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Count = 10
    level: Level = "image"
    sampling: SamplingStrategy = "all"
    balance: BalanceSettings = BalanceSettings()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "f32", "bf16"] = "auto"
    store: StoreSettings = StoreSettings()
    picture: PictureSettings = PictureSettings()
    backbone: BackboneSettings
    views: ViewsSettings = ViewsSettings()
    head: HeadSettings = HeadSettings()
    table: TableSettings = TableSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    batch: BatchSettings = BatchSettings()
