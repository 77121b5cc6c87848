"""What no single key of a recipe can say: keys that contradict each other."""

from mammoscope.cohort.balance import USED_KEYS
from mammoscope.cohort.matching import DEFAULT_AGE_WITHIN_YEARS
from mammoscope.errors import ConfigError
from mammoscope.learning.settings import AugmentSettings, LossSettings, Recipe, ScheduleSettings, ViewsSettings
from mammoscope.learning.table_inputs import CATEGORIES, SHORTCUTS, TableSettings

_SURROGATES = ("average-precision", "pf1")
_LOSSES_THAT_USE = {
    "focal_gamma": ("focal",),
    "surrogate_share": _SURROGATES,
    "temperature": ("average-precision",),
    "prevalence": ("bce",),  # the others are not least where a score is the probability
}
# other strategies choose controls by what is in them, so that one shift of all logits does not undo it
_DRAWN_BY_CHANCE = ("all", "undersample", "upsample", "balanced-batch")

_MOST_REPEATED = {
    "zoom": 1.0,
    "shear_degrees": 45.0,
    "crop": 1.0,
    "elastic": 0.12,  # 0.48 of a quarter of the shorter side, see `_bend` of the changes of place
    "window": 0.5,
    "contrast": 1.0,
    "erase": 1.0,
}


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
    if recipe.head.dropout_samples > 1 and not recipe.head.dropout:
        raise ConfigError(
            f"recipe {name_or_path}: head.dropout_samples: found {recipe.head.dropout_samples} with head.dropout = 0, "
            "which makes all of them equal; set a chance of dropout, or leave this key out"
        )
    _check_views(recipe, name_or_path)
    _check_table(recipe, name_or_path)
    _check_augment(recipe.augment, name_or_path)
    _check_fine_tuning(recipe, name_or_path)
    _check_balance(recipe, name_or_path)
    _check_loss(recipe, name_or_path)
    _check_schedule(recipe.schedule, name_or_path)
    sizes = recipe.picture
    for name in ("train", "held_out"):
        if (getattr(sizes, f"{name}_rows") is None) != (getattr(sizes, f"{name}_columns") is None):
            raise ConfigError(f"recipe {name_or_path}: picture.{name}_rows and _columns: expected both or neither")


def _check_views(recipe: Recipe, name_or_path: str) -> None:
    if recipe.level == "breast":
        return
    if recipe.views.combine == "attention":
        raise ConfigError(
            f"recipe {name_or_path}: views.combine: found 'attention' with level = 'image', where no view is weighed; "
            "expected it with level = 'breast'"
        )
    if recipe.views.most != ViewsSettings.model_fields["most"].default:
        raise ConfigError(
            f"recipe {name_or_path}: views.most: found {recipe.views.most}, which level = 'image' does not use; "
            "expected it with level = 'breast' only"
        )


def _check_augment(augment: AugmentSettings, name_or_path: str) -> None:
    if not augment.erase and augment.erase_side != AugmentSettings.model_fields["erase_side"].default:
        raise ConfigError(
            f"recipe {name_or_path}: augment.erase_side: found {augment.erase_side:g}, which is not used without "
            "augment.erase; set a share there, or leave this key out"
        )


def _check_table(recipe: Recipe, name_or_path: str) -> None:
    found = [column for column in recipe.table.columns if column in SHORTCUTS]
    if found and not recipe.table.allow_shortcuts:
        raise ConfigError(
            f"recipe {name_or_path}: table.columns: found {', '.join(map(repr, found))}, which tells cancer by how a "
            "cohort was made (where its cases come from), and not by the breast; leave it out, or set "
            "table.allow_shortcuts = true"
        )
    unused: dict[str, str] = {}
    if not recipe.table.columns:
        unused = dict.fromkeys(("embedding", "hidden", "dropout"), "columns")
    elif set(recipe.table.columns).isdisjoint(CATEGORIES):
        unused = {"embedding": "categories among the columns"}
    for key, lacking in unused.items():
        value = getattr(recipe.table, key)
        if value != TableSettings.model_fields[key].default:
            raise ConfigError(
                f"recipe {name_or_path}: table.{key}: found {value:g}, which is not used without {lacking}; name some "
                "in table.columns, or leave this key out"
            )


def _check_fine_tuning(recipe: Recipe, name_or_path: str) -> None:
    settings = recipe.fine_tuning
    used = {"all": {"layer_decay", "gradient_checkpointing"}, "head": set[str]()}
    used["staged"] = used["all"] | {"stage_epochs"}
    for key in sorted(used["staged"] - used[settings.train]):
        value = getattr(settings, key)
        if value != type(settings).model_fields[key].default:
            raise ConfigError(
                f"recipe {name_or_path}: fine_tuning.{key}: found {value!r}, which train = {settings.train!r} does not "
                f"use; expected it with train = {' or '.join(repr(way) for way, keys in used.items() if key in keys)} "
                "only"
            )
    if settings.train == "staged" and settings.stage_epochs >= recipe.epochs:
        raise ConfigError(
            f"recipe {name_or_path}: fine_tuning.stage_epochs: found {settings.stage_epochs} with epochs = "
            f"{recipe.epochs}, in which no stage of the backbone gets its turn; expected fewer than epochs"
        )
    if settings.drop_path is not None and "drop_path_rate" in recipe.backbone.options:
        raise ConfigError(
            f"recipe {name_or_path}: fine_tuning.drop_path: found {settings.drop_path:g} beside drop_path_rate in "
            "backbone.options; expected one of them"
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
    """At these a picture would turn to nothing, to stripes or to grey, or fold over itself."""
    strength = recipe.balance.repeat_strength
    for key, most in _MOST_REPEATED.items():
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


def _check_schedule(schedule: ScheduleSettings, name_or_path: str) -> None:
    given = list(schedule.given_warm_ups)
    if len(given) > 1:
        raise ConfigError(
            f"recipe {name_or_path}: schedule.{given[-1]}: found beside schedule.{given[0]}, expected at most one of "
            "warm_up, warm_up_steps and warm_up_epochs; take the others out"
        )
    if schedule.floor and schedule.name != "cosine":
        raise ConfigError(
            f"recipe {name_or_path}: schedule.floor: found {schedule.floor:g}, which schedule.name = "
            f"{schedule.name!r} does not use; expected it with 'cosine' only"
        )
