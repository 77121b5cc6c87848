"""The sides of a table against those that the headers of its files say."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import Problem
from mammoscope.cohort.sources.dicom_file import read_elements
from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.header import parse_dataset

_TASK_FILES: Final = 100
_SUFFIXES: Final = {".dcm", ".dicom", ""}


@dataclass(frozen=True, slots=True)
class SideTask:
    """Files whose sides to read."""

    paths: tuple[str, ...]


SideRunner = Callable[
    [Callable[[SideTask], dict[str, str | None]], Sequence[SideTask]], Iterator[dict[str, str | None]]
]


def list_headers(rows: pl.DataFrame) -> list[str]:
    """The paths of rows that are DICOM files by their names, each once."""
    return [path for path in rows["path"].drop_nulls().unique().sort() if Path(path).suffix.lower() in _SUFFIXES]


def check_sides(
    rows: pl.DataFrame, paths: Sequence[str], *, run_tasks: SideRunner, advance: Callable[[int], None]
) -> list[Problem]:
    """The rows whose DICOM file says another side than the table; a file that says none, or is broken, is no problem.

    Args:
        rows: with `path` and `laterality`.
        paths: whose headers to read.
        run_tasks: runs a function over tasks, results in any order.
        advance: told the number of files as they are read.
    """
    tasks = [SideTask(tuple(paths[first : first + _TASK_FILES])) for first in range(0, len(paths), _TASK_FILES)]
    side_by_path: dict[str, str | None] = {}
    for sides in run_tasks(read_sides, tasks):
        side_by_path |= sides
        advance(len(sides))
    return [
        Problem(
            f"row {row}, laterality: found {side!r}, but the file says {said}", (row,), "side_conflict", "laterality"
        )
        for row, (path, side) in enumerate(rows.select("path", "laterality").iter_rows(), start=1)
        if (said := side_by_path.get(path)) is not None and side is not None and said != side
    ]


def read_sides(task: SideTask) -> dict[str, str | None]:
    """The side that each file says; None where it says none or cannot be read."""
    return {path: _read_side(Path(path)) for path in task.paths}


def _read_side(path: Path) -> str | None:
    try:
        side = parse_dataset(read_elements(path, name=path.stem), name=path.stem).laterality
    except (ImageRefusedError, OSError):
        return None  # `prepare` refuses it with its reason
    return None if side is None else str(side)
