import os
import sys
import time
from collections.abc import Generator

import pytest

from mammoscope.errors import ImageRefusedError, UserInputError, WorkerLostError
from mammoscope.scaling import count_cores, run_tasks


def square(number: int) -> int:
    return number * number


def place_of_work(_: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def refuse_two(number: int) -> int:
    if number == 2:
        raise ImageRefusedError("odd", "2: refused")
    return number


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_task_gives_its_result_once(n_workers: int) -> None:
    assert sorted(run_tasks(square, range(20), n_workers=n_workers)) == [number**2 for number in range(20)]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_no_task_gives_no_result(n_workers: int) -> None:
    assert list(run_tasks(square, [], n_workers=n_workers)) == []


@pytest.mark.parametrize("n_workers", [-1, 0, 1])
def test_one_worker_is_this_process(n_workers: int) -> None:
    assert {pid for pid, _ in run_tasks(place_of_work, [1, 2], n_workers=n_workers)} == {os.getpid()}


def test_workers_are_other_processes_with_one_thread() -> None:
    places = set(run_tasks(place_of_work, range(8), n_workers=2))
    assert os.getpid() not in {pid for pid, _ in places}
    assert {threads for _, threads in places} == {"1"}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_error_of_a_task_arrives_whole(n_workers: int) -> None:
    with pytest.raises(ImageRefusedError, match="2: refused") as caught:
        list(run_tasks(refuse_two, range(4), n_workers=n_workers))
    assert caught.value.code == "odd"


def test_one_worker_begins_with_no_task_before_it_is_asked() -> None:
    begun: list[int] = []
    results = run_tasks(begun.append, [1, 2, 3], n_workers=1)
    assert begun == []
    next(results)
    assert begun == [1]


def test_stopping_early_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    results = run_tasks(square, range(50), n_workers=2)
    assert isinstance(results, Generator)
    next(results)
    results.close()
    assert "UserWarning" not in capfd.readouterr().err


def test_there_is_a_core() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)


def test_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert count_cores() == 3


@pytest.mark.parametrize(("told", "expected"), [(6, 6), (None, 1)])
def test_without_affinity_the_cores_are_the_machines(
    monkeypatch: pytest.MonkeyPatch, told: int | None, expected: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: told)
    assert count_cores() == expected


def end_process(number: int) -> int:
    if number == 2:
        os.abort()
    return number


def grow(number: int) -> int:
    """Take more memory than loky lets a worker grow by, and long enough for it to look."""
    if number > 1 and not hasattr(sys, "ballast"):
        sys.ballast = bytearray(b"1") * (320 << 20)  # type: ignore[attr-defined]  # kept by the worker
    time.sleep(0.35)
    return number


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_worker_that_ends_is_told(n_workers: int) -> None:
    sentence = f"one of {n_workers} worker processes was ended from outside, .* --workers 1"
    with pytest.raises(WorkerLostError, match=sentence):
        list(run_tasks(end_process, range(4), n_workers=n_workers, is_apart=True))


def test_one_worker_apart_is_another_process() -> None:
    pids = {pid for pid, _ in run_tasks(place_of_work, [1, 2], n_workers=1, is_apart=True)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_worker_that_grows_is_replaced_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert sorted(run_tasks(grow, range(8), n_workers=2)) == list(range(8))
    assert capfd.readouterr().err == ""


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UserInputError, match="--backend: found 'slurm', expected local, ray, dask"):
        run_tasks(square, [1], n_workers=1, backend="slurm")


def test_a_cluster_without_a_backend_is_refused() -> None:
    with pytest.raises(UserInputError, match="--cluster: found tcp://there, expected none for this machine"):
        run_tasks(square, [1], n_workers=1, cluster="tcp://there")


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_backend_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setitem(sys.modules, {"ray": "ray", "dask": "distributed"}[backend], None)
    with pytest.raises(UserInputError, match=rf"the extra {backend}; .* pip install 'mammoscope\[{backend}\]'"):
        list(run_tasks(square, [1], n_workers=1, backend=backend))
