"""The evidence that scores and outcomes give: every figure of every level and group, thresholds and calibration."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import polars as pl

from mammoscope.errors import TableError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_calibration import CalibrationReport, part_patients, report_calibration
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.grouping import COLUMNS, Grouping, group_sample, level_of, tell_ungrouped
from mammoscope.evaluation.headline import LevelResult, RocBand, measure_level
from mammoscope.evaluation.levels import Level, LevelRules, LevelSample, sample_level
from mammoscope.evaluation.operating_points import OperatingPoints, OperatingPointSettings
from mammoscope.evaluation.precision_recall import PrecisionRecall, measure_precision_recall
from mammoscope.evaluation.prevalence import check_prevalence
from mammoscope.evaluation.recalibration import METHODS
from mammoscope.evaluation.sample_size import SampleSize, size_for_auc
from mammoscope.evaluation.stability import FoldSpread, SamplingDistribution, sampling_distributions, spread_over_folds
from mammoscope.evaluation.subgroups import GroupingResult, call_scores, measure_groups

EVALUATION_VERSION = 2
HISTOGRAM_EDGES = np.linspace(0, 1, 41)
WIDTHS = (0.1, 0.05, 0.02)
"""Of intervals of the AUC for which the needed number of cases is told."""
OF_THE_TABLE, DEALT = "those of the scores", "five parts of the patients, dealt with the seed"
_N_PARTS = 5
_LEVELS: tuple[Level, ...] = ("breast", "exam", "image")  # the first that there is leads


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        bootstrap: of all intervals.
        prevalence: the share of cases where the scores are to be used, for all that depends on it; None: the sample's.
        columns: by which scores are grouped, where they are known.
        rules: where the scores of breasts and exams come from; None: the usual ones.
    """

    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)
    prevalence: float | None = None
    columns: tuple[str, ...] = COLUMNS
    rules: LevelRules | None = None


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How many cases and controls have a score between one edge and the next."""

    edges: tuple[float, ...]
    n_cases: tuple[int, ...]
    n_controls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stability:
    """Whether the figures would stay: over folds, over samples of patients; and how many cases narrower ones need.

    `folds` is None where the scores name none.
    """

    folds: FoldSpread | None
    distributions: tuple[SamplingDistribution, ...]
    sizes: tuple[SampleSize, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was measured on a table of scores.

    `levels` begins with the one that leads: breasts, or else exams, or else images. `folds` says on what thresholds and
    recalibration are cross-fitted. `operating_points` is None where nothing is of breasts. `remarks` are what is to be
    known of the figures before they are read, a sentence each.
    """

    bootstrap: BootstrapSettings
    prevalence: float | None
    folds: str
    levels: tuple[LevelResult, ...]
    roc: RocBand | None
    precision_recall: PrecisionRecall
    histogram: ScoreHistogram
    operating_points: OperatingPoints | None
    calibration: CalibrationReport
    groupings: tuple[GroupingResult, ...]
    stability: Stability
    remarks: tuple[str, ...]

    @property
    def main(self) -> LevelResult:
        """The level that leads."""
        return self.levels[0]

    def at(self, level: Level) -> LevelResult | None:
        """The figures of a level, None where the table has none of it."""
        return next((result for result in self.levels if result.level == level), None)

    def grouped_by(self, column: str) -> GroupingResult | None:
        """The groups of a column."""
        return next((grouping for grouping in self.groupings if grouping.column == column), None)

    def to_json(self) -> dict[str, object]:
        """The content of `evaluation.json`, which docs/evaluation.md describes."""
        return {
            "schema_version": EVALUATION_VERSION,
            "bootstrap": {"method": "percentile bootstrap over patients", **asdict(self.bootstrap)},
            "prevalence": self.prevalence,
            "folds": self.folds,
            "main_level": self.main.level,
            "levels": {result.level: result.to_json() for result in self.levels},
            "roc": None if self.roc is None else asdict(self.roc),
            "precision_recall": self.precision_recall.to_json(),
            "histogram": asdict(self.histogram),
            "operating_points": None if self.operating_points is None else asdict(self.operating_points),
            "calibration": self.calibration.to_json(),
            "groups": [asdict(grouping) for grouping in self.groupings],
            "stability": asdict(self.stability),
        }


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationPlan:
    """What is to be measured: the sample of each level with its groupings; thresholds, or what they are chosen for."""

    samples: tuple[LevelSample, ...]
    groupings: tuple[tuple[Grouping, ...], ...]
    folds: str
    settings: EvaluationSettings
    targets: OperatingPointSettings
    operating_points: OperatingPoints | None
    remarks: tuple[str, ...]

    @property
    def n_replicates(self) -> int:
        """How many replicates the progress will hear of."""
        n_levels = len(self.samples) * (1 if self.settings.prevalence is None else 2)
        n_points = int(self.operating_points is None and self.samples[0].level == "breast")
        n_calibrations, n_others = 1 + len(METHODS), 2  # precision and recall, sampling distributions
        n_steps = n_levels + sum(1 for each in self.groupings if each) + n_points + n_calibrations + n_others
        return n_steps * self.settings.bootstrap.n_replicates


