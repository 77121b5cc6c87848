"""The model card of a run: what it is for, what it was made and measured on, and where it ends (arXiv:1810.03993).

It is filled from what the run left, or from scores alone. What these cannot know is marked as a gap,
and never invented.
"""

from collections.abc import Iterator

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.calibration import Calibration
from mammoscope.evaluation.evaluation import Evaluation
from mammoscope.evaluation.evidence_sentences import format_percent, list_comparisons, name_share, tell_outside
from mammoscope.evaluation.operating_points import CrossFittedPoint
from mammoscope.evaluation.report import facts_of
from mammoscope.evaluation.run_evidence import GAP, RunEvidence, list_settings, markdown_template, name_missing
from mammoscope.evaluation.subgroups import FEW, GroupingResult
from mammoscope.pages.page import Fact, format_share

FILE_NAME = "model-card.md"
_PHANTOM = "phantom"
# in screening 5 to 7 of 1,000 exams show cancer (BCSC, PMC5375631; PRAIM): a share far above is an enriched set
_HIGHEST_SHARE_OF_SCREENING = 0.01
# an AUC of 0.8 has an interval 0.06 wide then, however many controls there are (doi:10.1148/radiology.143.1.7063747)
_FEW_CASES_IN_ALL = 100
_NO_RUN = Fact("Environment", "not at hand: a table of scores, without the run that made them")
_OUTCOME_OF_PARTED = {"all": "", "cases": " (cases of each, against all controls)", "controls": " (all cases)"}
_CALIBRATION = (
    "observed_to_expected",
    "calibration_in_the_large",
    "calibration_slope",
    "expected_calibration_error",
    "brier",
)


def render_model_card(evidence: RunEvidence) -> str:
    """The card, as Markdown; equal input gives equal text."""
    evaluation = evidence.evaluation
    points = evaluation.operating_points
    groups = [row for grouping in evaluation.groupings for row in _group_rows(grouping)]
    card = markdown_template("model_card.md.j2").render(
        is_synthetic=set(evidence.sources) == {_PHANTOM},
        sources=evidence.sources,
        is_of_run=evidence.is_of_run,
        facts=facts_of(evidence.environment) if evidence.is_of_run else (_NO_RUN,),
        settings=tuple(list_settings(evidence.recipe)),
        preparation=tuple(list_settings(evidence.preparation)),
        cohort=evidence.cohort,
        folds=evidence.folds,
        flow=evidence.flow,
        levels=evaluation.levels,
        prevalence=None if evaluation.prevalence is None else format_percent(evaluation.prevalence),
        folds_of_points=evaluation.folds,
        bootstrap=evaluation.bootstrap,
        confidence=f"{evaluation.bootstrap.confidence:.0%}".replace("%", " %"),
        points=() if points is None else tuple(_rows_of(points.points)),
        share_of_points="" if points is None else name_share(points),
        outside=tell_outside(points),
        comparisons=tuple(list_comparisons(evidence)),
        groups=groups,
        few=FEW,
        n_small_groups=sum(bool(row["mark"]) for row in groups),
        calibration=_calibration_rows(evaluation.calibration.before),
        limits=tuple(list_limits(evidence)),
    )
    return card.strip() + "\n"


def list_limits(evidence: RunEvidence) -> Iterator[str]:
    """The limits that follow from the run itself, a sentence each."""
    main = evidence.evaluation.main
    if set(evidence.sources) == {_PHANTOM}:
        yield "All images are synthetic: no figure here says anything about real mammograms."
    yield _tell_testing(evidence)
    if main.n_cases < _FEW_CASES_IN_ALL:
        yield f"There are {main.n_cases:,} cases: read the intervals, not the figures."
    yield from _tell_share(evidence.evaluation)
    if main.n_undetermined:
        yield f"{main.n_undetermined:,} {main.level}s have no known outcome and are in no figure."
    yield from _tell_small(evidence.evaluation)
    yield from _tell_missing(evidence)


def _tell_testing(evidence: RunEvidence) -> str:
    if evidence.folds:
        return (
            "The figures are of folds that the network that scored them was not trained on, of the same cohort: "
            "internal testing. Elsewhere expect less; no external cohort is part of this run."
        )
    known = (
        "The scores of the run name no folds"
        if evidence.is_of_run
        else "All that is known is a table of scores and outcomes, not the model nor what it was trained on"
    )
    return (
        f"{known}: whether the model had seen these patients, and whether this is internal or external testing: {GAP}."
    )


def _tell_share(evaluation: Evaluation) -> Iterator[str]:
    main = evaluation.main
    share = main.share_of_cases
    if share is None:
        return
    if evaluation.prevalence is not None:
        yield (
            f"PPV, calibration and what names it stand at a prevalence of {format_percent(evaluation.prevalence)}"
            ", which is taken to be known: do not correct them again. They hold where cases and controls were each "
            "sampled without regard to their scores. Average precision and pF1 that name no prevalence stand at the "
            f"share of cases in the sample, {format_share(share)} of the {main.level}s."
        )
    elif share > _HIGHEST_SHARE_OF_SCREENING:
        yield (
            f"The share of cases, {format_share(share)} of the {main.level}s, is higher than in screening: average "
            "precision, pF1 and predictive values are lower there."
        )


def _tell_small(evaluation: Evaluation) -> Iterator[str]:
    groups = [group for grouping in evaluation.groupings for group in grouping.groups]
    n_small = sum(group.is_small for group in groups)
    if n_small:
        yield (
            f"{n_small} of {len(groups)} groups have fewer than {FEW} cases or controls: their figures may be far off "
            "in either direction."
        )


def _tell_missing(evidence: RunEvidence) -> Iterator[str]:
    if evidence.cohort is None:
        return
    missing = name_missing(evidence.cohort)
    if missing:
        yield f"Not recorded, {missing}. Groups by these are groups of those that have them."
    yield "Race and ethnicity are not recorded: whether the model does equally well by them is not known."


def _rows_of(points: tuple[CrossFittedPoint, ...]) -> Iterator[tuple[str, Estimate, Estimate, Estimate, Estimate]]:
    for point in points:
        yield point.chosen_for, point.threshold, point.sensitivity, point.specificity, point.ppv


def _group_rows(grouping: GroupingResult) -> Iterator[dict[str, object]]:
    for group in grouping.groups:
        mark = f"fewer than {FEW} cases or controls" if group.is_small else ""
        of = f"{grouping.level}s{_OUTCOME_OF_PARTED[grouping.splits]}"
        yield {"column": grouping.column, "of": of, "result": group, "mark": mark}


def _calibration_rows(calibration: Calibration) -> tuple[tuple[str, Estimate], ...]:
    return tuple((name.replace("_", " "), getattr(calibration, name)) for name in _CALIBRATION)
