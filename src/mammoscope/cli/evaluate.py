"""`mammoscope evaluate`: scores and outcomes, of a run or of anybody, to figures with intervals, and a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar, warn
from mammoscope.errors import ConfigError, RunError, StoreError, TableError, UserInputError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.evaluation import Evaluation, EvaluationPlan
    from mammoscope.evaluation.localisation import JudgedMarks, Localisation
    from mammoscope.evaluation.multireader import Readers
    from mammoscope.evaluation.pictures import Call, Picture
    from mammoscope.evaluation.readers_on_roc import ReadersOnRoc
    from mammoscope.evaluation.report import NamedComparison, Surroundings
    from mammoscope.evaluation.run_evidence import RunEvidence
    from mammoscope.evaluation.run_folder import Run
    from mammoscope.evaluation.subject import Subject
    from mammoscope.imaging.store import PreparedStore


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="The folder of a run, with scores.parquet in it.", show_default=False)
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="In place of a run: a table of scores, CSV, Parquet or JSON lines.")
    ] = None,
    compare: Annotated[
        list[Path] | None, typer.Option("--compare", help="Another table of scores of the same; any number of times.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="The outcomes: a cohort, or a table with ids and cancer.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option("--cohort", help="The cohort of a run, for groups; else the one that the run names.")
    ] = None,
    score_column: Annotated[
        list[str] | None, typer.Option("--score-column", help="A column of scores; the first leads, others compare.")
    ] = None,
    reader: Annotated[
        list[str] | None, typer.Option("--reader", help="A column of a reader's ratings; any number of times.")
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", help="The range of a column of ratings: reader_1=1:5")
    ] = None,
    cut: Annotated[
        float | None, typer.Option("--cut", help="The share of their scale at which readers recall: 0.5")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="One more column to group by; any number of times.")
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence", help="The share of cases where the scores are to be used, as 0.005; else the recipe's."
        ),
    ] = None,
    marks: Annotated[Path | None, typer.Option("--marks", help="A table of marks, for FROC; needs --lesions.")] = None,
    lesions: Annotated[Path | None, typer.Option("--lesions", help="A table of the true lesions' boxes.")] = None,
    exclude_unmatched: Annotated[
        bool, typer.Option("--exclude-unmatched", help="Leave out scores that the truth does not know.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write; else the run, or ./evaluation.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="The prepared store, for pictures; else the one that the run names."),
    ] = None,
    replicates: Annotated[int, typer.Option("--replicates", min=100, help="Replicates of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure scores: discrimination, operating points, calibration and groups, each with intervals over patients.

    Writes evaluation.json, report.html, model-card.md and claim.md.

    Example: mammoscope evaluate runs/first

    Example: mammoscope evaluate --scores theirs.csv --truth cohort --prevalence 0.005 -o evidence
    """
    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.evaluation import EvaluationSettings, plan_evaluation
    from mammoscope.evaluation.evaluation import evaluate as evaluate_plan
    from mammoscope.evaluation.given_scores import GivenSettings
    from mammoscope.evaluation.grouping import COLUMNS
    from mammoscope.evaluation.subject import add_others, read_run_subject, read_scores_subject

    _check_options(marks, lesions, cut=cut, output=output)
    readers = reader or []
    given = GivenSettings(
        score_columns=tuple(score_column or ()),
        scales=_parse_scales(scale or []),
        groups=tuple(by or ()),
        exclude_unmatched=exclude_unmatched,
    )
    if run is not None and scores is None:
        subject = read_run_subject(run, cohort)
    elif scores is not None and run is None:
        subject = read_scores_subject(scores, truth=truth, settings=given, readers=readers)
    else:
        raise UserInputError("evaluate: expected the folder of a run or --scores FILE, and not both; give one")
    subject = add_others(subject, compare or [], truth=truth, settings=given, readers=readers)
    bootstrap = BootstrapSettings(n_replicates=replicates, seed=seed)
    columns = tuple(dict.fromkeys((*COLUMNS, *(by or ()))))
    settings = EvaluationSettings(bootstrap, prevalence=prevalence, columns=columns)
    plan = plan_evaluation(subject.scores, settings, facts=subject.facts, operating_points=subject.operating_points)
    judged, told = (None, ()) if marks is None or lesions is None else _judge(marks, lesions, subject)
    n_steps = sum(not other.is_reader for other in subject.others.values()) + bool(readers) + (marks is not None)
    with progress_bar("bootstrap", total=plan.n_replicates + n_steps * replicates) as advance:
        evaluation = evaluate_plan(plan, advance=advance)
        comparisons = _compare(subject, plan, bootstrap, advance)
        placed = _place_readers(subject, plan, cut, bootstrap, advance)
        found = None if judged is None else _localise(judged, bootstrap, advance)
    folder = output or run or Path("evaluation")
    store = store or _recorded_store(subject)
    around = _surround(subject, store, comparisons, readers=placed, localisation=found)
    around = replace(around, remarks=(*evaluation.remarks, *subject.remarks, *told))
    _write(folder, _gather(subject, evaluation, around, store=store), around)
    for remark in around.remarks:
        warn(remark)
    _print(evaluation, report=folder / "report.html", as_json=as_json)


