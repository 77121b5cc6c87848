from collections.abc import Callable

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammoscope.cohort.manifest import find_problems
from mammoscope.cohort.splits import assign_folds

OUTCOMES = st.lists(st.none() | st.booleans(), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(outcomes=OUTCOMES, n_sites=st.integers(1, 4), n_folds=st.integers(2, 6), seed=st.integers(0, 2**32))
def test_folds_hold_whole_patients_and_are_even_in_every_stratum(
    manifest_of: Callable[..., pl.DataFrame], outcomes: list[bool | None], n_sites: int, n_folds: int, seed: int
) -> None:
    outcomes = [*outcomes, *[True] * n_folds]  # a case for each fold, as splitting asks for
    manifest = manifest_of(outcomes, sites=[str(site) for site in range(n_sites)])
    folds = assign_folds(manifest, n_folds=n_folds, rng=np.random.default_rng(seed))
    assert find_problems(folds) == []
    of_patients = folds.group_by("patient_id").agg(
        pl.col("fold").unique(), pl.col("cancer").any().fill_null(value=False), pl.col("site").first()
    )
    assert of_patients["fold"].list.len().to_list() == [1] * len(outcomes)
    strata = [of_patients, *of_patients.partition_by("cancer"), *of_patients.partition_by("cancer", "site")]
    for stratum in strata:
        counts = [stratum.filter(pl.col("fold").list.first() == fold).height for fold in range(n_folds)]
        assert max(counts) - min(counts) <= 1
