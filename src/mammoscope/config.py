"""Strict TOML to frozen settings; an unknown key or a bad value names its dotted path.

Each settings class is a pydantic model that inherits from `Settings` and stands beside the code that uses it.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mammoscope.errors import ConfigError

Table = dict[str, Any]


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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, byte {error.start}; expected a TOML file") from error
    return parse_toml(text, where=str(path))


def apply_overrides(table: Table, assignments: Sequence[str]) -> Table:
    """A copy of the table with each `dotted.key=value` put in; a value is TOML, or else a plain string.

    Raises:
        ConfigError: an assignment without a key or without `=`.
    """
    result: Table = _deep_copy(table)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise ConfigError(f"--set {assignment}: expected key=value, such as --set optimizer.rate=0.001")
        *parents, last = key.strip().split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {assignment}: {parent!r} holds a value, expected a table")
        inner[last] = _parse_value(text.strip())
    return result


def build_settings(model: type[SettingsT], table: Table, *, where: str) -> SettingsT:
    """The settings that a table says.

    Raises:
        ConfigError: unknown keys or bad values, all of them, each on a line with its dotted path.
    """
    try:
        return model.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        problems = [_describe(problem, model) for problem in error.errors()]
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from error


def to_toml(settings: Settings) -> str:
    """The settings as TOML text; reading it back gives equal settings. Keys that are None are left out."""
    lines: list[str] = []
    _append_table(lines, settings.model_dump(mode="json", exclude_none=True), path=())
    return "\n".join(lines) + "\n"


def _parse_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _deep_copy(table: Table) -> Table:
    return {key: _deep_copy(value) if isinstance(value, dict) else value for key, value in table.items()}


def _describe(problem: Mapping[str, Any], model: type[Settings]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        return f"{path}: unknown key; {advice}"
    if problem["type"] == "missing":
        return f"{path}: missing; add this key"
    return f"{path}: found {problem['input']!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _known_keys(model: type[Settings], path: tuple[str | int, ...]) -> list[str]:
    inner: object = model
    for part in path:
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        inner = inner.model_fields[str(part)].annotation
    return sorted(inner.model_fields) if isinstance(inner, type) and issubclass(inner, BaseModel) else []


def _append_table(lines: list[str], table: Table, path: tuple[str, ...]) -> None:
    if path:
        lines.extend(["", f"[{'.'.join(path)}]"])
    for key, value in table.items():
        if not isinstance(value, dict):
            # JSON's strings, numbers, true/false and flat lists are written alike in TOML
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for key, value in table.items():
        if isinstance(value, dict):
            _append_table(lines, value, (*path, key))
