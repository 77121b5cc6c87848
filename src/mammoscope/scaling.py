"""Where the work runs: this process, or this machine's cores."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from mammoscope.errors import MammoscopeError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def count_cores() -> int:
    """The cores that this process may use: its affinity, not the machine's number."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # None means that the platform cannot tell


def run_tasks(function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], *, n_workers: int) -> Iterator[ResultT]:
    """The results of a function over tasks, each as soon as it is there, in any order.

    One worker means this process. More are processes with one thread each; function and tasks must pickle. What is
    still at work is given up when the iterator is closed. An error of a task is raised here.

    Raises:
        MammoscopeError: a worker process was ended from outside.
    """
    if n_workers <= 1:
        yield from map(function, tasks)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    results = parallel(joblib.delayed(function)(task) for task in tasks)
    try:
        for result in results:  # noqa: UP028  # `yield from` would close the results before the filter below is set
            yield result
    except TerminatedWorkerError as error:
        raise MammoscopeError(
            f"one of {n_workers} worker processes was ended from outside, most often for lack of memory; "
            "the same command goes on where it was, with fewer processes: --workers 1"
        ) from error
    finally:
        with warnings.catch_warnings():
            # whoever stops early knows it; joblib would warn of the unused results on stderr
            warnings.simplefilter("ignore", UserWarning)
            results.close()
