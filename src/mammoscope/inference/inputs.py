"""What a prediction is given - files, folders, a prepared store, a table - to the pictures that are to be scored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import read_manifest
from mammoscope.cohort.sources.rsna import read_rsna_table
from mammoscope.errors import StoreError, UserInputError
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.shards import DESCRIPTION_NAME
from mammoscope.imaging.store import PreparedStore, open_store
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.inference.decoders import Decoders, Preparer, decode_apart, decode_here
from mammoscope.inference.journal import RECORD
from mammoscope.inference.reading import (
    Outcome,
    PreparedFile,
    ScoringTask,
    list_files,
    tasks_from_paths,
    tasks_from_table,
)

_PICTURE_SUFFIXES = {".dcm", ".dicom", ".png", ".pgm", ""}
_LAYOUT = "<patient_id>/<image_id>.dcm or .png, or <image_id>.dcm or .png at any depth,"


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """The pictures to score.

    Attributes:
        tasks: one for each.
        table: the rows of the table, as a manifest with `path`; None without one.
        n_missing: how many images of the table have no file.
        read_here: what reads a picture in this process, from a store; None where files are decoded.
    """

    tasks: tuple[ScoringTask, ...]
    table: pl.DataFrame | None
    n_missing: int
    read_here: Preparer | None


def read_inputs(places: Sequence[Path], table: Path | None, settings: PrepareSettings) -> ScoringInput:
    """The pictures of files, folders or one prepared store; with a table, those that it names and no others.

    Args:
        places: of the pictures.
        table: the competition's `test.csv` or `train.csv`, or a cohort (its folder or manifest).
        settings: how the run's pictures are prepared.

    Raises:
        UserInputError: a place does not exist or holds no file, or no image of the table has a file.
        StoreError: a store of other settings, torn or unfinished, without a table, or beside other places.
        TableError: the table cannot be read, or breaks its schema.
    """
    rows = None if table is None else _read_table(table)
    stores = [place for place in places if (place / DESCRIPTION_NAME).is_file()]
    if stores:
        return _read_store(places, rows, settings)
    if rows is None:
        paths = dict.fromkeys(path for place in places for path in list_files(place))
        return ScoringInput(tuple(tasks_from_paths(list(paths), settings)), None, 0, None)
    located, n_missing = _locate(rows, places)
    return ScoringInput(tuple(tasks_from_table(located, settings)), located, n_missing, None)


def choose_decoders(given: ScoringInput, *, n_workers: int, batch_size: int = 8) -> Decoders:
    """How the pictures of an input are prepared: read from its store here, or decoded in processes a batch ahead."""
    if given.read_here is not None:
        return partial(decode_here, prepare=given.read_here)
    n_needed = min(n_workers, max(len(given.tasks), 1))
    return partial(decode_apart, n_workers=n_needed, n_ahead=2 * (batch_size + n_needed))


def _read_table(table: Path) -> pl.DataFrame:
    is_manifest = table.is_dir() or table.suffix == ".parquet"
    return read_manifest(table) if is_manifest else read_rsna_table(table, with_outcomes=False)


def _locate(rows: pl.DataFrame, places: Sequence[Path]) -> tuple[pl.DataFrame, int]:
    """The rows with the paths of their files, and how many have none: these get the path where one is expected."""
    files = _index_files(places)
    paths = []
    for patient_id, image_id, own in rows.select("patient_id", "image_id", "path").iter_rows():
        named = None if own is None else files.get(Path(own).name)
        paths.append(files.get(f"{patient_id}/{image_id}") or files.get(image_id) or named)
    n_missing = paths.count(None)
    where = ", ".join(map(str, places))
    if n_missing == len(paths):
        raise UserInputError(
            f"{where}: found none of the table's {len(paths)} images, expected {_LAYOUT} below it; give their folder"
        )
    expected = pl.format("{}/{}/{}.dcm", pl.lit(str(places[0])), "patient_id", "image_id")
    found = pl.Series("path", [None if path is None else str(path) for path in paths], dtype=pl.String)
    return rows.with_columns(found).with_columns(pl.col("path").fill_null(expected)), n_missing


def _index_files(places: Sequence[Path]) -> Mapping[str, Path]:
    """The files by `folder/stem`, by stem and by name; two files of one `folder/stem` are refused."""
    by_folder: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in _list_all(places):
        first = by_folder.setdefault(f"{path.parent.name}/{path.stem}", path)
        if first != path and first.parent == path.parent:
            raise UserInputError(
                f"{path.parent}: found {first.name} and {path.name}, expected one file for an image; remove one"
            )
        others.setdefault(path.stem, path)
        others.setdefault(path.name, path)
    return others | by_folder


def _list_all(places: Sequence[Path]) -> Iterable[Path]:
    for place in places:
        if not place.exists():
            raise UserInputError(f"{place}: no such file or folder, expected {_LAYOUT} in it")
        paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        yield from (path for path in paths if path.suffix.lower() in _PICTURE_SUFFIXES)


def _read_store(places: Sequence[Path], rows: pl.DataFrame | None, settings: PrepareSettings) -> ScoringInput:
    if len(places) > 1:
        raise StoreError(f"{places[0]}: found a prepared store beside other inputs, expected it alone; predict twice")
    place = places[0]
    if rows is None:
        raise StoreError(
            f"{place}: found a prepared store, which does not say whose its pictures are; name its cohort with --table"
        )
    store = open_store(place)
    _check_settings(store, settings)
    stamp_by_image = dict(store.prepared.select("image_id", "content_hash").iter_rows())
    unknown = set(rows["image_id"]) - set(stamp_by_image) - set(store.rejected["image_id"])
    if len(unknown) == rows.height:
        raise StoreError(f"{place}: found none of the table's {rows.height} images; name the cohort of this store")
    located = rows.with_columns(path=pl.lit(str(place)))
    tasks = tasks_from_table(located, settings)
    stamped = tuple(_stamp(task, stamp_by_image.get(task.name, "")) for task in tasks)
    return ScoringInput(stamped, located, len(unknown), partial(read_prepared, store))


def _stamp(task: ScoringTask, stamp: str) -> ScoringTask:
    return ScoringTask(task.name, task.path, task.mammogram, task.settings, task.facts, stamp)


def _check_settings(store: PreparedStore, settings: PrepareSettings) -> None:
    ours, theirs = settings.model_dump(), store.settings.model_dump()
    changes = [f"{key} {theirs[key]} instead of {value}" for key, value in ours.items() if theirs[key] != value]
    if changes:
        raise StoreError(
            f"{store.path}: found pictures prepared with {', '.join(changes)}, expected them as those of the run; "
            "prepare them as the run's prepare.toml says, or give the files"
        )


def read_prepared(store: PreparedStore, task: ScoringTask) -> Outcome:
    """A picture of a store, or why it has none."""
    image_id = task.name
    refused = store.rejected.filter(pl.col("image_id") == image_id)
    if not refused.is_empty():
        return Rejection(*refused.select("image_id", "path", "code", "sentence").row(0))
    if task.mammogram is None or not task.stamp:
        error = refusal(
            Verdict.UNREADABLE,
            image_id,
            found="no picture in the store",
            expected="one of each image of the table",
            advice="prepare the cohort that holds it",
        )
        return Rejection(image_id, str(task.path), error.code, error.sentence)
    record = dict(store.prepared.row(by_predicate=pl.col("image_id") == image_id, named=True))
    kept = {name: record[name] for name in RECORD}
    pixels, placement = store.read(image_id), store.placement(image_id)
    return PreparedFile(image_id, task.path, task.mammogram, pixels, placement, task.facts, kept)
