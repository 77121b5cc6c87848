"""What a worker may cost: memory of the largest picture of the competition, and one opening of each file."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid

from mammoscope.imaging.batch import PrepareJob, ShardTask, prepare_shard
from mammoscope.imaging.prepare import PrepareSettings

MakeDicom = Callable[..., bytes]
LARGEST = (5928, 4728)  # rows and columns, RSNA 2023
MOST_BYTES = 1 << 30


def _prepare_and_measure(sender: Connection, task: ShardTask) -> None:
    prepare_shard(task)
    # not getrusage's ru_maxrss, which begins with what the parent had when it forked
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    sender.send(int(status.partition("VmHWM:")[2].split()[0]) * 1024)


def _peak_bytes(task: ShardTask) -> int:
    """Of a fresh process that prepares one shard, its imports counted in."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_prepare_and_measure, args=(sender, task))
    child.start()
    sender.close()
    peak = receiver.recv()
    child.join()
    assert isinstance(peak, int)
    return peak


@pytest.fixture(scope="module")
def largest() -> NDArray[np.uint16]:
    """A half disc with noise over all 16 bits."""
    row, column = np.mgrid[0:741, 0:591].astype(np.float32)
    inside = np.clip(1 - np.hypot((row - 370) / 330, column / 400), 0, None)
    smooth = cv2.resize(inside * 60_000, LARGEST[::-1])
    noise = np.tile(np.random.default_rng(1).integers(0, 200, (741, 591)), (8, 8))
    return np.where(smooth > 0, smooth + noise, 0).astype(np.uint16)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak as Linux tells it")
@pytest.mark.parametrize(
    ("syntax", "resolution"),
    [
        (uid.ExplicitVRLittleEndian, "canvas"),
        (uid.JPEGLosslessSV1, "canvas"),
        (uid.JPEG2000Lossless, "canvas"),
        (uid.JPEG2000Lossless, "whole"),
    ],
    ids=["uncompressed", "JPEG lossless", "JPEG 2000, reduced", "JPEG 2000, whole"],
)
def test_a_worker_needs_no_more_than_a_gibibyte(
    tmp_path: Path,
    make_dicom: MakeDicom,
    largest: NDArray[np.uint16],
    syntax: str,
    resolution: Literal["canvas", "whole"],
) -> None:
    path = tmp_path / "largest.dcm"
    path.write_bytes(make_dicom(largest, syntax=syntax))
    jobs = (PrepareJob("1", str(path)),)
    task = ShardTask(tmp_path / "store", 0, jobs, PrepareSettings(resolution=resolution))
    assert _peak_bytes(task) < MOST_BYTES
    assert (tmp_path / "store" / "shards" / "00000.raw").stat().st_size == 1024 * 512 * 2


def test_each_file_is_opened_once(tmp_path: Path, make_dicom: MakeDicom) -> None:
    paths = [tmp_path / f"{index}.dcm" for index in range(3)]
    for path, syntax in zip(
        paths, (uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLosslessSV1), strict=True
    ):
        path.write_bytes(make_dicom(syntax=syntax))
    opened: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]) in names:
            opened.append(str(arguments[0]))

    names = {str(path) for path in paths}
    sys.addaudithook(note)  # there is no taking it away; `names` is emptied instead
    jobs = tuple(PrepareJob(path.stem, os.fspath(path)) for path in paths)
    prepare_shard(ShardTask(tmp_path / "store", 0, jobs, PrepareSettings(rows=64, columns=32)))
    assert sorted(opened) == sorted(names)
    names.clear()
