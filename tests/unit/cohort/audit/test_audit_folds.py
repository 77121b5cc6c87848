"""Folds against the whole, counted by hand."""

from collections.abc import Callable

import polars as pl
import pytest

from mammoscope.cohort.audit.folds import FoldAudit, audit_folds

BuildCohort = Callable[..., pl.DataFrame]


@pytest.fixture(scope="module")
def folds(build: BuildCohort) -> FoldAudit:
    """Two folds of 100 women: 30 of site 1 in the first, 50 in the second; 4 and 12 with cancer."""
    rows = [
        {"fold": fold, "site": "1" if number < n_site else "2", "cancer": number >= 100 - n_cases}
        for fold, n_site, n_cases in ((0, 30, 4), (1, 50, 12))
        for number in range(100)
    ]
    found = audit_folds(build(*rows))
    assert found is not None
    return found


def test_a_cohort_that_is_not_split_has_none(miniature: pl.DataFrame) -> None:
    assert audit_folds(miniature) is None


def test_each_fold_is_counted(folds: FoldAudit) -> None:
    assert [(fold.fold, fold.n_patients, fold.n_breasts, fold.n_cases) for fold in folds.folds] == [
        (0, 100, 100, 4),
        (1, 100, 100, 12),
    ]
    assert folds.folds[1].share_of_cases == 0.12


def test_the_imbalance_is_relative_to_what_is_expected(folds: FoldAudit) -> None:
    by_name = {(each.stratum, each.value): each for each in folds.strata}
    assert by_name["site", "1"].imbalances == pytest.approx((-0.25, 0.25))  # 30 and 50 of 40 expected
    assert by_name["site", "1"].n == 80
    assert by_name["site", "2"].imbalances == pytest.approx((70 / 60 - 1, 50 / 60 - 1))
    assert folds.largest_of_prevalence == pytest.approx(0.5)  # 4 and 12 of 8 expected


def test_strata_too_rare_to_be_even_are_counted_only(folds: FoldAudit) -> None:
    assert ("outcome", "case") not in {(each.stratum, each.value) for each in folds.strata}  # 8 expected
    assert folds.n_rare >= 1


def test_the_largest_imbalance_is_told(folds: FoldAudit) -> None:
    assert folds.largest is not None
    # controls of site 2: 66 and 38 of 52 expected, more than the quarter that site 1 is off
    assert (folds.largest.stratum, folds.largest.value) == ("outcome and site", "control, 2")
    assert folds.largest.n_expected == 52
    assert abs(folds.largest.imbalance) == pytest.approx(14 / 52)


def test_strata_of_two_columns_are_left_to_the_largest(folds: FoldAudit) -> None:
    assert not any(" and " in each.stratum for each in folds.strata)


def test_those_who_are_never_held_out_are_counted_but_not_compared(build: BuildCohort) -> None:
    rows = [{"fold": 0 if number % 4 == 0 else None, "cancer": number % 8 == 0} for number in range(200)]
    found = audit_folds(build(*rows))
    assert found is not None
    assert [fold.fold for fold in found.folds] == [0, None]
    assert {len(each.imbalances) for each in found.strata} == {1}


def test_without_a_case_no_prevalence_strays(build: BuildCohort) -> None:
    found = audit_folds(build(*({"fold": number % 2} for number in range(100))))
    assert found is not None
    assert found.largest_of_prevalence is None


def test_a_fold_with_too_few_cases_counts_as_much_as_one_with_too_many(build: BuildCohort) -> None:
    """2, 5 and 5 breasts with cancer where 4 are expected; the first two have three images each."""
    rows = [
        {"patient_id": f"{fold}-{number}", "fold": fold, "cancer": number < n_cases}
        for fold, n_cases in ((0, 2), (1, 5), (2, 5))
        for number in range(40)
        for _ in range(3 if fold == 0 and number < n_cases else 1)
    ]
    found = audit_folds(build(*rows))
    assert found is not None
    assert found.largest_of_prevalence == pytest.approx(0.5)
