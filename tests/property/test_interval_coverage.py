"""95 % intervals hold the truth in 93 to 97 of 100 simulated studies, unless images are taken for patients."""

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from mammoscope.evaluation.bootstrap import bootstrap_over_patients, percentile_interval
from mammoscope.evaluation.delong import delong_auc
from mammoscope.evaluation.discrimination import Ranking, rank

Floats = NDArray[np.float64]
N_STUDIES, N_PATIENTS, SHIFT = 400, 300, 1.0
TRUTH = float(norm.cdf(SHIFT / np.sqrt(2)))  # of images of different patients, whose scores have a variance of 1


def draw_study(rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_], NDArray[np.intp]]:
    """Four images of each patient, half of whose scores' variance they share; every fifth has a case on one side."""
    patients = np.repeat(np.arange(N_PATIENTS), 4)
    outcomes = (patients % 5 == 0) & (np.tile(np.arange(4), N_PATIENTS) < 2)
    shared = rng.normal(size=N_PATIENTS)[patients]
    scores = SHIFT * outcomes + np.sqrt(0.5) * (shared + rng.normal(size=len(patients)))
    return scores, outcomes, patients


def _measure(ranking: Ranking, counts: Floats) -> Floats:
    return ranking.auc(counts)[:, np.newaxis]


@pytest.fixture(scope="module")
def coverage() -> dict[str, float]:
    """The share of studies whose interval holds the truth, by each way."""
    rng = np.random.default_rng(11)
    held: dict[str, list[bool]] = {"bootstrap": [], "delong": [], "images as patients": []}
    for _ in range(N_STUDIES):
        scores, outcomes, patients = draw_study(rng)
        ranking = rank(scores, outcomes, patients)
        measure = partial(_measure, ranking)
        replicates = bootstrap_over_patients(measure, patients, n_replicates=400, rng=rng)
        interval = percentile_interval(replicates[:, 0], 0.95)
        held["bootstrap"].append(interval.low <= TRUTH <= interval.high)
        for name, units in (("delong", patients), ("images as patients", None)):
            found = delong_auc(scores, outcomes, units)
            assert found.low is not None
            assert found.high is not None
            held[name].append(found.low <= TRUTH <= found.high)
    return {name: float(np.mean(each)) for name, each in held.items()}


@pytest.mark.parametrize("way", ["bootstrap", "delong"])
def test_intervals_over_patients_hold_the_truth_as_often_as_they_say(coverage: dict[str, float], way: str) -> None:
    assert 0.93 <= coverage[way] <= 0.97


def test_intervals_over_images_do_not(coverage: dict[str, float]) -> None:
    """The views of a breast are alike: images taken for patients promise too much."""
    assert coverage["images as patients"] < 0.93
