"""Reading a prepared store: its tables, its hash, and any picture by its id."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from mammoscope.errors import StoreError
from mammoscope.files import sha256_of_bytes
from mammoscope.imaging import shards
from mammoscope.imaging.batch import read_description
from mammoscope.imaging.canvas import CanvasPixels, Placement, placement_from_row
from mammoscope.imaging.prepare import PrepareSettings


@dataclass(frozen=True)
class PreparedStore:
    """A complete prepared store; cheap to open, to hand to other processes, and to read one picture of.

    Attributes:
        path: the folder.
        settings: how its pictures were prepared.
        prepared: a row per picture, in the order of the cohort.
        rejected: a row per file that could not be used: image_id, path, code, sentence.
    """

    path: Path
    settings: PrepareSettings
    prepared: pl.DataFrame
    rejected: pl.DataFrame

    @property
    def image_ids(self) -> list[str]:
        """The ids of the prepared images, in the order of the cohort."""
        return self.prepared["image_id"].to_list()

    @cached_property
    def content_hash(self) -> str:
        """The SHA-256 of all pictures with their ids, whatever their order."""
        rows = self.prepared.select("image_id", "content_hash").sort("image_id").iter_rows()
        return sha256_of_bytes("".join(f"{image_id} {content}\n" for image_id, content in rows).encode())

    def read(self, image_id: str) -> CanvasPixels:
        """A prepared picture, (row, column), uint8 or uint16, read-only.

        Raises:
            StoreError: the store does not hold the image.
        """
        _, shard, slot = self._find(image_id)
        dtype = np.dtype(f"<u{self.settings.bits // 8}")
        shape = (self.settings.rows, self.settings.columns)
        n_pixels = shape[0] * shape[1]
        raw = shards.raw_path(self.path, shard)
        # read, not mapped: the faster way, and much so from the disk (docs/adr/0004)
        pixels: CanvasPixels = np.fromfile(raw, dtype, count=n_pixels, offset=slot * n_pixels * dtype.itemsize)
        pixels.flags.writeable = False
        return pixels.reshape(shape)  # (row, column)

    def placement(self, image_id: str) -> Placement:
        """Where a picture lies on its canvas, and the way back to the original's pixels.

        Raises:
            StoreError: the store does not hold the image.
        """
        row, _, _ = self._find(image_id)
        return placement_from_row(self.prepared.row(row, named=True))

    @cached_property
    def _place_by_id(self) -> Mapping[str, tuple[int, int, int]]:
        """Row of the table, shard, and slot in the shard."""
        places = self.prepared.select("image_id", "shard", "slot").iter_rows()
        return {image_id: (row, shard, slot) for row, (image_id, shard, slot) in enumerate(places)}

    def _find(self, image_id: str) -> tuple[int, int, int]:
        place = self._place_by_id.get(image_id)
        if place is None:
            is_rejected = image_id in self.rejected["image_id"]
            raise StoreError(
                f"{self.path}: found no picture of image {image_id}, expected one of {self.prepared.height}; "
                + ("it was refused, see rejected.parquet" if is_rejected else "prepare the cohort that holds it")
            )
        return place


def open_store(path: Path) -> PreparedStore:
    """A prepared store, checked to be complete.

    Raises:
        StoreError: the folder is no store, unfinished, or has lost something.
        ConfigError: its `prepare.toml` breaks the schema.
    """
    if (path / "recipe.toml").exists():
        raise StoreError(
            f"{path}: found a run, expected a prepared store; give the folder that mammoscope prepare wrote"
        )
    if not (path / shards.DESCRIPTION_NAME).exists():
        raise StoreError(
            f"{path}: found no {shards.DESCRIPTION_NAME}, expected a prepared store; run mammoscope prepare"
        )
    settings = read_description(path).settings
    prepared = _read_table(path / shards.PREPARED_NAME, shards.PREPARED_SCHEMA)
    rejected = _read_table(path / shards.REJECTED_NAME, shards.REJECTED_SCHEMA)
    for index, n_pictures in prepared.group_by("shard").len().iter_rows():
        raw = shards.raw_path(path, index)
        n_bytes = raw.stat().st_size if raw.exists() else 0
        if n_bytes != n_pictures * settings.picture_bytes:
            raise StoreError(
                f"{raw}: found {n_bytes} bytes, expected {n_pictures * settings.picture_bytes}; "
                "run mammoscope prepare again, which mends it"
            )
    return PreparedStore(path, settings, prepared, rejected)


def _read_table(path: Path, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    if not path.exists():
        raise StoreError(
            f"{path}: found none, expected the table of a finished store; run mammoscope prepare to finish it"
        )
    try:
        table = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise StoreError(
            f"{path}: found no Parquet table ({error}); run mammoscope prepare into a new folder"
        ) from error
    if dict(table.schema) != dict(schema):
        raise StoreError(f"{path}: found other columns than expected; run mammoscope prepare into a new folder")
    return table
