"""The report of a run: one HTML page that needs nothing else, from an evaluation, pictures and facts."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from mammoscope.anatomy import Laterality
from mammoscope.evaluation.bootstrap import BootstrapSettings, Interval
from mammoscope.evaluation.evaluation import GROUPINGS, Evaluation, SampleResult
from mammoscope.evaluation.figures import (
    draw_groups,
    draw_histories,
    draw_roc,
    draw_scores,
    draw_stability,
    name_of,
)
from mammoscope.evaluation.operating_points import CrossFittedPoint, OperatingPoints
from mammoscope.evaluation.pictures import Call, CallKind, Picture
from mammoscope.evaluation.run_folder import History
from mammoscope.pages.drawing import Figure
from mammoscope.pages.page import NO_BREAK_SPACE, Fact, capitalise, format_decimal, format_share, page_template

_SENTENCE_BY_KIND = {
    CallKind.FOUND: "Cases with the highest scores.",
    CallKind.MISSED: "Cases with the lowest scores.",
    CallKind.FALSE_ALARM: "Controls with the highest scores.",
    CallKind.PASSED: "Controls with the lowest scores.",
}
_TRAINING_CAPTIONS = {
    "loss": "Loss on the images trained on; a line for each fold that was held out.",
    "held-out": "AUC of the breasts of the fold that was held out from the training.",
    "rate": "The learning rate at the end of each epoch.",
}
_SIDE_BY_CODE = {Laterality.LEFT.value: "left", Laterality.RIGHT.value: "right"}
# what a run may say about itself on a page that is passed on: never where files lie, nor on whose machine
_PHANTOM = "phantom"
_FACT_GROUPS = ("versions",)
_FACT_NAMES = ("version", "commit", "seed", "hash", "backbone")


def render(  # noqa: PLR0913  # the parts of one page, all but the first by name
    evaluation: Evaluation,
    *,
    pictures: Sequence[Picture] = (),
    why_no_pictures: str = "No prepared images were at hand, so no pictures are shown.",
    facts: Sequence[Fact] = (),
    histories: Sequence[History] = (),
    sources: Sequence[str] = (),
    operating_points: OperatingPoints | None = None,
) -> str:
    """The page, as text; equal input gives equal text. `phantom` is the synthetic one of `sources`."""
    breast = evaluation.breast
    page = page_template("mammoscope.evaluation", "report.html.j2", name_of=name_of, title_of=_title_of).render(
        lead=_lead(evaluation),
        is_synthetic=set(sources) == {_PHANTOM},
        synthetic_part="Some of the images" if _PHANTOM in sources and set(sources) != {_PHANTOM} else "",
        breast=breast,
        image=evaluation.image,
        confidence=f"{evaluation.bootstrap.confidence:.0%}".replace("%", f"{NO_BREAK_SPACE}%"),
        n_replicates=evaluation.bootstrap.n_replicates,
        remarks=_remarks(evaluation),
        roc=None if evaluation.roc is None else draw_roc(evaluation.roc, breast),
        scores=draw_scores(evaluation.histogram),
        points=() if operating_points is None else operating_points.points,
        stability=_stability(operating_points),
        tables=[table for table in (_group_table(evaluation, name) for name in GROUPINGS) if table["groups"]],
        calls=_rows_of_calls(pictures),
        why_no_pictures=why_no_pictures,
        training=draw_histories(histories),
        captions=_TRAINING_CAPTIONS,
        facts=[*facts, *_bootstrap_facts(evaluation.bootstrap)],
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
    breast = evaluation.breast
    cases = f"{breast.n_cases:,} of them cases"
    undetermined = f" {breast.n_undetermined:,} more have no known outcome." if breast.n_undetermined else ""
    return f"{breast.n:,} breasts of {breast.n_patients:,} patients, {cases}.{undetermined}"


def _remarks(evaluation: Evaluation) -> list[str]:
    breast, point = evaluation.breast, evaluation.maximal_f1
    if breast.share_of_cases is None or breast.auc.value is None:
        return []
    share = breast.share_of_cases
    chance = (
        f"Average precision and pF1 depend on the share of cases, here {format_share(share)} of the breasts: scores "
        f"that know nothing would get an average precision of {share:.3f}, and calling every breast positive a pF1 of "
        f"{2 * share / (1 + share):.3f}."
    )
    remarks = [chance]
    if point is not None:
        remarks.append(
            f"The highest F1 is {point.f1:.3f}, at a score of {point.threshold:.3f} or more: "
            f"{point.true_positives:,} of {breast.n_cases:,} cases found, with {point.false_positives:,} "
            f"false {'alarm' if point.false_positives == 1 else 'alarms'}. "
            "The threshold was chosen on these very scores, so expect less on others."
        )
    interval = breast.auc.interval
    if interval is not None and interval.low == interval.high:
        remarks.append(
            "All replicates gave the same AUC, so the interval has no width. "
            "It says nothing about other patients; measure on more."
        )
    return remarks


def _group_table(evaluation: Evaluation, name: str) -> dict[str, object]:
    groups: Sequence[SampleResult] = evaluation.grouped_by(name)
    return {"name": name, "groups": groups, "figure": draw_groups(groups, evaluation.breast, name=name)}


def _stability(points: OperatingPoints | None) -> Figure | None:
    if points is None or points.curve is None:
        return None
    return draw_stability(points.curve, points.points[0].threshold.value)


def _title_of(point: CrossFittedPoint) -> str:
    if point.wanted is None:
        return "Highest F1"
    kind = point.name.rpartition("_")[0].replace("_", " ")
    return f"{capitalise(kind)} {100 * point.wanted:g}{NO_BREAK_SPACE}%"


def _rows_of_calls(pictures: Sequence[Picture]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for kind, sentence in _SENTENCE_BY_KIND.items():
        of_kind = [_picture_cell(picture) for picture in pictures if picture.call.kind is kind]
        if of_kind:
            rows.append({"title": capitalise(kind.value), "sentence": sentence, "pictures": of_kind})
    return rows


def _picture_cell(picture: Picture) -> dict[str, object]:
    call = picture.call
    return {
        "alias": call.alias,
        "score": call.breast_score,
        "projection": _projection(call),
        "base64": base64.b64encode(picture.jpeg).decode("ascii"),
        "alternative": f"Mammogram {call.alias}, {_projection(call)}: {call.kind.value}, "
        f"breast score {call.breast_score:.3f}, image score {call.image_score:.3f}",
    }


def _projection(call: Call) -> str:
    side = _SIDE_BY_CODE[call.laterality]
    return side if call.view is None else f"{side} {call.view}"


def _bootstrap_facts(settings: BootstrapSettings) -> list[Fact]:
    return [
        Fact("Intervals", "percentile bootstrap over patients"),
        Fact("Replicates", str(settings.n_replicates)),
        Fact("Bootstrap seed", str(settings.seed)),
    ]
