"""Which patient stands in which fold: always whole patients, stratified, left out by site or machine, or as given.

A fold is what is held out together. A patient without a fold, where others have one, is never held out: those who
are not in a hold-out are trained on, whatever is held out.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from mammoscope.cohort.manifest import raise_problems
from mammoscope.cohort.sources.csv_table import read_csv_table
from mammoscope.cohort.stratify import deal_patients, describe_strata, even_out, number_labels, order_of_name
from mammoscope.errors import LeakageError, TableError, UserInputError
from mammoscope.exam import BREAST

Place = Literal["site", "machine"]

MIN_FOLDS = 2
_BREAST = pl.struct(BREAST)
_NAMED_AT_MOST = 8


def assign_folds(manifest: pl.DataFrame, *, n_folds: int, rng: np.random.Generator) -> pl.DataFrame:
    """The manifest with a fold, 0 to n_folds - 1, for every image; a patient's images share one.

    Stratified by outcome, cancer images, site, age band, density, implant and number of images, and their pairs. The
    numbers of patients with cancer of any two folds differ by one at most, and so do those of all patients.

    The folds depend on the raw bits of `rng` alone, which numpy promises never to change for a given bit generator, and
    on the rows, whatever their order.

    Raises:
        UserInputError: fewer than two folds, or fewer cases or patients than folds.
    """
    _check_folds(manifest, n_folds)
    return _deal(manifest, [1] * n_folds, list(range(n_folds)), rng=rng)


def hold_out(manifest: pl.DataFrame, *, share: float, rng: np.random.Generator) -> pl.DataFrame:
    """The manifest with fold 0 for a share of the patients, stratified as `assign_folds`, and null for the others.

    Raises:
        UserInputError: the share is not between 0 and 1, or leaves a side without a patient with cancer.
    """
    if not 0 < share < 1:
        raise UserInputError(f"--hold-out: found {share:g}, expected a share between 0 and 1, such as 0.04")
    n_cases = manifest.filter("cancer")["patient_id"].n_unique()
    exact = Fraction(str(share))  # 0.04 is meant to be a twenty-fifth, not the nearest binary fraction
    for name, part in (("hold out", exact), ("train on", 1 - exact)):
        if part * n_cases < 1:
            raise UserInputError(
                f"--hold-out: found {share:g} of {n_cases} patients with cancer, which leaves less than one "
                f"to {name}; expected a share with one or more on either side"
            )
    parts = [exact.numerator, exact.denominator - exact.numerator]
    return _deal(manifest, parts, [0, None], rng=rng)


def leave_one_out(manifest: pl.DataFrame, place: Place) -> pl.DataFrame:
    """The manifest with a fold for each site (or machine), numbered in the order of `list_places`.

    A patient of several places stands in the fold of the most of her images, of the first where they are as many. So a
    place may be left without a patient: then no row has its fold.

    Raises:
        TableError: the place of an image is not known, or there are fewer than two.
    """
    n_unknown = manifest[place].null_count()
    if n_unknown:
        raise TableError(
            f"--leave-one-out {place}: unknown for {n_unknown} of {manifest.height} images, expected it for every one; "
            "fill the column, or split with --folds"
        )
    places = list_places(manifest, place)
    if len(places) < MIN_FOLDS:
        raise TableError(
            f"--leave-one-out {place}: found only {places[0]!r}, expected {MIN_FOLDS} or more to leave out"
        )
    fold_by_place = {each: number for number, each in enumerate(places)}
    images = manifest.select("patient_id", pl.col(place).replace_strict(fold_by_place, return_dtype=pl.Int64))
    counts = (
        images.group_by("patient_id", place).len().sort("patient_id", "len", place, descending=[False, True, False])
    )
    return _with_folds(manifest, counts.unique("patient_id", keep="first", maintain_order=True).rename({place: "fold"}))


def list_places(manifest: pl.DataFrame, place: Place) -> list[str]:
    """The sites (or machines) in the order of their folds: numbers by their size, then texts by the alphabet."""
    return sorted(manifest[place].drop_nulls().unique().to_list(), key=order_of_name)


def count_travellers(manifest: pl.DataFrame, place: Place) -> int:
    """The patients with images of several sites (or machines), who can stand in one fold only."""
    return manifest.group_by("patient_id").agg(pl.col(place).n_unique()).filter(pl.col(place) > 1).height


def read_fold_table(path: Path) -> pl.DataFrame:
    """The rows of a Parquet table, or else of a CSV table.

    Raises:
        TableError: the file is not there, or cannot be read.
    """
    if not path.is_file():
        found = "found a folder" if path.is_dir() else "no such file"
        raise TableError(f"{path}: {found}, expected a CSV or Parquet table with the folds; check the path")
    if path.suffix != ".parquet":
        return read_csv_table(path)
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(f"{path}: not a Parquet file that can be read ({error}); give another table") from error


def import_folds(manifest: pl.DataFrame, table: pl.DataFrame, *, column: str, where: str) -> pl.DataFrame:
    """The manifest with the folds of another table, found by `image_id`, or by `patient_id` where it has none.

    Folds are whole numbers; an empty one means never held out. Rows of others than the cohort's are passed over.

    Raises:
        TableError: a column is missing, a fold is no whole number, an image has no row, or nothing would be held out.
        LeakageError: patients in more than one fold, who are named.
    """
    key = "image_id" if "image_id" in table.columns else "patient_id"
    missing = [name for name in (key, column) if name not in table.columns]
    if missing:
        raise TableError(
            f"{where}: columns missing: {', '.join(missing)}; found {', '.join(table.columns)}; expected image_id or "
            "patient_id, and the column of folds (--fold-column)"
        )
    given = table.select(pl.col(key).cast(pl.String), _parse_folds(table[column], where=where)).unique()
    images = manifest.select("image_id", "patient_id").join(given, on=key, how="left", coalesce=True)
    without = manifest.filter(~pl.col(key).is_in(given[key].implode()))
    if without.height:
        raise TableError(
            f"{where}: no row for {without.height} of {manifest.height} images of the cohort, such as "
            f"{without['image_id'][0]}, expected each one by {key}; add rows, with an empty fold where they are never "
            "held out, and spell ids as the cohort does"
        )
    patients = images.select("patient_id", "fold").unique()
    _check_imported(patients, where=where)
    return _with_folds(manifest, patients)


def summarise_folds(manifest: pl.DataFrame) -> pl.DataFrame:
    """A row for each fold, that of those who are never held out last: what it holds, and its two prevalences.

    `breast_prevalence` is the share of cases among the breasts with an outcome, `image_prevalence` the share of
    images of cases among the images with one; null where there are none.
    """
    is_known = pl.col("cancer").is_not_null()
    return (
        manifest.group_by("fold")
        .agg(
            pl.col("patient_id").n_unique().alias("n_patients"),
            pl.len().alias("n_images"),
            _BREAST.n_unique().alias("n_breasts"),
            _BREAST.filter("cancer").n_unique().alias("n_cases"),
            pl.col("cancer").sum().alias("n_cancer_images"),
            (_BREAST.filter("cancer").n_unique() / _BREAST.filter(is_known).n_unique())
            .fill_nan(None)
            .alias("breast_prevalence"),
            pl.col("cancer").mean().alias("image_prevalence"),
        )
        .sort("fold", nulls_last=True)
    )


def _deal(
    manifest: pl.DataFrame, parts: Sequence[int], folds: Sequence[int | None], *, rng: np.random.Generator
) -> pl.DataFrame:
    labels_by_patient = number_labels(describe_strata(manifest))
    labels, patients = list(labels_by_patient.values()), list(labels_by_patient)
    n_cancer_images = dict(manifest.filter("cancer").group_by("patient_id").len().iter_rows())
    amounts = [n_cancer_images.get(patient, 0) for patient in patients]
    # not rng.permutation: numpy keeps the raw bits for ever, its methods not
    chance = [int(bits) for bits in rng.bit_generator.random_raw(len(patients))]
    dealt = deal_patients(labels, comes_first=[amount > 0 for amount in amounts], parts=parts, chance=chance)
    evened = even_out(dealt, amounts, labels=labels, parts=parts)
    fold_of_patient = {"patient_id": patients, "fold": [folds[place] for place in evened]}
    return _with_folds(manifest, pl.DataFrame(fold_of_patient, schema={"patient_id": pl.String, "fold": pl.Int64}))


def _with_folds(manifest: pl.DataFrame, patients: pl.DataFrame) -> pl.DataFrame:
    """The manifest with the folds of a table of patients."""
    folds = patients.select("patient_id", "fold")
    joined = manifest.drop("fold").join(folds, on="patient_id", how="left", maintain_order="left")
    return joined.select(manifest.columns)


def _check_folds(manifest: pl.DataFrame, n_folds: int) -> None:
    if n_folds < MIN_FOLDS:
        raise UserInputError(f"--folds: found {n_folds}, expected {MIN_FOLDS} or more")
    n_patients = manifest["patient_id"].n_unique()
    n_cases = manifest.filter("cancer")["patient_id"].n_unique()
    for name, count in (("patients", n_patients), ("patients with cancer", n_cases)):
        if count < MIN_FOLDS:
            raise UserInputError(f"--folds: found {count} {name} in the cohort, expected {MIN_FOLDS} or more to split")
        if count < n_folds:
            raise UserInputError(f"--folds: found {n_folds}, but only {count} {name}; expected at most {count} folds")


def _parse_folds(values: pl.Series, *, where: str) -> pl.Series:
    """Whole numbers of a column of text or numbers; other programs write them as 1.0 where a column has gaps."""
    text = values.cast(pl.String)
    is_fold = text.str.contains(r"^[0-9]{1,9}(\.0+)?$")
    expected = "a whole number from 0 up, or nothing where the patient is never held out"
    bad = [
        f"row {row}, {values.name}: found {text[row - 1]!r}, expected {expected}"
        for row, good in enumerate(is_fold, start=1)
        if good is False
    ]
    raise_problems(bad, where=where)
    return text.str.replace(r"\.0+$", "").cast(pl.Int64).alias("fold")


def _check_imported(patients: pl.DataFrame, *, where: str) -> None:
    torn = patients.group_by("patient_id").len().filter(pl.col("len") > 1)["patient_id"].sort().to_list()
    if torn:
        more = f" and {len(torn) - _NAMED_AT_MOST} more" if len(torn) > _NAMED_AT_MOST else ""
        raise LeakageError(
            f"{where}: patients in more than one fold: {', '.join(torn[:_NAMED_AT_MOST])}{more}; expected each in one; "
            "mend the table, or split with --folds",
            tuple(torn),
        )
    if patients["fold"].n_unique() < MIN_FOLDS:
        raise TableError(
            f"{where}: all patients of the cohort stand in one fold, or in none; expected two folds or more, "
            "or one and patients without"
        )
