"""`mammoscope train`: a recipe, a cohort and its prepared store to a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar

if TYPE_CHECKING:
    import polars as pl

    from mammoscope.imaging.store import PreparedStore
    from mammoscope.learning.run import Run


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe that ships (small, baseline) or a TOML file.")],
    cohort: Annotated[Path, typer.Option(help="The cohort folder, split.")],
    store: Annotated[Path, typer.Option(help="The prepared store of the cohort.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run folder to write, or to go on with.")],
    fold: Annotated[int | None, typer.Option(min=0, help="Train only this fold; all without it.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone to start from, a safetensors file.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Another value for a key of the recipe: optimizer.rate=0.001")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the network of a recipe, fold by fold, and score the held-out images.

    Example: mammoscope train small --cohort cohort --store store -o run --fold 0
    """
    from mammoscope.cohort.manifest import manifest_hash, read_manifest
    from mammoscope.imaging.store import open_store
    from mammoscope.learning.network import adopt_weights_metadata
    from mammoscope.learning.recipe import read_recipe
    from mammoscope.learning.run import collect_scores, start_run
    from mammoscope.learning.training import check_store

    wanted = read_recipe(recipe, assignments or [])
    if weights is not None:
        wanted = adopt_weights_metadata(wanted, weights)
    manifest, prepared = read_manifest(cohort), open_store(store)
    check_store(prepared, wanted)
    made_from = {
        "cohort": str(cohort.resolve()),
        "store": str(store.resolve()),
        "manifest_hash": manifest_hash(manifest),
        "store_hash": prepared.content_hash,
    }
    run = start_run(output, wanted, prepared.settings, made_from=made_from)
    folds = [fold] if fold is not None else sorted(manifest["fold"].drop_nulls().unique().to_list())
    _train_folds(run, manifest, prepared, folds)
    scores = collect_scores(run)
    facts = {
        "recipe": recipe,
        "folds_trained": ", ".join(str(done) for done in run.trained_folds),
        "images_scored": scores.height,
        "run": run.path,
        "next": f"mammoscope evaluate {run.path}",
    }
    print_summary("trained", facts, as_json=as_json)


def _train_folds(run: "Run", manifest: "pl.DataFrame", store: "PreparedStore", folds: list[int]) -> None:
    """Train the folds that are not done yet; the rows of all are checked before the first begins."""
    from mammoscope.learning.training import select_rows, train_fold

    to_do = [fold for fold in folds if fold not in run.trained_folds]
    selected = {fold: select_rows(manifest, store, fold=fold, recipe=run.recipe)[0] for fold in to_do}
    for fold, training in selected.items():
        n_batches = run.recipe.epochs * (training.height // (run.recipe.batch.micro or run.recipe.batch.size))
        with progress_bar(f"train fold {fold}", n_batches) as advance:
            train_fold(run, manifest, store, fold=fold, on_step=advance)
