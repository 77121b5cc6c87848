"""Scores from anywhere: a table of any system's or reader's scores, with outcomes of its own or of a table of truth.

What comes out is one checked table of scores (`scores.SCORES_SCHEMA`) for each column of scores. Whatever cannot be
measured is refused with its number and rows; whatever is measured with a reserve is told in a remark. Ids are never
told, because they may identify a patient.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from mammoscope.cohort.manifest import name_rows, raise_problems
from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.any_table import (
    WHAT_A_ROW_IS,
    as_numbers,
    describe_rows,
    find_torn,
    name_some,
    read_any_table,
)
from mammoscope.evaluation.discrimination import why_undefined
from mammoscope.evaluation.levels import Level
from mammoscope.evaluation.scores import (
    IDENTITY_BY_LEVEL,
    SCORES_SCHEMA,
    SCORES_VERSION,
    check_scores,
    read_scores,
)
from mammoscope.evaluation.truth import Truth, join_truth
from mammoscope.exam import BREAST

_SCORE: Final = "score"
_ADVICE = {"exam": "; name sides in laterality, where they are scored apart", "breast": "", "image": ""}
_NOT_SCORES: Final = frozenset({*WHAT_A_ROW_IS, "prediction_id", "n_images", "level", "schema_version"})


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """How a table of others is to be read.

    Attributes:
        score_columns: the columns of scores; without them `score` and all that begin with `score_`.
        readers: further columns of scores, those of readers.
        level: of the scores; without it image where there is `image_id`, breast where there is a side, else exam.
        scales: for columns of other numbers, such as a reader's ratings, the lowest and the highest that can be; they
            are mapped to 0 and 1.
        groups: columns that are grouped by, of which no remark need say that they are no scores.
        exclude_unmatched: leave out, with a remark, what the truth does not know, instead of refusing it.
    """

    score_columns: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    level: Level | None = None
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    exclude_unmatched: bool = False

    def __post_init__(self) -> None:
        for name, (lowest, highest) in self.scales.items():
            if not (np.isfinite([lowest, highest]).all() and lowest < highest):
                raise UserInputError(
                    f"scale of {name}: found {lowest:g} to {highest:g}, expected a lower and a higher number, as 1 to 5"
                )


@dataclass(frozen=True, slots=True)
class GivenScores:
    """The table of scores of each score column, by its name, and what is to be known about them, a sentence each."""

    where: str
    tables: Mapping[str, pl.DataFrame]
    remarks: tuple[str, ...]


def read_given_scores(path: Path, *, truth: Truth | None = None, settings: GivenSettings | None = None) -> GivenScores:
    """The scores of a .csv, .parquet or .jsonl file of anybody, with their outcomes.

    Its columns: `image_id`, `exam_id`, `patient_id`, `laterality` as far as they are needed to name what was scored
    (`prediction_id`, as `10130_L`, stands for patient and side); one or several columns of scores; and, without a
    truth, `cancer`. A file in the project's own schema may hold several levels.

    Raises:
        TableError: what cannot be measured, all problems together, each with its number and the first of its rows.
    """
    settings = settings or GivenSettings()
    table = read_any_table(path)
    where = str(path)
    names = _find_score_columns(table, settings, where)
    if "schema_version" in table.columns:
        table = read_scores(path)
    columns, score_problems = _read_score_columns(table, names, settings.scales)
    rows, problems = describe_rows(table.drop(name for name in names if name in WHAT_A_ROW_IS))
    raise_problems([*score_problems, *problems], where=where)
    if truth is None and "cancer" not in (set(table.columns) - set(names)):
        raise TableError(f"{where}: found no outcomes, expected a column cancer, or a table of truth; give one")
    rows, problems, remarks = _identify(_add_level(rows, table, settings.level), truth, settings)
    if not problems:  # what the truth does not know lacks more than an outcome
        problems += _find_missing(rows)
    raise_problems([*problems, *_find_faults(rows)], where=where)
    tables = {name: _to_scores(rows, columns[name], where) for name in names}
    remarks += [*_tell_columns(table, {*names, *settings.groups}), *_tell_outcomes(rows)]
    remarks += [remark for name, given in tables.items() for remark in _tell_scores(name, given, rows.height)]
    return GivenScores(where, tables, tuple(remarks))


def _find_score_columns(table: pl.DataFrame, settings: GivenSettings, where: str) -> list[str]:
    if "schema_version" in table.columns:
        found = [_SCORE]
    else:
        found = [name for name in table.columns if name == _SCORE or name.startswith(f"{_SCORE}_")]
    names = list(settings.score_columns) or [name for name in found if name not in settings.readers]
    missing = [name for name in (*names, *settings.readers, *settings.scales) if name not in table.columns]
    if missing or not names:
        what = f"no column {', '.join(missing)}" if missing else "no column of scores"
        raise TableError(
            f"{where}: found {what} among {', '.join(table.columns)}; call it score or score_NAME, or "
            "name it with --score-column"
        )
    return [*names, *settings.readers]


def _read_score_columns(
    table: pl.DataFrame, names: Sequence[str], scales: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, pl.Series], list[str]]:
    """The numbers of each column, in [0, 1]; and what is wrong with them."""
    columns: dict[str, pl.Series] = {}
    problems: list[str] = []
    for name in names:
        numbers, unreadable = as_numbers(table[name])
        lowest, highest = scales.get(name, (0.0, 1.0))
        may_be_empty = len(names) > 1 or bool(unreadable)
        problems += [*unreadable, *_find_bad_scores(numbers, lowest, highest, may_be_empty=may_be_empty)]
        columns[name] = numbers if name not in scales else (numbers - lowest) / (highest - lowest)
    return columns, problems


def _find_bad_scores(numbers: pl.Series, lowest: float, highest: float, *, may_be_empty: bool) -> Iterator[str]:
    name, n = numbers.name, len(numbers)
    not_a_number = _rows_where(numbers.is_nan())
    if len(not_a_number):
        yield f"{name}: {name_some(not_a_number, n, 'scores are NaN')}; expected a number in [{lowest:g}, {highest:g}]"
    is_outside = ~numbers.is_between(lowest, highest) & ~numbers.is_nan()
    outside = _rows_where(is_outside)
    if len(outside):
        found = name_some(outside, n, f"scores are outside [{lowest:g}, {highest:g}]")
        at_fault = numbers.filter(is_outside.fill_null(value=False)).to_numpy()
        found += f", from {at_fault.min():g} to {at_fault.max():g}"
        yield f"{name}: {found}; apply a sigmoid to logits, or give the range of ratings, as --scale {name}=0:100"
    empty = _rows_where(numbers.is_null())
    if len(empty) and not may_be_empty:
        yield f"{name}: {name_some(empty, n, 'scores are missing')}; give a score to each, or take the rows out"


def _rows_where(mask: pl.Series) -> pl.Series:
    return mask.fill_null(value=False).arg_true() + 1


def _add_level(rows: pl.DataFrame, table: pl.DataFrame, level: Level | None) -> pl.DataFrame:
    if "schema_version" in table.columns:
        return rows.with_columns(table["level"], table["n_images"])
    if level is None:
        has_image, has_side = (not rows[name].is_null().all() for name in ("image_id", "laterality"))
        level = "image" if has_image else "breast" if has_side else "exam"
    n_images = None
    if "n_images" in table.columns:
        n_images = as_numbers(table["n_images"])[0].cast(pl.Int64, strict=False)
    above = {"image": (), "breast": ("image_id", "view"), "exam": ("image_id", "view", "laterality")}[level]
    return rows.with_columns(
        *(pl.lit(None, WHAT_A_ROW_IS[name]).alias(name) for name in above),
        pl.lit(level).alias("level"),
        (pl.Series([None] * rows.height, dtype=pl.Int64) if n_images is None else n_images).alias("n_images"),
    )


def _identify(
    rows: pl.DataFrame, truth: Truth | None, settings: GivenSettings
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """The rows with what the truth says and an exam each; the problems, and what is to be known."""
    problems: list[str] = []
    remarks: list[str] = []
    if truth is not None:
        parts = []
        for (level,), of_level in rows.partition_by("level", maintain_order=True, as_dict=True).items():
            joined = join_truth(of_level, truth, level=level, exclude_unmatched=settings.exclude_unmatched)
            parts.append(joined.rows)
            problems += joined.problems
            remarks += joined.remarks
        rows = pl.concat(parts)
    if rows["exam_id"].is_null().all() and rows["patient_id"].null_count() == 0:
        rows = rows.with_columns(exam_id=pl.col("patient_id"))
        remarks.append("exam_id: not given, so that all scores of a patient are taken to be of one exam")
    return rows, problems, remarks


def _find_missing(rows: pl.DataFrame) -> Iterator[str]:
    n = rows.height
    for name in ("patient_id", "exam_id"):
        empty = rows.filter(pl.col(name).is_null())["row"]
        if len(empty):
            advice = "intervals resample patients" if name == "patient_id" else "a score is of one exam"
            yield f"{name}: {name_some(empty, n, 'rows have none')}; {advice}, so give it here or in a table of truth"
    without_side = rows.filter(pl.col("laterality").is_null() & (pl.col("level") != "exam"))["row"]
    if len(without_side):
        yield f"laterality: {name_some(without_side, n, 'rows have none')}; give L or R here or in a table of truth"


def _find_faults(rows: pl.DataFrame) -> Iterator[str]:
    """What comes twice, or contradicts itself."""
    for level, identity in IDENTITY_BY_LEVEL.items():
        yield from _find_repeated(rows.filter(pl.col("level") == level), level, identity)
    for level, what in (("image", "breasts"), ("breast", "breasts"), ("exam", "exams")):
        of_level = rows.filter(pl.col("level") == level)
        yield from find_torn(of_level, ("exam_id",) if level == "exam" else BREAST, what)


def _find_repeated(rows: pl.DataFrame, level: str, identity: tuple[str, ...]) -> Iterator[str]:
    groups = rows.drop_nulls(identity).group_by(identity, maintain_order=True).agg("row")
    repeated = groups.filter(pl.col("row").list.len() > 1)
    if repeated.height:
        found = f"{repeated.height:,} of {groups.height:,} {level}s have several scores"
        rows_of = name_rows(repeated["row"].explode().to_list())
        yield f"{', '.join(identity)}: {found} ({rows_of}); expected one each{_ADVICE[level]}"


def _to_scores(rows: pl.DataFrame, column: pl.Series, where: str) -> pl.DataFrame:
    """The table of one column's scores, without the rows that it leaves empty."""
    scored = rows.with_columns(
        score=column.gather(rows["row"] - 1),
        schema_version=pl.lit(SCORES_VERSION, pl.Int64),
        n_images=pl.when(pl.col("level") == "image").then(1).otherwise(pl.col("n_images").fill_null(1)).cast(pl.Int64),
    )
    table = scored.filter(pl.col("score").is_not_null()).select(list(SCORES_SCHEMA))
    check_scores(table, where=f"{where}, {column.name}")
    return table


