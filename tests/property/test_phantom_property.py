import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.anatomy import View
from mammoscope.phantom.cohort import CohortSettings, assign_patients
from mammoscope.phantom.lesions import LesionKind, place_lesion
from mammoscope.phantom.outline import draw_shape, project_outline


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(LesionKind),
    height_mm=st.floats(228, 268),  # the detectors of machine.py
)
def test_a_lesion_lies_inside_the_breast_in_both_views(seed: int, kind: LesionKind, height_mm: float) -> None:
    rng = np.random.default_rng(seed)
    shape = draw_shape(rng)
    outlines = tuple(project_outline(shape, view, height_mm=height_mm, rng=rng) for view in (View.CC, View.MLO))
    for lesion, outline in zip(place_lesion(kind, outlines, conspicuity=1, rng=rng), outlines, strict=True):
        assert outline.holds(lesion.x_mm, lesion.y_mm, margin_mm=lesion.radius_mm)


@settings(max_examples=60, deadline=None)
@given(
    patients=st.integers(1, 60),
    held_out=st.integers(0, 20),
    prevalence=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_machine_has_its_share_of_cases(patients: int, held_out: int, prevalence: float, seed: int) -> None:
    assignments = assign_patients(
        CohortSettings(patients=patients, held_out=held_out, prevalence=prevalence, seed=seed)
    )
    assert len({assignment.patient_id for assignment in assignments}) == patients + held_out
    for subset, n_patients in (("train", patients), ("held_out", held_out)):
        of_subset = [assignment for assignment in assignments if assignment.subset == subset]
        assert len(of_subset) == n_patients
        assert abs(sum(assignment.is_case for assignment in of_subset) - prevalence * n_patients) <= 0.5
        for is_case in (True, False):
            machines = [assignment.machine.machine_id for assignment in of_subset if assignment.is_case is is_case]
            counts = [machines.count(machine) for machine in (21, 29, 49, 93)]
            assert max(counts) - min(counts) <= 1
