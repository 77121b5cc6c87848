"""Files that are whole or not there: written beside their final name, flushed to the disk, then renamed."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mammoscope.errors import UserInputError

LOCK_NAME = ".lock"

# polars reports a full disk as a ComputeError, or an OSError without number and name, that ends in "(os error 28)"
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its name when the block ends well and is removed when not.

    What was written is flushed to the disk before it takes its name, so that a power failure leaves the old file or the
    new one, and never a torn one.

    Raises:
        OSError: the system refused to write; it carries `path`, also where a library reports it as an error of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        _flush(beside)
        beside.replace(path)
        _flush_folder(path.parent)
    except Exception as error:
        number = _number_of(error)
        if number is None or getattr(error, "filename", None) is not None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file, or all files of a folder, to the disk."""
    if path.is_dir():
        for each in path.rglob("*"):
            if each.is_file():
                _flush(each)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; Windows does so by itself and opens no folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_folder(folder: Path, *, what: str, error: type[UserInputError] = UserInputError) -> Iterator[None]:
    """Hold a folder, made where it does not exist, so that no other process writes to it.

    Args:
        folder: that is written to; the lock is its file `.lock`, which stays there.
        what: is at work in it, for the sentence.
        error: to raise.

    Raises:
        UserInputError: another process holds it; as `error`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_NAME, blocking=False)
    try:
        lock.acquire()
    except Timeout as timeout:
        raise error(
            f"{folder}: found another {what} at work in it, expected none; wait for it, or choose another folder"
        ) from timeout
    try:
        yield
    finally:
        lock.release()


def _number_of(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno  # that of a write to an open file comes without a name
    number = _SYSTEM_ERROR.search(str(error))
    return None if number is None else int(number[1])


def refuse_foreign(folder: Path, *, what: str, own: Collection[str]) -> None:
    """Refuse to write into a folder that holds files, and none that tells it to be ours.

    Args:
        folder: that is to be written.
        what: is written there, for the sentence.
        own: names of which one at least stands in every folder that was written so.

    Raises:
        UserInputError: it holds other files.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & set(own):
        raise UserInputError(
            f"{folder}: found {len(names)} files or folders and no {what} among them, expected an empty or a new one; "
            "choose another folder"
        )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under its final name, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON, indented, keys in their given order; NaN is refused because JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
