"""Marks of a detector or a reader and lesions of the truth: their tables, and which mark hits which lesion.

All places are in pixels of the original image: x runs along a row, y along a column, and a box is half open, rows from
`top` to before `bottom`, columns from `left` to before `right`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from mammoscope.cohort.manifest import raise_problems
from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.any_table import as_numbers, describe_rows, name_some, read_any_table

Mask = NDArray[np.bool_]

_SIDES: Final = ("top", "left", "bottom", "right")
_MARK_COLUMNS: Final = ("image_id", "x", "y", "score")
_LESION_COLUMNS: Final = ("image_id", *_SIDES)


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A rectangle in pixels of the original, half open; its ends may lie between two pixels."""

    top: float
    left: float
    bottom: float
    right: float

    def __post_init__(self) -> None:
        if not (self.top < self.bottom and self.left < self.right):
            raise UserInputError(
                f"box: found rows {self.top:g} to {self.bottom:g} and columns {self.left:g} to {self.right:g}, "
                "expected a first and a later one of both"
            )

    @property
    def area(self) -> float:
        """In square pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in an image with its score, the higher the more suspicious; a box where the detector draws one."""

    image_id: str
    x: float
    y: float
    score: float
    box: PixelBox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """A lesion in one image: its box, and its outline as a mask of the whole image, (row, column), where there is one.

    Boxes of one breast that have one `name` are one lesion, seen in several views, and found where one of them is hit.
    """

    image_id: str
    box: PixelBox
    name: str | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class HitRule:
    """When a mark hits a lesion: its centre lies in the mask, or the box where there is none; or both overlap enough.

    The overlap is the intersection over union (IoU) of the mark's box with the mask, or the box, of the lesion.
    """

    kind: Literal["centre", "overlap"] = "centre"
    least_iou: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.least_iou <= 1:
            raise UserInputError(f"hit rule: least IoU is {self.least_iou}, expected one above 0 and up to 1, as 0.2")

    def state(self) -> str:
        """The rule as a clause, for people and for `evaluation.json`."""
        if self.kind == "centre":
            return "the centre of the mark lies in the lesion"
        return f"the box of the mark and the lesion have an IoU of {self.least_iou:g} or more"

    def is_hit(self, mark: Mark, lesion: Lesion) -> bool:
        """Whether the mark hits the lesion, both of one image.

        Raises:
            UserInputError: the rule is overlap, and the mark has no box.
        """
        if self.kind == "centre":
            return _holds(lesion, mark.x, mark.y)
        if mark.box is None:
            raise UserInputError(
                "hit rule: found a mark without a box, expected top, left, bottom and right of each for an overlap; "
                "give them, or go by the centre"
            )
        return _overlap(mark.box, lesion) >= self.least_iou


def read_marks(path: Path) -> tuple[Mark, ...]:
    """The marks of a .csv, .parquet or .jsonl file: `image_id`, `x`, `y`, `score`, and a box in four columns or none.

    An image without marks has no row; that it was looked at is known from the table of images.

    Raises:
        TableError: a column is missing, or a value is; all problems together, each with its rows.
    """
    table = read_any_table(path)
    given = [side for side in _SIDES if side in table.columns]
    _refuse_missing(table, _MARK_COLUMNS if not given else (*_MARK_COLUMNS, *_SIDES), str(path))
    ids, problems = _read_ids(table)
    columns = {name: _read_finite(table[name], problems) for name in ("x", "y", "score", *given)}
    for name in ("x", "y"):
        problems += _list_problems((columns[name] < 0).arg_true(), table.height, f"{name}: ", "are below 0")
    problems += _find_empty_boxes(columns) if given else []
    raise_problems(problems, where=str(path))
    boxes = _build_boxes(columns, table.height) if given else [None] * table.height
    places = zip(ids, columns["x"], columns["y"], columns["score"], boxes, strict=True)
    return tuple(Mark(*place) for place in places)


