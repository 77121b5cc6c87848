import hashlib
import json
from pathlib import Path

import pytest

from mammoscope.artefact import (
    RECORD_NAME,
    Artefact,
    Kind,
    claim_folder,
    find_artefact,
    list_files,
    read_artefact,
    unlist_files,
)
from mammoscope.errors import RunError, StoreError, UserInputError

MADE_FROM = {"cohort": "a1", "settings": "b2"}


def make(folder: Path, kind: Kind = Kind.EXPORT) -> Artefact:
    """A finished artefact of two files, one of them deeper."""
    artefact = claim_folder(folder, kind, MADE_FROM, own=("deep",))
    (folder / "deep").mkdir()
    (folder / "first.txt").write_bytes(b"abc")
    (folder / "deep" / "second.txt").write_bytes(b"def")
    return list_files(artefact, ["first.txt", "deep/second.txt"], is_finished=True)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / RECORD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_is_claimed_and_unfinished(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "new"
    if exists:
        folder.mkdir()
        (folder / ".lock").touch()  # no file of anybody's
    claimed = claim_folder(folder, Kind.RUN, MADE_FROM)
    assert (claimed.kind, claimed.made_from, claimed.files, claimed.is_finished) == (Kind.RUN, MADE_FROM, {}, False)
    assert read_artefact(folder, Kind.RUN) == claimed


def test_ones_own_is_given_back_as_it_is(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert claim_folder(tmp_path, Kind.EXPORT, MADE_FROM) == made
    assert made.files == {
        "first.txt": hashlib.sha256(b"abc").hexdigest(),
        "deep/second.txt": hashlib.sha256(b"def").hexdigest(),
    }


@pytest.mark.parametrize("is_replaced", [False, True])
def test_files_of_others_are_refused_and_kept(tmp_path: Path, is_replaced: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"found 1 files or folders and no artefact.json, expected an empty folder"):
        claim_folder(tmp_path, Kind.STORE, MADE_FROM, own=("thesis.txt",), is_replaced=is_replaced)
    assert names_in(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_another_kind_is_refused_and_kept(tmp_path: Path, is_replaced: bool) -> None:
    make(tmp_path)
    with pytest.raises(
        RunError, match=r"found the folder of another kind \(export\), expected an empty folder or a run"
    ):
        claim_folder(tmp_path, Kind.RUN, MADE_FROM, is_replaced=is_replaced)
    assert names_in(tmp_path) == [RECORD_NAME, "deep", "first.txt"]


@pytest.mark.parametrize(
    ("made_from", "named"),
    [
        ({"cohort": "a2", "settings": "b2"}, r"\(cohort\)"),
        ({"settings": "b2"}, r"\(cohort\)"),
        ({**MADE_FROM, "table_hash": "c3"}, r"\(table hash\)"),
        ({"cohort": "b2", "settings": "a1"}, r"\(cohort, settings\)"),
    ],
)
def test_what_was_made_from_something_else_is_refused(tmp_path: Path, made_from: dict[str, str], named: str) -> None:
    make(tmp_path)
    with pytest.raises(UserInputError, match=f"found another export, made from other input {named}.*--replace"):
        claim_folder(tmp_path, Kind.EXPORT, made_from)
    read_artefact(tmp_path, Kind.EXPORT).check(["first.txt", "deep/second.txt"])


def test_replacing_removes_the_other_artefact_and_no_other_file(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "half.part").write_text("begun")
    claimed = claim_folder(tmp_path, Kind.EXPORT, {"cohort": "a2"}, own=("deep", "half.part"), is_replaced=True)
    assert (claimed.made_from, claimed.files, claimed.is_finished) == ({"cohort": "a2"}, {}, False)
    assert names_in(tmp_path) == [RECORD_NAME, "notes.txt"]


def test_replacing_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "second.txt").write_text("kept")
    folder = tmp_path / "artefact"
    make(folder)
    (folder / "deep" / "second.txt").unlink()
    (folder / "deep").rmdir()
    (folder / "deep").symlink_to(outside)
    claim_folder(folder, Kind.EXPORT, {"cohort": "a2"}, is_replaced=True)
    assert names_in(outside) == ["second.txt"]
    assert names_in(folder) == [RECORD_NAME]


@pytest.mark.parametrize("name", ["../stolen", "/etc/passwd", "a/../../b", "c:\\windows", "..\\b", ""])
def test_a_record_that_names_files_outside_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    rewrite(tmp_path, files={name: "0" * 64})
    with pytest.raises(UserInputError, match="found 1 files outside of the folder, expected paths below it"):
        claim_folder(tmp_path, Kind.EXPORT, {"cohort": "a2"}, is_replaced=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("here")
    with pytest.raises(UserInputError, match="found a file, expected a folder for the prediction"):
        claim_folder(path, Kind.PREDICTION, MADE_FROM)


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert (made.read("first.txt"), made.read("deep/second.txt")) == (b"abc", b"def")
    made.check(["first.txt", "deep/second.txt"])


def test_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path)
    (tmp_path / "deep" / "second.txt").write_bytes(b"eef")
    for look in (lambda: made.read("deep/second.txt"), lambda: made.check(["first.txt", "deep/second.txt"])):
        with pytest.raises(UserInputError, match=r"second.txt: found other content than was written"):
            look()


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path, Kind.STORE)
    (tmp_path / "first.txt").unlink()
    for look in (lambda: made.read("first.txt"), lambda: made.check(["first.txt"])):
        with pytest.raises(StoreError, match=r"first.txt: found no such file, expected it in this prepared store"):
            look()


def test_a_file_without_a_hash_is_refused(tmp_path: Path) -> None:
    make(tmp_path, Kind.RUN)
    rewrite(tmp_path, files={})
    opened = read_artefact(tmp_path, Kind.RUN)
    for look in (lambda: opened.read("first.txt"), lambda: opened.check(["first.txt"])):
        with pytest.raises(RunError, match=r"first.txt: found no hash of it in artefact.json"):
            look()


def test_what_is_written_anew_is_off_the_list_meanwhile(tmp_path: Path) -> None:
    made = make(tmp_path)
    begun = unlist_files(made, ["first.txt"])
    assert (set(begun.files), begun.is_finished) == ({"deep/second.txt"}, False)
    assert find_artefact(tmp_path) == begun
    assert unlist_files(begun).files == {}


def test_a_folder_without_a_record_is_no_artefact(tmp_path: Path) -> None:
    assert find_artefact(tmp_path) is None
    assert find_artefact(tmp_path / "nowhere") is None
    with pytest.raises(RunError, match=r"found no artefact.json, expected a run"):
        read_artefact(tmp_path, Kind.RUN)


def test_another_kind_is_told_on_reading(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(StoreError, match=r"found the folder of another kind \(export\), expected a prepared store"):
        read_artefact(tmp_path, Kind.STORE)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not a JSON object that can be read"),
        ("[]", "not a JSON object that can be read"),
        ('{"schema_version": 2}', "schema_version is 2, expected 1"),
        ('{"schema_version": 1, "kind": "barn", "made_from": {}, "files": {}, "is_finished": true}', "kind: "),
        ('{"schema_version": 1, "kind": "run", "made_from": {}, "is_finished": true}', "files: field required"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / RECORD_NAME).write_text(content)
    with pytest.raises(UserInputError, match=sentence):
        find_artefact(tmp_path)
    with pytest.raises(RunError, match=sentence):
        read_artefact(tmp_path, Kind.RUN)
