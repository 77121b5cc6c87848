"""The bootstrap: it resamples patients, and is what a plain loop would do."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation import bootstrap
from mammoscope.evaluation.bootstrap import (
    BootstrapSettings,
    Estimate,
    bootstrap_over_patients,
    estimate,
    number_patients,
    percentile_band,
    percentile_interval,
    why_no_interval,
)
from mammoscope.evaluation.discrimination import auc, rank

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]


def one_image_of_each(n_patients: int) -> tuple[Floats, Outcomes, list[str]]:
    rng = np.random.default_rng(2)
    outcomes = np.arange(n_patients) % 4 == 0
    return rng.normal(size=n_patients) + outcomes, outcomes, [f"{number:03}" for number in range(n_patients)]


def replicates_of_auc(scores: Floats, outcomes: Outcomes, patient_ids: list[str], n: int = 1000) -> Floats:
    patients = number_patients(patient_ids)
    ranking = rank(scores, outcomes, patients)
    rng = np.random.default_rng(3)
    return bootstrap_over_patients(
        lambda counts: ranking.auc(counts)[:, np.newaxis], patients, n_replicates=n, rng=rng
    )[:, 0]


def test_intervals_resample_patients_not_images() -> None:
    scores, outcomes, ids = one_image_of_each(60)
    single = percentile_interval(replicates_of_auc(scores, outcomes, ids), 0.95)
    scores, outcomes = np.repeat(scores, 9), np.repeat(outcomes, 9)
    of_the_same = np.repeat(ids, 9).tolist()
    of_others = [f"{number:03}" for number in range(540)]
    ninefold = percentile_interval(replicates_of_auc(scores, outcomes, of_the_same), 0.95)
    as_if_independent = percentile_interval(replicates_of_auc(scores, outcomes, of_others), 0.95)
    assert (ninefold.low, ninefold.high) == pytest.approx((single.low, single.high))
    # nine times the images of other patients would make the interval a third as wide
    width = single.high - single.low
    assert as_if_independent.high - as_if_independent.low == pytest.approx(width / 3, rel=0.15)


def test_a_replicate_is_what_a_loop_over_the_drawn_patients_gives() -> None:
    scores, outcomes, _ = one_image_of_each(40)
    ids = [f"{number // 3:03}" for number in range(40)]  # up to three images of a patient
    n_patients = len(set(ids))
    values = replicates_of_auc(scores, outcomes, ids, n=20)
    drawn = np.random.default_rng(3).integers(0, n_patients, size=(20, n_patients))
    images_by_patient = [[row for row, own in enumerate(ids) if own == patient] for patient in sorted(set(ids))]
    for value, patients in zip(values, drawn, strict=True):
        images = [row for patient in patients for row in images_by_patient[patient]]
        assert value == pytest.approx(auc(scores[images], outcomes[images]))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = one_image_of_each(30)
    whole = replicates_of_auc(*sample, n=50)
    monkeypatch.setattr(bootstrap, "_CELLS_IN_A_CHUNK", 30 * 7)
    np.testing.assert_array_equal(replicates_of_auc(*sample, n=50), whole)


def test_the_progress_hears_of_every_replicate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_CELLS_IN_A_CHUNK", 4 * 3)
    heard: list[int] = []
    bootstrap_over_patients(
        lambda counts: counts[:, :1],
        np.array([0, 1, 2, 2]),
        n_replicates=8,
        rng=np.random.default_rng(0),
        advance=heard.append,
    )
    assert heard == [3, 3, 2]


def test_every_replicate_draws_as_many_patients_as_there_are() -> None:
    counts = bootstrap_over_patients(
        lambda counts: counts, np.arange(7), n_replicates=100, rng=np.random.default_rng(0)
    )
    assert (counts.sum(axis=1) == 7).all()
    assert len(np.unique(counts, axis=0)) > 50


def test_a_replicate_without_cases_is_counted_as_undefined() -> None:
    scores, outcomes = np.array([0.9, 0.1, 0.2]), np.array([True, False, False])
    interval = percentile_interval(replicates_of_auc(scores, outcomes, ["a", "b", "c"]), 0.95)
    # the case is drawn in 1 - (2/3)^3 of the replicates, and alone in (1/3)^3 of them
    assert interval.n_replicates == 1000
    assert interval.n_undefined / 1000 == pytest.approx((2 / 3) ** 3 + (1 / 3) ** 3, abs=0.05)
    assert (interval.low, interval.high) == (1, 1)


def test_the_interval_is_the_middle_of_the_replicates() -> None:
    interval = percentile_interval(np.arange(101) / 100, 0.9)
    assert (interval.low, interval.high) == pytest.approx((0.05, 0.95))


def test_replicates_that_are_all_undefined_give_no_interval() -> None:
    with pytest.raises(UserInputError, match="none of 5 replicates is defined"):
        percentile_interval(np.full(5, np.nan), 0.95)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_replicates": 0}, "replicates: found 0"),
        ({"seed": -1}, "seed: found -1"),
        ({"confidence": 1.0}, "confidence: found 1.0"),
        ({"confidence": 0.0}, "confidence: found 0.0"),
    ],
)
def test_settings_that_make_no_interval_are_refused(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserInputError, match=sentence):
        BootstrapSettings(**changes)  # type: ignore[arg-type]  # the wrong value is the point


def test_the_seed_makes_the_generator() -> None:
    first, second = (BootstrapSettings(seed=4).generator().random(3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_band_is_the_interval_of_each_column() -> None:
    columns = np.random.default_rng(1).normal(size=(200, 3))
    columns[::3, 1] = np.nan
    columns[:, 2] = np.nan
    low, high = percentile_band(columns, 0.9)
    for number in (0, 1):
        interval = percentile_interval(columns[:, number], 0.9)
        assert (low[number], high[number]) == pytest.approx((interval.low, interval.high))
    assert np.isnan([low[2], high[2]]).all()


def test_an_estimate_has_a_value_an_interval_or_the_reason() -> None:
    replicates = np.arange(101) / 100
    options = {"confidence": 0.9, "if_undefined": "undefined", "if_no_interval": None}
    full = estimate(0.5, replicates, **options)  # type: ignore[arg-type]  # a dictionary of several types
    assert (full.value, full.interval, full.reason) == (0.5, percentile_interval(replicates, 0.9), None)
    assert estimate(np.nan, replicates, **options) == Estimate(None, None, "undefined")  # type: ignore[arg-type]
    no_interval = estimate(0.5, replicates, **options | {"if_no_interval": "too few"})  # type: ignore[arg-type]
    assert no_interval == Estimate(0.5, None, "too few")
    lost = estimate(0.5, np.full(101, np.nan), **options)  # type: ignore[arg-type]
    assert lost == Estimate(0.5, None, "no interval: none of 101 replicates is defined")


@pytest.mark.parametrize(
    ("cases", "controls", "sentence"),
    [
        ([1, 1], [2, 3], "no interval: 1 patient with cases, needs 2"),
        ([1, 2], [3], "no interval: 1 patient with controls, needs 2"),
        ([], [3, 4], "no interval: 0 patient with cases, needs 2"),
        ([1, 2], [1, 2], None),
    ],
)
def test_an_interval_needs_two_patients_of_each_kind(
    cases: list[int], controls: list[int], sentence: str | None
) -> None:
    outcomes = np.array([True] * len(cases) + [False] * len(controls))
    assert why_no_interval(outcomes, np.array([*cases, *controls])) == sentence
