"""Operating points of a run: named thresholds, what each was chosen for, and what it does on others; their file.

`mammoscope.evaluation.cross_fitting` makes them; docs/operating-points.md describes the file.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mammoscope.config import Settings
from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.run_folder import read_record
from mammoscope.evaluation.threshold_choice import Target
from mammoscope.files import write_json

Share = Annotated[float, Field(gt=0, le=1)]
Prevalence = Annotated[float, Field(gt=0, lt=1)]

FILE_NAME = "operating_points.json"
OPERATING_POINTS_VERSION = 2


class OperatingPointSettings(Settings):
    """The shares that thresholds are chosen for, beside the highest F1.

    A recall rate of 3.5 % is that of the ten best of the RSNA 2023 challenge together (Radiology 2025), 10 % is in the
    middle of what is acceptable in the US (PMC4369798); a specificity of 96.6 % is that of first readers in Sweden
    (doi:10.1001/jamaoncol.2020.3321). A sensitivity of 99 % is that of a rule-out: what it does not call is work that
    nobody would miss. `prevalence` is the share of cases where the thresholds are to be used, in place of the sample's.
    """

    recall_rates: tuple[Share, ...] = (0.035, 0.1)
    sensitivities: tuple[Share, ...] = (0.8, 0.85, 0.9, 0.99)
    specificities: tuple[Share, ...] = (0.8, 0.9, 0.95, 0.966, 0.99)
    prevalence: Prevalence | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """What thresholds are chosen for, each once."""
        wanted = (
            *(Target("recall_rate", share) for share in self.recall_rates),
            *(Target("sensitivity", share) for share in self.sensitivities),
            *(Target("specificity", share) for share in self.specificities),
        )
        return (Target("f1"), *dict.fromkeys(wanted))


@dataclass(frozen=True, slots=True)
class Counts:
    """Breasts by call and outcome."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


@dataclass(frozen=True, slots=True)
class FoldThreshold:
    """The threshold that the other folds choose for a fold, and what it does there; without one, the reason."""

    fold: int
    threshold: float | None
    counts: Counts | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class CrossFittedPoint:
    """A named threshold for new exams, and what thresholds chosen in the same way did on folds they were not chosen on.

    Where one fold is all there is, the threshold was `judged_on` the "same data", and no figure is given.
    """

    name: str
    chosen_for: str
    wanted: float | None
    threshold: Estimate
    judged_on: Literal["held-out folds", "same data"]
    by_fold: tuple[FoldThreshold, ...]
    counts: Counts | None
    sensitivity: Estimate
    specificity: Estimate
    recall_rate: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    workload_removed: Estimate
    cancers_detected_per_1000: Estimate
    false_positives_per_1000: Estimate

    def __post_init__(self) -> None:
        value = self.threshold.value
        if value is not None and not 0 <= value <= 1:
            raise UserInputError(f"operating point {self.name}: threshold is {value}, expected one in [0, 1]")


@dataclass(frozen=True, slots=True)
class CurveBand:
    """A figure at each threshold of a curve, with its pointwise interval; None where it is undefined."""

    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class StabilityCurve:
    """What any threshold does on all scores, on a fixed grid: how much a threshold may move before it matters."""

    threshold: tuple[float, ...]
    sensitivity: CurveBand
    specificity: CurveBand
    recall_rate: CurveBand
    ppv: CurveBand
    f1: CurveBand


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """All operating points of a run, and the stability curve that they stand on; None without both outcomes."""

    schema_version: int
    method: str
    replicates: int
    seed: int
    confidence: float
    n_breasts: int
    n_cases: int
    n_patients: int
    n_undetermined: int
    prevalence: float | None
    folds: tuple[int, ...]
    points: tuple[CrossFittedPoint, ...]
    curve: StabilityCurve | None

    def __post_init__(self) -> None:
        names = [point.name for point in self.points]
        if len(set(names)) != len(names):
            raise UserInputError(f"operating points: found {', '.join(names)}, expected each name once")

    def named(self, name: str) -> CrossFittedPoint:
        """The point of a name.

        Raises:
            UserInputError: there is none.
        """
        point = next((point for point in self.points if point.name == name), None)
        if point is None:
            known = ", ".join(point.name for point in self.points)
            raise UserInputError(f"operating point {name}: not one of this run, expected one of {known}")
        return point


_ADAPTER = TypeAdapter(OperatingPoints)


def write_operating_points(points: OperatingPoints, path: Path) -> None:
    """Write the operating points as JSON, whole or not at all."""
    write_json(path, asdict(points))


def read_operating_points(path: Path) -> OperatingPoints:
    """The operating points of a file.

    Raises:
        RunError: no such file, not JSON, of another schema version, or something in it is missing or of another type.
        UserInputError: a threshold is outside [0, 1], or a name comes twice.
    """
    return read_record(path, _ADAPTER, version=OPERATING_POINTS_VERSION)
