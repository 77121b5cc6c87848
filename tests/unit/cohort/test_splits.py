from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.splits import assign_folds, summarise_folds
from mammoscope.errors import UserInputError

ManifestOf = Callable[..., pl.DataFrame]


def split(manifest: pl.DataFrame, n_folds: int = 2, seed: int = 0) -> pl.DataFrame:
    return assign_folds(manifest, n_folds=n_folds, rng=np.random.default_rng(seed))


def test_a_patient_is_in_one_fold(manifest: pl.DataFrame) -> None:
    folds = split(manifest).group_by("patient_id").agg(pl.col("fold").n_unique())
    assert folds["fold"].to_list() == [1] * 5


def test_splitting_changes_nothing_but_the_fold(manifest: pl.DataFrame) -> None:
    assert split(manifest).drop("fold").equals(manifest.drop("fold"))


def test_the_same_seed_gives_the_same_folds_whatever_the_order_of_the_rows(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True, False] * 20)
    once, again = split(manifest), split(manifest.reverse())
    assert once.equals(split(manifest))
    assert once.equals(again.reverse())


def test_another_seed_gives_other_folds(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True, False] * 20)
    assert not split(manifest, seed=0).equals(split(manifest, seed=1))


def test_splitting_again_forgets_the_old_folds(manifest: pl.DataFrame) -> None:
    assert split(split(manifest, seed=3), seed=1).equals(split(manifest, seed=1))


def test_every_site_is_dealt_evenly(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True] * 8 + [False] * 32, sites=("1", "2", "2", "2"))
    counts = (
        split(manifest, n_folds=4).group_by("site", "fold").agg(pl.col("patient_id").n_unique()).sort("site", "fold")
    )
    # dealt in turns: 2 cases of site 1, 6 cases of site 2, 8 controls of site 1, 24 controls of site 2
    assert counts["patient_id"].to_list() == [3, 3, 2, 2, 7, 7, 8, 8]


def test_patients_with_cancer_in_both_breasts_are_spread(manifest_of: ManifestOf) -> None:
    two_sided = pl.col("patient_id").is_in(["patient0", "patient1", "patient2", "patient3"])
    manifest = manifest_of([True] * 12).with_columns(cancer=pl.col("cancer") | two_sided)
    assert summarise_folds(split(manifest, n_folds=4))["n_cases"].to_list() == [4, 4, 4, 4]


def test_undetermined_patients_are_dealt_with_the_controls(manifest_of: ManifestOf) -> None:
    folds = summarise_folds(split(manifest_of([True, True, None, None]), n_folds=2))
    assert folds["n_patients"].to_list() == [2, 2]
    assert folds["n_cases"].to_list() == [1, 1]


def test_the_summary_counts_patients_images_and_breasts(manifest: pl.DataFrame) -> None:
    folds = manifest.with_columns(fold=pl.when(pl.col("patient_id") == "patient0").then(0).otherwise(1).cast(pl.Int64))
    assert summarise_folds(folds).rows() == [(0, 1, 4, 2, 1), (1, 4, 16, 8, 1)]


@pytest.mark.parametrize("n_folds", [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(manifest: pl.DataFrame, n_folds: int) -> None:
    with pytest.raises(UserInputError, match=f"--folds: found {n_folds}, expected 2 or more"):
        split(manifest, n_folds=n_folds)


def test_more_folds_than_patients_or_cases_are_refused(manifest: pl.DataFrame, manifest_of: ManifestOf) -> None:
    with pytest.raises(UserInputError, match="--folds: found 6, but only 5 patients; expected at most 5 folds"):
        split(manifest, n_folds=6)
    with pytest.raises(UserInputError, match="--folds: found 3, but only 2 patients with cancer; expected at most 2"):
        split(manifest, n_folds=3)
    with pytest.raises(UserInputError, match="--folds: found 0 patients with cancer in the cohort, expected 2 or more"):
        split(manifest_of([False] * 4))
    with pytest.raises(UserInputError, match="--folds: found 1 patients in the cohort, expected 2 or more"):
        split(manifest_of([True]))


def test_as_many_folds_as_cases_is_the_limit(manifest: pl.DataFrame) -> None:
    assert summarise_folds(split(manifest, n_folds=2))["n_cases"].to_list() == [1, 1]