def _check_options(marks: Path | None, lesions: Path | None, *, cut: float | None, output: Path | None) -> None:
    """Refuse, before anything is computed, what cannot be had."""
    if (marks is None) != (lesions is None):
        raise UserInputError("evaluate: found one of --marks and --lesions, expected both; give the other too")
    if cut is not None and not 0 < cut <= 1:
        raise UserInputError(
            f"--cut: found {cut:g}, expected a share of the readers' scale above 0 and up to 1, as 0.5"
        )
    if output is not None and output.exists() and not output.is_dir():
        raise UserInputError(f"--output {output}: found a file, expected a folder; choose another name")


def _parse_scales(assignments: Sequence[str]) -> dict[str, tuple[float, float]]:
    scales = {}
    for assignment in assignments:
        name, _, ends = assignment.partition("=")
        low, _, high = ends.partition(":")
        try:
            scales[name] = (float(low), float(high))
        except ValueError as error:
            raise UserInputError(
                f"--scale: found {assignment!r}, expected a column and its lowest and highest rating, as reader_1=1:5"
            ) from error
    return scales


def _compare(
    subject: "Subject", plan: "EvaluationPlan", bootstrap: "BootstrapSettings", advance: Callable[[int], None]
) -> "tuple[NamedComparison, ...]":
    """The subject's scores against those of all others that are no readers'."""
    from mammoscope.evaluation.levels import sample_level
    from mammoscope.evaluation.pairing import compare_samples
    from mammoscope.evaluation.report import NamedComparison

    main = plan.samples[0]
    return tuple(
        NamedComparison(
            subject.name, name, compare_samples(main, sample_level(other.table, main.level), bootstrap, advance=advance)
        )
        for name, other in subject.others.items()
        if not other.is_reader
    )


def _place_readers(
    subject: "Subject",
    plan: "EvaluationPlan",
    cut: float | None,
    bootstrap: "BootstrapSettings",
    advance: Callable[[int], None],
) -> "ReadersOnRoc | None":
    """The readers on the ROC with the subject's scores beside them; one reader stands for herself."""
    from mammoscope.evaluation.reader_study import cross_readers
    from mammoscope.evaluation.readers_on_roc import place_readers
    from mammoscope.evaluation.subject import sample_readers

    samples = sample_readers(subject, plan.samples[0].level)
    if not samples:
        return None
    study = cross_readers(samples, model=plan.samples[0])
    kind: Readers = "random" if len(samples) > 1 else "fixed"
    return place_readers(study, settings=bootstrap, cut=cut, readers=kind, advance=advance)


