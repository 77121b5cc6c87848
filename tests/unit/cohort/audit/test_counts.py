"""Counts of a miniature cohort, each worked out by hand."""

import polars as pl
import pytest

from mammoscope.cohort.audit.counts import (
    FlagRow,
    Size,
    ValueCount,
    count_gaps,
    count_images_per_patient,
    count_values,
    cross_with_flag,
    measure_size,
    name_column,
    summarise_ages,
    views_of_breasts,
)


def values_of(manifest: pl.DataFrame, column: str) -> list[tuple[str | None, int]]:
    return [(each.value, each.n_images) for each in count_values(manifest, column).values]


def test_the_size_counts_breasts_not_images(miniature: pl.DataFrame) -> None:
    size = measure_size(miniature)
    assert size == Size(
        n_images=7,
        n_breasts=5,
        n_exams=3,
        n_patients=3,
        n_case_images=2,
        n_cases=1,
        n_case_patients=1,
        n_undetermined=1,
    )
    assert size.share_of_cases == 1 / 4  # of the four breasts with a known outcome


def test_the_share_of_cases_of_no_known_outcome_is_none(miniature: pl.DataFrame) -> None:
    unknown = miniature.with_columns(pl.lit(None, pl.Boolean).alias("cancer"))
    assert measure_size(unknown).share_of_cases is None
    assert measure_size(unknown).n_cases == 0


def test_gaps_are_counted_by_column(miniature: pl.DataFrame) -> None:
    gaps = {each.column: (each.n_missing, each.n_distinct) for each in count_gaps(miniature)}
    assert gaps["age_years"] == (1, 3)
    assert gaps["density"] == (2, 1)
    assert gaps["site"] == (1, 1)
    assert gaps["image_id"] == (0, 7)
    assert list(gaps) == miniature.columns


def test_values_stand_in_their_order_with_the_missing_one_last(miniature: pl.DataFrame) -> None:
    assert values_of(miniature, "machine") == [("9", 5), ("10", 2)]
    assert values_of(miniature, "density") == [("B", 5), (None, 2)]
    assert values_of(miniature, "cancer") == [("no", 4), ("yes", 2), (None, 1)]
    assert values_of(miniature, "manufacturer") == [(None, 7)]


def test_of_many_values_the_most_frequent_are_shown() -> None:
    manifest = pl.DataFrame({"machine": [f"machine {number:02}" for number in range(20) for _ in range(1 + number)]})
    table = count_values(manifest, "machine")
    assert table.n_left_out == 5
    assert table.values[0] == ValueCount(value="machine 05", n_images=6)
    assert table.values[-1] == ValueCount(value="machine 19", n_images=20)


def test_images_of_patients_are_counted(miniature: pl.DataFrame) -> None:
    table = count_images_per_patient(miniature)
    assert [(each.value, each.n_images) for each in table.values] == [("1", 1), ("2", 1), ("4", 1)]


def test_a_flag_is_counted_by_value(miniature: pl.DataFrame) -> None:
    table = cross_with_flag(miniature, "density", "cancer")
    assert table.rows == (
        FlagRow(value="B", n_false=3, n_true=2, n_unknown=0),
        FlagRow(value=None, n_false=1, n_true=0, n_unknown=1),
    )
    assert table.rows[0].share_true == 2 / 5
    difficult = cross_with_flag(miniature, "density", "difficult_negative")
    assert difficult.rows[0] == FlagRow(value="B", n_false=1, n_true=0, n_unknown=4)


def test_the_share_of_an_unknown_flag_is_none() -> None:
    assert FlagRow(value="A", n_false=0, n_true=0, n_unknown=3).share_true is None


def test_ages_are_summarised(miniature: pl.DataFrame) -> None:
    ages = summarise_ages(miniature)  # 50 50 50 50 60 70
    assert (ages.n_known, ages.n_missing) == (6, 1)
    assert (ages.mean, ages.minimum, ages.maximum) == (55, 50, 70)
    assert ages.sd == pytest.approx((350 / 5) ** 0.5)  # 4 x 25 + 25 + 225, by n - 1
    assert list(ages.edges) == [50, 55, 60, 65, 70, 75]
    assert list(ages.n_cases) == [2, 0, 0, 0, 0]
    assert list(ages.n_controls) == [2, 0, 1, 0, 1]


def test_no_age_at_all_is_no_error(miniature: pl.DataFrame) -> None:
    ages = summarise_ages(miniature.with_columns(pl.lit(None, pl.Float64).alias("age_years")))
    assert (ages.n_known, ages.n_missing, ages.mean, ages.sd, ages.minimum) == (0, 7, None, None, None)
    assert sum(ages.n_cases) == sum(ages.n_controls) == 0


def test_the_views_of_a_breast_are_one_text(miniature: pl.DataFrame) -> None:
    more = pl.concat([miniature, miniature.head(1).with_columns(pl.lit("again").alias("image_id"))])
    views = {row[:2]: row[2] for row in views_of_breasts(more).iter_rows()}
    assert views["exam-a", "L"] == "2 CC + MLO"
    assert views["exam-a", "R"] == "CC + MLO"
    assert views["exam-c", "L"] == "CC"


@pytest.mark.parametrize(
    ("column", "name"), [("birads", "BI-RADS"), ("age_years", "age"), ("difficult_negative", "difficult negative")]
)
def test_columns_are_named_as_people_do(column: str, name: str) -> None:
    assert name_column(column) == name
