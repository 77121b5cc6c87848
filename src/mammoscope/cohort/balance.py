"""Which rows an epoch trains on: small, pure sampling strategies, applied after splitting."""

from typing import Literal

import polars as pl

SamplingStrategy = Literal["all", "matched-controls"]


def sample_rows(manifest: pl.DataFrame, strategy: SamplingStrategy) -> pl.DataFrame:
    """The rows to train on; rows whose outcome is undetermined are never among them.

    `matched-controls` is the public baseline's way: all images of patients with cancer, so that the healthy breast
    is the control of the other.
    """
    determined = manifest.filter(pl.col("cancer").is_not_null())
    if strategy == "matched-controls":
        return determined.filter(pl.col("cancer").any().over("patient_id"))
    return determined
