"""The report of an evaluation: one HTML page that needs nothing else, from figures, pictures and facts."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mammoscope.anatomy import Laterality
from mammoscope.evaluation.bootstrap import BootstrapSettings, Interval
from mammoscope.evaluation.data_flow import DataFlow
from mammoscope.evaluation.delong import DeLongEstimate
from mammoscope.evaluation.evaluation import Evaluation
from mammoscope.evaluation.evidence_figures import (
    draw_calibration,
    draw_flow,
    draw_froc,
    draw_precision_recall,
    draw_readers,
)
from mammoscope.evaluation.figures import (
    draw_groups,
    draw_histories,
    draw_roc,
    draw_scores,
    draw_stability,
    title_of,
)
from mammoscope.evaluation.localisation import Localisation
from mammoscope.evaluation.operating_points import CrossFittedPoint, OperatingPoints
from mammoscope.evaluation.pairing import SampleComparison
from mammoscope.evaluation.pictures import Call, CallKind, Picture
from mammoscope.evaluation.readers_on_roc import ReadersOnRoc
from mammoscope.evaluation.run_folder import History
from mammoscope.evaluation.subgroups import GroupingResult, GroupResult
from mammoscope.pages.drawing import Figure
from mammoscope.pages.page import NO_BREAK_SPACE, Fact, capitalise, format_decimal, format_share, page_template

_SENTENCE_BY_KIND = {
    CallKind.EASY_CASE: "Cases with the highest scores.",
    CallKind.HARD_CASE: "Cases with the lowest scores: missed by every threshold above them.",
    CallKind.HARD_CONTROL: "Controls with the highest scores: false alarms of every threshold below them.",
    CallKind.EASY_CONTROL: "Controls with the lowest scores.",
}
_LEAST_SHOWN = 0.0005  # of a score that three decimals can show
_TRAINING_CAPTIONS = {
    "loss": "Loss on the images trained on; a line for each fold that was held out.",
    "held-out": "AUC of the breasts of the fold that was held out from the training.",
    "rate": "The learning rate at the end of each epoch.",
}
_SIDE_BY_CODE = {Laterality.LEFT.value: "left", Laterality.RIGHT.value: "right"}
# what a run may say about itself on a page that is passed on: never where files lie, nor on whose machine
_PHANTOM = "phantom"
_FACT_GROUPS = ("versions",)
_FACT_NAMES = ("version", "commit", "seed", "hash", "backbone", "keep")
_BEST_EPOCH = (
    "The weights are those of the epoch with the best figures on the very breasts that are judged here (keep = best), "
    "so that all figures are somewhat too good."
)
_CALLS_SHOWN = ("specificity_90",)  # in the tables of groups; all are in evaluation.json
_OUTCOME_OF_PARTED = {"all": "", "cases": " (cases of each, against all controls)", "controls": " (all cases)"}


@dataclass(frozen=True, slots=True)
class NamedComparison:
    """What was compared with what."""

    first: str
    second: str
    result: SampleComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What stands on the page beside the evaluation; `phantom` is the synthetic one of `sources`."""

    name: str = "a run"
    pictures: Sequence[Picture] = ()
    why_no_pictures: str = "No prepared images were at hand, so no pictures are shown."
    facts: Sequence[Fact] = ()
    histories: Sequence[History] = ()
    sources: Sequence[str] = ()
    comparisons: Sequence[NamedComparison] = ()
    remarks: Sequence[str] = ()
    readers: ReadersOnRoc | None = None
    localisation: Localisation | None = None
    flow: DataFlow | None = None
    is_best_epoch: bool = False


