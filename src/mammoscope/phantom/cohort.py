"""A whole synthetic screening cohort on disk, in the layout of the RSNA 2023 competition."""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import numpy as np
import polars as pl
from PIL import Image
from pydantic import Field, field_validator

from mammoscope.cohort.sources.rsna import SYNTHETIC_MARK
from mammoscope.config import Settings, build_settings, read_toml, to_toml
from mammoscope.errors import ConfigError, UserInputError
from mammoscope.files import replacing, write_text
from mammoscope.phantom.artefacts import Artefact, Mask
from mammoscope.phantom.dicom import Identity, encode_dicom
from mammoscope.phantom.machine import MACHINES, SMALLEST_SCALE, Encoding
from mammoscope.phantom.oddities import write_oddities
from mammoscope.phantom.patient import Assignment, PatientPlan, Subset, plan_patient
from mammoscope.phantom.picture import MammogramPlan, draw_picture, padding_value
from mammoscope.phantom.reshaping import disturb
from mammoscope.phantom.tables import competition_table, lesion_table, outcome_table, picture_table
from mammoscope.phantom.truth import breast_mask
from mammoscope.phantom.vendors import MACHINE_IDS, find_machine

CONSPICUITY: Final = 1.0
"""Factor on the contrast of malignant lesions; the tables of lesions.py hold for 1."""

DEFAULT_MACHINES: Final = tuple(machine.machine_id for machine in MACHINES)

SETTINGS_NAME: Final = SYNTHETIC_MARK
MASK_FOLDER: Final = "truth_masks"
IMAGE_FOLDERS: Final[dict[Subset, str]] = {"train": "train_images", "held_out": "test_images"}

_ASSIGNMENT_STREAM: Final = 0  # of the cohort's seed; patients have streams 1, 2 …
_ARTEFACT_STREAM: Final = 1  # of a patient's stream


class CohortSettings(Settings):
    """What a cohort is made of; the same settings give the same bytes."""

    patients: Annotated[int, Field(ge=1, le=90_000)]
    prevalence: Annotated[float, Field(ge=0, le=1)]  # share of patients with cancer
    seed: Annotated[int, Field(ge=0)]
    held_out: Annotated[int, Field(ge=0, le=9_000)] = 0
    scale: Annotated[float, Field(ge=SMALLEST_SCALE, le=1)] = 1.0
    conspicuity: Annotated[float, Field(gt=0, le=3)] = CONSPICUITY
    # what is off is not written, so that older folders and their settings stay the same
    machines: Annotated[tuple[int, ...], Field(min_length=1, exclude_if=lambda ids: ids == DEFAULT_MACHINES)] = (
        DEFAULT_MACHINES
    )
    transfer_syntax: Encoding | None = None  # of all files; None leaves each machine its own
    artefacts: Annotated[float, Field(ge=0, le=1, exclude_if=operator.not_)] = 0.0  # share of the pictures with one
    oddities: Annotated[bool, Field(exclude_if=operator.not_)] = False  # a folder of files that need a verdict
    masks: Annotated[bool, Field(exclude_if=operator.not_)] = False  # the truth of every pixel, as PNG files

    @field_validator("machines")
    @classmethod
    def _are_known(cls, machines: tuple[int, ...]) -> tuple[int, ...]:
        unknown = [machine_id for machine_id in machines if machine_id not in MACHINE_IDS]
        if unknown or len(set(machines)) < len(machines):
            known = ", ".join(str(machine_id) for machine_id in MACHINE_IDS)
            raise ValueError(f"expected different numbers of {known}")
        return machines


class TaskRunner(Protocol):
    """Runs a function over tasks and gives the results in any order, such as `scaling.run_tasks`."""

    def __call__(  # noqa: D102  # the class docstring says it
        self, function: Callable[["PatientTask"], int], tasks: Sequence["PatientTask"], /
    ) -> Iterator[int]: ...


