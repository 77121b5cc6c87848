"""Recipes by name or file, each extending another where it says so: TOML to checked settings."""

from importlib import resources
from pathlib import Path

from mammoscope.config import Table, apply_overrides, build_settings, merge_tables, parse_toml, read_toml
from mammoscope.errors import ConfigError
from mammoscope.learning.recipe_checks import check_recipe
from mammoscope.learning.settings import WARM_UPS, Recipe


def shipped_recipes() -> list[str]:
    """The names of the recipes that ship."""
    folder = resources.files("mammoscope.learning.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def read_recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    """The recipe of a shipped name (`small`) or of a TOML file, with each `key=value` put in.

    Raises:
        ConfigError: no such recipe, not TOML, an unknown key, or a bad value, with its dotted path.
    """
    below = _make_way(_read_table(name_or_path), apply_overrides({}, overrides))
    table = apply_overrides(below, overrides)
    recipe = build_settings(Recipe, table, where=f"recipe {name_or_path}")
    check_recipe(recipe, name_or_path)
    return recipe


def _read_table(name_or_path: str, extending: tuple[str, ...] = ()) -> Table:
    """The tables of a recipe, put over those of the one that it extends."""
    if name_or_path in extending:
        raise ConfigError(
            f"recipe {extending[0]}: extends: found a circle, {' -> '.join([*extending, name_or_path])}; "
            "take the key out of one of them"
        )
    table = _read_own_table(name_or_path)
    if "extends" not in table:
        return table
    below = table.pop("extends")
    if not isinstance(below, str):
        raise ConfigError(
            f"recipe {name_or_path}: extends: found {below!r}, expected the name or the path of one recipe"
        )
    if below not in shipped_recipes():
        below = str(Path(name_or_path).parent / below)  # beside the file that names it
    return merge_tables(_make_way(_read_table(below, (*extending, name_or_path)), table), table)


def _make_way(below: Table, above: Table) -> Table:
    """The table below without its warm-up, where that above gives one, which may be in another unit."""
    schedule, above_it = below.get("schedule"), above.get("schedule")
    if not isinstance(schedule, dict) or not isinstance(above_it, dict) or above_it.keys().isdisjoint(WARM_UPS):
        return below
    return below | {"schedule": {key: value for key, value in schedule.items() if key not in WARM_UPS}}


def _read_own_table(name_or_path: str) -> Table:
    if name_or_path in shipped_recipes():
        text = resources.files("mammoscope.learning.recipes").joinpath(f"{name_or_path}.toml").read_text("utf-8")
        return parse_toml(text, where=f"recipe {name_or_path}")
    if not Path(name_or_path).is_file():
        raise ConfigError(
            f"recipe {name_or_path}: no such file, and not one of the recipes that ship: {', '.join(shipped_recipes())}"
        )
    return read_toml(Path(name_or_path))