def plan_evaluation(
    scores: pl.DataFrame,
    settings: EvaluationSettings,
    *,
    facts: Sequence[pl.DataFrame] = (),
    operating_points: OperatingPoints | None = None,
) -> EvaluationPlan:
    """What can be measured on a table of scores, and by which groups.

    `facts` say more of images or breasts than the scores do, as a manifest, see `group_sample`. Operating points that
    are given are taken as they are, and with them their prevalence, where none is asked for. Where another one is, or
    the scores are of one fold, they are chosen anew for what these were chosen for.

    Raises:
        TableError: the table breaks the schema, is empty, a breast has two outcomes, or levels do not agree.
        UserInputError: the prevalence is not between 0 and 1, or a column to group by is nowhere, or has too many
            values.
    """
    if operating_points is not None and settings.prevalence is None:
        settings = replace(settings, prevalence=operating_points.prevalence)
    check_prevalence(settings.prevalence)
    samples = _sample_levels(scores, settings.rules)
    _check_columns(settings.columns, [samples[0].rows, *facts])
    folds = OF_THE_TABLE
    if samples[0].rows["fold"].is_null().any() or samples[0].rows["fold"].n_unique() < 2:  # noqa: PLR2004  # one fold has no others
        folds = DEALT
        samples[0] = _deal_folds(samples[0], settings.bootstrap)
    targets = _list_targets(operating_points, settings.prevalence)
    if operating_points is not None and (folds == DEALT or operating_points.prevalence != settings.prevalence):
        operating_points = None
    groupings = tuple(_group(sample, samples[0].level, [scores, *facts], settings.columns) for sample in samples)
    remarks = tell_ungrouped(samples[0], [scores, *facts], settings.columns)
    return EvaluationPlan(tuple(samples), groupings, folds, settings, targets, operating_points, remarks)


def evaluate(plan: EvaluationPlan, *, advance: Callable[[int], None] = lambda _: None) -> Evaluation:
    """The evaluation that was planned; equal settings give equal intervals. `advance` hears of each replicate."""
    settings, main = plan.settings, plan.samples[0]
    measured = [
        measure_level(sample, settings.bootstrap, prevalence=settings.prevalence, advance=advance)
        for sample in plan.samples
    ]
    points = plan.operating_points or _choose_points(main, plan.targets, settings.bootstrap, advance)
    calibration = report_calibration(
        main.scores,
        main.outcomes,
        patients=main.patients,
        folds=main.rows["fold"].to_numpy() if main.rows.height else None,
        settings=settings.bootstrap,
        prevalence=settings.prevalence,
        advance=advance,
    )
    stability = _measure_stability(main, settings, has_folds=plan.folds == OF_THE_TABLE, advance=advance)
    of_folds = None if stability.folds is None else stability.folds.remark
    return Evaluation(
        bootstrap=settings.bootstrap,
        prevalence=settings.prevalence,
        folds=plan.folds,
        levels=tuple(result for result, _ in measured),
        roc=measured[0][1],
        precision_recall=measure_precision_recall(
            main.scores,
            main.outcomes,
            patients=main.patients,
            settings=settings.bootstrap,
            prevalence=settings.prevalence,
            advance=advance,
        ),
        histogram=_count_scores(main),
        operating_points=points,
        calibration=calibration,
        groupings=_measure_groupings(plan, points, advance),
        stability=stability,
        remarks=plan.remarks if of_folds is None else (*plan.remarks, of_folds),
    )


def evaluate_scores(
    scores: pl.DataFrame, settings: EvaluationSettings | None = None, *, facts: Sequence[pl.DataFrame] = ()
) -> Evaluation:
    """The evaluation of a table of scores.

    Raises:
        TableError, UserInputError: as `plan_evaluation`.
    """
    return evaluate(plan_evaluation(scores, settings or EvaluationSettings(), facts=facts))


