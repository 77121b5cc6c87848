"""Which columns predict cancer on their own: what a detector may learn instead of tumours."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.cohort.audit.chance import LEVEL, judge_columns
from mammoscope.cohort.audit.counts import name_column, views_of_breasts
from mammoscope.cohort.audit.cross_validation import (
    Auc,
    Indices,
    auc_over_folds,
    deal_into_folds,
    score_out_of_fold,
)
from mammoscope.exam import BREAST

# with fewer patients with cancer an interval holds the truth in four cohorts of five only (docs/audit.md)
LEAST_CASE_PATIENTS = 20
_BINS = 10  # of a column of numbers: deciles keep a case or two in each bin of a fold of a screening cohort
_WHY_NONE = "needs two patients with cancer and two without, in breasts with a known outcome"


class ColumnKind(StrEnum):
    """What a column tells of: how the image was made, the woman, what was found later, or that something is missing."""

    ACQUISITION = "acquisition"
    PATIENT = "patient"
    OUTCOME = "outcome"
    MISSING = "missing"


KIND_BY_COLUMN = {
    "site": ColumnKind.ACQUISITION,
    "machine": ColumnKind.ACQUISITION,
    "manufacturer": ColumnKind.ACQUISITION,
    "source": ColumnKind.ACQUISITION,
    "laterality": ColumnKind.ACQUISITION,
    "views_of_breast": ColumnKind.ACQUISITION,
    "images_of_breast": ColumnKind.ACQUISITION,
    "images_of_patient": ColumnKind.ACQUISITION,
    "file_type": ColumnKind.ACQUISITION,
    "image_size": ColumnKind.ACQUISITION,
    "transfer_syntax": ColumnKind.ACQUISITION,
    "decoder": ColumnKind.ACQUISITION,
    "is_inverted": ColumnKind.ACQUISITION,
    "row_spacing_mm": ColumnKind.ACQUISITION,
    "age_years": ColumnKind.PATIENT,
    "density": ColumnKind.PATIENT,
    "implant": ColumnKind.PATIENT,
    "birads": ColumnKind.OUTCOME,
    "biopsy": ColumnKind.OUTCOME,
    "invasive": ColumnKind.OUTCOME,
    "difficult_negative": ColumnKind.OUTCOME,
}
# what a prepared store knows of an image beside its size
_STORE_COLUMNS = ("transfer_syntax", "decoder", "is_inverted", "row_spacing_mm")
# whether these are missing may follow from the outcome or the site; the others are never null, or not of the image
_MAY_BE_MISSING = (*KIND_BY_COLUMN, "prepared_picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """How well a column alone predicts the outcome of breasts; its values are `n_values`, a missing one included.

    `p` is that of `judge_columns`. The AUC has an interval only where it is above chance, and where 20 patients or more
    have cancer.
    """

    column: str
    kind: ColumnKind
    n_values: int
    auc: Auc
    p: float

    @property
    def is_above_chance(self) -> bool:
        """Whether chance would bring this AUC, to any column of the cohort, in at most one cohort of twenty."""
        return self.p <= LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutAudit:
    """The columns from the best predictor to the worst; where there is none, `reason` says why."""

    n_breasts: int
    n_cases: int
    n_case_patients: int
    n_folds: int
    shortcuts: tuple[Shortcut, ...] = ()
    constant_columns: tuple[str, ...] = ()
    reason: str | None = None


def audit_shortcuts(
    manifest: pl.DataFrame, prepared: pl.DataFrame | None, *, rng: np.random.Generator
) -> ShortcutAudit:
    """The AUC of each column on its own, out of fold by patient, at the level of the breast.

    Args:
        manifest: of the cohort.
        prepared: the table of a prepared store, for what files tell; None where there is no store.
        rng: deals the patients into folds, and outcomes to patients.
    """
    breasts = describe_breasts(manifest, prepared)
    outcomes = breasts["cancer"].to_numpy().astype(np.bool_)
    patients = np.unique(breasts["patient_id"].to_numpy(), return_inverse=True)[1]
    is_case_patient = np.bincount(patients, outcomes) > 0
    folds = deal_into_folds(is_case_patient, rng=rng) if len(patients) else None
    audit = ShortcutAudit(
        n_breasts=len(outcomes),
        n_cases=int(outcomes.sum()),
        n_case_patients=int(is_case_patient.sum()),
        n_folds=0 if folds is None else int(folds.max()) + 1,
    )
    if folds is None:
        return replace(audit, reason=_WHY_NONE)
    columns = list(_coded_columns(breasts))
    varied = [each for each in columns if each[2].any()]
    p_values = judge_columns([codes for _, _, codes in varied], outcomes, patients=patients, folds=folds, rng=rng)
    found = []
    for (column, kind, codes), p in zip(varied, p_values.tolist(), strict=True):
        scores = score_out_of_fold(codes, outcomes, folds[patients])
        auc = auc_over_folds(scores, outcomes, folds=folds[patients], patients=patients)
        if p > LEVEL or audit.n_case_patients < LEAST_CASE_PATIENTS:
            auc = replace(auc, low=None, high=None)
        found.append(Shortcut(column=column, kind=kind, n_values=int(codes.max()) + 1, auc=auc, p=p))
    return replace(
        audit,
        shortcuts=tuple(sorted(found, key=lambda each: (-each.auc.value, each.column))),
        constant_columns=tuple(column for column, _, codes in columns if not codes.any()),
    )


def describe_breasts(manifest: pl.DataFrame, prepared: pl.DataFrame | None) -> pl.DataFrame:
    """A row for each breast with a known outcome, with one value of each column that may be a shortcut.

    Numbers are averaged over the images of the breast; texts that differ between them are joined.
    """
    images = _add_store_columns(manifest, prepared).with_columns(
        pl.col("path").str.extract(r"\.([^./\\]+)$").str.to_lowercase().alias("file_type"),
        pl.len().over("patient_id").alias("images_of_patient"),
    )
    texts = [name for name in KIND_BY_COLUMN if name in images.columns and not images[name].dtype.is_numeric()]
    numbers = [name for name in KIND_BY_COLUMN if name in images.columns and images[name].dtype.is_numeric()]
    known = images.filter(pl.col("cancer").is_not_null()).with_columns(pl.col(texts).cast(pl.String))
    breasts = known.group_by(BREAST, maintain_order=True).agg(
        pl.col("patient_id").first(),
        pl.col("cancer").first(),
        pl.len().alias("images_of_breast"),
        *(_one_text(name) for name in texts if name not in BREAST),
        *(pl.col(name).mean() for name in numbers),
        *([_all_or_none("prepared_picture")] if "prepared_picture" in images else []),
    )
    return breasts.join(views_of_breasts(manifest), on=BREAST, how="left", maintain_order="left")


def code_values(values: pl.Series) -> Indices:
    """A number from 0 up for each value; numbers are put into tenths, and what is missing is a value too."""
    if values.dtype.is_numeric():
        return _code_numbers(values.cast(pl.Float64).to_numpy())
    codes: Indices = values.rank("dense").fill_null(0).cast(pl.Int64).to_numpy().astype(np.intp)
    return np.unique(codes, return_inverse=True)[1]


def _coded_columns(breasts: pl.DataFrame) -> Iterator[tuple[str, ColumnKind, Indices]]:
    for column, kind in KIND_BY_COLUMN.items():
        if column in breasts.columns and breasts[column].null_count() < breasts.height:
            yield column, kind, code_values(breasts[column])
    for column in _MAY_BE_MISSING:
        if column in breasts.columns and 0 < breasts[column].null_count() < breasts.height:
            is_missing = breasts[column].is_null().to_numpy().astype(np.intp)
            yield f"{name_column(column)} is missing", ColumnKind.MISSING, is_missing


def _add_store_columns(manifest: pl.DataFrame, prepared: pl.DataFrame | None) -> pl.DataFrame:
    if prepared is None:
        return manifest
    size = pl.format("{} x {}", "original_rows", "original_columns").alias("image_size")
    facts = prepared.select("image_id", size, pl.lit("yes").alias("prepared_picture"), *_STORE_COLUMNS)
    return manifest.join(facts, on="image_id", how="left", maintain_order="left")


def _one_text(name: str) -> pl.Expr:
    known = pl.col(name).drop_nulls()
    return pl.when(known.len() > 0).then(known.unique().sort().str.join(" + ")).alias(name)


def _all_or_none(name: str) -> pl.Expr:
    """The value where every image of the breast has one, else none."""
    return pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).first()).alias(name)


def _code_numbers(numbers: NDArray[np.float64]) -> Indices:
    """Tenths of equal size, which know nothing of outcomes, so that all breasts may make them."""
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.empty(0)
    codes = np.where(np.isnan(numbers), 0, 1 + np.searchsorted(edges, numbers, side="left"))
    return np.unique(codes, return_inverse=True)[1]