def read_lesions(path: Path) -> tuple[Lesion, ...]:
    """The lesions of a .csv, .parquet or .jsonl file: `image_id`, `top`, `left`, `bottom`, `right`, maybe `lesion_id`.

    Rows of one breast with one `lesion_id` are one lesion.

    Raises:
        TableError: a column is missing, or a value is; all problems together, each with its rows.
    """
    table = read_any_table(path)
    _refuse_missing(table, _LESION_COLUMNS, str(path))
    ids, problems = _read_ids(table)
    columns = {name: _read_finite(table[name], problems) for name in _SIDES}
    problems += _find_empty_boxes(columns)
    raise_problems(problems, where=str(path))
    names = table["lesion_id"].cast(pl.String).to_list() if "lesion_id" in table.columns else [None] * table.height
    boxes = _build_boxes(columns, table.height)
    return tuple(Lesion(image_id, box, name) for image_id, box, name in zip(ids, boxes, names, strict=True))


def lesions_of_mask(image_id: str, mask: Mask) -> tuple[Lesion, ...]:
    """Each connected part of a mask of the whole image, (row, column), as a lesion; corners connect."""
    labels, n_parts = ndimage.label(mask, structure=np.ones((3, 3)))
    parts = ndimage.find_objects(labels, n_parts)
    return tuple(
        Lesion(image_id, PixelBox(rows.start, columns.start, rows.stop, columns.stop), mask=labels == number)
        for number, (rows, columns) in enumerate(parts, start=1)
    )


def _holds(lesion: Lesion, x: float, y: float) -> bool:
    box = lesion.box
    if not (box.top <= y < box.bottom and box.left <= x < box.right):
        return False
    return lesion.mask is None or bool(lesion.mask[int(y), int(x)])


def _overlap(box: PixelBox, lesion: Lesion) -> float:
    """The intersection over union of a box with a lesion; of a mask, in whole pixels."""
    if lesion.mask is not None:
        rows, columns = (
            slice(max(0, round(low)), max(0, round(high)))
            for low, high in ((box.top, box.bottom), (box.left, box.right))
        )
        inside, n_mask = int(lesion.mask[rows, columns].sum()), int(lesion.mask.sum())
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return inside / (area + n_mask - inside)
    other = lesion.box
    height = min(box.bottom, other.bottom) - max(box.top, other.top)
    width = min(box.right, other.right) - max(box.left, other.left)
    inside_area = max(0.0, height) * max(0.0, width)
    return inside_area / (box.area + other.area - inside_area)


def _refuse_missing(table: pl.DataFrame, expected: Sequence[str], where: str) -> None:
    missing = [name for name in expected if name not in table.columns]
    if missing:
        raise TableError(
            f"{where}: found no column {', '.join(missing)} among {', '.join(table.columns)}, expected "
            f"{', '.join(expected)}; places are in pixels of the original image"
        )


def _read_ids(table: pl.DataFrame) -> tuple[list[str], list[str]]:
    rows, problems = describe_rows(table.select("image_id"))
    empty = rows["image_id"].is_null().arg_true()
    return rows["image_id"].to_list(), [*problems, *_list_problems(empty, table.height, "image_id: ", "are empty")]


def _read_finite(column: pl.Series, problems: list[str]) -> pl.Series:
    """The numbers of a column; what is no finite number is added to the problems."""
    numbers, unreadable = as_numbers(column)
    problems += unreadable
    bad = (~numbers.is_finite()).fill_null(value=False).arg_true()
    problems += _list_problems(bad, len(column), f"{column.name}: ", "are NaN or infinite")
    if not unreadable:
        problems += _list_problems(numbers.is_null().arg_true(), len(column), f"{column.name}: ", "are empty")
    return numbers


def _list_problems(rows: pl.Series, n: int, name: str, what: str) -> list[str]:
    return [f"{name}{name_some(rows + 1, n, f'values {what}')}; expected one for each row"] if len(rows) else []


def _find_empty_boxes(columns: Mapping[str, pl.Series]) -> Iterator[str]:
    for low, high in (("top", "bottom"), ("left", "right")):
        rows = (columns[low] >= columns[high]).arg_true()
        if len(rows):
            yield f"{low}: {name_some(rows + 1, len(columns[low]), f'boxes have a {low} that is not before {high}')}"


def _build_boxes(columns: Mapping[str, pl.Series], n: int) -> list[PixelBox]:
    return [PixelBox(*(float(columns[side][row]) for side in _SIDES)) for row in range(n)]
