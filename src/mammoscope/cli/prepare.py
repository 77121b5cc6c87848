"""`mammoscope prepare`: a cohort's files into a prepared store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, WorkersOption, print_summary, progress_bar, resolve_workers
from mammoscope.errors import StoreError, TableError, UserInputError

if TYPE_CHECKING:
    from mammoscope.imaging.batch import PrepareJob, PrepareSummary


def prepare(
    cohort: Annotated[Path, typer.Argument(help="A cohort: a folder with manifest.parquet, or that file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The prepared store to write, or to go on with.")],
    size: Annotated[str, typer.Option(help="Rows x columns of a prepared image.")] = "1024x512",
    bits: Annotated[int, typer.Option(help="Bits of a grey value: 8 or 16.")] = 16,
    window: Annotated[
        str, typer.Option(help="Grey scale: minmax, percentile, or dicom for the window of the file.")
    ] = "minmax",
    fit: Annotated[str, typer.Option(help="On the canvas: keep the breast's proportions, or stretch.")] = "proportions",
    resolution: Annotated[str, typer.Option(help="Decode what the canvas needs, or the whole.")] = "canvas",
    accept: Annotated[
        list[str] | None, typer.Option(help="A verdict that does not refuse a file, such as secondary_capture; repeat.")
    ] = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
    backend: Annotated[str, typer.Option(help="Where to work: local, or a running ray or dask cluster.")] = "local",
    cluster: Annotated[
        str | None, typer.Option(help="Address of the cluster; else RAY_ADDRESS or DASK_SCHEDULER_ADDRESS.")
    ] = None,
) -> None:
    """Decode, normalise and crop the images of a cohort once, so that training reads small pictures.

    A run that was stopped goes on where it was. Files that cannot be used stand with the reason in rejected.parquet.

    Example: mammoscope prepare cohort -o store --size 1024x512 --bits 16
    """
    from functools import partial

    from mammoscope.config import build_settings
    from mammoscope.imaging.batch import prepare_store
    from mammoscope.imaging.prepare import PrepareSettings
    from mammoscope.scaling import run_tasks

    rows, columns = _parse_size(size)
    table: dict[str, object] = {
        "rows": rows,
        "columns": columns,
        "bits": bits,
        "window": window,
        "fit": fit,
        "resolution": resolution,
    }
    table["excluded"] = _list_excluded(accept or [])
    settings = build_settings(PrepareSettings, table, where="prepare")
    jobs = _read_jobs(cohort)
    with progress_bar("prepare", total=len(jobs)) as advance:
        runner = partial(run_tasks, n_workers=resolve_workers(workers), is_apart=True, backend=backend, cluster=cluster)
        summary = prepare_store(jobs, output, settings, run_tasks=runner, advance=advance)
    _report(summary, output, as_json=as_json)


def _parse_size(size: str) -> tuple[int, int]:
    rows, _, columns = size.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise UserInputError(f"--size: found {size!r}, expected rows x columns, such as 1024x512")
    return int(rows), int(columns)


def _list_excluded(accepted: list[str]) -> list[str]:
    from mammoscope.imaging.object_kind import SCREENING_EXCLUDES

    excluded = [verdict.value for verdict in SCREENING_EXCLUDES]
    for code in accepted:
        if code not in excluded:
            raise UserInputError(f"--accept: found {code!r}, expected one of {', '.join(excluded)}")
    return [code for code in excluded if code not in accepted]


def _read_jobs(cohort: Path) -> "list[PrepareJob]":
    from mammoscope.cohort.manifest import read_manifest
    from mammoscope.imaging.batch import PrepareJob

    manifest = read_manifest(cohort)
    n_without = manifest["path"].null_count()
    if n_without:
        raise TableError(
            f"{cohort}: found {n_without} of {manifest.height} images without a file, expected a path for each; "
            "this is a table-only cohort: index it again together with its images"
        )
    return [PrepareJob(image_id, path) for image_id, path in manifest.select("image_id", "path").iter_rows()]


def _report(summary: "PrepareSummary", out: Path, *, as_json: bool) -> None:
    n_refused = sum(summary.n_rejected.values())
    n_images = summary.n_prepared + n_refused
    facts: dict[str, object] = {
        "prepared": summary.n_prepared,
        "refused": n_refused,
        **{f"refused_{code}": count for code, count in summary.n_rejected.items()},
        "done_before": summary.n_resumed,
        "store": str(out),
    }
    is_unchanged = summary.n_resumed == n_images
    print_summary("Nothing to do: the store is complete" if is_unchanged else "Prepared", facts, as_json=as_json)
    if not summary.n_prepared:
        raise StoreError(f"{out}: none of {n_images} images could be prepared; rejected.parquet says why for each")
