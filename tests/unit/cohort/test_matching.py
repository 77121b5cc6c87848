from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.matching import MatchColumn, MatchCounts, count_matches, match_controls, tabulate_balance

AGE: tuple[MatchColumn, ...] = ("age_years",)


def breasts(*described: dict[str, Any]) -> pl.DataFrame:
    """One image for each, of a left breast of a patient of her own where nothing else is said."""
    rows = [
        {
            "image_id": str(number),
            "patient_id": f"patient{number}",
            "exam_id": f"exam of {each.get('patient_id', number)}",
            "laterality": "L",
            "view": "CC",
            "source": "test",
            "cancer": False,
        }
        | each
        for number, each in enumerate(described)
    ]
    return pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA)


def of_ages(cases: Sequence[float | None], controls: Sequence[float | None]) -> pl.DataFrame:
    return breasts(*({"age_years": age, "cancer": True} for age in cases), *({"age_years": age} for age in controls))


def sets(rows: pl.DataFrame, *, seed: int = 0, **how: Any) -> list[list[str]]:  # noqa: ANN401  # as match_controls
    """The images of each matched set: the case, then its controls."""
    match = match_controls(rows, rng=np.random.default_rng(seed), **how)
    numbered = rows.with_columns(match).filter(pl.col("match").is_not_null())
    return numbered.group_by("match").agg("image_id").sort("match")["image_id"].to_list()


def ages(rows: pl.DataFrame, **how: Any) -> list[list[float | None]]:  # noqa: ANN401  # as match_controls
    """The ages of each matched set."""
    age_by_image = dict(rows.select("image_id", "age_years").iter_rows())
    return [[age_by_image[image_id] for image_id in each] for each in sets(rows, columns=AGE, **how)]


def test_a_control_is_equal_in_the_columns_and_nearest_in_age() -> None:
    rows = breasts(
        {"cancer": True, "site": "1", "machine": "9", "age_years": 50.0},
        {"cancer": True, "site": "2", "machine": "9", "age_years": 60.0},
        {"site": "2", "machine": "9", "age_years": 50.0},  # the age of the first, but another site
        {"site": "1", "machine": "8", "age_years": 50.0},  # another machine
        {"site": "1", "machine": "9", "age_years": 50.0, "view": "MLO"},  # another view
        {"site": "1", "machine": "9", "age_years": 53.0},
        {"site": "1", "machine": "9", "age_years": 48.0},  # nearer
        {"site": "2", "machine": "9", "age_years": 65.0},
    )
    assert sets(rows) == [["0", "6"], ["1", "7"]]


def test_the_number_of_the_set_stands_in_the_row_and_null_where_there_is_none() -> None:
    rows = of_ages([50], [70, 50])
    match = match_controls(rows, rng=np.random.default_rng(0))
    assert match.to_list() == [0, None, 0]
    assert match.name == "match"
    assert match.dtype == pl.Int64()


@pytest.mark.parametrize(("controls", "seen"), [([48, 52], {48.0, 52.0}), ([47, 52, 52], {52.0}), ([50, 52], {50.0})])
def test_chance_takes_one_of_those_as_near(controls: list[float], seen: set[float]) -> None:
    rows = of_ages([50], controls)
    assert {ages(rows, seed=seed)[0][1] for seed in range(20)} == seen


def test_chance_takes_one_of_those_of_the_same_age() -> None:
    rows = of_ages([50], [52, 52, 52])
    assert {sets(rows, seed=seed, columns=AGE)[0][1] for seed in range(30)} == {"1", "2", "3"}
    assert sets(rows, seed=1) == sets(rows, seed=1)


def test_chance_decides_who_goes_without() -> None:
    rows = of_ages([50, 50], [51])
    found = [sets(rows, seed=seed, columns=AGE) for seed in range(20)]
    assert [["0", "2"], ["1"]] in found
    assert [["0"], ["1", "2"]] in found
    match = match_controls(rows, columns=AGE, rng=np.random.default_rng(0))
    assert count_matches(rows, match) == MatchCounts(n_cases=2, n_short=1, n_without=1, n_controls=1)


def test_two_controls_for_each_case_are_the_two_nearest() -> None:
    rows = of_ages([50, 60], [53, 49, 52, 62])
    found = ages(rows, controls_per_case=2, age_within_years=3)
    assert [sorted(each) for each in found] == [[49, 50, 52], [60, 62]]  # type: ignore[type-var]  # none is missing
    match = match_controls(rows, columns=AGE, controls_per_case=2, age_within_years=3, rng=np.random.default_rng(0))
    counts = count_matches(rows, match, controls_per_case=2)
    assert counts == MatchCounts(n_cases=2, n_short=1, n_without=0, n_controls=3)


@pytest.mark.parametrize("seed", range(10))
def test_every_case_has_its_first_control_before_one_has_a_second(seed: int) -> None:
    found = ages(of_ages([50, 50], [50, 50, 50]), controls_per_case=2, seed=seed)
    assert sorted(map(len, found)) == [2, 3]


