"""What a recipe can say: strict settings, each with its unit and range."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mammoscope.cohort.balance import USED_KEYS, BalanceSettings, SamplingStrategy
from mammoscope.cohort.matching import DEFAULT_AGE_WITHIN_YEARS
from mammoscope.config import Settings, Table, apply_overrides, build_settings, parse_toml, read_toml
from mammoscope.errors import ConfigError

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
    """`size` pictures make one step of the optimizer; `micro` of them are in memory at once (default: all)."""

    size: Count = 16
    micro: Count | None = None


class Recipe(Settings):
    """A whole recipe; `ema` is the decay of the averaged weights for each step (0: none)."""

    seed: Annotated[int, Field(ge=0)] = 0
    epochs: Count = 10
    sampling: SamplingStrategy = "all"
    balance: BalanceSettings = BalanceSettings()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "f32", "bf16"] = "auto"
    store: StoreSettings = StoreSettings()
    picture: PictureSettings = PictureSettings()
    backbone: BackboneSettings
    head: HeadSettings = HeadSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    batch: BatchSettings = BatchSettings()


def shipped_recipes() -> list[str]:
    """The names of the recipes that ship."""
    folder = resources.files("mammoscope.learning.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    """The recipe of a shipped name (`small`) or of a TOML file, with each `key=value` put in.

    Raises:
        ConfigError: no such recipe, not TOML, an unknown key, or a bad value, with its dotted path.
    """
    table = apply_overrides(_read_table(name_or_path), overrides)
    recipe = build_settings(Recipe, table, where=f"recipe {name_or_path}")
    _check(recipe, name_or_path)
    return recipe


def _read_table(name_or_path: str) -> Table:
    if name_or_path in shipped_recipes():
        text = resources.files("mammoscope.learning.recipes").joinpath(f"{name_or_path}.toml").read_text("utf-8")
        return parse_toml(text, where=f"recipe {name_or_path}")
    if not Path(name_or_path).is_file():
        raise ConfigError(
            f"recipe {name_or_path}: no such file, and not one of the recipes that ship: {', '.join(shipped_recipes())}"
        )
    return read_toml(Path(name_or_path))


def _check(recipe: Recipe, name_or_path: str) -> None:
    micro = recipe.batch.micro or recipe.batch.size
    if micro > recipe.batch.size or recipe.batch.size % micro:
        raise ConfigError(
            f"recipe {name_or_path}: batch.micro: found {micro}, "
            f"expected a divisor of batch.size, which is {recipe.batch.size}"
        )
    if micro == 1 and recipe.head.batch_norm:
        raise ConfigError(
            f"recipe {name_or_path}: head.batch_norm: found true with one picture at a time, which has no spread; "
            "expected batch.micro (or batch.size) of 2 or more"
        )
    _check_balance(recipe, name_or_path)
    sizes = recipe.picture
    for name in ("train", "held_out"):
        if (getattr(sizes, f"{name}_rows") is None) != (getattr(sizes, f"{name}_columns") is None):
            raise ConfigError(f"recipe {name_or_path}: picture.{name}_rows and _columns: expected both or neither")


def _check_balance(recipe: Recipe, name_or_path: str) -> None:
    used = USED_KEYS[recipe.sampling]
    for key, value in recipe.balance.model_dump(exclude_defaults=True).items():
        if key not in used:
            users = " or ".join(repr(strategy) for strategy, keys in USED_KEYS.items() if key in keys)
            raise ConfigError(
                f"recipe {name_or_path}: balance.{key}: found {value!r}, which sampling = {recipe.sampling!r} does not "
                f"use; expected it with sampling = {users} only"
            )
    if "match" in used:
        _check_match(recipe, name_or_path)
    if "least_cases" in used and recipe.balance.least_cases >= recipe.batch.size:
        raise ConfigError(
            f"recipe {name_or_path}: balance.least_cases: found {recipe.balance.least_cases}, expected less than "
            f"batch.size, which is {recipe.batch.size}, so that a batch has a control"
        )
    if "repeat_strength" in used:
        _check_strength(recipe, name_or_path)


def _check_match(recipe: Recipe, name_or_path: str) -> None:
    balance = recipe.balance
    if balance.controls_per_case != int(balance.controls_per_case):
        raise ConfigError(
            f"recipe {name_or_path}: balance.controls_per_case: found {balance.controls_per_case:g}, expected a whole "
            f"number with sampling = {recipe.sampling!r}, which counts breasts"
        )
    if "age_years" not in balance.match and balance.age_within_years != DEFAULT_AGE_WITHIN_YEARS:
        raise ConfigError(
            f"recipe {name_or_path}: balance.age_within_years: found {balance.age_within_years:g}, which is not used "
            "without 'age_years' in balance.match; add it there, or leave this key out"
        )


def _check_strength(recipe: Recipe, name_or_path: str) -> None:
    """A zoom or contrast of 1 would turn pictures to nothing, a shear beyond 45 degrees to stripes."""
    strength = recipe.balance.repeat_strength
    for key, most in (("zoom", 1.0), ("contrast", 1.0), ("shear_degrees", 45.0)):
        if getattr(recipe.augment, key) * strength >= most:
            raise ConfigError(
                f"recipe {name_or_path}: balance.repeat_strength: found {strength:g}, which times augment.{key} is "
                f"{getattr(recipe.augment, key) * strength:g}; expected less than {most:g}; lower one of them"
            )
