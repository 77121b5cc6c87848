"""The files of a prepared store: shards of fixed-size pictures, their tables, and the lock.

A shard is two files of one number: `.raw`, the prepared pictures one after the other, little-endian, and `.parquet`,
a row per image, prepared or rejected. The table is written last, so that a shard with a table is whole. So it is with
`prepared.parquet`: a store that has it is complete. While a shard is at work, `.at` names the image that is.

Who may write: one preparation at a time, which holds the lock; and of the worker processes only those that carry its
turn, a word in the lock's file, so that workers that outlived a killed preparation stop at their next image.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from mammoscope.errors import StoreError
from mammoscope.files import replacing
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.verdict import Verdict

DESCRIPTION_NAME = "prepare.toml"
PREPARED_NAME = "prepared.parquet"
REJECTED_NAME = "rejected.parquet"
LOCK_NAME = ".lock"

PREPARED_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "shard": pl.Int64(),
    "slot": pl.Int64(),
    "original_rows": pl.Int64(),
    "original_columns": pl.Int64(),
    "box_top": pl.Int64(),
    "box_left": pl.Int64(),
    "box_bottom": pl.Int64(),
    "box_right": pl.Int64(),
    "is_flipped": pl.Boolean(),
    "canvas_rows": pl.Int64(),
    "canvas_columns": pl.Int64(),
    "content_rows": pl.Int64(),
    "content_columns": pl.Int64(),
    "content_top": pl.Int64(),
    "doubt": pl.String(),
    "warnings": pl.String(),
    "window": pl.String(),
    "window_center": pl.Float64(),
    "window_width": pl.Float64(),
    "is_inverted": pl.Boolean(),
    "transfer_syntax": pl.String(),
    "decoder": pl.String(),
    "level": pl.Int64(),
    "row_spacing_mm": pl.Float64(),
    "column_spacing_mm": pl.Float64(),
    "file_hash": pl.String(),
    "content_hash": pl.String(),
}
REJECTED_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "path": pl.String(),
    "code": pl.String(),
    "sentence": pl.String(),
}
_SHARD_SCHEMA = PREPARED_SCHEMA | REJECTED_SCHEMA

_JOBS_KEY = "mammoscope.jobs"  # in the metadata of a shard's table
_LARGE_COHORT = 1024
_SHARD_SIZE, _SMALL_SHARD_SIZE = 32, 4


def choose_shard_size(n_images: int) -> int:
    """Images in a shard: few in a small cohort, so that there is work for all cores; never by their number."""
    return _SHARD_SIZE if n_images > _LARGE_COHORT else _SMALL_SHARD_SIZE


def raw_path(store: Path, index: int) -> Path:
    """The pictures of a shard."""
    return store / "shards" / f"{index:05d}.raw"


def table_path(store: Path, index: int) -> Path:
    """The rows of a shard."""
    return store / "shards" / f"{index:05d}.parquet"


def to_record(pixels: CanvasPixels) -> bytes:
    """A prepared picture as it stands in a shard: row after row, little-endian."""
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def mark_path(store: Path, index: int) -> Path:
    """The id of the image of a shard that is at work; gone when the shard is done."""
    return store / "shards" / f"{index:05d}.at"


@contextmanager
def lock_store(store: Path) -> Iterator[None]:
    """Hold a store, made where it does not exist, so that no other process writes to it.

    Raises:
        StoreError: another process holds it.
    """
    store.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(store / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StoreError(
            f"{store}: found another preparation at work in it, expected none; wait for it, or choose another folder"
        ) from error
    finally:
        os.close(descriptor)


def take_turn(store: Path) -> str:
    """A word that only workers of this preparation know; whoever carries an older one may write no more."""
    turn = os.urandom(8).hex()
    (store / LOCK_NAME).write_text(turn, encoding="ascii")
    return turn


def check_turn(store: Path, turn: str) -> None:
    """Refuse to write for a preparation whose turn is over.

    Raises:
        StoreError: another preparation has begun since.
    """
    lock = store / LOCK_NAME
    if turn != (lock.read_text(encoding="ascii") if lock.exists() else ""):
        raise StoreError(f"{store}: found that another preparation took over, expected to be the only one; let it work")


def mark(store: Path, index: int, image_id: str) -> None:
    """Leave word of the image that is at work, for whoever finds out that the process ended in it."""
    mark_path(store, index).write_text(image_id, encoding="utf-8")


@contextmanager
def marking(store: Path, index: int) -> Iterator[None]:
    """Take the mark of a shard away, however the block ends, unless the process ends in it."""
    try:
        yield
    finally:
        mark_path(store, index).unlink(missing_ok=True)


def read_marks(store: Path) -> set[str]:
    """The images that were at work when their processes ended."""
    return {path.read_text(encoding="utf-8") for path in (store / "shards").glob("*.at")}


class ShardWriter:
    """Takes the results of a shard, in their order."""

    def __init__(self, raw: BinaryIO, index: int) -> None:
        self._raw = raw
        self._index = index
        self._n_prepared = 0
        self.rows: list[dict[str, Any]] = []

    def add(self, image_id: str, pixels: CanvasPixels, facts: dict[str, object]) -> None:
        """Append a prepared picture."""
        self._raw.write(to_record(pixels))
        place = {"image_id": image_id, "shard": self._index, "slot": self._n_prepared}
        self.rows.append({**place, **facts, "code": Verdict.OK.value})
        self._n_prepared += 1

    def reject(self, rejection: dict[str, str]) -> None:
        """Append an image that could not be used."""
        self.rows.append(dict(rejection))


@contextmanager
def write_shard(store: Path, index: int, jobs_hash: str) -> Iterator[ShardWriter]:
    """A writer for a shard; the shard appears when the block ends well, and not at all when it does not."""
    table_path(store, index).unlink(missing_ok=True)  # it may tell of other pictures
    with replacing(raw_path(store, index)) as beside, beside.open("wb") as raw:
        writer = ShardWriter(raw, index)
        yield writer
    table = pl.DataFrame(writer.rows, schema=_SHARD_SCHEMA)
    with replacing(table_path(store, index)) as beside:
        table.write_parquet(beside, metadata={_JOBS_KEY: jobs_hash})


def _is_known(table: Path, jobs_hash: str) -> bool:
    """Whether a shard's table is of these jobs; one that cannot be read, or was just taken away, is of none."""
    try:
        return pl.read_parquet_metadata(table).get(_JOBS_KEY) == jobs_hash
    except (OSError, pl.exceptions.PolarsError):
        return False


