"""Prepared pictures to scores by OpenVINO, from exported networks: neither torch nor timm is needed.

Each picture is computed by itself, in as many streams as there are threads, so that its score does not depend on what
it stands in a batch with.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from mammoscope.errors import ConfigError, MammoscopeError, RunError
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.exported import Export, Format, Precision, input_size
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.settings import Recipe, with_flips
from mammoscope.learning.table_inputs import EncodedTable, TableEncoder

Grey = NDArray[np.float32]
Inputs = dict[str, NDArray[Any]]

OUTPUTS: Final = ("cancer", "view", "features")
"""What an exported network gives, by name: logits of cancer, weights of views where it has them, and its features."""
_NO_FEATURES: Final = (
    "these networks were exported by an earlier version, without features, which are not held against those of "
    "training; export them anew"
)
_MOST_STREAMS: Final = 8  # each has the memory of a picture's features, and batches have no more than a few pictures
_HINT_BY_PRECISION: Final[dict[Precision, str]] = {"f32": "f32", "bf16": "bf16", "int8": "f32"}
_TURNS_BY_FLIPS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "none": ((1, 1),),
    "horizontal": ((1, 1), (1, -1)),
    "all": ((1, 1), (1, -1), (-1, 1), (-1, -1)),
}
"""The steps along rows and columns for each look at a picture, as `learning.scoring` looks."""


@dataclass(frozen=True, slots=True)
class CompiledNetwork:
    """The network of a fold, ready to compute.

    Attributes:
        fold: that it was kept from.
        weights_sha256: of its weights.
        queue: of the requests of each stream.
        outputs: its names of `OUTPUTS`, in its own order.
        encoder: of its table, if it is given one.
        keeps_features: whether they are given back.
    """

    fold: int
    weights_sha256: str
    queue: Any  # openvino's AsyncInferQueue
    outputs: tuple[str, ...]
    encoder: TableEncoder | None
    keeps_features: bool

    def compute(self, inputs: Sequence[Inputs], n_looks: int) -> PictureLogits:
        """What it says of pictures in the mean over so many looks at each, which stand together."""
        said: list[dict[str, NDArray[Any]]] = [{}] * len(inputs)

        def take(request: Any, place: int) -> None:  # noqa: ANN401  # openvino ships no types
            tensors = zip(self.outputs, request.output_tensors, strict=True)
            said[place] = {name: tensor.data[0].copy() for name, tensor in tensors}  # the next request writes there

        self.queue.set_callback(take)
        for place, each in enumerate(inputs):
            self.queue.start_async(each, place)
        self.queue.wait_all()
        spoken = [(each["cancer"], each.get("view", 0.0)) for each in said]  # few networks weigh views
        cancer, view = np.array(spoken, dtype=float).reshape(-1, n_looks, 2).mean(axis=1).T  # (picture,) each
        if not self.keeps_features:
            return PictureLogits(cancer, view)
        return PictureLogits(cancer, view, np.array([each["features"] for each in said[::n_looks]], dtype=np.float32))


@dataclass(frozen=True, slots=True)
class OpenVinoEngine:
    """The networks of an export, compiled for this machine's CPU."""

    export: Export
    networks: tuple[CompiledNetwork, ...]
    precision: Precision
    notes: tuple[str, ...] = ()
    flips: str | None = None

    @property
    def name(self) -> str:
        """What computes."""
        return "openvino"

    @property
    def folder(self) -> Path:
        """The folder of the export."""
        return self.export.path

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run, with the mirror images that were asked for."""
        return with_flips(self.export.record.recipe, self.flips)

    @property
    def is_on_gpu(self) -> bool:
        """Never."""
        return False

    @property
    def prepare(self) -> PrepareSettings:
        """How the pictures of the run were prepared."""
        return self.export.record.prepare

    @property
    def encoders(self) -> tuple[TableEncoder, ...]:
        """The encoders of the tables of all folds, empty without any."""
        return tuple(network.encoder for network in self.networks if network.encoder is not None)

    @property
    def weights_by_fold(self) -> dict[int, str]:
        """The SHA-256 of the weights of each fold that is computed."""
        return {network.fold: network.weights_sha256 for network in self.networks}

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> list[PictureLogits]:
        """What each network says of prepared pictures, (row, column) each, with their features.

        Raises:
            MammoscopeError: the networks are given a table, and there are no rows, or the other way round.
            TableError: a number of the table is not finite.
        """
        size, flips = input_size(self.recipe, self.prepare), self.recipe.scoring.flips
        logits = []
        for network in self.networks:
            inputs = list_inputs(pictures, rows, encoder=network.encoder, size=size, flips=flips)
            logits.append(network.compute(inputs, len(_TURNS_BY_FLIPS[flips])))
        return logits

    def choose(self, places: Sequence[int]) -> "OpenVinoEngine":
        """The same with some of its networks, by their places."""
        return replace(self, networks=tuple(self.networks[place] for place in places))

    def look(self, flips: str) -> "OpenVinoEngine":
        """The same with other mirror images than the recipe says."""
        return replace(self, flips=flips)


def list_inputs(
    pictures: Sequence[CanvasPixels],
    rows: pl.DataFrame | None,
    *,
    encoder: TableEncoder | None,
    size: tuple[int, int],
    flips: str,
) -> list[Inputs]:
    """What a network is given for each look at each picture, all looks at a picture together.

    Raises:
        MammoscopeError: the network is given a table, and there are no rows.
        TableError: a number of the table is not finite.
    """
    greys = [to_grey(picture, size) for picture in pictures]
    tables = _split_table(_encode(encoder, rows), len(greys))
    return [
        {"picture": np.ascontiguousarray(grey[::down, ::right])[None, None], **(table or {})}
        for grey, table in zip_longest(greys, tables)
        for down, right in _TURNS_BY_FLIPS[flips]
    ]


def open_openvino_engine(
    export: Export, *, precision: Precision | None = None, format_: Format | None = None, n_threads: int | None = None
) -> OpenVinoEngine:
    """The engine of exported networks; `n_threads` are the cores to compute on, all that there are without it.

    Raises:
        ConfigError: openvino is not installed.
        RunError: it cannot read a network.
    """
    openvino = load_openvino()
    chosen = precision or export.record.precision
    n_cores = n_threads or _count_cores()
    options = {
        "INFERENCE_PRECISION_HINT": _HINT_BY_PRECISION[chosen],
        "NUM_STREAMS": str(min(n_cores, _MOST_STREAMS)),
        "INFERENCE_NUM_THREADS": str(n_cores),
        "ENABLE_CPU_PINNING": "NO",  # decoders work on the same cores
    }
    core = openvino.Core()
    networks = []
    for network in export.record.networks:
        path = export.network_path(network, format_)
        try:
            model = core.read_model(path)
            model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
            compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"{path}: OpenVINO cannot compute this network ({reason}); export anew") from error
        queue = openvino.AsyncInferQueue(compiled, min(n_cores, _MOST_STREAMS))
        outputs = tuple(port.get_any_name() for port in compiled.outputs)
        keeps = "features" in outputs and chosen != "int8"  # whose features are not those of training any more
        networks.append(CompiledNetwork(network.fold, network.weights_sha256, queue, outputs, network.table, keeps))
    notes = () if all("features" in network.outputs for network in networks) else (_NO_FEATURES,)
    return OpenVinoEngine(export, tuple(networks), chosen, notes)


def load_openvino() -> ModuleType:
    """The package, without its telemetry: importing it would tell its maker of it over the network.

    Raises:
        ConfigError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None refuses the import, as Python says
    try:
        import openvino  # noqa: PLC0415  # torch alone serves where it is not installed
    except ImportError as error:
        raise ConfigError(
            "--engine openvino: the package openvino is not installed; install it with "
            "`uv pip install openvino`, or compute with --engine torch"
        ) from error
    module: ModuleType = openvino
    return module