@dataclass(frozen=True, slots=True)
class PatientTask:
    """One patient to draw and write."""

    out: Path
    assignment: Assignment
    settings: CohortSettings


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """What a cohort holds."""

    n_patients: int
    n_cases: int
    n_held_out: int
    n_images: int
    n_images_resumed: int  # they were there already
    n_oddities: int = 0


def synthesize_cohort(
    out: Path, settings: CohortSettings, *, run_tasks: TaskRunner, advance: Callable[[int], None]
) -> CohortSummary:
    """Write a cohort; one that was broken off goes on where it was.

    Args:
        out: the folder to fill; missing, empty, or of the same settings.
        settings: what to write.
        run_tasks: how to work through the patients.
        advance: told the number of images done.

    Raises:
        UserInputError: `out` is a file, or a folder that holds anything else.
    """
    _claim(out, settings)
    assignments = assign_patients(settings)
    tasks = [PatientTask(out, assignment, settings) for assignment in assignments]
    n_images_resumed = 0
    for n_resumed in run_tasks(write_patient, tasks):
        n_images_resumed += n_resumed
        advance(4)
    plans = [_plan(assignment, settings) for assignment in assignments]
    n_oddities = write_oddities(out, seed=settings.seed) if settings.oddities else 0
    _write_tables(out, plans)
    return CohortSummary(
        n_patients=settings.patients,
        n_cases=sum(assignment.is_case and assignment.subset == "train" for assignment in assignments),
        n_held_out=settings.held_out,
        n_images=sum(len(plan.mammograms) for plan in plans),
        n_images_resumed=n_images_resumed,
        n_oddities=n_oddities,
    )


def assign_patients(settings: CohortSettings) -> tuple[Assignment, ...]:
    """The patients with their machines; every machine has the same share of cases, up to one patient."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(_ASSIGNMENT_STREAM,)))
    machines = [find_machine(machine_id).scaled(settings.scale) for machine_id in settings.machines]
    if settings.transfer_syntax is not None:
        machines = [machine.encoded_as(settings.transfer_syntax) for machine in machines]
    assignments: list[Assignment] = []
    subsets: tuple[tuple[Subset, int], ...] = (("train", settings.patients), ("held_out", settings.held_out))
    for subset, n_patients in subsets:
        n_cases = round(settings.prevalence * n_patients)
        # dealt out in turns, cases first, so that neither machine nor site gives the outcome away
        dealt = [(machines[position % len(machines)], position < n_cases) for position in range(n_patients)]
        for index in rng.permutation(n_patients):
            machine, is_case = dealt[int(index)]
            assignments.append(Assignment(1 + len(assignments), subset, machine, is_case))
    return tuple(assignments)


def write_patient(task: PatientTask) -> int:
    """Draw and write the files of one patient that are missing; the number of those that were there."""
    plan = _plan(task.assignment, task.settings)
    n_resumed = 0
    for number, mammogram in enumerate(plan.mammograms, start=1):
        path = task.out / image_path(plan, mammogram)
        if path.exists():
            n_resumed += 1
            continue
        machine = task.assignment.machine
        identity = Identity(
            patient_id=task.assignment.patient_id,
            image_id=plan.image_id(mammogram),
            instance_number=number,
            age_years=plan.age_years,
            laterality=mammogram.laterality,
            view=mammogram.view,
            seed=task.settings.seed,
            has_implant=mammogram.has_implant,
            padding=padding_value(mammogram, machine),
        )
        content = encode_dicom(draw_picture(mammogram, machine), identity, machine)
        if task.settings.masks:
            _write_mask(task.out / mask_path(plan, mammogram), breast_mask(mammogram, machine))
        with replacing(path) as beside:  # after its mask, so that a picture is never without
            beside.write_bytes(content)
    return n_resumed


def image_path(plan: PatientPlan, mammogram: MammogramPlan) -> Path:
    """Where an image stands, from the cohort's folder."""
    folder = IMAGE_FOLDERS[plan.assignment.subset]
    return Path(folder) / plan.assignment.patient_id / f"{plan.image_id(mammogram)}.dcm"


