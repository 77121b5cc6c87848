"""What a cohort holds: its size, the values and gaps of each column, ages, and tables of two columns."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from mammoscope.cohort.stratify import order_of_name
from mammoscope.exam import BREAST

VALUE_COLUMNS = (
    "laterality",
    "view",
    "cancer",
    "density",
    "birads",
    "implant",
    "biopsy",
    "invasive",
    "difficult_negative",
    "site",
    "machine",
    "manufacturer",
    "source",
)
FLAG_TABLES = (("density", "difficult_negative"), ("density", "cancer"), ("biopsy", "cancer"))
_NAME_BY_COLUMN = {
    "age_years": "age",
    "birads": "BI-RADS",
    "is_inverted": "white background",
    "row_spacing_mm": "pixel spacing",
}
_MOST_VALUES = 15  # of a column; more make a page that nobody reads
_AGE_STEP_YEARS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is. `n_cases` counts breasts with cancer, `n_undetermined` breasts without a known outcome."""

    n_images: int
    n_breasts: int
    n_exams: int
    n_patients: int
    n_case_images: int
    n_cases: int
    n_case_patients: int
    n_undetermined: int

    @property
    def share_of_cases(self) -> float | None:
        """Breasts with cancer among those with a known outcome; None where no outcome is known."""
        n_known = self.n_breasts - self.n_undetermined
        return self.n_cases / n_known if n_known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGaps:
    """A column of the manifest, with the images that have no value in it."""

    column: str
    n_missing: int
    n_distinct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCount:
    """A value of a column (None: not recorded) and its number of images."""

    value: str | None
    n_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueTable:
    """The values of a column, the missing one last; `n_left_out` values are too many to show."""

    column: str
    values: tuple[ValueCount, ...]
    n_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow:
    """The images of a value (None: not recorded) for which a flag is false, true, or unknown."""

    value: str | None
    n_false: int
    n_true: int
    n_unknown: int

    @property
    def share_true(self) -> float | None:
        """Among those that are known."""
        n_known = self.n_false + self.n_true
        return self.n_true / n_known if n_known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTable:
    """A column against a flag, in images."""

    column: str
    flag: str
    rows: tuple[FlagRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """The ages of the images, in years; `sd` is that of a sample (n - 1)."""

    n_known: int
    n_missing: int
    mean: float | None
    sd: float | None
    minimum: float | None
    maximum: float | None
    edges: tuple[float, ...]
    n_cases: tuple[int, ...]
    n_controls: tuple[int, ...]


def measure_size(manifest: pl.DataFrame) -> Size:
    """The numbers of images, breasts, exams and patients, and of those with cancer."""
    breasts = manifest.unique(BREAST)
    cases = manifest.filter("cancer")
    return Size(
        n_images=manifest.height,
        n_breasts=breasts.height,
        n_exams=manifest["exam_id"].n_unique(),
        n_patients=manifest["patient_id"].n_unique(),
        n_case_images=cases.height,
        n_cases=cases.select(BREAST).n_unique(),
        n_case_patients=cases["patient_id"].n_unique(),
        n_undetermined=breasts["cancer"].null_count(),
    )


def count_gaps(manifest: pl.DataFrame) -> tuple[ColumnGaps, ...]:
    """Each column with its missing values and its number of distinct ones."""
    return tuple(
        ColumnGaps(
            column=name,
            n_missing=manifest[name].null_count(),
            n_distinct=manifest[name].drop_nulls().n_unique(),
        )
        for name in manifest.columns
    )


def count_values(manifest: pl.DataFrame, column: str) -> ValueTable:
    """The values of a column in their order, of many the most frequent; the missing one last."""
    counts = manifest.group_by(column).len("n_images")
    known = counts.drop_nulls(column)
    shown = known.sort("n_images", column, descending=[True, False]).head(_MOST_VALUES)
    rows = pl.concat([shown, counts.filter(pl.col(column).is_null())]).iter_rows()
    values = [ValueCount(value=name_value(value), n_images=n_images) for value, n_images in rows]
    in_order = sorted(values, key=lambda count: order_of_name(count.value))
    return ValueTable(column=column, values=tuple(in_order), n_left_out=known.height - shown.height)


def count_images_per_patient(manifest: pl.DataFrame) -> ValueTable:
    """How many patients have how many images: the count of a value is one of patients."""
    per_patient = manifest.group_by("patient_id").len("images")
    return count_values(per_patient, "images")


def cross_with_flag(manifest: pl.DataFrame, column: str, flag: str) -> FlagTable:
    """For each value of a column, the images for which a flag is false, true, and unknown."""
    counted = (
        manifest.group_by(column)
        .agg(
            (~pl.col(flag)).sum().alias("n_false"),
            pl.col(flag).sum().alias("n_true"),
            pl.col(flag).null_count().alias("n_unknown"),
        )
        .sort(column, nulls_last=True)
    )
    rows = tuple(
        FlagRow(value=name_value(value), n_false=n_false, n_true=n_true, n_unknown=n_unknown)
        for value, n_false, n_true, n_unknown in counted.iter_rows()
    )
    return FlagTable(column=column, flag=flag, rows=rows)


def summarise_ages(manifest: pl.DataFrame) -> Ages:
    """Mean, spread and range of the ages of the images, and their histograms for cases and for controls."""
    ages = manifest["age_years"]
    known = manifest.drop_nulls("age_years")
    edges = _age_edges(known["age_years"])
    histograms = [
        np.histogram(known.filter(pl.col("cancer") == is_case)["age_years"], edges)[0] for is_case in (True, False)
    ]
    return Ages(
        n_known=known.height,
        n_missing=ages.null_count(),
        mean=_number(ages.mean()),
        sd=_number(ages.std()),
        minimum=_number(ages.min()),
        maximum=_number(ages.max()),
        edges=tuple(edges.tolist()),
        n_cases=tuple(histograms[0].tolist()),
        n_controls=tuple(histograms[1].tolist()),
    )


def views_of_breasts(manifest: pl.DataFrame) -> pl.DataFrame:
    """A row for each breast with its views in one text, such as `2 CC + MLO`, as `views_of_breast`."""
    counted = manifest.group_by(*BREAST, "view").len().sort(*BREAST, "view")
    several = pl.when(pl.col("len") > 1).then(pl.format("{} {}", "len", "view")).otherwise("view")
    return counted.group_by(BREAST, maintain_order=True).agg(several.str.join(" + ").alias("views_of_breast"))


def name_column(column: str) -> str:
    """A column as people say it: `views_of_breast` is `views of breast`."""
    return _NAME_BY_COLUMN.get(column, column.replace("_", " "))


def name_value(value: object) -> str | None:
    """A value of a table as it stands on the page; None where it is not recorded."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else str(value)


def _age_edges(ages: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Edges in steps of five years that hold all ages."""
    lowest, highest = (_number(ages.min()), _number(ages.max())) if len(ages) else (40.0, 70.0)
    first = np.floor((lowest or 0) / _AGE_STEP_YEARS)
    last = np.floor((highest or 0) / _AGE_STEP_YEARS) + 1
    return np.arange(first, last + 1, dtype=np.float64) * _AGE_STEP_YEARS


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
