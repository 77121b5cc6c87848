"""How alike the folds of a cohort are: what each holds, and the strata in which it strays from the whole."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from mammoscope.cohort.fold_balance import LEAST_EXPECTED, largest_imbalance, largest_of_prevalence, tabulate_folds
from mammoscope.cohort.splits import summarise_folds

_JOINT = " and "  # stands in the names of strata of two columns


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSize:
    """A fold (None: never held out) and what is in it; `n_cases` counts breasts, the share is of those known."""

    fold: int | None
    n_patients: int
    n_images: int
    n_breasts: int
    n_cases: int
    share_of_cases: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """A value of a stratum, and how far each fold is from its share of it: 0.05 is 5 % too many."""

    stratum: str
    value: str
    unit: str
    n: int
    imbalances: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    """The stratum and fold that stray furthest."""

    stratum: str
    value: str
    unit: str
    fold: int
    n: int
    n_expected: float
    imbalance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldAudit:
    """The folds in their order; the strata that are frequent enough to be dealt evenly, and how many are not."""

    folds: tuple[FoldSize, ...]
    strata: tuple[Stratum, ...]
    n_rare: int
    largest: Imbalance | None
    largest_of_prevalence: float | None


def audit_folds(manifest: pl.DataFrame) -> FoldAudit | None:
    """The folds of a manifest against the whole; None where it is not split.

    A stratum of which a fold expects fewer than 20 patients is too rare to compare: one more is over 5 %.
    """
    if manifest["fold"].null_count() == manifest.height:
        return None
    table = tabulate_folds(manifest)
    held_out = table.filter(pl.col("fold").is_not_null())
    rows = held_out.group_by("stratum", "value", "unit", maintain_order=True).agg(
        "n", "imbalance", pl.col("n_expected").min()
    )
    shown = rows.filter(~pl.col("stratum").str.contains(_JOINT, literal=True))
    frequent = shown.filter(pl.col("n_expected") >= LEAST_EXPECTED)
    largest = largest_imbalance(table)
    return FoldAudit(
        folds=tuple(_size(row) for row in summarise_folds(manifest).iter_rows(named=True)),
        strata=tuple(_stratum(row) for row in frequent.iter_rows(named=True)),
        n_rare=shown.height - frequent.height,
        largest=None if largest is None else _imbalance(largest),
        largest_of_prevalence=largest_of_prevalence(table),
    )


def _size(row: dict[str, Any]) -> FoldSize:
    return FoldSize(
        fold=row["fold"],
        n_patients=row["n_patients"],
        n_images=row["n_images"],
        n_breasts=row["n_breasts"],
        n_cases=row["n_cases"],
        share_of_cases=row["breast_prevalence"],
    )


def _stratum(row: dict[str, Any]) -> Stratum:
    return Stratum(
        stratum=row["stratum"],
        value=row["value"],
        unit=row["unit"],
        n=sum(row["n"]),
        imbalances=tuple(row["imbalance"]),
    )


def _imbalance(row: dict[str, Any]) -> Imbalance:
    return Imbalance(**{name: row[name] for name in Imbalance.__slots__})
