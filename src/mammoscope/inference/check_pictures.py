"""The pictures by which an export is judged: prepared ones of the run's store where it is at hand, else drawn ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import polars as pl

from mammoscope.cohort.manifest import SCHEMA, read_manifest
from mammoscope.errors import RunError, UserInputError
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore, open_store
from mammoscope.learning.run import Run
from mammoscope.learning.table_inputs import COLUMNS

_SEED: Final = 0
_COLUMNS: Final = ("image_id", *COLUMNS)


@dataclass(frozen=True, slots=True)
class CheckPictures:
    """Prepared pictures, (row, column) each, what the table says of them, and where they are from."""

    pictures: tuple[CanvasPixels, ...]
    rows: pl.DataFrame
    source: Literal["store", "drawn"]

    def in_parts(self, size: int) -> Iterator["CheckPictures"]:
        """The same in parts of so many pictures."""
        for start in range(0, len(self.pictures), size):
            yield CheckPictures(self.pictures[start : start + size], self.rows[start : start + size], self.source)


def find_store(run: Run, given: Path | None) -> PreparedStore | None:
    """The prepared store of a run: the one that is given, or else the one that the run was trained on, if it is there.

    Raises:
        RunError: the one that is given was prepared otherwise.
        StoreError, ConfigError: it is no whole store.
    """
    if given is not None:
        store = open_store(given)
        if store.settings != run.prepare:
            raise RunError(
                f"{given}: found pictures that were prepared otherwise than those of {run.path}; give the store "
                "that it was trained on"
            )
        return store
    try:
        recorded = open_store(Path(str(run.environment.get("store", ""))))
    except (UserInputError, OSError):
        return None
    return recorded if recorded.settings == run.prepare else None


def choose_pictures(run: Run, store: PreparedStore | None, n_pictures: int) -> CheckPictures:
    """So many pictures, or as many as the store has: evenly from the whole store, or drawn from a seed."""
    if store is None or not store.image_ids:
        ids = [f"drawn{number}" for number in range(n_pictures)]
        rng = np.random.default_rng(_SEED)
        return CheckPictures(tuple(draw_picture(run.prepare, rng) for _ in ids), _describe(run, ids), "drawn")
    places = np.linspace(0, len(store.image_ids) - 1, min(n_pictures, len(store.image_ids))).round().astype(int)
    return read_pictures(run, store, [store.image_ids[place] for place in places])


def read_pictures(run: Run, store: PreparedStore, image_ids: Sequence[str]) -> CheckPictures:
    """Pictures of the store by their ids."""
    return CheckPictures(tuple(map(store.read, image_ids)), _describe(run, image_ids), "store")


def draw_picture(settings: PrepareSettings, rng: np.random.Generator) -> CanvasPixels:
    """A picture as a store has them: half a disc of coarse and fine texture at the left edge, (row, column)."""
    shape = (settings.rows, settings.columns)
    row, column = np.mgrid[0 : shape[0], 0 : shape[1]]
    is_inside = np.hypot((row / shape[0] - 0.5) / rng.uniform(0.3, 0.5), column / shape[1] / rng.uniform(0.5, 1)) < 1
    texture = np.full(shape, rng.uniform(0.2, 0.6))
    for spread in (shape[0] / 20, 2.0):
        noise = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), spread)
        texture += 0.15 * noise / noise.std()
    white = (1 << settings.bits) - 1
    grey = np.where(is_inside, texture.clip(0, 1), 0) * white
    return grey.round().astype(np.uint8) if settings.bits == 8 else grey.round().astype(np.uint16)  # noqa: PLR2004  # bits


def _describe(run: Run, image_ids: Sequence[str]) -> pl.DataFrame:
    """What the cohort of the run says of images, in the columns that networks are given; nothing where it is gone."""
    wanted = pl.DataFrame({"image_id": list(image_ids)}, schema={"image_id": pl.String})
    empty = pl.DataFrame(schema={name: SCHEMA[name] for name in _COLUMNS})
    try:
        known = read_manifest(Path(str(run.environment.get("cohort", "")))).select(_COLUMNS)
    except (UserInputError, OSError):
        known = empty
    return wanted.join(known, on="image_id", how="left", maintain_order="left")