def _judge(marks: Path, lesions: Path, subject: "Subject") -> "tuple[JudgedMarks, tuple[str, ...]]":
    """Marks and lesions in images of a known outcome, and the sentence that says how many are in others."""
    from mammoscope.evaluation.levels import sample_level
    from mammoscope.evaluation.localisation import judge_marks
    from mammoscope.evaluation.marks import read_lesions, read_marks

    if "image" not in subject.scores["level"]:
        raise UserInputError("--marks: found no scores of images, expected some, because marks lie in images; add them")
    images = sample_level(subject.scores, "image").rows
    rows = subject.scores.filter(subject.scores["level"] == "image")
    unknown = set(rows.filter(rows["cancer"].is_null())["image_id"])
    all_marks, all_lesions = read_marks(marks), read_lesions(lesions)
    known_marks = [mark for mark in all_marks if mark.image_id not in unknown]
    known_lesions = [lesion for lesion in all_lesions if lesion.image_id not in unknown]
    judged = judge_marks(known_marks, known_lesions, images)
    n_out = len(all_marks) - len(known_marks), len(all_lesions) - len(known_lesions)
    sentence = (
        f"marks: {n_out[0]:,} of {len(all_marks):,} marks and {n_out[1]:,} of {len(all_lesions):,} lesions are left "
        "out, whose images have no known outcome"
    )
    return judged, (sentence,) if any(n_out) else ()


def _localise(judged: "JudgedMarks", bootstrap: "BootstrapSettings", advance: Callable[[int], None]) -> "Localisation":
    from mammoscope.evaluation.localisation import measure_localisation

    return measure_localisation(judged, settings=bootstrap, advance=advance)


def _recorded_store(subject: "Subject") -> Path | None:
    """The store that a run names, where it still stands there."""
    environment = None if subject.run is None else subject.run.environment
    recorded = (environment or {}).get("store")
    return Path(recorded) if isinstance(recorded, str) and Path(recorded).is_dir() else None


def _surround(
    subject: "Subject",
    store: Path | None,
    comparisons: "tuple[NamedComparison, ...]",
    *,
    readers: "ReadersOnRoc | None",
    localisation: "Localisation | None",
) -> "Surroundings":
    """What stands on the page beside the figures."""
    from mammoscope.evaluation.report import Surroundings, facts_of

    beside = Surroundings(name=subject.name, comparisons=comparisons, readers=readers, localisation=localisation)
    if subject.run is None:
        return beside
    pictures, why_no_pictures = _pictures(subject.run, store, _manifest(subject))
    environment = subject.run.environment
    return replace(
        beside,
        pictures=pictures,
        why_no_pictures=why_no_pictures,
        facts=facts_of(environment),
        histories=subject.run.histories,
        sources=(environment or {}).get("sources", ()),
        is_best_epoch=(environment or {}).get("keep") == "best",
    )


def _manifest(subject: "Subject") -> "pl.DataFrame | None":
    """The manifest of the cohort, where it is one and at hand."""
    from mammoscope.cohort.manifest import SCHEMA

    return next((table for table in subject.facts if set(SCHEMA) <= set(table.columns)), None)


def _pictures(content: "Run", store: Path | None, manifest: "pl.DataFrame | None") -> "tuple[tuple[Picture, ...], str]":
    """The pictures of the most telling calls, or the sentence that says why there are none."""
    from mammoscope.evaluation.pictures import choose_calls, draw_pictures
    from mammoscope.imaging.store import open_store

    if store is None:
        return (), "The prepared store of the run was not at hand, so no pictures are shown; name it with --store."
    recorded = (content.environment or {}).get("store")
    calls = choose_calls(content.scores)
    try:
        prepared = open_store(store)
        painted = _paint(content.path, calls, prepared, manifest)
        pictures = draw_pictures(calls, prepared, painted)
    except (StoreError, ConfigError) as error:
        if str(store) != recorded:
            raise
        warn(f"no pictures: {error}")
        return (), "The prepared store of the run cannot be read, so no pictures are shown; name another with --store."
    return pictures, "The prepared store holds none of the images to show, so no pictures are shown."