def _tell_columns(table: pl.DataFrame, used: Collection[str]) -> Iterator[str]:
    unread = [name for name in table.columns if name not in {*used, *_NOT_SCORES}]
    if unread:
        yield f"columns: not taken for scores are {', '.join(unread)}"


def _tell_outcomes(rows: pl.DataFrame) -> Iterator[str]:
    without = rows.group_by("patient_id", maintain_order=True).agg(pl.col("cancer").is_null().all(), "row")
    unknown = without.filter(pl.col("cancer"))
    if unknown.height:
        of_these = unknown["row"].explode().to_list()
        yield (
            f"cancer: {unknown.height:,} of {without.height:,} patients have no outcome ({name_rows(of_these)}); "
            f"their {len(of_these):,} scores are counted as undetermined and not measured"
        )
    reason = why_undefined(rows["cancer"].drop_nulls().to_numpy())
    if reason is not None:
        yield f"cancer: {reason}; figures that compare the two have no value"


def _tell_scores(name: str, table: pl.DataFrame, n_rows: int) -> Iterator[str]:
    if table.height < n_rows:
        yield (
            f"{name}: {n_rows - table.height:,} of {n_rows:,} scores are missing; it is measured on the others, and "
            "compared on what both have"
        )
    if table.height > 1 and table["score"].n_unique() == 1:
        yield (
            f"{name}: all {table.height:,} scores are {table['score'][0]:g}; they tell nothing apart, and a threshold "
            "calls all or none"
        )
