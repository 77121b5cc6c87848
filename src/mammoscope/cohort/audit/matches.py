"""How far cases are from controls in what a match may even out, and how far from matched controls."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from mammoscope.cohort.matching import (
    DEFAULT_AGE_WITHIN_YEARS,
    DEFAULT_MATCH,
    MATCH_COLUMNS,
    MatchColumn,
    count_matches,
    match_controls,
    tabulate_balance,
)
from mammoscope.errors import UserInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchPlan:
    """Which controls a case is given, as `match_controls` has it."""

    columns: tuple[MatchColumn, ...] = DEFAULT_MATCH
    controls_per_case: int = 1
    age_within_years: float = DEFAULT_AGE_WITHIN_YEARS


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBalance:
    """The standardised differences of a column, see `tabulate_balance`; None where they are not defined."""

    column: str
    is_matched: bool
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchAudit:
    """The balance of each column that can be matched by, and of breasts: cases, those short of controls, and controls.

    `age_within_years` is None where age is not matched by.
    """

    columns: tuple[ColumnBalance, ...]
    n_cases: int
    n_short: int
    n_without: int
    n_controls: int
    controls_per_case: int
    age_within_years: float | None


def audit_match(manifest: pl.DataFrame, plan: MatchPlan, *, rng: np.random.Generator) -> MatchAudit | None:
    """The balance before and after a match; None where nothing matches."""
    match = match_controls(
        manifest,
        columns=plan.columns,
        age_within_years=plan.age_within_years,
        controls_per_case=plan.controls_per_case,
        rng=rng,
    )
    counts = count_matches(manifest, match, controls_per_case=plan.controls_per_case)
    if not counts.n_controls:
        return None
    table = tabulate_balance(manifest, match, columns=MATCH_COLUMNS)
    return MatchAudit(
        columns=tuple(
            ColumnBalance(is_matched=row["column"] in plan.columns, **row) for row in table.iter_rows(named=True)
        ),
        n_cases=counts.n_cases,
        n_short=counts.n_short,
        n_without=counts.n_without,
        n_controls=counts.n_controls,
        controls_per_case=plan.controls_per_case,
        age_within_years=plan.age_within_years if "age_years" in plan.columns else None,
    )


def parse_match(text: str) -> tuple[MatchColumn, ...]:
    """The columns of a list such as `view,age_years`, each once.

    Raises:
        UserInputError: a column that cannot be matched by, or one that comes twice.
    """
    names = [name.strip() for name in text.split(",")]
    columns = tuple(column for name in names for column in MATCH_COLUMNS if column == name)
    if len(columns) != len(names) or len(set(columns)) != len(columns):
        raise UserInputError(
            f"--match: found {text!r}, expected some of {', '.join(MATCH_COLUMNS)}, each once, with commas between"
        )
    return columns
