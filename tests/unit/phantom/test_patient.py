import numpy as np

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.lesions import LesionKind
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.patient import Assignment, PatientPlan, plan_patient


def _plan(seed: int, *, is_case: bool) -> PatientPlan:
    assignment = Assignment(number=1 + seed, subset="train", machine=MACHINES[0], is_case=is_case)
    return plan_patient(assignment, conspicuity=1, height_mm=230, rng=np.random.default_rng(seed))


def test_a_patient_has_both_views_of_both_breasts() -> None:
    plan = _plan(0, is_case=False)
    assert [(mammogram.laterality, mammogram.view) for mammogram in plan.mammograms] == [
        (Laterality.LEFT, View.CC),
        (Laterality.LEFT, View.MLO),
        (Laterality.RIGHT, View.CC),
        (Laterality.RIGHT, View.MLO),
    ]
    assert len({plan.image_id(mammogram) for mammogram in plan.mammograms}) == 4


def test_a_case_has_cancer_in_one_breast_and_both_its_views() -> None:
    for seed in range(20):
        plan = _plan(seed, is_case=True)
        case_sides = [side for side, outcome in plan.outcomes.items() if outcome.is_case]
        assert len(case_sides) == 1
        for mammogram in plan.mammograms:
            shows_cancer = any(lesion.kind.is_malignant for lesion in mammogram.lesions)
            assert shows_cancer == (mammogram.laterality in case_sides)


def test_a_control_has_no_cancer_but_now_and_then_something_that_looks_like_it() -> None:
    plans = [_plan(seed, is_case=False) for seed in range(100)]
    kinds = [lesion.kind for plan in plans for mammogram in plan.mammograms for lesion in mammogram.lesions]
    assert set(kinds) == {LesionKind.BENIGN_MASS, LesionKind.COARSE_CALCIFICATION}
    n_difficult = sum(outcome.is_difficult_negative for plan in plans for outcome in plan.outcomes.values())
    assert 10 < n_difficult < 45


def test_outcomes_agree_with_each_other() -> None:
    for seed in range(100):
        for is_case in (True, False):
            for outcome in _plan(seed, is_case=is_case).outcomes.values():
                assert outcome.is_biopsied or not outcome.is_case
                assert outcome.is_case or not outcome.is_invasive
                assert not (outcome.is_case and outcome.is_difficult_negative)
                assert outcome.birads == 0 or not outcome.is_case


def test_cases_are_on_either_side() -> None:
    sides = {
        side for seed in range(20) for side, outcome in _plan(seed, is_case=True).outcomes.items() if outcome.is_case
    }
    assert sides == set(Laterality)
