"""Which scores stand in which group: by site, machine, density, age band, view, or any other column of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.levels import Level, LevelSample
from mammoscope.exam import BREAST

Outcomes = NDArray[np.bool_]
Splits = Literal["all", "cases", "controls"]

COLUMNS = (
    *("site", "machine", "manufacturer", "view", "laterality", "density", "age_years", "implant"),
    *("invasive", "difficult_negative"),
)
"""The columns of a manifest by which scores are always grouped, where they are known."""
NOT_RECORDED = "not recorded"
_SEVERAL = "several"
_MOST_GROUPS = 40  # more are no groups, but names
_AGE_EDGES = (40.0, 50.0, 60.0, 70.0)  # years; programmes invite from 40 or 50 to 70 or 75
_QUARTERS = (0.25, 0.5, 0.75)
_MOST_NUMBERS = 12  # distinct numbers that are groups of their own
# what is known of one class only parts this class; each part is held against all of the other class
_CLASS_BY_COLUMN: dict[str, Splits] = {"invasive": "cases", "difficult_negative": "controls"}
# by what scores find what is known of them, the first that both have: a breast has no image, an exam has no side
_KEYS = (("image_id",), BREAST, ("patient_id", "laterality"), ("exam_id",), ("patient_id",))
_YES_NO = {"true": "yes", "false": "no"}


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The members of a group among the scores of a sample, (n,)."""

    name: str
    members: Outcomes


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """The groups of a column; where it `splits` the cases or the controls, all of the other class are in each."""

    column: str
    level: Level
    splits: Splits
    groups: tuple[Group, ...]


def level_of(column: str) -> Level:
    """The level at which a column is looked at: a view is of an image, all else of a breast."""
    return "image" if column == "view" else "breast"


def group_sample(sample: LevelSample, facts: Sequence[pl.DataFrame], columns: Sequence[str]) -> tuple[Grouping, ...]:
    """The groupings of a sample by the columns that are known of it: from its own rows, or else from the first facts.

    Facts have a row for each image (`image_id`), breast (`exam_id` or `patient_id`, `laterality`), exam or patient,
    and any columns, as a manifest has. What the first do not know of a score is taken from the next. The rows of images
    that the scores come from are facts too: the row of a breast alone does not say that its images differ. Columns of
    which nothing is known, or one value only, are left out.

    Raises:
        UserInputError: a column has more than 40 values that are no numbers.
    """
    groupings = (_group(sample, column, _find_values(sample, facts, column)) for column in columns)
    return tuple(grouping for grouping in groupings if grouping is not None)


