"""The breast search on phantoms with known truth, by the criteria of `benchmarks/breast.py`, which draws 2,000."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEEDS = range(610_000, 610_136)  # eight for each artefact and eight for none
SCALE = 0.12  # 320 to 640 rows
MAY_HIDE_WALL = "fills_picture"  # where the breast fills the picture, nothing may show the chest wall


@pytest.fixture(scope="module")
def suite() -> Any:  # noqa: ANN401  # a benchmark is no package
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("breast")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def findings(suite: Any) -> list[Any]:  # noqa: ANN401
    return list(suite.measure_phantoms(SEEDS, scale=SCALE))


def test_the_masks_agree_and_no_lesion_is_cut(suite: Any, findings: list[Any]) -> None:  # noqa: ANN401
    assert sum(finding.n_lesions for finding in findings) > 40
    assert suite.meets_criteria(findings) == {"iou_mean": True, "share_of_good_iou": True, "no_lesion_cut": True}


def test_the_chest_wall_is_on_its_side(findings: list[Any]) -> None:
    wrong = [finding.artefact for finding in findings if not finding.is_wall_right]
    assert set(wrong) <= {MAY_HIDE_WALL}
    assert len(wrong) <= 1


def test_only_an_empty_and_a_full_picture_are_in_doubt(findings: list[Any]) -> None:
    assert {finding.artefact for finding in findings if not finding.is_sure} <= {"nearly_empty", "fills_picture"}