def render(evaluation: Evaluation, around: Surroundings | None = None) -> str:
    """The page, as text; equal input gives equal text."""
    around = around or Surroundings()
    main = evaluation.main
    points = evaluation.operating_points
    page = page_template("mammoscope.evaluation", "report.html.j2", title_of=_title_of_point, p_value=_format_p).render(
        name=around.name,
        lead=_lead(evaluation),
        is_synthetic=set(around.sources) == {_PHANTOM},
        synthetic_part="Some of the images" if _PHANTOM in around.sources and len(set(around.sources)) > 1 else "",
        main=main,
        levels=evaluation.levels,
        confidence=f"{evaluation.bootstrap.confidence:.0%}".replace("%", f"{NO_BREAK_SPACE}%"),
        n_replicates=evaluation.bootstrap.n_replicates,
        prevalence=evaluation.prevalence,
        folds=evaluation.folds,
        remarks=[*_remarks(evaluation), *([_BEST_EPOCH] if around.is_best_epoch else []), *around.remarks],
        readers=around.readers,
        localisation=around.localisation,
        flow=around.flow,
        roc=None if evaluation.roc is None else draw_roc(evaluation.roc, main),
        scores=draw_scores(evaluation.histogram, main),
        precision_recall=draw_precision_recall(evaluation.precision_recall),
        reliability=_draw_reliability(evaluation),
        froc=None if around.localisation is None else draw_froc(around.localisation),
        readers_figure=None if around.readers is None else draw_readers(around.readers),
        flow_figure=None if around.flow is None else draw_flow(around.flow),
        stability_of_figures=evaluation.stability,
        points=() if points is None else points.points,
        stability=_stability(points),
        calibration=evaluation.calibration,
        groupings=[_group_table(grouping, evaluation) for grouping in evaluation.groupings],
        comparisons=around.comparisons,
        calls=_rows_of_calls(around.pictures),
        why_no_pictures=around.why_no_pictures,
        has_heat=any(picture.heat_jpeg for picture in around.pictures),
        training=draw_histories(around.histories),
        captions=_TRAINING_CAPTIONS,
        facts=[*around.facts, *_bootstrap_facts(evaluation.bootstrap)],
    )
    return page.strip() + "\n"


def facts_of(environment: Mapping[str, Any] | None) -> tuple[Fact, ...]:
    """What `environment.json` says about versions, commit, seeds and hashes; places and paths are left out."""
    if environment is None:
        return (Fact("Environment", "not recorded: the run has no environment.json"),)
    flat: dict[str, object] = {}
    for key, value in environment.items():
        if isinstance(value, Mapping) and key in _FACT_GROUPS:
            flat |= {f"{inner} {key.removesuffix('es').removesuffix('s')}": text for inner, text in value.items()}
        elif key != "schema_version" and any(word in _FACT_NAMES for word in key.split("_")):
            flat[key.replace("_", " ")] = value
    return tuple(Fact(capitalise(name), str(value)) for name, value in flat.items() if _may_be_shown(value))


def format_estimate(value: float | None, interval: Interval | None, reason: str | None) -> str:
    """A figure for a line of text: `0.929 (0.896 to 0.957)`, or why there is none."""
    if value is None:
        return str(reason)
    return (
        format_decimal(value)
        if interval is None
        else f"{format_decimal(value)} ({interval.low:.3f} to {interval.high:.3f})"
    )


def _may_be_shown(value: object) -> bool:
    return isinstance(value, str | int | float) and not any(mark in str(value) for mark in "/\\@")


def _lead(evaluation: Evaluation) -> str:
    main = evaluation.main
    cases = f"{main.n_cases:,} of them cases"
    undetermined = f" {main.n_undetermined:,} more have no known outcome." if main.n_undetermined else ""
    return f"{main.n:,} {main.level}s of {main.n_patients:,} patients, {cases}.{undetermined}"


def _remarks(evaluation: Evaluation) -> list[str]:
    main = evaluation.main
    if main.share_of_cases is None or main.auc.value is None:
        return []
    share = main.share_of_cases
    of_chance = (
        f"Average precision, F1 and pF1 depend on the share of cases, here {format_share(share)} of the "
        f"{main.level}s: {_tell_chance(main.level, share)}. The highest F1 is that of a threshold chosen on these very "
        "scores, so expect less on others."
    )
    at_prevalence = evaluation.prevalence
    further = [] if at_prevalence is None else [f"At the prevalence {_tell_chance(main.level, at_prevalence)}."]
    return [of_chance, *further, *_remark_on_intervals(main.auc.interval, main.auc_delong)]


def _tell_chance(level: str, share: float) -> str:
    return (
        f"scores that know nothing would get an average precision of {share:.3f}, and calling every {level} positive "
        f"a pF1 of {2 * share / (1 + share):.3f}"
    )


