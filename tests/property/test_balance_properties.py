from collections.abc import Callable

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammoscope.cohort.balance import STRATEGIES, BalanceSettings, SamplingStrategy, draw_epoch
from mammoscope.cohort.splits import assign_folds

BALANCE = st.builds(
    BalanceSettings,
    controls_per_case=st.floats(0.05, 20),
    least_cases=st.integers(1, 4),
    repeat_strength=st.floats(1, 3),
    hard_share=st.floats(0, 1),
    match=st.permutations(["age_years", "density", "site", "view"]).map(lambda columns: tuple(columns[:2])),
    age_within_years=st.floats(0, 10),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    outcomes=st.lists(st.none() | st.booleans(), max_size=20),
    strategy=st.sampled_from(STRATEGIES),
    balance=BALANCE,
    seed=st.integers(0, 2**32),
)
def test_a_strategy_draws_rows_of_those_it_is_given_only(
    manifest_of: Callable[..., pl.DataFrame],
    outcomes: list[bool | None],
    strategy: SamplingStrategy,
    balance: BalanceSettings,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    folds = assign_folds(manifest_of([*outcomes, True, True, True]), n_folds=3, rng=rng)
    if seed % 2:
        folds = folds.with_columns(pl.Series("score", rng.random(folds.height)))
    held_out = folds.filter(pl.col("fold") == 0)
    training = folds.filter(pl.col("fold") != 0)
    epochs = [
        draw_epoch(training, strategy, balance, batch_size=5, rng=np.random.default_rng((seed, epoch)))
        for epoch in range(2)
    ]
    for drawn in epochs:
        assert not set(drawn["patient_id"]) & set(held_out["patient_id"])
        assert drawn["cancer"].null_count() == 0
        assert training[drawn["position"]].equals(drawn.drop("position", "strength"))
        assert set(drawn["strength"]) <= {1.0, balance.repeat_strength}
    assert epochs[0].height == epochs[1].height
    assert epochs[0]["cancer"].sum() == epochs[1]["cancer"].sum()
