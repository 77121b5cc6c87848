from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.cohort.matching import MatchColumn, match_controls

EXACT: tuple[MatchColumn, ...] = ("site", "machine")
AGES = st.none() | st.integers(40, 60).map(float)
BREAST = st.fixed_dictionaries(
    {
        "patient_id": st.integers(0, 25).map(str),
        "cancer": st.none() | st.booleans(),
        "age_years": AGES,
        "site": st.sampled_from(["1", "2", None]),
        "machine": st.sampled_from(["8", "9"]),
        "views": st.sampled_from([("CC",), ("CC", "MLO")]),
    }
)


def _rows(breasts: list[dict[str, Any]]) -> pl.DataFrame:
    """A row for each view of each breast; every breast is of an exam of its own."""
    rows = [
        {key: value for key, value in breast.items() if key != "views"}
        | {"image_id": f"{number}{view}", "exam_id": str(number), "laterality": "L", "view": view, "source": "test"}
        for number, breast in enumerate(breasts)
        for view in breast["views"]
    ]
    return pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA)


@settings(deadline=None)
@given(
    breasts=st.lists(BREAST, max_size=60),
    within=st.integers(0, 8),
    controls_per_case=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_match_is_what_it_says(breasts: list[dict[str, Any]], within: int, controls_per_case: int, seed: int) -> None:
    rows = _rows(breasts)
    match = match_controls(
        rows,
        columns=(*EXACT, "age_years"),
        age_within_years=within,
        controls_per_case=controls_per_case,
        rng=np.random.default_rng(seed),
    )
    numbered = rows.with_columns(match)
    patients_with_cancer = set(rows.filter("cancer")["patient_id"])
    assert numbered.filter("cancer")["match"].null_count() == 0
    assert (numbered.group_by("exam_id").agg(pl.col("match").n_unique())["match"] == 1).all()  # no breast in two sets
    for (_,), members in numbered.filter(pl.col("match").is_not_null()).group_by("match"):
        cases, controls = members.filter("cancer"), members.filter(~pl.col("cancer"))
        assert cases["exam_id"].n_unique() == 1
        assert controls["exam_id"].n_unique() <= controls_per_case
        assert not set(controls["patient_id"]) & patients_with_cancer
        assert members.select(EXACT).n_unique() == 1
        assert members.group_by("exam_id").len()["len"].n_unique() == 1  # as many images
        assert len(members["age_years"].is_null().unique()) == 1
        gaps = (controls["age_years"] - cases["age_years"][0]).abs().drop_nulls()
        assert (gaps <= within).all()


@settings(deadline=None)
@given(
    cases=st.lists(st.integers(40, 60), min_size=1, max_size=12),
    controls=st.lists(st.integers(40, 60), min_size=1, max_size=25),
    within=st.integers(0, 5),
    controls_per_case=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_as_many_have_a_control_as_a_maximum_matching_gives(
    *, cases: list[int], controls: list[int], within: int, controls_per_case: int, seed: int
) -> None:
    """As scipy's, in every round: as many first controls as can be, and as many in all."""
    alike = {"site": "1", "machine": "9", "views": ("CC",)}
    ages = [*((age, True) for age in cases), *((age, False) for age in controls)]
    rows = _rows(
        [
            {"patient_id": str(n), "age_years": float(age), "cancer": cancer, **alike}
            for n, (age, cancer) in enumerate(ages)
        ]
    )
    match = match_controls(
        rows, age_within_years=within, controls_per_case=controls_per_case, rng=np.random.default_rng(seed)
    )
    n_controls = [n - 1 for n in Counter(match.drop_nulls()).values()]
    for most in range(1, controls_per_case + 1):
        near = np.abs(np.repeat(cases, most)[:, None] - np.array(controls)) <= within  # (slot, control)
        n_expected = int((maximum_bipartite_matching(csr_matrix(near), perm_type="column") >= 0).sum())
        assert sum(min(most, n) for n in n_controls) == n_expected


@settings(deadline=None)
@given(
    age=st.integers(40, 60),
    controls=st.lists(st.integers(40, 60), min_size=1, max_size=25),
    controls_per_case=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_single_case_has_the_nearest(age: int, controls: list[int], controls_per_case: int, seed: int) -> None:
    alike = {"site": "1", "machine": "9", "views": ("CC",)}
    rows = _rows(
        [
            {"patient_id": str(n), "age_years": float(each), "cancer": n == 0, **alike}
            for n, each in enumerate([age, *controls])
        ]
    )
    match = match_controls(
        rows, age_within_years=30, controls_per_case=controls_per_case, rng=np.random.default_rng(seed)
    )
    taken = rows.filter(match.is_not_null(), ~pl.col("cancer"))["age_years"]
    assert sorted(abs(each - age) for each in taken) == sorted(abs(each - age) for each in controls)[:controls_per_case]