def tell_ungrouped(sample: LevelSample, facts: Sequence[pl.DataFrame], columns: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each column that facts have and that gives a sample no groups, though somebody may expect them.

    Of the columns that are always looked at, one value is not worth a word.
    """
    if sample.rows.is_empty():
        return ()
    own = [column for column in columns if level_of(column) != "image" or sample.level == "image"]
    return tuple(sentence for column in own for sentence in _tell_ungrouped(sample, facts, column))


def _tell_ungrouped(sample: LevelSample, facts: Sequence[pl.DataFrame], column: str) -> Iterator[str]:
    values, n = _find_values(sample, facts, column), f"{sample.rows.height:,} scores"
    if values is None and any(_says(table, column) for table in facts):
        yield (
            f"group by {column}: is in a table, and of none of the {n}; are image_id, or exam_id or patient_id with "
            "laterality, in both, and spelled alike?"
        )
    elif values is not None and column not in COLUMNS and _group(sample, column, values) is None:
        (name,) = set(_name(column, values).fill_null(NOT_RECORDED))
        yield f"group by {column}: all of the {n} are in one group, {name}; there is nothing to compare"


def _says(facts: pl.DataFrame, column: str) -> bool:
    """Whether facts have a value of a column, of the class that it parts."""
    known = _of_class(facts, _CLASS_BY_COLUMN.get(column, "all"))
    return column in known.columns and not known[column].is_null().all()


def _find_values(sample: LevelSample, facts: Sequence[pl.DataFrame], column: str) -> pl.Series | None:
    """The value of each score of the sample; None where nothing is known of any."""
    found = pl.Series([None] * sample.rows.height, dtype=pl.Null)
    if column in sample.rows.columns:
        found = sample.rows[column]
    for table in facts:
        if not found.has_nulls():
            break
        further = _look_up(sample, table, column)
        found = found if further is None else _fill(found, further)
    return None if found.is_null().all() else found


def _fill(values: pl.Series, further: pl.Series) -> pl.Series:
    """The values, and where there is none the further one; texts, where not both are numbers."""
    if values.is_null().all() or further.is_null().all():
        return further if values.is_null().all() else values
    if values.dtype.is_numeric() and further.dtype.is_numeric():
        both = [values.cast(pl.Float64), further.cast(pl.Float64)]
    else:
        both = _spell_alike([_as_texts(values), _as_texts(further)])
    return both[0].zip_with(both[0].is_not_null(), both[1])


def _as_texts(values: pl.Series) -> pl.Series:
    """The values as text; a whole number without a fraction."""
    texts = values.cast(pl.String)
    return texts.str.strip_suffix(".0") if values.dtype.is_float() else texts


def _spell_alike(columns: list[pl.Series]) -> list[pl.Series]:
    """The texts, with 0 and 1 as the flags that they are where one of the columns is of flags."""
    if any(set(column.drop_nulls()) <= set(_YES_NO) for column in columns):
        return [column.replace({"0": "false", "1": "true"}) for column in columns]
    return columns


def _look_up(sample: LevelSample, facts: pl.DataFrame, column: str) -> pl.Series | None:
    key = next((key for key in _KEYS if _has(sample.rows, key) and _has(facts, key)), None)
    if key is None or column in key or column not in facts.columns:
        return None
    known = _of_class(facts, _CLASS_BY_COLUMN.get(column, "all")).drop_nulls(key)
    value = pl.col(column).fill_nan(None) if facts[column].dtype.is_float() else pl.col(column)
    values = known.group_by(key).agg(value.drop_nulls().unique().sort().alias("values"))
    joined = sample.rows.select(key).join(values, on=key, how="left", maintain_order="left")["values"]
    if facts[column].dtype.is_numeric():
        return joined.list.mean()  # the images of a breast are of one age
    texts = joined.cast(pl.List(pl.String))
    one = texts.list.get(0, null_on_oob=True)
    several = pl.Series([_SEVERAL]).new_from_index(0, len(one))
    return one.zip_with((texts.list.len() < 2).fill_null(value=True), several)  # noqa: PLR2004  # more than one


def _has(table: pl.DataFrame, key: tuple[str, ...]) -> bool:
    return all(name in table.columns and not table[name].is_null().all() for name in key)


def _of_class(facts: pl.DataFrame, splits: Splits) -> pl.DataFrame:
    """The facts of cases or of controls alone: the healthy breast of an exam says nothing of the kind of its cancer."""
    if splits == "all" or "cancer" not in facts.columns:
        return facts
    return facts.filter(pl.col("cancer").cast(pl.Boolean) == (splits == "cases"))


def _group(sample: LevelSample, column: str, values: pl.Series | None) -> Grouping | None:
    if values is None or values.is_null().all():
        return None
    splits = _CLASS_BY_COLUMN.get(column, "all")
    of_other_class = {
        "all": np.zeros(len(values), np.bool_),
        "cases": ~sample.outcomes,
        "controls": sample.outcomes,
    }[splits]
    names = _name(column, values).fill_null(NOT_RECORDED)
    parted = names.filter(pl.Series(~of_other_class))
    ordered = sorted(parted.unique().to_list(), key=_natural_order)
    if len(ordered) < 2:  # noqa: PLR2004  # one group is the whole
        return None
    if len(ordered) > _MOST_GROUPS:
        raise UserInputError(
            f"group by {column}: found {len(ordered)} values, expected {_MOST_GROUPS} groups or fewer; leave the "
            "column out, or give one with fewer values"
        )
    groups = (Group(name, (names == name).to_numpy() & ~of_other_class | of_other_class) for name in ordered)
    return Grouping(column, sample.level, splits, tuple(groups))


def _name(column: str, values: pl.Series) -> pl.Series:
    """The name of the group of each value; null where there is none."""
    if column == "age_years":
        return _name_bands(values.cast(pl.Float64, strict=False), _AGE_EDGES)
    if values.dtype.is_numeric() and values.n_unique() > _MOST_NUMBERS:
        numbers = values.cast(pl.Float64)
        quarters = sorted({float(numbers.quantile(share, "linear") or 0.0) for share in _QUARTERS})
        return _name_bands(numbers, tuple(quarters))
    return _as_texts(values).replace(_YES_NO)


def _name_bands(values: pl.Series, edges: tuple[float, ...]) -> pl.Series:
    """Bands that begin at each edge: `below 40`, `40 to 50` (without 50), `70 and above`."""
    names = list(_list_bands(edges))
    places = pl.Series(np.searchsorted(edges, values.fill_null(0.0).to_numpy(), side="right"))
    named = pl.Series(names)[places]
    return named.zip_with(values.is_not_null(), pl.Series([None], dtype=pl.String).new_from_index(0, len(values)))


def _list_bands(edges: tuple[float, ...]) -> Iterator[str]:
    yield f"below {edges[0]:g}"
    for low, high in pairwise(edges):
        yield f"{low:g} to {high:g}"
    yield f"{edges[-1]:g} and above"


def _natural_order(name: str) -> tuple[int, float, str]:
    """What is below all, then numbers by size, then texts, then what is not recorded."""
    if name == NOT_RECORDED:
        return 3, 0.0, name
    first = name.split(" ", 1)[0]
    if first == "below":
        return 0, 0.0, name
    try:
        return 1, float(first), name
    except ValueError:
        return 2, 0.0, name
