"""`mammoscope predict`: files, folders or a prepared store to scores, with the networks of a run."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers, warn
from mammoscope.errors import UserInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mammoscope.inference.collect import Prediction
    from mammoscope.inference.pace import TimeLimit
    from mammoscope.inference.session import Finished

_SENTENCES_SHOWN = 20
_FLIPS_BY_TTA = {"none": "none", "flip": "horizontal"}
_FOR_PEOPLE = (
    "_hash",
    "schema_version",
    "prepare",
    "thresholds",
    "input",
    "table",
)  # not of the summary that is printed


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of a training, or a folder of its exported networks.")],
    images: Annotated[list[Path], typer.Argument(help="DICOM files, folders of them, or one prepared store.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    table: Annotated[
        Path | None,
        typer.Option(help="Whose image is which: the competition's test.csv, or a cohort (its folder or manifest)."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto: the GPU, if there is one.")
    ] = "auto",
    engine: Annotated[
        Literal["auto", "torch", "openvino"], typer.Option(help="What computes; auto: OpenVINO without a GPU.")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "f32", "bf16", "int8"], typer.Option(help="In what; auto: bf16 where it is faster and as good.")
    ] = "auto",
    tta: Annotated[
        Literal["none", "flip"] | None,
        typer.Option(help="Score pictures alone, or with their mirror images; else as the recipe of the run says."),
    ] = None,
    time_limit: Annotated[str | None, typer.Option(help="How long it may take, such as 9h or 90m.")] = None,
    when_late: Annotated[
        Literal["warn", "degrade", "stop"],
        typer.Option(help="When it will not fit: say so, use fewer networks where it matters least, or end in time."),
    ] = "warn",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a prediction that was stopped or killed.")
    ] = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Score every mammogram of a folder, and every breast from its views.

    Example: mammoscope predict run test_images --table test.csv -o submission
    """
    limit = _read_limit(time_limit, when_late)
    _check_output(output)

    from mammoscope.inference.engine import open_engine
    from mammoscope.inference.predict import warn_of_nothing
    from mammoscope.inference.range_check import NO_RANGE, check_range, read_range
    from mammoscope.inference.session import Options, Session, Surroundings

    training = read_range(run)
    opened = open_engine(run, device=device, engine=engine, precision=precision)
    for note in opened.notes:
        warn(note)
    place = None if training is None else training.find_place(opened.weights_by_fold)
    session = Session(
        engine=opened if tta is None else opened.look(_FLIPS_BY_TTA[tta]),
        folder=run,
        places=tuple(images),
        table=table,
        output=output,
        options=Options(n_workers=resolve_workers(workers), limit=limit, is_resumed=resume),
        around=Surroundings(progress=partial(progress_bar, "predict"), say=_tell),
        check_pictures=warn_of_nothing if training is None else partial(check_range, training, place=place),
    )
    finished = session.run()
    if finished.prediction is not None:
        _warn(finished, finished.prediction)
        if training is None:
            warn(NO_RANGE)
    is_told = as_json or finished.prediction is not None
    facts = finished.summary if as_json else _shorten(finished.summary)
    print_summary("predicted" if is_told else "Nothing to do: the prediction is finished", facts, as_json=as_json)


def _read_limit(time_limit: str | None, when_late: Literal["warn", "degrade", "stop"]) -> "TimeLimit | None":
    from mammoscope.inference.pace import TimeLimit, parse_duration

    if time_limit is None:
        if when_late != "warn":
            raise UserInputError(
                f"--when-late: found {when_late} without a limit, expected --time-limit too; give both"
            )
        return None
    return TimeLimit(parse_duration(time_limit), when_late)


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise FileExistsError(17, "File exists", str(output))


def _tell(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _shorten(summary: "Mapping[str, object]") -> dict[str, object]:
    return {key: value for key, value in summary.items() if not key.endswith(_FOR_PEOPLE)}


def _warn(finished: "Finished", prediction: "Prediction") -> None:
    for rejection in finished.refused[:_SENTENCES_SHOWN]:
        warn(f"refused ({rejection.code}): {rejection.sentence}")
    if finished.n_missing:
        warn(f"the table names {finished.n_missing} images that have no file; rejected.parquet lists them")
    if not finished.summary["is_complete"]:
        warn("time was up before all was scored; the same command with --resume goes on")
    n_images = prediction.image_scores.height
    if n_unlike := finished.summary["images_unlike_training"]:
        warn(f"{n_unlike} of {n_images} images are unlike those of training; the warnings of decisions.csv say how")
    for gap in prediction.gaps:
        if gap.n_missing:
            warn(f"{gap.column}: not known of {gap.n_missing} of {n_images} images, which the networks are told")
        if gap.n_unseen:
            warn(
                f"{gap.column}: {gap.n_unseen} of {n_images} images have a value that no training had, taken as unknown"
            )
