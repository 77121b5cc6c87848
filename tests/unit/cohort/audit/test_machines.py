"""Grey values of machines, worked out on pictures that are drawn for it."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mammoscope.cohort.audit.machines import N_SAMPLED, summarise_machines
from mammoscope.pages.page import encode_jpeg

BuildCohort = Callable[..., pl.DataFrame]
Picture = NDArray[np.uint8]


class Shelf:
    """A store of grey pictures of 8 rows and 8 columns, of which the upper 4 rows come from the file."""

    def __init__(self, pictures: dict[str, Picture], *, sizes: dict[str, int] | None = None) -> None:
        self._pictures = pictures
        self.n_read = 0
        rows = [sizes.get(image_id, 100) if sizes else 100 for image_id in pictures]
        self.prepared = pl.DataFrame(
            {
                "image_id": list(pictures),
                "original_rows": rows,
                "original_columns": [50] * len(rows),
                "content_top": [0] * len(rows),
                "content_rows": [4] * len(rows),
                "content_columns": [8] * len(rows),
                "is_inverted": [number % 2 == 0 for number in range(len(rows))],
            }
        )

    def read(self, image_id: str) -> Picture:
        self.n_read += 1
        return self._pictures[image_id]


def draw(grey: int, *, background: int = 0) -> Picture:
    """The left half of the content is grey, the right half black; what lies below the content is white."""
    picture = np.full((8, 8), 255, dtype=np.uint8)
    picture[:4, :4], picture[:4, 4:] = grey, background
    return picture


def test_grey_values_are_of_the_content_alone(build: BuildCohort) -> None:
    summary, = summarise_machines(build({"machine": "1"}), Shelf({"image-0": draw(102)}))  # fmt: skip
    assert summary.mean == pytest.approx(0.2)  # 102 / 255 = 0.4, in half of the content
    assert summary.sd == pytest.approx(0.2)
    assert summary.share_black == 0.5
    assert summary.histogram[12] == 1  # 0.4 x 32 = 12.8; black is left out
    assert sum(summary.histogram) == pytest.approx(1)
    assert (summary.n_pictures, summary.n_sampled, summary.share_inverted) == (1, 1, 1)


def test_the_spread_is_that_of_all_pixels_of_all_pictures(build: BuildCohort) -> None:
    shelf = Shelf({"image-0": draw(51, background=51), "image-1": draw(204, background=204)})
    summary, = summarise_machines(build({}, {}), shelf)  # fmt: skip
    assert (summary.mean, summary.sd) == pytest.approx((0.5, 0.3))
    assert summary.machine is None
    assert summary.share_black == 0


def test_machines_stand_in_the_order_of_their_numbers(build: BuildCohort) -> None:
    names = ["10", "9", None, "x"]
    shelf = Shelf({f"image-{number}": draw(9) for number in range(4)})
    summaries = summarise_machines(build(*({"machine": name} for name in names)), shelf)
    assert [each.machine for each in summaries] == ["9", "10", "x", None]


def test_the_most_frequent_size_stands_first(build: BuildCohort) -> None:
    shelf = Shelf({f"image-{number}": draw(9) for number in range(3)}, sizes={"image-0": 400})
    summary, = summarise_machines(build({}, {}, {}), shelf)  # fmt: skip
    assert summary.sizes == ("100 x 50", "400 x 50")


def test_the_typical_picture_is_the_middle_one(build: BuildCohort) -> None:
    pictures = {"image-0": draw(10), "image-1": draw(250), "image-2": draw(90)}
    summary, = summarise_machines(build({}, {}, {}), Shelf(pictures))  # fmt: skip
    assert summary.jpeg == encode_jpeg(pictures["image-2"])
    assert "jpeg" not in summary.to_json()


def test_of_many_pictures_a_few_are_read_from_first_to_last(build: BuildCohort) -> None:
    shelf = Shelf({f"image-{number}": draw(40) for number in range(100)})
    summary, = summarise_machines(build(*({} for _ in range(100))), shelf)  # fmt: skip
    assert (summary.n_pictures, summary.n_sampled, shelf.n_read) == (100, N_SAMPLED, N_SAMPLED + 1)


def test_a_store_of_another_cohort_has_no_machine(build: BuildCohort) -> None:
    assert summarise_machines(build({}), Shelf({"other": draw(1)})) == ()
