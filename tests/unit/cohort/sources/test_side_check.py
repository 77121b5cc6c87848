from collections.abc import Callable
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import Problem
from mammoscope.cohort.sources.side_check import check_sides, list_headers

WriteDicom = Callable[..., Path]


def test_rows_that_the_header_contradicts_are_found(tmp_path: Path, write_dicom: WriteDicom) -> None:
    paths = [
        write_dicom(tmp_path / "agrees.dcm", ImageLaterality="R"),
        write_dicom(tmp_path / "says_left.dicom"),
        write_dicom(tmp_path / "silent.dcm", ImageLaterality=None),
        tmp_path / "gone.dcm",
        tmp_path / "picture.png",
        write_dicom(tmp_path / "series", ImageLaterality=None, Laterality="L"),
    ]
    (tmp_path / "broken.dcm").write_bytes(b"x" * 200)
    names = [*map(str, paths), str(tmp_path / "broken.dcm"), None]
    rows = pl.DataFrame({"path": names, "laterality": ["R"] * len(names)})
    seen: list[int] = []
    assert check_sides(rows, list_headers(rows), run_tasks=map, advance=seen.append) == [
        Problem("row 2, laterality: found 'R', but the file says L", (2,), "side_conflict", "laterality"),
        Problem("row 6, laterality: found 'R', but the file says L", (6,), "side_conflict", "laterality"),
    ]
    assert sum(seen) == 6


def test_a_row_without_a_side_is_another_problem(tmp_path: Path, write_dicom: WriteDicom) -> None:
    path = str(write_dicom(tmp_path / "a.dcm"))
    rows = pl.DataFrame({"path": [path], "laterality": [None]}, schema={"path": pl.String, "laterality": pl.String})
    assert check_sides(rows, [path], run_tasks=map, advance=lambda _: None) == []
