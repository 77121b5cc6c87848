"""`mammoscope split`: folds of whole patients, written into the manifest."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mammoscope.cli.console import JsonOption, print_summary, warn
from mammoscope.errors import UserInputError

if TYPE_CHECKING:
    import polars as pl

DEFAULT_FOLDS = 4
Place = Literal["site", "machine"]


def split(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder, or its manifest.parquet.")],
    folds: Annotated[
        int | None, typer.Option(help=f"Number of folds, 2 or more.  [default: {DEFAULT_FOLDS}]", show_default=False)
    ] = None,
    hold_out: Annotated[
        float | None, typer.Option(help="Instead of folds: the share of the patients to hold out, as fold 0.")
    ] = None,
    leave_one_out: Annotated[
        Place | None, typer.Option(help="Instead of folds: a fold for each site or machine.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--from", help="Instead of folds: a CSV or Parquet table that has them.")
    ] = None,
    fold_column: Annotated[
        str | None, typer.Option(help="The column of the folds in that table.  [default: fold]", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the shuffle.  [default: 0]", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Deal whole patients into folds that are like the whole, or hold out a share, a site or a machine.

    Example: mammoscope split cohort --folds 4
    """
    from mammoscope.cohort.manifest import manifest_hash, read_manifest, write_manifest

    ways = {"--folds": folds, "--hold-out": hold_out, "--leave-one-out": leave_one_out, "--from": table}
    _check_ways([name for name, value in ways.items() if value is not None], fold_column)
    if seed is not None:
        _check_seed("--leave-one-out" if leave_one_out is not None else "--from" if table is not None else None)
    manifest = read_manifest(cohort)
    if leave_one_out is not None:
        manifest = _leave_one_out(manifest, leave_one_out)
    elif table is not None:
        manifest = _import_folds(manifest, table, fold_column or "fold")
    else:
        manifest = _stratify(manifest, n_folds=folds, share=hold_out, seed=seed or 0)
    facts = _summarise(manifest, leave_one_out)
    _warn_of_folds(manifest, is_meant=leave_one_out is not None)
    path = write_manifest(manifest, cohort)
    if as_json:
        print_summary("", facts | {"manifest": path, "sha256": manifest_hash(manifest)}, as_json=True)
        return
    lines = _describe(facts["folds"], leave_one_out, facts.get("largest_imbalance"))
    sys.stdout.write("\n".join([*lines, f"  manifest: {path}"]) + "\n")


def _check_ways(given: list[str], fold_column: str | None) -> None:
    """Refuse two ways to split at once.

    Raises:
        UserInputError: two ways are given, or a column of a table without one.
    """
    if len(given) > 1:
        raise UserInputError(f"{' and '.join(given)}: each says how to split, expected one of them")
    if fold_column is not None and "--from" not in given:
        raise UserInputError(f"--fold-column: found {fold_column!r} without a table; give the table with --from")


def _check_seed(way: str | None) -> None:
    """Refuse a seed where chance has no hand in the folds.

    Raises:
        UserInputError: with the way to split.
    """
    if way is not None:
        raise UserInputError(f"--seed: found with {way}, which leaves nothing to chance; leave it out")


def _warn_of_folds(manifest: "pl.DataFrame", *, is_meant: bool) -> None:
    """Say which folds measure nothing, and, unless other shares of cancer are meant, how far they are off."""
    from mammoscope.cohort.fold_balance import (
        LARGEST_IMBALANCE,
        largest_of_prevalence,
        list_empty_folds,
        tabulate_folds,
    )

    empty = list_empty_folds(manifest)
    if empty:
        warn(
            f"folds without a breast with cancer: {', '.join(map(str, empty))}; a fold without a case measures nothing"
        )
    largest = largest_of_prevalence(tabulate_folds(manifest))
    if not is_meant and largest is not None and largest > LARGEST_IMBALANCE:
        warn(
            f"the share of breasts with cancer of a fold is {largest:.0%} off that of all, "
            f"more than {LARGEST_IMBALANCE:.0%}; split into fewer folds or hold out more, "
            "or compare figures of folds with care"
        )


def _stratify(manifest: "pl.DataFrame", *, n_folds: int | None, share: float | None, seed: int) -> "pl.DataFrame":
    import numpy as np

    from mammoscope.cohort.splits import assign_folds, hold_out

    rng = np.random.Generator(np.random.PCG64(seed))  # by name: which generator default_rng takes may change
    if share is not None:
        return hold_out(manifest, share=share, rng=rng)
    return assign_folds(manifest, n_folds=DEFAULT_FOLDS if n_folds is None else n_folds, rng=rng)


def _leave_one_out(manifest: "pl.DataFrame", place: Place) -> "pl.DataFrame":
    from mammoscope.cohort.splits import count_travellers, leave_one_out, list_places

    split_manifest = leave_one_out(manifest, place)
    travellers = count_travellers(manifest, place)
    if travellers:
        warn(
            f"--leave-one-out {place}: patients with images of more than one {place}: {travellers}; "
            "each stands whole in the fold of most of her images"
        )
    held_out = set(split_manifest["fold"])
    without = [name for fold, name in enumerate(list_places(manifest, place)) if fold not in held_out]
    if without:
        warn(
            f"--leave-one-out {place}: no patient has most of her images of {place} {', '.join(without)}, "
            "so that it has no fold and is never left out"
        )
    return split_manifest


def _import_folds(manifest: "pl.DataFrame", table: Path, column: str) -> "pl.DataFrame":
    from mammoscope.cohort.splits import import_folds, read_fold_table

    return import_folds(manifest, read_fold_table(table), column=column, where=str(table))


def _summarise(manifest: "pl.DataFrame", place: Place | None) -> dict[str, Any]:
    """The folds, and where chance had a hand in them, how far they are from the whole."""
    from mammoscope.cohort.fold_balance import largest_imbalance, tabulate_folds
    from mammoscope.cohort.splits import list_places, summarise_folds

    folds = summarise_folds(manifest).to_dicts()
    if place is None:
        return {"folds": folds, "largest_imbalance": largest_imbalance(tabulate_folds(manifest))}
    places = list_places(manifest, place)
    return {"folds": [{place: places[row["fold"]]} | row for row in folds]}


def _describe(folds: list[dict[str, Any]], place: Place | None, largest: dict[str, Any] | None) -> Iterator[str]:
    from mammoscope.cohort.fold_balance import name_stratum

    yield "split"
    for row in folds:
        name = "never held out" if row["fold"] is None else f"fold {row['fold']}"
        where = "" if place is None else f" ({place} {row[place]})"
        yield (
            f"  {name}{where}: {row['n_patients']} patients, {row['n_images']} images, {row['n_breasts']} breasts, "
            f"{row['n_cases']} with cancer{_prevalence(row)}"
        )
    if largest is not None:
        name = name_stratum(largest["stratum"], largest["value"])
        yield (
            f"  largest imbalance: {largest['imbalance']:+.1%}, fold {largest['fold']}, {name}: "
            f"{largest['n']} {largest['unit']}, {largest['n_expected']:.1f} expected"
        )


def _prevalence(row: dict[str, Any]) -> str:
    breasts, images = row["breast_prevalence"], row["image_prevalence"]
    return "" if breasts is None else f" ({breasts:.2%} of breasts, {images:.2%} of images)"
