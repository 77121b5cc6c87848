"""Recalibration by cross-fitting: each score is mapped by what the other folds fitted, and judged before and after.

Where there are no folds, the patients are parted into two halves at random, each mapped by what the other one fitted.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import LeakageError, UndefinedMetricError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.calibration import Calibration, measure_calibration
from mammoscope.evaluation.discrimination import why_undefined
from mammoscope.evaluation.prevalence import check_prevalence, weigh_to_prevalence
from mammoscope.evaluation.recalibration import (
    METHODS,
    Beta,
    Isotonic,
    Method,
    Platt,
    Temperature,
    fit_recalibrator,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]
CrossedOver = Literal["folds", "patient halves"]


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a method makes of the scores: the map fitted on all, for new exams, and the calibration on held-out folds.

    Without one of them, `reason` says why.
    """

    method: Method
    fitted_on_all: Temperature | Platt | Isotonic | Beta | None
    after: Calibration | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The calibration of scores as they are, and after each method of recalibration."""

    crossed_over: CrossedOver
    before: Calibration
    recalibrations: tuple[Recalibration, ...]

    def to_json(self) -> dict[str, object]:
        """The figures before and after, for `evaluation.json`."""
        return asdict(self)


def part_patients(outcomes: Outcomes, patients: Indices, n_parts: int, rng: np.random.Generator) -> Indices:
    """A part, 0 and up, for each score: all of a patient in one; patients with a case in equal numbers, but for one."""
    n_patients = int(patients.max()) + 1
    has_case = np.zeros(n_patients, np.bool_)
    has_case[patients[outcomes]] = True
    shuffled = rng.permutation(n_patients)
    ordered = shuffled[np.argsort(~has_case[shuffled], kind="stable")]  # those with a case first
    parts = np.empty(n_patients, np.intp)
    parts[ordered] = np.arange(n_patients) % n_parts
    return parts[patients]


def cross_recalibrate(
    scores: Floats, outcomes: Outcomes, *, folds: Indices, method: Method, prevalence: float | None = None
) -> Floats:
    """The scores, (breast,), each mapped by what the other folds fitted.

    Args:
        scores: in [0, 1], of each breast.
        outcomes: of each, true for a case.
        folds: of each, any numbers; all of a patient in one.
        method: one of `METHODS`.
        prevalence: the share of cases to calibrate for, to which the other folds are weighed; None: their own.

    Raises:
        UserInputError: the method is unknown, there is one fold only, or the prevalence is not between 0 and 1.
        UndefinedMetricError: there is no case or no control outside of a fold.
    """
    numbers = np.unique(folds)
    if len(numbers) == 1:
        raise UserInputError("recalibration: found one fold, expected two or more; part the patients into halves")
    mapped = np.empty(len(scores))
    for fold in numbers:
        others, held_out = folds != fold, folds == fold
        reason = why_undefined(outcomes[others])
        if reason is not None:
            raise UndefinedMetricError(f"{reason}, in the folds other than fold {fold}")
        recalibrator = _fit(scores[others], outcomes[others], method, prevalence)
        mapped[held_out] = recalibrator.apply(scores[held_out])
    return mapped


def report_calibration(  # noqa: PLR0913  # scores and outcomes, and the rest by name
    scores: Floats,
    outcomes: Outcomes,
    *,
    patients: Indices,
    folds: Indices | None,
    settings: BootstrapSettings,
    prevalence: float | None = None,
    methods: Sequence[Method] = METHODS,
    advance: Callable[[int], None] = lambda _: None,
) -> CalibrationReport:
    """The calibration of scores before and after each method, cross-fitted over folds, with intervals over patients.

    The intervals after a method are of the patients that are judged: the maps are held as they were fitted.

    Args:
        scores: in [0, 1], of each breast, or image.
        outcomes: of each, true for a case.
        patients: the number of the patient of each, 0 and up, as of `number_patients`.
        folds: of each; None, or one fold only: halves of the patients, drawn with the seed.
        settings: of the bootstrap.
        prevalence: the share of cases to calibrate and to judge for; None: that of the sample.
        methods: to try.
        advance: hears after each chunk how many replicates it had, once before and once for each method.

    Raises:
        UserInputError: as `measure_calibration`, or a method is unknown.
        LeakageError: a patient is in two folds.
    """

    def measure(mapped: Floats) -> Calibration:
        return measure_calibration(
            mapped, outcomes, patients=patients, settings=settings, prevalence=prevalence, advance=advance
        )

    before, reason = measure(scores), _why_not_crossed(outcomes, patients)
    if folds is not None and len(np.unique(folds)) == 1:
        folds = None
    crossed_over: CrossedOver = "patient halves" if folds is None else "folds"
    if reason is not None:
        advance(len(methods) * settings.n_replicates)
        return CalibrationReport(
            crossed_over, before, tuple(Recalibration(method, None, None, reason) for method in methods)
        )
    parts = part_patients(outcomes, patients, 2, settings.generator()) if folds is None else folds
    _check_one_fold_of_each(patients, parts)
    recalibrations = []
    for method in methods:
        fitted = _fit(scores, outcomes, method, prevalence)
        try:
            mapped = cross_recalibrate(scores, outcomes, folds=parts, method=method, prevalence=prevalence)
        except UndefinedMetricError as error:
            advance(settings.n_replicates)
            recalibrations.append(Recalibration(method, fitted, None, str(error)))
        else:
            recalibrations.append(Recalibration(method, fitted, measure(mapped), None))
    return CalibrationReport(crossed_over, before, tuple(recalibrations))


def _why_not_crossed(outcomes: Outcomes, patients: Indices) -> str | None:
    """The reason why no map can be fitted on others than those it is judged on; None where one may be."""
    if len(np.unique(patients)) == 1:
        return "undefined: one patient, expected two or more, so that a map is judged on others than it was fitted on"
    return why_undefined(outcomes)


def _check_one_fold_of_each(patients: Indices, folds: Indices) -> None:
    pairs = np.unique(np.stack([patients, folds]), axis=1)  # (patient and fold, pair)
    n_shared = pairs.shape[1] - len(np.unique(patients))
    if n_shared:
        raise LeakageError(
            f"recalibration: {n_shared:,} patients stand in more than one fold, expected each in one, so that no map "
            "is judged on patients it was fitted on",
            patient_ids=(),
        )


def _fit(
    scores: Floats, outcomes: Outcomes, method: Method, prevalence: float | None
) -> Temperature | Platt | Isotonic | Beta:
    check_prevalence(prevalence)
    if prevalence is None:
        return fit_recalibrator(scores, outcomes, method)
    if method == "platt":
        fitted = fit_recalibrator(scores, outcomes, method)
        return fitted.at_prevalence(scores, prevalence) if isinstance(fitted, Platt) else fitted
    return fit_recalibrator(scores, outcomes, method, weights=weigh_to_prevalence(outcomes, prevalence))
