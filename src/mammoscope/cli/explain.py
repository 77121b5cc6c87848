"""`mammoscope explain`: where the networks of a run look, as heat maps over the mammograms and as a table of peaks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers, warn
from mammoscope.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mammoscope.inference.explain import ExplainedFiles
    from mammoscope.inference.explained import ExplainedImage
    from mammoscope.inference.heat_pictures import ExamDrawing

_SENTENCES_SHOWN = 3


def explain(
    run: Annotated[Path, typer.Argument(help="The run folder of a training.")],
    images: Annotated[list[Path], typer.Argument(help="DICOM files, folders of them, or one prepared store.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    table: Annotated[
        Path | None,
        typer.Option(help="Whose image is which: the competition's test.csv, or a cohort (its folder or manifest)."),
    ] = None,
    peaks: Annotated[int, typer.Option(min=1, max=50, help="The most peaks of an image.")] = 5,
    maps: Annotated[bool, typer.Option("--maps", help="Write the heat maps as numbers too, as .npz files.")] = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto: the GPU, if there is one.")
    ] = "auto",
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show where the networks look: a heat map over every mammogram, the views of an exam side by side, and the peaks.

    A heat map shows what moved the score. It does not outline a tumour.

    Example: mammoscope explain run study -o explained
    """
    from mammoscope.files import refuse_foreign
    from mammoscope.inference.bundle import open_bundle
    from mammoscope.inference.explain import explain_files
    from mammoscope.inference.explained import PEAKS_NAME, write_map, write_peaks, write_rejected
    from mammoscope.inference.heat import HeatMapper
    from mammoscope.inference.inputs import choose_decoders, read_inputs
    from mammoscope.learning.scoring import choose_device

    _refuse_exported(run)
    refuse_foreign(output, what="explanation", own=(PEAKS_NAME,))
    bundle = open_bundle(run, choose_device(device))
    mapper = HeatMapper(bundle)
    output.mkdir(parents=True, exist_ok=True)
    given = read_inputs(images, table, bundle.prepare)
    with progress_bar("explain", len(given.tasks)) as advance:
        decode = choose_decoders(given, n_workers=resolve_workers(workers))
        explained = explain_files(mapper, given.tasks, decode=decode, advance=advance, n_peaks=peaks)
    write_peaks(explained.images, output)
    write_rejected(explained.rejections, output)
    if maps:
        for image in explained.images:
            write_map(image, output / "maps" / f"{image.alias}.npz")
    n_drawn = _draw(explained.images, output, n_workers=resolve_workers(workers))
    _warn(explained)
    facts = {
        "images_explained": len(explained.images),
        "images_drawn": n_drawn,
        "images_refused": len(explained.rejections),
        "images_missing": explained.n_missing,
        "images_without_a_peak": sum(not image.peaks for image in explained.images),
        "folds": ", ".join(str(fold) for fold in bundle.run.trained_folds),
        "heat_maps": output / "heatmaps",
        "hangings": output / "hangings",
        "peaks": output / "peaks.csv",
    }
    print_summary("explained", facts, as_json=as_json)


def _refuse_exported(run: Path) -> None:
    """Refuse exported networks, which give no gradients.

    Raises:
        RunError: the folder holds exported networks and no run.
    """
    from mammoscope.inference.exported import RECORD_NAME

    if (run / RECORD_NAME).is_file() and not (run / "environment.json").is_file():
        raise RunError(
            f"{run}: found exported networks, which cannot be explained, expected a run folder; give the run that they "
            "were exported from"
        )


def _warn(explained: "ExplainedFiles") -> None:
    """A few of the refused, and how many there are of the rest and of the missing."""
    for rejection in explained.rejections[:_SENTENCES_SHOWN]:
        warn(f"refused ({rejection.code}): {rejection.sentence}")
    n_more = len(explained.rejections) - _SENTENCES_SHOWN
    if n_more > 0:
        warn(f"refused {n_more} more; rejected.parquet lists them")
    if explained.n_missing:
        warn(f"the table names {explained.n_missing} images that have no file; they are left out")


def _draw(images: "Sequence[ExplainedImage]", output: Path, *, n_workers: int) -> int:
    """Draw the pictures of all exams; how many images were drawn."""
    from mammoscope.inference.heat_pictures import draw_exam
    from mammoscope.scaling import run_tasks

    drawings = _group(images, output)
    n_drawn = 0
    with progress_bar("draw", len(drawings)) as advance:
        for n_of_exam in run_tasks(draw_exam, drawings, n_workers=n_workers):
            n_drawn += n_of_exam
            advance(1)
    return n_drawn


def _group(images: "Sequence[ExplainedImage]", output: Path) -> "list[ExamDrawing]":
    from mammoscope.inference.explained import make_alias
    from mammoscope.inference.heat_pictures import ExamDrawing

    images_by_exam: dict[str, list[ExplainedImage]] = {}
    for image in images:
        images_by_exam.setdefault(image.mammogram.exam_id, []).append(image)
    return [
        # by its images: the id of an exam may be that of a patient, few enough to be tried out
        ExamDrawing(tuple(each), output, make_alias(*sorted(image.mammogram.image_id for image in each)))
        for each in images_by_exam.values()
    ]
