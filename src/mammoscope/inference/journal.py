"""What of a prediction is done, on disk while it is under way: parts, each whole or not there.

`parts/about.json` says of what prediction they are, `parts/000017.parquet` has a row for each picture that was scored
or refused, by its key. A picture may stand in several parts, scored by other networks in each.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.errors import UserInputError
from mammoscope.files import replacing, write_json
from mammoscope.imaging.shards import PREPARED_SCHEMA
from mammoscope.learning.table_inputs import COLUMNS

FOLDER = "parts"
_ABOUT = "about.json"
_LOCK = ".lock"
_MOST_LETTERS = 24  # of a value that is told; a hash is longer
_VERSION = 1

IDENTITY = ("patient_id", "exam_id", "laterality", "view", "image_id")
RECORD = tuple(name for name in PREPARED_SCHEMA if name not in {"image_id", "shard", "slot"})
FACTS = tuple(name for name in COLUMNS if name not in IDENTITY)
PART_SCHEMA: dict[str, pl.DataType] = {
    "key": pl.String(),
    "path": pl.String(),
    "code": pl.String(),
    "sentence": pl.String(),
    **{name: pl.String() for name in IDENTITY},
    "networks": pl.List(pl.Int64),
    "cancer": pl.List(pl.Float64),
    "view_weight": pl.List(pl.Float64),
    "remarks": pl.List(pl.String),
    **{name: SCHEMA[name] for name in FACTS},
    **{name: PREPARED_SCHEMA[name] for name in RECORD},
}
"""A row for each picture: `cancer` and `view_weight` are the logits of `networks`; refused ones have a `sentence`."""


class Journal:
    """The parts of one prediction; made by `keep_journal`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._next = 1 + max((int(path.stem) for path in self._list()), default=0)

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add a part, whole or not at all.

        Raises:
            UserInputError: the system refused to write; the parts before are kept.
        """
        if not rows:
            return
        table = pl.DataFrame(list(rows), schema=PART_SCHEMA)
        try:
            with replacing(self.folder / f"{self._next:06d}.parquet") as beside:
                table.write_parquet(beside)
        except OSError as error:
            raise UserInputError(
                f"{error.filename}: {error.strerror}; what was scored before is kept: make room, and go on with "
                "--resume"
            ) from error
        self._next += 1

    def read(self, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of all parts, in the order in which they were written."""
        schema = {name: PART_SCHEMA[name] for name in columns or PART_SCHEMA}
        parts = [pl.read_parquet(path, columns=list(schema)) for path in self._list()]
        return pl.concat([pl.DataFrame(schema=schema), *parts])

    def remove(self) -> None:
        """Take the parts away: what they hold stands elsewhere."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name != _ABOUT):  # without it they are nothing
            path.unlink()
        self.folder.rmdir()

    def _list(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith("."))


@contextmanager
def keep_journal(output: Path, about: Mapping[str, object], *, is_resumed: bool) -> Iterator[Journal]:
    """The journal of a prediction in its output folder, with what an interrupted one left there where it is resumed.

    Args:
        output: the folder; made where it does not exist.
        about: what a prediction must agree in to be gone on with, as JSON; the values stand in sentences.
        is_resumed: whether to go on with what is there.

    Raises:
        UserInputError: there are parts, and they are not to be resumed or are of something else; or another process
            writes there.
    """
    folder = output / FOLDER
    found = _read_about(folder)
    if found is not None and not is_resumed:
        raise UserInputError(
            f"{folder}: found a prediction that is not finished, expected none; go on with it with --resume, or choose "
            "another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if found is None:
            for path in folder.iterdir():
                if path.name != _LOCK:
                    path.unlink()
            write_json(folder / _ABOUT, {"schema_version": _VERSION, **about})
        else:
            _check_about(found, about, folder)
        yield Journal(folder)


def _read_about(folder: Path) -> dict[str, object] | None:
    path = folder / _ABOUT
    if not path.is_file():
        return None
    try:
        about: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserInputError(f"{path}: not JSON ({error}); choose another folder, or remove {folder}") from error
    return about if isinstance(about, dict) else {}


def _check_about(found: Mapping[str, object], about: Mapping[str, object], folder: Path) -> None:
    if found.get("schema_version") != _VERSION:
        raise UserInputError(
            f"{folder}: schema_version is {found.get('schema_version')!r}, expected {_VERSION}; use the version of "
            "mammoscope that began the prediction, or choose another folder"
        )
    others = [name for name, value in about.items() if found.get(name) != value]
    if others:
        named = ", ".join(_tell_difference(name, found.get(name), about[name]) for name in others)
        raise UserInputError(
            f"{folder}: found a prediction that is not finished and differs in {named}, expected the same as this one; "
            "give the same, or choose another folder"
        )


def _tell_difference(name: str, there: object, here: object) -> str:
    """What differs, with both values where a person can tell them apart."""
    words = name.replace("_", " ")
    is_short = all(isinstance(each, str | int | float) and len(str(each)) <= _MOST_LETTERS for each in (there, here))
    return f"{words} ({there} there, {here} here)" if is_short else words


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserInputError(
            f"{folder}: found another prediction at work, expected none; wait for it, or choose another folder"
        ) from error
    finally:
        os.close(descriptor)
