"""`mammoscope inspect`: what a file or a folder of files is, with a verdict and a picture of each."""

import sys
from collections import Counter
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers
from mammoscope.errors import UserInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mammoscope.imaging.inspection import HeaderLine, Inspection, InspectionTask

_MOST_LISTED = 20  # refused files on the screen; verdicts.csv has all


def inspect(
    path: Annotated[Path, typer.Argument(help="A DICOM, PNG or PGM file, or a folder of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and verdicts.csv.")] = Path(
        "inspection"
    ),
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="Show patient, age, UIDs and dates of a file too.")
    ] = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what files are: header, verdict with its reason, and a picture with the crop drawn in.

    Nothing is changed. A verdict other than ok names what speaks against the use of a file in screening.

    Example: mammoscope inspect study/ -o inspection
    """
    from mammoscope.imaging.inspection import inspect_and_draw, mark_duplicates
    from mammoscope.scaling import run_tasks

    tasks = _find_tasks(path, output)
    with progress_bar("inspect", total=len(tasks)) as advance:
        found: dict[str, Inspection] = {}
        n_workers = min(resolve_workers(workers), len(tasks))
        for inspection in run_tasks(inspect_and_draw, tasks, n_workers=n_workers):
            found[inspection.name] = inspection
            advance(1)
    inspections = mark_duplicates([found[task.name] for task in tasks])
    _write_table(inspections, output)
    if path.is_file():
        _print_file(inspections[0], output, with_identifiers=identifiers, as_json=as_json)
    else:
        _print_folder(inspections, output, as_json=as_json)


def _find_tasks(path: Path, output: Path) -> "list[InspectionTask]":
    from mammoscope.imaging.inspection import InspectionTask
    from mammoscope.imaging.prepare import PrepareSettings

    if not path.exists():
        raise UserInputError(f"{path}: no such file or folder, expected mammograms to look at")
    root = path.parent if path.is_file() else path
    paths = [path] if path.is_file() else sorted(_files_below(path, besides=output))
    if not paths:
        raise UserInputError(f"{path}: holds no file, expected mammograms to look at")
    names = [each.relative_to(root).as_posix() for each in paths]
    return [
        InspectionTask(name, each, output / f"{name}.png", PrepareSettings())
        for name, each in zip(names, paths, strict=True)
    ]


def _files_below(folder: Path, *, besides: Path) -> "Iterator[Path]":
    """The files of a folder, without the pictures that were written there before."""
    written = besides.resolve()
    return (path for path in folder.rglob("*") if path.is_file() and not path.resolve().is_relative_to(written))


def _write_table(inspections: "list[Inspection]", output: Path) -> None:
    import polars as pl

    from mammoscope.files import replacing

    table = pl.DataFrame([_to_row(inspection) for inspection in inspections], infer_schema_length=None)
    with replacing(output / "verdicts.csv") as beside:
        table.write_csv(beside)


def _to_row(inspection: "Inspection") -> dict[str, object]:
    header = inspection.header
    return {
        "file": inspection.name,
        "verdict": inspection.verdict.value,
        "laterality": None if header is None else header.laterality,
        "view": None if header is None else header.view,
        "rows": None if header is None else header.rows,
        "columns": None if header is None else header.columns,
        "manufacturer": None if header is None else header.manufacturer,
        "model": None if header is None else header.model,
        "warnings": " ".join(sorted({warning.code for warning in inspection.warnings})),
        "sentence": inspection.sentence,
    }


def _print_file(inspection: "Inspection", output: Path, *, with_identifiers: bool, as_json: bool) -> None:
    from mammoscope.imaging.inspection import list_header

    header = inspection.header
    lines = [] if header is None else list_header(header, with_identifiers=with_identifiers)
    facts: dict[str, object] = {"verdict": inspection.verdict.value}
    if inspection.sentence:
        facts["reason"] = inspection.sentence
    facts |= {f"warning_{warning.code}": warning.sentence for warning in inspection.warnings}
    if inspection.has_preview:
        facts["picture"] = str(output / f"{inspection.name}.png")
    if as_json:
        print_summary("", facts | {"header": {line.name: line.value for line in lines}}, as_json=True)
        return
    _print_lines(lines)
    print_summary(inspection.name, facts, as_json=False)


def _print_lines(lines: "list[HeaderLine]") -> None:
    """What the file says, with tag and section of PS3.3; then the names of what it does not say."""
    from mammoscope.imaging.inspection import ABSENT

    given = [line for line in lines if line.value != ABSENT]
    widths = [max((len(line[column]) for line in given), default=0) for column in range(3)]
    for line in given:
        texts = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        sys.stdout.write("  ".join((*texts, line.value)) + "\n")
    absent = [line.name for line in lines if line.value == ABSENT]
    if absent:
        sys.stdout.write(fill(f"not given: {', '.join(absent)}", width=110, subsequent_indent="  ") + "\n")


def _print_folder(inspections: "list[Inspection]", output: Path, *, as_json: bool) -> None:
    counts = Counter(inspection.verdict.value for inspection in inspections)
    refused = [inspection for inspection in inspections if inspection.sentence]
    if not as_json:
        for inspection in refused[:_MOST_LISTED]:
            sys.stdout.write(f"{inspection.verdict.value:<18}  {inspection.sentence}\n")
        if len(refused) > _MOST_LISTED:
            sys.stdout.write(f"… and {len(refused) - _MOST_LISTED} more, see verdicts.csv\n")
    facts: dict[str, object] = {"files": len(inspections), **dict(sorted(counts.items())), "written_to": str(output)}
    print_summary("Inspected", facts, as_json=as_json)
