"""Runs a function over seeds in child processes and counts what came of each: an outcome, a crash or a hang."""

import multiprocessing
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

Judge = Callable[[int], str]  # seed to the name of its outcome; any exception is a failure

CHUNK = 50  # seeds that a child gets at once


@dataclass
class Tally:
    """What came of all seeds.

    Attributes:
        outcomes: how often each.
        failures: seed and what happened: an exception that is not foreseen, a crash, a hang.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def n_cases(self) -> int:
        """All seeds that came to an end, whatever the end."""
        return self.outcomes.total() + len(self.failures)


@dataclass
class _Child:
    process: BaseProcess
    pipe: Connection
    waiting: list[int]  # seeds that it has not answered yet, in its order
    since: float


def run_seeds(judge: Judge, n_cases: int, *, n_workers: int, longest_s: float) -> Tally:
    """The tally of seeds 0 to `n_cases` - 1.

    Args:
        judge: what is tried; it is called in forked child processes.
        n_cases: how many seeds.
        n_workers: child processes at a time.
        longest_s: a case that takes longer is a hang; its process is ended.
    """
    tally = Tally()
    left = list(range(n_cases))
    children: list[_Child] = []
    while left or children:
        while left and len(children) < n_workers:
            children.append(_start(judge, left[:CHUNK]))
            del left[:CHUNK]
        wait([child.pipe for child in children], timeout=0.2)
        for child in list(children):
            returned = _collect(child, tally, longest_s)
            if returned is not None:
                children.remove(child)
                left[:0] = returned
    return tally


def _start(judge: Judge, seeds: list[int]) -> _Child:
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(judge, list(seeds), theirs))
    process.start()
    theirs.close()
    return _Child(process, ours, list(seeds), time.monotonic())


def _answer(judge: Judge, seeds: list[int], pipe: Connection) -> None:
    with open(os.devnull, "w", encoding="ascii") as nowhere:  # noqa: PTH123  # libpng and OpenCV write what they think
        os.dup2(nowhere.fileno(), 2)
    for seed in seeds:
        try:
            pipe.send((True, judge(seed)))
        except BaseException as error:  # noqa: BLE001  # to find out what it raises is the purpose
            last = traceback.extract_tb(error.__traceback__)[-1]
            pipe.send((False, f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"))


def _collect(child: _Child, tally: Tally, longest_s: float) -> list[int] | None:
    """Count what a child has answered; the seeds that are left of a child that is gone, None while it works."""
    try:
        while child.waiting and child.pipe.poll():
            is_foreseen, outcome = child.pipe.recv()
            seed = child.waiting.pop(0)
            child.since = time.monotonic()
            if is_foreseen:
                tally.outcomes[outcome] += 1
            else:
                tally.failures.append((seed, outcome))
    except EOFError:  # it died
        child.process.join()
        tally.failures.append((child.waiting.pop(0), f"crash, exit code {child.process.exitcode}"))
        return child.waiting
    if child.waiting and time.monotonic() - child.since > longest_s:
        child.process.kill()
        tally.failures.append((child.waiting.pop(0), f"hang, longer than {longest_s:g} s"))
    elif child.waiting:
        return None
    child.process.join()
    return child.waiting
