import polars as pl
import pytest

from mammoscope.cohort.sources.outcomes import OutcomeRule, decide_outcomes, findings_by_birads, parse_categories
from mammoscope.errors import UserInputError

ROWS = pl.DataFrame(
    {
        "patient_id": ["1", "1", "1", "1", "2", "2"],
        "exam_id": ["1a", "1a", "1a", "1b", "2", "2"],
        "laterality": ["L", "L", "R", "R", "L", "R"],
    }
)


def decide(*findings: str | None, rule: OutcomeRule | None = None) -> list[bool | None]:
    return decide_outcomes(ROWS, pl.Series(findings, dtype=pl.String), rule or OutcomeRule()).to_list()


def test_the_worst_finding_decides_for_the_breast() -> None:
    assert decide("malignant", "benign", "normal", "normal", "benign", "normal") == [True, True, *[False] * 4]


def test_what_is_unknown_may_be_a_cancer() -> None:
    assert decide(None, "benign", None, "normal", None, "normal") == [None, None, None, False, None, False]
    assert decide(None, "malignant", None, "normal", None, "normal")[:3] == [True, True, None]


def test_benign_can_be_left_undetermined() -> None:
    rule = OutcomeRule(benign="undetermined")
    outcomes = decide("benign", "normal", "normal", "normal", "malignant", "benign", rule=rule)
    assert outcomes == [None, None, False, False, True, None]


def test_the_normal_side_of_a_patient_with_cancer_can_be_left_undetermined() -> None:
    rule = OutcomeRule(normal_side="undetermined")
    outcomes = decide("malignant", "normal", "normal", "benign", "normal", "normal", rule=rule)
    assert outcomes == [True, True, None, False, False, False]


def test_a_normal_exam_of_a_patient_with_cancer_in_another_counts_as_normal_side() -> None:
    rule = OutcomeRule(normal_side="undetermined")
    assert decide("normal", "normal", "normal", "malignant", "normal", "normal", rule=rule)[:3] == [None, None, None]


def test_categories_become_findings_by_the_rule() -> None:
    birads = pl.Series([0, 1, 2, 3, 4, 5, 6, None])
    expected = [None, "normal", "normal", None, *["malignant"] * 3, None]
    assert findings_by_birads(birads, OutcomeRule()).to_list() == expected
    strict = OutcomeRule(case_birads=frozenset({6}), control_birads=frozenset({1, 3}))
    expected = [None, "normal", None, "normal", None, None, "malignant", None]
    assert findings_by_birads(birads, strict).to_list() == expected


def test_a_category_is_not_case_and_control_at_once() -> None:
    with pytest.raises(UserInputError, match="BI-RADS 2, 3: found among --case-birads and --control-birads"):
        OutcomeRule(case_birads=frozenset({2, 3, 4}), control_birads=frozenset({1, 2, 3}))


@pytest.mark.parametrize("option", ["case_birads", "control_birads"])
def test_there_is_no_category_seven(option: str) -> None:
    with pytest.raises(UserInputError, match=f"--{option.replace('_', '-')}: found 7, expected categories 0 to 6"):
        OutcomeRule(**{option: frozenset({6, 7})})  # type: ignore[arg-type]  # a rule has two such options


def test_categories_are_a_list_with_commas() -> None:
    assert parse_categories("4, 5,6", option="--case-birads") == frozenset({4, 5, 6})
    for text in ("", "4;5", "4,", "-1", "4a"):
        with pytest.raises(UserInputError, match=r"--case-birads: found '.*', expected BI-RADS categories with commas"):
            parse_categories(text, option="--case-birads")
