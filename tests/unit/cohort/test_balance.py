import polars as pl
import pytest

from mammoscope.cohort.balance import sample_rows


def patients(rows: pl.DataFrame) -> set[str]:
    return set(rows["patient_id"])


def test_all_rows_but_the_undetermined_are_trained_on(manifest: pl.DataFrame) -> None:
    assert patients(sample_rows(manifest, "all")) == {"patient0", "patient1", "patient3", "patient4"}


def test_matched_controls_are_the_other_breasts_of_the_cases(manifest: pl.DataFrame) -> None:
    rows = sample_rows(manifest, "matched-controls")
    assert patients(rows) == {"patient0", "patient3"}
    assert rows["cancer"].to_list() == [True, True, False, False] * 2


@pytest.mark.parametrize("strategy", ["all", "matched-controls"])
def test_an_undetermined_breast_is_never_trained_on(manifest: pl.DataFrame, strategy: str) -> None:
    is_right_of_a_case = (pl.col("patient_id") == "patient0") & (pl.col("laterality") == "R")
    unknown = manifest.with_columns(cancer=pl.when(~is_right_of_a_case).then("cancer"))
    rows = sample_rows(unknown, strategy)  # type: ignore[arg-type]  # one of the two, as parametrised
    assert rows["cancer"].null_count() == 0
    assert rows.filter(pl.col("patient_id") == "patient0")["laterality"].to_list() == ["L", "L"]


@pytest.mark.parametrize("strategy", ["all", "matched-controls"])
def test_no_rows_stay_no_rows(manifest: pl.DataFrame, strategy: str) -> None:
    assert sample_rows(manifest.clear(), strategy).is_empty()  # type: ignore[arg-type]  # as above
