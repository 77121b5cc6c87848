"""`mammoscope evaluate`: scores and outcomes, of a run or of anybody, to figures with intervals, and a report."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar, warn
from mammoscope.errors import StoreError, UserInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.evaluation import Evaluation, EvaluationPlan
    from mammoscope.evaluation.given_scores import GivenScores, GivenSettings
    from mammoscope.evaluation.operating_points import OperatingPoints
    from mammoscope.evaluation.pictures import Picture
    from mammoscope.evaluation.report import NamedComparison, Surroundings
    from mammoscope.evaluation.run_folder import Run


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is evaluated: scores, what is known beside them, and what else stands in their table."""

    name: str
    scores: "pl.DataFrame"
    facts: "tuple[pl.DataFrame, ...]"
    points: "OperatingPoints | None"
    others: "Mapping[str, pl.DataFrame]"
    remarks: tuple[str, ...]
    run: "Run | None"


def evaluate(  # the options of the command
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
    scale: Annotated[
        list[str] | None, typer.Option("--scale", help="The range of a column of ratings: reader_1=1:5")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="One more column to group by; any number of times.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option("--prevalence", help="The share of cases where the scores are to be used: 0.005")
    ] = None,
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

    Writes evaluation.json and report.html.

    Example: mammoscope evaluate runs/first

    Example: mammoscope evaluate --scores theirs.csv --truth cohort --prevalence 0.005 -o evidence
    """
    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.evaluation import EvaluationSettings, plan_evaluation
    from mammoscope.evaluation.evaluation import evaluate as evaluate_plan
    from mammoscope.evaluation.given_scores import GivenSettings
    from mammoscope.evaluation.grouping import COLUMNS
    from mammoscope.evaluation.report import render
    from mammoscope.files import write_json, write_text

    if (run is None) == (scores is None):
        raise UserInputError("evaluate: expected the folder of a run or --scores FILE, and not both; give one")
    given = GivenSettings(
        score_columns=tuple(score_column or ()),
        scales=_parse_scales(scale or []),
        exclude_unmatched=exclude_unmatched,
    )
    bootstrap = BootstrapSettings(n_replicates=replicates, seed=seed)
    settings = EvaluationSettings(
        bootstrap, prevalence=prevalence, columns=tuple(dict.fromkeys((*COLUMNS, *(by or ()))))
    )
    subject = _open_run(run, cohort) if run is not None else _open_scores(_given(scores), truth, given)
    plan = plan_evaluation(subject.scores, settings, facts=subject.facts, operating_points=subject.points)
    others = dict(subject.others) | _read_others(compare or [], truth, subject, given)
    total = plan.n_replicates + len(others) * replicates
    with progress_bar("bootstrap", total=total) as advance:
        evaluation = evaluate_plan(plan, advance=advance)
        comparisons = _compare(subject, others, plan, bootstrap, advance)
    around = _surround(subject, store, comparisons)
    folder = output or run or Path("evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    content = evaluation.to_json() | {
        "comparisons": [asdict(each) for each in comparisons],
        "remarks": list(subject.remarks),
    }
    write_json(folder / "evaluation.json", content)
    write_text(folder / "report.html", render(evaluation, around))
    for remark in subject.remarks:
        warn(remark)
    _print(evaluation, report=folder / "report.html", as_json=as_json)


def _given(scores: Path | None) -> Path:
    if scores is None:  # which was refused before
        raise UserInputError("evaluate: expected --scores FILE")
    return scores


def _parse_scales(assignments: "Sequence[str]") -> dict[str, tuple[float, float]]:
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


def _open_run(folder: Path, cohort: Path | None) -> _Subject:
    """The scores of a run, with its cohort where that is at hand."""
    from mammoscope.cohort.manifest import manifest_path
    from mammoscope.evaluation.facts import read_facts
    from mammoscope.evaluation.operating_points import FILE_NAME, read_operating_points
    from mammoscope.evaluation.run_folder import read_run

    content = read_run(folder)
    points = read_operating_points(folder / FILE_NAME) if (folder / FILE_NAME).is_file() else None
    recorded = (content.environment or {}).get("cohort")
    if cohort is None and isinstance(recorded, str) and manifest_path(Path(recorded)).is_file():
        cohort = Path(recorded)
    facts = () if cohort is None else (read_facts(cohort),)
    remarks = () if facts else ("groups: the cohort of the run is not at hand; name it with --cohort",)
    return _Subject("a run", content.scores, facts, points, {}, remarks, content)


def _open_scores(path: Path, truth: Path | None, settings: "GivenSettings") -> _Subject:
    """The scores of a table of anybody: its first column leads, and the others are compared with it."""
    from mammoscope.evaluation.facts import read_facts
    from mammoscope.evaluation.given_scores import read_given_scores
    from mammoscope.evaluation.truth import read_truth

    given = read_given_scores(path, truth=None if truth is None else read_truth(truth), settings=settings)
    tables = _name_tables(path, given)
    (name, table), *others = tables.items()
    facts = [read_facts(each) for each in (truth, path) if each is not None]
    return _Subject(name, table, tuple(facts), None, dict(others), given.remarks, None)


def _name_tables(path: Path, given: "GivenScores") -> "dict[str, pl.DataFrame]":
    """The tables by what people call them: the file's name, with the column's where there are several."""
    return {
        path.stem if len(given.tables) == 1 else f"{path.stem}, {column}": table
        for column, table in given.tables.items()
    }


def _read_others(
    paths: "Sequence[Path]", truth: Path | None, subject: _Subject, settings: "GivenSettings"
) -> "dict[str, pl.DataFrame]":
    """The scores to compare with; outcomes that their tables lack are those of the truth, or else of the subject."""
    from dataclasses import replace

    from mammoscope.evaluation.facts import truth_of_scores
    from mammoscope.evaluation.given_scores import read_given_scores
    from mammoscope.evaluation.truth import read_truth

    known = truth_of_scores(subject.scores, subject.name) if truth is None else read_truth(truth)
    others: dict[str, pl.DataFrame] = {}
    for path in paths:
        given = read_given_scores(path, truth=known, settings=replace(settings, score_columns=()))
        for name, table in _name_tables(path, given).items():
            if name in others or name == subject.name:
                raise UserInputError(f"--compare {path}: found two tables called {name}; rename one of the files")
            others[name] = table
    return others


def _compare(
    subject: _Subject,
    others: "Mapping[str, pl.DataFrame]",
    plan: "EvaluationPlan",
    bootstrap: "BootstrapSettings",
    advance: "Callable[[int], None]",
) -> "tuple[NamedComparison, ...]":
    from mammoscope.evaluation.levels import sample_level
    from mammoscope.evaluation.pairing import compare_samples
    from mammoscope.evaluation.report import NamedComparison

    main = plan.samples[0]
    return tuple(
        NamedComparison(
            subject.name, name, compare_samples(main, sample_level(table, main.level), bootstrap, advance=advance)
        )
        for name, table in others.items()
    )


def _surround(subject: _Subject, store: Path | None, comparisons: "tuple[NamedComparison, ...]") -> "Surroundings":
    """What stands on the page beside the figures."""
    from mammoscope.evaluation.report import Surroundings, facts_of

    if subject.run is None:
        return Surroundings(name=subject.name, comparisons=comparisons, remarks=subject.remarks)
    pictures, why_no_pictures = _pictures(subject.run, store)
    environment = subject.run.environment
    return Surroundings(
        pictures=pictures,
        why_no_pictures=why_no_pictures,
        facts=facts_of(environment),
        histories=subject.run.histories,
        sources=(environment or {}).get("sources", ()),
        comparisons=comparisons,
    )


def _pictures(content: "Run", store: Path | None) -> "tuple[tuple[Picture, ...], str]":
    """The pictures of the most telling calls, or the sentence that says why there are none."""
    from mammoscope.evaluation.pictures import choose_calls, draw_pictures
    from mammoscope.imaging.store import open_store

    recorded = None if content.environment is None else content.environment.get("store")
    if store is None and not (isinstance(recorded, str) and Path(recorded).is_dir()):
        return (), "The prepared store of the run was not at hand, so no pictures are shown; name it with --store."
    try:
        pictures = draw_pictures(choose_calls(content.scores), open_store(store or Path(str(recorded))))
    except StoreError as error:
        if store is not None:
            raise
        warn(f"no pictures: {error}")
        return (), "The prepared store of the run cannot be read, so no pictures are shown; name another with --store."
    return pictures, "The prepared store holds none of the images to show, so no pictures are shown."


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
