"""Figures of calls: hand-worked, at the sample's share of cases and at another; what is undefined."""

import numpy as np
import pytest

from mammoscope.errors import UserInputError
from mammoscope.evaluation.screening_figures import FIGURES, figures_of_calls, highest_of


def figures(tp: float, fp: float, n_cases: float, n_controls: float, prevalence: float | None) -> dict[str, float]:
    found = figures_of_calls(
        np.array([[tp]]),
        np.array([[fp]]),
        n_cases=np.array([[n_cases]]),
        n_controls=np.array([[n_controls]]),
        prevalence=prevalence,
    )
    assert tuple(found) == FIGURES
    return {name: value.item() for name, value in found.items()}


def test_a_table_of_four_by_hand() -> None:
    # 8 of 10 cancers found with 30 false alarms among 90
    assert figures(8, 30, 10, 90, None) == pytest.approx(
        {
            "sensitivity": 0.8,
            "specificity": 60 / 90,
            "recall_rate": 0.38,
            "ppv": 8 / 38,
            "npv": 60 / 62,
            "f1": 16 / (38 + 10),
            "workload_removed": 0.62,
            "cancers_detected_per_1000": 80,
            "false_positives_per_1000": 300,
        }
    )


def test_the_rule_of_bayes_at_another_prevalence() -> None:
    """Of 1,000 with 5 cancers, a sensitivity of 0.8 finds 4; a third of the other 995 are false alarms."""
    found = figures(8, 30, 10, 90, 0.005)
    assert found["cancers_detected_per_1000"] == pytest.approx(4)
    assert found["false_positives_per_1000"] == pytest.approx(995 / 3)
    assert found["ppv"] == pytest.approx(4 / (4 + 995 / 3))
    assert found["npv"] == pytest.approx((995 * 2 / 3) / (995 * 2 / 3 + 1))
    assert found["recall_rate"] == pytest.approx((4 + 995 / 3) / 1000)
    assert (found["sensitivity"], found["specificity"]) == pytest.approx((0.8, 60 / 90))


def test_the_prevalence_of_the_sample_changes_nothing() -> None:
    assert figures(8, 30, 10, 90, 10 / 100) == figures(8, 30, 10, 90, None)


def test_what_has_nothing_to_divide_by_is_undefined() -> None:
    nobody = figures(0, 0, 10, 90, None)
    assert np.isnan(nobody["ppv"])
    assert nobody["npv"] == 0.9
    everybody = figures(10, 90, 10, 90, None)
    assert np.isnan(everybody["npv"])
    assert everybody["ppv"] == 0.1
    no_case = figures(0, 30, 0, 90, None)
    assert [name for name, value in no_case.items() if np.isnan(value)] == ["sensitivity", "f1"]
    # without cases, nobody knows what they would do at a target prevalence
    for found in (figures(0, 30, 0, 90, 0.1), figures(8, 0, 10, 0, 0.1)):
        assert {name for name, value in found.items() if not np.isnan(value)} <= {"sensitivity", "specificity"}


def test_rates_end_at_1_and_numbers_at_1000() -> None:
    assert {name: highest_of(name) for name in ("ppv", "false_positives_per_1000")} == {
        "ppv": 1.0,
        "false_positives_per_1000": 1000.0,
    }


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_a_prevalence_that_is_none_is_refused(prevalence: float) -> None:
    with pytest.raises(UserInputError, match=r"prevalence: found .*, expected the share of cases .* such as 0\.005"):
        figures(8, 30, 10, 90, prevalence)
