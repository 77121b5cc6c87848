"""Runs with random weights, their exported networks, and predictions without a command: what these tests share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference import inputs
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.collect import Prediction, collect_prediction
from mammoscope.inference.decoders import Decoders, decode_here
from mammoscope.inference.export import export_run
from mammoscope.inference.exported import Export
from mammoscope.inference.journal import keep_journal
from mammoscope.inference.pace import Pace
from mammoscope.inference.predict import Pipeline
from mammoscope.inference.reading import ScoringTask
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.run import Run, start_run
from mammoscope.learning.table_inputs import fit_table_encoder, write_table_encoder
from mammoscope.learning.table_layer import TableLayer, TableTensors
from mammoscope.learning.training import write_weights

PREPARE = PrepareSettings(rows=64, columns=32, bits=8)
MakeRun = Callable[..., Run]
OpenTorch = Callable[[Run], TorchEngine]
Predict = Callable[..., Prediction]


def _draw_pictures(n_pictures: int) -> list[CanvasPixels]:
    rng = np.random.default_rng(0)
    # of different contrast, because pictures of nothing but noise are all the same to a network
    return [(rng.random((64, 32)) ** (0.2 + number) * 255).astype(np.uint8) for number in range(n_pictures)]


def _spread_scores(network: CancerNetwork, spread: float) -> None:
    """Make the logits of pictures differ by so much, around zero."""
    inputs = torch.from_numpy(np.stack(_draw_pictures(8)))[:, None].float() / 255
    table = None if network.table_layer is None else _empty_table(network.table_layer, len(inputs))
    last = network.head[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        logits = network.eval()(inputs, table).cancer
        last.weight *= spread / logits.std()
        last.bias.copy_((last.bias - logits.mean()) * spread / logits.std())


def _empty_table(layer: TableLayer, n_pictures: int) -> TableTensors:
    widths = [each.embedding_dim for each in layer.embeddings if isinstance(each, torch.nn.Embedding)]
    numbers = torch.zeros(n_pictures, layer.layer.in_features - sum(widths))
    return TableTensors(numbers, torch.zeros(n_pictures, len(widths), dtype=torch.int64))


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe_path: Path) -> MakeRun:
    """A run of folds with random weights, and tables fitted to rows where it is given some."""

    def make(
        *assignments: str, rows: pl.DataFrame | None = None, n_folds: int = 2, spread: float = 1.0, **made_from: str
    ) -> Run:
        recipe = read_recipe(str(tiny_recipe_path), list(assignments))
        folder = tmp_path_factory.mktemp("made") / "run"
        run = start_run(folder, recipe, PREPARE, made_from={"manifest_hash": "m", "store_hash": "s", **made_from})
        for fold in range(n_folds):
            encoder = None if rows is None else fit_table_encoder(rows, recipe.table)
            torch.manual_seed(fold)
            network = build_network(run.recipe, encoder)
            _spread_scores(network, spread)
            write_weights(network, run.weights_path(fold))
            if encoder is not None:
                write_table_encoder(encoder, run.table_path(fold))
        return run

    return make


@pytest.fixture(scope="session")
def attentive(make_run: MakeRun) -> Run:
    """A run whose views are weighed by attention, and whose pictures are scored with all flips; not to be changed."""
    return make_run("level=breast", "views.combine=attention", "scoring.flips=all")


@pytest.fixture(scope="session")
def exported(attentive: Run) -> Export:
    """Its networks as ONNX and for OpenVINO, in f32; not to be changed."""
    return export_run(attentive.path, attentive.path.parent / "export", formats=("onnx", "openvino"), n_pictures=4)


@pytest.fixture(scope="session")
def open_torch() -> OpenTorch:
    """Torch's engine of a run, in f32."""

    def open_(run: Run) -> TorchEngine:
        return TorchEngine(open_bundle(run.path, torch.device("cpu")), "f32")

    return open_


@pytest.fixture(scope="session")
def pictures() -> Sequence[CanvasPixels]:
    """Sixteen, (row, column) each."""
    return _draw_pictures(16)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes do is tested by name; they take long to start."""
    monkeypatch.setattr(inputs, "decode_apart", lambda tasks, **_: decode_here(tasks))


@pytest.fixture
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predict:
    """The prediction of tasks by all networks of a bundle."""

    def run(
        bundle: Bundle,
        tasks: Sequence[ScoringTask],
        decode: Decoders = decode_here,
        *,
        batch_size: int = 4,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Prediction:
        folder = tmp_path_factory.mktemp("journal")
        with keep_journal(folder, {}, is_resumed=False) as journal:
            pipeline = Pipeline(
                open_engine=TorchEngine(bundle).choose,
                n_networks=len(bundle.networks),
                decode=decode,
                journal=journal,
                pace=Pace(None, clock=lambda: 0.0),
                batch_size=batch_size,
                part_size=2 * batch_size,
                has_table=bool(bundle.encoders),
                advance=advance,
            )
            assert pipeline.score(tasks)
            return collect_prediction(
                journal.read(),
                tasks,
                n_networks=len(bundle.networks),
                combination=bundle.recipe.views.combine,
                encoders=bundle.encoders,
            )

    return run
