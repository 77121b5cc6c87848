import multiprocessing
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mammoscope.errors import StoreError
from mammoscope.imaging import shards
from mammoscope.imaging.batch import PrepareJob, PrepareSummary, ShardTask, TaskRunner, prepare_store
from mammoscope.imaging.prepare import PrepareSettings, prepare_image
from mammoscope.imaging.store import open_store

MakeDicom = Callable[..., bytes]
SETTINGS = PrepareSettings(rows=64, columns=32)
N_IMAGES = 10  # three shards of a small cohort


def _run_here(function: Callable[[ShardTask], int], tasks: Sequence[ShardTask]) -> Iterator[int]:
    return map(function, tasks)


def _prepare(
    jobs: Sequence[PrepareJob],
    store: Path,
    settings: PrepareSettings = SETTINGS,
    run: TaskRunner = _run_here,
    advance: Callable[[int], None] = lambda _: None,
) -> PrepareSummary:
    return prepare_store(jobs, store, settings, run_tasks=run, advance=advance)


def _read_all(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


@pytest.fixture
def jobs(tmp_path: Path, make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> list[PrepareJob]:
    """Ten files, of which the third is a text and the ninth is missing."""
    folder = tmp_path / "files"
    folder.mkdir()
    for index in range(N_IMAGES):
        (folder / f"{index}.dcm").write_bytes(make_dicom(np.roll(breast, index, axis=0)))
    (folder / "2.dcm").write_text("no picture")
    (folder / "8.dcm").unlink()
    return [PrepareJob(f"image-{index}", str(folder / f"{index}.dcm")) for index in range(N_IMAGES)]


def test_a_store_holds_every_image_or_the_reason_why_not(jobs: list[PrepareJob], tmp_path: Path) -> None:
    told: list[int] = []
    summary = _prepare(jobs, tmp_path / "store", advance=told.append)
    assert summary == PrepareSummary(8, {"not_dicom": 1, "unreadable": 1}, 0)
    assert sum(told) == N_IMAGES
    store = open_store(tmp_path / "store")
    assert store.settings == SETTINGS
    assert store.image_ids == [f"image-{index}" for index in range(N_IMAGES) if index not in {2, 8}]
    assert store.rejected.select("image_id", "code").rows() == [("image-2", "not_dicom"), ("image-8", "unreadable")]
    for job in jobs:
        if job.image_id in store.image_ids:
            image = prepare_image(Path(job.path).read_bytes(), SETTINGS, name="1")
            np.testing.assert_array_equal(store.read(job.image_id), image.pixels)
            assert store.placement(job.image_id) == image.record.placement


def test_pictures_are_read_only_and_of_the_type_asked_for(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store", PrepareSettings(rows=64, columns=32, bits=8))
    pixels = open_store(tmp_path / "store").read("image-9")
    assert (pixels.shape, pixels.dtype.name, pixels.flags.writeable) == ((64, 32), "uint8", False)


def test_a_store_can_be_handed_to_another_process(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    store = open_store(tmp_path / "store")
    pixels = store.read("image-9")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301  # our own bytes, as a data loader sends them
    np.testing.assert_array_equal(copy.read("image-9"), pixels)
    assert copy.content_hash == store.content_hash


def test_the_order_of_the_work_makes_no_difference(jobs: list[PrepareJob], tmp_path: Path) -> None:
    def run_backwards(function: Callable[[ShardTask], int], tasks: Sequence[ShardTask]) -> Iterator[int]:
        return map(function, reversed(tasks))

    _prepare(jobs, tmp_path / "forwards")
    _prepare(jobs, tmp_path / "backwards", run=run_backwards)
    assert _read_all(tmp_path / "forwards") == _read_all(tmp_path / "backwards")


def test_a_complete_store_is_left_as_it_is(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}

    def fail(_: object, __: object) -> Iterator[int]:
        raise AssertionError("found work, expected none")

    assert _prepare(jobs, tmp_path / "store", run=fail).n_resumed == N_IMAGES
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before


def _prepare_and_die(jobs: list[PrepareJob], store: Path) -> None:
    def run_until_killed(function: Callable[[ShardTask], int], tasks: Sequence[ShardTask]) -> Iterator[int]:
        yield function(tasks[0])
        with shards.write_shard(store, 1, "half of a shard") as writer:
            image = prepare_image(Path(jobs[4].path).read_bytes(), SETTINGS, name="1")
            writer.add("image-4", image.pixels, image.record.to_row())
            os.kill(os.getpid(), signal.SIGKILL)

    _prepare(jobs, store, run=run_until_killed)


def test_a_killed_run_goes_on_where_it_was(jobs: list[PrepareJob], tmp_path: Path) -> None:
    victim = multiprocessing.get_context("spawn").Process(target=_prepare_and_die, args=(jobs, tmp_path / "store"))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    with pytest.raises(StoreError, match=r"prepared\.parquet: found none, expected the table of a finished store"):
        open_store(tmp_path / "store")
    assert _prepare(jobs, tmp_path / "store").n_resumed == 4
    _prepare(jobs, tmp_path / "undisturbed")
    assert _read_all(tmp_path / "store") == _read_all(tmp_path / "undisturbed")


def test_a_shard_without_its_table_is_done_again(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    before = _read_all(tmp_path / "store")
    shards.table_path(tmp_path / "store", 1).unlink()
    assert _prepare(jobs, tmp_path / "store").n_resumed == 6
    assert _read_all(tmp_path / "store") == before


def test_a_shard_that_lost_bytes_is_told_and_mended(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    before = _read_all(tmp_path / "store")
    with shards.raw_path(tmp_path / "store", 0).open("r+b") as raw:
        raw.truncate(100)
    with pytest.raises(StoreError, match=r"00000\.raw: found 100 bytes, expected 12288"):
        open_store(tmp_path / "store")
    _prepare(jobs, tmp_path / "store")
    assert _read_all(tmp_path / "store") == before


def test_other_images_in_a_shard_are_noticed(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    changed = [*jobs[:5], PrepareJob("another", jobs[9].path), *jobs[6:]]
    assert _prepare(changed, tmp_path / "store").n_resumed == 6
    _prepare(changed, tmp_path / "undisturbed")
    assert _read_all(tmp_path / "store") == _read_all(tmp_path / "undisturbed")


def test_a_half_written_change_is_no_trap_on_the_way_back(
    jobs: list[PrepareJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    _prepare(jobs[:4], tmp_path / "store")
    before = _read_all(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", fail)  # so that the pictures are there, and their table is not
        with pytest.raises(OSError, match="No space left on device"):
            _prepare([jobs[4], *jobs[1:4]], tmp_path / "store")
    assert _prepare(jobs[:4], tmp_path / "store").n_resumed == 0
    assert _read_all(tmp_path / "store") == before


def test_a_shorter_cohort_leaves_nothing_behind(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    assert _prepare(jobs[:4], tmp_path / "store").n_resumed == 4
    _prepare(jobs[:4], tmp_path / "undisturbed")
    assert _read_all(tmp_path / "store") == _read_all(tmp_path / "undisturbed")


def test_a_file_that_has_come_back_is_tried_again(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    shutil.copy(jobs[0].path, jobs[8].path)
    assert _prepare(jobs, tmp_path / "store") == PrepareSummary(9, {"not_dicom": 1}, 8)


def test_a_store_may_hold_rejections_only(tmp_path: Path) -> None:
    summary = _prepare([PrepareJob("1", "/nowhere")], tmp_path / "store")
    assert summary == PrepareSummary(0, {"unreadable": 1}, 0)
    assert open_store(tmp_path / "store").image_ids == []


def test_other_settings_are_refused(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    with pytest.raises(
        StoreError, match="found a store made with rows 64 instead of 128, window minmax instead of dicom"
    ):
        _prepare(jobs, tmp_path / "store", PrepareSettings(rows=128, columns=32, window="dicom"))


def test_a_folder_of_something_else_is_refused(jobs: list[PrepareJob], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found files of something else"):
        _prepare(jobs, tmp_path)


def test_an_image_twice_is_refused(jobs: list[PrepareJob], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found image image-0 2 times"):
        _prepare([*jobs, jobs[0]], tmp_path / "store")


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found no images"):
        _prepare([], tmp_path / "store")


def test_two_preparations_of_one_store_are_refused(jobs: list[PrepareJob], tmp_path: Path) -> None:
    with (
        shards.lock_store(tmp_path / "store"),
        pytest.raises(StoreError, match="found another preparation at work in it"),
    ):
        _prepare(jobs, tmp_path / "store")
    assert _prepare(jobs, tmp_path / "store").n_prepared == 8  # the lock is gone with its holder


def test_a_full_disk_leaves_nothing_half_written(
    jobs: list[PrepareJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardWriter, "add", fail)
        with pytest.raises(OSError, match="No space left on device"):
            _prepare(jobs, tmp_path / "store")
    assert [path.name for path in (tmp_path / "store" / "shards").iterdir()] == []
    assert _prepare(jobs, tmp_path / "store").n_prepared == 8


def test_the_hash_is_of_pictures_and_ids_whatever_their_order(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    _prepare(jobs[::-1], tmp_path / "reversed")
    _prepare(jobs[:5], tmp_path / "half")
    hashes = [open_store(tmp_path / name).content_hash for name in ("store", "reversed", "half")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_shards_do_not_depend_on_the_number_of_workers_but_on_the_cohort() -> None:
    assert [shards.choose_shard_size(n_images) for n_images in (1, 1024, 1025, 54_706)] == [4, 4, 32, 32]


def test_an_unknown_image_is_refused(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    store = open_store(tmp_path / "store")
    with pytest.raises(StoreError, match="found no picture of image nobody, expected one of 8; prepare the cohort"):
        store.read("nobody")
    with pytest.raises(StoreError, match=r"found no picture of image image-2, .* it was refused"):
        store.placement("image-2")


def test_a_folder_without_description_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"found no prepare\.toml, expected a prepared store"):
        open_store(tmp_path)


def test_a_description_that_was_changed_is_refused(jobs: list[PrepareJob], tmp_path: Path) -> None:
    _prepare(jobs, tmp_path / "store")
    path = tmp_path / "store" / "prepare.toml"
    path.write_text(path.read_text().replace("rows = 64", "rows = 32"))
    with pytest.raises(StoreError, match="found settings that do not fit their hash"):
        open_store(tmp_path / "store")


@pytest.mark.parametrize("name", ["prepared.parquet", "rejected.parquet"])
def test_a_table_that_is_none_is_refused(jobs: list[PrepareJob], tmp_path: Path, name: str) -> None:
    _prepare(jobs, tmp_path / "store")
    (tmp_path / "store" / name).write_text("no table")
    with pytest.raises(StoreError, match=f"{name}: found no Parquet table"):
        open_store(tmp_path / "store")
    pl.DataFrame({"image_id": ["1"]}).write_parquet(tmp_path / "store" / name)
    with pytest.raises(StoreError, match=f"{name}: found other columns than expected"):
        open_store(tmp_path / "store")


def test_a_run_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("epochs = 1")
    with pytest.raises(StoreError, match="found a run, expected a prepared store"):
        open_store(tmp_path)
