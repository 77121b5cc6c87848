import struct
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from mammoscope.cohort.sources.csv_table import read_table
from mammoscope.errors import TableError, UserInputError

Sheet = list[list[object]]
TABLE: Sheet = [
    ["ID1", "Age", "code", "share", "when", "is it"],
    ["D1-0001", 44, "007", 4.5, datetime(2010, 1, 2), True],  # noqa: DTZ001  # workbooks know no zones
    [None, None, " ", None, None, None],
    [20586908, 1.0, " x ", 0.25, None, False],
]


def write_workbook(path: Path, **sheets: Sheet) -> Path:
    workbook = xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd"})
    for name, lines in sheets.items():
        sheet = workbook.add_worksheet(name)
        for number, line in enumerate(lines):
            sheet.write_row(number, 0, line)
    workbook.close()
    return path


def test_a_workbook_is_read_as_its_csv_file_would_be(tmp_path: Path) -> None:
    assert read_table(write_workbook(tmp_path / "t.xlsx", clinical=TABLE)).equals(
        pl.DataFrame(
            {
                "ID1": ["D1-0001", None, "20586908"],
                "Age": ["44", None, "1"],
                "code": ["007", None, "x"],
                "share": ["4.5", None, "0.25"],
                "when": ["2010-01-02 00:00:00", None, None],
                "is it": ["true", None, "false"],
            }
        )
    )


def test_what_is_empty_around_a_table_is_no_part_of_it(tmp_path: Path) -> None:
    framed: Sheet = [[], [None, None, "a", None, "b", " "], [None, None, "1", None, "2"], [], [" "]]
    table = read_table(write_workbook(tmp_path / "t.xlsx", data=framed, notes=[[" "]], chart=[]))
    assert table.rows(named=True) == [{"a": "1", "b": "2"}]


def test_of_several_sheets_one_has_to_be_named(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "t.XLSX", women=TABLE, notes=[["a"], ["1"]])
    with pytest.raises(TableError, match=r"found several sheets \(women, notes\), expected one .*; name one \(--sheet"):
        read_table(path)
    assert read_table(path, sheet="notes").rows() == [("1",)]
    assert read_table(path, sheet="women").height == 3
    with pytest.raises(UserInputError, match=r"sheet: found 'Notes', but t\.XLSX has women, notes; name one of them"):
        read_table(path, sheet="Notes")


def test_a_sheet_of_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(UserInputError, match=r"sheet: found 'x', but t\.csv is no Excel workbook; leave it out"):
        read_table(tmp_path / "t.csv", sheet="x")


@pytest.mark.parametrize("name", ["t.xlsx", "t.xls"])
@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"PK\x03\x04broken", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1broken"]
)
def test_what_is_no_workbook_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=r"cannot be read as an Excel workbook .*; save it anew, or as CSV") as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sheets", [{"a": []}, {"a": [], "b": [[" "]]}])
def test_an_empty_workbook_is_named(tmp_path: Path, sheets: dict[str, Sheet]) -> None:
    with pytest.raises(TableError, match=r"t\.xlsx: empty, expected one with a table; save it anew"):
        read_table(write_workbook(tmp_path / "t.xlsx", **sheets))


def test_a_workbook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file, expected an Excel workbook; check the path"):
        read_table(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([["a", "a"], [1, 2]], "column a: stands in the header 2 times, expected once"),
        ([["a", None], [1, 2]], "header: found 1 columns without a name, expected a name for each"),
    ],
)
def test_a_header_that_is_none_is_named(tmp_path: Path, lines: Sheet, sentence: str) -> None:
    with pytest.raises(TableError, match=sentence):
        read_table(write_workbook(tmp_path / "t.xlsx", s=lines))


def record(kind: int, content: bytes) -> bytes:
    """A record of BIFF8: kind, length, content ([MS-XLS] 2.1.4)."""
    return struct.pack("<HH", kind, len(content)) + content


def build_old_sheet(lines: Sheet) -> bytes:
    """The stream of an old workbook: BOF, BoundSheet8, EOF of the whole, then BOF, cells, EOF of its one sheet."""
    begins = [record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0x0DBB, 0x07CC, 0, 6)) for kind in (0x0005, 0x0010)]
    end, name = record(0x000A, b""), b"INbreast"
    place = len(begins[0]) + 4 + 8 + len(name) + len(end)  # of the sheet: behind its own entry, of four and eight bytes
    entry = record(0x0085, struct.pack("<IBBBB", place, 0, 0, len(name), 0) + name)
    cells = b""
    for row, line in enumerate(lines):
        for column, value in enumerate(line):
            if isinstance(value, str):
                cells += record(0x0204, struct.pack("<HHHHB", row, column, 0, len(value), 0) + value.encode("latin-1"))
            else:
                cells += record(0x0203, struct.pack("<HHHd", row, column, 0, value))
    return begins[0] + entry + end + begins[1] + cells + end


def build_compound_file(stream: bytes) -> bytes:
    """A compound file ([MS-CFB]) of sectors of 512 bytes: header, allocation table, directory, the stream Workbook."""
    free, last, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    padded = stream.ljust(4096, b"\0")  # shorter streams would lie elsewhere
    n_sectors = len(padded) // 512
    chain = [table, last, *range(3, n_sectors + 2), last]
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH6xIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, last, 0, last, 0)
    header += struct.pack("<109I", 0, *[free] * 108)
    directory = b""
    for name, kind, child, start, size in (("Root Entry", 5, 1, last, 0), ("Workbook", 2, free, 2, len(padded))):
        text = name.encode("utf-16-le") + b"\0\0"
        fields = (len(text), kind, 1, free, free, child, b"", 0, 0, 0, start, size)
        directory += text.ljust(64, b"\0") + struct.pack("<HBBIII16sIQQIQ", *fields)
    unused = bytes(68) + struct.pack("<III", free, free, free) + bytes(48)
    allocation = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    return header + allocation + directory + 2 * unused + padded


def test_an_old_workbook_is_read_too(tmp_path: Path) -> None:
    lines: Sheet = [["Laterality", "File Name", "Bi-Rads"], ["R", 20586908, "4a"], ["L", 20586934.0, 1]]
    (tmp_path / "INbreast.xls").write_bytes(build_compound_file(build_old_sheet(lines)))
    assert read_table(tmp_path / "INbreast.xls").rows() == [("R", "20586908", "4a"), ("L", "20586934", "1")]
