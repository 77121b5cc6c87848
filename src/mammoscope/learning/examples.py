"""What a network learns from: single images, or breasts with all their images."""

from functools import partial

import numpy as np
import polars as pl

from mammoscope.cohort.balance import draw_epoch
from mammoscope.exam import BREAST
from mammoscope.learning.settings import Level, Recipe


def list_examples(rows: pl.DataFrame, level: Level) -> pl.DataFrame:
    """A row for each image, or for each breast, with `positions`: where its images stand among the rows.

    A breast is a difficult negative when one of its images is; its `score`, where rows have one, is the mean. Its other
    columns are those of its first image.
    """
    numbered = rows.with_row_index("positions").with_columns(pl.col("positions").cast(pl.Int64))
    if level == "image":
        return numbered.with_columns(pl.concat_list("positions"))
    measured = [pl.col("score").mean()] if "score" in rows.columns else []
    others = [column for column in rows.columns if column not in {*BREAST, "difficult_negative", "score"}]
    return numbered.group_by(*BREAST, maintain_order=True).agg(
        "positions", pl.col("difficult_negative").any(ignore_nulls=False), *measured, pl.col(others).first()
    )


def draw_examples(rows: pl.DataFrame, recipe: Recipe, *, rng: np.random.Generator) -> pl.DataFrame:
    """The examples of an epoch in their order, with `positions` and `strength`; see `draw_epoch`."""
    draw = partial(draw_epoch, strategy=recipe.sampling, settings=recipe.balance, batch_size=recipe.batch.size, rng=rng)
    examples = list_examples(rows, recipe.level)
    if recipe.level == "breast" and recipe.sampling == "matched":  # the one way that looks at the images of a breast
        images = draw(rows).select(*BREAST, "strength").unique(BREAST, keep="first", maintain_order=True)
        return images.join(examples, on=BREAST, how="left", maintain_order="left")
    return draw(examples)
