"""`mammoscope find-lr`: a recipe, a cohort and its prepared store to a learning rate, by a range test."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoscope.cli.console import JsonOption, print_summary, progress_bar
from mammoscope.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from mammoscope.imaging.store import PreparedStore
    from mammoscope.learning.rate_search import RateCurve
    from mammoscope.learning.settings import Recipe


def find_lr(
    recipe: Annotated[
        str, typer.Argument(help="A recipe that ships (tiny, small, baseline, standard, winner) or a TOML file.")
    ],
    cohort: Annotated[Path, typer.Option(help="The cohort folder, split.")],
    store: Annotated[Path, typer.Option(help="The prepared store of the cohort.")],
    fold: Annotated[int, typer.Option(min=0, help="The fold that is held out.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone to start from, a safetensors file.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Another value for a key of the recipe: batch.size=32")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture of the curve; its points stand beside it, as CSV.")
    ] = Path("find-lr.png"),
    lowest: Annotated[float, typer.Option("--from", help="The rate to begin with.")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", help="The rate to end with, at the latest.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="Steps of the optimizer, 50 or more.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Propose a learning rate: raise it from step to step until the loss runs away, and draw the curve.

    Nothing of the training is kept.

    Example: mammoscope find-lr small --cohort cohort --store store -o find-lr.png
    """
    from mammoscope.cohort.manifest import read_manifest
    from mammoscope.imaging.store import open_store
    from mammoscope.learning.recipe import read_recipe

    read = read_recipe(recipe, assignments or [])  # before torch is loaded, which takes long
    from mammoscope.learning.rate_figure import check_picture_path
    from mammoscope.learning.rate_search import RateRange, propose_rate, run_range_test
    from mammoscope.learning.run import settle_picture_sizes
    from mammoscope.learning.training import check_store
    from mammoscope.learning.weights import adopt_metadata

    check_picture_path(output)
    tested, wanted = RateRange(lowest, highest, steps), adopt_metadata(read, weights)
    manifest, prepared = read_manifest(cohort), open_store(store)
    check_store(prepared, wanted)
    wanted = settle_picture_sizes(wanted, prepared.settings)
    wanted = _settle_micro(wanted, manifest, prepared, fold=fold, name=recipe)
    with progress_bar(f"find-lr fold {fold}", steps) as advance:
        curve = run_range_test(wanted, manifest, prepared, fold=fold, tested=tested, on_step=advance)
    try:
        proposed = propose_rate(curve)
    except ConfigError as error:
        _write(curve, output, proposed=None)
        raise ConfigError(f"{error}; {output} shows the curve") from error
    _write(curve, output, proposed=proposed)
    facts = {
        "recipe": recipe,
        "fold": fold,
        "rate": proposed,
        "steps": len(curve.losses),
        "loss_ran_away": curve.has_run_away,
        "picture": output,
        "points": output.with_suffix(".csv"),
        "add": f"--set optimizer.rate={proposed:g}",
    }
    print_summary("proposed", facts, as_json=as_json)


def _settle_micro(
    recipe: "Recipe", manifest: "pl.DataFrame", store: "PreparedStore", *, fold: int, name: str
) -> "Recipe":
    """The recipe with what `batch.micro = "auto"` comes to here."""
    from mammoscope.learning.processes import Processes, share_batch
    from mammoscope.learning.scoring import choose_device
    from mammoscope.learning.training import choose_micro

    if recipe.batch.micro != "auto":
        return recipe
    processes = Processes(choose_device())
    found = choose_micro(manifest, store, fold=fold, recipe=recipe, processes=processes)
    return share_batch(recipe, processes.n, name, micro=found)


def _write(curve: "RateCurve", output: Path, *, proposed: float | None) -> None:
    from mammoscope.learning.rate_figure import draw_curve, write_points

    write_points(curve, output.with_suffix(".csv"))
    draw_curve(curve, output, proposed=proposed)
