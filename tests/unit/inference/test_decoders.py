"""What the processes that decode survive, and how much they hold."""

import ctypes
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mammoscope.anatomy import Laterality
from mammoscope.errors import WorkerLostError
from mammoscope.exam import Mammogram
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.decoders import decode_apart, decode_here
from mammoscope.inference.reading import Outcome, PreparedFile, ScoringTask

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
    return PreparedFile(task.name, task.path, mammogram, np.zeros((16, 16), np.uint8))


def _tasks(*names: str) -> list[ScoringTask]:
    return [ScoringTask(name, Path(name), None, SETTINGS) for name in names]


def _names(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"refused {each.image_id}" if isinstance(each, Rejection) else each.name for each in outcomes]


def test_a_file_that_ends_its_process_costs_itself_with_one_process_too() -> None:
    tasks = _tasks("a", "poison", "b", "c")
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
        list(decode_apart(_tasks("hungry"), n_workers=1, n_ahead=2, prepare=prepare_or_end))
    with pytest.raises(MemoryError):
        list(decode_apart(_tasks("memory"), n_workers=1, n_ahead=2, prepare=prepare_or_end))


def test_no_more_is_asked_for_than_may_wait() -> None:
    given: list[str] = []

    def give() -> Iterator[ScoringTask]:
        for task in _tasks(*map(str, range(50))):
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
    assert _names(decode_here(_tasks("a", "b"), prepare=prepare_or_end)) == ["a", "b"]
    assert list(decode_apart([], n_workers=1, n_ahead=2)) == []
