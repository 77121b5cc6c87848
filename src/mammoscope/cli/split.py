"""`mammoscope split`: folds of whole patients, written into the manifest."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary


def split(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder, or its manifest.parquet.")],
    folds: Annotated[int, typer.Option(help="Number of folds, 2 or more.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the shuffle.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Deal whole patients into folds, stratified by case and site.

    Example: mammoscope split cohort --folds 4
    """
    import numpy as np

    from mammoscope.cohort.manifest import manifest_hash, read_manifest, write_manifest
    from mammoscope.cohort.splits import assign_folds, summarise_folds

    manifest = assign_folds(read_manifest(cohort), n_folds=folds, rng=np.random.default_rng(seed))
    path = write_manifest(manifest, cohort)
    rows = summarise_folds(manifest).to_dicts()
    if as_json:
        print_summary("", {"folds": rows, "manifest": path, "sha256": manifest_hash(manifest)}, as_json=True)
        return
    sys.stdout.write("split\n")
    for row in rows:
        sys.stdout.write(
            f"  fold {row['fold']}: {row['n_patients']} patients, {row['n_images']} images, "
            f"{row['n_breasts']} breasts, {row['n_cases']} with cancer\n"
        )
    sys.stdout.write(f"  manifest: {path}\n")
