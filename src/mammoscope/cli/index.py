"""`mammoscope index`: files and tables of a data set to the manifest of a cohort."""

from pathlib import Path
from typing import Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary

index_app = typer.Typer(help="Make the manifest of a cohort from its published files.", no_args_is_help=True)


@index_app.callback()
def _index() -> None:
    """Make the manifest of a cohort from its published files."""


@index_app.command("rsna")
def index_rsna(
    table: Annotated[Path, typer.Option(help="The competition's train.csv.")],
    cohort: Annotated[Path, typer.Option("--output", "-o", help="The cohort folder to write.")],
    images: Annotated[Path | None, typer.Option(help="Folder with <patient_id>/<image_id>.dcm or .png.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out rows whose image is not there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Index the RSNA 2023 screening mammography data; without --images, a table-only cohort.

    Example: mammoscope index rsna --table train.csv --images train_images -o cohort
    """
    import polars as pl

    from mammoscope.cohort.manifest import manifest_hash, write_manifest
    from mammoscope.cohort.sources.indexing import Handling
    from mammoscope.cohort.sources.rsna import read_rsna

    found = read_rsna(table, images, handling=Handling(allow_missing=allow_missing))
    path = write_manifest(found.manifest, cohort)
    breasts = found.manifest.unique(["exam_id", "laterality"])
    facts = {
        "images": found.manifest.height,
        "images_missing": len(found.missing_image_ids),
        "patients": found.manifest["patient_id"].n_unique(),
        "breasts": breasts.height,
        "breasts_with_cancer": breasts.filter(pl.col("cancer")).height,
        "manifest": path,
        "sha256": manifest_hash(found.manifest),
    }
    print_summary("indexed", facts, as_json=as_json)
