"""`mammoscope synthesize`: a synthetic screening cohort, written as DICOM files with tables."""

from pathlib import Path
from typing import Annotated

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers


def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to write; missing, empty, or a cohort to go on with.")],
    patients: Annotated[int, typer.Option(help="Patients with a known outcome, four images each.")],
    prevalence: Annotated[float, typer.Option(help="Share of the patients who have cancer, 0 to 1.")],
    seed: Annotated[int, typer.Option(help="Start of all chance: the same seed gives the same bytes.")],
    held_out: Annotated[int, typer.Option(help="Further patients for the test table, without outcome.")] = 0,
    scale: Annotated[float, typer.Option(help="Factor on rows and columns, 0.1 to 1; 0.25 is fast.")] = 1.0,
    machines: Annotated[str, typer.Option(help="Numbers of the machines, with commas; all: docs/phantom.md.")] = (
        "21,29,49,93"
    ),
    transfer_syntax: Annotated[
        str | None, typer.Option(help="One encoding for all files, as in jpeg2000; each machine has its own.")
    ] = None,
    artefacts: Annotated[float, typer.Option(help="Share of the pictures with an artefact, 0 to 1.")] = 0.0,
    masks: Annotated[bool, typer.Option("--masks", help="Write also which pixels are breast, as PNG files.")] = False,
    oddities: Annotated[
        bool, typer.Option("--oddities", help="Write also a folder of odd files, each with the verdict that is due.")
    ] = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic screening cohort: DICOM files and tables in the layout of the RSNA 2023 competition.

    Nobody was examined for it, so it can be shown, shared and tested with. What is simulated: docs/phantom.md.

    Example: mammoscope synthesize phantoms --patients 250 --prevalence 0.3 --seed 1 --scale 0.25

    Hard ones: mammoscope synthesize hard --patients 50 --prevalence 0.3 --seed 1 --scale 0.2 --machines 21,101,106
    --artefacts 0.5 --masks --oddities
    """
    from dataclasses import asdict
    from functools import partial

    from mammoscope.phantom.cohort import parse_settings, synthesize_cohort
    from mammoscope.scaling import run_tasks

    settings = parse_settings(
        patients=patients,
        prevalence=prevalence,
        seed=seed,
        held_out=held_out,
        scale=scale,
        machines=[int(number) if number.strip().isdigit() else number for number in machines.split(",")],
        transfer_syntax=transfer_syntax,
        artefacts=artefacts,
        masks=masks,
        oddities=oddities,
    )
    runner = partial(run_tasks, n_workers=resolve_workers(workers))
    with progress_bar("synthesize", total=4 * (patients + held_out)) as advance:
        summary = synthesize_cohort(out, settings, run_tasks=runner, advance=advance)
    print_summary("synthesized", {**asdict(summary), "written_to": str(out)}, as_json=as_json)
