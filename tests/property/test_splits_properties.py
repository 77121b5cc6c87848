from collections.abc import Callable

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammoscope.cohort.manifest import find_problems
from mammoscope.cohort.splits import assign_folds, hold_out, leave_one_out
from mammoscope.cohort.stratify import even_out

OUTCOMES = st.lists(st.none() | st.booleans(), max_size=40)
ManifestOf = Callable[..., pl.DataFrame]


def _patients(manifest: pl.DataFrame) -> pl.DataFrame:
    """A row for each patient: fold, and whether a case; fails where a patient has two folds."""
    of_patients = manifest.group_by("patient_id").agg(
        pl.col("fold").unique(), pl.col("cancer").any().fill_null(value=False)
    )
    assert of_patients["fold"].list.len().unique().to_list() == [1]
    return of_patients.with_columns(pl.col("fold").list.first())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(outcomes=OUTCOMES, n_sites=st.integers(1, 4), n_folds=st.integers(2, 6), seed=st.integers(0, 2**32))
def test_folds_hold_whole_patients_and_are_even_in_cases_and_in_all(
    manifest_of: ManifestOf, outcomes: list[bool | None], n_sites: int, n_folds: int, seed: int
) -> None:
    outcomes = [*outcomes, *[True] * n_folds]  # a case for each fold, as splitting asks for
    manifest = manifest_of(outcomes, sites=[str(site) for site in range(n_sites)])
    folds = assign_folds(manifest, n_folds=n_folds, rng=np.random.default_rng(seed))
    assert find_problems(folds) == []
    patients = _patients(folds)
    assert patients.height == len(outcomes)
    for stratum in (patients, patients.filter("cancer")):
        counts = [stratum.filter(pl.col("fold") == fold).height for fold in range(n_folds)]
        assert max(counts) - min(counts) <= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(outcomes=OUTCOMES, per_cent=st.integers(4, 96), seed=st.integers(0, 2**32))
def test_a_hold_out_has_its_share_of_cases_and_of_all(
    manifest_of: ManifestOf, outcomes: list[bool | None], per_cent: int, seed: int
) -> None:
    manifest = manifest_of([*outcomes, *[True] * 25])
    patients = _patients(hold_out(manifest, share=per_cent / 100, rng=np.random.default_rng(seed)))
    for stratum in (patients, patients.filter("cancer")):
        assert abs(stratum["fold"].count() - stratum.height * per_cent / 100) < 1
    assert patients["fold"].drop_nulls().unique().to_list() == [0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(machines=st.lists(st.sampled_from("abc"), min_size=16, max_size=16))
def test_what_is_left_out_is_whole_patients(manifest_of: ManifestOf, machines: list[str]) -> None:
    machines[:2] = ["a", "b"]
    manifest = manifest_of([True, False, None, True]).with_columns(machine=pl.Series(machines))
    assert _patients(leave_one_out(manifest, "machine")).height == 4


@given(
    patients=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=30),
    parts=st.tuples(*[st.integers(1, 5)] * 3),
)
def test_exchanges_keep_the_numbers_and_only_make_amounts_more_even(
    patients: list[tuple[int, int]], parts: tuple[int, int, int]
) -> None:
    folds, amounts = [list(each) for each in zip(*patients, strict=True)]
    evened = even_out(folds, amounts, labels=[[0]] * len(folds), parts=parts)

    def uneven(of: list[int]) -> float:
        shares = [part / sum(parts) * sum(amounts) for part in parts]
        held = [sum(a for f, a in zip(of, amounts, strict=True) if f == fold) for fold in range(3)]
        return float(np.square(np.subtract(held, shares)).sum())

    assert sorted(evened) == sorted(folds)
    assert uneven(evened) <= uneven(folds) + 1e-9
    assert all(a or f == g for f, g, a in zip(folds, evened, amounts, strict=True))
