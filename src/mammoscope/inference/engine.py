"""What computes the scores of prepared pictures: torch, or OpenVINO where there is no GPU. Callers need not know which.

Nothing here loads torch before it is needed, so that a folder of exported networks serves without it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import polars as pl

from mammoscope.errors import ConfigError, RunError
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.engine_cache import open_cached_engine
from mammoscope.inference.exported import is_export, open_export
from mammoscope.inference.openvino_engine import OpenVinoEngine, open_openvino_engine
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.run import Run, open_run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder

if TYPE_CHECKING:
    from mammoscope.inference.bundle import Bundle

DeviceName = Literal["auto", "cpu", "cuda"]
EngineName = Literal["auto", "torch", "openvino"]
PrecisionName = Literal["auto", "f32", "bf16", "int8"]

# what a Linux machine with a GPU for torch has: of NVIDIA, of AMD, of Windows below it
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


class Scorer(Protocol):
    """Networks that are ready to score."""

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> list[PictureLogits]:
        """What each network says of prepared pictures, (row, column) each; with their features, but for int8.

        `rows` has the columns of the table for each picture, where the networks are given them.

        Raises:
            MammoscopeError: the networks are given a table, and there are no rows.
            TableError: a number of the table is not finite.
        """


class Engine(Scorer, Protocol):
    """The networks of a run, ready to score pictures.

    Attributes:
        name: what computes, `torch` or `openvino`.
        precision: in what, `f32`, `bf16`, `f16` or `int8`.
        folder: the run, or the folder of its exported networks; both may hold `operating_points.json`.
        recipe: that of the run.
        prepare: how pictures are prepared for it.
        encoders: of the tables of its networks, empty where they are given none.
        weights_by_fold: the SHA-256 of the weights of each network, in the order of the scores.
        notes: sentences that the user should hear, such as why it is not what is usual.
        is_on_gpu: whether batches may be large.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  # the class says it, as of all below
    @property
    def precision(self) -> str: ...  # noqa: D102
    @property
    def folder(self) -> Path: ...  # noqa: D102
    @property
    def recipe(self) -> Recipe: ...  # noqa: D102
    @property
    def prepare(self) -> PrepareSettings: ...  # noqa: D102
    @property
    def encoders(self) -> tuple[TableEncoder, ...]: ...  # noqa: D102
    @property
    def weights_by_fold(self) -> Mapping[int, str]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def is_on_gpu(self) -> bool: ...  # noqa: D102

    def choose(self, places: Sequence[int]) -> "Engine":
        """The same with some of its networks, by their places, in this order."""

    def look(self, flips: str) -> "Engine":
        """The same with other mirror images than the recipe's `scoring.flips` says."""


OpenEngine = Callable[[Sequence[int]], Scorer]
"""What scores by the networks at these places among a run's, in this order."""


def open_engine(
    folder: Path,
    *,
    device: DeviceName = "auto",
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    n_threads: int | None = None,
) -> Engine:
    """The engine of a run, or of a folder of exported networks.

    `auto` is torch on a GPU and OpenVINO on a CPU where it is installed; its precision is bf16 where the CPU computes
    in it, is faster so, and no probability differs by more than 0.01, else f32. What OpenVINO computes of a run is
    exported once, checked against torch, and kept in the run. `n_threads` are the cores for OpenVINO, all without it.

    Raises:
        RunError: no run, one without a trained fold, weights that are torn or others, or an export that is.
        ConfigError: what is asked for is not installed, or cannot be had together.
    """
    if device == "cuda" and engine == "openvino":
        raise ConfigError("--engine openvino computes on the CPU: found --device cuda; leave one of them out")
    if is_export(folder):
        return _open_export(folder, device=device, engine=engine, precision=precision, n_threads=n_threads)
    run = open_run(folder)
    if not run.trained_folds:
        raise RunError(f"{folder}: no fold of this run is trained; finish `mammoscope train` first")
    if engine == "openvino":
        return open_cached_engine(run, precision, n_threads=n_threads)
    if engine == "torch" or device == "cuda" or (device == "auto" and _has_gpu()):
        return _open_torch(folder, device, precision)
    return _open_on_cpu(run, precision, n_threads)


def score_pictures(
    bundle: "Bundle", pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None
) -> list[PictureLogits]:
    """What each network of a bundle says of prepared pictures, (row, column) each, by torch; as `Engine.score`."""
    from mammoscope.inference.torch_engine import TorchEngine  # noqa: PLC0415  # takes seconds, see above

    return TorchEngine(bundle).score(pictures, rows)


def _open_export(
    folder: Path, *, device: DeviceName, engine: EngineName, precision: PrecisionName, n_threads: int | None
) -> OpenVinoEngine:
    if engine == "torch" or device == "cuda":
        raise ConfigError(
            f"{folder}: found exported networks, which OpenVINO computes on the CPU, and "
            f"{'--device cuda' if device == 'cuda' else '--engine torch'}; leave it out, or give the run itself"
        )
    export = open_export(folder)
    if precision not in {"auto", export.record.precision}:
        raise ConfigError(
            f"{folder}: found networks that were exported and checked in {export.record.precision}, expected "
            f"{precision}; export them with --precision {precision}, or leave it out"
        )
    return open_openvino_engine(export, n_threads=n_threads)


def _open_on_cpu(run: Run, precision: PrecisionName, n_threads: int | None) -> Engine:
    """OpenVINO where it is installed and can compute the networks, else torch; int8 is OpenVINO's alone."""
    if precision != "int8" and find_spec("openvino") is None:
        return _open_torch(run.path, "cpu", precision)
    try:
        return open_cached_engine(run, precision, n_threads=n_threads)
    except (ConfigError, RunError) as error:
        if precision == "int8":
            raise
        # what is wrong with the run itself, torch refuses too
        return _open_torch(run.path, "cpu", precision, notes=(f"computed by torch, and not by OpenVINO: {error}",))


def _open_torch(folder: Path, device: DeviceName, precision: PrecisionName, notes: tuple[str, ...] = ()) -> Engine:
    if find_spec("torch") is None:
        raise ConfigError(
            "--engine torch: the package torch is not installed; install it with `uv pip install torch`, or give a "
            "folder of exported networks"
        )
    from mammoscope.inference.torch_engine import open_torch_engine  # noqa: PLC0415  # takes seconds, see above

    return open_torch_engine(folder, device=device, precision=precision, notes=notes)


def _has_gpu() -> bool:
    """Whether torch can use a GPU; torch itself, which takes seconds to load, is asked only where there may be one."""
    if sys.platform == "linux" and not any(Path(name).exists() for name in _GPU_FILES):
        return False
    if find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415  # takes seconds, see above

    return torch.cuda.is_available()
