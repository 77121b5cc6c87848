"""The model card of a run: what it is for, what it was made and measured on, and where it ends (arXiv:1810.03993).

It is filled from what the run left. What a run cannot know is marked as a gap for its authors, and never invented.
"""

from collections.abc import Iterator

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.calibration import Calibration
from mammoscope.evaluation.operating_points import CrossFittedPoint
from mammoscope.evaluation.report import facts_of
from mammoscope.evaluation.run_evidence import RunEvidence, list_settings, markdown_template
from mammoscope.evaluation.subgroups import FEW, GroupingResult
from mammoscope.pages.page import format_share

FILE_NAME = "model-card.md"
_PHANTOM = "phantom"
# in screening 5 to 7 of 1,000 exams show cancer (BCSC, PMC5375631; PRAIM): a share far above is an enriched set
_HIGHEST_SHARE_OF_SCREENING = 0.01
# an AUC of 0.8 has an interval 0.06 wide then, however many controls there are (doi:10.1148/radiology.143.1.7063747)
_FEW_CASES_IN_ALL = 100
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
        facts=facts_of(evidence.environment),
        settings=tuple(list_settings(evidence.recipe)),
        preparation=tuple(list_settings(evidence.preparation)),
        cohort=evidence.cohort,
        folds=evidence.folds,
        flow=evidence.flow,
        levels=evaluation.levels,
        bootstrap=evaluation.bootstrap,
        confidence=f"{evaluation.bootstrap.confidence:.0%}".replace("%", " %"),
        points=() if points is None else tuple(_rows_of(points.points)),
        groups=groups,
        few=FEW,
        n_small_groups=sum(bool(row["mark"]) for row in groups),
        calibration=_calibration_rows(evaluation.calibration.before),
        limits=tuple(list_limits(evidence)),
    )
    return card.strip() + "\n"


def list_limits(evidence: RunEvidence) -> Iterator[str]:
    """The limits that follow from the run itself, a sentence each."""
    main, folds = evidence.evaluation.main, evidence.folds
    if set(evidence.sources) == {_PHANTOM}:
        yield "All images are synthetic: no figure here says anything about real mammograms."
    yield (
        "The figures are of "
        + ("folds that the network that scored them was not trained on, " if folds else "the scores of this run, ")
        + "of the same cohort: internal testing. Elsewhere expect less; no external cohort is part of this run."
    )
    if main.n_cases < _FEW_CASES_IN_ALL:
        yield f"There are {main.n_cases:,} cases: read the intervals, not the figures."
    share = main.share_of_cases
    if share is not None and share > _HIGHEST_SHARE_OF_SCREENING:
        yield (
            f"The share of cases, {format_share(share)} of the {main.level}s, is higher than in screening: average "
            "precision, pF1 and predictive values are lower there."
        )
    if main.n_undetermined:
        yield f"{main.n_undetermined:,} {main.level}s have no known outcome and are in no figure."
    groups = [group for grouping in evidence.evaluation.groupings for group in grouping.groups]
    n_small = sum(group.is_small for group in groups)
    if n_small:
        yield (
            f"{n_small} of {len(groups)} groups have fewer than {FEW} cases or controls: their figures may be far off "
            "in either direction."
        )
    yield from _tell_missing(evidence)


def _tell_missing(evidence: RunEvidence) -> Iterator[str]:
    if evidence.cohort is None:
        return
    n = evidence.cohort.n_breasts
    missing = {name: count for name, count in evidence.cohort.n_missing.items() if count}
    if missing:
        named = ", ".join(f"{name.replace('_', ' ')} of {count:,}" for name, count in missing.items())
        yield f"Not recorded, of {n:,} breasts: {named}. Groups by these are groups of those that have them."
    yield "Race and ethnicity are not recorded: whether the model does equally well by them is not known."


def _rows_of(points: tuple[CrossFittedPoint, ...]) -> Iterator[tuple[str, Estimate, Estimate, Estimate, Estimate]]:
    for point in points:
        yield point.chosen_for, point.threshold, point.sensitivity, point.specificity, point.ppv


def _group_rows(grouping: GroupingResult) -> Iterator[dict[str, object]]:
    for group in grouping.groups:
        mark = f"fewer than {FEW} cases or controls" if group.is_small else ""
        yield {"column": grouping.column, "level": grouping.level, "result": group, "mark": mark}


def _calibration_rows(calibration: Calibration) -> tuple[tuple[str, Estimate], ...]:
    return tuple((name.replace("_", " "), getattr(calibration, name)) for name in _CALIBRATION)
