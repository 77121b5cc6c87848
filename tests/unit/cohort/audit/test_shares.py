"""Shares of cancer with intervals: Wilson's by hand, and the effective number of breasts."""

import math

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.audit.shares import (
    add_groups,
    effective_number,
    share_by_group,
    wilson_interval,
)


def effective(n_cases: list[int], n_breasts: list[int]) -> float:
    return effective_number(pl.Series(n_cases), pl.Series(n_breasts))


def test_the_interval_solves_wilsons_equation() -> None:
    for share, n in ((0.1, 50), (0.02, 1000), (0.5, 3.7)):
        for limit in wilson_interval(share, n):  # |share - limit| is 1.96 standard errors of the limit itself
            assert abs(share - limit) == pytest.approx(1.959963984540054 * math.sqrt(limit * (1 - limit) / n))


def test_the_interval_of_newcombes_example() -> None:
    # 81 of 263 (Newcombe 1998, table I: 0.2553 to 0.3662), 0 of 20 (0 to 0.1611)
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_one_breast_of_each_patient_counts_as_itself() -> None:
    # share 2/5: the variance over clusters is p q / n times n / (n - 1), so that 4 of 5 remain
    assert effective([1, 1, 0, 0, 0], [1] * 5) == pytest.approx(4)


def test_two_breasts_that_are_always_alike_count_as_one() -> None:
    assert effective([2, 2, 0, 0, 0], [2] * 5) == pytest.approx(4)  # as one breast of each


def test_breasts_that_exclude_each_other_count_as_two_and_no_more() -> None:
    assert effective([1] * 5, [2] * 5) == 10
    assert effective([1, 1, 1, 1, 0, 2], [2] * 6) == 12


def test_without_a_case_or_a_control_each_patient_counts_as_one() -> None:
    assert effective([0, 0, 0], [2, 2, 2]) == 3
    assert effective([2, 2, 2], [2, 2, 2]) == 3
    assert effective([1], [2]) == 1


def test_the_effective_number_is_the_design_effect_of_a_bootstrap() -> None:
    rng = np.random.default_rng(5)
    is_ill = rng.random(400) < 0.3
    n_breasts = rng.integers(1, 4, 400)
    n_cases = np.where(is_ill, n_breasts, 0)  # the breasts of a patient are all alike
    drawn = rng.integers(0, 400, (4000, 400))
    shares = n_cases[drawn].sum(axis=1) / n_breasts[drawn].sum(axis=1)
    p = n_cases.sum() / n_breasts.sum()
    expected = p * (1 - p) / shares.var()
    assert effective(n_cases.tolist(), n_breasts.tolist()) == pytest.approx(expected, rel=0.1)


def test_a_breast_counts_once_however_many_images_it_has(miniature: pl.DataFrame) -> None:
    table = share_by_group(add_groups(miniature), "machine")
    groups = {each.group: (each.n_patients, each.n_breasts, each.n_cases) for each in table.groups}
    assert groups == {"9": (2, 3, 1), "10": (1, 1, 0)}  # the undetermined breast is left out
    assert [each.group for each in table.groups] == ["9", "10"]
    assert table.groups[0].share == 1 / 3


def test_a_breast_counts_in_each_view_that_it_has(miniature: pl.DataFrame) -> None:
    table = share_by_group(add_groups(miniature), "view")
    assert {each.group: (each.n_breasts, each.n_cases) for each in table.groups} == {"CC": (4, 1), "MLO": (2, 1)}


def test_what_is_not_recorded_is_a_group_and_the_last(miniature: pl.DataFrame) -> None:
    assert [each.group for each in share_by_group(add_groups(miniature), "density").groups] == ["B", None]


def test_ages_are_put_into_bands_from_their_first_year(miniature: pl.DataFrame) -> None:
    ages = pl.Series("age_years", [39.9, 40, 49, 50, 79, 80, None], dtype=pl.Float64)
    bands = add_groups(miniature.with_columns(ages))["age_band"].to_list()
    assert bands == ["below 40", "40 to 49", "40 to 49", "50 to 59", "70 to 79", "80 and above", None]


def test_bands_stand_in_the_order_of_age(miniature: pl.DataFrame) -> None:
    ages = pl.Series("age_years", [39, 85, 45, 55, 65, 75, None], dtype=pl.Float64)
    apart = miniature.with_columns(ages, pl.col("image_id").alias("exam_id"), pl.lit(value=False).alias("cancer"))
    names = [each.group for each in share_by_group(add_groups(apart), "age_band").groups]
    assert names == ["below 40", "40 to 49", "50 to 59", "60 to 69", "70 to 79", "80 and above", None]


def test_the_interval_of_a_group_resamples_patients(miniature: pl.DataFrame) -> None:
    """Twice the breasts of the same patients, all alike, say nothing new."""
    once = pl.concat([miniature.tail(1).with_columns(patient_id=pl.lit(f"p{n}"), exam_id=pl.lit(f"e{n}"),
                                                     cancer=pl.lit(n < 3)) for n in range(20)])  # fmt: skip
    twice = pl.concat([once, once.with_columns(laterality=pl.lit("R"))])
    first, second = (share_by_group(each, "site").groups[0] for each in (once, twice))
    assert (first.low, first.high) == pytest.approx((second.low, second.high))
    assert second.n_breasts == 2 * first.n_breasts


def test_of_many_groups_the_largest_are_shown() -> None:
    rows = [
        {
            "exam_id": f"{group}-{n}",
            "laterality": "L",
            "patient_id": f"{group}-{n}",
            "cancer": False,
            "site": str(group),
        }
        for group in range(15)
        for n in range(1 + group)
    ]
    table = share_by_group(pl.DataFrame(rows), "site")
    assert table.n_left_out == 3
    assert [each.group for each in table.groups] == [str(group) for group in range(3, 15)]
