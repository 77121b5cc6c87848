"""Score tables to try things on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from mammoscope.evaluation.scores import SCORES_SCHEMA

MakeRow = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def make_row() -> MakeRow:
    """A row of an image, of which a test changes what it is about."""

    def make(**changes: object) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(SCORES_SCHEMA)
        row |= {"schema_version": 1, "level": "image", "patient_id": "anna", "exam_id": "anna-1", "laterality": "L"}
        row |= {"view": "CC", "image_id": "a1", "n_images": 1, "score": 0.25, "cancer": False, "fold": 0}
        return row | changes

    return make


@pytest.fixture(scope="session")
def make_scores(make_row: MakeRow) -> Callable[..., pl.DataFrame]:
    """A table of images, a row for each set of changes."""

    def make(*changes: dict[str, object]) -> pl.DataFrame:
        return pl.DataFrame([make_row(**change) for change in changes], schema=SCORES_SCHEMA)

    return make


@pytest.fixture(scope="session")
def cohort(make_row: MakeRow) -> pl.DataFrame:
    """Sixty patients at two sites, two views of each breast, every fifth patient with a case on the left."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(60):
        for side in ("L", "R"):
            is_case = number % 5 == 0 and side == "L"
            for view in ("CC", "MLO"):
                score = 1 / (1 + np.exp(2 - 1.2 * is_case - rng.normal()))
                place = {"patient_id": f"patient-{number}", "exam_id": f"exam-{number}", "site": str(1 + number % 2)}
                image = {"laterality": side, "view": view, "image_id": f"image-{number}-{side}-{view}"}
                rows.append(make_row(**place, **image, score=float(score), cancer=is_case, fold=number % 4))
    return pl.DataFrame(rows, schema=SCORES_SCHEMA)
