"""The page of an audit: one HTML file that needs nothing else."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from mammoscope.cohort.audit.audit import Audit
from mammoscope.cohort.audit.counts import name_column
from mammoscope.cohort.audit.figures import draw_ages, draw_grey_values
from mammoscope.cohort.audit.machines import MachineSummary
from mammoscope.cohort.audit.rules import Severity
from mammoscope.cohort.audit.shares import GroupTable
from mammoscope.cohort.audit.shortcuts import LEAST_CASE_PATIENTS, ColumnKind, Shortcut
from mammoscope.cohort.fold_balance import name_stratum
from mammoscope.pages.page import NO_BREAK_SPACE, Fact, capitalise, page_template

_MARK_BY_SEVERITY = {Severity.DANGER: "▲", Severity.WARNING: "◆", Severity.NOTE: "●"}  # told apart without colour
_NAME_BY_KIND = {
    ColumnKind.ACQUISITION: "how the image was made",
    ColumnKind.PATIENT: "the woman",
    ColumnKind.OUTCOME: "reading and diagnosis",
    ColumnKind.MISSING: "what is missing",
}
_TITLE_BY_GROUPING = {"age_band": "age in years", "views_of_breast": "views of the breast"}
_MOST_SIZES = 3
_AUC_RANGE = (0.4, 1.0)
_WHISKER_WIDTH = 200.0
_LARGE_GROUP_CASES, _TIMES_OVERALL = 10, 3


def render(audit: Audit, *, facts: Sequence[Fact] = (), n_phantoms: int = 0) -> str:
    """The page, as text; equal input gives equal text. `n_phantoms` of the images are synthetic."""
    n_images = audit.size.n_images
    template = page_template("mammoscope.cohort.audit", "audit.html.j2", **_filters())
    page = template.render(
        lead=_lead(audit),
        is_synthetic=n_phantoms == n_images,
        synthetic_part=f"{n_phantoms:,} of {n_images:,} images" if 0 < n_phantoms < n_images else "",
        audit=audit,
        mark_of=_MARK_BY_SEVERITY,
        ages=draw_ages(audit.ages) if audit.ages.n_known else None,
        tables=[audit.images_per_patient, *(table for table in audit.values if len(table.values) > 1)],
        single=[table for table in audit.values if len(table.values) == 1],
        groups=[_group_table(table, audit) for table in audit.shares if len(table.groups) > 1],
        shortcuts=_shortcut_rows(audit),
        chance=_place(0.5, _AUC_RANGE),
        match_columns=", ".join(name_column(column) for column in audit.match_plan.columns),
        least_case_patients=LEAST_CASE_PATIENTS,
        machines=[_machine_cell(machine, number) for number, machine in enumerate(audit.machines)],
        facts=facts,
    )
    return page.strip() + "\n"


def _filters() -> dict[str, Callable[[Any], str]]:
    return {
        "column": name_column,
        "title": lambda column: capitalise(name_column(column)),
        "value": lambda value: "not recorded" if value is None else str(value),
        "stratum": lambda row: name_stratum(row.stratum, row.value),
        "kind": lambda kind: _NAME_BY_KIND[kind],
        "percent": lambda share: f"{100 * share:.1f}",
        "signed": _signed,
        "age": lambda age: f"{age:g}",
        "difference": lambda number: "not defined" if number is None else f"{number:.3f}",
        "two": lambda number: f"{number:.2f}",
    }


def _signed(share: float | None) -> str:
    """A share in percent with its sign, which 0 has none of; nothing where there is none."""
    if share is None:
        return ""
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def _lead(audit: Audit) -> str:
    size = audit.size
    share = "" if size.share_of_cases is None else f" ({100 * size.share_of_cases:.1f}{NO_BREAK_SPACE}%)"
    undetermined = f" The outcome of {size.n_undetermined:,} is not known." if size.n_undetermined else ""
    return (
        f"{size.n_images:,} images of {size.n_breasts:,} breasts of {size.n_patients:,} patients; "
        f"{size.n_cases:,} breasts{share} of {size.n_case_patients:,} patients have cancer.{undetermined}"
    )


def _group_table(table: GroupTable, audit: Audit) -> dict[str, object]:
    """The groups with the ends and the middle of their whiskers, on a scale of the table."""
    overall = audit.size.share_of_cases
    span = (0.0, _end_of_scale(table, overall))
    return {
        "column": table.column,
        "title": capitalise(_TITLE_BY_GROUPING.get(table.column, name_column(table.column))),
        "n_left_out": table.n_left_out,
        "reference": None if overall is None else _place(overall, span),
        "groups": [
            {"record": group, "whisker": [_place(each, span) for each in (group.low, group.share, group.high)]}
            for group in table.groups
        ],
    }


def _end_of_scale(table: GroupTable, overall: float | None) -> float:
    """So far that the larger groups are seen whole; the intervals of small ones would make all others points."""
    ends = [group.high for group in table.groups if group.n_cases >= _LARGE_GROUP_CASES]
    return min(1.0, max([*ends, _TIMES_OVERALL * (overall or 0)]) or 1.0)


def _shortcut_rows(audit: Audit) -> list[dict[str, object]]:
    return [
        {
            "record": shortcut,
            "interval": _name_interval(shortcut, audit.shortcuts.n_case_patients),
            "whisker": [
                _place(shortcut.auc.value if each is None else each, _AUC_RANGE)
                for each in (shortcut.auc.low, shortcut.auc.value, shortcut.auc.high)
            ],
        }
        for shortcut in audit.shortcuts.shortcuts
    ]


def _name_interval(shortcut: Shortcut, n_case_patients: int) -> str:
    """The interval, or why there is none."""
    low, high = shortcut.auc.low, shortcut.auc.high
    if low is not None and high is not None:
        return f"{low:.3f} to {high:.3f}"
    if not shortcut.is_above_chance:
        return "as by chance"
    return "too few with cancer" if n_case_patients < LEAST_CASE_PATIENTS else "not known"


def _place(value: float, span: tuple[float, float]) -> float:
    """Where a value stands on a whisker, which ends where the span does."""
    low, high = span
    return round(min(1.0, max(0.0, (value - low) / (high - low))) * _WHISKER_WIDTH, 2)


def _machine_cell(machine: MachineSummary, number: int) -> dict[str, object]:
    more = len(machine.sizes) - _MOST_SIZES
    return {
        "record": machine,
        "sizes": "; ".join(machine.sizes[:_MOST_SIZES]) + (f"; and {more} more" if more > 0 else ""),
        "figure": draw_grey_values(machine, number=number),
        "base64": base64.b64encode(machine.jpeg).decode("ascii"),
    }
