"""The RSNA 2023 screening mammography competition: `train.csv` or `test.csv`, and a folder of images.

Images lie at `<patient_id>/<image_id>.dcm` (or `.png`). The label belongs to the breast; every patient has one exam.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import SCHEMA, check_manifest, raise_problems
from mammoscope.errors import TableError, UserInputError

SOURCE = "rsna"
_IDENTITY = ("patient_id", "image_id", "laterality", "view", "age", "implant", "site_id", "machine_id")
_OUTCOME = ("cancer", "biopsy", "invasive", "BIRADS", "density", "difficult_negative_case")
_IMAGE_SUFFIXES = {".dcm", ".png"}
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class RsnaCohort:
    """A manifest, and the image ids of the table whose files were not found (left out of the manifest)."""

    manifest: pl.DataFrame
    missing_image_ids: tuple[str, ...]


def read_rsna(table: Path, images: Path | None, *, allow_missing: bool) -> RsnaCohort:
    """The manifest of the competition's table and files; without `images`, a table-only cohort without paths.

    Raises:
        TableError: a missing column, a bad value, a duplicate image; all problems in one message.
        UserInputError: the folder holds none of the images, or lacks some and `allow_missing` is false.
    """
    manifest = read_rsna_table(table, with_outcomes=True)
    if images is None:
        return RsnaCohort(manifest, ())
    return find_images(manifest, images, allow_missing=allow_missing)


def read_rsna_table(table: Path, *, with_outcomes: bool) -> pl.DataFrame:
    """The manifest of the competition's table, without paths; `test.csv` has no outcomes.

    Raises:
        TableError: the file cannot be read, lacks a column, or holds a bad value.
    """
    required = (*_IDENTITY, *_OUTCOME) if with_outcomes else _IDENTITY
    raw = _read_csv(table)
    raise_problems(
        [f"column {name}: missing, expected as in the competition's table" for name in required if name not in raw],
        where=str(table),
    )
    manifest = _to_manifest(raw, table)
    check_manifest(manifest, where=str(table))
    return manifest


def find_images(manifest: pl.DataFrame, images: Path, *, allow_missing: bool) -> RsnaCohort:
    """The manifest with the path of every image, `images/<patient_id>/<image_id>.dcm` or `.png`.

    Raises:
        UserInputError: the folder holds none of the images, or lacks some and `allow_missing` is false.
    """
    if not images.is_dir():
        raise UserInputError(f"{images}: no such folder, expected <patient_id>/<image_id>.dcm or .png below it")
    path_by_image = {
        (path.parent.name, path.stem): str(path.resolve())
        for path in sorted(images.glob("*/*"))
        if path.suffix.lower() in _IMAGE_SUFFIXES
    }
    keys = zip(manifest["patient_id"], manifest["image_id"], strict=True)
    paths = pl.Series("path", [path_by_image.get(key) for key in keys], dtype=pl.String)
    located = manifest.with_columns(paths)
    found = located.filter(pl.col("path").is_not_null())
    missing = tuple(located.filter(pl.col("path").is_null())["image_id"])
    _check_found(images, n_found=found.height, missing=missing, allow_missing=allow_missing)
    return RsnaCohort(found, missing)


def _check_found(images: Path, *, n_found: int, missing: tuple[str, ...], allow_missing: bool) -> None:
    if n_found == 0:
        raise UserInputError(
            f"{images}: found none of the table's {len(missing)} images, "
            "expected <patient_id>/<image_id>.dcm or .png below it"
        )
    if missing and not allow_missing:
        named = ", ".join(missing[:_NAMED_AT_MOST]) + (", …" if len(missing) > _NAMED_AT_MOST else "")
        raise UserInputError(
            f"{images}: {len(missing)} images of the table are missing ({named}), {n_found} were found; "
            "add the files, or leave these rows out with --allow-missing"
        )


def _read_csv(table: Path) -> pl.DataFrame:
    if not table.is_file():
        raise TableError(f"{table}: no such file, expected the competition's train.csv or test.csv")
    try:
        return pl.read_csv(table, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise TableError(f"{table}: cannot be read as CSV ({error})") from error


def _to_manifest(raw: pl.DataFrame, table: Path) -> pl.DataFrame:
    present = raw.with_columns(pl.lit(None, pl.String).alias(name) for name in _OUTCOME if name not in raw)
    text = present.with_columns(pl.col(pl.String).str.strip_chars().replace("", None))
    problems: list[str] = []
    columns = {
        "image_id": text["image_id"],
        "patient_id": text["patient_id"],
        "exam_id": text["patient_id"],
        "laterality": text["laterality"],
        "view": text["view"],
        "cancer": _flags(text["cancer"], problems),
        "age_years": _numbers(text["age"], problems).cast(pl.Float64),
        "density": text["density"],
        "birads": _numbers(text["BIRADS"], problems).cast(pl.Int64),
        "implant": _flags(text["implant"], problems),
        "biopsy": _flags(text["biopsy"], problems),
        "invasive": _flags(text["invasive"], problems),
        "difficult_negative": _flags(text["difficult_negative_case"], problems),
        "site": text["site_id"],
        "machine": text["machine_id"],
    }
    raise_problems(problems, where=str(table))
    nothing = {name: pl.Series([None] * raw.height, dtype=dtype) for name, dtype in SCHEMA.items()}
    everything = nothing | columns | {"source": pl.Series([SOURCE] * raw.height, dtype=pl.String)}
    return pl.DataFrame({name: everything[name] for name in SCHEMA})


def _flags(column: pl.Series, problems: list[str]) -> pl.Series:
    flag_by_text = {"0": False, "1": True, "False": False, "True": True}
    problems += [
        f"row {row}, {column.name}: found {text!r}, expected 0 or 1"
        for row, text in enumerate(column)
        if text is not None and text not in flag_by_text
    ]
    return pl.Series([flag_by_text.get(text) for text in column], dtype=pl.Boolean)


def _numbers(column: pl.Series, problems: list[str]) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    bad = column.is_not_null() & (numbers.is_null() | ~numbers.is_finite().fill_null(value=False))
    problems += [f"row {row}, {column.name}: found {column[row]!r}, expected a number" for row in bad.arg_true()]
    return numbers
