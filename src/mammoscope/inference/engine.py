"""Prepared pictures to scores, by all networks of a bundle."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import polars as pl
import torch

from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference.bundle import Bundle
from mammoscope.learning.batches import Pictures
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.scoring import score_batches
from mammoscope.learning.table_layer import to_tensors


def score_pictures(
    bundle: Bundle, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None
) -> list[PictureLogits]:
    """What each network of a bundle says of prepared pictures, (row, column) each.

    `rows` has the columns of the table for each picture, where the bundle's networks are given them.

    Raises:
        MammoscopeError: the networks are given a table, and there are no rows.
        TableError: a number of the table is not finite.
    """
    stored = torch.from_numpy(np.stack(pictures))  # (picture, row, column)
    tables = [] if rows is None else [to_tensors(encoder.encode(rows)) for encoder in bundle.encoders]
    return [
        score_batches(network, [Pictures(stored, table)], recipe=bundle.recipe, device=bundle.device)
        for network, table in zip_longest(bundle.networks, tables)
    ]