def _sample_levels(scores: pl.DataFrame, rules: LevelRules | None) -> list[LevelSample]:
    """The sample of each level that the table has, or that its rows add up to; the one that leads is the first."""
    found = set(scores["level"]) if "level" in scores.columns else set()
    if not found:
        raise TableError("scores: found no row, expected one for each image, breast or exam that was scored")
    below: dict[Level, set[str]] = {
        "breast": {"breast", "image"},
        "exam": {"exam", "breast", "image"},
        "image": {"image"},
    }
    return [sample_level(scores, level, rules) for level in _LEVELS if found & below[level]]


def _check_columns(columns: tuple[str, ...], tables: Sequence[pl.DataFrame]) -> None:
    known = {name for table in tables for name in table.columns}
    missing = [name for name in columns if name not in known and name not in COLUMNS]
    if missing:
        raise UserInputError(
            f"group by {', '.join(missing)}: no such column in the scores, nor in what is known of them; expected one "
            f"of {', '.join(sorted(known))}"
        )


def _deal_folds(sample: LevelSample, bootstrap: BootstrapSettings) -> LevelSample:
    """The sample with its patients dealt into parts that stand for folds."""
    if not sample.rows.height:
        return sample
    parts = part_patients(sample.outcomes, sample.patients, _N_PARTS, bootstrap.generator())
    return replace(sample, rows=sample.rows.with_columns(fold=pl.Series(parts, dtype=pl.Int64)))


def _group(
    sample: LevelSample, main: Level, facts: Sequence[pl.DataFrame], columns: tuple[str, ...]
) -> tuple[Grouping, ...]:
    """The groupings that are looked at on a level: a view on images, all else on the level that leads."""
    own = [column for column in columns if sample.level == (level_of(column) if level_of(column) == "image" else main)]
    return group_sample(sample, facts, own) if own and sample.rows.height else ()


def _list_targets(points: OperatingPoints | None, prevalence: float | None) -> OperatingPointSettings:
    """What these points were chosen for, or the usual, at a prevalence."""
    if points is None:
        return OperatingPointSettings(prevalence=prevalence)
    recall_rates, sensitivities, specificities = (
        tuple(each.wanted for each in points.points if each.wanted is not None and each.name.startswith(f"{kind}_"))
        for kind in ("recall_rate", "sensitivity", "specificity")
    )
    return OperatingPointSettings(
        recall_rates=recall_rates, sensitivities=sensitivities, specificities=specificities, prevalence=prevalence
    )


def _choose_points(
    main: LevelSample,
    targets: OperatingPointSettings,
    bootstrap: BootstrapSettings,
    advance: Callable[[int], None],
) -> OperatingPoints | None:
    if main.level != "breast":
        return None
    points = cross_fit(main.rows, targets, bootstrap, advance=advance)
    return replace(points, n_undetermined=main.n_undetermined)


def _measure_groupings(
    plan: EvaluationPlan, points: OperatingPoints | None, advance: Callable[[int], None]
) -> tuple[GroupingResult, ...]:
    """The groups of all levels, in the order of the columns; with calls at the points on the level that leads."""
    bootstrap, order = plan.settings.bootstrap, plan.settings.columns.index
    groupings: list[GroupingResult] = []
    for place, (sample, own) in enumerate(zip(plan.samples, plan.groupings, strict=True)):
        if own:
            calls = call_scores(sample, None if place else points)
            groupings += measure_groups(sample, own, calls, bootstrap, advance=advance)
    return tuple(sorted(groupings, key=lambda each: order(each.column)))


def _measure_stability(
    main: LevelSample, settings: EvaluationSettings, *, has_folds: bool, advance: Callable[[int], None]
) -> Stability:
    drawn = sampling_distributions(
        main.scores, main.outcomes, patients=main.patients, settings=settings.bootstrap, advance=advance
    )
    confidence = settings.bootstrap.confidence
    sizes = tuple(
        size_for_auc(
            main.scores,
            main.outcomes,
            patients=main.patients,
            width=width,
            confidence=confidence,
            prevalence=settings.prevalence,
        )
        for width in WIDTHS
    )
    return Stability(spread_over_folds(main, confidence=confidence) if has_folds else None, drawn, sizes)


def _count_scores(sample: LevelSample) -> ScoreHistogram:
    cases, controls = (
        np.histogram(sample.scores[kind], HISTOGRAM_EDGES)[0] for kind in (sample.outcomes, ~sample.outcomes)
    )
    return ScoreHistogram(tuple(HISTOGRAM_EDGES.tolist()), tuple(cases.tolist()), tuple(controls.tolist()))
