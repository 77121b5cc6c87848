"""The model card of a run: what it is for, what it was made and measured on, and where it ends (arXiv:1810.03993).

It is filled from what the run left. What a run cannot know is marked as a gap for its authors, and never invented.
"""

from collections.abc import Iterator

from mammoscope.evaluation.bootstrap import Estimate
from mammoscope.evaluation.calibration import Calibration
from mammoscope.evaluation.evaluation import SampleResult
from mammoscope.evaluation.operating_points import CrossFittedPoint
from mammoscope.evaluation.report import facts_of
from mammoscope.evaluation.run_evidence import FEW_CASES, RunEvidence, list_settings, markdown_template
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
    breast = evidence.evaluation.breast
    card = markdown_template("model_card.md.j2").render(
        is_synthetic=set(evidence.sources) == {_PHANTOM},
        sources=evidence.sources,
        facts=facts_of(evidence.environment),
        settings=tuple(list_settings(evidence.recipe)),
        preparation=tuple(list_settings(evidence.preparation)),
        cohort=evidence.cohort,
        folds=evidence.folds,
        flow=evidence.flow,
        breast=breast,
        image=evidence.evaluation.image,
        bootstrap=evidence.evaluation.bootstrap,
        confidence=f"{evidence.evaluation.bootstrap.confidence:.0%}".replace("%", " %"),
        points=() if evidence.operating_points is None else tuple(_rows_of(evidence.operating_points.points)),
        groups=[_group_row(group) for group in evidence.groups],
        few_cases=FEW_CASES,
        n_small_groups=sum(is_small(group) for group in evidence.groups),
        calibration=None if evidence.calibration is None else _calibration_rows(evidence.calibration),
        limits=tuple(list_limits(evidence)),
    )
    return card.strip() + "\n"


def is_small(group: SampleResult) -> bool:
    """Whether a group has too few cases for its figures to say much."""
    return group.n_cases < FEW_CASES


def list_limits(evidence: RunEvidence) -> Iterator[str]:
    """The limits that follow from the run itself, a sentence each."""
    breast, folds = evidence.evaluation.breast, evidence.folds
    if set(evidence.sources) == {_PHANTOM}:
        yield "All images are synthetic: no figure here says anything about real mammograms."
    yield (
        "The figures are of "
        + ("folds that the network that scored them was not trained on, " if folds else "the scores of this run, ")
        + "of the same cohort: internal testing. Elsewhere expect less; no external cohort is part of this run."
    )
    if breast.n_cases < _FEW_CASES_IN_ALL:
        yield f"There are {breast.n_cases:,} cases: read the intervals, not the figures."
    share = breast.share_of_cases
    if share is not None and share > _HIGHEST_SHARE_OF_SCREENING:
        yield (
            f"The share of cases, {format_share(share)} of the breasts, is higher than in screening: average "
            "precision, pF1 and predictive values are lower there."
        )
    if breast.n_undetermined:
        yield f"{breast.n_undetermined:,} breasts have no known outcome and are in no figure."
    small = [group for group in evidence.groups if is_small(group)]
    if small:
        yield (
            f"{len(small)} of {len(evidence.groups)} groups have fewer than {FEW_CASES} cases: their figures may be "
            "far off in either direction."
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


def _group_row(group: SampleResult) -> dict[str, object]:
    return {
        "column": group.grouped_by,
        "name": "not recorded" if group.group is None else group.group,
        "result": group,
        "mark": f"fewer than {FEW_CASES} cases" if is_small(group) else "",
    }


def _calibration_rows(calibration: Calibration) -> tuple[tuple[str, Estimate], ...]:
    return tuple((name.replace("_", " "), getattr(calibration, name)) for name in _CALIBRATION)
