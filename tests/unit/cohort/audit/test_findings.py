"""What is told at the top of the page, how bad it is, and what is not told."""

from collections.abc import Sequence

import pytest

from mammoscope.cohort.audit.checks import Check
from mammoscope.cohort.audit.counts import Size
from mammoscope.cohort.audit.cross_validation import Auc
from mammoscope.cohort.audit.findings import Finding, find
from mammoscope.cohort.audit.folds import FoldAudit, FoldSize
from mammoscope.cohort.audit.rules import RULE_BY_CODE, Severity
from mammoscope.cohort.audit.shares import GroupShare, GroupTable
from mammoscope.cohort.audit.shortcuts import ColumnKind, Shortcut, ShortcutAudit


def size(*, n_breasts: int = 1000, n_cases: int = 100, n_undetermined: int = 0) -> Size:
    return Size(
        n_images=2 * n_breasts,
        n_breasts=n_breasts,
        n_exams=n_breasts // 2,
        n_patients=n_breasts // 2,
        n_case_images=2 * n_cases,
        n_cases=n_cases,
        n_case_patients=n_cases,
        n_undetermined=n_undetermined,
    )


def shortcut(column: str, kind: ColumnKind, value: float, *, low: float | None = 0.55, p: float = 0.002) -> Shortcut:
    high = None if low is None else 1.0
    return Shortcut(column=column, kind=kind, n_values=2, auc=Auc(value=value, low=low, high=high), p=p)


def told(  # each part of an audit, of which a test gives one
    *,
    of: Size | None = None,
    checks: Sequence[Check] = (),
    shares: Sequence[GroupTable] = (),
    shortcuts: Sequence[Shortcut] = (),
    folds: FoldAudit | None = None,
) -> dict[str, Finding]:
    audit = ShortcutAudit(n_breasts=1000, n_cases=100, n_case_patients=100, n_folds=5, shortcuts=tuple(shortcuts))
    found = find(size=of or size(), checks=checks, shares=shares, shortcuts=audit, folds=folds)
    return {finding.code: finding for finding in found}


def test_a_sound_cohort_has_no_finding() -> None:
    assert told() == {}


@pytest.mark.parametrize(
    ("of", "code", "severity"),
    [
        (size(n_cases=0), "no_case", Severity.DANGER),
        (size(n_cases=0, n_undetermined=1000), "no_case", Severity.DANGER),
        (size(n_cases=900, n_undetermined=100), "no_control", Severity.DANGER),
        (size(n_cases=29), "few_cases", Severity.WARNING),
        (size(n_undetermined=1), "undetermined", Severity.NOTE),
    ],
)
def test_outcomes_that_cannot_be_worked_with_are_told(of: Size, code: str, severity: Severity) -> None:
    assert told(of=of)[code].severity is severity


def test_thirty_cases_are_enough() -> None:
    assert told(of=size(n_cases=30)) == {}


def test_a_check_is_told_where_it_found_something() -> None:
    checks = [
        Check(rule=RULE_BY_CODE["conflicting_cancer"], n_found=1, rows=(1, 2)),
        Check(rule=RULE_BY_CODE["extra_views"], n_found=1234, rows=(3,)),
        Check(rule=RULE_BY_CODE["implausible_age"], n_found=0, rows=()),
    ]
    found = told(checks=checks)
    assert list(found) == ["conflicting_cancer", "extra_views"]
    assert found["conflicting_cancer"].sentence == "Images of one breast that differ in cancer: 1 breast."
    assert found["extra_views"].sentence == "Breasts with more than one image of a view: 1,234 breasts."


@pytest.mark.parametrize(
    ("kind", "value", "severity"),
    [
        (ColumnKind.ACQUISITION, 0.7, Severity.DANGER),
        (ColumnKind.ACQUISITION, 0.69, Severity.WARNING),
        (ColumnKind.ACQUISITION, 0.6, Severity.WARNING),
        (ColumnKind.MISSING, 0.8, Severity.DANGER),
        (ColumnKind.PATIENT, 0.7, Severity.WARNING),
        (ColumnKind.PATIENT, 0.63, Severity.NOTE),
    ],
)
def test_a_shortcut_is_as_bad_as_it_is_strong(kind: ColumnKind, value: float, severity: Severity) -> None:
    column = "machine is missing" if kind is ColumnKind.MISSING else "machine"
    finding = told(shortcuts=[shortcut(column, kind, value)])["shortcut"]
    assert finding.severity is severity
    what = "That machine is missing" if kind is ColumnKind.MISSING else "Machine"
    assert finding.sentence == f"{what} predicts cancer on its own: AUC {value:.3f} (0.550 to 1.000)."


