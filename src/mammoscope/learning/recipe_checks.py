"""What no single key of a recipe can say: keys that contradict each other."""

from mammoscope.cohort.balance import USED_KEYS
from mammoscope.cohort.matching import DEFAULT_AGE_WITHIN_YEARS
from mammoscope.errors import ConfigError
from mammoscope.learning.settings import LossSettings, Recipe
from mammoscope.learning.table_inputs import SHORTCUTS

_SURROGATES = ("average-precision", "pf1")
_LOSSES_THAT_USE = {
    "focal_gamma": ("focal",),
    "surrogate_share": _SURROGATES,
    "temperature": ("average-precision",),
    "prevalence": ("bce",),  # the others are not least where a score is the probability
}
# other strategies choose controls by what is in them, so that one shift of all logits does not undo it
_DRAWN_BY_CHANCE = ("all", "undersample", "upsample", "balanced-batch")


def check_recipe(recipe: Recipe, name_or_path: str) -> None:
    """Refuse keys that contradict each other.

    Raises:
        ConfigError: with the dotted path of the key.
    """
    micro = recipe.batch.count_in_memory()
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
    if recipe.level == "image" and recipe.views.combine == "attention":
        raise ConfigError(
            f"recipe {name_or_path}: views.combine: found 'attention' with level = 'image', where no view is weighed; "
            "expected it with level = 'breast'"
        )
    _check_table(recipe, name_or_path)
    _check_auxiliary(recipe, name_or_path)
    _check_balance(recipe, name_or_path)
    _check_loss(recipe, name_or_path)
    sizes = recipe.picture
    for name in ("train", "held_out"):
        if (getattr(sizes, f"{name}_rows") is None) != (getattr(sizes, f"{name}_columns") is None):
            raise ConfigError(f"recipe {name_or_path}: picture.{name}_rows and _columns: expected both or neither")


def _check_table(recipe: Recipe, name_or_path: str) -> None:
    found = [column for column in recipe.table.columns if column in SHORTCUTS]
    if found and not recipe.table.allow_shortcuts:
        raise ConfigError(
            f"recipe {name_or_path}: table.columns: found {', '.join(map(repr, found))}, which tells cancer by how a "
            "cohort was made (where its cases come from), and not by the breast; leave it out, or set "
            "table.allow_shortcuts = true"
        )


def _check_auxiliary(recipe: Recipe, name_or_path: str) -> None:
    for key, weight in recipe.auxiliary.model_dump(exclude_defaults=True).items():
        raise ConfigError(
            f"recipe {name_or_path}: auxiliary.{key}: found {weight:g}, but networks answer no further questions yet; "
            "leave this key out"
        )


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


def _check_loss(recipe: Recipe, name_or_path: str) -> None:
    for key, value in recipe.loss.model_dump(exclude_defaults=True).items():
        if recipe.loss.name not in _LOSSES_THAT_USE.get(key, (recipe.loss.name,)):
            users = " or ".join(repr(name) for name in _LOSSES_THAT_USE[key])
            raise ConfigError(
                f"recipe {name_or_path}: loss.{key}: found {value!r}, which loss.name = {recipe.loss.name!r} does not "
                f"use; expected it with loss.name = {users} only"
            )
    if recipe.loss.name in _SURROGATES:
        _check_surrogate(recipe, name_or_path)
    if recipe.loss.prevalence is not None:
        _check_prevalence(recipe, name_or_path)


def _check_surrogate(recipe: Recipe, name_or_path: str) -> None:
    if recipe.batch.count_in_memory() == 1:
        raise ConfigError(
            f"recipe {name_or_path}: loss.name: found {recipe.loss.name!r} with one picture at a time, which has no "
            "others to be held against; expected batch.micro (or batch.size) of 2 or more"
        )
    for key in ("positive_weight", "soften_positives"):
        value = getattr(recipe.loss, key)
        if recipe.loss.surrogate_share == 1 and value != LossSettings.model_fields[key].default:
            raise ConfigError(
                f"recipe {name_or_path}: loss.{key}: found {value!r}, which only cross-entropy uses, but "
                "loss.surrogate_share = 1 leaves none of it; set a smaller share, or leave this key out"
            )


def _check_prevalence(recipe: Recipe, name_or_path: str) -> None:
    if recipe.sampling not in _DRAWN_BY_CHANCE:
        raise ConfigError(
            f"recipe {name_or_path}: loss.prevalence: found {recipe.loss.prevalence!r} with sampling = "
            f"{recipe.sampling!r}, which does not draw controls by chance, so that scores would be no probabilities; "
            f"expected sampling = {' or '.join(repr(each) for each in _DRAWN_BY_CHANCE)}, or leave this key out"
        )
    if recipe.loss.soften_positives:
        raise ConfigError(
            f"recipe {name_or_path}: loss.soften_positives: found {recipe.loss.soften_positives:g} with "
            "loss.prevalence, but a score that is learned from such targets is no probability; leave one of them out"
        )