def to_grey(picture: CanvasPixels, size: tuple[int, int]) -> Grey:
    """A stored picture (row, column) as floats in [0, 1] of a size, as `learning.batches.to_network_input` gives it."""
    grey = picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)
    if grey.shape == size:
        return grey
    down, across = (_interpolation(n_from, n_to) for n_from, n_to in zip(grey.shape, size, strict=True))
    return np.asarray((across @ (down @ grey).T).T, dtype=np.float32)


def _interpolation(n_from: int, n_to: int) -> sparse.csr_array:
    """The matrix (to, from) of a linear change of size, each place the mean under a triangle: torch's antialiasing."""
    scale = n_from / n_to
    reach = max(scale, 1.0)
    centres = (np.arange(n_to) + 0.5) * scale  # (to,), in pixels of the source, whose centres are at halves
    first = np.clip((centres - reach + 0.5).astype(np.int64), 0, None)
    last = np.clip((centres + reach + 0.5).astype(np.int64), None, n_from)
    places = [np.arange(*ends) for ends in zip(first, last, strict=True)]
    weights = [
        np.clip(1 - np.abs(each + 0.5 - centre) / reach, 0, None) for each, centre in zip(places, centres, strict=True)
    ]
    values = np.concatenate([each / each.sum() for each in weights]).astype(np.float32)
    ends = np.concatenate([[0], np.cumsum([len(each) for each in places])])
    return sparse.csr_array((values, np.concatenate(places), ends), shape=(n_to, n_from))


def _encode(encoder: TableEncoder | None, rows: pl.DataFrame | None) -> EncodedTable | None:
    if encoder is None:
        return None
    if rows is None:
        raise MammoscopeError(
            "network: found no table beside the pictures, expected what the columns of the recipe say; give it what it "
            "learned"
        )
    return encoder.encode(rows)


def _split_table(table: EncodedTable | None, n_pictures: int) -> list[Inputs]:
    """The inputs of each picture beside it; none that is empty, because exported networks have none such."""
    if table is None:
        return []
    parts = {name: values for name, values in table._asdict().items() if values.shape[1]}
    return [{name: values[[place]] for name, values in parts.items()} for place in range(n_pictures)]


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
