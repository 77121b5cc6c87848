"""The range of a run's training pictures, measured from the prepared store when its folds are done."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.range_check import (
    FILE_NAME,
    LEAST_PICTURES,
    PictureMeasures,
    fit_range,
    measure_picture,
    read_range,
    write_range,
)
from mammoscope.learning.batches import to_network_input
from mammoscope.learning.run import Run
from mammoscope.learning.scoring import autocast_type, choose_device

MOST_PICTURES = 4000  # the outer twentieth are 200, enough to tell how a tail falls off
MOST_EMBEDDED = 400  # they pass through the network, which takes minutes for large ones without a GPU
_BATCH = 16


def write_training_range(
    run: Run, manifest: pl.DataFrame, store: PreparedStore, *, rng: np.random.Generator
) -> Path | None:
    """Write the range of the pictures that a run learned from into its folder; None where they are too few to tell.

    Of many pictures, some by chance. Features are of the first trained network and its held-out pictures, because a
    network knows those that it learned from too well. A range that is there stays: a run has one cohort and one store.

    Raises:
        RunError: as `open_bundle`, or the range that is there is torn.
    """
    if read_range(run.path) is not None:
        return run.path / FILE_NAME
    usable = manifest.filter(pl.col("cancer").is_not_null() & pl.col("image_id").is_in(store.image_ids))
    if usable.height < LEAST_PICTURES or not run.trained_folds:
        return None
    bundle = open_bundle(run.path, choose_device())
    chosen = _choose(usable, MOST_PICTURES, rng)
    fold = run.trained_folds[0]
    held_out = _choose(usable.filter(pl.col("fold") == fold), MOST_EMBEDDED, rng)
    features = None
    if held_out.height >= LEAST_PICTURES:
        features = embed_pictures(bundle, (store.read(image_id) for image_id in held_out["image_id"]), fold=fold)
    training = fit_range(measure_store(store, chosen), machines=usable["machine"].to_list(), features=features)
    write_range(training.model_copy(update={"fold": None if features is None else fold}), run.path)
    return run.path / FILE_NAME


def measure_store(store: PreparedStore, rows: pl.DataFrame) -> list[PictureMeasures]:
    """The measures of the pictures of manifest rows."""
    doubt_by_id = dict(store.prepared.select("image_id", "doubt").iter_rows())
    return [
        measure_picture(store.read(image_id), store.placement(image_id), doubt_by_id[image_id])
        for image_id in rows["image_id"]
    ]


@torch.inference_mode()
def embed_pictures(bundle: Bundle, pictures: Iterator[CanvasPixels], *, fold: int) -> NDArray[np.float64]:
    """What the network of a trained fold makes of prepared pictures, before its head, (picture, channel).

    In the recipe's precision, as pictures are scored.
    """
    network, picture = bundle.networks[bundle.run.trained_folds.index(fold)], bundle.recipe.picture
    dtype = autocast_type(bundle.recipe.precision, bundle.device)
    parts = []
    while batch := list(islice(pictures, _BATCH)):
        stored = torch.from_numpy(np.stack(batch)).to(bundle.device)  # (picture, row, column)
        grey = to_network_input(stored, rows=picture.held_out_rows, columns=picture.held_out_columns)
        with torch.autocast(bundle.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            maps = network.look(grey)
        parts.append(network.pooling(maps.float()).double().cpu().numpy())
    return np.concatenate(parts)


def _choose(rows: pl.DataFrame, n_most: int, rng: np.random.Generator) -> pl.DataFrame:
    """Some of the rows by chance, in their own order, by which pictures of a patient stand side by side."""
    if rows.height <= n_most:
        return rows
    return rows[np.sort(rng.permutation(rows.height)[:n_most])]