def is_done(store: Path, index: int, jobs_hash: str, record_bytes: int) -> bool:
    """Whether a shard is whole, of these very jobs, and none of its missing files has come back."""
    path = table_path(store, index)
    if not _is_known(path, jobs_hash):
        return False
    table = pl.read_parquet(path, columns=["path", "code"])
    n_prepared = table.filter(code=Verdict.OK.value).height
    raw = raw_path(store, index)
    if not raw.exists() or raw.stat().st_size != n_prepared * record_bytes:
        return False
    return not any(os.access(missing, os.R_OK) for missing in table.filter(code=Verdict.UNREADABLE.value)["path"])


def is_finished(store: Path, n_shards: int) -> bool:
    """Whether the tables of the whole store are there, and no shard too many."""
    return (store / PREPARED_NAME).exists() and (store / REJECTED_NAME).exists() and not _surplus(store, n_shards)


def open_for_writing(store: Path, n_shards: int) -> None:
    """Take away what a change would make untrue: the store's tables first, then shards of jobs that are gone."""
    for name in (PREPARED_NAME, REJECTED_NAME):
        (store / name).unlink(missing_ok=True)
    _clear(store, n_shards)


def finish(store: Path, n_shards: int) -> None:
    """Join the shards' rows into the two tables of the store."""
    rows = pl.concat([pl.read_parquet(table_path(store, index)) for index in range(n_shards)])
    is_prepared = pl.col("code") == Verdict.OK.value
    for name, schema, wanted in (
        (REJECTED_NAME, REJECTED_SCHEMA, ~is_prepared),
        (PREPARED_NAME, PREPARED_SCHEMA, is_prepared),
    ):
        with replacing(store / name) as beside:
            rows.filter(wanted).select(list(schema)).write_parquet(beside)
    _clear(store, n_shards)
    (store / LOCK_NAME).write_bytes(b"")  # the turn is over


def _clear(store: Path, n_shards: int) -> None:
    """Remove shards of jobs that are gone, marks, and what killed workers had begun."""
    for path in _surplus(store, n_shards):
        path.unlink(missing_ok=True)


def _surplus(store: Path, n_shards: int) -> list[Path]:
    folder = store / "shards"
    known = {path.name for index in range(n_shards) for path in (raw_path(store, index), table_path(store, index))}
    return [path for path in folder.iterdir() if path.name not in known] if folder.is_dir() else []
