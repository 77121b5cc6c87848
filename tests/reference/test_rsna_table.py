"""The competition's own table against the counts that are published with it."""

import os
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.sources.rsna import find_images, read_rsna_table

FOLDER = os.environ.get("MAMMOSCOPE_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(FOLDER is None, reason="MAMMOSCOPE_REAL_DATA names no folder"),
]


@pytest.fixture(scope="module")
def rsna() -> Path:
    return Path(str(FOLDER)) / "rsna"


@pytest.fixture(scope="module")
def train(rsna: Path) -> pl.DataFrame:
    return read_rsna_table(rsna / "train.csv", with_outcomes=True)


def test_images_patients_and_breasts(train: pl.DataFrame) -> None:
    assert train.height == 54_706
    assert train["patient_id"].n_unique() == 11_913
    assert train.select("patient_id", "laterality").n_unique() == 23_826


def test_images_patients_and_breasts_with_cancer(train: pl.DataFrame) -> None:
    cases = train.filter("cancer")
    assert cases.height == 1_158
    assert cases["patient_id"].n_unique() == 486
    breasts = cases.select("patient_id", "laterality").unique()
    assert breasts.height == 492
    assert breasts.group_by("patient_id").len().filter(pl.col("len") == 1).height == 480


def test_what_is_missing(train: pl.DataFrame) -> None:
    assert train["age_years"].null_count() == 37
    assert train["birads"].null_count() == 28_420
    assert train["density"].null_count() == 25_236
    assert train["cancer"].null_count() == 0


def test_images_of_each_site(train: pl.DataFrame) -> None:
    assert dict(train.group_by("site").len().rows()) == {"1": 29_519, "2": 25_187}


def test_the_public_test_set_is_four_images_of_one_patient(rsna: Path) -> None:
    table = read_rsna_table(rsna / "test.csv", with_outcomes=False)
    cohort = find_images(table, rsna / "dicom" / "test_images", allow_missing=False)
    assert cohort.manifest.height == 4
    assert cohort.manifest["patient_id"].unique().to_list() == ["10008"]


def test_the_small_pictures_are_found(rsna: Path, train: pl.DataFrame) -> None:
    cohort = find_images(train, rsna / "png256" / "train_images", allow_missing=True)
    assert cohort.manifest.height == 1_736
    assert cohort.manifest["cancer"].sum() == 863
    assert len(cohort.missing_image_ids) == 54_706 - 1_736
