from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.balance import (
    STRATEGIES,
    USED_KEYS,
    BalanceSettings,
    EpochCounts,
    SamplingStrategy,
    count_cases_of_batch,
    count_epoch,
    draw_epoch,
    sample_rows,
    tabulate_match,
)
from mammoscope.cohort.matching import MATCH_COLUMNS

ManifestOf = Callable[..., pl.DataFrame]


@pytest.fixture
def rows(manifest_of: ManifestOf) -> pl.DataFrame:
    """Three patients with cancer on the left, five without: 6 images of cases, 26 of controls."""
    return manifest_of([True, True, True, *[False] * 5])


def draw(
    rows: pl.DataFrame,
    strategy: SamplingStrategy,
    *,
    seed: int = 0,
    batch_size: int = 4,
    **settings: Any,  # noqa: ANN401  # those of BalanceSettings, which checks them
) -> pl.DataFrame:
    balance = BalanceSettings.model_validate(settings)
    return draw_epoch(rows, strategy, balance, batch_size=batch_size, rng=np.random.default_rng(seed))


def patients(rows: pl.DataFrame) -> set[str]:
    return set(rows["patient_id"])


def times(rows: pl.DataFrame, *, cancer: bool) -> list[int]:
    """How often the images of cases (or controls) come, those that come at all."""
    return sorted(rows.filter(pl.col("cancer") == cancer).group_by("image_id").len()["len"].to_list())


# what holds for every strategy


