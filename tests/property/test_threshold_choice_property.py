"""What must hold for thresholds chosen on any scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mammoscope.evaluation.threshold_choice import NONE, Target, fold_scores, join

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Sample = tuple[Floats, Outcomes, Floats]
TARGETS = (
    Target("f1"),
    *(Target("recall_rate", share) for share in (0.05, 0.1, 0.3, 0.5)),
    *(Target("sensitivity", share) for share in (0.1, 0.5, 0.9, 1.0)),
    *(Target("specificity", share) for share in (0.1, 0.5, 0.9, 1.0)),
)


@st.composite
def weighted(draw: st.DrawFn) -> Sample:
    """Scores in [0, 1] with many ties, outcomes of both kinds, and whole weights, many of them 0."""
    n = draw(st.integers(2, 25))
    scores = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 9))) / 9
    outcomes = draw(hnp.arrays(np.bool_, n))
    outcomes[:2] = [True, False]
    weights = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3))).astype(np.float64)
    return scores, outcomes, weights


def choose(scores: Floats, outcomes: Outcomes, weights: Floats, n_folds: int = 3) -> list[float | None]:
    """The threshold of each target; the folds say nothing where all of them choose together."""
    n = len(scores)
    folded = fold_scores(scores, outcomes, folds=np.arange(n) % min(n, n_folds), columns=np.arange(n))
    places = folded.choose(join(folded.weigh(weights[np.newaxis])), TARGETS)[0]
    return [None if place == NONE else float(folded.thresholds[place]) for place in places]


def search(scores: Floats, outcomes: Outcomes, weights: Floats, target: Target) -> float | None:
    """The threshold by trying each score that has weight, the strictest first."""
    cases, controls = weights * outcomes, weights * ~outcomes
    if not cases.sum() or not controls.sum() or len(np.unique(scores[weights > 0])) == 1:
        return None
    best: tuple[float, float] | None = None
    for threshold in np.unique(scores[weights > 0])[::-1]:
        called = scores >= threshold
        found, false = cases[called].sum(), controls[called].sum()
        within = {
            "f1": True,
            "sensitivity": found / cases.sum() >= (target.wanted or 0) - 1e-9,
            "specificity": 1 - false / controls.sum() >= (target.wanted or 0) - 1e-9,
            "recall_rate": (found + false) / weights.sum() <= (target.wanted or 0) + 1e-9,
        }[target.kind]
        merit = {
            "f1": 2 * found / (found + false + cases.sum()),
            "sensitivity": -(found + false),
            "specificity": found + false,
            "recall_rate": found + false,
        }[target.kind]
        if within and (best is None or merit > best[0]):
            best = (merit, float(threshold))
    return None if best is None else best[1]


@given(weighted())
def test_the_threshold_is_the_one_that_a_search_of_all_finds(sample: Sample) -> None:
    assert choose(*sample) == [search(*sample, target) for target in TARGETS]


@given(weighted())
def test_a_whole_weight_is_a_repetition(sample: Sample) -> None:
    scores, outcomes, weights = sample
    weights[:2] += 1  # some of each kind
    times = weights.astype(np.intp)
    repeated = np.repeat(scores, times), np.repeat(outcomes, times)
    assert choose(*sample) == choose(*repeated, np.ones(times.sum()))


@given(weighted())
def test_a_monotone_map_of_the_scores_maps_the_thresholds(sample: Sample) -> None:
    scores, outcomes, weights = sample
    thresholds = choose(scores, outcomes, weights)
    mapped = choose(np.exp(scores) - 1, outcomes, weights)
    assert mapped == [None if each is None else pytest.approx(np.exp(each) - 1) for each in thresholds]


@given(weighted(), st.integers(1, 5))
def test_how_the_scores_are_dealt_into_folds_says_nothing(sample: Sample, n_folds: int) -> None:
    assert choose(*sample, n_folds=n_folds) == choose(*sample)


@given(weighted())
def test_a_stricter_wish_never_has_a_laxer_threshold(sample: Sample) -> None:
    threshold = dict(zip(TARGETS, choose(*sample), strict=True))
    for kind, sign in (("recall_rate", -1), ("sensitivity", -1), ("specificity", 1)):
        of_kind = [threshold[target] for target in TARGETS if target.kind == kind]
        known = [sign * each for each in of_kind if each is not None]
        assert known == sorted(known)
