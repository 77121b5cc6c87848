"""`mammoscope export`: the networks of a run as ONNX, and for OpenVINO, checked against torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar, warn
from mammoscope.errors import UserInputError

if TYPE_CHECKING:
    from mammoscope.inference.exported import Export, Format


def export(
    run: Annotated[Path, typer.Argument(help="The run folder of a training.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    to: Annotated[str, typer.Option(help="onnx, openvino, or both: onnx,openvino")] = "openvino",
    precision: Annotated[
        Literal["f32", "bf16", "int8"], typer.Option(help="In what OpenVINO computes; ONNX files are in f32.")
    ] = "f32",
    store: Annotated[
        Path | None,
        typer.Option(help="A prepared store to check and calibrate on; without it, that of the training."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the networks of a run for use without torch, each held against torch on prepared pictures.

    Example: mammoscope export run -o exported --to onnx,openvino
    """
    formats = _read_formats(to)
    from mammoscope.inference.check_pictures import find_store
    from mammoscope.inference.export import export_run
    from mammoscope.learning.run import open_run

    opened = open_run(run)
    with progress_bar("export", len(opened.trained_folds)) as advance:
        exported = export_run(
            run, output, formats=formats, precision=precision, store=find_store(opened, store), advance=advance
        )
    facts = _describe(exported)
    if any(check.pictures == "drawn" for check in exported.record.checks):
        warn("checked on drawn pictures, because the store of the training is not there; give one with --store")
    print_summary("exported", facts, as_json=as_json)


def _read_formats(text: str) -> "tuple[Format, ...]":
    known: tuple[Format, ...] = ("onnx", "openvino")
    asked = [part.strip() for part in text.split(",")]
    if not set(asked) <= set(known):
        raise UserInputError(f"--to: found {text!r}, expected onnx, openvino, or onnx,openvino")
    return tuple(each for each in known if each in asked)


def _describe(exported: "Export") -> dict[str, object]:
    record = exported.record
    facts: dict[str, object] = {
        "folds": ", ".join(str(network.fold) for network in record.networks),
        "formats": ", ".join(record.formats),
        "precision": record.precision,
        "pictures_compared": record.checks[0].n_pictures,
    }
    for check in record.checks:
        facts[f"greatest_difference_{check.format}"] = round(check.greatest_difference, 7)
        if check.auc_loss is not None:
            facts["loss_of_auc"] = check.auc_loss.sentence
    n_bytes = sum((exported.path / name).stat().st_size for network in record.networks for name in network.files)
    return facts | {"megabytes": round(n_bytes / 1e6, 1), "folder": str(exported.path)}
