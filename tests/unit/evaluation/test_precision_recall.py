"""The precision-recall curve: against scikit-learn, by hand, its area, its band, and what has none."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.discrimination import average_precision
from mammoscope.evaluation.precision_recall import PrecisionRecall, measure_precision_recall
from mammoscope.evaluation.prevalence import measure_at_prevalence

SETTINGS = BootstrapSettings(n_replicates=200)
SCORES = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.4, 0.1])
OUTCOMES = np.array([True, True, False, False, True, True, False])


def measure(scores: np.ndarray, outcomes: np.ndarray, prevalence: float | None = None) -> PrecisionRecall:
    return measure_precision_recall(
        scores, outcomes, patients=np.arange(len(scores)), settings=SETTINGS, prevalence=prevalence
    )


def area(found: PrecisionRecall) -> float:
    """The area under the steps."""
    assert found.corners is not None
    return float((np.diff((0, *found.corners.recall)) * found.corners.precision).sum())


def test_seven_breasts_by_hand() -> None:
    # 0.9: 1 of 1; 0.8: 2 of 3; 0.4: 4 of 6
    found = measure(SCORES, OUTCOMES)
    assert found.corners is not None
    assert found.corners.threshold == pytest.approx((0.9, 0.8, 0.4))
    assert found.corners.recall == pytest.approx((0.25, 0.5, 1))
    assert found.corners.precision == pytest.approx((1, 2 / 3, 2 / 3))
    assert found.by_chance == pytest.approx(4 / 7)
    assert found.band is not None
    at = dict(zip(np.round(found.band.recall, 2), found.band.precision, strict=True))
    assert (at[0.01], at[0.25], at[0.26], at[1.0]) == pytest.approx((1, 1, 2 / 3, 2 / 3))


@given(st.data())
def test_the_corners_are_those_of_scikit_learn_and_their_area_is_the_average_precision(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 30))
    scores = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))) / 6
    outcomes = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    outcomes[:2] = True, False
    found = measure_precision_recall(
        scores, outcomes, patients=np.arange(n), settings=BootstrapSettings(n_replicates=1)
    )
    assert found.corners is not None
    precision, recall, threshold = precision_recall_curve(outcomes, scores)
    at_cases = np.isin(threshold, scores[outcomes])
    assert found.corners.threshold == tuple(threshold[at_cases][::-1])
    assert found.corners.recall == pytest.approx(recall[:-1][at_cases][::-1])
    assert found.corners.precision == pytest.approx(precision[:-1][at_cases][::-1])
    assert area(found) == pytest.approx(average_precision_score(outcomes, scores))
    assert found.average_precision.value == pytest.approx(average_precision(scores, outcomes))


def test_the_band_holds_the_replicates_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    outcomes, patients = np.arange(60) % 4 == 0, np.arange(60) // 3
    scores = rng.normal(size=60) + outcomes
    found = measure_precision_recall(scores, outcomes, patients=patients, settings=SETTINGS)
    drawn = SETTINGS.generator().integers(0, 20, size=(200, 20))  # as the bootstrap draws them
    curves = []
    for replicate in drawn:
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in replicate])
        precision, recall, _ = precision_recall_curve(outcomes[rows], scores[rows])
        # at a recall the strictest threshold that reaches it: the last of scikit-learn's descending recalls
        curves.append([precision[np.flatnonzero(recall >= wanted - 1e-9)[-1]] for wanted in (0.1, 0.5, 0.9)])
    assert found.band is not None
    shown = [int(np.argmin(np.abs(np.array(found.band.recall) - wanted))) for wanted in (0.1, 0.5, 0.9)]
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    assert [found.band.low[at] for at in shown] == pytest.approx(low)
    assert [found.band.high[at] for at in shown] == pytest.approx(high)


def test_a_target_prevalence_moves_the_curve_and_its_area_as_repetition_does() -> None:
    # 4 cases of 7: at a share of 4 / 10 each control counts twice
    found = measure(SCORES, OUTCOMES, prevalence=0.4)
    repeated = np.r_[SCORES, SCORES[~OUTCOMES]], np.r_[OUTCOMES, np.zeros(3, bool)]
    assert found.corners is not None
    assert found.by_chance == 0.4
    assert area(found) == pytest.approx(average_precision(*repeated))
    assert found.average_precision.value == pytest.approx(average_precision(*repeated))
    other = measure_at_prevalence(SCORES, OUTCOMES, patients=np.arange(7), prevalence=0.4, settings=SETTINGS)
    assert found.average_precision == other.average_precision
    own = measure(SCORES, OUTCOMES, prevalence=4 / 7)
    assert own.corners is not None
    assert area(own) == pytest.approx(area(measure(SCORES, OUTCOMES)))


def test_one_class_has_no_curve_and_says_so() -> None:
    found = measure(SCORES[OUTCOMES], OUTCOMES[OUTCOMES])
    assert (found.corners, found.band, found.average_precision.value) == (None, None, None)
    assert (
        found.average_precision.reason == "undefined: no control among 4 with a known outcome, needs cases and controls"
    )
    assert json.dumps(found.to_json(), allow_nan=False)


def test_one_patient_with_cases_has_a_curve_without_band() -> None:
    patients = np.where(OUTCOMES, 0, np.arange(7))
    found = measure_precision_recall(SCORES, OUTCOMES, patients=patients, settings=SETTINGS)
    assert found.band is not None
    assert set(found.band.low) == set(found.band.high) == {None}
    assert found.average_precision.interval is None
    assert found.average_precision.reason == "no interval: 1 patient with cases, needs 2"
    assert json.dumps(found.to_json(), allow_nan=False)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"prevalence: found 0, expected the share of cases"):
        measure(SCORES, OUTCOMES, prevalence=0)
    with pytest.raises(UserInputError, match="found NaN or infinity"):
        measure(np.where(OUTCOMES, np.nan, SCORES), OUTCOMES)
