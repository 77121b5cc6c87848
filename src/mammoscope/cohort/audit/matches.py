"""How far cases are from controls in what a match evens out, and how far from one matched control for each."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from mammoscope.cohort.matching import (
    DEFAULT_AGE_WITHIN_YEARS,
    DEFAULT_MATCH,
    count_matches,
    match_controls,
    tabulate_balance,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBalance:
    """The standardised differences of a column, see `tabulate_balance`; None where they are not defined."""

    column: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchAudit:
    """The balance of each column of the default match, in breasts: cases, those without any control, and controls."""

    columns: tuple[ColumnBalance, ...]
    n_cases: int
    n_without: int
    n_controls: int
    age_within_years: float = DEFAULT_AGE_WITHIN_YEARS


def audit_match(manifest: pl.DataFrame, *, rng: np.random.Generator) -> MatchAudit | None:
    """The balance before and after the default match with one control for each case; None where nothing matches."""
    match = match_controls(manifest, columns=DEFAULT_MATCH, rng=rng)
    counts = count_matches(manifest, match)
    if not counts.n_controls:
        return None
    table = tabulate_balance(manifest, match, columns=DEFAULT_MATCH)
    return MatchAudit(
        columns=tuple(ColumnBalance(**row) for row in table.iter_rows(named=True)),
        n_cases=counts.n_cases,
        n_without=counts.n_without,
        n_controls=counts.n_controls,
    )
