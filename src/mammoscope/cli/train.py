"""`mammoscope train`: a recipe, a cohort and its prepared store to a run folder."""

import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar
from mammoscope.errors import UserInputError

if TYPE_CHECKING:
    import polars as pl

    from mammoscope.imaging.store import PreparedStore
    from mammoscope.learning.processes import Processes
    from mammoscope.learning.run import Run
    from mammoscope.learning.settings import Recipe


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe that ships (tiny, small, baseline, standard, winner) or a TOML file.")
    ],
    cohort: Annotated[Path | None, typer.Option(help="The cohort folder, split.")] = None,
    store: Annotated[Path | None, typer.Option(help="The prepared store of the cohort.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run folder to write, or to go on with.")
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Train only this fold; all without it.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone to start from, a safetensors file.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Another value for a key of the recipe: optimizer.rate=0.001")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto: the GPU, if there is one.")
    ] = "auto",
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs of this machine to train on together, or processes on a CPU.")
    ] = None,
    save_every: Annotated[
        float, typer.Option(min=0, help="Seconds between the points to go on from; 0: after every step.")
    ] = 60.0,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print the whole recipe, every key, and train nothing.")
    ] = False,
    show_batch: Annotated[
        Path | None,
        typer.Option("--show-batch", help="Draw the first batch as the network sees it into a PNG; train nothing."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the network of a recipe, fold by fold, and score the held-out images.

    Example: mammoscope train small --cohort cohort --store store -o run --fold 0
    """
    from mammoscope.cohort.manifest import read_manifest
    from mammoscope.config import to_toml
    from mammoscope.imaging.store import open_store
    from mammoscope.learning.recipe import read_recipe

    if print_recipe and show_batch is not None:
        raise UserInputError("train: found --print-recipe and --show-batch, expected one of them; leave one out")
    # before torch is loaded, which takes long, so that a misspelt key is told at once
    read = read_recipe(recipe, assignments or [])
    from mammoscope.learning.processes import ask_first, find_processes, joined, launch_processes, share_batch
    from mammoscope.learning.run import settle_picture_sizes, start_run
    from mammoscope.learning.scoring import check_precision
    from mammoscope.learning.weights import adopt_metadata

    wanted = adopt_metadata(read, weights)
    if print_recipe:
        typer.echo(to_toml(wanted), nl=False)
        return
    if show_batch is not None:
        _show_batch(wanted, cohort, store, show_batch, name=recipe, fold=fold, as_json=as_json)
        return
    processes = find_processes(device, devices, os.environ)
    check_precision(wanted, processes.device)
    n_processes = processes.n if processes.n > 1 else devices or 1
    shared = share_batch(wanted, n_processes, recipe)
    if cohort is None or store is None or output is None:
        raise UserInputError("train: expected --cohort, --store and --output; give all three, or --print-recipe")
    manifest, prepared = read_manifest(cohort), open_store(store)
    wanted = settle_picture_sizes(wanted, prepared.settings)
    _check(wanted, manifest, prepared)
    made_from = _describe_data(cohort, store, manifest, prepared)
    n_examples_by_fold = _count_examples(manifest, prepared, shared, fold=fold)
    if n_processes > processes.n:
        start_run(output, wanted, prepared.settings, made_from=made_from)  # what it refuses, it refuses at once
        raise typer.Exit(launch_processes(n_processes, sys.argv[1:]))
    with joined(processes):
        made_from |= _find_micro(wanted, manifest, prepared, output, fold=min(n_examples_by_fold), processes=processes)
        run = ask_first(processes, partial(start_run, output, wanted, prepared.settings, made_from=made_from))
        sharing = replace(run, recipe=share_batch(wanted, n_processes, recipe, micro=made_from.get("batch_micro")))
        _train_folds(sharing, manifest, prepared, n_examples_by_fold, save_every_s=save_every, processes=processes)
    if processes.is_first:
        _finish(run, manifest, prepared, recipe=recipe, as_json=as_json)


def _find_micro(
    recipe: "Recipe",
    manifest: "pl.DataFrame",
    store: "PreparedStore",
    output: Path,
    *,
    fold: int,
    processes: "Processes",
) -> dict[str, Any]:
    """What `batch.micro = "auto"` comes to, for the record: what was found at the start of the run, or is found now."""
    from mammoscope.learning.micro import recorded_micro
    from mammoscope.learning.processes import ask_first
    from mammoscope.learning.training import choose_micro

    if recipe.batch.micro != "auto":
        return {}
    trying = partial(choose_micro, manifest, store, fold=fold, recipe=recipe, processes=processes)
    found = ask_first(processes, lambda: recorded_micro(output, processes.device) or trying())
    return {"batch_micro": found, "batch_micro_device": processes.device.type}


def _check(recipe: "Recipe", manifest: "pl.DataFrame", store: "PreparedStore") -> None:
    """Refuse what cannot be built, or not from these data, before the run folder is made."""
    from mammoscope.learning.breast_table import check_columns
    from mammoscope.learning.network import build_network
    from mammoscope.learning.table_inputs import TableSettings
    from mammoscope.learning.training import check_store

    check_store(store, recipe)
    build_network(recipe.model_copy(update={"table": TableSettings()}))  # its sizes follow from the rows of a fold
    if recipe.second_stage is not None:
        check_columns(manifest, recipe.second_stage.columns)


def _show_batch(
    recipe: "Recipe",
    cohort: Path | None,
    store: Path | None,
    target: Path,
    *,
    name: str,
    fold: int | None,
    as_json: bool,
) -> None:
    """Draw the first batch of a fold, of the first one without `fold`, as the network sees it."""
    from mammoscope.cohort.manifest import read_manifest
    from mammoscope.imaging.store import open_store
    from mammoscope.learning.contact_sheet import draw_contact_sheet, see_first_batch, write_contact_sheet
    from mammoscope.learning.training import check_store, list_folds

    if cohort is None or store is None:
        raise UserInputError("train: expected --cohort and --store with --show-batch; give both")
    if target.suffix.lower() != ".png" or target.is_dir():
        raise UserInputError(f"--show-batch {target}: expected the name of a file that ends in .png; give one")
    manifest, prepared = read_manifest(cohort), open_store(store)
    check_store(prepared, recipe)
    shown = list_folds(manifest)[0] if fold is None else fold
    seen = see_first_batch(manifest, prepared, recipe, fold=shown)
    write_contact_sheet(target, draw_contact_sheet(seen, title=f"{Path(name).stem}, fold {shown}: the first batch"))
    facts = {"recipe": name, "fold": shown, "pictures": len(seen.is_case), "cases": sum(seen.is_case), "sheet": target}
    print_summary("shown", facts, as_json=as_json)


def _describe_data(cohort: Path, store: Path, manifest: "pl.DataFrame", prepared: "PreparedStore") -> dict[str, Any]:
    from mammoscope.cohort.manifest import manifest_hash

    return {
        "cohort": str(cohort.resolve()),
        "store": str(store.resolve()),
        "sources": sorted(manifest["source"].unique()),
        "manifest_hash": manifest_hash(manifest),
        "store_hash": prepared.content_hash,
    }


def _finish(run: "Run", manifest: "pl.DataFrame", prepared: "PreparedStore", *, recipe: str, as_json: bool) -> None:
    """What follows when the folds are trained: all scores, operating points, the second stage, and the summary."""
    from mammoscope.learning.run import collect_scores

    scores = collect_scores(run)
    _choose_operating_points(run, scores)
    _measure_range(run, manifest, prepared)
    stacked = _stack(run, manifest, scores)
    n_scored = scores["image_id"].count()
    facts = {"recipe": recipe, "images_scored": n_scored, **stacked, **_summarise(run, manifest, prepared)}
    print_summary("trained", facts, as_json=as_json)


def _summarise(run: "Run", manifest: "pl.DataFrame", store: "PreparedStore") -> dict[str, object]:
    return {
        "trained": ", ".join(f"fold {done}" for done in run.trained_folds),
        "images_not_in_store": manifest.filter(~manifest["image_id"].is_in(store.image_ids)).height,
        "images_undetermined": manifest["cancer"].null_count(),
        "run": run.path,
        "next": f"mammoscope evaluate {run.path}",
    }


def _choose_operating_points(run: "Run", scores: "pl.DataFrame") -> None:
    """Write the thresholds that the scores of the folds that are done choose."""
    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.cross_fitting import cross_fit
    from mammoscope.evaluation.operating_points import FILE_NAME, write_operating_points

    bootstrap = BootstrapSettings(seed=run.recipe.seed)
    with progress_bar("thresholds", bootstrap.n_replicates) as advance:
        points = cross_fit(scores, run.recipe.operating_points, bootstrap, advance=advance)
    write_operating_points(points, run.path / FILE_NAME)


def _measure_range(run: "Run", manifest: "pl.DataFrame", prepared: "PreparedStore") -> None:
    """Write what the pictures of training are like, so that others can be held against them."""
    import numpy as np

    from mammoscope.inference.training_range import write_training_range

    write_training_range(run, manifest, prepared, rng=np.random.default_rng(run.recipe.seed))


def _stack(run: "Run", manifest: "pl.DataFrame", scores: "pl.DataFrame") -> dict[str, object]:
    """Fit and write the second stage, where the recipe has one and all folds are done; its line of the summary."""
    import shutil

    import numpy as np

    from mammoscope.evaluation.bootstrap import BootstrapSettings
    from mammoscope.evaluation.report import format_estimate
    from mammoscope.learning.second_stage import (
        FOLDER_NAME,
        compare_stages,
        fit_second_stage,
        why_no_second_stage,
        write_second_stage,
    )
    from mammoscope.learning.training import list_folds

    settings, folder, seed = run.recipe.second_stage, run.path / FOLDER_NAME, run.recipe.seed
    if settings is None:
        shutil.rmtree(folder, ignore_errors=True)  # of a recipe that had one
        return {}
    reason = why_no_second_stage(list_folds(manifest), run.trained_folds)
    if reason is not None:
        return {"second_stage": reason}
    bootstrap = BootstrapSettings(seed=seed)
    stage, stacked = fit_second_stage(scores, manifest, settings, rng=np.random.default_rng(seed))
    compared = compare_stages(scores, stacked, bootstrap)
    write_second_stage(stage, stacked, folder, compared=compared, bootstrap=bootstrap)
    gain = compared.difference
    return {"second_stage": f"difference of breast AUC: {format_estimate(gain.value, gain.interval, gain.reason)}"}


def _count_examples(
    manifest: "pl.DataFrame", store: "PreparedStore", recipe: "Recipe", *, fold: int | None
) -> dict[int, int]:
    """The examples of an epoch of each fold to train; all folds are checked so before the run folder is made."""
    from mammoscope.learning.batches import EpochSampler
    from mammoscope.learning.training import fit_table, list_folds, select_rows

    n_examples_by_fold = {}
    for each in list_folds(manifest) if fold is None else [fold]:
        training, _ = select_rows(manifest, store, fold=each, recipe=recipe)
        fit_table(training, recipe)
        n_examples_by_fold[each] = len(EpochSampler(training, recipe, fold=each))
    return n_examples_by_fold


def _train_folds(
    run: "Run",
    manifest: "pl.DataFrame",
    store: "PreparedStore",
    n_examples_by_fold: dict[int, int],
    *,
    save_every_s: float,
    processes: "Processes",
) -> None:
    """Train the folds that are not done yet."""
    from mammoscope.learning.processes import ask_first
    from mammoscope.learning.training import count_batches, train_fold

    done = ask_first(processes, lambda: run.trained_folds)
    for fold, n_examples in n_examples_by_fold.items():
        if fold in done:
            continue
        n_batches = count_batches(n_examples, run.recipe, n_processes=processes.n)
        with ExitStack() as bars:
            bar = progress_bar(f"train fold {fold}", n_batches)
            advance = bars.enter_context(bar) if processes.is_first else _show_nothing
            train_fold(run, manifest, store, fold=fold, on_step=advance, save_every_s=save_every_s, processes=processes)


def _show_nothing(_n_batches: int) -> None:
    """Stands for a progress bar in the processes beside the first."""
