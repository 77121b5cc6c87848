"""Which rows an epoch trains on, in which order: small, pure sampling strategies, applied after splitting.

A strategy is a function of the rows that may be trained on and of the chance of the epoch. It gives back rows of those,
never others: what is held out is taken away before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from mammoscope.cohort.matching import (
    DEFAULT_AGE_WITHIN_YEARS,
    DEFAULT_MATCH,
    MATCH_COLUMNS,
    MatchColumn,
    match_controls,
    tabulate_balance,
)
from mammoscope.config import Settings

SamplingStrategy = Literal[
    "all", "matched-controls", "matched", "undersample", "upsample", "balanced-batch", "hard-negatives"
]
STRATEGIES: tuple[SamplingStrategy, ...] = get_args(SamplingStrategy)
USED_KEYS: dict[SamplingStrategy, frozenset[str]] = {
    "all": frozenset(),
    "matched-controls": frozenset(),
    "matched": frozenset({"controls_per_case", "match", "age_within_years"}),
    "undersample": frozenset({"controls_per_case"}),
    "upsample": frozenset({"controls_per_case", "repeat_strength"}),
    "balanced-batch": frozenset({"controls_per_case", "least_cases", "repeat_strength"}),
    "hard-negatives": frozenset({"controls_per_case", "hard_share", "scores"}),
}

Places = NDArray[np.int64]


class BalanceSettings(Settings):
    """How cases and controls are weighed, counted in images; each key is for the strategies that `USED_KEYS` names.

    `repeat_strength` multiplies the changes of a case's picture from its second time in an epoch on; `hard_share` is
    the part of an epoch's controls that are the hardest there are; `scores` is a file of an earlier run that says so.
    `match` names the columns in which a control is like its case: equal, or for `age_years` at most `age_within_years`
    apart.
    """

    controls_per_case: Annotated[float, Field(gt=0)] = 1.0
    least_cases: Annotated[int, Field(ge=1)] = 1
    repeat_strength: Annotated[float, Field(ge=1, le=10)] = 1.5
    hard_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    scores: str | None = None
    match: tuple[MatchColumn, ...] = DEFAULT_MATCH
    age_within_years: Annotated[float, Field(ge=0)] = DEFAULT_AGE_WITHIN_YEARS

    @field_validator("match")
    @classmethod
    def _once_each(cls, match: tuple[MatchColumn, ...]) -> tuple[MatchColumn, ...]:
        if len(set(match)) != len(match):
            raise ValueError("expected each column once")
        return match


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCounts:
    """What an epoch has: images as often as they come, patients and machines (those that are known) once each."""

    case_images: int
    control_images: int
    patients: int
    machines: int


class _Seen(NamedTuple):
    """What a strategy sees: the places of cases and of controls, how hard each row is, the rows, and what is asked."""

    cases: Places
    controls: Places
    hardness: NDArray[np.float64]
    table: pl.DataFrame
    settings: BalanceSettings
    batch_size: int

    @property
    def n_wanted_controls(self) -> int:
        """`controls_per_case` times the cases, at most all controls."""
        return min(len(self.controls), _round(len(self.cases) * self.settings.controls_per_case))


def sample_rows(manifest: pl.DataFrame, strategy: SamplingStrategy) -> pl.DataFrame:
    """The rows that a strategy may ever draw; rows whose outcome is undetermined are never among them.

    `matched-controls` is the public baseline's way: all images of patients with cancer, so that the healthy breast
    is the control of the other. It takes no heed of who lacks one: a patient with images of one side only, or with
    cancer in both breasts, brings cases without a control, and a view that only one side has stays without its pair.
    `matched` draws controls of patients without cancer only.
    """
    determined = manifest.filter(pl.col("cancer").is_not_null())
    if strategy == "matched-controls":
        return determined.filter(pl.col("cancer").any().over("patient_id"))
    if strategy == "matched":
        return determined.filter(pl.col("cancer") | ~pl.col("cancer").any().over("patient_id"))
    return determined


def draw_epoch(
    rows: pl.DataFrame,
    strategy: SamplingStrategy,
    settings: BalanceSettings,
    *,
    batch_size: int,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """The rows of an epoch in the order in which they are seen, with `position` (in `rows`) and `strength`.

    Every epoch of the same rows has as many; which they are and their order is for the chance of the epoch, `rng`.
    `strength` is 1, or `repeat_strength` for a case from its second time in the epoch on. Where `rows` have a column
    `score`, the higher is the harder.

    What fills no whole batch at the end is left out by `EpochSampler`, cases too, but for `balanced-batch`.

    - `all`, `matched-controls`: every row once.
    - `matched`: every case once, and for each breast with cancer `controls_per_case` breasts without, to the nearest
      whole number, like it in `match` and with as many images; others in each epoch. A breast for which there are too
      few is trained on with those there are, or alone. See `match_controls`.
    - `undersample`: every case once, and `controls_per_case` times as many controls, others in each epoch.
    - `upsample`: every control once, and cases until there is one for each `controls_per_case` controls, all of them
      equally often to one.
    - `balanced-batch`: batches of `batch_size` with one case in 1 + `controls_per_case`, `least_cases` at the least;
      controls at most once, as many batches as they fill, cases equally often to one.
    - `hard-negatives`: every case once, and `controls_per_case` times as many controls, of which `hard_share` are the
      hardest, by score, or else difficult negatives before others; the rest by chance.
    """
    eligible = sample_rows(rows.with_row_index("position"), strategy)
    cancer = eligible["cancer"].to_numpy()
    seen = _Seen(np.flatnonzero(cancer), np.flatnonzero(~cancer), _hardness(eligible), eligible, settings, batch_size)
    places = _WAYS[strategy](seen, rng)
    is_repeat = np.ones(len(places), dtype=np.bool_)
    is_repeat[np.unique(places, return_index=True)[1]] = False  # the first time that each comes
    strength = pl.Series("strength", np.where(is_repeat, settings.repeat_strength, 1.0), dtype=pl.Float64)
    return eligible[places].with_columns(strength)


def tabulate_match(rows: pl.DataFrame, settings: BalanceSettings, *, rng: np.random.Generator) -> pl.DataFrame:
    """How even `matched` makes the cases and controls of the epoch that `draw_epoch` draws by the same chance.

    A row for each column that can be matched by: `column`, `is_matched`, and `before` and `after` of
    `tabulate_balance`.
    """
    eligible = sample_rows(rows, "matched")
    table = tabulate_balance(eligible, _match_rows(eligible, settings, rng), columns=MATCH_COLUMNS)
    return table.select("column", pl.col("column").is_in(settings.match).alias("is_matched"), "before", "after")


def count_epoch(rows: pl.DataFrame) -> EpochCounts:
    """How many images of cases and controls, patients and machines the rows of an epoch have."""
    n_cases = int(rows["cancer"].sum())
    return EpochCounts(
        case_images=n_cases,
        control_images=rows.height - n_cases,
        patients=rows["patient_id"].n_unique(),
        machines=rows["machine"].drop_nulls().n_unique(),
    )


def count_cases_of_batch(settings: BalanceSettings, batch_size: int) -> int:
    """How many images of a batch of `balanced-batch` are of cases; one at least is of a control."""
    by_ratio = _round(batch_size / (1 + settings.controls_per_case))
    return min(max(settings.least_cases, by_ratio), batch_size - 1)


def _each_once(seen: _Seen, rng: np.random.Generator) -> Places:
    return rng.permutation(len(seen.cases) + len(seen.controls))


def _match(seen: _Seen, rng: np.random.Generator) -> Places:
    return rng.permutation(np.flatnonzero(_match_rows(seen.table, seen.settings, rng).is_not_null()))


def _match_rows(rows: pl.DataFrame, settings: BalanceSettings, rng: np.random.Generator) -> pl.Series:
    return match_controls(
        rows,
        columns=settings.match,
        age_within_years=settings.age_within_years,
        controls_per_case=_round(settings.controls_per_case),
        rng=rng,
    )


def _undersample(seen: _Seen, rng: np.random.Generator) -> Places:
    return rng.permutation(np.concatenate([seen.cases, rng.permutation(seen.controls)[: seen.n_wanted_controls]]))


def _upsample(seen: _Seen, rng: np.random.Generator) -> Places:
    n_repeats = max(0, _round(len(seen.controls) / seen.settings.controls_per_case) - len(seen.cases))
    return rng.permutation(np.concatenate([seen.cases, seen.controls, _cycle(seen.cases, n_repeats, rng)]))


def _balance_batches(seen: _Seen, rng: np.random.Generator) -> Places:
    n_cases = count_cases_of_batch(seen.settings, seen.batch_size)
    n_controls = seen.batch_size - n_cases
    n_batches = len(seen.controls) // n_controls if len(seen.cases) else 0
    cases = _cycle(seen.cases, n_batches * n_cases, rng).reshape(n_batches, n_cases)
    controls = rng.permutation(seen.controls)[: n_batches * n_controls].reshape(n_batches, n_controls)
    return rng.permuted(np.hstack([cases, controls]), axis=1).ravel()  # (batch * image,)


def _prefer_hard(seen: _Seen, rng: np.random.Generator) -> Places:
    n_hard = _round(seen.n_wanted_controls * seen.settings.hard_share)
    by_chance = rng.permutation(seen.controls)
    hardest_first = by_chance[np.argsort(-seen.hardness[by_chance], kind="stable")]  # chance decides among equals
    others = rng.permutation(hardest_first[n_hard:])[: seen.n_wanted_controls - n_hard]
    return rng.permutation(np.concatenate([seen.cases, hardest_first[:n_hard], others]))


_WAYS: dict[SamplingStrategy, Callable[[_Seen, np.random.Generator], Places]] = {
    "all": _each_once,
    "matched-controls": _each_once,
    "matched": _match,
    "undersample": _undersample,
    "upsample": _upsample,
    "balanced-batch": _balance_batches,
    "hard-negatives": _prefer_hard,
}


def _hardness(rows: pl.DataFrame) -> NDArray[np.float64]:
    """The score of each row where there are some, else 1 for difficult negatives and 0 for others; unknown is least."""
    measure = pl.col("score") if "score" in rows.columns else pl.col("difficult_negative").cast(pl.Float64)
    hardness: NDArray[np.float64] = rows.select(measure.fill_null(-1.0)).to_series().to_numpy()
    return hardness


def _cycle(members: Places, n: int, rng: np.random.Generator) -> Places:
    """Places, `n` of them, each of the members equally often to one: one shuffle after another."""
    n_shuffles = -(-n // len(members)) if len(members) else 0
    shuffles = [rng.permutation(members) for _ in range(n_shuffles)]
    return np.concatenate([*shuffles, members[:0]])[:n]


def _round(number: float) -> int:
    """The nearest whole number, the larger of two that are as near."""
    return int(number + 0.5)
