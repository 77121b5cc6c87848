"""The files of a cohort to a prepared store: shard by shard, each whole or not there, however often it is stopped."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, Protocol

import cv2
import polars as pl

from mammoscope.config import Settings, build_settings, read_toml, to_toml
from mammoscope.errors import ImageRefusedError, StoreError, WorkerLostError
from mammoscope.files import sha256_of_bytes, write_text
from mammoscope.imaging import shards
from mammoscope.imaging.prepare import PreparedImage, PrepareSettings, prepare_image
from mammoscope.imaging.verdict import Verdict, refusal, refuse_unreadable

_FRUITLESS_ROUNDS = 3  # of lost workers, without a shard done or a file found guilty, before giving up
# how the system or the user ends a process: most often for lack of memory, which is no fault of the file at work
_ENDED_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


class ImagePreparer(Protocol):
    """One file to one prepared image, such as `prepare_image`."""

    def __call__(self, content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
        """The prepared image; raises ImageRefusedError for a file that cannot be used."""


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


@dataclass(frozen=True, slots=True)
class ShardTask:
    """The jobs of one shard: the unit of work, and of what a killed run loses.

    Attributes:
        store: the folder.
        index: number of the shard.
        jobs: its images, in their order.
        settings: how to prepare them.
        prepare: what prepares one.
        turn: of the preparation that asks for it, see `shards.check_turn`.
        fatal: images that end the process that decodes them, and so are not decoded.
    """

    store: Path
    index: int
    jobs: tuple[PrepareJob, ...]
    settings: PrepareSettings
    prepare: ImagePreparer = prepare_image
    turn: str = ""
    fatal: frozenset[str] = frozenset()

    @property
    def jobs_hash(self) -> str:
        """What tells these jobs from others: ids and paths, in their order."""
        return sha256_of_bytes("\n".join(f"{job.image_id}\t{job.path}" for job in self.jobs).encode())


TaskRunner = Callable[[Callable[[ShardTask], int], Sequence[ShardTask]], Iterator[int]]


def prepare_store(  # noqa: PLR0913  # all but three are keywords
    jobs: Sequence[PrepareJob],
    store: Path,
    settings: PrepareSettings,
    *,
    run_tasks: TaskRunner,
    advance: Callable[[int], None],
    prepare: ImagePreparer = prepare_image,
) -> PrepareSummary:
    """Prepare files into a store, or go on with one; the result is the same however often it was interrupted.

    A file that ends the process that decodes it is tried once more, alone, and rejected when it does so again; so
    `run_tasks` should work in processes of their own, and raise WorkerLostError when one ends.

    Args:
        jobs: the files, each image once.
        store: the folder; made where it does not exist.
        settings: the same as before when the store exists.
        run_tasks: runs a function over tasks, results in any order.
        advance: told the number of images as they are done.
        prepare: prepares one file.

    Raises:
        WorkerLostError: workers end again and again, and no file is to blame; what was done is kept.
        StoreError: no jobs, an image twice, a folder that is no store, other settings, or a store in use.
        OSError: no space or no right to write; what was done is kept.
    """
    _check_jobs(jobs)
    with shards.lock_store(store):
        _describe(store, settings)
        tasks = _split_into_tasks(jobs, store, settings, prepare)
        pending = _find_pending(tasks)
        n_resumed = len(jobs) - sum(len(task.jobs) for task in pending)
        if n_resumed:
            advance(n_resumed)
        if pending or not shards.is_finished(store, len(tasks)):
            shards.open_for_writing(store, len(tasks))
            _work_through(pending, run_tasks, advance)
            shards.finish(store, len(tasks))
        rejected = pl.read_parquet(store / shards.REJECTED_NAME)
    counts = Counter(rejected["code"].to_list())
    return PrepareSummary(len(jobs) - rejected.height, dict(sorted(counts.items())), n_resumed)


def prepare_shard(task: ShardTask) -> int:
    """Prepare the jobs of a shard and write it; returns their number.

    Raises:
        StoreError: another preparation has taken over; nothing is written.
    """
    if _is_done(task):
        return len(task.jobs)  # by a worker that outlived a killed run
    cv2.setNumThreads(1)  # the workers are processes; threads of their own would get in each other's way
    with shards.write_shard(task.store, task.index, task.jobs_hash) as writer, shards.marking(task.store, task.index):
        for job in task.jobs:
            shards.check_turn(task.store, task.turn)
            shards.mark(task.store, task.index, job.image_id)
            result = _reject_fatal(job) if job.image_id in task.fatal else prepare_job(job, task.settings, task.prepare)
            if isinstance(result, Rejection):
                writer.reject(asdict(result))
            else:
                writer.add(job.image_id, result.pixels, result.record.to_row())
        shards.check_turn(task.store, task.turn)
    return len(task.jobs)


def prepare_job(
    job: PrepareJob, settings: PrepareSettings, prepare: ImagePreparer = prepare_image
) -> PreparedImage | Rejection:
    """The prepared image of a file, or why there is none: the guard that keeps a batch going."""
    try:
        return prepare(_read_file(job), settings, name=job.image_id)
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
        raise refuse_unreadable(job.image_id, error) from error


def _work_through(pending: list[ShardTask], run_tasks: TaskRunner, advance: Callable[[int], None]) -> None:
    """Prepare all shards; where workers are lost, find the files that ended them, and go on without these."""
    fatal: frozenset[str] = frozenset()
    n_fruitless = 0
    while pending:
        turn = shards.take_turn(pending[0].store)
        n_told = 0
        try:
            for n_done in run_tasks(prepare_shard, [replace(task, turn=turn, fatal=fatal) for task in pending]):
                n_told += n_done
                advance(n_done)
        except WorkerLostError:
            guilty = _find_fatal(pending) - fatal
            left = _find_pending(pending)
            n_fruitless = 0 if guilty or len(left) < len(pending) else n_fruitless + 1
            if n_fruitless == _FRUITLESS_ROUNDS:
                raise
            advance(max(0, _count_jobs(pending) - _count_jobs(left) - n_told))
            fatal, pending = fatal | guilty, left
        else:
            return


def _find_fatal(tasks: Sequence[ShardTask]) -> frozenset[str]:
    """Of the images that were at work when their processes ended, those that end one of their own too."""
    marked = shards.read_marks(tasks[0].store)
    suspects = [(job, task) for task in tasks for job in task.jobs if job.image_id in marked]
    return frozenset(job.image_id for job, task in suspects if _ends_its_process(job, task))


def _ends_its_process(job: PrepareJob, task: ShardTask) -> bool:
    """Whether preparing a file ends a process that does nothing else, and not because it was ended from outside."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with receiver:
        child = context.Process(target=_try_alone, args=(sender, job, task), daemon=True)
        child.start()
        sender.close()
        child.join()
        words = []
        while receiver.poll():
            try:
                words.append(receiver.recv())
            except EOFError:
                break
    return words == ["began"] and child.exitcode not in _ENDED_FROM_OUTSIDE


