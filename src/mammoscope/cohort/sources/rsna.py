"""The RSNA 2023 screening mammography competition: `train.csv` or `test.csv`, and a folder of images.

Images lie at `<patient_id>/<image_id>.dcm` (or `.png`). The label belongs to the breast; every patient has one exam.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mammoscope.anatomy import parse_laterality, parse_view
from mammoscope.cohort.manifest import SCHEMA, find_problems, raise_problems
from mammoscope.cohort.sources.csv_table import read_csv_table
from mammoscope.errors import TableError, UserInputError

SOURCE, SYNTHETIC_SOURCE = "rsna", "phantom"
SYNTHETIC_MARK = "synthesize.toml"  # stands beside the tables of a synthetic cohort
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
    raw = read_csv_table(table)
    missing = ", ".join(name for name in required if name not in raw)
    if missing:
        raise TableError(
            f"{table}: columns missing: {missing}; found {', '.join(raw.columns)}; give the competition's own table"
        )
    source = SYNTHETIC_SOURCE if (table.parent / SYNTHETIC_MARK).is_file() else SOURCE
    manifest, problems = _to_manifest(raw, source)
    raise_problems([*problems, *find_problems(manifest)], where=str(table))
    return manifest


def find_images(manifest: pl.DataFrame, images: Path, *, allow_missing: bool) -> RsnaCohort:
    """The manifest with the path of every image, `images/<patient_id>/<image_id>.dcm` or `.png`.

    Raises:
        UserInputError: the folder holds none of the images, or lacks some and `allow_missing` is false, or holds two
            files for one image.
    """
    if not images.is_dir():
        raise UserInputError(f"{images}: no such folder, expected <patient_id>/<image_id>.dcm or .png below it")
    path_by_image = _index_files(images.resolve())
    keys = zip(manifest["patient_id"], manifest["image_id"], strict=True)
    paths = pl.Series("path", [path_by_image.get(key) for key in keys], dtype=pl.String)
    located = manifest.with_columns(paths)
    found = located.filter(pl.col("path").is_not_null())
    missing = tuple(located.filter(pl.col("path").is_null())["image_id"])
    _check_found(images, n_found=found.height, missing=missing, allow_missing=allow_missing)
    return RsnaCohort(found, missing)


def _index_files(images: Path) -> dict[tuple[str, str], str]:
    path_by_image: dict[tuple[str, str], str] = {}
    for path in sorted(images.glob("*/*")):
        key = (path.parent.name, path.stem)
        if path.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        if key in path_by_image:
            other = Path(path_by_image[key]).name
            raise UserInputError(f"{images}: found {other} and {path.name}, expected one file for an image; remove one")
        path_by_image[key] = str(path)
    return path_by_image


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


def _to_manifest(raw: pl.DataFrame, source: str) -> tuple[pl.DataFrame, list[str]]:
    """The manifest, and a sentence for each value that cannot be taken; such a value is null in it."""
    text = raw.with_columns(pl.lit(None, pl.String).alias(name) for name in _OUTCOME if name not in raw)
    problems: list[str] = []
    columns = {
        "image_id": text["image_id"],
        "patient_id": text["patient_id"],
        "exam_id": text["patient_id"],
        "laterality": _parsed(text["laterality"], parse_laterality),
        "view": _parsed(text["view"], parse_view),
        "cancer": _flags(text["cancer"], problems),
        "age_years": _numbers(text["age"], problems),
        "density": text["density"],
        "birads": _whole_numbers(text["BIRADS"], problems),
        "implant": _flags(text["implant"], problems),
        "biopsy": _flags(text["biopsy"], problems),
        "invasive": _flags(text["invasive"], problems),
        "difficult_negative": _flags(text["difficult_negative_case"], problems),
        "site": text["site_id"],
        "machine": text["machine_id"],
        "source": pl.Series([source] * raw.height, dtype=pl.String),
    }
    nothing = {name: pl.Series([None] * raw.height, dtype=dtype) for name, dtype in SCHEMA.items()}
    everything = nothing | columns
    return pl.DataFrame({name: everything[name] for name in SCHEMA}), problems


def _parsed(column: pl.Series, parse: Callable[[str], str]) -> pl.Series:
    """The column in our spelling; what is unknown stays as it is and is found with the other problems."""
    code_by_text: dict[str | None, str | None] = {}
    for text in column.unique():
        try:
            code_by_text[text] = None if text is None else str(parse(text))
        except UserInputError:
            code_by_text[text] = text
    return pl.Series([code_by_text[text] for text in column], dtype=pl.String)


def _flags(column: pl.Series, problems: list[str]) -> pl.Series:
    flag_by_text = {"0": False, "1": True, "False": False, "True": True}
    problems += [
        f"row {row}, {column.name}: found {text!r}, expected 0 or 1"
        for row, text in enumerate(column, start=1)
        if text is not None and text not in flag_by_text
    ]
    return pl.Series([flag_by_text.get(text) for text in column], dtype=pl.Boolean)


def _numbers(column: pl.Series, problems: list[str]) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    bad = column.is_not_null() & ~numbers.is_finite().fill_null(value=False)
    problems += [f"row {row + 1}, {column.name}: found {column[row]!r}, expected a number" for row in bad.arg_true()]
    return numbers.set(bad, None)


def _whole_numbers(column: pl.Series, problems: list[str]) -> pl.Series:
    numbers = _numbers(column, problems)
    whole = numbers.cast(pl.Int64, strict=False)
    bad = numbers.is_not_null() & (whole.cast(pl.Float64) != numbers).fill_null(value=True)
    problems += [
        f"row {row + 1}, {column.name}: found {column[row]!r}, expected a whole number" for row in bad.arg_true()
    ]
    return whole.set(bad, None)
