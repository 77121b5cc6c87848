"""One file to one prepared image, and a cohort's files to a prepared store."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from mammoscope.config import Settings, build_settings, read_toml, to_toml
from mammoscope.errors import ImageRefusedError, StoreError
from mammoscope.files import sha256_of_bytes, write_text
from mammoscope.imaging import shards
from mammoscope.imaging.breast import SMALL_ROWS, Box, BreastPlace, find_breast, shrink_for_search
from mammoscope.imaging.canvas import CanvasPixels, Placement, paint, place, resize_to_content
from mammoscope.imaging.codecs import Decoded, EncodedPicture, open_picture
from mammoscope.imaging.display import Display, WindowPolicy, choose_display, fill_padding
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.verdict import Verdict, refusal


class PrepareSettings(Settings):
    """How a file becomes a prepared image; two stores of equal settings hold equal pictures of equal files.

    Attributes:
        rows: height of the prepared image.
        columns: its width.
        bits: of a grey value.
        window: `minmax` spreads the values of the breast's box, `dicom` takes the file's first window.
        margin: what is left around the breast, as a share of the longer side of its box.
        decoded_px_per_canvas_px: the least resolution to decode at, where a file offers lower ones; below 1 is faster
            and less sharp.
        method_version: of the way itself; another one makes other pictures.
    """

    rows: int = Field(default=1024, ge=16, le=8192)
    columns: int = Field(default=512, ge=16, le=8192)
    bits: Literal[8, 16] = 16
    window: WindowPolicy = "minmax"
    margin: float = Field(default=0.02, ge=0, le=0.5)
    decoded_px_per_canvas_px: float = Field(default=1.0, ge=0.25, le=8)
    method_version: Literal[1] = 1

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the settings."""
        return sha256_of_bytes(to_toml(self).encode())

    @property
    def picture_bytes(self) -> int:
        """The size of one prepared picture in a store."""
        return self.rows * self.columns * self.bits // 8


class StoreDescription(Settings):
    """What `prepare.toml` says: the settings of a store, and their hash."""

    schema_version: Literal[1] = 1
    settings_hash: str
    settings: PrepareSettings


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """One file to prepare."""

    image_id: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationRecord:
    """How a prepared image came about.

    Attributes:
        placement: where the picture lies on the canvas, and the way back.
        display: the window and polarity that made it.
        is_breast_found: False when nothing like a breast was found, so that the whole picture was taken.
        decoder: the library that decoded the file.
        level: how often rows and columns were halved in decoding.
        spacing_mm: height and width of an original pixel, where known.
        file_hash: SHA-256 of the file.
        content_hash: SHA-256 of the prepared pixels.
    """

    placement: Placement
    display: Display
    is_breast_found: bool
    decoder: str
    level: int
    spacing_mm: tuple[float, float] | None
    file_hash: str
    content_hash: str

    def to_row(self) -> dict[str, object]:
        """The record as columns of `prepared.parquet`."""
        row_spacing, column_spacing = self.spacing_mm or (None, None)
        return {
            **self.placement.to_row(),
            "is_breast_found": self.is_breast_found,
            "window": self.display.function.value,
            "window_center": self.display.center,
            "window_width": self.display.width,
            "is_inverted": self.display.is_inverted,
            "decoder": self.decoder,
            "level": self.level,
            "row_spacing_mm": row_spacing,
            "column_spacing_mm": column_spacing,
            "file_hash": self.file_hash,
            "content_hash": self.content_hash,
        }


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A prepared image, (row, column), chest wall at column 0, bright tissue on black, and how it came about."""

    pixels: CanvasPixels
    record: PreparationRecord
    header: Header


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file that could not be used, as a row of `rejected.parquet`."""

    image_id: str
    path: str
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """What a preparation came to; of all images of the store, `n_resumed` had been done before."""

    n_prepared: int
    n_rejected: dict[str, int]
    n_resumed: int


