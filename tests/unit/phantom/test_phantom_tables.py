import numpy as np

from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.patient import Assignment, PatientPlan, plan_patient
from mammoscope.phantom.tables import competition_table, lesion_table, outcome_table

# the first line of the competition's train.csv and test.csv
TRAIN_COLUMNS = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case"
)
TEST_COLUMNS = "site_id,patient_id,image_id,laterality,view,age,implant,machine_id,prediction_id"


def _plans() -> list[PatientPlan]:
    return [
        plan_patient(
            Assignment(number, "train", MACHINES[number % 4], is_case=number % 2 == 0),
            conspicuity=1,
            height_mm=230,
            rng=np.random.default_rng(number),
        )
        for number in range(1, 25)
    ]


def test_the_train_table_is_spelt_as_in_the_competition() -> None:
    lines = competition_table(_plans()).write_csv().splitlines()
    assert lines[0] == TRAIN_COLUMNS
    assert len(lines) == 1 + 4 * 24
    by_column = [dict(zip(TRAIN_COLUMNS.split(","), line.split(","), strict=True)) for line in lines[1:]]
    for name, allowed in (
        ("cancer", {"0", "1"}),
        ("biopsy", {"0", "1"}),
        ("invasive", {"0", "1"}),
        ("implant", {"0"}),
        ("laterality", {"L", "R"}),
        ("view", {"CC", "MLO"}),
        ("BIRADS", {"", "0", "1", "2"}),
        ("density", {"", "A", "B", "C", "D"}),
        ("difficult_negative_case", {"True", "False"}),
    ):
        assert {row[name] for row in by_column} <= allowed


def test_the_site_without_readings_has_neither_birads_nor_density() -> None:
    table = competition_table(_plans())
    for site, is_missing in ((1, False), (2, True)):
        of_site = table.filter(site_id=site)
        assert (of_site["BIRADS"].is_null() == is_missing).all()
        assert (of_site["density"].is_null() == is_missing).all()


def test_the_test_table_holds_no_outcome() -> None:
    lines = competition_table(_plans(), with_outcome=False).write_csv().splitlines()
    assert lines[0] == TEST_COLUMNS
    assert lines[1].endswith("900001_L")


def test_cancer_is_the_breasts_and_stands_in_both_views() -> None:
    table = competition_table(_plans())
    n_values = table.group_by("patient_id", "laterality").n_unique()
    assert len(n_values) == 48
    assert (n_values["cancer"] == 1).all()
    assert (n_values["view"] == 2).all()
    assert table["cancer"].sum() == 24  # twelve cases, two views each


def test_the_truth_table_has_a_row_per_lesion_and_image() -> None:
    plans = _plans()
    lesions, outcomes = lesion_table(plans), outcome_table(plans)
    assert len(lesions) == outcomes["n_lesions"].sum()
    cancers = set(lesions.filter(malignant=True)["image_id"])
    assert cancers == set(outcomes.filter(cancer=True)["image_id"])


def test_boxes_lie_in_their_pictures() -> None:
    plans = _plans()
    sizes = {
        plan.image_id(mammogram): (plan.assignment.machine.rows, plan.assignment.machine.columns)
        for plan in plans
        for mammogram in plan.mammograms
    }
    for row in lesion_table(plans).iter_rows(named=True):
        rows, columns = sizes[row["image_id"]]
        assert 0 <= row["row_start"] < row["row_stop"] <= rows
        assert 0 <= row["column_start"] < row["column_stop"] <= columns


def test_outcomes_are_known_for_held_out_patients_too() -> None:
    plan = plan_patient(
        Assignment(7, "held_out", MACHINES[0], is_case=True),
        conspicuity=1,
        height_mm=230,
        rng=np.random.default_rng(0),
    )
    outcomes = outcome_table([plan])
    assert set(outcomes["subset"]) == {"held_out"}
    assert outcomes["cancer"].sum() == 2
    assert outcomes["density"].null_count() == 0
