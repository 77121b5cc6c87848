"""Where the work runs: this process, processes on this machine's cores, or an existing Ray or Dask cluster."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from multiprocessing import get_context
from typing import Any, Literal, TypeVar, get_args

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from mammoscope.errors import UserInputError, WorkerLostError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

Backend = Literal["local", "ray", "dask"]

_AHEAD = 2  # tasks for each worker that are handed out before they are due
# loky replaces a worker that has grown by 300 MB, which a decoder of large pictures may, and loses nothing
_GROWN_WORKER = "A worker stopped while some jobs were given to the executor"


def count_cores() -> int:
    """The cores that this process may use: its affinity, not the machine's number."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # None means that the platform cannot tell


def run_tasks(  # noqa: PLR0913  # all but two are keywords
    function: Callable[[TaskT], ResultT],
    tasks: Sequence[TaskT],
    *,
    n_workers: int,
    is_apart: bool = False,
    backend: str = "local",
    cluster: str | None = None,
) -> Iterator[ResultT]:
    """The results of a function over tasks, each as soon as it is there, in any order.

    What is still at work is given up when the iterator is closed. An error of a task is raised here.

    Args:
        function: it and the tasks must pickle where there are worker processes.
        tasks: what to work on.
        n_workers: on this machine, one means this process, more mean processes with one thread each. Dask takes all
            workers of its cluster.
        is_apart: one worker is a process of its own too, so that this one outlives it.
        backend: `local` for this machine, `ray` or `dask` for a cluster that runs already and sees the same files.
        cluster: its address; without one, as those libraries find it (RAY_ADDRESS, DASK_SCHEDULER_ADDRESS).

    Raises:
        WorkerLostError: a worker process ended in its work.
        UserInputError: an unknown backend, one whose extra is not installed, or no cluster at the address.
    """
    if backend not in get_args(Backend):
        raise UserInputError(f"--backend: found {backend!r}, expected {', '.join(get_args(Backend))}")
    if backend == "local" and cluster is not None:
        raise UserInputError(f"--cluster: found {cluster}, expected none for this machine; add --backend ray or dask")
    if backend == "ray":
        return _run_on_ray(function, tasks, n_workers=n_workers, address=cluster)
    if backend == "dask":
        return _run_on_dask(function, tasks, address=cluster)
    if n_workers > 1:
        return _run_on_cores(function, tasks, n_workers=n_workers)
    return _run_apart(function, tasks) if is_apart else map(function, tasks)


def _run_on_cores(function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], *, n_workers: int) -> Iterator[ResultT]:
    warnings.filterwarnings("ignore", message=_GROWN_WORKER, category=UserWarning)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered", pre_dispatch=_AHEAD * n_workers)
    guarded = partial(_run_for_parent, os.getpid(), function)
    results = parallel(joblib.delayed(guarded)(task) for task in tasks)
    try:
        for result in results:  # noqa: UP028  # `yield from` would close the results before the filter below is set
            yield result
    except TerminatedWorkerError as error:
        raise _lost(n_workers) from error
    finally:
        with warnings.catch_warnings():
            # whoever stops early knows it; joblib would warn of the unused results on stderr
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _run_apart(function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT]) -> Iterator[ResultT]:
    """One process beside this one; the standard library's, as joblib would fall back to this process."""
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    guarded = partial(_run_for_parent, os.getpid(), function)
    try:
        for task in tasks:
            yield executor.submit(guarded, task).result()
    except BrokenProcessPool as error:
        raise _lost(1) from error
    finally:
        for worker in list((executor._processes or {}).values()):  # noqa: SLF001  # there is no public way to end one at work
            worker.kill()
        executor.shutdown(cancel_futures=True)


def _run_for_parent(parent_pid: int, function: Callable[[TaskT], ResultT], task: TaskT) -> ResultT:
    """Run a task in a worker process, unless whoever wanted its result is gone."""
    _ignore_interrupts()
    if os.getppid() != parent_pid:
        os._exit(1)
    return function(task)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the process that ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_on_ray(
    function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], *, n_workers: int, address: str | None
) -> Iterator[ResultT]:
    """In rounds, as Ray's backend of joblib gives its results together; its actors stay from round to round."""
    ray = _import_extra("ray")
    is_ours = not ray.is_initialized()
    if is_ours:
        with _reaching("Ray", address):
            ray.init(address or os.environ.get("RAY_ADDRESS") or "auto", log_to_driver=False, logging_level="ERROR")
    import_module("ray.util.joblib").register_ray()
    with joblib.parallel_config(backend="ray"):
        parallel = joblib.Parallel(n_jobs=n_workers, batch_size=1, pre_dispatch="all")
    waiting = iter(tasks)
    try:
        with parallel:
            while chunk := list(islice(waiting, 2 * _AHEAD * n_workers)):
                yield from parallel(joblib.delayed(function)(task) for task in chunk)
    except ray.exceptions.RayActorError as error:
        raise _lost(n_workers) from error
    finally:
        if is_ours:
            ray.shutdown()


def _run_on_dask(
    function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], *, address: str | None
) -> Iterator[ResultT]:
    """By Dask's own client: its backend of joblib (1.6) waits for ever for a task whose worker died."""
    distributed = _import_extra("dask", module="distributed")
    with _reaching("Dask", address):
        client = _dask_client(distributed, address)
    n_workers = max(1, sum(client.ncores().values()))
    waiting = iter(tasks)
    submit = partial(client.submit, function, pure=False)
    try:
        first = [submit(task) for task in islice(waiting, _AHEAD * n_workers)]
        finished = distributed.as_completed(first, loop=client.loop)
        for future in finished:
            yield future.result()
            finished.update([submit(task) for task in islice(waiting, 1)])
    except distributed.KilledWorker as error:
        raise _lost(n_workers) from error
    finally:
        client.close()


def _dask_client(distributed: Any, address: str | None) -> Any:  # noqa: ANN401  # distributed ships no types
    found = address or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not found:
        raise ValueError("no address given, and DASK_SCHEDULER_ADDRESS is not set")
    return distributed.Client(found, set_as_default=False, timeout=10)


@contextmanager
def _reaching(name: str, address: str | None) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserInputError(
            f"--cluster: found no {name} cluster at {address or 'an address in the environment'} "
            f"({str(error).splitlines()[0]}), expected one that runs; start it, or work without --backend"
        ) from error


def _import_extra(extra: str, *, module: str | None = None) -> Any:  # noqa: ANN401  # neither ships types
    try:
        return import_module(module or extra)
    except ImportError as error:
        raise UserInputError(
            f"--backend {extra}: found it not installed, expected the extra {extra}; "
            f"install it with: pip install 'mammoscope[{extra}]'"
        ) from error


def _lost(n_workers: int) -> WorkerLostError:
    return WorkerLostError(
        f"one of {n_workers} worker processes was ended from outside, most often for lack of memory; "
        "the same command goes on where it was, with fewer processes: --workers 1"
    )
