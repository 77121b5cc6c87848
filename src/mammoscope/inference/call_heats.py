"""What spoke for cancer in the pictures of a run's most telling calls, to the network that never learned from them."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from mammoscope.errors import RunError
from mammoscope.evaluation.peaks import Heat, keep_content
from mammoscope.evaluation.pictures import Call
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.heat import HeatMapper
from mammoscope.inference.heat_pictures import colour, find_top
from mammoscope.learning.table_layer import TableTensors, to_tensors


def paint_calls(
    run: Path, calls: Iterable[Call], store: PreparedStore, manifest: pl.DataFrame | None
) -> dict[str, NDArray[np.uint8]]:
    """By image, the prepared picture with heat over it, red, green and blue: (row, column, 3), 0 to 255.

    A picture is explained by the network of the fold that it was held out in, and left out where there is none; each
    has a scale of its own.

    Args:
        run: its folder.
        calls: whose images are painted, as far as the store holds them.
        store: prepared as the run's pictures.
        manifest: the cohort of the run, for networks that are given a table.

    Raises:
        RunError: no networks, weights that are others, no map of places, another preparation, or a missing table.
        StoreError, TableError: a picture or a value of the table cannot be used.
    """
    mapper = HeatMapper(open_bundle(run, torch.device("cpu")))  # a training may have the GPU
    bundle, held = mapper.bundle, set(store.image_ids)
    if store.settings != bundle.prepare:
        raise RunError(
            f"{store.path}: found pictures that were prepared otherwise than those of {run}, expected the same "
            "settings; give the run's own store"
        )
    painted = {}
    for call in calls:
        if call.image_id in held and call.fold in bundle.run.trained_folds:
            pixels = store.read(call.image_id)
            heat = keep_content(_explain(mapper, call, pixels, manifest), store.placement(call.image_id))
            painted[call.image_id] = paint(pixels, heat)
    return painted


def paint(pixels: CanvasPixels, heat: Heat) -> NDArray[np.uint8]:
    """A picture (row, column) with a heat map over it in the colours of its own scale; (row, column, 3), 0 to 255."""
    most = np.iinfo(pixels.dtype).max
    fine = cv2.resize(heat, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    painted = colour(fine, find_top([fine]))  # (row, column, 4)
    grey, opacity = (pixels / most)[..., None], painted[..., 3:]
    mixed: NDArray[np.uint8] = np.rint(255 * (grey * (1 - opacity) + painted[..., :3] * opacity)).astype(np.uint8)
    return mixed


def _explain(mapper: HeatMapper, call: Call, pixels: CanvasPixels, manifest: pl.DataFrame | None) -> Heat:
    """The heat map of a picture by the network of the fold that it was held out in."""
    bundle = mapper.bundle
    place = bundle.run.trained_folds.index(call.fold)
    stored, table = torch.from_numpy(np.stack([pixels])), _encode(bundle, place, call.image_id, manifest)
    heats, _ = mapper.explain_by(bundle.networks[place], stored, table)
    heat: Heat = heats[0]
    return heat


def _encode(bundle: Bundle, place: int, image_id: str, manifest: pl.DataFrame | None) -> TableTensors | None:
    """What the table says of an image, as a network is given it; None for networks without a table."""
    if not bundle.encoders:
        return None
    rows = None if manifest is None else manifest.filter(pl.col("image_id") == image_id)
    if rows is None or rows.is_empty():
        raise RunError(
            f"{bundle.run.path}: found no row of an image in a cohort, expected one, because the networks are given a "
            "table; name the run's own cohort with --cohort"
        )
    return to_tensors(bundle.encoders[place].encode(rows))
