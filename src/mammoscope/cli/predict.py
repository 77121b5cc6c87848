"""`mammoscope predict`: the files of a folder to scores, with the networks of a run."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mammoscope.inference.predict import Prediction
    from mammoscope.learning.run import Run

_SENTENCES_SHOWN = 20


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of a training.")],
    images: Annotated[Path, typer.Argument(help="A folder of DICOM files, or one file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    table: Annotated[
        Path | None,
        typer.Option(help="The competition's test.csv: whose image is which, for <patient_id>/<image_id>.dcm."),
    ] = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Score every mammogram of a folder, and every breast from its views.

    Example: mammoscope predict run test_images --table test.csv -o submission
    """
    from mammoscope.inference.bundle import open_bundle
    from mammoscope.inference.predict import predict as predict_files
    from mammoscope.inference.reading import tasks_from_folder, tasks_from_table
    from mammoscope.inference.submission import make_submission
    from mammoscope.learning.scoring import choose_device
    from mammoscope.scaling import run_tasks

    bundle = open_bundle(run, choose_device())
    without_image = _share_of_cases(bundle.run)
    output.mkdir(parents=True, exist_ok=True)
    wanted = read_table(table, images) if table else None
    tasks = tasks_from_folder(images, bundle.prepare) if wanted is None else tasks_from_table(wanted, bundle.prepare)
    with progress_bar("predict", len(tasks)) as advance:
        prediction = predict_files(
            bundle, tasks, run_tasks=partial(run_tasks, n_workers=resolve_workers(workers)), advance=advance
        )
    submission, n_without = make_submission(prediction.breast_scores, wanted, without_image=without_image)
    facts: dict[str, object] = {
        "images_scored": prediction.image_scores.height,
        "images_refused": len(prediction.rejections),
        "breasts_scored": prediction.breast_scores.height,
        "breasts_without_image": n_without,
        **_count_gaps(prediction),
        "folds": ", ".join(str(fold) for fold in bundle.run.trained_folds),
        "scores": str(output / "scores.csv"),
        "submission": str(output / "submission.csv"),
    }
    _write(output, prediction, submission, facts)
    for rejection in prediction.rejections[:_SENTENCES_SHOWN]:
        warn(f"refused ({rejection.code}): {rejection.sentence}")
    _warn_of_gaps(prediction)
    print_summary("predicted", facts, as_json=as_json)


def _count_gaps(prediction: "Prediction") -> dict[str, int]:
    """How many images lacked a column that the networks are given, or had a value that is new to them."""
    counts = {f"images_without_{gap.column}": gap.n_missing for gap in prediction.gaps}
    counts |= {f"images_with_a_new_{gap.column}": gap.n_unseen for gap in prediction.gaps}
    return {name: count for name, count in counts.items() if count}


def _warn_of_gaps(prediction: "Prediction") -> None:
    n_images = prediction.image_scores.height
    for gap in prediction.gaps:
        if gap.n_missing:
            warn(f"{gap.column}: not known of {gap.n_missing} of {n_images} images, which the networks are told")
        if gap.n_unseen:
            warn(
                f"{gap.column}: {gap.n_unseen} of {n_images} images have a value that no training had, taken as unknown"
            )


def read_table(table: Path, images: Path) -> "pl.DataFrame":
    """The rows of the table with their paths; a file that is not there is refused later, as one that cannot be read."""
    import polars as pl

    from mammoscope.cohort.sources.rsna import find_images, read_rsna_table

    asked = read_rsna_table(table, with_outcomes=False).drop("path")
    found = find_images(asked, images, allow_missing=True).manifest.select("image_id", "path")
    expected = pl.format("{}/{}/{}.dcm", pl.lit(str(images)), "patient_id", "image_id")
    located = asked.join(found, on="image_id", how="left", maintain_order="left")
    return located.with_columns(pl.col("path").fill_null(expected))


def _write(output: Path, prediction: "Prediction", submission: "pl.DataFrame", facts: "Mapping[str, object]") -> None:
    from dataclasses import asdict

    import polars as pl

    from mammoscope.evaluation.scores import write_scores
    from mammoscope.files import replacing, write_json
    from mammoscope.inference.submission import write_submission

    scores = pl.concat([prediction.image_scores, prediction.breast_scores, prediction.exam_scores], how="diagonal")
    write_scores(scores, output / "scores.parquet")
    write_scores(scores, output / "scores.csv")
    write_submission(submission, output / "submission.csv")
    with replacing(output / "rejected.parquet") as beside:
        schema = {"image_id": pl.String, "path": pl.String, "code": pl.String, "sentence": pl.String}
        pl.DataFrame([asdict(rejection) for rejection in prediction.rejections], schema=schema).write_parquet(beside)
    write_json(output / "summary.json", facts)


def _share_of_cases(run: "Run") -> float:
    """The share of cases among the held-out breasts of a run: what is known of a breast without an image."""
    from mammoscope.evaluation.scores import list_breasts
    from mammoscope.learning.run import read_fold_scores

    cancer = list_breasts(read_fold_scores(run))["cancer"]
    return float(cancer.sum()) / len(cancer)
