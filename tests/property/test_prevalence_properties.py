"""What must hold when any sample is weighed to another share of cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mammoscope.evaluation.discrimination import auc, average_precision, probabilistic_f1, roc_curve
from mammoscope.evaluation.prevalence import weigh_to_prevalence
from mammoscope.evaluation.screening_figures import figures_of_calls

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
METRICS = (auc, average_precision, probabilistic_f1)


@st.composite
def scored(draw: st.DrawFn) -> tuple[Floats, Outcomes]:
    """Scores above 0 with many ties, and outcomes of both kinds."""
    n = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.int64, n, elements=st.integers(1, 8))) / 8
    outcomes = draw(hnp.arrays(np.bool_, n))
    outcomes[:2] = [True, False]
    return scores, outcomes


def screened(
    scores: Floats, outcomes: Outcomes, weights: Floats | None, prevalence: float | None = None
) -> dict[str, Floats]:
    """The figures of calls at every score."""
    each = np.ones(len(scores)) if weights is None else weights
    called = scores[:, np.newaxis] >= np.unique(scores)  # (score, threshold)
    cases, controls = each * outcomes, each * ~outcomes
    found, false_alarms = cases @ called, controls @ called
    # the lowest score calls all
    return figures_of_calls(found, false_alarms, n_cases=found[:1], n_controls=false_alarms[:1], prevalence=prevalence)


@given(scored())
def test_weighing_to_the_share_that_there_is_changes_nothing(sample: tuple[Floats, Outcomes]) -> None:
    scores, outcomes = sample
    weights = weigh_to_prevalence(outcomes, outcomes.mean())
    np.testing.assert_array_equal(weights, np.ones(len(scores)))
    for metric in METRICS:
        # but for the order in which a sum is taken
        assert metric(scores, outcomes, weights) == pytest.approx(metric(scores, outcomes), rel=1e-12)
    plain, weighted = (screened(scores, outcomes, None, share) for share in (None, outcomes.mean()))
    for name, figure in plain.items():
        np.testing.assert_array_equal(weighted[name], figure)


@given(scored(), st.integers(1, 5), st.integers(1, 5))
def test_weighing_is_repeating_the_classes(sample: tuple[Floats, Outcomes], n_case: int, n_control: int) -> None:
    scores, outcomes = sample
    times = np.where(outcomes, n_case, n_control)
    repeated = np.repeat(scores, times), np.repeat(outcomes, times)
    prevalence = float(repeated[1].mean())
    weights = weigh_to_prevalence(outcomes, prevalence)
    for metric in METRICS:
        np.testing.assert_allclose(metric(scores, outcomes, weights), metric(*repeated), atol=1e-12)
    weighted, expected = screened(scores, outcomes, None, prevalence), screened(*repeated, None)
    by_weights = screened(scores, outcomes, weights)
    for name, figure in expected.items():
        np.testing.assert_allclose(weighted[name], figure, atol=1e-9)
        np.testing.assert_allclose(by_weights[name], figure, atol=1e-9)


@given(scored(), st.floats(0.001, 0.999))
def test_what_knows_no_mixture_keeps_its_value(sample: tuple[Floats, Outcomes], prevalence: float) -> None:
    scores, outcomes = sample
    weights = weigh_to_prevalence(outcomes, prevalence)
    np.testing.assert_allclose(weights.sum(), len(scores))
    np.testing.assert_allclose((weights * outcomes).sum(), prevalence * len(scores))
    np.testing.assert_allclose(auc(scores, outcomes, weights), auc(scores, outcomes), atol=1e-12)
    weighted, plain = roc_curve(scores, outcomes, weights), roc_curve(scores, outcomes)
    np.testing.assert_allclose(weighted.true_positive_rate, plain.true_positive_rate, atol=1e-12)
    np.testing.assert_allclose(weighted.false_positive_rate, plain.false_positive_rate, atol=1e-12)


@given(scored(), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_the_way_from_one_prevalence_to_another_says_nothing(
    sample: tuple[Floats, Outcomes], first: float, second: float
) -> None:
    _, outcomes = sample
    once = weigh_to_prevalence(outcomes, first)
    odds = second / (1 - second) * (1 - first) / first
    twice = once * np.where(outcomes, odds, 1.0)
    straight = weigh_to_prevalence(outcomes, second)
    np.testing.assert_allclose(twice / twice.sum(), straight / straight.sum(), rtol=1e-9)
