"""What a second stage sees of each breast: the scores of its views, the other side, and facts from the manifest."""

from collections.abc import Iterator, Sequence

import polars as pl

from mammoscope.anatomy import Laterality
from mammoscope.cohort.manifest import name_rows
from mammoscope.errors import TableError
from mammoscope.evaluation.scores import list_breasts
from mammoscope.exam import BREAST

SCORE_COLUMNS = ("logit", "highest_view", "spread_of_views", "n_views", "above_other_side")

_OTHER_SIDE = {Laterality.LEFT.value: Laterality.RIGHT.value, Laterality.RIGHT.value: Laterality.LEFT.value}
_LEAST_SCORE = 1e-6  # a score of 0 or 1 has no logit; a network of 32 bits hardly tells nearer ones apart


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
