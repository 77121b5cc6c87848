"""The share of breasts with cancer in groups of a cohort, with intervals that know that patients have two breasts."""

from dataclasses import dataclass
from math import sqrt

import polars as pl

from mammoscope.cohort.audit.counts import name_value, views_of_breasts
from mammoscope.cohort.stratify import name_age_band, order_of_name, start_age_band
from mammoscope.exam import BREAST

# the quantile of the normal distribution for 95 %
Z = 1.959963984540054
# bands of ten years; the first and the last hold the few whom screening programmes do not invite
_YOUNGEST_BAND_YEARS, _OLDEST_BAND_YEARS = 40, 80
_MOST_GROUPS = 12
GROUPINGS = ("age_band", "density", "view", "views_of_breast", "laterality", "implant", "site", "machine", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShare:
    """A group (None: not recorded): its breasts with a known outcome, those with cancer, and their share with 95 %."""

    group: str | None
    n_patients: int
    n_breasts: int
    n_cases: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTable:
    """The groups of a column in their order; of many, those with the most breasts."""

    column: str
    groups: tuple[GroupShare, ...]
    n_left_out: int = 0


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a share of n observations (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def effective_number(n_cases: pl.Series, n_breasts: pl.Series) -> float:
    """How many independent breasts those of some patients are worth, at most their number.

    Each row is a patient. The variance of the share is that of a ratio over clusters, and the effective number is that
    which would give it to independent breasts (Korn & Graubard 1998, Survey Methodology 24, 193-201). Where no breast,
    or every breast, has cancer, it says nothing, and each patient counts as one.
    """
    total, n_patients = int(n_breasts.sum()), len(n_breasts)
    share = int(n_cases.sum()) / total
    if n_patients == 1 or share in {0.0, 1.0}:
        return float(n_patients)
    residuals = (n_cases - share * n_breasts) / total
    variance = float((residuals**2).sum()) * n_patients / (n_patients - 1)
    return min(float(total), share * (1 - share) / variance) if variance > 0 else float(total)


def add_groups(manifest: pl.DataFrame) -> pl.DataFrame:
    """The manifest with the age band of each image and the views of its breast, as text."""
    start = start_age_band()
    bands = (
        pl.when(start < _YOUNGEST_BAND_YEARS)
        .then(pl.lit(f"below {_YOUNGEST_BAND_YEARS}"))
        .when(start >= _OLDEST_BAND_YEARS)
        .then(pl.lit(f"{_OLDEST_BAND_YEARS} and above"))
        .otherwise(name_age_band())
    )
    images = manifest.with_columns(bands.alias("age_band"))
    return images.join(views_of_breasts(manifest), on=BREAST, how="left", maintain_order="left")


def share_by_group(manifest: pl.DataFrame, column: str) -> GroupTable:
    """The share of breasts with cancer for each value of a column; a breast counts in each value that it has.

    Breasts without a known outcome are left out. The interval is Wilson's, with the effective number of breasts.
    """
    per_patient = (
        manifest.filter(pl.col("cancer").is_not_null())
        .unique([column, *BREAST])
        .group_by(column, "patient_id")
        .agg(pl.len().alias("n_breasts"), pl.col("cancer").sum().alias("n_cases"))
        .sort("patient_id")  # so that sums are rounded alike, whatever the order of the rows
    )
    groups = [
        _share(name_value(key[0]), patients) for key, patients in per_patient.group_by([column], maintain_order=True)
    ]
    shown = sorted(groups, key=lambda group: (-group.n_breasts, str(group.group)))[:_MOST_GROUPS]
    return GroupTable(column=column, groups=tuple(sorted(shown, key=_order)), n_left_out=len(groups) - len(shown))


def _share(group: str | None, patients: pl.DataFrame) -> GroupShare:
    n_breasts, n_cases = int(patients["n_breasts"].sum()), int(patients["n_cases"].sum())
    share = n_cases / n_breasts
    low, high = wilson_interval(share, effective_number(patients["n_cases"], patients["n_breasts"]))
    return GroupShare(
        group=group,
        n_patients=patients.height,
        n_breasts=n_breasts,
        n_cases=n_cases,
        share=share,
        low=low,
        high=high,
    )


def _order(group: GroupShare) -> tuple[bool, bool, int, str]:
    """As all names, with `below` before its number."""
    return order_of_name(None if group.group is None else group.group.replace("below", ""))
