"""Folds of the competition's own table: even in outcome, in whole patients."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.fold_balance import tabulate_folds
from mammoscope.cohort.sources.rsna import read_rsna_table
from mammoscope.cohort.splits import assign_folds, hold_out, leave_one_out, summarise_folds

FOLDER = os.environ.get("MAMMOSCOPE_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(FOLDER is None, reason="MAMMOSCOPE_REAL_DATA names no folder"),
]
MOST_PREVALENCE_IS_OFF = 0.05  # relative; what a split of this cohort is asked for


@pytest.fixture(scope="module")
def train() -> pl.DataFrame:
    return read_rsna_table(Path(str(FOLDER)) / "rsna" / "train.csv", with_outcomes=True)


def _assert_prevalences(folds: pl.DataFrame) -> None:
    assert folds.group_by("patient_id").agg(pl.col("fold").n_unique())["fold"].max() == 1
    summary = summarise_folds(folds)
    for name, whole in (("breast_prevalence", 492 / 23_826), ("image_prevalence", 1_158 / 54_706)):
        assert (summary[name] / whole - 1).abs().max() < MOST_PREVALENCE_IS_OFF  # type: ignore[operator]  # numbers


@pytest.mark.parametrize(("n_folds", "seed"), [(5, 0), (5, 1), (10, 0)])
def test_every_fold_has_the_prevalence_of_the_whole(train: pl.DataFrame, n_folds: int, seed: int) -> None:
    _assert_prevalences(assign_folds(train, n_folds=n_folds, rng=np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_four_per_cent_of_the_baseline_have_the_prevalence_of_the_whole(train: pl.DataFrame, seed: int) -> None:
    held = hold_out(train, share=0.04, rng=np.random.default_rng(seed))
    _assert_prevalences(held)
    assert held.filter(fold=0)["patient_id"].n_unique() in {476, 477}  # of 11,913


def test_no_stratum_of_a_hundred_patients_is_off_by_a_tenth(train: pl.DataFrame) -> None:
    table = tabulate_folds(assign_folds(train, n_folds=5, rng=np.random.default_rng(0)))
    large = table.filter(pl.col("n_expected") >= 100)
    assert large["imbalance"].abs().max() < 0.1  # type: ignore[operator]  # a number


def test_a_machine_is_left_out_with_all_its_patients(train: pl.DataFrame) -> None:
    folds = leave_one_out(train, "machine")
    assert folds["fold"].n_unique() == 10
    # one patient has images of two machines
    assert folds.group_by("machine", "fold").len().height == 11
