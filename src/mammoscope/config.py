"""Strict TOML to frozen settings; an unknown key or a bad value names its dotted path.

Each settings class is a pydantic model that inherits from `Settings` and stands beside the code that uses it.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mammoscope.errors import ConfigError

Table = dict[str, Any]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Settings(BaseModel):
    """Base of every settings class: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_toml(text: str, *, where: str) -> Table:
    """The tables of a TOML text.

    Raises:
        ConfigError: the text is not TOML; the message gives the line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error


def read_toml(path: Path) -> Table:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is missing, not UTF-8, or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a byte order mark first
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, byte {error.start}; expected a TOML file") from error
    return parse_toml(text, where=str(path))


def apply_overrides(table: Table, assignments: Sequence[str]) -> Table:
    """A copy of the table with each `dotted.key=value` put in; a value is a line of TOML, or else a plain string.

    Raises:
        ConfigError: an assignment without a key or without `=`.
    """
    result: Table = _deep_copy(table)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *parents, last = (part.strip() for part in key.split("."))
        if not equals or not all([*parents, last]):
            raise ConfigError(f"--set {assignment}: expected key=value, such as --set optimizer.rate=0.001")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {assignment}: {parent!r} holds a value, expected a table")
        inner[last] = _parse_value(text.strip())
    return result


def merge_tables(below: Table, above: Table) -> Table:
    """A new table with the values of both, those of `above` where both have one; tables within are merged alike."""
    merged = _deep_copy(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = merge_tables(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def build_settings(model: type[SettingsT], table: Table, *, where: str) -> SettingsT:
    """The settings that a table says.

    Raises:
        ConfigError: unknown keys or bad values, all of them, each on a line with its dotted path.
    """
    try:
        return model.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        problems = dict.fromkeys(_describe(problem, model, table) for problem in error.errors())
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from error


def to_toml(settings: Settings) -> str:
    """The settings as TOML text; reading it back gives equal settings.

    Keys that are None are left out, because TOML has no word for it: a key that may be None has None as default.
    """
    lines: list[str] = []
    _append_table(lines, settings.model_dump(mode="json", exclude_none=True), path=())
    return "\n".join(lines) + "\n"


def _parse_value(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _deep_copy(table: Table) -> Table:
    return {key: _deep_copy(value) if isinstance(value, dict) else value for key, value in table.items()}


def _describe(problem: Mapping[str, Any], model: type[Settings], table: Table) -> str:
    place = problem["loc"] if problem["type"] == "missing" else _place_in_table(problem["loc"], table)
    path = ".".join(str(part) for part in place)
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key; {_advise(str(place[-1]), _known_keys(model, place[:-1]))}"
    if problem["type"] == "missing":
        return f"{path}: missing; add this key"
    expected = problem["msg"].removeprefix("Value error, ")
    expected = f"{expected[0].lower()}{expected[1:]}"
    return f"{path}: found {problem['input']!r}; {expected}" if place else expected


def _place_in_table(place: tuple[str | int, ...], table: Table) -> tuple[str | int, ...]:
    """The part of the place that stands in the table: pydantic adds the type that it tried of a union."""
    inner: Any = table
    for depth, part in enumerate(place):
        is_there = part in inner if isinstance(inner, dict) else isinstance(inner, list) and isinstance(part, int)
        if not is_there:
            return place[:depth]
        inner = inner[part]
    return place


def _advise(unknown: str, known: list[str]) -> str:
    close = difflib.get_close_matches(unknown, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(known)}" if known else "remove it"


def _known_keys(model: type[Settings], path: tuple[str | int, ...]) -> list[str]:
    inner: type[BaseModel] | None = model
    for part in path:
        if inner is None or part not in inner.model_fields:
            return []
        inner = _model_within(inner.model_fields[str(part)].annotation)
    return sorted(inner.model_fields) if inner else []


def _model_within(annotation: object) -> type[BaseModel] | None:
    """The settings class that an annotation names, also as `Settings | None`."""
    candidates = (annotation, *get_args(annotation))
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _append_table(lines: list[str], table: Table, path: tuple[str, ...]) -> None:
    if path:
        lines.extend(["", f"[{'.'.join(_key_to_toml(key) for key in path)}]"])
    for key, value in table.items():
        if not isinstance(value, dict):
            lines.append(f"{_key_to_toml(key)} = {_value_to_toml(value)}")
    for key, value in table.items():
        if isinstance(value, dict):
            _append_table(lines, value, (*path, key))


def _key_to_toml(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value_to_toml(key)


def _value_to_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key_to_toml(key)} = {_value_to_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value_to_toml(inner) for inner in value) + "]"
    # JSON's strings, numbers, true and false are written alike in TOML, but for the character "delete"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
