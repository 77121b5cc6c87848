"""`mammoscope join`: several cohorts in one."""

from pathlib import Path
from typing import Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary, warn


def join(
    cohorts: Annotated[list[Path], typer.Argument(help="Two cohorts or more.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The cohort folder to write.")],
    as_json: JsonOption = False,
) -> None:
    """Join cohorts into one; ids, sites and machines are kept apart by source, and the result is split anew.

    Example: mammoscope join rsna vindr -o both
    """
    import polars as pl

    from mammoscope.cohort.join import check_replaced, join_cohorts
    from mammoscope.cohort.manifest import manifest_hash, read_present, write_manifest
    from mammoscope.exam import BREAST

    joined = join_cohorts(cohorts, output)
    earlier = read_present(output)
    check_replaced(earlier, joined.manifest, output)
    path = write_manifest(joined.manifest, output)
    if earlier is not None and earlier["fold"].count():
        warn(f"{path}: was split, and its folds are gone; split again")
    for sentence in joined.warnings:
        warn(sentence)
    breasts = joined.manifest.unique(BREAST)
    facts = {
        "cohorts": len(cohorts),
        "sources": sorted(joined.manifest["source"].unique()),
        "images": joined.manifest.height,
        "patients": joined.manifest["patient_id"].n_unique(),
        "breasts": breasts.height,
        "breasts_with_cancer": breasts.filter(pl.col("cancer")).height,
        "manifest": path,
        "sha256": manifest_hash(joined.manifest),
    }
    print_summary("joined", facts, as_json=as_json)
