"""The audit of a cohort: everything that its page shows, as records, from a manifest and perhaps a prepared store."""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from mammoscope.cohort.audit.checks import Check, check_cohort
from mammoscope.cohort.audit.counts import (
    FLAG_TABLES,
    VALUE_COLUMNS,
    Ages,
    ColumnGaps,
    FlagTable,
    Size,
    ValueTable,
    count_gaps,
    count_images_per_patient,
    count_values,
    cross_with_flag,
    measure_size,
    summarise_ages,
)
from mammoscope.cohort.audit.findings import Finding, find
from mammoscope.cohort.audit.folds import FoldAudit, audit_folds
from mammoscope.cohort.audit.machines import MachineSummary, PictureSource, summarise_machines
from mammoscope.cohort.audit.matches import MatchAudit, MatchPlan, audit_match
from mammoscope.cohort.audit.shares import GROUPINGS, GroupTable, add_groups, share_by_group
from mammoscope.cohort.audit.shortcuts import ShortcutAudit, audit_shortcuts
from mammoscope.exam import BREAST

AUDIT_VERSION = 1
FINDINGS_COLUMNS = ("code", "severity", "row", "image_id")
_DEFAULT_PLAN = MatchPlan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found in a cohort.

    `machines` is empty without a store, `folds` is None before a split, `match` is None where no case has a match.
    """

    size: Size
    gaps: tuple[ColumnGaps, ...]
    images_per_patient: ValueTable
    values: tuple[ValueTable, ...]
    flags: tuple[FlagTable, ...]
    ages: Ages
    shares: tuple[GroupTable, ...]
    checks: tuple[Check, ...]
    shortcuts: ShortcutAudit
    machines: tuple[MachineSummary, ...]
    folds: FoldAudit | None
    match: MatchAudit | None
    match_plan: MatchPlan
    has_store: bool

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before trusting a number, the worst first."""
        return find(size=self.size, checks=self.checks, shares=self.shares, shortcuts=self.shortcuts, folds=self.folds)

    def to_json(self) -> dict[str, object]:
        """The content of `audit.json`: figures and counts, without ids, rows and pictures."""
        return {
            "schema_version": AUDIT_VERSION,
            "findings": [asdict(finding) for finding in self.findings],
            "size": asdict(self.size) | {"share_of_cases": self.size.share_of_cases},
            "columns": [asdict(each) for each in self.gaps],
            "images_per_patient": asdict(self.images_per_patient),
            "values": [asdict(each) for each in self.values],
            "flags": [asdict(each) for each in self.flags],
            "ages": asdict(self.ages),
            "cancer_by_group": [asdict(each) for each in self.shares],
            "checks": [
                {**asdict(each.rule), "unit": each.rule.unit, "n_found": each.n_found, "n_images": len(each.rows)}
                for each in self.checks
            ],
            "shortcuts": asdict(self.shortcuts),
            "machines": [each.to_json() for each in self.machines],
            "folds": None if self.folds is None else asdict(self.folds),
            "matched_controls": None if self.match is None else asdict(self.match),
        }


def audit_cohort(
    manifest: pl.DataFrame,
    *,
    rng: np.random.Generator,
    store: PictureSource | None = None,
    plan: MatchPlan = _DEFAULT_PLAN,
) -> Audit:
    """The audit of a checked manifest.

    A breast whose images differ in cancer is found by the checks, and undetermined in every figure that asks for its
    outcome; where only some of its images have one, that is the outcome of the breast.

    Args:
        manifest: of the cohort; the images of a breast may differ in cancer.
        rng: deals patients into folds and outcomes to patients for the shortcut audit, then matches controls.
        store: the prepared pictures; without it sizes, duplicates and grey values are not looked at.
        plan: which controls a case is given.
    """
    prepared = None if store is None else store.prepared
    settled = _settle_outcomes(manifest)
    grouped = add_groups(settled)
    return Audit(
        size=measure_size(settled),
        gaps=count_gaps(manifest),
        images_per_patient=count_images_per_patient(manifest),
        values=tuple(count_values(manifest, column) for column in VALUE_COLUMNS),
        flags=tuple(cross_with_flag(manifest, column, flag) for column, flag in FLAG_TABLES),
        ages=summarise_ages(settled),
        shares=tuple(share_by_group(grouped, column) for column in GROUPINGS),
        checks=check_cohort(manifest, prepared),
        shortcuts=audit_shortcuts(settled, prepared, rng=rng),
        machines=() if store is None else summarise_machines(manifest, store),
        folds=audit_folds(settled),
        match=audit_match(settled, plan, rng=rng),
        match_plan=plan,
        has_store=store is not None,
    )


def _settle_outcomes(manifest: pl.DataFrame) -> pl.DataFrame:
    """The manifest with one outcome for each breast: the only one that its images know, else none."""
    known = pl.col("cancer").drop_nulls()
    is_settled = known.n_unique().over(BREAST) == 1
    return manifest.with_columns(pl.when(is_settled).then(known.first().over(BREAST)).alias("cancer"))


def list_rows(audit: Audit, manifest: pl.DataFrame) -> pl.DataFrame:
    """The rows that the checks found, for the user's own work: `code`, `severity`, `row` (from 1) and `image_id`."""
    image_ids = manifest["image_id"]
    found = [
        (check.rule.code, check.rule.severity.value, row, image_ids[row - 1])
        for check in audit.checks
        for row in check.rows
    ]
    return pl.DataFrame(
        found,
        schema=dict(zip(FINDINGS_COLUMNS, (pl.String, pl.String, pl.Int64, pl.String), strict=True)),
        orient="row",
    )
