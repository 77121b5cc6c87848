from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.sources.csv_table import read_csv_table, read_table, require_columns
from mammoscope.errors import TableError

EXPECTED = pl.DataFrame({"a": ["1", None], "b": ["x", "ü, y"]})


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n1,x\n,"ü, y"\n',
        '\ufeffa,b\n1,x\n,"ü, y"\n',
        'a,b\r\n1,x\r\n,"ü, y"\r\n',
        'a,b\r1,x\r,"ü, y"',
        ' a , b \n 1 ,x\n  ,"ü, y "\n\n',
    ],
    ids=["plain", "byte order mark", "Windows", "old Mac, no last line end", "spaces and empty lines"],
)
def test_a_table_is_read_the_same_however_it_was_saved(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode())
    assert read_csv_table(tmp_path / "t.csv").equals(EXPECTED)


def test_a_header_without_rows_has_columns_of_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    assert read_csv_table(tmp_path / "t.csv").schema == {"a": pl.String, "b": pl.String}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty, expected a CSV table with the names of its columns first"),
        (b"\n\n", "empty, expected a CSV table"),
        (b"\xff\xfea\x00,\x00b\x00", r"not UTF-8 text \(byte 0\), expected a CSV table"),
        (b"a,b\n1,\xe4\n", r"not UTF-8 text \(byte 6\)"),
        (b'a,b\n1,"x\n', "cannot be read as CSV .*; write the table anew"),
        (b"a,b\n1,2\n3\n", "row 2: found 1 values, expected 2; is the file cut off"),
        (b'a,b\n\n"1\nx",2\n\n3\n', "row 2: found 1 values, expected 2"),  # as docs/cohort.md counts
        (b"a,b\n1,2,3\n", "row 1: found 3 values, expected 2"),
        (b"a,b,a\n1,2,3\n", "column a: stands in the header 2 times, expected once"),
        (b"a,,\n1,2,3\n", "header: found 2 columns without a name"),
        (b"a;b\n1;2\n", "header: separated by semicolons, expected commas; save it with commas, or name the separator"),
        (b"a\tb\n1\t2\n", "header: separated by tabs, expected commas"),
    ],
)
def test_a_file_that_a_lenient_reader_would_mend_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(TableError, match=sentence):
        read_csv_table(tmp_path / "t.csv")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="found a folder, expected a CSV table"):
        read_csv_table(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.csv: no such file, expected a CSV table; check the path"):
        read_csv_table(tmp_path / "t.csv")


def test_other_separators_are_read_when_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1;x,y\n")
    assert read_csv_table(tmp_path / "t.csv", separator=";").rows() == [("1", "x,y")]
    (tmp_path / "t.csv").write_text("a,b\n1,x\n")
    with pytest.raises(TableError, match="header: separated by commas, expected semicolons"):
        read_csv_table(tmp_path / "t.csv", separator=";")


def test_a_parquet_table_is_text_too(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, None], "b": [" x ", ""], "c": [61.5, None], "d": [True, None]}).write_parquet(
        tmp_path / "t.parquet"
    )
    assert read_table(tmp_path / "t.parquet").rows() == [("1", "x", "61.5", "true"), (None, None, None, None)]


def test_a_parquet_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file, expected a Parquet table"):
        read_table(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"a,b")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        read_table(tmp_path / "t.parquet")
    pl.DataFrame({"a": [{"b": 1}]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="found lists or bytes in a, expected texts and numbers; flatten them"):
        read_table(tmp_path / "t.parquet")


def test_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.csv: columns missing: b, d; found a, c; give another"):
        require_columns(pl.DataFrame({"a": [], "c": []}), "abcd", where=tmp_path / "t.csv", advice="give another")
