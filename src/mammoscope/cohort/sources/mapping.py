"""How the columns of somebody's table become fields of a manifest: a small TOML file."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.config import Settings, build_settings, parse_toml, read_toml
from mammoscope.errors import ConfigError

_COLUMN: Final = re.compile(r"\{([^{}]*)\}")
STEM: Final = ":stem"
"""Behind a column: of the path in it only the name, without folder and suffix."""
_FIELDS: Final = frozenset(SCHEMA) - {"source", "path", "fold"} | {"pathology"}
_NEEDED: Final = ("image_id", "patient_id", "laterality", "view")
_BUILT_IN: Final = files("mammoscope.cohort.sources.mappings")


class Mapping(Settings):
    """What a mapping file says.

    Attributes:
        source: the name of the data set.
        separator: between the columns of a CSV file.
        sheet: of an Excel workbook; None takes the one that is not empty.
        path: where the image of a row lies below the folder of images, as a pattern; None where there are none.
        fields: a pattern for each field of the manifest: text with the names of columns in braces. `pathology`
            (malignant, benign or normal) may stand in place of `cancer`; `exam_id` is the patient's where it is not
            given, one exam for each.
        outcome_from_birads: whether the category decides, by the rule; for a table with neither cancer nor pathology.
        values: for each field, what a text stands for, where it is not spelled as in the manifest.
        unknown: for each field, the texts that mean that nothing is known.
    """

    source: Annotated[str, Field(min_length=1)]
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    sheet: str | None = None
    path: str | None = None
    fields: dict[str, str]
    outcome_from_birads: bool = False
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    unknown: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = sorted({*self.fields, *self.values, *self.unknown} - _FIELDS)
        if unknown:
            raise ValueError(f"no such field: {', '.join(unknown)}; known are {', '.join(sorted(_FIELDS))}")
        missing = [name for name in _NEEDED if name not in self.fields]
        if missing:
            raise ValueError(f"fields without a pattern: {', '.join(missing)}; name the columns that they are made of")
        unused = sorted({*self.values, *self.unknown} - set(self.fields))
        if unused:
            raise ValueError(f"values of {', '.join(unused)}, which has no pattern; add it to the fields")
        outcomes: list[str] = [name for name in ("cancer", "pathology") if name in self.fields]
        outcomes += ["outcome_from_birads"] if self.outcome_from_birads else []
        if len(outcomes) > 1:
            raise ValueError(f"the outcome is given by {' and '.join(outcomes)}; keep one of them")
        if self.outcome_from_birads and "birads" not in self.fields:
            raise ValueError("outcome_from_birads without birads; add it to the fields")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the patterns name, each once."""
        patterns = (*self.fields.values(), *([] if self.path is None else [self.path]))
        return tuple(dict.fromkeys(name for pattern in patterns for name in _name_columns(pattern)))

    @property
    def has_outcome(self) -> bool:
        """Whether anything says what is cancer."""
        return self.outcome_from_birads or not {"cancer", "pathology"}.isdisjoint(self.fields)

    @property
    def rule_parts(self) -> frozenset[str]:
        """The parts of the rule of outcomes that decide: none where the table says itself what is cancer."""
        if self.outcome_from_birads:
            return frozenset({"case_birads", "control_birads", "normal_side"})
        return frozenset({"benign", "normal_side"}) if "pathology" in self.fields else frozenset()

    @property
    def column_of(self) -> dict[str, str]:
        """The columns that each field is made of, for sentences."""
        return {name: ", ".join(_name_columns(pattern)) or name for name, pattern in self.fields.items()}


def _name_columns(pattern: str) -> list[str]:
    return [name.removesuffix(STEM) for name in _COLUMN.findall(pattern)]


def split_pattern(pattern: str) -> Sequence[tuple[str, bool]]:
    """The parts of a pattern in their order: a text and false, or the name of a column and true."""
    parts = _COLUMN.split(pattern)
    return [(part, bool(place % 2)) for place, part in enumerate(parts) if part]


def read_mapping(name: str) -> Mapping:
    """The mapping of a TOML file, or the one of that name that comes with mammoscope.

    Raises:
        ConfigError: no such file or name, no TOML, unknown keys or fields.
    """
    built_in = {path.name.removesuffix(".toml"): path for path in _BUILT_IN.iterdir() if path.name.endswith(".toml")}
    if name in built_in:
        table = parse_toml(built_in[name].read_text(encoding="utf-8"), where=name)
    elif not Path(name).is_file():
        raise ConfigError(f"{name}: no such mapping, expected a TOML file, or one of {', '.join(sorted(built_in))}")
    else:
        table = read_toml(Path(name))
    return build_settings(Mapping, table, where=name)
