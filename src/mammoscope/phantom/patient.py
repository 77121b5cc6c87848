"""One woman of the cohort: her outcome and findings, and the four pictures of her exam."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.lesions import MALIGNANT_KINDS, LesionKind, place_lesion
from mammoscope.phantom.machine import Machine
from mammoscope.phantom.outline import draw_shape, project_outline, vary_shape
from mammoscope.phantom.picture import MammogramPlan
from mammoscope.phantom.tissue import COMPOSITIONS, Density

Subset = Literal["train", "held_out"]

VIEWS: Final = (View.CC, View.MLO)

# Shares and ages of the RSNA 2023 training table.
_DENSITY_SHARES: Final = (0.105, 0.43, 0.413, 0.052)
_INVASIVE_SHARE: Final = 0.70
_AGE_OF_CASES_YEARS: Final = 63.7
_AGE_OF_CONTROLS_YEARS: Final = 58.4
_AGE_DEVIATION_YEARS: Final = 10.0
_AGE_RANGE_YEARS: Final = (38, 89)
_BIOPSIED_SHARE_OF_DIFFICULT: Final = 0.25

_BENIGN_MASS_SHARE: Final = 0.12
_COARSE_CALCIFICATION_SHARE: Final = 0.18


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the cohort decides about a patient, before chance decides the rest."""

    number: int  # in the cohort, from 1
    subset: Subset
    machine: Machine
    is_case: bool

    @property
    def patient_id(self) -> str:
        """A number that no patient of the competition has."""
        return str(900_000 + self.number)


@dataclass(frozen=True, slots=True)
class BreastOutcome:
    """What is known of one breast; its columns are those of the competition's table."""

    is_case: bool
    is_biopsied: bool
    is_invasive: bool
    is_difficult_negative: bool
    birads: int
    findings: tuple[LesionKind, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PatientPlan:
    """A patient as she will be drawn and written."""

    assignment: Assignment
    age_years: int
    density: Density
    outcomes: dict[Laterality, BreastOutcome]
    mammograms: tuple[MammogramPlan, ...]

    def image_id(self, mammogram: MammogramPlan) -> str:
        """A number that is unique in the cohort."""
        return f"{self.assignment.patient_id}{1 + self.mammograms.index(mammogram)}"


def plan_patient(
    assignment: Assignment, *, conspicuity: float, height_mm: float, rng: np.random.Generator
) -> PatientPlan:
    """The patient's outcome, findings and pictures; nothing is drawn yet.

    Args:
        assignment: what the cohort has decided.
        conspicuity: factor on the contrast of malignant lesions.
        height_mm: of the detector.
        rng: chance of this patient alone.
    """
    case_side = (Laterality.LEFT, Laterality.RIGHT)[int(rng.integers(2))] if assignment.is_case else None
    outcomes = {side: _draw_outcome(rng, is_case=side is case_side) for side in Laterality}
    mean_age = _AGE_OF_CASES_YEARS if assignment.is_case else _AGE_OF_CONTROLS_YEARS
    age = int(np.clip(round(rng.normal(mean_age, _AGE_DEVIATION_YEARS)), *_AGE_RANGE_YEARS))
    density = tuple(COMPOSITIONS)[int(rng.choice(4, p=np.array(_DENSITY_SHARES) / sum(_DENSITY_SHARES)))]
    shape = draw_shape(rng)
    pair_seeds = {view: int(rng.integers(2**31)) for view in VIEWS}
    mammograms: list[MammogramPlan] = []
    for side, outcome in outcomes.items():
        side_shape = vary_shape(shape, rng)
        outlines = tuple(project_outline(side_shape, view, height_mm=height_mm, rng=rng) for view in VIEWS)
        placed = [place_lesion(kind, outlines, conspicuity=conspicuity, rng=rng) for kind in outcome.findings]
        mammograms.extend(
            MammogramPlan(
                laterality=side,
                view=view,
                density=density,
                outline=outlines[position],
                lesions=tuple(lesion[position] for lesion in placed),
                pair_seed=pair_seeds[view],
                seed=int(rng.integers(2**31)),
            )
            for position, view in enumerate(VIEWS)
        )
    return PatientPlan(assignment, age, density, outcomes, tuple(mammograms))


def _draw_outcome(rng: np.random.Generator, *, is_case: bool) -> BreastOutcome:
    distractors = [
        kind
        for kind, share in (
            (LesionKind.BENIGN_MASS, _BENIGN_MASS_SHARE),
            (LesionKind.COARSE_CALCIFICATION, _COARSE_CALCIFICATION_SHARE),
        )
        if rng.random() < share
    ]
    malignant = MALIGNANT_KINDS[int(rng.integers(len(MALIGNANT_KINDS)))]
    invasive, biopsied, recalled = rng.random(3)
    is_difficult = not is_case and LesionKind.BENIGN_MASS in distractors
    if is_case:
        birads = 0
    elif is_difficult:
        birads = 0 if recalled < 0.6 else 2  # noqa: PLR2004  # recalled or called benign at once
    else:
        birads = 2 if distractors else 1
    return BreastOutcome(
        is_case=is_case,
        is_biopsied=is_case or (is_difficult and bool(biopsied < _BIOPSIED_SHARE_OF_DIFFICULT)),
        is_invasive=is_case and bool(invasive < _INVASIVE_SHARE),
        is_difficult_negative=is_difficult,
        birads=birads,
        findings=(*((malignant,) if is_case else ()), *distractors),
    )