@pytest.mark.parametrize(("p", "codes"), [(0.05, ["shortcut"]), (0.052, []), (1.0, [])])
@pytest.mark.parametrize("low", [None, 0.55])
def test_a_shortcut_that_chance_may_bring_is_not_told(p: float, codes: list[str], low: float | None) -> None:
    assert list(told(shortcuts=[shortcut("machine", ColumnKind.ACQUISITION, 0.65, low=low, p=p)])) == codes


def test_weak_and_outcome_columns_that_chance_may_bring_are_not_told() -> None:
    weak = shortcut("machine", ColumnKind.ACQUISITION, 0.55, p=0.1)
    assert told(shortcuts=[weak, shortcut("birads", ColumnKind.OUTCOME, 0.9, low=None, p=0.1)]) == {}


def test_a_perfect_shortcut_has_no_interval_and_is_told() -> None:
    finding = told(shortcuts=[shortcut("machine", ColumnKind.ACQUISITION, 1.0, low=None)])["shortcut"]
    assert finding.sentence == "Machine predicts cancer on its own: AUC 1.000."


def test_weak_shortcuts_are_told_together() -> None:
    several = [
        shortcut("machine", ColumnKind.ACQUISITION, 0.59),
        shortcut("birads", ColumnKind.OUTCOME, 0.59),
        shortcut("age_years", ColumnKind.PATIENT, 0.59),
        shortcut("age is missing", ColumnKind.MISSING, 0.51),
        shortcut("site", ColumnKind.ACQUISITION, 0.509),
    ]
    found = told(shortcuts=several)
    assert list(found) == ["weak_shortcuts"]
    assert found["weak_shortcuts"].sentence.endswith(": machine, age is missing.")


def test_columns_that_follow_from_the_outcome_are_no_danger() -> None:
    several = [shortcut(name, ColumnKind.OUTCOME, 0.99) for name in ("biopsy", "birads")]
    found = told(shortcuts=several)
    assert list(found) == ["outcome_columns"]
    assert found["outcome_columns"].severity is Severity.NOTE
    assert found["outcome_columns"].sentence.endswith(": biopsy, BI-RADS.")


def share(group: str | None, low: float, high: float) -> GroupShare:
    return GroupShare(group=group, n_patients=9, n_breasts=9, n_cases=1, share=low, low=low, high=high)


def test_places_with_another_share_of_cancer_are_named() -> None:
    groups = (share("1", 0.05, 0.2), share("2", 0.11, 0.2), share(None, 0.0, 0.09))  # of all it is 0.1
    found = told(shares=[GroupTable(column="machine", groups=groups), GroupTable(column="age_band", groups=groups)])
    assert list(found) == ["uneven_machine"]
    assert found["uneven_machine"].sentence == "Machine with another share of cancer than all: 2, not recorded."


@pytest.mark.parametrize(("largest", "codes"), [(0.05, []), (0.051, ["uneven_folds"]), (None, [])])
def test_folds_more_than_a_twentieth_off_are_told(largest: float | None, codes: list[str]) -> None:
    folds = FoldAudit(folds=(), strata=(), n_rare=0, largest=None, largest_of_prevalence=largest)
    assert list(told(folds=folds)) == codes


def test_folds_that_are_off_or_have_no_case_are_named() -> None:
    sizes = [
        FoldSize(fold=fold, n_patients=9, n_images=9, n_breasts=100, n_cases=n_cases, share_of_cases=n_cases / 100)
        for fold, n_cases in ((0, 10), (1, 0), (2, 12), (None, 0))  # of all it is 0.1
    ]
    found = told(folds=FoldAudit(folds=tuple(sizes), strata=(), n_rare=0, largest=None, largest_of_prevalence=1.0))
    assert list(found) == ["folds_without_cases", "uneven_folds"]
    assert found["folds_without_cases"].sentence == "Folds without a breast with cancer: 1."
    assert found["uneven_folds"].sentence.endswith("is 100 % off that of all; more than 5 % off: fold 1, 2.")


def test_the_worst_stands_first() -> None:
    checks = [Check(rule=RULE_BY_CODE["extra_views"], n_found=1, rows=(1,))]
    found = told(of=size(n_cases=5), checks=checks, shortcuts=[shortcut("site", ColumnKind.ACQUISITION, 0.9)])
    assert [each.severity for each in found.values()] == [Severity.DANGER, Severity.WARNING, Severity.NOTE]