def test_all_rows_but_the_undetermined_are_trained_on(manifest: pl.DataFrame) -> None:
    assert patients(sample_rows(manifest, "all")) == {"patient0", "patient1", "patient3", "patient4"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_undetermined_breast_is_never_trained_on(manifest: pl.DataFrame, strategy: SamplingStrategy) -> None:
    is_right_of_a_case = (pl.col("patient_id") == "patient0") & (pl.col("laterality") == "R")
    unknown = manifest.with_columns(cancer=pl.when(~is_right_of_a_case).then("cancer"))
    for drawn in (sample_rows(unknown, strategy), draw(unknown, strategy, controls_per_case=100.0)):
        assert drawn["cancer"].null_count() == 0
        assert set(drawn.filter(pl.col("patient_id") == "patient0")["laterality"]) <= {"L"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_rows_stay_no_rows(manifest: pl.DataFrame, strategy: SamplingStrategy) -> None:
    assert sample_rows(manifest.clear(), strategy).is_empty()
    assert draw(manifest.clear(), strategy).is_empty()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cancer", [True, False])
def test_rows_of_one_class_are_no_trouble(manifest: pl.DataFrame, strategy: SamplingStrategy, *, cancer: bool) -> None:
    alike = manifest.with_columns(cancer=pl.lit(cancer))
    assert set(draw(alike, strategy)["cancer"]) <= {cancer}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_chance_of_the_epoch_decides_and_the_rows_say_where_they_are_from(
    rows: pl.DataFrame, strategy: SamplingStrategy
) -> None:
    first, again, other = (draw(rows, strategy, seed=seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first["position"].equals(other["position"])
    assert rows[first["position"]].equals(first.drop("position", "strength"))
    assert first.height == other.height


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cases_and_controls_come_in_no_order(manifest_of: ManifestOf, strategy: SamplingStrategy) -> None:
    """Were cases put first or last, the halves of an epoch would differ by far more than chance."""
    drawn = draw(manifest_of([True] * 30 + [False] * 30), strategy, controls_per_case=1.0)
    half = drawn.height // 2
    first, second = (int(part["cancer"].sum()) for part in (drawn[:half], drawn[half : 2 * half]))
    assert abs(first - second) < 0.3 * (first + second)


# one strategy after the other


@pytest.mark.parametrize("strategy", ["all", "matched-controls"])
def test_each_row_comes_once_in_the_order_of_the_permutation(rows: pl.DataFrame, strategy: SamplingStrategy) -> None:
    eligible = sample_rows(rows, strategy)
    expected = eligible[np.random.default_rng(7).permutation(eligible.height)]
    drawn = draw(rows, strategy, seed=7)
    assert drawn["image_id"].equals(expected["image_id"])
    assert set(drawn["strength"]) == {1.0}


def test_matched_controls_are_the_other_breasts_of_the_cases(manifest: pl.DataFrame) -> None:
    rows = sample_rows(manifest, "matched-controls")
    assert patients(rows) == {"patient0", "patient3"}
    assert rows["cancer"].to_list() == [True, True, False, False] * 2


def test_matched_controls_take_no_heed_of_those_who_have_none(manifest: pl.DataFrame) -> None:
    one_sided = manifest.filter((pl.col("patient_id") != "patient0") | (pl.col("laterality") == "L"))
    drawn = sample_rows(one_sided, "matched-controls")
    assert drawn.filter(pl.col("patient_id") == "patient0")["cancer"].to_list() == [True, True]


def test_matched_draws_controls_of_patients_without_cancer(rows: pl.DataFrame) -> None:
    """Patients 0 and 2 are of site 1 and 40 and 42 years old, patient 1 is of site 2 and 41 years old."""
    eligible = sample_rows(rows, "matched")
    assert eligible.height == 6 + 20
    drawn = draw(rows, "matched", controls_per_case=2.0)
    assert times(drawn, cancer=True) == [1] * 6
    # of site 1 there are the four breasts of patients 4 and 6; of site 2 the nearest is patient 3, with both breasts
    assert times(drawn, cancer=False) == [1] * 12
    assert patients(drawn.filter(~pl.col("cancer"))) == {"patient3", "patient4", "patient6"}
    assert set(drawn["strength"]) == {1.0}


def test_matched_takes_other_controls_in_another_epoch_and_as_many(rows: pl.DataFrame) -> None:
    seen = [set(draw(rows, "matched", seed=seed, match=("view",))["image_id"]) for seed in range(30)]
    assert {len(each) for each in seen} == {12}
    assert len(set.union(*seen)) == 26


def test_a_case_without_a_control_is_trained_on_alone(rows: pl.DataFrame) -> None:
    lonely = draw(rows, "matched", age_within_years=2.0)  # of site 2 is one of 43 years, of site 1 one of 44
    assert count_epoch(lonely) == EpochCounts(case_images=6, control_images=4, patients=5, machines=0)


@pytest.mark.parametrize(("ratio", "n_controls"), [(1.0, 6), (2.5, 15), (0.25, 2), (100.0, 26)])
def test_undersampling_takes_every_case_and_so_many_controls(rows: pl.DataFrame, ratio: float, n_controls: int) -> None:
    drawn = draw(rows, "undersample", controls_per_case=ratio)  # 0.25 of 6 is 1.5, which is rounded up
    assert times(drawn, cancer=True) == [1] * 6
    assert times(drawn, cancer=False) == [1] * n_controls
    assert set(drawn["strength"]) == {1.0}


def test_undersampling_takes_other_controls_in_another_epoch(rows: pl.DataFrame) -> None:
    seen = [set(draw(rows, "undersample", seed=seed).filter(~pl.col("cancer"))["image_id"]) for seed in range(30)]
    assert seen[0] != seen[1]
    assert len(set.union(*seen)) == 26


@pytest.mark.parametrize(
    ("ratio", "cases"),
    [
        (1.0, [4, 4, 4, 4, 5, 5]),  # 26 for 26 controls: 20 repeats of 6
        (2.0, [2, 2, 2, 2, 2, 3]),  # 13
        (4.0, [1, 1, 1, 1, 1, 2]),  # 6.5, rounded up: 7
        (50.0, [1, 1, 1, 1, 1, 1]),  # never less than once
    ],
)
def test_upsampling_repeats_the_cases_equally(rows: pl.DataFrame, ratio: float, cases: list[int]) -> None:
    drawn = draw(rows, "upsample", controls_per_case=ratio)
    assert times(drawn, cancer=False) == [1] * 26
    assert times(drawn, cancer=True) == cases


def test_repeats_of_a_case_are_changed_more_strongly_and_nothing_else(rows: pl.DataFrame) -> None:
    drawn = draw(rows, "upsample", repeat_strength=3.0)
    assert set(drawn.filter(~pl.col("cancer"))["strength"]) == {1.0}
    once = drawn.filter(pl.col("cancer"), pl.col("strength") == 1.0)["image_id"]
    assert sorted(once) == sorted(rows.filter("cancer")["image_id"])
    assert drawn.filter(pl.col("strength") == 3.0).height == 20


@pytest.mark.parametrize(
    ("batch_size", "ratio", "least", "n_cases"),
    [
        (16, 1.0, 1, 8),
        (16, 3.0, 1, 4),
        (16, 15.0, 1, 1),
        (16, 100.0, 1, 1),  # at least one
        (16, 100.0, 3, 3),
        (16, 0.01, 1, 15),  # a control is left
        (4, 0.6, 1, 3),  # 2.5, rounded up
        (2, 1.0, 5, 1),
    ],
)
def test_cases_of_a_batch(batch_size: int, ratio: float, least: int, n_cases: int) -> None:
    settings = BalanceSettings(controls_per_case=ratio, least_cases=least)
    assert count_cases_of_batch(settings, batch_size) == n_cases


@pytest.mark.parametrize(("batch_size", "ratio", "least", "n_cases"), [(4, 1.0, 1, 2), (5, 4.0, 2, 2), (6, 5.0, 1, 1)])
def test_every_batch_is_balanced(rows: pl.DataFrame, batch_size: int, ratio: float, least: int, n_cases: int) -> None:
    drawn = draw(rows, "balanced-batch", batch_size=batch_size, controls_per_case=ratio, least_cases=least)
    n_batches = 26 // (batch_size - n_cases)
    of_batches = drawn["cancer"].to_numpy().reshape(n_batches, batch_size)
    assert of_batches.sum(axis=1).tolist() == [n_cases] * n_batches
    assert set(times(drawn, cancer=False)) == {1}
    often = times(drawn, cancer=True)
    assert sum(often) == n_batches * n_cases
    assert often[-1] - often[0] <= 1
    assert drawn.filter(pl.col("strength") == 1.0, pl.col("cancer")).height == min(6, sum(often))
    assert len({tuple(batch) for batch in of_batches.tolist()}) > 1  # the cases stand anywhere in a batch


def test_a_balanced_batch_that_controls_do_not_fill_is_none(rows: pl.DataFrame) -> None:
    assert draw(rows, "balanced-batch", batch_size=60).is_empty()


def test_difficult_negatives_come_first(rows: pl.DataFrame) -> None:
    difficult = rows.with_columns(
        difficult_negative=pl.when(pl.col("patient_id") == "patient7").then(pl.col("view") == "CC")
    )  # two images; unknown for all other patients
    hard = set(difficult.filter("difficult_negative")["image_id"])
    for seed in range(5):
        drawn = draw(difficult, "hard-negatives", seed=seed, controls_per_case=0.5)
        assert times(drawn, cancer=True) == [1] * 6
        assert times(drawn, cancer=False) == [1] * 3
        assert hard < set(drawn["image_id"])
    few = draw(difficult, "hard-negatives", controls_per_case=1 / 6)
    assert set(few.filter(~pl.col("cancer"))["image_id"]) < hard


def test_a_negative_known_to_be_easy_comes_before_an_unknown_one_and_after_a_difficult_one(rows: pl.DataFrame) -> None:
    known = rows.with_columns(
        difficult_negative=pl.when(pl.col("image_id") == "7LCC")
        .then(pl.lit(value=True))
        .when(pl.col("image_id") == "6LCC")
        .then(pl.lit(value=False))
    )
    for n, expected in ((1, {"7LCC"}), (2, {"7LCC", "6LCC"})):
        drawn = draw(known, "hard-negatives", controls_per_case=n / 6)
        assert set(drawn.filter(~pl.col("cancer"))["image_id"]) == expected


def test_scores_say_what_is_hard_where_there_are_some(rows: pl.DataFrame) -> None:
    score = {"0RCC": 0.9, "4LCC": 0.8, "5RMLO": 0.7, "0LCC": 1.0}  # the last is a case
    scored = rows.with_columns(
        pl.col("image_id").replace_strict(score, default=None, return_dtype=pl.Float64).alias("score"),
        difficult_negative=pl.col("patient_id") == "patient7",
    )
    drawn = draw(scored, "hard-negatives", controls_per_case=0.5)
    assert set(drawn.filter(~pl.col("cancer"))["image_id"]) == {"0RCC", "4LCC", "5RMLO"}


@pytest.mark.parametrize(("share", "n_hard"), [(0.0, 0), (0.5, 3), (1.0, 6)])
def test_a_share_of_the_controls_is_hard_and_the_rest_by_chance(rows: pl.DataFrame, share: float, n_hard: int) -> None:
    scored = rows.with_row_index("score").with_columns(pl.col("score").cast(pl.Float64))
    hardest = set(scored.filter(~pl.col("cancer")).sort("score", descending=True)["image_id"][:n_hard])
    seen = [
        set(draw(scored, "hard-negatives", seed=seed, hard_share=share).filter(~pl.col("cancer"))["image_id"])
        for seed in range(30)
    ]
    assert all(len(each) == 6 for each in seen)
    assert set.intersection(*seen) == hardest
    assert len(set.union(*seen)) == (6 if share == 1 else 26)


def test_what_an_epoch_has(rows: pl.DataFrame) -> None:
    machines = rows.with_columns(machine=pl.when(pl.col("patient_id") != "patient7").then(pl.col("site")))
    assert count_epoch(draw(machines, "upsample")) == EpochCounts(
        case_images=26, control_images=26, patients=8, machines=2
    )
    assert count_epoch(draw(machines, "matched-controls")) == EpochCounts(
        case_images=6, control_images=6, patients=3, machines=2
    )
    assert count_epoch(rows.clear()) == EpochCounts(case_images=0, control_images=0, patients=0, machines=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_key_matters_to_the_strategies_that_are_said_to_use_it_and_to_no_other(
    rows: pl.DataFrame, strategy: SamplingStrategy
) -> None:
    hard = rows.with_columns(difficult_negative=pl.col("patient_id") == "patient7")
    plain = draw(hard, strategy)
    others: dict[str, Any] = {
        "controls_per_case": 0.4,
        "least_cases": 3,
        "repeat_strength": 2.0,
        "hard_share": 0.0,
        "match": ("density", "age_years"),
        "age_within_years": 2.0,
    }
    used = {key for key, value in others.items() if not draw(hard, strategy, **{key: value}).equals(plain)}
    assert used == USED_KEYS[strategy] - {"scores"}


def test_the_table_of_a_match_is_that_of_the_epoch_drawn_by_the_same_chance(rows: pl.DataFrame) -> None:
    """Density is A in the controls that are drawn and D in the others, which a table of other draws would mix."""
    settings = BalanceSettings(match=("view",))
    drawn = set(draw(rows, "matched", seed=7, match=("view",))["image_id"])
    is_drawn = pl.col("image_id").is_in(drawn) | (pl.col("patient_id").is_in(["patient0", "patient1", "patient2"]))
    marked = rows.with_columns(density=pl.when(is_drawn).then(pl.lit("A")).otherwise(pl.lit("D")))
    table = tabulate_match(marked, settings, rng=np.random.default_rng(7))
    assert table["column"].to_list() == list(MATCH_COLUMNS)
    assert table.filter("is_matched")["column"].to_list() == ["view"]
    density = table.row(by_predicate=pl.col("column") == "density", named=True)
    assert density["after"] == 0.0 < density["before"]


@pytest.mark.parametrize("strategy", ["upsample", "balanced-batch"])
def test_a_case_is_changed_more_from_its_second_time_on(rows: pl.DataFrame, strategy: SamplingStrategy) -> None:
    drawn = draw(rows, strategy, seed=5, repeat_strength=2.0)
    seen: set[str] = set()
    for image_id, strength in drawn.select("image_id", "strength").iter_rows():
        assert strength == (2.0 if image_id in seen else 1.0)
        seen.add(image_id)
    assert drawn["strength"].max() == 2.0
