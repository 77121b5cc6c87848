import errno
import json
from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import UserInputError
from mammoscope.inference.journal import PART_SCHEMA, keep_journal

ABOUT: dict[str, object] = {"model_hash": "m", "input": ["a"]}


def _row(key: str, *, networks: tuple[int, ...] = (0,)) -> dict[str, object]:
    return {"key": key, "code": "ok", "networks": list(networks), "cancer": [0.5] * len(networks)}


def _begin(folder: Path, *keys: str) -> None:
    with keep_journal(folder, ABOUT, is_resumed=False) as journal:
        for key in keys:
            journal.write([_row(key)])


def test_what_was_written_is_read_after_an_interruption_and_gone_at_the_end(tmp_path: Path) -> None:
    _begin(tmp_path / "out", "a", "b")
    with keep_journal(tmp_path / "out", ABOUT, is_resumed=True) as journal:
        assert journal.read()["key"].to_list() == ["a", "b"]
        journal.write([_row("c"), _row("d")])
        assert journal.read(columns=["key"])["key"].to_list() == ["a", "b", "c", "d"]
        assert dict(journal.read().schema) == PART_SCHEMA
        journal.write([])
        assert len(list((tmp_path / "out" / "parts").glob("*.parquet"))) == 3
        journal.remove()
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_kill_left_half_written_counts_for_nothing(tmp_path: Path) -> None:
    _begin(tmp_path, "a")
    (tmp_path / "parts" / ".000002.parquet.99.part").write_bytes(b"half")
    with keep_journal(tmp_path, ABOUT, is_resumed=True) as journal:
        assert journal.read().height == 1
        journal.write([_row("b")])
        assert journal.read().height == 2


def test_parts_without_their_description_are_of_nothing(tmp_path: Path) -> None:
    _begin(tmp_path, "a")
    (tmp_path / "parts" / "about.json").unlink()
    with keep_journal(tmp_path, ABOUT, is_resumed=True) as journal:
        assert journal.read().is_empty()


def test_unfinished_parts_are_not_written_over(tmp_path: Path) -> None:
    _begin(tmp_path, "a")
    with (
        pytest.raises(UserInputError, match=r"parts: found a prediction that is not finished, .* go on .* --resume"),
        keep_journal(tmp_path, ABOUT, is_resumed=False),
    ):
        pass


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"model_hash": "1" * 64}, {"model_hash": "2" * 64}, r"model hash, expected the same"),
        ({"precision": "f32"}, {"precision": "bf16"}, r"precision \(f32 there, bf16 here\), expected the same"),
    ],
)
def test_parts_of_another_prediction_are_not_gone_on_with(
    tmp_path: Path, there: dict[str, object], here: dict[str, object], words: str
) -> None:
    with keep_journal(tmp_path, ABOUT | there, is_resumed=False) as journal:
        journal.write([_row("a")])
    with (
        pytest.raises(UserInputError, match=f"not finished and differs in {words}"),
        keep_journal(tmp_path, ABOUT | here, is_resumed=True),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "about.json: not JSON"), (json.dumps({"schema_version": 9}), "schema_version is 9")]
)
def test_parts_that_cannot_be_understood_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    _begin(tmp_path, "a")
    (tmp_path / "parts" / "about.json").write_text(text)
    with pytest.raises(UserInputError, match=sentence), keep_journal(tmp_path, ABOUT, is_resumed=True):
        pass


def test_two_predictions_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with (
        keep_journal(tmp_path, ABOUT, is_resumed=False),
        pytest.raises(UserInputError, match="found another prediction at work"),
        keep_journal(tmp_path, ABOUT, is_resumed=True),
    ):
        pass


def test_a_full_disk_keeps_what_was_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_table: pl.DataFrame, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with keep_journal(tmp_path, ABOUT, is_resumed=False) as journal:
        journal.write([_row("a")])
        with monkeypatch.context() as patched:
            patched.setattr(pl.DataFrame, "write_parquet", fail)
            with pytest.raises(UserInputError, match=r"000002.parquet: No space left .* is kept: make room, and go on"):
                journal.write([_row("b")])
        assert journal.read()["key"].to_list() == ["a"]
