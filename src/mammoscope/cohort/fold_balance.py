"""How like the whole each fold is: a table of fold by stratum, and the largest imbalance in it."""

from collections.abc import Iterator

import polars as pl

from mammoscope.cohort.stratify import STRATA, describe_strata
from mammoscope.exam import BREAST

LEAST_EXPECTED = 20  # below this, one more or one less is over 5 %, which no dealing of whole patients can mend
LARGEST_IMBALANCE = 0.05  # of the share of cases of a fold, relative to the whole: figures of folds compare up to it
_JOINED = tuple((("outcome", name)) for name in STRATA if name not in {"outcome", "cancer_images"})
_PATTERN_OF_STRATUM = {"cancer_images": "images with cancer: {}", "age_band": "age {}", "views": "{} images"}
_NAME_OF_VALUE = {
    ("cancer", "yes"): "with cancer",
    ("outcome", "case"): "cases",
    ("outcome", "control"): "controls",
    ("outcome", "undetermined"): "undetermined",
    ("views", "1"): "1 image",
    ("implant", "true"): "an implant",
    ("implant", "false"): "no implant",
}
_COLUMNS = ("stratum", "value", "unit", "fold", "n", "n_expected", "imbalance")


def tabulate_folds(manifest: pl.DataFrame) -> pl.DataFrame:
    """A row for each stratum, value and fold; a null fold is that of those who are never held out.

    Columns: `stratum`, `value`, `unit` (`patients`; `breasts` or `images` in the rows of cancer, which are the
    prevalences), `fold`, `n` (so many the fold has), `n_expected` (so many it would have were its share that of the
    whole), `imbalance` (n / n_expected - 1: 0.05 is 5 % too many; null where nothing is expected).

    Strata of patients are those of `describe_strata`, and each but the count of cancer images within cases and
    controls.
    """
    parts = [*_prevalences(manifest), *_strata_of_patients(manifest)]
    imbalance = pl.when(pl.col("n_expected") > 0).then(pl.col("n") / pl.col("n_expected") - 1)
    return pl.concat(parts).with_columns(imbalance.alias("imbalance")).select(_COLUMNS)


def name_stratum(stratum: str, value: str) -> str:
    """What people call a row of the table: `age 50 to 59`, `cases with 5 images`."""
    if " and " not in stratum:
        return _NAME_OF_VALUE.get((stratum, value)) or _PATTERN_OF_STRATUM.get(stratum, f"{stratum} {{}}").format(value)
    (first, second), (outcome, other) = stratum.split(" and ", 1), value.split(", ", 1)
    return f"{name_stratum(first, outcome)} with {name_stratum(second, other)}"


def largest_imbalance(table: pl.DataFrame) -> dict[str, object] | None:
    """The row with the largest imbalance, up or down, of those that expect `LEAST_EXPECTED` or more; None without one.

    Those who are never held out are passed over. Of equal rows it is the first.
    """
    rows = table.filter(pl.col("fold").is_not_null(), pl.col("n_expected") >= LEAST_EXPECTED)
    if rows.is_empty():
        return None
    return rows.sort(pl.col("imbalance").abs(), descending=True, maintain_order=True).row(0, named=True)


def largest_of_prevalence(table: pl.DataFrame) -> float | None:
    """How far the share of breasts with cancer of a fold is from the whole, at most, up or down; None without one.

    Those who are never held out are passed over.
    """
    rows = table.filter(pl.col("stratum") == "cancer", pl.col("unit") == "breasts", pl.col("fold").is_not_null())
    largest = rows["imbalance"].abs().max()
    return float(largest) if isinstance(largest, float) else None


def list_empty_folds(manifest: pl.DataFrame) -> list[int]:
    """The folds without a breast with cancer, in order: they measure nothing."""
    folds = manifest.drop_nulls("fold").group_by("fold").agg(pl.col("cancer").any().alias("has_case"))
    return sorted(folds.filter(~pl.col("has_case"))["fold"].to_list())


def _prevalences(manifest: pl.DataFrame) -> Iterator[pl.DataFrame]:
    known = manifest.filter(pl.col("cancer").is_not_null())
    for unit, rows in (("breasts", known.unique(BREAST)), ("images", known)):
        folds = rows.group_by("fold").agg(pl.len().alias("n_in_fold"), pl.col("cancer").sum().alias("n"))
        share = rows["cancer"].mean()
        yield folds.sort("fold", nulls_last=True).select(
            pl.lit("cancer").alias("stratum"),
            pl.lit("yes").alias("value"),
            pl.lit(unit).alias("unit"),
            "fold",
            pl.col("n").cast(pl.Int64),
            (pl.col("n_in_fold") * pl.lit(share, pl.Float64)).alias("n_expected"),
        )


def _strata_of_patients(manifest: pl.DataFrame) -> Iterator[pl.DataFrame]:
    patients = describe_strata(manifest).join(manifest.select("patient_id", "fold").unique(), on="patient_id")
    sizes = patients.group_by("fold", maintain_order=True).agg(pl.col("patient_id").n_unique().alias("n_in_fold"))
    n_patients = patients["patient_id"].n_unique()
    for names in (*((name,) for name in STRATA), *_JOINED):
        borne = patients.select("patient_id", "fold", pl.concat_str(names, separator=", ").alias("value")).unique()
        whole = borne.group_by("value").agg(pl.len().alias("n_in_whole"))
        counts = borne.group_by("value", "fold").agg(pl.len().alias("n"))
        every = whole.join(sizes, how="cross").join(counts, on=["value", "fold"], how="left", nulls_equal=True)
        yield every.sort("value", "fold", nulls_last=True).select(
            pl.lit(" and ".join(names)).alias("stratum"),
            "value",
            pl.lit("patients").alias("unit"),
            "fold",
            pl.col("n").fill_null(0).cast(pl.Int64),
            (pl.col("n_in_whole") * pl.col("n_in_fold") / n_patients).alias("n_expected"),
        )