def prepare_image(content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
    """The prepared image of a DICOM, PNG or PGM file.

    Args:
        content: the whole file.
        settings: how to prepare it.
        name: how sentences call the image.

    Raises:
        ImageRefusedError: the file cannot be used; with the reason code.
    """
    header = read_header(content, name=name)
    picture = open_picture(content, header, name=name)
    coarse = picture.decode(_level_for(header.rows / SMALL_ROWS, picture))
    _refuse_blank(coarse, name)
    breast = _locate_breast(header, coarse, settings)
    placement, level = _plan(header, picture, breast, settings)
    decoded = coarse if level == coarse.level else picture.decode(level)
    cut = fill_padding(header, _cut(decoded, placement.box), is_reduced=level > 0)
    display = choose_display(header, cut, settings.window)
    pixels = paint(display.apply(resize_to_content(cut, placement)), placement, settings.bits)
    record = PreparationRecord(
        placement=placement,
        display=display,
        is_breast_found=breast.is_sure,
        decoder=decoded.decoder,
        level=level,
        spacing_mm=header.spacing_mm,
        file_hash=sha256_of_bytes(content),
        content_hash=sha256_of_bytes(shards.to_record(pixels)),
    )
    return PreparedImage(pixels, record, header)


def prepare_job(job: PrepareJob, settings: PrepareSettings) -> PreparedImage | Rejection:
    """The prepared image of a file, or why there is none: the guard that keeps a batch going."""
    try:
        return prepare_image(_read_file(job), settings, name=job.image_id)
    except ImageRefusedError as error:
        return Rejection(job.image_id, job.path, error.code, error.sentence)
    except MemoryError:
        raise  # the machine's fault and not the file's
    except Exception as error:  # noqa: BLE001  # whatever one file does, the others go on
        unexpected = refusal(
            Verdict.UNDECODABLE,
            job.image_id,
            found=f"what ends in {type(error).__name__}",  # the error's own text may quote an element of the patient
            expected="a picture that can be prepared",
            advice="please report it, this is not foreseen",
        )
        return Rejection(job.image_id, job.path, unexpected.code, unexpected.sentence)


def _read_file(job: PrepareJob) -> bytes:
    try:
        return Path(job.path).read_bytes()
    except OSError as error:
        raise refusal(
            Verdict.UNREADABLE,
            job.image_id,
            found=f"no readable file ({error.strerror})",
            expected="the file that the manifest names",
            advice="check that it exists and may be read, then prepare again",
        ) from error


def _level_for(shrinkage: float, picture: EncodedPicture) -> int:
    """The highest level at which no more than `shrinkage` of the resolution is lost."""
    level = 0
    while level < picture.n_levels and 2 << level <= shrinkage:
        level += 1
    return level


def _refuse_blank(decoded: Decoded, name: str) -> None:
    if decoded.values.min() == decoded.values.max():
        raise refusal(
            Verdict.BLANK,
            name,
            found=f"one value, {int(decoded.values.flat[0])}, in all pixels",
            expected="a picture",
            advice="remove it from the cohort or fetch it again",
        )


def _locate_breast(header: Header, decoded: Decoded, settings: PrepareSettings) -> BreastPlace:
    small = fill_padding(header, shrink_for_search(decoded.values), is_reduced=True)
    brightness = choose_display(header, small, "minmax").apply(small)
    return find_breast(brightness, (header.rows, header.columns), margin=settings.margin)


def _plan(
    header: Header, picture: EncodedPicture, breast: BreastPlace, settings: PrepareSettings
) -> tuple[Placement, int]:
    """Where the box goes, and the lowest resolution that fills its place; the box is widened to whole pixels of it."""

    def place_box(box: Box) -> Placement:
        return place(
            box,
            original_shape=(header.rows, header.columns),
            canvas_shape=(settings.rows, settings.columns),
            is_wall_left=breast.is_wall_left,
            spacing_mm=header.spacing_mm,
        )

    needed = max(place_box(breast.box).scale) * settings.decoded_px_per_canvas_px
    level = _level_for(1 / needed, picture)
    step = 1 << level
    box = Box(
        top=breast.box.top // step * step,
        left=breast.box.left // step * step,
        bottom=min(header.rows, -(-breast.box.bottom // step) * step),
        right=min(header.columns, -(-breast.box.right // step) * step),
    )
    return place_box(box), level


def _cut(decoded: Decoded, box: Box) -> NDArray[Any]:
    step = 1 << decoded.level
    rows = slice(box.top // step, -(-box.bottom // step))
    columns = slice(box.left // step, -(-box.right // step))
    return decoded.values[rows, columns]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """The jobs of one shard: the unit of work, and of what a killed run loses."""

    store: Path
    index: int
    jobs: tuple[PrepareJob, ...]
    settings: PrepareSettings

    @property
    def jobs_hash(self) -> str:
        """What tells these jobs from others: ids and paths, in their order."""
        return sha256_of_bytes("\n".join(f"{job.image_id}\t{job.path}" for job in self.jobs).encode())


TaskRunner = Callable[[Callable[[ShardTask], int], Sequence[ShardTask]], Iterator[int]]


def prepare_store(
    jobs: Sequence[PrepareJob],
    store: Path,
    settings: PrepareSettings,
    *,
    run_tasks: TaskRunner,
    advance: Callable[[int], None],
) -> PrepareSummary:
    """Prepare files into a store, or go on with one; the result is the same however often it was interrupted.

    Args:
        jobs: the files, each image once.
        store: the folder; made where it does not exist.
        settings: the same as before when the store exists.
        run_tasks: runs a function over tasks, results in any order.
        advance: told the number of images as they are done.

    Raises:
        StoreError: no jobs, an image twice, a folder that is no store, other settings, or a store in use.
        OSError: no space or no right to write; what was done is kept.
    """
    _check_jobs(jobs)
    with shards.lock_store(store):
        _describe(store, settings)
        tasks = _split_into_tasks(jobs, store, settings)
        pending = [
            task for task in tasks if not shards.is_done(store, task.index, task.jobs_hash, settings.picture_bytes)
        ]
        n_resumed = len(jobs) - sum(len(task.jobs) for task in pending)
        advance(n_resumed)
        if pending or not shards.is_finished(store, len(tasks)):
            shards.open_for_writing(store, len(tasks))
            for n_done in run_tasks(prepare_shard, pending):
                advance(n_done)
            shards.finish(store, len(tasks))
        rejected = pl.read_parquet(store / shards.REJECTED_NAME)
    counts = Counter(rejected["code"].to_list())
    return PrepareSummary(len(jobs) - rejected.height, dict(sorted(counts.items())), n_resumed)


def prepare_shard(task: ShardTask) -> int:
    """Prepare the jobs of a shard and write it; returns their number."""
    if shards.is_done(task.store, task.index, task.jobs_hash, task.settings.picture_bytes):
        return len(task.jobs)  # by a worker that outlived a killed run
    cv2.setNumThreads(1)  # the workers are processes; threads of their own would get in each other's way
    with shards.write_shard(task.store, task.index, task.jobs_hash) as writer:
        for job in task.jobs:
            result = prepare_job(job, task.settings)
            if isinstance(result, Rejection):
                writer.reject(asdict(result))
            else:
                writer.add(job.image_id, result.pixels, result.record.to_row())
    return len(task.jobs)


def read_description(store: Path) -> StoreDescription:
    """What `prepare.toml` of a store says.

    Raises:
        ConfigError: it cannot be read or breaks its schema.
        StoreError: its settings are not those of its hash.
    """
    path = store / shards.DESCRIPTION_NAME
    description = build_settings(StoreDescription, read_toml(path), where=str(path))
    if description.settings.hash != description.settings_hash:
        raise StoreError(
            f"{path}: found settings that do not fit their hash, expected them as they were written; "
            "undo the change, or prepare into a new folder"
        )
    return description


def _check_jobs(jobs: Sequence[PrepareJob]) -> None:
    if not jobs:
        raise StoreError("prepare: found no images, expected one or more; check the manifest")
    image_id, count = Counter(job.image_id for job in jobs).most_common(1)[0]
    if count > 1:
        raise StoreError(
            f"prepare: found image {image_id} {count} times, expected each image once; correct the manifest"
        )


def _describe(store: Path, settings: PrepareSettings) -> None:
    """Write `prepare.toml`, before anything else, or hold the settings against it."""
    if (store / shards.DESCRIPTION_NAME).exists():
        found = read_description(store).settings
        changes = [
            f"{key} {old} instead of {new}"
            for (key, old), new in zip(found.model_dump().items(), settings.model_dump().values(), strict=True)
            if old != new
        ]
        if changes:
            raise StoreError(
                f"{store}: found a store made with {', '.join(changes)}, expected the same settings; "
                "give those, or prepare into a new folder"
            )
        return
    if any(not path.name.startswith(".") for path in store.iterdir()):  # the lock, or what a killed start left
        raise StoreError(f"{store}: found files of something else, expected an empty folder or a store; choose another")
    description = StoreDescription(settings_hash=settings.hash, settings=settings)
    write_text(store / shards.DESCRIPTION_NAME, to_toml(description))


def _split_into_tasks(jobs: Sequence[PrepareJob], store: Path, settings: PrepareSettings) -> list[ShardTask]:
    size = shards.choose_shard_size(len(jobs))
    return [
        ShardTask(store, index, tuple(jobs[first : first + size]), settings)
        for index, first in enumerate(range(0, len(jobs), size))
    ]
