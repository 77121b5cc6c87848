"""Files to prepared pictures in processes of their own, in order, and never more of them than are asked for.

Each process has a thread here that hands it one file after another, so that whoever ends a process is known, and what
waits in memory is bounded. A process ends by itself when this one does, even by kill -9: its pipe is then closed.
"""

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

import cv2

from mammoscope.errors import WorkerLostError
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.inference.reading import Outcome, ScoringTask, prepare_file

Preparer = Callable[[ScoringTask], Outcome]
Outcomes = Generator[Outcome, None, None]
Decoders = Callable[[Iterable[ScoringTask]], Outcomes]
"""The outcomes of tasks, in their order; closed early, it gives up what is under way."""

_TRIES = 2  # of a file that ends its process, before it is refused
_LOST_TRIES = 3  # of a file whose process is ended from outside, before giving up
# how the system or the user ends a process: most often for lack of memory, which is no fault of the file at work
_ENDED_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


def decode_here(tasks: Iterable[ScoringTask], *, prepare: Preparer = prepare_file) -> Outcomes:
    """The outcomes of tasks, in their order, prepared in this process."""
    yield from map(prepare, tasks)


def decode_apart(
    tasks: Iterable[ScoringTask], *, n_workers: int, n_ahead: int, prepare: Preparer = prepare_file
) -> Outcomes:
    """The outcomes of tasks, in their order, prepared in `n_workers` processes; at most `n_ahead` are under way.

    A file that ends the process that decodes it, and another one again, costs itself.

    Raises:
        WorkerLostError: processes are ended from outside again and again, most often for lack of memory.
        MemoryError: a process ran out of memory.
    """
    crew = _Crew(prepare)
    threads = ThreadPoolExecutor(n_workers, thread_name_prefix="decoder")
    waiting, under_way = iter(tasks), deque[Future[Outcome]]()
    try:
        while True:
            while len(under_way) < n_ahead and (task := next(waiting, None)) is not None:
                under_way.append(threads.submit(crew.prepare, task))
            if not under_way:
                return
            yield under_way.popleft().result()
    finally:
        crew.dismiss()
        threads.shutdown(cancel_futures=True)


class _Worker(NamedTuple):
    """A process that prepares, and the pipe to it."""

    process: SpawnProcess
    pipe: Connection


_SPAWN = get_context("spawn")


class _Crew:
    """The processes that prepare, one for each thread that asks."""

    def __init__(self, prepare: Preparer) -> None:
        self._prepare = prepare
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_dismissed = False

    def prepare(self, task: ScoringTask) -> Outcome:
        """The outcome of a task, from the process of this thread; a new one where it is lost."""
        n_ended, n_lost = 0, 0
        while n_ended < _TRIES and n_lost < _LOST_TRIES:
            worker = self._worker()
            try:
                worker.pipe.send(task)
                answer = worker.pipe.recv()
            except (EOFError, OSError):  # it is gone, and so is its end of the pipe
                is_from_outside = self._bury(worker) in _ENDED_FROM_OUTSIDE
                n_ended, n_lost = n_ended + (not is_from_outside), n_lost + is_from_outside
                continue
            if isinstance(answer, Exception):
                raise answer
            outcome: Outcome = answer
            return outcome
        if n_ended == _TRIES:
            return _reject_fatal(task)
        raise WorkerLostError(
            "a process that decodes was ended from outside, most often for lack of memory; what is scored is kept: go "
            "on with --resume, and with fewer processes: --workers 1"
        )

    def dismiss(self) -> None:
        """End all processes, also those at work."""
        with self._lock:
            self._is_dismissed = True
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()

    def _worker(self) -> _Worker:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is not None:
            return worker
        with self._lock:
            if self._is_dismissed:
                raise WorkerLostError("found the processes that decode dismissed, expected them at work")
            worker = _hire(self._prepare)
            self._workers.append(worker)
        try:
            worker.pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerLostError(
                "a process that decodes ended before its first file; see what it said above"
            ) from error
        self._own.worker = worker
        return worker

    def _bury(self, worker: _Worker) -> int | None:
        """The exit code of a process that is gone."""
        del self._own.worker
        worker.pipe.close()
        worker.process.join()
        with self._lock:
            self._workers.remove(worker)
        return worker.process.exitcode


def _hire(prepare: Preparer) -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, prepare), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(pipe: Connection, prepare: Preparer) -> None:
    """Prepare what comes, until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    cv2.setNumThreads(1)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send("ready")
        while True:
            task = pipe.recv()
            try:
                answer: Outcome | Exception = prepare(task)
            except Exception as error:  # noqa: BLE001  # raised where the outcome is asked for
                answer = error
            pipe.send(answer)


def _reject_fatal(task: ScoringTask) -> Rejection:
    error = refusal(
        Verdict.UNDECODABLE,
        task.name,
        found="a picture that ended the process that decoded it, and another one again",
        expected="one that can be decoded",
        advice="fetch the file again; if it is whole, please report it",
    )
    return Rejection(task.name, str(task.path), error.code, error.sentence)
