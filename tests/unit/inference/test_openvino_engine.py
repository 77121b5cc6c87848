"""Scores by OpenVINO are those of torch, whatever they stand in a batch with, and need no torch."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from torch.nn import functional

from mammoscope.errors import ConfigError, MammoscopeError, RunError
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.export import export_run
from mammoscope.inference.exported import Export, ExportRecord
from mammoscope.inference.openvino_engine import load_openvino, open_openvino_engine, to_grey
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.batches import to_network_input
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.run import Run

MakeRun = Callable[..., Run]
OpenTorch = Callable[[Run], TorchEngine]
Pictures = Sequence[CanvasPixels]

WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "lightning", "pytorch_lightning", "nncf", "onnx"}:
            raise ModuleNotFoundError(f"blocked: {name}")

sys.meta_path.insert(0, Blocker())
import json
import numpy as np
from mammoscope.inference.engine import open_engine

engine = open_engine(Path(sys.argv[1]))
pictures = list(np.fromfile(sys.argv[2], np.uint8).reshape(-1, 64, 32))
scores = [logits.probabilities.tolist() for logits in engine.score(pictures)]
print(json.dumps({"scores": scores, "telemetry": bool(sys.modules.get("openvino_telemetry"))}))
"""


def _greatest(one: Sequence[PictureLogits], other: Sequence[PictureLogits]) -> float:
    assert len(one) == len(other)
    return max(float(np.abs(a.probabilities - b.probabilities).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_probabilities_and_weights_of_views_are_those_of_torch(
    attentive: Run, exported: Export, open_torch: OpenTorch, pictures: Pictures, format_: str
) -> None:
    expected = open_torch(attentive).score(pictures)
    found = open_openvino_engine(exported, format_=format_).score(pictures)  # type: ignore[arg-type]  # parametrised
    assert np.ptp(expected[0].probabilities) > 0.2
    assert np.ptp(expected[0].view) > 1e-4
    assert np.abs(expected[0].probabilities - expected[1].probabilities).max() > 0.01
    assert _greatest(expected, found) < 1e-5
    for one, other in zip(expected, found, strict=True):
        assert other.view == pytest.approx(one.view, abs=1e-5)
        assert one.features is not None
        assert other.features is not None
        assert other.features.shape == one.features.shape == (len(pictures), 96)
        assert np.ptp(one.features, axis=0).max() > 0.01
        np.testing.assert_allclose(other.features, one.features, atol=1e-4)


def test_features_are_of_each_picture_as_it_is(attentive: Run, exported: Export, pictures: Pictures) -> None:
    """Not of the last of its mirror images, nor of their mean."""
    (network, _) = open_bundle(attentive.path, torch.device("cpu")).networks
    with torch.no_grad():
        grey = torch.from_numpy(np.stack(pictures))[:, None].float() / 255
        expected = network.pooling(network.look(grey))
    (found, _) = open_openvino_engine(exported).score(pictures)
    assert found.features == pytest.approx(expected.numpy(), abs=1e-4)


def test_networks_that_were_exported_without_features_score_as_before(
    exported: Export, pictures: Pictures, tmp_path: Path
) -> None:
    openvino = load_openvino()
    for network in exported.record.networks:
        model = openvino.Core().read_model(exported.network_path(network))
        model.remove_result(model.output("features").get_node())
        openvino.save_model(model, tmp_path / f"fold-{network.fold}.xml", compress_to_fp16=False)
    found = open_openvino_engine(Export(tmp_path, exported.record)).score(pictures)
    assert _greatest(open_openvino_engine(exported).score(pictures), found) < 1e-7
    assert [logits.features for logits in found] == [None, None]


def test_features_in_int8_are_not_given_because_they_are_not_those_of_training(
    exported: Export, pictures: Pictures
) -> None:
    (found, _) = open_openvino_engine(exported, precision="int8").score(pictures[:1])
    assert found.features is None


def test_a_score_does_not_depend_on_what_it_stands_in_a_batch_with(exported: Export, pictures: Pictures) -> None:
    engine = open_openvino_engine(exported, n_threads=2)
    together = engine.score(pictures)
    alone = [engine.score([picture]) for picture in pictures]
    backwards = engine.score(pictures[::-1])
    one_thread = open_openvino_engine(exported, n_threads=1).score(pictures)
    for place, logits in enumerate(together):
        assert [each[place].cancer[0] for each in alone] == logits.cancer.tolist()
        assert backwards[place].cancer[::-1].tolist() == logits.cancer.tolist()
        assert one_thread[place].cancer.tolist() == pytest.approx(logits.cancer.tolist(), abs=1e-6)


def test_bf16_is_as_near_as_that_of_torch(
    attentive: Run, exported: Export, open_torch: OpenTorch, pictures: Pictures
) -> None:
    """To f32, in the root mean square of the logits; rounding falls differently, so that twice as far is as near."""
    exact = open_torch(attentive)
    expected = [logits.cancer for logits in exact.score(pictures)]
    found = [logits.cancer for logits in open_openvino_engine(exported, precision="bf16").score(pictures)]
    of_torch = [logits.cancer for logits in replace(exact, asked="bf16").score(pictures)]
    far, allowed = (float(np.sqrt(np.mean(np.subtract(each, expected) ** 2))) for each in (found, of_torch))
    assert 0 < allowed < np.std(expected) / 2
    assert far <= 2 * allowed


def test_an_engine_says_what_it_is_of(attentive: Run, exported: Export) -> None:
    engine = open_openvino_engine(exported)
    assert (engine.name, engine.precision, engine.folder) == ("openvino", "f32", exported.path)
    assert (engine.recipe, engine.prepare, engine.encoders) == (attentive.recipe, attentive.prepare, ())
    assert list(engine.weights_by_fold) == [0, 1]
    assert list(engine.choose([1]).weights_by_fold) == [1]


# the table


@pytest.mark.parametrize("columns", [("age_years", "density", "view"), ("age_years",), ("density", "implant")])
def test_networks_are_given_the_table_as_in_torch(
    make_run: MakeRun, open_torch: OpenTorch, pictures: Pictures, tmp_path: Path, columns: tuple[str, ...]
) -> None:
    seen = pl.DataFrame(
        {
            "image_id": ["a", "b", "c", "d"],
            "age_years": [40.0, 50.0, 60.0, 70.0],
            "density": ["A", "B", "C", "C"],
            "implant": [True, False, False, None],
            "view": ["CC", "MLO", "CC", "MLO"],
        }
    )
    run = make_run(
        f"table.columns={list(columns)}", "table.hidden=32", "picture.held_out_rows=48", "picture.held_out_columns=40",
        rows=seen, n_folds=1,
    )  # fmt: skip
    rows = pl.concat([seen, seen.with_columns(age_years=pl.lit(None, pl.Float64), density=pl.lit("D"))])
    engine = open_openvino_engine(export_run(run.path, tmp_path / "export", n_pictures=2))
    expected = open_torch(run).score(pictures[:8], rows)
    assert _greatest(expected, engine.score(pictures[:8], rows)) < 1e-5
    others = open_torch(run).score(pictures[:8], rows[::-1])
    assert _greatest(expected, others) > 1e-3  # so that a table that is not given would be seen
    assert engine.encoders == open_torch(run).encoders
    with pytest.raises(MammoscopeError, match="network: found no table beside the pictures"):
        engine.score(pictures)


# the pictures


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "size", [(64, 32), (32, 16), (48, 20), (100, 70), (64, 31), (17, 33), (64, 64)], ids=lambda size: f"{size}"
)
def test_pictures_come_to_a_size_as_in_torch(dtype: type[np.uint8], size: tuple[int, int]) -> None:
    stored = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (64, 32), dtype=dtype, endpoint=True)
    stored[0, 0] = np.iinfo(dtype).max
    grey = torch.from_numpy(stored)[None, None].double() / np.iinfo(dtype).max
    exact = functional.interpolate(grey, size=size, mode="bilinear", antialias=True)[0, 0].numpy()
    found = to_grey(stored, size)
    assert found.dtype == np.float32
    n_weighed = 2 * math.ceil(max(1, stored.shape[0] / size[0], stored.shape[1] / size[1])) + 1
    assert found == pytest.approx(exact, abs=2 * (n_weighed + 3) * 2**-24)  # each step of both sums rounds
    in_torch = to_network_input(torch.from_numpy(stored)[None], rows=size[0], columns=size[1])[0, 0].numpy()
    assert in_torch == pytest.approx(exact, abs=1e-5)  # the same, but for its own rounding


