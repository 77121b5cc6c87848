"""What a folder is: the record that stands in every folder that mammoscope writes.

`artefact.json` says what kind of artefact the folder is, what it was made from, and the SHA-256 of every file that
decides. So a command knows its own unfinished or finished work from another's, and whoever opens an artefact knows that
its files are those that were written.

The record is written before anything else. A file is listed when it is whole; it is taken off the list before it is
written anew. A killed command leaves a file that is not listed, never one that is listed wrongly.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PureWindowsPath

from pydantic import TypeAdapter, ValidationError

from mammoscope.errors import RunError, StoreError, UserInputError
from mammoscope.files import sha256_of_bytes, sha256_of_file, write_json

RECORD_NAME = "artefact.json"
RECORD_VERSION = 1


class Kind(StrEnum):
    """The kinds of artefacts, in the words of sentences."""

    COHORT = "cohort"
    SYNTHETIC_COHORT = "synthetic cohort"
    STORE = "prepared store"
    RUN = "run"
    PREDICTION = "prediction"
    EXPLANATION = "explanation"
    EVALUATION = "evaluation"
    EXPORT = "export"
    INSPECTION = "inspection"
    AUDIT = "audit"


_ERROR_BY_KIND: Mapping[Kind, type[UserInputError]] = {Kind.STORE: StoreError, Kind.RUN: RunError}


@dataclass(frozen=True, slots=True)
class Artefact:
    """The record of a folder.

    Attributes:
        path: the folder.
        kind: what it is.
        made_from: what it was made from: a hash or a short value by name.
        files: the SHA-256, as 64 hexadecimal digits, of each file that decides, by its path below the folder with "/".
        is_finished: whether the command that writes it came to its end.
    """

    path: Path
    kind: Kind
    made_from: Mapping[str, str]
    files: Mapping[str, str]
    is_finished: bool = False

    def read(self, name: str) -> bytes:
        """Read a file of the artefact, whole, and check it against the record.

        Raises:
            UserInputError: the file is not listed, missing, or not the one that was written.
        """
        recorded, path = self._recorded(name), self.path / name
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise self._missing(path) from error
        self._compare(path, sha256_of_bytes(content), recorded)
        return content

    def check(self, names: Iterable[str]) -> None:
        """Check files of the artefact against the record, without keeping them in memory.

        Raises:
            UserInputError: as `read`.
        """
        for name in names:
            recorded, path = self._recorded(name), self.path / name
            if not path.is_file():
                raise self._missing(path)
            self._compare(path, sha256_of_file(path), recorded)

    def _recorded(self, name: str) -> str:
        recorded = self.files.get(name)
        if recorded is None:
            raise self._error(
                f"{self.path / name}: found no hash of it in {RECORD_NAME}, expected one; the {self.kind} is "
                "unfinished or was changed: run the command that makes it again"
            )
        return recorded

    def _missing(self, path: Path) -> UserInputError:
        return self._error(f"{path}: found no such file, expected it in this {self.kind}; restore it, or make it again")

    def _compare(self, path: Path, found: str, recorded: str) -> None:
        if found != recorded:
            raise self._error(
                f"{path}: found other content than was written (SHA-256 {found[:12]}…, expected {recorded[:12]}…); "
                f"restore the file, or make the {self.kind} again"
            )

    def _error(self, sentence: str) -> UserInputError:
        return _ERROR_BY_KIND.get(self.kind, UserInputError)(sentence)


def claim_folder(
    folder: Path,
    kind: Kind,
    made_from: Mapping[str, str],
    *,
    own: Collection[str] = (),
    is_replaced: bool = False,
) -> Artefact:
    """Give the record of a folder that is to be written, made where there is none; refuse what is somebody else's.

    An empty or new folder gets a record. One whose record says the same kind, made from the same, is given back as it
    is: unfinished or finished. Anything else is refused. With `is_replaced`, another artefact of the same kind is
    removed first; other files never are.

    Args:
        folder: that is to be written.
        kind: of what is written.
        made_from: what it is made from: hashes, or short values that name no person.
        own: names in the folder that an artefact of this kind may hold; `is_replaced` removes these.
        is_replaced: whether the user asked to replace another artefact.

    Raises:
        UserInputError: the folder is a file, holds other files, an artefact of another kind, or one made from something
            else without `is_replaced`; StoreError for a store, RunError for a run.
    """
    error = _ERROR_BY_KIND.get(kind, UserInputError)
    if folder.exists() and not folder.is_dir():
        raise error(f"{folder}: found a file, expected a folder for the {kind}; choose another name")
    found = find_artefact(folder)
    if found is None:
        _refuse_files(folder, kind, error)
        return _write(Artefact(folder, kind, dict(made_from), {}))
    if found.kind is not kind:
        raise error(
            f"{folder}: found the folder of another kind ({found.kind}), expected an empty folder or a {kind}; "
            "choose another folder"
        )
    others = [name for name in {**found.made_from, **made_from} if found.made_from.get(name) != made_from.get(name)]
    if not others:
        return found
    if not is_replaced:
        named = ", ".join(name.replace("_", " ") for name in others)
        raise error(
            f"{folder}: found another {kind}, made from other input ({named}), expected the same or an empty folder; "
            "choose another folder, or give --replace"
        )
    _remove(unlist_files(found), {*own, *(name.partition("/")[0] for name in found.files)})
    return _write(Artefact(folder, kind, dict(made_from), {}))


def find_artefact(folder: Path) -> Artefact | None:
    """Read the record of a folder; None where it has none.

    Raises:
        UserInputError: the record cannot be read, or is of another version.
    """
    path = folder / RECORD_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        version = json.loads(content).get("schema_version")
    except (ValueError, AttributeError) as error:
        raise UserInputError(
            f"{path}: not a JSON object that can be read; restore it, or choose another folder"
        ) from error
    if version != RECORD_VERSION:
        raise UserInputError(
            f"{path}: schema_version is {version!r}, expected {RECORD_VERSION}; use the version of mammoscope that "
            "wrote the folder"
        )
    try:
        record = _ADAPTER.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserInputError(
            f"{path}: {where}: {first['msg'].lower()}; restore the file, or choose another folder"
        ) from error
    outside = [name for name in record.files if not _is_below(name)]
    if outside:
        raise UserInputError(
            f"{path}: found {len(outside)} files outside of the folder, expected paths below it; restore the file, or "
            "choose another folder"
        )
    return Artefact(folder, record.kind, record.made_from, record.files, record.is_finished)


def read_artefact(folder: Path, kind: Kind) -> Artefact:
    """Read the record of a folder that must be of one kind.

    Raises:
        UserInputError: it has no record, one of another kind, or one that cannot be read; StoreError for a store,
            RunError for a run.
    """
    error = _ERROR_BY_KIND.get(kind, UserInputError)
    try:
        found = find_artefact(folder)
    except UserInputError as unreadable:
        raise error(str(unreadable)) from unreadable
    if found is None:
        raise error(f"{folder}: found no {RECORD_NAME}, expected a {kind}; give the folder that mammoscope wrote")
    if found.kind is not kind:
        raise error(
            f"{folder}: found the folder of another kind ({found.kind}), expected a {kind}; give the folder of one"
        )
    return found


def list_files(artefact: Artefact, names: Iterable[str], *, is_finished: bool = False) -> Artefact:
    """List files that are whole with their SHA-256, beside those that are listed, and write the record.

    Raises:
        OSError: a file cannot be read, or the record cannot be written.
    """
    hashes = {name: sha256_of_file(artefact.path / name) for name in names}
    return _write(replace(artefact, files={**artefact.files, **hashes}, is_finished=is_finished))


def unlist_files(artefact: Artefact, names: Collection[str] | None = None) -> Artefact:
    """Take files off the record, all of them or some, before they are written anew.

    Raises:
        OSError: the record cannot be written.
    """
    kept = {} if names is None else {name: each for name, each in artefact.files.items() if name not in names}
    return _write(replace(artefact, files=kept, is_finished=False))


@dataclass(frozen=True, slots=True)
class _Record:
    schema_version: int
    kind: Kind
    made_from: dict[str, str]
    is_finished: bool
    files: dict[str, str]


_ADAPTER = TypeAdapter(_Record)


def _write(artefact: Artefact) -> Artefact:
    content: dict[str, object] = {
        "schema_version": RECORD_VERSION,
        "kind": artefact.kind.value,
        "made_from": dict(artefact.made_from),
        "is_finished": artefact.is_finished,
        "files": dict(sorted(artefact.files.items())),
    }
    write_json(artefact.path / RECORD_NAME, content)
    return artefact


def _refuse_files(folder: Path, kind: Kind, error: type[UserInputError]) -> None:
    """Refuse a folder that holds files; hidden ones are locks, or what a killed start left."""
    n_files = sum(not path.name.startswith(".") for path in folder.iterdir()) if folder.is_dir() else 0
    if n_files:
        raise error(
            f"{folder}: found {n_files} files or folders and no {RECORD_NAME}, expected an empty folder or a {kind}; "
            "choose another folder"
        )


def _is_below(name: str) -> bool:
    """Whether a name of a record stays below its folder, on any system."""
    parts = PureWindowsPath(name)  # takes both separators, and drives
    return bool(parts.parts) and not parts.anchor and ".." not in parts.parts


def _remove(artefact: Artefact, names: Iterable[str]) -> None:
    """Remove the files of an artefact; its record stays, so that a killed removal can be gone on with."""
    for name in names:
        path = artefact.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