@pytest.mark.parametrize(("age", "is_within"), [(55.0, True), (55.5, False), (45.0, True), (44.5, False)])
def test_the_years_between_are_at_most_so_many(age: float, *, is_within: bool) -> None:
    assert ages(of_ages([50], [age])) == [[50, age] if is_within else [50]]


def test_within_no_years_is_of_the_same_age() -> None:
    assert ages(of_ages([50, 60], [51, 50]), age_within_years=0) == [[50, 50], [60]]


def test_without_age_any_control_will_do() -> None:
    rows = of_ages([50, None], [90, 20])
    assert sorted(map(len, sets(rows, columns=("view",)))) == [2, 2]
    assert {tuple(sets(rows, columns=(), seed=seed)[0]) for seed in range(20)} == {("0", "2"), ("0", "3")}


def test_a_missing_value_equals_a_missing_value_only() -> None:
    rows = breasts({"cancer": True, "site": "1"}, {"cancer": True, "site": None}, {"site": None}, {"site": None})
    assert [len(each) for each in sets(rows, columns=("site",), controls_per_case=2)] == [1, 3]
    assert sets(breasts({"cancer": True, "site": ""}, {"site": None}), columns=("site",)) == [["0"]]
    assert ages(of_ages([50, None], [None])) == [[50], [None, None]]
    assert ages(of_ages([50, None], [50])) == [[50, 50], [None]]
    assert ages(of_ages([None, 0], [0])) == [[None], [0, 0]]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("cases", "controls"),
    [
        ([50, 53], [51, 56]),  # 50 can have 51 only, to which 53 is nearer than to 56
        ([50, 53, 56], [47, 51, 54]),  # 56 needs 54, so 53 needs 51, so 50 needs 47
        ([50, 47, 44], [53, 49, 46]),  # the same to the other side
        ([50, 50, 53, 56, 59], [48, 51, 54, 57, 61]),  # over several
    ],
)
def test_others_change_theirs_so_that_each_case_has_one(seed: int, cases: list[float], controls: list[float]) -> None:
    found = ages(of_ages(cases, controls), age_within_years=3, seed=seed)
    assert [each[0] for each in found] == cases
    assert sorted(each[1] for each in found) == sorted(controls)  # type: ignore[type-var]  # none is missing
    assert all(abs(case - control) <= 3 for case, control in found)  # type: ignore[operator]


def test_a_woman_with_cancer_or_of_unknown_outcome_is_no_control() -> None:
    rows = breasts(
        {"cancer": True, "patient_id": "a"},
        {"cancer": False, "patient_id": "a", "laterality": "R"},
        {"cancer": False, "patient_id": "a", "exam_id": "an earlier exam"},
        {"cancer": None},
    )
    assert sets(rows, controls_per_case=3) == [["0"]]


def test_both_breasts_of_a_woman_may_be_controls() -> None:
    rows = breasts({"cancer": True}, {"patient_id": "a"}, {"patient_id": "a", "laterality": "R"})
    assert [sorted(each) for each in sets(rows, controls_per_case=2)] == [["0", "1", "2"]]
    assert sets(rows, columns=("laterality",), controls_per_case=2) == [["0", "1"]]


def test_a_breast_comes_with_all_its_images_and_its_control_with_as_many() -> None:
    rows = breasts(
        {"patient_id": "one image"},
        {"patient_id": "a", "cancer": True},
        {"patient_id": "b", "view": "MLO"},
        {"patient_id": "a", "cancer": True, "view": "MLO"},
        {"patient_id": "b"},
        {"patient_id": "two of CC"},
        {"patient_id": "two of CC"},
    )
    assert sets(rows) == [["1", "2", "3", "4"]]
    assert {len(sets(rows, columns=(), seed=seed)[0]) for seed in range(10)} == {4}
    assert {tuple(sets(rows, columns=(), seed=seed)[0]) for seed in range(10)} == {
        ("1", "2", "3", "4"),
        ("1", "3", "5", "6"),
    }


def test_how_often_a_view_comes_counts_too() -> None:
    views = {"a": ("CC", "CC", "MLO"), "b": ("CC", "MLO", "MLO"), "c": ("MLO", "CC", "CC")}
    rows = breasts(
        *({"patient_id": name, "view": view, "cancer": name == "a"} for name, each in views.items() for view in each)
    )
    assert sets(rows, controls_per_case=2) == [["0", "1", "2", "6", "7", "8"]]


