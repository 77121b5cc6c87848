"""Marks and lesions: their tables with all problems together, and when a mark hits."""

from pathlib import Path

import numpy as np
import pytest

from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.marks import (
    HitRule,
    Lesion,
    Mark,
    PixelBox,
    lesions_of_mask,
    read_lesions,
    read_marks,
)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_marks_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "marks.csv", "image_id,x,y,score", "a,1.5,2,0.5", "12,0,0,-3")
    assert read_marks(path) == (Mark("a", 1.5, 2, 0.5), Mark("12", 0, 0, -3))
    path = write(tmp_path / "boxes.csv", "image_id,x,y,score,top,left,bottom,right", "a,1,2,0.5,0,0,4,3")
    assert read_marks(path) == (Mark("a", 1, 2, 0.5, PixelBox(0, 0, 4, 3)),)


def test_lesions_are_read(tmp_path: Path) -> None:
    header = "image_id,top,left,bottom,right"
    (lesion,) = read_lesions(write(tmp_path / "lesions.csv", header, "a,1,2,3,4"))
    assert (lesion.image_id, lesion.box, lesion.name) == ("a", PixelBox(1, 2, 3, 4), None)
    found = read_lesions(write(tmp_path / "named.csv", f"{header},lesion_id", "a,1,2,3,4,7", "b,1,2,3,4,"))
    assert [lesion.name for lesion in found] == ["7", None]


def test_all_problems_of_marks_come_together(tmp_path: Path) -> None:
    header = "image_id,x,y,score,top,left,bottom,right"
    path = write(tmp_path / "marks.csv", header, ",-1,2,nan,0,0,0,3", "a,one,2,,0,5,4,3", "b,1,2,inf,0,0,4,3")
    with pytest.raises(TableError) as refused:
        read_marks(path)
    told = str(refused.value)
    for problem in (
        "image_id: 1 of 3 values are empty (row 1)",
        "x: 1 of 3 values cannot be read (row 2)",
        "x: 1 of 3 values are below 0 (row 1)",
        "score: 2 of 3 values are NaN or infinite (rows 1, 3)",
        "score: 1 of 3 values are empty (row 2)",
        "top: 1 of 3 boxes have a top that is not before bottom (row 1)",
        "left: 1 of 3 boxes have a left that is not before right (row 2)",
    ):
        assert problem in told


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"found no column y, score among image_id, x, expected image_id, x, y, score"):
        read_marks(write(tmp_path / "marks.csv", "image_id,x", "a,1"))
    with pytest.raises(TableError, match=r"found no column left, bottom, right among image_id, x, y, score, top"):
        read_marks(write(tmp_path / "half.csv", "image_id,x,y,score,top", "a,1,1,1,1"))
    with pytest.raises(TableError, match=r"found no column top, left"):
        read_lesions(write(tmp_path / "lesions.csv", "image_id,bottom,right", "a,1,1"))
    with pytest.raises(TableError, match=r"bottom: 1 of 1 values are empty"):
        read_lesions(write(tmp_path / "empty.csv", "image_id,top,left,bottom,right", "a,1,1,,3"))


def test_a_centre_hits_half_open_boxes_and_masks() -> None:
    lesion = Lesion("a", PixelBox(10, 20, 30, 40))
    rule = HitRule()
    inside = [
        rule.is_hit(Mark("a", x, y, 1), lesion) for x, y in ((20, 10), (39.9, 29.9), (40, 10), (20, 30), (19, 10))
    ]
    assert inside == [True, True, False, False, False]
    mask = np.zeros((50, 60), bool)
    mask[10:30, 20] = True
    drawn = Lesion("a", PixelBox(10, 20, 30, 21), mask=mask)
    assert [rule.is_hit(Mark("a", x, 15, 1), drawn) for x in (20.9, 21)] == [True, False]


def test_overlap_by_hand() -> None:
    # 10 x 10 and 10 x 10, shifted by 5: 50 of 150
    lesion = Lesion("a", PixelBox(0, 0, 10, 10))
    half = Mark("a", 5, 10, 1, PixelBox(5, 0, 15, 10))
    assert HitRule("overlap", least_iou=1 / 3).is_hit(half, lesion)
    assert not HitRule("overlap", least_iou=0.34).is_hit(half, lesion)
    apart = Mark("a", 15, 15, 1, PixelBox(11, 11, 20, 20))
    assert not HitRule("overlap", least_iou=0.01).is_hit(apart, lesion)
    mask = np.zeros((20, 20), bool)
    mask[:10, :10] = True
    drawn = Lesion("a", PixelBox(0, 0, 10, 10), mask=mask)
    assert HitRule("overlap", least_iou=1 / 3).is_hit(half, drawn)
    assert not HitRule("overlap", least_iou=0.34).is_hit(half, drawn)


def test_each_part_of_a_mask_is_a_lesion() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:7] = mask[5, 7] = mask[10:12, 20:22] = True  # the second touches the first by a corner
    first, second = lesions_of_mask("a", mask)
    assert first.box == PixelBox(2, 3, 6, 8)
    assert second.box == PixelBox(10, 20, 12, 22)
    assert first.mask is not None
    assert int(first.mask.sum()) == 13
    assert lesions_of_mask("a", np.zeros((4, 4), bool)) == ()


def test_what_is_no_box_and_no_rule_is_refused() -> None:
    with pytest.raises(
        UserInputError, match=r"box: found rows 3 to 3 and columns 0 to 1, expected a first and a later"
    ):
        PixelBox(3, 0, 3, 1)
    with pytest.raises(UserInputError, match=r"columns nan to 1"):
        PixelBox(0, float("nan"), 3, 1)
    with pytest.raises(UserInputError, match=r"least IoU is 0, expected one above 0 and up to 1"):
        HitRule("overlap", least_iou=0)
    with pytest.raises(UserInputError, match=r"found a mark without a box, expected top, left, bottom and right"):
        HitRule("overlap").is_hit(Mark("a", 1, 1, 1), Lesion("a", PixelBox(0, 0, 1, 1)))
