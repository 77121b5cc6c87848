from collections.abc import Callable

import polars as pl
import pytest

from mammoscope.cohort.fold_balance import largest_imbalance, name_stratum, tabulate_folds
from mammoscope.cohort.stratify import STRATA

ManifestOf = Callable[..., pl.DataFrame]


@pytest.fixture
def folded(manifest: pl.DataFrame) -> pl.DataFrame:
    """patient0 (case) in fold 0; patient1 (control), patient2 (undetermined), patient3 (case), patient4 in fold 1."""
    return manifest.with_columns(fold=(pl.col("patient_id") != "patient0").cast(pl.Int64))


def _rows(table: pl.DataFrame, **of: str) -> list[tuple[object, ...]]:
    return table.filter(**of).select("fold", "n", "n_expected", "imbalance").rows()


def test_the_prevalences_of_breasts_and_images(folded: pl.DataFrame) -> None:
    table = tabulate_folds(folded)
    # 2 of 8 breasts with an outcome have cancer: of the 2 of fold 0 one, of the 6 of fold 1 one
    assert _rows(table, stratum="cancer", unit="breasts") == [
        (0, 1, 0.5, 1.0),
        (1, 1, 1.5, pytest.approx(-1 / 3)),
    ]
    assert _rows(table, stratum="cancer", unit="images") == [(0, 2, 1.0, 1.0), (1, 2, 3.0, pytest.approx(-1 / 3))]


def test_strata_are_counted_in_patients(folded: pl.DataFrame) -> None:
    table = tabulate_folds(folded)
    # sites are 1, 2, 1, 2, 1: three of five patients at site 1, of which fold 0 has one and fold 1 two
    assert _rows(table, stratum="site", value="1") == [
        (0, 1, pytest.approx(0.6), pytest.approx(1 / 0.6 - 1)),
        (1, 2, pytest.approx(2.4), pytest.approx(2 / 2.4 - 1)),
    ]
    assert _rows(table, stratum="outcome and site", value="case, 2") == [
        (0, 0, pytest.approx(0.2), -1.0),
        (1, 1, pytest.approx(0.8), pytest.approx(0.25)),
    ]
    assert set(table["stratum"]) >= {"cancer", *STRATA}
    assert set(table.filter(pl.col("stratum") != "cancer")["unit"]) == {"patients"}


def test_those_never_held_out_have_rows_of_their_own(folded: pl.DataFrame) -> None:
    table = tabulate_folds(folded.with_columns(fold=pl.when(pl.col("fold") == 0).then("fold")))
    assert _rows(table, stratum="site", value="2") == [
        (0, 0, pytest.approx(0.4), -1.0),
        (None, 2, pytest.approx(1.6), pytest.approx(0.25)),
    ]


def test_every_patient_is_counted_once_in_each_stratum(folded: pl.DataFrame) -> None:
    table = tabulate_folds(folded).filter(pl.col("unit") == "patients")
    for stratum in table["stratum"].unique():
        rows = table.filter(pl.col("stratum") == stratum)
        assert rows["n"].sum() == 5
        assert rows["n_expected"].sum() == pytest.approx(5)


def test_a_cohort_without_cases_has_no_imbalance_of_them(manifest_of: ManifestOf) -> None:
    table = tabulate_folds(manifest_of([False, False]).with_columns(fold=pl.lit(0, pl.Int64)))
    assert _rows(table, stratum="cancer", unit="breasts") == [(0, 0, 0.0, None)]
    unknown = tabulate_folds(manifest_of([None, None]).with_columns(fold=pl.lit(0, pl.Int64)))
    assert _rows(unknown, stratum="cancer", unit="breasts") == []


def _table(*rows: tuple[int | None, float, float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "stratum": [f"s{number}" for number in range(len(rows))],
            "fold": [row[0] for row in rows],
            "n_expected": [row[1] for row in rows],
            "imbalance": [row[2] for row in rows],
        },
        schema_overrides={"fold": pl.Int64},
    )


def test_the_largest_imbalance_is_up_or_down_and_of_what_could_be_even() -> None:
    table = _table((0, 100.0, 0.02), (0, 20.0, -0.04), (1, 19.9, 0.9), (None, 100.0, 0.5), (1, 50.0, 0.04))
    largest = largest_imbalance(table)
    assert largest is not None
    assert largest["stratum"] == "s1"


def test_without_a_stratum_of_twenty_there_is_no_largest_imbalance() -> None:
    assert largest_imbalance(_table((0, 19.0, 0.5))) is None
    assert largest_imbalance(_table((None, 100.0, 0.5))) is None


@pytest.mark.parametrize(
    ("stratum", "value", "name"),
    [
        ("cancer_images", "3", "images with cancer: 3"),
        ("age_band", "50 to 59", "age 50 to 59"),
        ("outcome and views", "case, 5", "cases with 5 images"),
        ("outcome and views", "control, 1", "controls with 1 image"),
        ("outcome and site", "undetermined, a, b", "undetermined with site a, b"),
        ("outcome and implant", "control, true", "controls with an implant"),
        ("outcome", "control", "controls"),
        ("cancer", "yes", "with cancer"),
        ("density", "unknown", "density unknown"),
    ],
)
def test_a_stratum_has_a_name_for_people(stratum: str, value: str, name: str) -> None:
    assert name_stratum(stratum, value) == name
