"""The range of a run's training pictures, measured from the prepared store when its folds are done."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.cohort.sources.dicom import SOURCE
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
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.run import Run, check_weights_hash, hash_weights
from mammoscope.learning.scoring import choose_device

MOST_PICTURES = 4000  # the outer twentieth are 200, enough to tell how a tail falls off
MOST_EMBEDDED = 400  # they pass through the network, which takes minutes for large ones without a GPU
_BATCH = 16


def write_training_range(
    run: Run, manifest: pl.DataFrame, store: PreparedStore, *, rng: np.random.Generator
) -> Path | None:
    """Write the range of the pictures that a run learned from into its folder; None where they are too few to tell.

    Of many pictures, some by chance. Features are of the first trained network and its held-out pictures, because a
    network knows those that it learned from too well. A range that is there stays, because a run has one cohort and one
    store, unless the fold of its features was trained anew.

    Raises:
        RunError: as `open_bundle`, or the range that is there is torn.
    """
    found = read_range(run.path)
    if found is not None and (found.fold is None or found.find_place(hash_weights(run)) is not None):
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
        features = embed_pictures(bundle, store, held_out, fold=fold)
    training = fit_range(measure_store(store, chosen), machines=usable["machine"].to_list(), features=features)
    are_models = set(usable["source"]) == {SOURCE}
    of = {} if features is None else {"fold": fold, "weights_sha256": check_weights_hash(run, fold)}
    update = {**of, "machines_are_models": are_models}
    write_range(training.model_copy(update=update), run.path)
    return run.path / FILE_NAME


def measure_store(store: PreparedStore, rows: pl.DataFrame) -> list[PictureMeasures]:
    """The measures of the pictures of manifest rows."""
    doubt_by_id = dict(store.prepared.select("image_id", "doubt").iter_rows())
    return [
        measure_picture(store.read(image_id), store.placement(image_id), doubt_by_id[image_id])
        for image_id in rows["image_id"]
    ]


def embed_pictures(bundle: Bundle, store: PreparedStore, rows: pl.DataFrame, *, fold: int) -> NDArray[np.float64]:
    """What the network of a trained fold makes of the pictures of manifest rows before its head, (picture, channel).

    Of each as it is, in the recipe's precision, as pictures are scored.
    """
    engine = TorchEngine(bundle, flips="none").choose([bundle.run.trained_folds.index(fold)])
    parts = []
    for start in range(0, rows.height, _BATCH):
        batch = rows[start : start + _BATCH]
        (logits,) = engine.score([store.read(image_id) for image_id in batch["image_id"]], batch)
        parts.append(np.asarray(logits.features, dtype=float))
    return np.concatenate(parts)


def _choose(rows: pl.DataFrame, n_most: int, rng: np.random.Generator) -> pl.DataFrame:
    """Some of the rows by chance, in their own order, by which pictures of a patient stand side by side."""
    if rows.height <= n_most:
        return rows
    return rows[np.sort(rng.permutation(rows.height)[:n_most])]
