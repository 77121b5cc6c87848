"""What each part of a recipe can say: strict settings, each with its unit and range."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from mammoscope.cohort.balance import BalanceSettings, SamplingStrategy
from mammoscope.config import Settings
from mammoscope.evaluation.operating_points import OperatingPointSettings
from mammoscope.learning.breast_table import SecondStageSettings
from mammoscope.learning.table_inputs import TableSettings

Level = Literal["image", "breast"]
Combination = Literal["mean", "max", "attention"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=16, le=8192)]  # as of prepared pictures
WARM_UPS = ("warm_up", "warm_up_steps", "warm_up_epochs")
"""The keys of a schedule of which one may say how long the rate rises."""


def _check_in_one_sentence(value: object, check: ValidatorFunctionWrapHandler, *, expected: str) -> object:
    """The checked value of a key that takes a number or a word; one sentence says what it takes, not one for each."""
    try:
        return check(value)
    except ValidationError as error:
        raise ValueError(f"expected {expected}") from error


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
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)


class FineTuningSettings(Settings):
    """What of the backbone learns, and how: `train` says what, `stage_epochs` how long until one stage more does.

    `layer_decay` is the factor on the rate from a layer to the one below, `head_factor` that of what stands on the
    backbone; `drop_path` the greatest chance of leaving out a block, the network's own where left out.
    """

    train: Literal["all", "head", "staged"] = "all"
    stage_epochs: Count = 1
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    head_factor: Positive = 1.0
    freeze_batch_norm: bool = False
    drop_path: Annotated[float, Field(ge=0, lt=1)] | None = None
    gradient_checkpointing: bool = False


class ComputeSettings(Settings):
    """How the network is computed, with the same result: memory order, and whether torch compiles it for training."""

    channels_last: bool = True
    compile: bool = False


class ViewsSettings(Settings):
    """How the views of a breast become its score; `most` of them are trained on at once, others in each epoch."""

    combine: Combination = "mean"
    most: Count = 8


class HeadSettings(Settings):
    """Pooling, hidden layers (their widths), BatchNorm before each layer, dropout after each hidden layer.

    The last dropout is drawn `dropout_samples` times for each picture.
    """

    pooling: Literal["avg", "max", "catavgmax", "gem", "attention"] = "avg"
    layers: tuple[Count, ...] = ()
    batch_norm: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout_samples: Count = 1


class AugmentSettings(Settings):
    """Random changes of each picture, none by default: chances of flips, and the greatest change of every other kind.

    Each picture draws its own, evenly from none to the greatest. `erase_side` is the longest side of what is erased.
    """

    flip_horizontal: Share = 0.0
    flip_vertical: Share = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear_degrees: Annotated[float, Field(ge=0, le=45)] = 0.0
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    blur_px: Annotated[float, Field(ge=0, le=10)] = 0.0
    noise: Share = 0.0
    window: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tone_curve: Annotated[float, Field(ge=0, le=2)] = 0.0
    brightness: Share = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    erase: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    erase_side: Annotated[float, Field(ge=0.02, le=0.5)] = 0.04


class LossSettings(Settings):
    """What is minimised; each key beyond `name` is for the losses that `recipe_checks` lets use it.

    `positive_weight` multiplies the loss of the cases; "auto" makes both classes of an epoch weigh alike.
    `soften_positives` is what the target of a case lacks to 1. `surrogate_share` is the part of the loss that stands
    for a measure of the whole batch (average precision, pF1); the rest is cross-entropy. `prevalence` is the share of
    cases where scores are to be probabilities: that of what may be trained on ("training"), or a number.
    """

    name: Literal["bce", "focal", "average-precision", "pf1"] = "bce"
    positive_weight: Positive | Literal["auto"] = 1.0
    soften_positives: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    focal_gamma: NotNegative = 2.0  # the best of Lin et al. 2017 (arXiv:1708.02002)
    surrogate_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Annotated[float, Field(ge=0.001)] = 1.0  # of RankNet's pairs (doi:10.1145/1102351.1102363)
    prevalence: Annotated[float, Field(gt=0, lt=1)] | Literal["training"] | None = None

    @field_validator("positive_weight", mode="wrap")
    @classmethod
    def _say_both_ways(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        return _check_in_one_sentence(value, check, expected="a number above 0, or 'auto'")

    @field_validator("prevalence", mode="wrap")
    @classmethod
    def _say_all_ways(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        return _check_in_one_sentence(value, check, expected="a number above 0 and below 1, or 'training'")


class ScoringSettings(Settings):
    """How pictures are scored: as they are, or as the mean logit of them and of their mirror images."""

    flips: Literal["none", "horizontal", "all"] = "none"


class AuxiliarySettings(Settings):
    """How much the loss of each further question to the network weighs beside that of cancer; 0: it is not asked."""

    view: NotNegative = 0.0
    density: NotNegative = 0.0
    birads: NotNegative = 0.0
    invasive: NotNegative = 0.0
    difficult_negative: NotNegative = 0.0
    biopsy: NotNegative = 0.0


class OptimizerSettings(Settings):
    """Rate per step, weight decay, and the largest gradient norm (0: not clipped).

    `most_skipped` steps in a row without finite losses and gradients end a training.
    """

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    rate: Positive = 1e-3
    weight_decay: NotNegative = 0.01
    clip_norm: NotNegative = 1.0
    most_skipped: Count = 10


class ScheduleSettings(Settings):
    """How the rate goes over the steps of a training.

    It rises in a share of the steps (`warm_up`), in `warm_up_steps` or in `warm_up_epochs`, of which one may be given;
    `floor` is the share of the top rate that cosine falls to.
    """

    name: Literal["constant", "cosine", "one-cycle"] = "one-cycle"
    warm_up: Annotated[float, Field(ge=0, lt=1)] | None = None
    warm_up_steps: Annotated[int, Field(ge=0)] | None = None
    warm_up_epochs: NotNegative | None = None
    floor: Share = 0.0

    @property
    def given_warm_ups(self) -> dict[str, float]:
        """The keys that say how long the rate rises, those that are given."""
        return {key: getattr(self, key) for key in WARM_UPS if getattr(self, key) is not None}


class BatchSettings(Settings):
    """`size` examples make one step of the optimizer; `micro` of them are in memory at once.

    Of several processes, `micro` are in the memory of each; by default, its whole share of the `size`. "auto" is the
    most that fit, found before the training.
    """

    size: Count = 16
    micro: Count | Literal["auto"] | None = None

    def count_in_memory(self, n_processes: int = 1) -> int:
        """The examples at once in the memory of a process, the most there can be where they are not found yet."""
        return self.micro if isinstance(self.micro, int) else max(self.size // n_processes, 1)

    @field_validator("micro", mode="wrap")
    @classmethod
    def _say_both_ways(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        return _check_in_one_sentence(value, check, expected="a whole number, 1 or more, or 'auto'")


class Recipe(Settings):
    """A whole recipe: `level` is what one example is; `ema` the decay of the averaged weights per step (0: none).

    `keep` says of which epoch the weights are scored and saved.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Count = 10
    level: Level = "image"
    sampling: SamplingStrategy = "all"
    balance: BalanceSettings = BalanceSettings()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    keep: Literal["last", "best"] = "last"
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"
    store: StoreSettings = StoreSettings()
    picture: PictureSettings = PictureSettings()
    compute: ComputeSettings = ComputeSettings()
    backbone: BackboneSettings
    fine_tuning: FineTuningSettings = FineTuningSettings()
    views: ViewsSettings = ViewsSettings()
    head: HeadSettings = HeadSettings()
    table: TableSettings = TableSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    auxiliary: AuxiliarySettings = AuxiliarySettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    batch: BatchSettings = BatchSettings()
    scoring: ScoringSettings = ScoringSettings()
    operating_points: OperatingPointSettings = OperatingPointSettings()
    second_stage: SecondStageSettings | None = None


def with_flips(recipe: Recipe, flips: str | None) -> Recipe:
    """The recipe with other mirror images to score by; None leaves its own.

    Raises:
        ValidationError: there are none of that name.
    """
    if flips is None:
        return recipe
    scoring = ScoringSettings.model_validate({"flips": flips})
    return recipe.model_copy(update={"scoring": scoring})
