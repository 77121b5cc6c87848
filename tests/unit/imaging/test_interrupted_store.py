"""What a preparation survives: files that end their process, kill -9, workers that outlive it, and Ctrl-C."""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mammoscope.cohort.manifest import SCHEMA, write_manifest
from mammoscope.errors import StoreError, WorkerLostError
from mammoscope.imaging import batch, shards
from mammoscope.imaging.batch import ImagePreparer, PrepareJob, PrepareSummary, ShardTask, prepare_shard, prepare_store
from mammoscope.imaging.prepare import PreparedImage, PrepareSettings, prepare_image
from mammoscope.scaling import run_tasks

MakeDicom = Callable[..., bytes]
SETTINGS = PrepareSettings(rows=64, columns=32)
N_IMAGES = 18  # five shards of a small cohort
POISON = "image-9"


def prepare_or_die(content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
    """A decoder that one file is fatal to."""
    if name == POISON:
        ctypes.string_at(0)
    return prepare_image(content, settings, name=name)


def prepare_with_little_memory(content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
    """What the system does to a process that asks for too much."""
    if name == "image-9":
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare_image(content, settings, name=name)


def prepare_slowly(content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
    time.sleep(0.03)
    return prepare_image(content, settings, name=name)


def _prepare(
    jobs: Sequence[PrepareJob], store: Path, prepare: ImagePreparer = prepare_image, *, n_workers: int = 0
) -> PrepareSummary:
    runner = partial(run_tasks, n_workers=n_workers, is_apart=n_workers == 1)
    return prepare_store(jobs, store, SETTINGS, run_tasks=runner, advance=lambda _: None, prepare=prepare)


def _read_all(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


@pytest.fixture
def jobs(tmp_path: Path, make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> list[PrepareJob]:
    folder = tmp_path / "files"
    folder.mkdir()
    for index in range(N_IMAGES):
        (folder / f"{index}.dcm").write_bytes(make_dicom(np.roll(breast, index, axis=0)))
    return [PrepareJob(f"image-{index}", str(folder / f"{index}.dcm")) for index in range(N_IMAGES)]


@pytest.fixture
def cohort(tmp_path: Path, jobs: Sequence[PrepareJob]) -> Path:
    usual = {"laterality": "L", "view": "CC", "source": "test"}
    rows = [
        {"image_id": job.image_id, "patient_id": job.image_id, "exam_id": job.image_id, "path": job.path} | usual
        for job in jobs
    ]
    write_manifest(pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA), tmp_path / "cohort")
    return tmp_path / "cohort"


def test_a_file_that_ends_its_process_costs_itself_only(jobs: list[PrepareJob], tmp_path: Path) -> None:
    told: list[int] = []
    for n_workers in (1, 2):
        runner = partial(run_tasks, n_workers=n_workers, is_apart=True)
        store = tmp_path / f"store{n_workers}"
        summary = prepare_store(jobs, store, SETTINGS, run_tasks=runner, advance=told.append, prepare=prepare_or_die)
        assert summary == PrepareSummary(N_IMAGES - 1, {"undecodable": 1}, 0)
        rejected = pl.read_parquet(store / "rejected.parquet")
        assert rejected["image_id"].to_list() == [POISON]
        assert (
            "found a picture that ended the process that decoded it, again when it was alone" in rejected["sentence"][0]
        )
    assert sum(told) == 2 * N_IMAGES
    assert _read_all(tmp_path / "store1") == _read_all(tmp_path / "store2")
    healthy = [job for job in jobs if job.image_id != POISON]
    _prepare(healthy, tmp_path / "healthy")
    columns = ["image_id", "content_hash", "file_hash", "box_top"]
    tables = [pl.read_parquet(tmp_path / name / "prepared.parquet", columns=columns) for name in ("store2", "healthy")]
    assert tables[0].equals(tables[1])


def test_lack_of_memory_rejects_no_file_and_ends_in_time(
    jobs: list[PrepareJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_FRUITLESS_ROUNDS", 2)  # processes take their time to start
    with pytest.raises(WorkerLostError, match=r"was ended from outside, most often for lack of memory; .*--workers 1"):
        _prepare(jobs[8:12], tmp_path / "store", prepare_with_little_memory, n_workers=1)
    summary = _prepare(jobs[8:12], tmp_path / "store")  # where there is more
    assert summary == PrepareSummary(4, {}, 0)
    _prepare(jobs[8:12], tmp_path / "undisturbed")
    assert _read_all(tmp_path / "store") == _read_all(tmp_path / "undisturbed")


def test_a_worker_of_an_earlier_preparation_writes_no_more(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs[4:], tmp_path / "store")
    before = _read_all(tmp_path / "store")
    orphan = ShardTask(tmp_path / "store", 0, tuple(jobs[:4]), SETTINGS, turn="an earlier one")
    with pytest.raises(StoreError, match="found that another preparation took over"):
        prepare_shard(orphan)
    del before["shards/00000.parquet"]  # it may have been of other pictures, so that it goes first
    assert _read_all(tmp_path / "store") == before


def test_a_worker_that_lost_its_turn_in_a_shard_leaves_nothing(jobs: list[PrepareJob], tmp_path: Path) -> None:
    (tmp_path / "store" / "shards").mkdir(parents=True)
    turn = shards.take_turn(tmp_path / "store")

    def take_over(content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
        if name == "image-3":
            shards.take_turn(tmp_path / "store")
        return prepare_image(content, settings, name=name)

    task = ShardTask(tmp_path / "store", 0, tuple(jobs[:4]), SETTINGS, take_over, turn)
    with pytest.raises(StoreError, match="found that another preparation took over"):
        prepare_shard(task)
    assert list((tmp_path / "store" / "shards").iterdir()) == []


def test_marks_and_halves_of_a_killed_run_are_taken_away(jobs: list[PrepareJob], tmp_path: Path) -> None:
    def leave_things(function: Callable[[ShardTask], int], tasks: Sequence[ShardTask]) -> Iterator[int]:
        (tmp_path / "store" / "shards").mkdir()
        shards.mark(tmp_path / "store", 1, "image-4")
        (tmp_path / "store" / "shards" / ".00001.raw.123.part").write_bytes(b"half")
        yield from map(function, tasks[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_store(jobs, tmp_path / "store", SETTINGS, run_tasks=leave_things, advance=lambda _: None)
    assert _prepare(jobs, tmp_path / "store").n_resumed == 4
    _prepare(jobs, tmp_path / "undisturbed")
    assert _read_all(tmp_path / "store") == _read_all(tmp_path / "undisturbed")


_SLOW_RUN = """
import json, sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {here!r})
from test_interrupted_store import SETTINGS, prepare_slowly
from mammoscope.imaging.batch import PrepareJob, prepare_store
from mammoscope.scaling import run_tasks

if __name__ == "__main__":
    jobs = [PrepareJob(*job) for job in json.loads(sys.argv[1])]
    runner = partial(run_tasks, n_workers=2, is_apart=True)
    prepare_store(jobs, Path(sys.argv[2]), SETTINGS, run_tasks=runner, advance=lambda _: None, prepare=prepare_slowly)
"""


def _wait_for_work(store: Path, n_shards: int) -> None:
    """Until so many shards are done and one more is at work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        names = [path.suffix for path in store.glob("shards/*")]
        if names.count(".parquet") >= n_shards and ".at" in names:
            return
        time.sleep(0.005)
    pytest.fail(f"{store}: no work seen")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux lists them")
def test_a_run_killed_again_and_again_comes_to_the_same_bytes(jobs: list[PrepareJob], tmp_path: Path) -> None:
    rng = random.Random(1)  # noqa: S311  # moments, not secrets
    script = tmp_path / "slow_run.py"
    script.write_text(_SLOW_RUN.format(here=str(Path(__file__).parent)))
    arguments = [sys.executable, str(script), json.dumps([[job.image_id, job.path] for job in jobs])]
    store = tmp_path / "store"
    for n_shards, is_whole_group in ((0, True), (1, False)):
        victim = subprocess.Popen([*arguments, str(store)], start_new_session=True)  # noqa: S603  # our own words
        _wait_for_work(store, n_shards)
        time.sleep(rng.uniform(0, 0.06))
        workers = _children(victim.pid)
        if is_whole_group:
            os.killpg(victim.pid, signal.SIGKILL)
        else:
            victim.kill()  # its workers stay behind, at work, while the next run begins
        victim.wait()
    _prepare(jobs, store)
    assert _prepare(jobs, store).n_resumed == N_IMAGES
    _prepare(jobs, tmp_path / "undisturbed")
    deadline = time.monotonic() + 30
    while any(_is_alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _read_all(store) == _read_all(tmp_path / "undisturbed")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux lists them")
def test_workers_do_not_go_on_for_a_run_that_is_gone(jobs: list[PrepareJob], tmp_path: Path) -> None:
    script = tmp_path / "slow_run.py"
    script.write_text(_SLOW_RUN.format(here=str(Path(__file__).parent)))
    arguments = [sys.executable, str(script), json.dumps([[job.image_id, job.path] for job in jobs])]
    victim = subprocess.Popen([*arguments, str(tmp_path / "store")])  # noqa: S603  # our own words
    _wait_for_work(tmp_path / "store", 1)
    victim.kill()
    victim.wait()
    time.sleep(1.5)  # two shards take 0.3 s
    assert len(list((tmp_path / "store" / "shards").glob("*.parquet"))) < 5


def test_ctrl_c_says_that_the_same_command_goes_on(cohort: Path, jobs: list[PrepareJob], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from mammoscope.cli.main import main; main()"]
    arguments = ["prepare", str(cohort), "-o", str(tmp_path / "store"), "--size", "4096x4096", "--workers", "2"]
    process = subprocess.Popen(  # noqa: S603  # our own words
        [*command, *arguments], start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    _wait_for_work(tmp_path / "store", 0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "stopped by Ctrl-C; the same command goes on where it was"
    assert "Traceback" not in err
    assert len(jobs) == N_IMAGES
