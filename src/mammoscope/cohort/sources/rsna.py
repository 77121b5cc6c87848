"""The RSNA 2023 screening mammography competition: `train.csv` or `test.csv`, and a folder of images.

Images lie at `<patient_id>/<image_id>.dcm` (or `.png`). The label belongs to the breast; every patient has one exam.
"""

from pathlib import Path

import polars as pl

from mammoscope.cohort.sources.columns import ColumnReader, fill_schema, spell_sides, spell_views
from mammoscope.cohort.sources.csv_table import read_csv_table, require_columns
from mammoscope.cohort.sources.indexing import (
    Handling,
    ImagePlace,
    IndexedCohort,
    Origin,
    PublishedCounts,
    check_folder,
    drop_missing,
    finish,
    settle,
)
from mammoscope.errors import UserInputError

SOURCE, SYNTHETIC_SOURCE = "rsna", "phantom"
SYNTHETIC_MARK = "synthesize.toml"  # stands beside the tables of a synthetic cohort
PUBLISHED = PublishedCounts(images=54_706, patients=11_913, images_of_cases=1_158)  # of train.csv
_IDENTITY = ("patient_id", "image_id", "laterality", "view", "age", "implant", "site_id", "machine_id")
_OUTCOME = ("cancer", "biopsy", "invasive", "BIRADS", "density", "difficult_negative_case")
_COLUMN_OF = {"age_years": "age", "birads": "BIRADS"}
_IMAGE_SUFFIXES = {".dcm", ".png"}
_LAYOUT = "<patient_id>/<image_id>.dcm or .png"
_STRICT = Handling()


def read_rsna(table: Path, images: Path | None, *, handling: Handling) -> IndexedCohort:
    """The cohort of the competition's table and files; without `images`, a table-only cohort without paths.

    Raises:
        TableError: a missing column, a bad value, a duplicate image; all problems in one message.
        UserInputError: the folder holds none of the images, or lacks some and that is not allowed.
    """
    rows, rejected = _read_table(table, images, with_outcomes=True, handling=handling)
    place = None if images is None else ImagePlace(images, _LAYOUT)
    counts = PUBLISHED if rows["source"][0] == SOURCE else None
    return finish(rows, rejected, place=place, handling=handling, counts=counts)


def read_rsna_table(table: Path, *, with_outcomes: bool) -> pl.DataFrame:
    """The manifest of the competition's table, without paths; `test.csv` has no outcomes.

    Raises:
        TableError: the file cannot be read, lacks a column, or holds a bad value.
    """
    return _read_table(table, None, with_outcomes=with_outcomes, handling=_STRICT)[0]


def find_images(manifest: pl.DataFrame, images: Path, *, allow_missing: bool) -> IndexedCohort:
    """The manifest with the path of every image, `images/<patient_id>/<image_id>.dcm` or `.png`.

    Raises:
        UserInputError: the folder holds none of the images, or lacks some and `allow_missing` is false, or holds two
            files for one image.
    """
    located = _locate(manifest, images)
    return drop_missing(located, images=images, expected=_LAYOUT, allow_missing=allow_missing)


def _read_table(
    table: Path, images: Path | None, *, with_outcomes: bool, handling: Handling
) -> tuple[pl.DataFrame, pl.DataFrame]:
    required = (*_IDENTITY, *_OUTCOME) if with_outcomes else _IDENTITY
    raw = read_csv_table(table)
    require_columns(raw, required, where=table, advice="give the competition's own table")
    source = SYNTHETIC_SOURCE if (table.parent / SYNTHETIC_MARK).is_file() else SOURCE
    reader = ColumnReader(raw.with_columns(pl.lit(None, pl.String).alias(name) for name in _OUTCOME if name not in raw))
    rows = _to_rows(reader, source)
    located = rows if images is None else _locate(rows, images)
    return settle(located, reader.problems, origin=Origin(str(table), columns=_COLUMN_OF), handling=handling)


def _locate(rows: pl.DataFrame, images: Path) -> pl.DataFrame:
    check_folder(images, expected=_LAYOUT)
    path_by_image = _index_files(images.resolve())
    keys = zip(rows["patient_id"], rows["image_id"], strict=True)
    return rows.with_columns(pl.Series("path", [path_by_image.get(key) for key in keys], dtype=pl.String))


def _index_files(images: Path) -> dict[tuple[str | None, str | None], str]:
    path_by_image: dict[tuple[str | None, str | None], str] = {}
    for path in sorted(images.glob("*/*")):
        key = (path.parent.name, path.stem)
        if path.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        if key in path_by_image:
            other = Path(path_by_image[key]).name
            raise UserInputError(f"{images}: found {other} and {path.name}, expected one file for an image; remove one")
        path_by_image[key] = str(path)
    return path_by_image


def _to_rows(reader: ColumnReader, source: str) -> pl.DataFrame:
    """The rows of the table in the manifest's schema; a value that cannot be taken is null in it."""
    text = reader.text
    columns: dict[str, pl.Series | str] = {
        "image_id": text["image_id"],
        "patient_id": text["patient_id"],
        "exam_id": text["patient_id"],
        "laterality": spell_sides(text["laterality"]),
        "view": spell_views(text["view"]),
        "cancer": reader.flags("cancer"),
        "age_years": reader.ages("age"),
        "density": text["density"],
        "birads": reader.whole_numbers("BIRADS"),
        "implant": reader.flags("implant"),
        "biopsy": reader.flags("biopsy"),
        "invasive": reader.flags("invasive"),
        "difficult_negative": reader.flags("difficult_negative_case"),
        "site": text["site_id"],
        "machine": text["machine_id"],
        "source": source,
    }
    return fill_schema(columns, text.height)
