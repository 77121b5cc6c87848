"""What a second stage sees of each breast: the scores of its views, the other side, and facts from the manifest."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import polars as pl
from pydantic import Field, ValidationInfo, field_validator

from mammoscope.anatomy import Laterality
from mammoscope.cohort.manifest import SCHEMA, name_rows
from mammoscope.config import Settings
from mammoscope.errors import TableError
from mammoscope.evaluation.scores import list_breasts
from mammoscope.exam import BREAST
from mammoscope.learning.table_inputs import OUTCOMES, SHORTCUTS

ScoreColumn = Literal["logit", "highest_view", "spread_of_views", "n_views", "above_other_side"]
SCORE_COLUMNS: tuple[ScoreColumn, ...] = get_args(ScoreColumn)

_OTHER_SIDE = {Laterality.LEFT.value: Laterality.RIGHT.value, Laterality.RIGHT.value: Laterality.LEFT.value}
_LEAST_SCORE = 1e-6  # a score of 0 or 1 has no logit; a network of 32 bits hardly tells nearer ones apart
_NOT_OF_A_BREAST = ("image_id", "patient_id", "exam_id", "path", "view", "cancer", "fold")
_FREE = tuple(name for name in SCHEMA if name not in {*_NOT_OF_A_BREAST, *SHORTCUTS, *OUTCOMES, "birads"})

Penalty = Annotated[float, Field(gt=0)]


class SecondStageSettings(Settings):
    """What the second stage sees of the scores and beside them, which columns come squared too, and what it may see.

    `penalties` are those that it chooses from, each multiplied by half the sum of the squared coefficients.
    """

    allow_birads: bool = False
    allow_shortcuts: bool = False
    scores: Annotated[tuple[ScoreColumn, ...], Field(min_length=1)] = (
        "logit",
        "highest_view",
        "spread_of_views",
        "above_other_side",
    )
    columns: tuple[str, ...] = ()
    squares: tuple[str, ...] = ()
    penalties: Annotated[tuple[Penalty, ...], Field(min_length=1)] = (0.1, 1.0, 10.0, 100.0, 1000.0)

    @field_validator("scores")
    @classmethod
    def _tell_of_the_breast(cls, scores: tuple[ScoreColumn, ...], info: ValidationInfo) -> tuple[ScoreColumn, ...]:
        if "n_views" in scores and not info.data.get("allow_shortcuts"):
            raise ValueError(
                "'n_views' says how many images were made or kept, so that the model would learn how the cohort was "
                "drawn; leave it out, or set second_stage.allow_shortcuts = true"
            )
        if len(set(scores)) != len(scores):
            raise ValueError("expected each score once")
        return scores

    @field_validator("columns")
    @classmethod
    def _may_be_seen(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for column in columns:
            reason = _why_refused(column, allowed=info.data)
            if reason is not None:
                raise ValueError(reason)
        if len(set(columns)) != len(columns):
            raise ValueError("expected each column once")
        return columns

    @field_validator("squares")
    @classmethod
    def _are_numbers(cls, squares: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        numbers = [name for name in info.data.get("columns", ()) if SCHEMA[name].is_numeric()]
        if not set(squares) <= set(numbers):
            raise ValueError(f"expected some of the columns of numbers, here {', '.join(numbers) or 'none'}")
        return squares


def _why_refused(column: str, *, allowed: dict[str, Any]) -> str | None:
    if column in SHORTCUTS:
        return (
            None
            if allowed.get("allow_shortcuts")
            else (
                f"{column!r} says where an image is from, so that the model would learn whose patients are ill; "
                "leave it out, or set second_stage.allow_shortcuts = true"
            )
        )
    if column in OUTCOMES:
        return f"{column!r} follows from the outcome and is not known before it; leave it out"
    if column == "birads":
        return (
            None
            if allowed.get("allow_birads")
            else (
                "'birads' is what a reader made of the very images, and no part of them; leave it out, or set "
                "second_stage.allow_birads = true"
            )
        )
    if column in _FREE:
        return None
    close = difflib.get_close_matches(column, _FREE, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(_FREE)}"
    return f"{column!r} is no column that a breast can be judged by; {advice}"


def describe_breasts(scores: pl.DataFrame, facts: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """A row for each breast of a table of scores, ordered as by `list_breasts`.

    It has `patient_id`, `exam_id`, `laterality`, `cancer` and `fold`, the columns that are asked for, and

    - `logit`: of the breast's score; logits are of scores in [1e-6, 1 - 1e-6]
    - `highest_view`, `spread_of_views`: the highest logit of its images, and how far above the lowest it is
    - `n_views`: its images
    - `above_other_side`: its logit less that of the other breast of the exam; null where there is none

    A number or a yes and no is the mean over the rows of the breast; a text that differs between them is null.

    Args:
        scores: of images, breasts or both.
        facts: a table with `exam_id`, `laterality` and the columns, such as a manifest.
        columns: to take from it.

    Raises:
        TableError: the scores break their schema, a breast is not in the facts, a column is missing, or holds a NaN.
    """
    check_facts(facts, columns)
    breasts = list_breasts(scores).select(
        *("patient_id", *BREAST, "cancer", "fold"), logit=_logit("score"), n_views="n_images"
    )
    images = scores.filter(pl.col("level") == "image").with_columns(view_logit=_logit("score"))
    views = images.group_by(BREAST).agg(
        highest_view=pl.col("view_logit").max(),
        spread_of_views=pl.col("view_logit").max() - pl.col("view_logit").min(),
    )
    other_sides = breasts.select(
        "exam_id", pl.col("laterality").replace(_OTHER_SIDE), above_other_side=-pl.col("logit")
    )
    of_facts = facts.group_by(BREAST).agg(pl.lit(1).alias("is_known"), *_one_of_each(facts, columns))
    for further in (views, other_sides, of_facts):
        breasts = breasts.join(further, on=BREAST, how="left")
    n_unknown = breasts["is_known"].null_count()
    if n_unknown:
        raise TableError(
            f"second stage: {n_unknown:,} of {breasts.height:,} breasts of the scores are not in the table of facts, "
            "expected all; give the manifest of the cohort that was scored"
        )
    return (
        breasts.drop("is_known")
        .sort(*BREAST)
        .with_columns(
            pl.col("highest_view").fill_null(pl.col("logit")),  # scores of breasts alone
            pl.col("spread_of_views").fill_null(0.0),
            above_other_side=pl.col("logit") + pl.col("above_other_side"),
        )
    )


def check_facts(facts: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse facts that cannot be used.

    Raises:
        TableError: a column is missing, or holds a NaN or an infinity.
    """
    for column in columns:
        if column not in facts.columns:
            raise TableError(f"second stage: {column}: no such column in the table of facts; add it, empty if need be")
        if facts[column].dtype.is_float():
            rows = (~facts[column].is_finite()).arg_true().to_list()
            if rows:
                where = name_rows([row + 1 for row in rows])
                raise TableError(
                    f"second stage: {column}: found {facts[column][rows[0]]} in {where}, expected a number, or nothing "
                    "where it is not known"
                )


def check_columns(facts: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse facts that nothing can be learned from.

    Raises:
        TableError: as `check_facts`, or a column is empty.
    """
    check_facts(facts, columns)
    for column in columns:
        if facts[column].null_count() == facts.height:
            raise TableError(f"second stage: {column}: empty in every row; leave it out of second_stage.columns")


def _logit(column: str) -> pl.Expr:
    share = pl.col(column).clip(_LEAST_SCORE, 1 - _LEAST_SCORE)
    return (share / (1 - share)).log()


def _one_of_each(facts: pl.DataFrame, columns: Sequence[str]) -> Iterator[pl.Expr]:
    for column in columns:
        if column in BREAST:
            continue
        if facts[column].dtype == pl.String:
            values = pl.col(column).drop_nulls()
            yield pl.when(values.n_unique() == 1).then(values.first()).alias(column)
        else:
            yield pl.col(column).cast(pl.Float64).mean()
