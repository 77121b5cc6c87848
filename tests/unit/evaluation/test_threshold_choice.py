"""Thresholds for a target: hand-worked on six breasts, with ties, weights, and what has none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.errors import UndefinedMetricError
from mammoscope.evaluation.threshold_choice import NONE, FoldedScores, Tally, Target, fold_scores, join, places_at

Floats = NDArray[np.float64]
# cases 0.9, 0.8, 0.3; controls 0.7, 0.6, 0.2
SCORES = (0.9, 0.8, 0.7, 0.6, 0.3, 0.2)
IS_CASE = (True, True, False, False, True, False)


def weigh(
    scores: tuple[float, ...], is_case: tuple[bool, ...], weights: tuple[float, ...] | None = None
) -> tuple[FoldedScores, Tally]:
    n = len(scores)
    folded = fold_scores(
        np.array(scores), np.array(is_case), folds=np.arange(n) % 2 if n > 1 else np.zeros(n, int), columns=np.arange(n)
    )
    return folded, join(folded.weigh(np.array([weights or (1.0,) * n])))


def choose(
    target: Target,
    scores: tuple[float, ...] = SCORES,
    is_case: tuple[bool, ...] = IS_CASE,
    weights: tuple[float, ...] | None = None,
) -> float:
    folded, tally = weigh(scores, is_case, weights)
    return float(folded.threshold_at(folded.choose(tally, [target]))[0, 0])


@pytest.mark.parametrize(
    ("target", "threshold"),
    [
        (Target("f1"), 0.8),  # 0.9: 2/4; 0.8: 4/5; 0.7: 4/6; 0.6: 4/7; 0.3: 6/8; 0.2: 6/9
        (Target("sensitivity", 0.3), 0.9),  # one case of three is enough
        (Target("sensitivity", 0.34), 0.8),  # two are needed
        (Target("sensitivity", 2 / 3), 0.8),
        (Target("sensitivity", 0.7), 0.3),
        (Target("sensitivity", 1.0), 0.3),
        (Target("specificity", 1.0), 0.8),  # no control may be called, and 0.8 finds more than 0.9
        (Target("specificity", 2 / 3), 0.7),  # one may
        (Target("specificity", 0.5), 0.7),  # one of three may, two are more than half
        (Target("specificity", 0.3), 0.3),  # two may; 0.3 calls no third
        (Target("recall_rate", 1 / 6), 0.9),
        (Target("recall_rate", 0.49), 0.8),
        (Target("recall_rate", 0.5), 0.7),
        (Target("recall_rate", 1.0), 0.2),
    ],
)
def test_thresholds_by_hand(target: Target, threshold: float) -> None:
    assert choose(target) == threshold


@pytest.mark.parametrize(("rate", "n"), [(0.035, 200), (0.07, 100), (0.29, 100), (0.57, 100)])
def test_a_share_that_is_whole_but_for_rounding_is_whole(rate: float, n: int) -> None:
    """As floats, 0.07 * 100 is above 7, and 0.29 * 100 is below 29."""
    scores = tuple(np.arange(n + 1) / n)
    folded, tally = weigh(scores[1:], tuple(np.arange(n) % 2 == 0))
    places = folded.choose(tally, [Target("recall_rate", rate)])
    assert tally.breasts_called(places)[0, 0] == round(rate * n)
    folded, tally = weigh(scores, (False, *(True,) * n))
    places = folded.choose(tally, [Target("sensitivity", rate)])
    assert tally.cases_called(places)[0, 0] == round(rate * n)
    folded, tally = weigh(scores, (*(False,) * n, True))
    places = folded.choose(tally, [Target("specificity", rate)])
    assert n - tally.controls_called(places)[0, 0] == round(rate * n)


def test_all_targets_at_once_are_each_alone() -> None:
    folded, tally = weigh(SCORES, IS_CASE)
    targets = [Target("recall_rate", 0.5), Target("f1"), Target("sensitivity", 1.0), Target("recall_rate", 0.2)]
    together = folded.threshold_at(folded.choose(tally, targets))[0]
    assert together.tolist() == [choose(target) for target in targets]


def test_each_row_of_weights_chooses_its_own() -> None:
    folded = fold_scores(
        np.array(SCORES), np.array(IS_CASE), folds=np.zeros(6, dtype=np.intp), columns=np.array([0, 1, 2, 0, 1, 2])
    )
    # patient 1 has the cases 0.8 and 0.3; without her the case 0.9 is all there is to find
    tally = join(folded.weigh(np.array([[1.0, 1, 1], [2, 0, 1], [0, 3, 0]])))
    thresholds = folded.threshold_at(folded.choose(tally, [Target("f1"), Target("sensitivity", 1.0)]))
    np.testing.assert_array_equal(thresholds, [[0.8, 0.3], [0.9, 0.9], [np.nan, np.nan]])


@pytest.mark.parametrize("target", [Target("f1"), Target("sensitivity", 0.5), Target("specificity", 0.5)])
def test_without_cases_or_controls_there_is_no_threshold(target: Target) -> None:
    assert np.isnan(choose(target, weights=(1, 1, 0, 0, 1, 0)))
    assert np.isnan(choose(target, weights=(0, 0, 1, 1, 0, 1)))
    assert np.isnan(choose(target, weights=(0, 0, 0, 0, 0, 0)))


@pytest.mark.parametrize(
    "target", [Target("f1"), Target("sensitivity", 0.5), Target("specificity", 0.5), Target("recall_rate", 1.0)]
)
def test_where_all_scores_are_one_there_is_no_threshold(target: Target) -> None:
    assert np.isnan(choose(target, scores=(0.4,) * 6))
    assert np.isnan(choose(target, scores=(0.9, 0.4, 0.4, 0.4, 0.3, 0.4), weights=(0, 1, 1, 1, 0, 1)))


def test_where_the_highest_scores_are_tied_a_small_recall_rate_has_no_threshold() -> None:
    tied = (0.9, 0.9, 0.9, 0.6, 0.3, 0.2)
    assert np.isnan(choose(Target("recall_rate", 0.4), scores=tied))
    assert choose(Target("recall_rate", 0.5), scores=tied) == 0.9
    assert np.isnan(choose(Target("specificity", 0.7), scores=tied))  # one control of three stands among the highest
    # a score without weight calls nobody, and is no way out
    assert np.isnan(choose(Target("recall_rate", 0.3), scores=(0.95, *tied[1:]), weights=(0, 1, 1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("scores", "is_case", "target", "sentence"),
    [
        (SCORES, IS_CASE, Target("recall_rate", 0.1), "even the strictest threshold calls 1 of 6 breasts"),
        (
            (0.9, *SCORES[1:2], 0.9, 0.9, *SCORES[4:]),
            IS_CASE,
            Target("specificity", 0.5),
            "even the strictest threshold calls 2 of 3 controls, more than wanted",
        ),
        ((0.5,) * 6, IS_CASE, Target("f1"), "all 6 breasts have one score, so that a threshold calls all or none"),
    ],
)
def test_the_reason_for_no_threshold(
    scores: tuple[float, ...], is_case: tuple[bool, ...], target: Target, sentence: str
) -> None:
    folded, tally = weigh(scores, is_case)
    assert folded.choose(tally, [target])[0, 0] == NONE
    assert sentence in folded.why_none(tally, target)


def test_the_reason_for_no_threshold_names_the_missing_kind() -> None:
    folded, tally = weigh(SCORES, IS_CASE, weights=(1, 1, 0, 0, 1, 0))
    assert folded.why_none(tally, Target("f1")) == "no control among 3 breasts"
    folded, tally = weigh(SCORES, IS_CASE, weights=(0, 0, 1, 1, 0, 1))
    assert folded.why_none(tally, Target("f1")) == "no case among 3 breasts"


@pytest.mark.parametrize("is_case", [(True, True), (False, False)])
def test_scores_of_one_class_are_refused(is_case: tuple[bool, bool]) -> None:
    with pytest.raises(UndefinedMetricError, match="undefined: no c"):
        weigh((0.1, 0.2), is_case)


def test_a_grid_calls_what_is_not_below() -> None:
    thresholds = np.array([0.9, 0.5, 0.2])
    places = places_at(thresholds, np.array([1.0, 0.9, 0.6, 0.5, 0.2, 0.0]))
    assert places.tolist() == [NONE, 0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("target", "name", "words"),
    [
        (Target("f1"), "maximal_f1", "also the highest pF1 of calls of 0 and 1"),
        (Target("recall_rate", 0.035), "recall_rate_3.5", "at most 3.5 %"),
        (Target("sensitivity", 0.85), "sensitivity_85", "at least 85 % of the cases"),
        (Target("specificity", 0.966), "specificity_96.6", "at least 96.6 % of the controls not called"),
    ],
)
def test_names_are_stable_and_say_what_for(target: Target, name: str, words: str) -> None:
    assert target.name == name
    assert words in target.chosen_for