def _try_alone(sender: Connection, job: PrepareJob, task: ShardTask) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    cv2.setNumThreads(1)
    with sender:
        sender.send("began")
        with suppress(MemoryError):
            prepare_job(job, task.settings, task.prepare)
        sender.send("ended")


def _reject_fatal(job: PrepareJob) -> Rejection:
    error = refusal(
        Verdict.UNDECODABLE,
        job.image_id,
        found="a picture that ended the process that decoded it, again when it was alone",
        expected="one that can be decoded",
        advice="fetch the file again; if it is whole, please report it",
    )
    return Rejection(job.image_id, job.path, error.code, error.sentence)


def _find_pending(tasks: Sequence[ShardTask]) -> list[ShardTask]:
    return [task for task in tasks if not _is_done(task)]


def _is_done(task: ShardTask) -> bool:
    return shards.is_done(task.store, task.index, task.jobs_hash, task.settings.picture_bytes)


def _count_jobs(tasks: Sequence[ShardTask]) -> int:
    return sum(len(task.jobs) for task in tasks)


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


def _split_into_tasks(
    jobs: Sequence[PrepareJob], store: Path, settings: PrepareSettings, prepare: ImagePreparer
) -> list[ShardTask]:
    size = shards.choose_shard_size(len(jobs))
    return [
        ShardTask(store, index, tuple(jobs[first : first + size]), settings, prepare)
        for index, first in enumerate(range(0, len(jobs), size))
    ]