def mask_path(plan: PatientPlan, mammogram: MammogramPlan) -> Path:
    """Where the mask of an image stands, from the cohort's folder."""
    return Path(MASK_FOLDER) / f"{plan.image_id(mammogram)}.png"


def _write_mask(path: Path, mask: Mask) -> None:
    with replacing(path) as beside:
        Image.fromarray(mask).save(beside, format="PNG")  # one bit for a pixel


def _plan(assignment: Assignment, settings: CohortSettings) -> PatientPlan:
    seed = np.random.SeedSequence(settings.seed, spawn_key=(assignment.number,))
    machine = assignment.machine
    plan = plan_patient(
        assignment,
        conspicuity=settings.conspicuity,
        height_mm=machine.rows * machine.spacing_mm,
        rng=np.random.default_rng(seed),
    )
    return _disturb_some(plan, settings) if settings.artefacts else plan


def _disturb_some(plan: PatientPlan, settings: CohortSettings) -> PatientPlan:
    """The patient with one artefact in a share of the pictures; each is as frequent as the others."""
    key = (plan.assignment.number, _ARTEFACT_STREAM)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))
    mammograms = [
        disturb(mammogram, frozenset({artefact}), plan.assignment.machine) if is_disturbed else mammogram
        for mammogram, artefact, is_disturbed in zip(
            plan.mammograms,
            rng.choice(np.array(Artefact), len(plan.mammograms)),
            rng.random(len(plan.mammograms)) < settings.artefacts,
            strict=True,
        )
    ]
    return replace(plan, mammograms=tuple(mammograms))


def _claim(out: Path, settings: CohortSettings) -> None:
    """Make the folder ours: it holds a file with the settings from now on."""
    if out.exists() and not out.is_dir():
        raise UserInputError(f"{out}: found a file, expected a folder to write to; name another")
    path = out / SETTINGS_NAME
    if path.exists():
        if _read_settings(path) == settings:
            return
        raise UserInputError(f"{out}: holds a cohort of other settings ({SETTINGS_NAME}); name another folder")
    if out.exists() and any(not each.name.startswith(".") for each in out.iterdir()):  # a killed start may leave these
        raise UserInputError(f"{out}: found a folder with other files, expected an empty one; name another")
    write_text(path, to_toml(settings))


def _read_settings(path: Path) -> CohortSettings | None:
    """The settings of a cohort on disk; None where they cannot be read by this version."""
    try:
        return build_settings(CohortSettings, read_toml(path), where=str(path))
    except ConfigError:
        return None


def _write_tables(out: Path, plans: Sequence[PatientPlan]) -> None:
    train = [plan for plan in plans if plan.assignment.subset == "train"]
    held_out = [plan for plan in plans if plan.assignment.subset == "held_out"]
    _write_frame(out / "train.csv", competition_table(train))
    if held_out:
        _write_frame(out / "test.csv", competition_table(held_out, with_outcome=False))
    _write_frame(out / "truth_outcomes.parquet", outcome_table(plans))
    _write_frame(out / "truth.parquet", lesion_table(plans))
    _write_frame(out / "truth_pictures.parquet", picture_table(plans))


def _write_frame(path: Path, frame: pl.DataFrame) -> None:
    with replacing(path) as beside:
        if path.suffix == ".csv":
            frame.write_csv(beside)
        else:
            frame.write_parquet(beside)


def parse_settings(**values: Any) -> CohortSettings:  # noqa: ANN401  # pydantic checks each value
    """The settings that a user gave.

    Raises:
        ConfigError: a value out of its range; the message begins with the option.
    """
    return build_settings(CohortSettings, values, where="synthesize")
