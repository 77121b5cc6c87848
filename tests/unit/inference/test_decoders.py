"""What the processes that decode survive, and how much they hold."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mammoscope.anatomy import Laterality
from mammoscope.errors import WorkerLostError
from mammoscope.exam import Mammogram
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import Placement
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.decoders import decode_apart, decode_here
from mammoscope.inference.reading import Outcome, PreparedFile, ScoringTask

WHOLE = Placement(
    original_shape=(16, 16),
    box=Box(0, 0, 16, 16),
    is_flipped=False,
    canvas_shape=(16, 16),
    content_shape=(16, 16),
    content_top=0,
)
SETTINGS = PrepareSettings(rows=16, columns=16, bits=8)


def prepare_or_end(task: ScoringTask) -> Outcome:
    """A picture that tells its process; some names end it, or are too much for its memory."""
    if task.name == "poison":
        ctypes.string_at(0)
    if task.name == "memory":
        raise MemoryError
    if task.name == "hungry":
        os.kill(os.getpid(), signal.SIGKILL)
    mammogram = Mammogram(
        image_id=task.name, patient_id="p", exam_id=str(os.getpid()), laterality=Laterality.LEFT, view=None
    )
    return PreparedFile(task.name, task.path, mammogram, np.zeros((16, 16), np.uint8), WHOLE)


def list_tasks(*names: str) -> list[ScoringTask]:
    return [ScoringTask(name, Path(name), None, SETTINGS) for name in names]


def _names(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"refused {each.image_id}" if isinstance(each, Rejection) else each.name for each in outcomes]


def test_a_file_that_ends_its_process_costs_itself_with_one_process_too() -> None:
    tasks = list_tasks("a", "poison", "b", "c")
    outcomes = list(decode_apart(tasks, n_workers=1, n_ahead=2, prepare=prepare_or_end))
    assert _names(outcomes) == ["a", "refused poison", "b", "c"]
    refused = outcomes[1]
    assert isinstance(refused, Rejection)
    assert (refused.code, refused.path) == ("undecodable", "poison")
    assert refused.sentence.startswith("poison: found a picture that ended the process that decoded it, and another")
    pids = {each.mammogram.exam_id for each in outcomes if isinstance(each, PreparedFile)}
    assert str(os.getpid()) not in pids
    assert len(pids) == 2


def test_lack_of_memory_is_no_fault_of_the_file() -> None:
    with pytest.raises(WorkerLostError, match=r"ended from outside, most often for lack of memory; .* --resume"):
        list(decode_apart(list_tasks("hungry"), n_workers=1, n_ahead=2, prepare=prepare_or_end))
    with pytest.raises(MemoryError):
        list(decode_apart(list_tasks("memory"), n_workers=1, n_ahead=2, prepare=prepare_or_end))


def test_no_more_is_asked_for_than_may_wait() -> None:
    given: list[str] = []

    def give() -> Iterator[ScoringTask]:
        for task in list_tasks(*map(str, range(50))):
            given.append(task.name)
            yield task

    outcomes = decode_apart(give(), n_workers=2, n_ahead=5, prepare=prepare_or_end)
    assert given == []
    for n_taken in range(1, 4):
        next(outcomes)
        assert len(given) <= n_taken + 5
    outcomes.close()
    assert len(given) < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decoder")]


def test_in_this_process_it_comes_to_the_same() -> None:
    assert _names(decode_here(list_tasks("a", "b"), prepare=prepare_or_end)) == ["a", "b"]
    assert list(decode_apart([], n_workers=1, n_ahead=2)) == []


_SCRIPT = """
import os, signal, sys
sys.path.insert(0, {here!r})
from test_decoders import list_tasks, prepare_or_end
from mammoscope.inference.decoders import decode_apart

if __name__ == "__main__":
    outcomes = decode_apart(list_tasks("a", "b"), n_workers=1, n_ahead=2, prepare=prepare_or_end)
    print(next(outcomes).mammogram.exam_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux lists them")
def test_a_process_ends_with_whoever_asked_for_it(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(_SCRIPT.format(here=str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while _is_alive(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_alive(int(done.stdout))
