"""Control breasts like those with cancer: equal in columns, nearest in age; and how even that makes them.

Pure functions of the rows of a cohort. The unit is the breast; all of its images come along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.exam import BREAST

# What follows from the diagnosis (BI-RADS, biopsy and their like) is not here: cases and controls made equal in it have
# nothing left to tell them apart.
MatchColumn = Literal[
    "age_years", "density", "implant", "laterality", "machine", "manufacturer", "site", "source", "view"
]
MATCH_COLUMNS: tuple[MatchColumn, ...] = get_args(MatchColumn)
DEFAULT_MATCH: tuple[MatchColumn, ...] = ("view", "site", "machine", "age_years")
DEFAULT_AGE_WITHIN_YEARS = 5.0  # half of the ten-year age bands that folds are stratified by

_BETWEEN = "\x1f"  # the control character "unit separator", which stands in no value
_BALANCE_SCHEMA = {"column": pl.String(), "before": pl.Float64(), "after": pl.Float64()}

_ROUNDING = 1e-12

Indices = NDArray[np.int64]
Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchCounts:
    """Breasts: cases, those of them with fewer controls than asked for, those without any, and matched controls."""

    n_cases: int
    n_short: int
    n_without: int
    n_controls: int


def match_controls(
    rows: pl.DataFrame,
    *,
    columns: Sequence[MatchColumn] = DEFAULT_MATCH,
    age_within_years: float = DEFAULT_AGE_WITHIN_YEARS,
    controls_per_case: int = 1,
    rng: np.random.Generator,
) -> pl.Series:
    """The number of the matched set that each row is in, from 0, one set for each breast with cancer; null: in none.

    A case gets `controls_per_case` breasts of patients of whom no breast in `rows` has cancer. They have as many
    images, are equal in every one of the columns but `age_years`, and if that is one, nearest in age and at most
    `age_within_years` apart. No breast comes twice; two breasts of one patient may come.

    - Cases choose in turns, in an order by chance: each its first control, then each its second. Of controls that are
      as near, chance takes one. A case that finds none left makes others change theirs for another within the years,
      so that as many cases as can be have a first control, then a second. How many have one is thus not for chance.
    - A case without enough controls stays, with those it has or alone; `count_matches` counts such cases.
    - A missing value equals a missing value only. Of a breast whose images differ in a column, all known values count
      (of `view` also how often), and the mean of the known ages.
    """
    breasts = _describe_breasts(rows, columns)
    match = _match_breasts(
        breasts, columns, age_within_years=age_within_years, controls_per_case=controls_per_case, rng=rng
    )
    numbered = breasts.select(*BREAST, pl.Series("match", match).replace(-1, None))
    return rows.select(BREAST).join(numbered, on=BREAST, how="left", maintain_order="left")["match"]


def count_matches(rows: pl.DataFrame, match: pl.Series, *, controls_per_case: int = 1) -> MatchCounts:
    """How many cases and controls the sets of `match_controls` hold, and how many cases lack controls."""
    breasts = rows.with_columns(match.alias("match")).filter(pl.col("match").is_not_null()).unique(BREAST)
    n_controls = breasts.group_by("match").agg((~pl.col("cancer")).sum().alias("n"))["n"]
    return MatchCounts(
        n_cases=n_controls.len(),
        n_short=int((n_controls < controls_per_case).sum()),
        n_without=int((n_controls == 0).sum()),
        n_controls=int(n_controls.sum()),
    )


def tabulate_balance(
    rows: pl.DataFrame, match: pl.Series, *, columns: Sequence[MatchColumn] = DEFAULT_MATCH
) -> pl.DataFrame:
    """How far cases are from controls in each `column`, `before` and `after` the match, as standardised differences.

    Before: from all breasts that may be controls, each counting once; after: from the matched ones, those of a case
    counting for one together. Cases without a control count too, because they are trained on. Sizes without a sign; 0
    is alike, above 0.1 is commonly taken for uneven. For ages that of the means of the known ones; for others the
    largest of the values, a missing one among them. Both are measured in the standard deviation before the match, so
    that a spread that the match made smaller does not pass for a difference. Null where a side has no breast (or one
    known age, before), or where there is no spread to measure by and the sides differ.

    Sources: Austin 2009, doi:10.1002/sim.3697, section 3.1; the weights: Austin 2008, doi:10.1002/pds.1674; the spread
    before: Stuart 2010, doi:10.1214/09-STS313.
    """
    breasts = _describe_breasts(rows.with_columns(match.alias("match")), columns)
    cases, controls = breasts.filter("is_case"), breasts.filter("is_control")
    is_matched = pl.col("match").is_not_null()
    weight = pl.when(is_matched).then(1 / pl.len().over("match")).otherwise(0.0)
    weights = controls.select(weight).to_series().to_numpy()
    measured = [(column, *_measure_differences(cases[column], controls[column], weights=weights)) for column in columns]
    return pl.DataFrame(measured, schema=_BALANCE_SCHEMA, orient="row")


def _describe_breasts(rows: pl.DataFrame, columns: Sequence[MatchColumn]) -> pl.DataFrame:
    """A row for each breast: its values of the columns, `n_images`, whether it `is_case`, and may be a control."""
    has_cancer = pl.col("cancer").any().over("patient_id")
    described = (*("match",), *columns) if "match" in rows.columns else columns
    keys = [_describe(column) for column in described if column not in BREAST]
    breasts = rows.group_by(BREAST, maintain_order=True).agg(
        pl.col("patient_id").first(), pl.col("cancer").first(), pl.len().alias("n_images"), *keys
    )
    return breasts.with_columns(
        pl.col("cancer").fill_null(value=False).alias("is_case"),
        (~pl.col("cancer") & ~has_cancer).fill_null(value=False).alias("is_control"),
    )


def _describe(column: str) -> pl.Expr:
    if column == "match":
        return pl.col(column).first()
    if column == "age_years":
        return pl.col(column).mean()
    known = pl.col(column).cast(pl.String).drop_nulls()
    joined = (known if column == "view" else known.unique()).sort().str.join(_BETWEEN)
    return pl.when(pl.col(column).count() > 0).then(joined).alias(column)


def _match_breasts(
    breasts: pl.DataFrame,
    columns: Sequence[MatchColumn],
    *,
    age_within_years: float,
    controls_per_case: int,
    rng: np.random.Generator,
) -> Indices:
    """The set of each breast, -1 for none."""
    is_case = breasts["is_case"].to_numpy()
    match = np.where(is_case, np.cumsum(is_case) - 1, -1)
    # without ages all are equally near
    age = pl.col("age_years") if "age_years" in columns else pl.lit(0.0)
    exact = [column for column in columns if column != "age_years"]
    strata = (
        breasts.with_row_index("breast")
        .filter(pl.col("is_case") | pl.col("is_control"))
        .with_columns(age.is_null().alias("is_age_missing"), age.fill_null(0.0).alias("age"))
        .group_by(*exact, "n_images", "is_age_missing", maintain_order=True)
        .agg("breast", "is_case", "age")
        .filter(pl.col("is_case").list.any(), ~pl.col("is_case").list.all())
    )
    for breast, case, ages in strata.select("breast", "is_case", "age").iter_rows():
        places, of_case, years = np.array(breast), np.array(case), np.array(ages)
        stratum = _Stratum(years[of_case], years[~of_case], within=age_within_years, rng=rng)
        owner = stratum.match(controls_per_case)
        match[places[~of_case][owner >= 0]] = match[places[of_case]][owner[owner >= 0]]
    return match


class _Stratum:
    """Cases and controls that differ in age alone; controls stand by age, equal ones in an order by chance."""

    def __init__(
        self, cases: NDArray[np.float64], controls: NDArray[np.float64], *, within: float, rng: np.random.Generator
    ) -> None:
        by_chance = rng.permutation(len(controls))
        self.order = by_chance[np.argsort(controls[by_chance], kind="stable")]
        self.ages, self.case_ages, self.rng = controls[self.order], cases, rng
        self.low = np.searchsorted(self.ages, cases - within, side="left")
        self.high = np.searchsorted(self.ages, cases + within, side="right")
        self.middle = np.searchsorted(self.ages, cases, side="left")
        self.owner = np.full(len(controls), -1, dtype=np.int64)
        # where a search for a free control goes on: a free one points at itself; shifted by one for an end on the left
        self.rightwards = list(range(len(controls) + 1))
        self.leftwards = list(range(len(controls) + 1))

    def match(self, n_rounds: int) -> Indices:
        """The case of each control, -1 for none."""
        hopeful = np.arange(len(self.case_ages))
        for _ in range(n_rounds):
            turns = self.rng.permutation(hopeful)
            prefers_older = self.rng.random(len(turns)) < 0.5  # noqa: PLR2004  # one in two, among two as near
            served = [self._serve(int(case), bool(older)) for case, older in zip(turns, prefers_older, strict=True)]
            hopeful = np.sort(turns[np.array(served, dtype=np.bool_)])  # who finds none now will find none later
        found = np.full_like(self.owner, -1)
        found[self.order] = self.owner
        return found

    def _serve(self, case: int, prefers_older: bool) -> bool:  # noqa: FBT001  # a draw of chance, not a switch
        older, younger = self._first_from(int(self.middle[case])), self._last_before(int(self.middle[case]))
        to_older = self.ages[older] - self.case_ages[case] if older < self.high[case] else np.inf
        to_younger = self.case_ages[case] - self.ages[younger] if younger >= self.low[case] else np.inf
        if np.isinf(to_older) and np.isinf(to_younger):
            return self._make_others_change(case)
        takes_older = prefers_older if to_older == to_younger else to_older < to_younger
        self._take(older if takes_older else younger, case)
        return True

    def _make_others_change(self, case: int) -> bool:
        """Whether the case gets a control because the owners of those it could have change theirs, one by one.

        What can be reached is an interval: each owner reaches an interval around the control that it has. So only the
        owners that reach farthest, either way, have to be asked: an augmenting path (Berge 1957).
        """
        low, high = int(self.low[case]), int(self.high[case])
        reached = [(low, high, case, -1)]  # controls from, to before; who reaches them, and by giving up which
        for start, end, _, _ in reached:  # it grows meanwhile
            if start == end:
                continue
            owners = self.owner[start:end]
            left, right = int(np.argmin(self.low[owners])), int(np.argmax(self.high[owners]))
            for farthest, first, last in (
                (left, int(self.low[owners[left]]), low),
                (right, high, int(self.high[owners[right]])),
            ):
                if first >= last:
                    continue
                reached.append((first, last, int(owners[farthest]), start + farthest))
                free = self._first_from(first)
                if free < last:
                    self._pass_on(free, reached)
                    return True
            low, high = min(low, int(self.low[owners[left]])), max(high, int(self.high[owners[right]]))
        return False

    def _pass_on(self, free: int, reached: list[tuple[int, int, int, int]]) -> None:
        """Give the free control to who reaches it, what that one gives up to the next, until the first has one."""
        control = free
        while control >= 0:
            _, _, case, given_up = next(each for each in reached if each[0] <= control < each[1])
            self._take(control, case)
            control = given_up

    def _take(self, control: int, case: int) -> None:
        self.owner[control] = case
        self.rightwards[control] = control + 1
        self.leftwards[control + 1] = control

    def _first_from(self, control: int) -> int:
        """The first free control from this one on; the number of controls where none is."""
        return _follow(self.rightwards, control)

    def _last_before(self, control: int) -> int:
        """The last free control before this one; -1 where none is."""
        return _follow(self.leftwards, control) - 1


def _follow(onwards: list[int], place: int) -> int:
    """The end of the way from a place; the way is made shorter for the next time."""
    while onwards[place] != place:
        onwards[place] = onwards[onwards[place]]
        place = onwards[place]
    return place


def _measure_differences(
    cases: pl.Series, controls: pl.Series, *, weights: Weights
) -> tuple[float | None, float | None]:
    """The standardised differences from all controls, and from the matched ones, which have a weight."""
    if cases.dtype == pl.Float64:
        known = controls.is_not_null().to_numpy()
        return _compare_numbers(cases.drop_nulls().to_numpy(), controls.drop_nulls().to_numpy(), weights=weights[known])
    if cases.is_empty() or controls.is_empty():
        return None, None
    levels = pl.concat([cases, controls]).unique(maintain_order=True)
    of_levels = [
        _compare_shares(*(side.eq_missing(level).to_numpy() for side in (cases, controls)), weights=weights)
        for level in levels
    ]
    before, after = zip(*of_levels, strict=True)
    return _largest(before), _largest(after)


def _compare_numbers(
    cases: NDArray[np.float64], controls: NDArray[np.float64], *, weights: Weights
) -> tuple[float | None, float | None]:
    if min(len(cases), len(controls)) < 2:  # noqa: PLR2004  # one has no variance
        return None, None
    variance = (cases.var(ddof=1) + controls.var(ddof=1)) / 2
    before = _standardise(cases.mean() - controls.mean(), variance)
    if not weights.any():
        return before, None
    return before, _standardise(cases.mean() - np.average(controls, weights=weights), variance)


def _compare_shares(
    cases: NDArray[np.bool_], controls: NDArray[np.bool_], *, weights: Weights
) -> tuple[float | None, float | None]:
    share, other = float(cases.mean()), float(controls.mean())
    variance = (share * (1 - share) + other * (1 - other)) / 2
    before = _standardise(share - other, variance)
    if not weights.any():
        return before, None
    return before, _standardise(share - float(np.average(controls, weights=weights)), variance)


def _largest(differences: Sequence[float | None]) -> float | None:
    """The largest difference of the values of a category, where all are defined."""
    defined = [each for each in differences if each is not None]
    return max(defined) if len(defined) == len(differences) else None


def _standardise(difference: float, variance: float) -> float | None:
    if abs(difference) < _ROUNDING:  # of weights that are not whole
        return 0.0
    return float(abs(difference) / np.sqrt(variance)) if variance > 0 else None
