"""The CLAIM checklist of a run, or of scores alone: which items these can answer; the rest is left to the authors.

CLAIM asks 44 things of a study of artificial intelligence in imaging (Tejani et al. 2024, Radiology: Artificial
Intelligence, doi:10.1148/ryai.240300). Numbers and order are those of its 2024 update, the wording is ours.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mammoscope.evaluation.claim_items import ITEMS, QUESTIONS, ClaimItem
from mammoscope.evaluation.evidence_sentences import (
    format_percent,
    list_comparisons,
    name_levels,
    name_point,
    name_share,
    tell_outside,
)
from mammoscope.evaluation.model_card import list_limits
from mammoscope.evaluation.run_evidence import (
    RunEvidence,
    markdown_template,
    name_counts,
    name_missing,
    tell_estimate,
)
from mammoscope.pages.page import format_share

FILE_NAME = "claim.md"
Answer = Callable[[RunEvidence], str | None]


class Status(StrEnum):
    """Who has answered an item."""

    FROM_THE_RUN = "from the run"
    IN_PART = "in part"
    GAP = "to be filled by the authors"


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """An item with what the run says to it; None where it says nothing."""

    item: ClaimItem
    status: Status
    answer: str | None


def fill_claim(evidence: RunEvidence) -> tuple[ClaimAnswer, ...]:
    """All items in their order, those answered that the run can answer."""
    answered = []
    for item in ITEMS:
        status, find = _ANSWER_BY_NUMBER.get(item.number, (Status.GAP, _nothing))
        answer = find(evidence)
        answered.append(ClaimAnswer(item, status if answer else Status.GAP, answer or None))
    return tuple(answered)


def render_claim(evidence: RunEvidence) -> str:
    """The filled checklist, as Markdown; equal input gives equal text."""
    answers = fill_claim(evidence)
    labels = {status: status.value for status in Status}
    if not evidence.is_of_run:
        labels[Status.FROM_THE_RUN] = "from the scores"
    text = markdown_template("claim.md.j2").render(
        is_of_run=evidence.is_of_run,
        sections=tuple(answers_by_section(answers)),
        labels=labels,
        n_by_status={label: sum(each.status is status for each in answers) for status, label in labels.items()},
        n=len(answers),
    )
    return text.strip() + "\n"


def _nothing(evidence: RunEvidence) -> str | None:  # noqa: ARG001  # one signature for all items
    return None


def _setting(evidence: RunEvidence, *paths: str) -> str | None:
    """The settings of the recipe that begin with one of the paths."""
    named = [f"{path} = {value}" for path, value in evidence.settings.items() if path.startswith(paths)]
    return "; ".join(named) or None


def _kind_of_model(evidence: RunEvidence) -> str | None:
    backbone = evidence.settings.get("backbone.name") or (evidence.environment or {}).get("backbone")
    return None if backbone is None else f"A deep network, {backbone}, that scores mammograms"


def _sources(evidence: RunEvidence) -> str | None:
    return f"Sources: {', '.join(evidence.sources)}" if evidence.sources else None


def _left_out(evidence: RunEvidence) -> str | None:
    flow = evidence.flow
    if flow is None:
        return None
    lost = [f"{loss.n_images:,} {loss.reason}" for step in flow.steps for loss in step.lost]
    return f"Images left out: {', '.join(lost)}" if lost else "No image was left out"


def _preprocessing(evidence: RunEvidence) -> str | None:
    if evidence.preparation is None:
        return None
    settings = RunEvidence(evaluation=evidence.evaluation, recipe=evidence.preparation).settings
    return "; ".join(f"{path} = {value}" for path, value in settings.items()) or None


def _subsets(evidence: RunEvidence) -> str | None:
    return _setting(evidence, "sampling", "level", "picture.")


def _missing(evidence: RunEvidence) -> str | None:
    if evidence.cohort is None:
        return None
    missing = name_missing(evidence.cohort)
    told = f"Not recorded, {missing}. " if missing else ""
    return told + f"{evidence.cohort.n_undetermined:,} breasts without a known outcome are in no figure"


def _machines(evidence: RunEvidence) -> str | None:
    if evidence.cohort is None:
        return None
    counts = evidence.cohort.counts
    told = [f"{name} (breasts) {name_counts(counts[name])}" for name in ("manufacturer", "machine") if name in counts]
    return "; ".join([*told, f"views (images) {name_counts(counts['view'])}"])


def _standard(evidence: RunEvidence) -> str | None:
    main = evidence.evaluation.main
    return f"The outcome is that of the {main.level}: {main.n_cases:,} of {main.n:,} with cancer" if main.n else None


def _partitions(evidence: RunEvidence) -> str | None:
    folds = [f"{fold.name}: {fold.n_breasts:,} breasts, {fold.n_cases:,} cases" for fold in evidence.folds]
    return f"Folds that were scored, each by a network trained on others: {'; '.join(folds)}" if folds else None


def _level_of_partitions(evidence: RunEvidence) -> str | None:
    return "By patient: a table with a patient in two folds is refused" if evidence.folds else None


def _size(evidence: RunEvidence) -> str | None:
    main = evidence.evaluation.main
    interval = main.auc.interval
    if interval is None:
        return None
    width = interval.high - interval.low
    known = "No number was fixed by the run" if evidence.is_of_run else "The scores do not tell how"
    return f"{known}; {main.n_cases:,} cases give the AUC an interval {width:.3f} wide"


def _model(evidence: RunEvidence) -> str | None:
    return _setting(evidence, "backbone.name", "backbone.options", "views.", "head.", "level")


def _software(evidence: RunEvidence) -> str | None:
    versions = (evidence.environment or {}).get("versions")
    return ", ".join(f"{name} {version}" for name, version in versions.items()) if versions else None


def _start(evidence: RunEvidence) -> str | None:
    return _setting(evidence, "backbone.weights")


def _training(evidence: RunEvidence) -> str | None:
    if not evidence.settings:
        return None
    named = _setting(evidence, "epochs", "seed", "sampling", "loss", "optimizer", "schedule", "augment", "batch")
    return f"All settings are in recipe.toml of the run: {named}"


def _selection(evidence: RunEvidence) -> str | None:
    return _setting(evidence, "keep", "epochs", "ema")


def _ensemble(evidence: RunEvidence) -> str | None:
    if not evidence.folds:
        return None
    return "No breast is scored by more than one network here; its score is combined from its images"


def _figures(evidence: RunEvidence) -> str | None:
    evaluation = evidence.evaluation
    told = (
        "AUC (does not depend on the share of cases), average precision and probabilistic F1 (do), for "
        f"{name_levels(evaluation)}"
    )
    if evaluation.prevalence is not None:
        told += f", the latter two also at a prevalence of {format_percent(evaluation.prevalence)}"
    points = evaluation.operating_points
    if points is None:
        return told
    share = name_share(points)
    return f"{told}; sensitivity, specificity and PPV (at {share}) at thresholds chosen on other folds"


def _uncertainty(evidence: RunEvidence) -> str | None:
    settings = evidence.evaluation.bootstrap
    tests = ["differences of AUC are tested, two-sided, by DeLong over patients"] if evidence.comparisons else []
    if evidence.readers is not None:
        tests.append("the scores' means above readers are tested against 0, two-sided")
    tested = "; ".join(tests) or "nothing is tested here"
    return (
        f"{format_percent(settings.confidence)} percentile intervals of a bootstrap over patients with "
        f"{settings.n_replicates:,} replicates, seed {settings.seed}; {tested}"
    )


def _robustness(evidence: RunEvidence) -> str | None:
    columns = [grouping.column for grouping in evidence.evaluation.groupings]
    return f"Figures by {', '.join(columns)}; nothing was perturbed" if columns else None


def _internal(evidence: RunEvidence) -> str | None:
    return "Yes: on folds that were held out from the training" if evidence.folds else None


def _numbers(evidence: RunEvidence) -> str | None:
    if evidence.flow is None:
        return None
    steps = [step for step in evidence.flow.steps if step.n_images is not None]
    return "Images " + ", ".join(f"{step.name} {step.n_images:,}" for step in steps)


def _patients(evidence: RunEvidence) -> str | None:
    cohort = evidence.cohort
    if cohort is None:
        return None
    told = [f"{cohort.n_patients:,} patients", f"{cohort.n_breasts:,} breasts", f"{cohort.n_cases:,} with cancer"]
    if cohort.age_years is not None:
        told.append("median age {1:.0f}, 5 to 95 % {0:.0f} to {2:.0f} years".format(*cohort.age_years))
    told += [f"density {name_counts(cohort.counts['density'])}"] if "density" in cohort.counts else []
    return "; ".join(told) + ". Not by part"


def _performance(evidence: RunEvidence) -> str | None:
    main = evidence.evaluation.main
    n_groups = sum(len(grouping.groups) for grouping in evidence.evaluation.groupings)
    return f"AUC of {main.level}s {tell_estimate(main.auc)}; {n_groups} groups in model-card.md and report.html"


def _all_figures(evidence: RunEvidence) -> str | None:
    evaluation = evidence.evaluation
    main, points = evaluation.main, evaluation.operating_points
    at = "" if main.share_of_cases is None else f" at {format_share(main.share_of_cases)} cases"
    estimates = {"AUC": main.auc, f"average precision{at}": main.average_precision, f"pF1{at}": main.pf1}
    if points is not None and points.points:
        point = points.points[0]
        estimates |= {f"sensitivity at {name_point(point)}": point.sensitivity, "specificity there": point.specificity}
    told = [f"{name} {tell_estimate(each)}" for name, each in estimates.items()]
    outside = tell_outside(points)
    return ". ".join(["; ".join(told), *list_comparisons(evidence), *([outside] if outside else [])])


def _failures(evidence: RunEvidence) -> str | None:
    of_run = evidence.evaluation.operating_points
    points = () if of_run is None else of_run.points
    counted = next((point for point in points if point.counts is not None), None)
    if counted is None or counted.counts is None:
        return None
    counts = counted.counts
    told = (
        f"At {name_point(counted)}: {counts.true_positives:,} cases found, {counts.false_negatives:,} missed, "
        f"{counts.false_positives:,} false alarms, {counts.true_negatives:,} rightly passed"
    )
    return f"{told}. The hardest cases and controls are shown in report.html" if evidence.has_pictures else told


def _explanation(evidence: RunEvidence) -> str | None:
    if not evidence.has_heat_maps:
        return None
    return (
        "By heat maps (HiResCAM) of the most telling calls in report.html, each by the network of the fold that its "
        "picture was held out in; whether they point at lesions is told by FROC and the pointing game, where lesions "
        "are marked"
    )


def _limits(evidence: RunEvidence) -> str | None:
    return " ".join(list_limits(evidence))


def _protocol(evidence: RunEvidence) -> str | None:
    return "recipe.toml, prepare.toml and environment.json of the run" if evidence.settings else None


def _availability(evidence: RunEvidence) -> str | None:
    commit = (evidence.environment or {}).get("commit")
    return f"Software: mammoscope, commit {commit}" if commit else None


_ANSWER_BY_NUMBER: Mapping[int, tuple[Status, Answer]] = {
    1: (Status.IN_PART, _kind_of_model),
    7: (Status.IN_PART, _sources),
    8: (Status.IN_PART, _left_out),
    9: (Status.FROM_THE_RUN, _preprocessing),
    10: (Status.IN_PART, _subsets),
    12: (Status.IN_PART, _missing),
    13: (Status.IN_PART, _machines),
    14: (Status.IN_PART, _standard),
    19: (Status.FROM_THE_RUN, _partitions),
    20: (Status.FROM_THE_RUN, _level_of_partitions),
    21: (Status.IN_PART, _size),
    22: (Status.FROM_THE_RUN, _model),
    23: (Status.FROM_THE_RUN, _software),
    24: (Status.FROM_THE_RUN, _start),
    25: (Status.FROM_THE_RUN, _training),
    26: (Status.FROM_THE_RUN, _selection),
    27: (Status.FROM_THE_RUN, _ensemble),
    28: (Status.FROM_THE_RUN, _figures),
    29: (Status.FROM_THE_RUN, _uncertainty),
    30: (Status.IN_PART, _robustness),
    31: (Status.IN_PART, _explanation),
    32: (Status.FROM_THE_RUN, _internal),
    35: (Status.FROM_THE_RUN, _numbers),
    36: (Status.IN_PART, _patients),
    37: (Status.FROM_THE_RUN, _performance),
    38: (Status.FROM_THE_RUN, _all_figures),
    39: (Status.IN_PART, _failures),
    40: (Status.IN_PART, _limits),
    42: (Status.IN_PART, _protocol),
    43: (Status.IN_PART, _availability),
}


def answers_by_section(answers: tuple[ClaimAnswer, ...]) -> Iterator[tuple[str, tuple[ClaimAnswer, ...]]]:
    """The answers of each section, in order."""
    for section in QUESTIONS:
        yield section, tuple(answer for answer in answers if answer.item.section == section)