def _remark_on_intervals(interval: Interval | None, delong: DeLongEstimate) -> list[str]:
    if interval is None:
        return []
    if interval.low == interval.high:
        return [
            (
                "All replicates gave the same AUC, so the interval has no width. "
                "It says nothing about other patients; measure on more."
            )
        ]
    if delong.low is None or delong.high is None:
        return []
    by_delong = f"The AUC's interval by DeLong, over patients too, is {delong.low:.3f} to {delong.high:.3f}."
    return [f"{by_delong} Where the two differ much, there are too few cases for either."]


def _group_table(grouping: GroupingResult, evaluation: Evaluation) -> dict[str, object]:
    overall = evaluation.at(grouping.level) or evaluation.main
    return {
        "title": title_of(grouping) + _OUTCOME_OF_PARTED[grouping.splits],
        "level": grouping.level,
        "groups": [_group_row(group) for group in grouping.groups],
        "points": [name for name in _CALLS_SHOWN if any(call.point == name for call in grouping.groups[0].calls)],
        "gap": grouping.gap,
        "has_small": any(group.is_small for group in grouping.groups),
        "figure": draw_groups(grouping, overall),
    }


def _group_row(group: GroupResult) -> dict[str, object]:
    shown = {call.point: call for call in group.calls if call.point in _CALLS_SHOWN}
    return {"result": group, "calls": shown}


def _draw_reliability(evaluation: Evaluation) -> Sequence[Figure]:
    """The reliability curve of the scores as they are, and after the recalibration with the least calibration error."""
    report = evaluation.calibration
    mapped = [each.after for each in report.recalibrations if each.after is not None]
    best = [each for each in mapped if each.expected_calibration_error.value is not None]
    best = sorted(best, key=lambda each: each.expected_calibration_error.value or 0.0)[:1]
    drawn = [draw_calibration(each) for each in (report.before, *best)]
    return [
        replace(figure, name=name, svg=figure.svg.replace(f"{figure.name}-", f"{name}-"))
        for figure, name in zip(drawn, ("calibration", "recalibrated"), strict=False)
        if figure is not None
    ]


def _stability(points: OperatingPoints | None) -> Figure | None:
    if points is None or points.curve is None:
        return None
    return draw_stability(points.curve, points.points[0].threshold.value)


def _title_of_point(point: CrossFittedPoint | str) -> str:
    name = point if isinstance(point, str) else point.name
    if name == "maximal_f1":
        return "Highest F1"
    kind, _, wanted = name.rpartition("_")
    text = wanted if isinstance(point, str) or point.wanted is None else f"{100 * point.wanted:g}"
    return f"{capitalise(kind.replace('_', ' '))} {text}{NO_BREAK_SPACE}%"


def _format_p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p {p_value:.3f}"  # noqa: PLR2004  # as it is printed everywhere


def _rows_of_calls(pictures: Sequence[Picture]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for kind, sentence in _SENTENCE_BY_KIND.items():
        of_kind = [_picture_cell(picture) for picture in pictures if picture.call.kind is kind]
        if of_kind:
            rows.append({"title": capitalise(kind.value), "sentence": sentence, "pictures": of_kind})
    return rows


def _picture_cell(picture: Picture) -> dict[str, object]:
    call = picture.call
    named = f"{call.alias}, {_projection(call)}"
    scores = f"breast score {call.breast_score:.3f}, image score {call.image_score:.3f}"
    shown = [(picture.jpeg, f"Mammogram {named}: {call.kind.value}, {scores}")]
    if picture.heat_jpeg is not None:
        shown.append((picture.heat_jpeg, f"Heat map of {named}: where its network found what speaks for cancer"))
    return {
        "alias": call.alias,
        "score": format_decimal(call.breast_score) if call.breast_score >= _LEAST_SHOWN else "< 0.001",
        "projection": _projection(call),
        "shown": [{"base64": base64.b64encode(jpeg).decode("ascii"), "alternative": text} for jpeg, text in shown],
    }


def _projection(call: Call) -> str:
    side = _SIDE_BY_CODE[call.laterality]
    return side if call.view is None else f"{side} {call.view}"


def _bootstrap_facts(settings: BootstrapSettings) -> list[Fact]:
    return [
        Fact("Intervals", "bootstrap over patients"),
        Fact("Replicates", str(settings.n_replicates)),
        Fact("Bootstrap seed", str(settings.seed)),
    ]
