"""The table of CBIS-DDSM masses of the real data, through the mapping that ships as the example."""

import os
from pathlib import Path

import pytest

from mammoscope.cohort.sources.indexing import Handling, IndexedCohort
from mammoscope.cohort.sources.mapping import read_mapping
from mammoscope.cohort.sources.outcomes import OutcomeRule
from mammoscope.cohort.sources.table import read_mapped_table

FOLDER = os.environ.get("MAMMOSCOPE_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(FOLDER is None, reason="MAMMOSCOPE_REAL_DATA names no folder"),
]


@pytest.fixture(scope="module")
def cohort() -> IndexedCohort:
    folder = Path(str(FOLDER)) / "cbis_ddsm_mass"
    mapping = read_mapping("cbis_ddsm_mass")
    return read_mapped_table(folder / "index.csv", folder, mapping, rule=OutcomeRule(), handling=Handling())


def test_images_and_patients(cohort: IndexedCohort) -> None:
    assert cohort.manifest.height == 1_231
    assert cohort.manifest["patient_id"].n_unique() == 691
    assert cohort.rejected.is_empty()


def test_images_of_cases_are_those_with_a_malignant_lesion_in_the_breast(cohort: IndexedCohort) -> None:
    # the column `malignant` of the table is 1 for 602 images; no breast has one view with 1 and one with 0
    assert cohort.manifest["cancer"].sum() == 602
    assert cohort.manifest["cancer"].null_count() == 0


def test_every_picture_is_there(cohort: IndexedCohort) -> None:
    assert all(Path(path).is_file() for path in cohort.manifest["path"])
