"""`mammoscope evaluate`: scores and outcomes of a run to figures with intervals, and a report."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar, warn
from mammoscope.errors import StoreError

if TYPE_CHECKING:
    from mammoscope.evaluation.evaluation import Evaluation
    from mammoscope.evaluation.pictures import Picture
    from mammoscope.evaluation.run_folder import Run


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run, with scores.parquet in it.", show_default=False)],
    store: Annotated[
        Path | None,
        typer.Option("--store", help="The prepared store, for pictures; else the one that the run names."),
    ] = None,
    replicates: Annotated[int, typer.Option("--replicates", min=100, help="Replicates of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a run: AUC, average precision and pF1 with intervals over patients, and a report.

    Writes evaluation.json and report.html into the folder of the run.

    Example: mammoscope evaluate runs/first
    """
    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.evaluation import evaluate_samples, split_into_samples
    from mammoscope.evaluation.operating_points import FILE_NAME, read_operating_points
    from mammoscope.evaluation.report import facts_of, render
    from mammoscope.evaluation.run_folder import read_run
    from mammoscope.files import write_json, write_text

    settings = BootstrapSettings(n_replicates=replicates, seed=seed)
    content = read_run(run)
    samples = split_into_samples(content.scores)
    with progress_bar("bootstrap", total=len(samples) * replicates) as advance:
        evaluation = evaluate_samples(samples, settings, advance=advance)
    pictures, why_no_pictures = _pictures(content, store)
    points = read_operating_points(run / FILE_NAME) if (run / FILE_NAME).is_file() else None
    page = render(
        evaluation,
        pictures=pictures,
        why_no_pictures=why_no_pictures,
        facts=facts_of(content.environment),
        histories=content.histories,
        sources=(content.environment or {}).get("sources", ()),
        operating_points=points,
    )
    chosen = None if points is None else [asdict(point) for point in points.points]
    write_json(run / "evaluation.json", evaluation.to_json() | {"operating_points": chosen})
    write_text(run / "report.html", page)
    _print(evaluation, report=run / "report.html", as_json=as_json)


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

    breast = evaluation.breast
    if as_json:
        facts: dict[str, object] = {"breast": breast.to_json(), "image": evaluation.image.to_json(), "report": report}
        print_summary("evaluate", facts, as_json=True)
        return
    estimates = {"AUC": breast.auc, "average precision": breast.average_precision, "pF1": breast.pf1}
    figures = {
        f"breast {name}": format_estimate(each.value, each.interval, each.reason) for name, each in estimates.items()
    }
    print_summary(
        "evaluated",
        {"breasts": f"{breast.n:,}", "cases": f"{breast.n_cases:,}", **figures, "report": report},
        as_json=False,
    )
