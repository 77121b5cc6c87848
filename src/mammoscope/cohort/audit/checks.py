"""What contradicts itself, is missing, or stands twice in a cohort: each rule with the rows that break it."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from mammoscope.cohort.audit.rules import (
    CONSTANT_IN_BREAST,
    CONSTANT_IN_EXAM,
    EXAM,
    IMPLAUSIBLE_ABOVE_YEARS,
    IMPLAUSIBLE_BELOW_YEARS,
    PICTURE,
    RULE_BY_CODE,
    UNUSUAL_BELOW_YEARS,
    Rule,
)
from mammoscope.exam import BREAST

_NEGATIVE_BIRADS = (1, 2)  # ACR BI-RADS: negative, benign


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule, how many of its unit break it, and their rows of the manifest, from 1."""

    rule: Rule
    n_found: int
    rows: tuple[int, ...]


def check_cohort(manifest: pl.DataFrame, prepared: pl.DataFrame | None) -> tuple[Check, ...]:
    """All checks, those that found nothing too; those of pictures only with the table of a prepared store."""
    rows = manifest.with_row_index("row", offset=1)
    wrong = {**_outcome_rules(), **_constancy_rules(), **_view_rules(), **_age_rules()}
    checks = [_check(rows, condition, code) for code, condition in wrong.items()]
    return (*checks, *(() if prepared is None else _check_pictures(rows, prepared)))


def _outcome_rules() -> dict[str, pl.Expr]:
    """A breast whose outcome contradicts itself or another column; what is missing contradicts nothing."""
    cancer = pl.col("cancer")
    return {
        "conflicting_cancer": cancer.drop_nulls().n_unique().over(BREAST) > 1,
        "invasive_without_cancer": pl.col("invasive") & ~cancer,
        "difficult_negative_with_cancer": pl.col("difficult_negative") & cancer,
        "cancer_without_biopsy": cancer & ~pl.col("biopsy"),
        "cancer_with_negative_birads": cancer & pl.col("birads").is_in(_NEGATIVE_BIRADS),
    }


def _constancy_rules() -> dict[str, pl.Expr]:
    """A column that should be the same all over a breast, or an exam, and is not; what is missing does not count."""
    return {
        f"conflicting_{column}": pl.col(column).drop_nulls().n_unique().over(identity) > 1
        for columns, identity in ((CONSTANT_IN_BREAST, BREAST), (CONSTANT_IN_EXAM, EXAM))
        for column in columns
    }


def _view_rules() -> dict[str, pl.Expr]:
    """Exams that are not two views of two breasts."""
    return {
        "without_cc": ~(pl.col("view") == "CC").any().over(BREAST),
        "without_mlo": ~(pl.col("view") == "MLO").any().over(BREAST),
        "extra_views": pl.len().over(*BREAST, "view") > 1,
        "one_side_only": pl.col("laterality").n_unique().over(EXAM) == 1,
    }


def _age_rules() -> dict[str, pl.Expr]:
    age = pl.col("age_years")
    return {
        "implausible_age": (age < IMPLAUSIBLE_BELOW_YEARS) | (age > IMPLAUSIBLE_ABOVE_YEARS),
        "unusual_age": age.is_between(IMPLAUSIBLE_BELOW_YEARS, UNUSUAL_BELOW_YEARS, closed="left"),
    }


def _check_pictures(rows: pl.DataFrame, prepared: pl.DataFrame) -> Iterator[Check]:
    """Pictures that stand twice, by the hash of the prepared pixels or of the file, and images without one."""
    known = rows.join(prepared.select("image_id", "content_hash", "file_hash"), on="image_id", how="left")
    is_across = pl.col("patient_id").n_unique().over(PICTURE) > 1
    for column, what in (("content_hash", "pixels"), ("file_hash", "file")):
        pictures = known.with_columns(pl.col(column).alias(*PICTURE)).drop_nulls(PICTURE)
        twice = pictures.filter(pl.len().over(PICTURE) > 1)
        yield _check(twice, is_across, f"same_{what}_across_patients")
        yield _check(twice, ~is_across, f"same_{what}_in_a_patient")
    yield _check(known, pl.col("content_hash").is_null(), "not_in_store")


def _check(rows: pl.DataFrame, wrong: pl.Expr, code: str) -> Check:
    rule, found = RULE_BY_CODE[code], rows.filter(wrong)
    return Check(rule=rule, n_found=found.select(rule.identity).n_unique(), rows=tuple(found["row"].to_list()))
