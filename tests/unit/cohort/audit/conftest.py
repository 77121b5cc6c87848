"""A miniature cohort, small enough to count by hand, and the audit's view of it."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from mammoscope.cohort.manifest import SCHEMA

BuildCohort = Callable[..., pl.DataFrame]


def _build(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """A manifest of these rows; what a row leaves out is a control's left CC view of a patient of her own."""
    filled = [
        {
            "image_id": f"image-{number}",
            "patient_id": f"patient-{number}",
            "exam_id": f"exam-{row.get('patient_id', f'patient-{number}')}",
            "laterality": "L",
            "view": "CC",
            "source": "test",
            "cancer": False,
        }
        | dict(row)
        for number, row in enumerate(rows)
    ]
    return pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in filled], schema=SCHEMA)


@pytest.fixture(scope="session")
def build() -> BuildCohort:
    return _build


@pytest.fixture(scope="session")
def miniature() -> pl.DataFrame:
    """Three patients with seven images: one with cancer on the left (two views), one undetermined breast."""
    first: list[dict[str, Any]] = [
        {"laterality": side, "view": view, "cancer": side == "L", "biopsy": side == "L"}
        for side in "LR"
        for view in ("CC", "MLO")
    ]
    rows: list[dict[str, Any]] = [
        *({"patient_id": "a", "density": "B", "age_years": 50.0, "machine": "9", "site": "1"} | row for row in first),
        {"patient_id": "b", "age_years": 60.0, "machine": "10", "site": "1", "difficult_negative": True},
        {"patient_id": "b", "laterality": "R", "cancer": None, "machine": "10", "site": "1"},
        {"patient_id": "c", "density": "B", "age_years": 70.0, "machine": "9", "difficult_negative": False},
    ]
    return _build(*rows)
