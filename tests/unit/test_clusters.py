"""The same store from a local Ray cluster and a local Dask cluster as from this process; both really run."""

import ctypes
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammoscope.errors import UserInputError, WorkerLostError
from mammoscope.imaging.batch import PrepareJob, prepare_store
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.scaling import run_tasks

SETTINGS = PrepareSettings(rows=64, columns=32)


@pytest.fixture
def jobs(tmp_path: Path) -> list[PrepareJob]:
    """Nine pictures, three shards."""
    row, column = np.mgrid[0:96, 0:80]
    for index in range(9):
        brightness = np.clip(3000 - 40 * np.hypot(row - 48, column) + index, 0, None)
        cv2.imwrite(str(tmp_path / f"{index}.png"), brightness.astype(np.uint16))
    return [PrepareJob(str(index), str(tmp_path / f"{index}.png")) for index in range(9)]


def _read_all(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def _prepare_both(jobs: list[PrepareJob], folder: Path, backend: str, cluster: str | None) -> None:
    for store, runner in (
        ("here", partial(run_tasks, n_workers=1)),
        ("there", partial(run_tasks, n_workers=2, backend=backend, cluster=cluster)),
    ):
        prepare_store(jobs, folder / store, SETTINGS, run_tasks=runner, advance=lambda _: None)
    assert _read_all(folder / "here") == _read_all(folder / "there")


END_PROCESS = ctypes.string_at  # a function that workers can import, given the address 0


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two workers, 80 MB of shared memory, nothing sent anywhere."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = pytest.importorskip("ray")
    folder = Path("/tmp", f"mammoscope-ray-{os.getpid()}")  # noqa: S108  # a socket's path is at most 107 bytes long
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of files and processes that it leaves to the collector
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 << 20,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder),
        )
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.filterwarnings("ignore")  # Ray's own, at moments of its own
def test_ray_gives_the_same_bytes(jobs: list[PrepareJob], tmp_path: Path, ray_cluster: None) -> None:
    del ray_cluster
    _prepare_both(jobs, tmp_path, "ray", None)
    with pytest.raises(WorkerLostError, match="one of 2 worker processes was ended"):
        list(run_tasks(END_PROCESS, [0, 0], n_workers=2, backend="ray"))


@pytest.mark.filterwarnings("ignore")  # Dask's own, at moments of its own
def test_dask_gives_the_same_bytes(jobs: list[PrepareJob], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.admin.tick.limit": "1h"}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(tmp_path / "dask"),
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        _prepare_both(jobs, tmp_path, "dask", cluster.scheduler_address)
        results = run_tasks(END_PROCESS, [0, 0], n_workers=2, backend="dask", cluster=cluster.scheduler_address)
        with pytest.raises(WorkerLostError, match="one of 2 worker processes was ended"):
            list(results)


def test_no_dask_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    run: Callable[..., Iterator[int]] = partial(run_tasks, abs, [1], n_workers=2, backend="dask")
    with pytest.raises(UserInputError, match="--cluster: found no Dask cluster at an address in the environment"):
        list(run())
    with pytest.raises(UserInputError, match="--cluster: found no Dask cluster at tcp:/127"):
        list(run(cluster="tcp:/127.0.0.1:1"))
