"""What to know about a cohort before trusting a number: findings, each with how bad it is and what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mammoscope.cohort.audit.checks import Check
from mammoscope.cohort.audit.counts import Size, name_column
from mammoscope.cohort.audit.folds import FoldAudit
from mammoscope.cohort.audit.rules import Severity
from mammoscope.cohort.audit.shares import GroupTable
from mammoscope.cohort.audit.shortcuts import ColumnKind, Shortcut, ShortcutAudit
from mammoscope.cohort.fold_balance import LARGEST_IMBALANCE
from mammoscope.pages.page import capitalise

# a detector with the AUC of a shortcut would pass for a useful one at 0.7; at 0.6 it would be believed to have learned
DANGEROUS_AUC, NOTABLE_AUC = 0.7, 0.6
WEAK_AUC = 0.51  # what is below it is chance to two digits
# below this the interval of an AUC is wider than 0.1 either way (Hanley & McNeil 1982: 0.06 for 30 cases at 0.75)
_FEW_CASES = 30
_ORDER = list(Severity)
_PLACES = ("site", "machine", "source")
_NOT_OF_THE_BREAST = (ColumnKind.ACQUISITION, ColumnKind.MISSING)
_ADVICE_BY_KIND = {
    ColumnKind.ACQUISITION: "A detector can read this off the picture instead of a tumour: give every figure for each "
    "value, match controls by it, and never feed it in.",
    ColumnKind.MISSING: "What is missing follows the outcome: never fill gaps with a value of their own for a model.",
    ColumnKind.PATIENT: "A risk factor as well as a shortcut: compare a detector with what this column reaches alone.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One of the findings at the top of the page: counts, never ids."""

    code: str
    severity: Severity
    sentence: str
    advice: str


def find(
    *,
    size: Size,
    checks: Sequence[Check],
    shares: Sequence[GroupTable],
    shortcuts: ShortcutAudit,
    folds: FoldAudit | None,
) -> tuple[Finding, ...]:
    """All findings, the worst first."""
    of_rows = [*_about_size(size), *_about_checks(checks)]
    found = [*of_rows, *_about_shortcuts(shortcuts), *_about_groups(shares, size), *_about_folds(folds, size)]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def _about_size(size: Size) -> Iterator[Finding]:
    if not size.n_cases or size.n_cases + size.n_undetermined == size.n_breasts:
        missing = "case" if not size.n_cases else "control"
        yield Finding(
            code=f"no_{missing}",
            severity=Severity.DANGER,
            sentence=f"No {missing}: of {size.n_breasts:,} breasts {size.n_cases:,} have cancer, and the outcome of "
            f"{size.n_undetermined:,} is not known.",
            advice="Nothing can be trained or measured; add the outcomes.",
        )
    elif size.n_case_patients < _FEW_CASES:
        yield Finding(
            code="few_cases",
            severity=Severity.WARNING,
            sentence=f"{size.n_case_patients:,} patients with cancer.",
            advice=f"With fewer than {_FEW_CASES} every interval is wide: join another cohort, if there is one.",
        )
    if size.n_undetermined and size.n_undetermined < size.n_breasts:
        yield Finding(
            code="undetermined",
            severity=Severity.NOTE,
            sentence=f"The outcome of {size.n_undetermined:,} of {size.n_breasts:,} breasts is not known.",
            advice="They are left out of training and figures; see that they are not of one site or age.",
        )


def _about_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    for check in checks:
        if check.n_found:
            unit = check.rule.unit.removesuffix("s") if check.n_found == 1 else check.rule.unit
            yield Finding(
                code=check.rule.code,
                severity=check.rule.severity,
                sentence=f"{check.rule.title}: {check.n_found:,} {unit}.",
                advice=check.rule.advice,
            )