def test_of_images_that_differ_all_known_values_count() -> None:
    def pair(patient: str, machines: Sequence[str | None], years: Sequence[float], **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # values of columns
        both = zip(machines, years, strict=True)
        return [{"patient_id": patient, "machine": machine, "age_years": age, **more} for machine, age in both]

    rows = breasts(
        *pair("a", ["1", "2"], [50, 60], cancer=True),
        *pair("b", ["2", "1"], [55, 55]),
        *pair("c", ["1", "1"], [55, 55]),
        *pair("d", ["3", None], [50, 50], cancer=True),
        *pair("e", ["3", "3"], [50, 50]),
    )
    assert sets(rows, age_within_years=0) == [["0", "1", "2", "3"], ["6", "7", "8", "9"]]


@pytest.mark.parametrize("rows", [breasts().clear(), breasts({}, {}), breasts({"cancer": None})])
def test_without_cases_there_is_no_set(rows: pl.DataFrame) -> None:
    match = match_controls(rows, rng=np.random.default_rng(0))
    assert match.to_list() == [None] * rows.height
    assert count_matches(rows, match) == MatchCounts(n_cases=0, n_short=0, n_without=0, n_controls=0)


def test_the_balance_by_hand() -> None:
    rows = breasts(
        {"cancer": True, "site": "1", "age_years": 50.0},
        {"cancer": True, "site": "2", "age_years": 60.0},
        {"site": "1", "age_years": 40.0},
        {"site": "2", "age_years": 60.0},
        {"site": "1", "age_years": 50.0},
        {"site": "1", "age_years": 50.0},
        {"cancer": None, "site": "3", "age_years": 99.0},
    )
    match = pl.Series("match", [0, 1, None, 1, 0, None, None])
    table = tabulate_balance(rows, match, columns=("site", "age_years"))
    assert table["column"].to_list() == ["site", "age_years"]
    # shares of site 1: 1/2 and 3/4, with variances 1/4 and 3/16; mean ages 55 and 50, with variances 50 and 200/3
    before = [0.25 / np.sqrt((1 / 4 + 3 / 16) / 2), 5 / np.sqrt((50 + 200 / 3) / 2)]
    assert table["before"].to_list() == pytest.approx(before)
    assert table["after"].to_list() == [0.0, 0.0]


def test_a_missing_value_is_a_level_and_a_missing_age_is_left_out() -> None:
    rows = breasts(
        {"cancer": True, "density": None, "age_years": 50.0},
        {"cancer": True, "density": "A", "age_years": 52.0},
        {"density": "A", "age_years": 51.0},
        {"density": "A", "age_years": 53.0},
        {"density": "B", "age_years": None},
        {"density": "C", "age_years": None},
    )
    match = pl.Series("match", [0, 1, 0, 1, None, None])
    table = tabulate_balance(rows, match, columns=("density", "age_years"))
    # a missing density: 1/2 of the cases, none of the controls; ages 50, 52 and 51, 53 have a variance of 2 each
    assert table["before"].to_list() == pytest.approx([0.5 / np.sqrt((1 / 4 + 0) / 2), 1 / np.sqrt(2)])


def test_a_balance_without_measure_is_null() -> None:
    rows = breasts({"cancer": True, "site": "1", "age_years": 50.0}, {"site": "2", "age_years": 50.0})
    alike = pl.Series("match", [0, 0])
    assert tabulate_balance(rows, alike, columns=("site", "age_years")).rows() == [
        ("site", None, None),
        ("age_years", None, None),
    ]
    alone = pl.Series("match", [0, None])
    assert tabulate_balance(rows, alone, columns=("view",)).rows() == [("view", 0.0, None)]
    two = breasts(*({"cancer": True, "age_years": age} for age in (50.0, 52.0)), *({"age_years": 60.0},) * 2)
    assert tabulate_balance(two, pl.Series("match", [0, 1, None, None]), columns=AGE)["after"].to_list() == [None]
    empty = tabulate_balance(rows.clear(), alone.clear())
    assert empty.select("before", "after").rows() == [(None, None)] * 4


def test_both_differences_are_measured_in_the_spread_before_the_match() -> None:
    """Stuart 2010: a match that halves the spread would else double what is left of a difference."""
    rows = of_ages([50.0, 54.0], [40.0, 70.0, 51.0, 55.0])
    table = tabulate_balance(rows, pl.Series("match", [0, 1, None, None, 0, 1]), columns=AGE)
    spread = np.sqrt((8 + np.var([40, 70, 51, 55], ddof=1)) / 2)
    assert table["before"].to_list() == pytest.approx([(54 - 52) / spread])
    assert table["after"].to_list() == pytest.approx([(53 - 52) / spread])


def test_the_controls_of_a_case_count_for_one_together() -> None:
    """Austin 2008: the case of 50 has three controls, that of 60 has one; both halves of the mean count alike."""
    rows = of_ages([50.0, 60.0], [50.0, 50.0, 50.0, 60.0])
    table = tabulate_balance(rows, pl.Series("match", [0, 1, 0, 0, 0, 1]), columns=AGE)
    assert table["before"].to_list() == pytest.approx([2.5 / np.sqrt((50 + 25) / 2)])
    assert table["after"].to_list() == [0.0]
    sites = rows.with_columns(site=pl.Series(["1", "2", "1", "1", "1", "2"]))
    shares = tabulate_balance(sites, pl.Series("match", [0, 1, 0, 0, 0, 1]), columns=("site",))
    assert shares["before"].to_list() == pytest.approx([0.25 / np.sqrt((1 / 4 + 3 / 16) / 2)])
    assert shares["after"].to_list() == [0.0]
