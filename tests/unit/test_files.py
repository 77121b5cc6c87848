import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import StoreError, UserInputError
from mammoscope.files import lock_folder, refuse_foreign, replacing, sha256_of_bytes, write_json, write_text

# SHA-256 of "abc" as in FIPS 180-2, appendix B.1
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with replacing(path) as beside:
        beside.write_text("whole")
        assert not path.exists()
        assert beside.parent == path.parent  # the same disk, so that the renaming is one step
    assert path.read_text() == "whole"
    assert names_in(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_writing_that_is_stopped_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with replacing(tmp_path / "a.txt") as beside:
            beside.write_text("half")
            raise error("stopped")

    with pytest.raises(error, match="stopped"):
        write()
    assert names_in(tmp_path) == []


def test_writing_that_is_stopped_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"kept": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"lost": float("nan")})
    assert json.loads(path.read_text()) == {"kept": 1}
    assert names_in(tmp_path) == ["a.json"]


def test_whoever_reads_while_a_file_is_replaced_reads_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("write", [pl.DataFrame.write_parquet, pl.DataFrame.write_csv])
def test_a_limit_of_the_system_is_an_error_with_number_and_path(tmp_path: Path, write: object) -> None:
    assert callable(write)
    table, path = pl.DataFrame({"number": range(100_000)}), tmp_path / "table"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught, replacing(path) as beside:
            write(table, beside)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert names_in(tmp_path) == []


def test_an_error_that_names_its_file_is_passed_on_as_it_is(tmp_path: Path) -> None:
    original = OSError(errno.ENOSPC, "No space left on device (os error 28)", "elsewhere")
    with pytest.raises(OSError, match="elsewhere") as caught, replacing(tmp_path / "a"):
        raise original
    assert caught.value is original


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "a.txt", "y")


def test_a_folder_of_somebody_else_is_refused_and_an_empty_a_new_and_an_own_one_are_not(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "new", what="result", own=("a", "b"))
    refuse_foreign(tmp_path, what="result", own=("a", "b"))
    (tmp_path / "theirs").touch()
    with pytest.raises(UserInputError, match="found 1 files or folders and no result among them, expected an empty or"):
        refuse_foreign(tmp_path, what="result", own=("a", "b"))
    (tmp_path / "b").mkdir()
    refuse_foreign(tmp_path, what="result", own=("a", "b"))


def test_text_is_utf_8_and_ends_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Brüste …")
    assert (tmp_path / "a.txt").read_bytes() == "Brüste …".encode()


def test_json_keeps_the_order_of_its_keys_and_ends_with_a_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "ü"\n}\n'


def test_the_hash_is_sha_256() -> None:
    assert sha256_of_bytes(b"abc") == ABC


def test_a_file_is_flushed_to_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []
    path = tmp_path / "a.txt"

    def note(descriptor: int) -> None:
        flushed.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, path.exists()))

    monkeypatch.setattr(os, "fsync", note)
    write_text(path, "whole")
    names = [name for name, _ in flushed]
    assert len(names) == 2
    assert names[0].endswith(".part")
    assert names[1] == tmp_path.name
    assert [is_there for _, is_there in flushed] == [False, True]


def test_a_folder_is_locked_against_other_processes(tmp_path: Path) -> None:
    held = "import sys; from pathlib import Path; from mammoscope.files import lock_folder\n"
    held += "with lock_folder(Path(sys.argv[1]), what='training'): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(tmp_path / "new")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603  # our own
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(StoreError, match="found another training at work in it, expected none; wait for it"),
            lock_folder(tmp_path / "new", what="training", error=StoreError),
        ):
            pass
        other.stdin.close()
        other.wait()
    with lock_folder(tmp_path / "new", what="training"):
        pass