def _about_shortcuts(audit: ShortcutAudit) -> Iterator[Finding]:
    believed = [each for each in audit.shortcuts if each.is_above_chance]
    strong = [each for each in believed if each.auc.value >= NOTABLE_AUC]
    for shortcut in strong:
        if shortcut.kind is not ColumnKind.OUTCOME:
            name = capitalise(name_column(shortcut.column))
            what = f"That {shortcut.column}" if shortcut.kind is ColumnKind.MISSING else name
            yield Finding(
                code="shortcut",
                severity=_severity(shortcut),
                sentence=f"{what} predicts cancer on its own: AUC {_estimate(shortcut)}.",
                advice=_ADVICE_BY_KIND[shortcut.kind],
            )
    weak = [each for each in believed if WEAK_AUC <= each.auc.value < NOTABLE_AUC]
    named = [name_column(each.column) for each in weak if each.kind in _NOT_OF_THE_BREAST]
    if named:
        yield Finding(
            code="weak_shortcuts",
            severity=Severity.NOTE,
            sentence=f"Better than chance, but below an AUC of {NOTABLE_AUC}: {', '.join(named)}.",
            advice="Alone they are weak, together they may not be: give every figure by site and machine too.",
        )
    outcomes = [name_column(each.column) for each in strong if each.kind is ColumnKind.OUTCOME]
    if outcomes:
        yield Finding(
            code="outcome_columns",
            severity=Severity.NOTE,
            sentence=f"They follow from the reading or the diagnosis, and predict cancer: {', '.join(outcomes)}.",
            advice="As it should be. Never feed them to a detector.",
        )


def _about_groups(shares: Sequence[GroupTable], size: Size) -> Iterator[Finding]:
    """Places whose share of cases is not that of all."""
    n_known = size.n_breasts - size.n_undetermined
    for table in shares:
        if table.column in _PLACES:
            apart = [
                each.group or "not recorded"
                for each in table.groups
                if not each.low * n_known <= size.n_cases <= each.high * n_known
            ]
            if apart:
                yield Finding(
                    code=f"uneven_{table.column}",
                    severity=Severity.NOTE,
                    sentence=f"{capitalise(table.column)} with another share of cancer than all: {', '.join(apart)}.",
                    advice="Compare average precision and pF1 only where the shares are alike.",
                )


def _severity(shortcut: Shortcut) -> Severity:
    is_strong = shortcut.auc.value >= DANGEROUS_AUC
    if shortcut.kind is ColumnKind.PATIENT:
        return Severity.WARNING if is_strong else Severity.NOTE
    return Severity.DANGER if is_strong else Severity.WARNING


def _estimate(shortcut: Shortcut) -> str:
    auc = shortcut.auc
    return f"{auc.value:.3f}" if auc.low is None else f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"


def _about_folds(audit: FoldAudit | None, size: Size) -> Iterator[Finding]:
    if audit is None:
        return
    held_out = [fold for fold in audit.folds if fold.fold is not None]
    empty = [str(fold.fold) for fold in held_out if not fold.n_cases]
    if empty:
        yield Finding(
            code="folds_without_cases",
            severity=Severity.WARNING,
            sentence=f"Folds without a breast with cancer: {', '.join(empty)}.",
            advice="A fold without a case measures nothing: split again, or leave such folds out of every figure.",
        )
    whole = size.share_of_cases or 0.0
    apart = [str(fold.fold) for fold in held_out if _is_apart(fold.share_of_cases, whole)]
    largest = audit.largest_of_prevalence
    if largest is not None and largest > LARGEST_IMBALANCE:
        yield Finding(
            code="uneven_folds",
            severity=Severity.WARNING,
            sentence=f"The share of breasts with cancer of a fold is {100 * largest:.0f} % off that of all"
            + (f"; more than {100 * LARGEST_IMBALANCE:.0f} % off: fold {', '.join(apart)}." if apart else "."),
            advice="Split again with fewer folds, or compare average precision and pF1 of folds with care. "
            "Where a site or a machine is left out, it is meant to be so.",
        )


def _is_apart(share: float | None, whole: float) -> bool:
    return share is not None and abs(share - whole) > LARGEST_IMBALANCE * whole