# without torch


def test_exported_networks_need_no_torch_and_tell_nobody(exported: Export, pictures: Pictures, tmp_path: Path) -> None:
    np.stack(pictures[:3]).tofile(tmp_path / "pictures")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported.path), str(tmp_path / "pictures")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["telemetry"] is False
    expected = open_openvino_engine(exported).score(pictures[:3])
    assert said["scores"] == [pytest.approx(logits.probabilities.tolist(), abs=1e-7) for logits in expected]


def test_onnx_files_are_read_by_others(
    attentive: Run, exported: Export, open_torch: OpenTorch, pictures: Pictures
) -> None:
    looks = np.stack(pictures)[:5, None].astype(np.float32) / 255
    turned = [looks, looks[..., ::-1], looks[..., ::-1, :], looks[..., ::-1, ::-1]]
    for fold, expected in enumerate(open_torch(attentive).score(pictures[:5])):
        session = onnxruntime.InferenceSession(exported.path / f"fold-{fold}.onnx")
        said = [session.run(["cancer", "view"], {"picture": np.ascontiguousarray(each)}) for each in turned]
        assert np.mean([each[0] for each in said], axis=0) == pytest.approx(expected.cancer, abs=1e-4)
        assert np.mean([each[1] for each in said], axis=0) == pytest.approx(expected.view, abs=1e-4)


def test_openvino_that_is_not_installed_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"openvino is not installed; install it with `uv pip install openvino`"):
        load_openvino()


def test_a_network_that_openvino_cannot_read_is_refused(exported: Export, tmp_path: Path) -> None:
    (tmp_path / "fold-0.xml").write_text("<net>")
    record: ExportRecord = exported.record.model_copy(update={"networks": exported.record.networks[:1]})
    with pytest.raises(RunError, match=r"fold-0\.xml: OpenVINO cannot compute this network"):
        open_openvino_engine(Export(tmp_path, record))