def _paint(
    run: Path, calls: "Sequence[Call]", store: "PreparedStore", manifest: "pl.DataFrame | None"
) -> "Mapping[str, NDArray[np.uint8]]":
    """The pictures with heat over them, of a run whose networks are there and have a map."""
    for package in ("torch", "timm"):
        if find_spec(package) is None:
            warn(f"no heat maps: the package {package} is not installed; install it with `uv pip install {package}`")
            return {}
    from mammoscope.inference.call_heats import paint_calls

    try:
        painted = paint_calls(run, calls, store, manifest)
    except (ConfigError, RunError, TableError) as error:
        warn(f"no heat maps: {error}")
        return {}
    held = set(store.image_ids)
    n_without = sum(call.image_id in held and call.image_id not in painted for call in calls)
    if n_without:
        warn(f"no heat maps of {n_without} pictures: the run has no network of the fold that they were held out in")
    return painted


def _gather(
    subject: "Subject", evaluation: "Evaluation", around: "Surroundings", *, store: Path | None
) -> "RunEvidence":
    """All that is at hand of a run, or of scores alone."""
    from mammoscope.evaluation.data_flow import read_data_flow
    from mammoscope.evaluation.run_evidence import RunEvidence, describe_cohort, describe_folds

    manifest = _manifest(subject)
    beside = RunEvidence(
        evaluation=evaluation,
        cohort=None if manifest is None else describe_cohort(manifest),
        comparisons=tuple(around.comparisons),
        readers=around.readers,
        has_pictures=bool(around.pictures),
        has_heat_maps=any(picture.heat_jpeg for picture in around.pictures),
    )
    if subject.run is None:
        return beside
    texts = {name: subject.run.path / f"{name}.toml" for name in ("recipe", "prepare")}
    recipe, preparation = (path.read_text("utf-8") if path.is_file() else None for path in texts.values())
    read = partial(
        read_data_flow,
        subject.run.scores,
        cohort=None if manifest is None else subject.cohort,
        environment=subject.run.environment,
    )
    try:
        flow = read(store=store)
    except (StoreError, ConfigError):  # which was told where its pictures are missed
        flow = read(store=None)
    return replace(
        beside,
        environment=subject.run.environment,
        recipe=recipe,
        preparation=preparation,
        folds=describe_folds(subject.run.scores),
        flow=flow,
    )


def _write(folder: Path, evidence: "RunEvidence", around: "Surroundings") -> None:
    from mammoscope.evaluation import claim, model_card
    from mammoscope.evaluation.report import render
    from mammoscope.files import write_json, write_text

    parts = {"readers": around.readers, "localisation": around.localisation, "data_flow": evidence.flow}
    content = {
        **evidence.evaluation.to_json(),
        "comparisons": [asdict(each) for each in around.comparisons],
        **{name: None if part is None else part.to_json() for name, part in parts.items()},
        "remarks": list(around.remarks),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "evaluation.json", content)
    write_text(folder / "report.html", render(evidence.evaluation, replace(around, flow=evidence.flow)))
    write_text(folder / model_card.FILE_NAME, model_card.render_model_card(evidence))
    write_text(folder / claim.FILE_NAME, claim.render_claim(evidence))


def _print(evaluation: "Evaluation", *, report: Path, as_json: bool) -> None:
    from mammoscope.evaluation.report import format_estimate

    main = evaluation.main
    if as_json:
        facts: dict[str, object] = {level.level: level.to_json() for level in evaluation.levels}
        print_summary("evaluate", facts | {"report": report}, as_json=True)
        return
    estimates = {
        "AUC": main.auc,
        "partial AUC": main.partial_auc,
        "average precision": main.average_precision,
        "pF1": main.pf1,
    }
    figures = {
        f"{main.level} {name}": format_estimate(each.value, each.interval, each.reason)
        for name, each in estimates.items()
    }
    print_summary(
        "evaluated",
        {f"{main.level}s": f"{main.n:,}", "cases": f"{main.n_cases:,}", **figures, "report": report},
        as_json=False,
    )
