"""Which engine computes a run, in what precision, and what of it is kept."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mammoscope.errors import ConfigError, RunError
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference import engine as engine_module
from mammoscope.inference import engine_cache
from mammoscope.inference import export as export_module
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.check_pictures import CheckPictures
from mammoscope.inference.engine import open_engine, score_pictures
from mammoscope.inference.exported import Export
from mammoscope.inference.openvino_engine import OpenVinoEngine
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.network import build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import write_weights

Pictures = Sequence[CanvasPixels]
RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_has_gpu", lambda: False)


@pytest.fixture
def run(attentive: Run, exported: Export, tmp_path: Path) -> Run:
    """A copy of a run with its export in f32 in the place where an engine looks for it."""
    path = Path(shutil.copytree(attentive.path, tmp_path / "run"))
    shutil.copytree(exported.path, path / "exported" / "openvino-f32")
    return Run(path, attentive.recipe, attentive.prepare, attentive.environment)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch, exported: Export) -> list[Path]:
    """The folders that are exported into; an export is stood for by one that was made before."""
    made: list[Path] = []

    def stand_in(_: Path, target: Path, *, precision: str, **__: object) -> Export:
        made.append(target)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(exported.path, target)
        record = exported.record.model_copy(update={"precision": precision})
        (target / "export.json").write_text(record.model_dump_json())
        return Export(target, record)

    monkeypatch.setattr(export_module, "export_run", stand_in)
    return made


def test_on_a_cpu_openvino_computes_what_is_exported_once(run: Run, exports: list[Path], pictures: Pictures) -> None:
    shutil.rmtree(run.path / "exported")
    first, second = (open_engine(run.path, precision="f32") for _ in range(2))
    assert exports == [run.path / "exported" / "openvino-f32"]
    assert (first.name, first.precision, first.folder, first.notes) == ("openvino", "f32", exports[0], ())
    for one, other in zip(first.score(pictures), second.score(pictures), strict=True):
        assert one.cancer.tolist() == other.cancer.tolist()


def test_a_run_with_other_weights_is_exported_anew(run: Run, exports: list[Path]) -> None:
    open_engine(run.path, precision="f32")
    assert exports == []
    torch.manual_seed(7)
    write_weights(build_network(run.recipe), run.weights_path(1))
    open_engine(run.path, precision="f32")
    assert len(exports) == 1


@pytest.mark.parametrize("name", ["fold-0.bin", "export.json"])
def test_an_export_that_is_torn_is_made_anew(run: Run, exports: list[Path], name: str) -> None:
    path = run.path / "exported" / "openvino-f32" / name
    path.write_bytes(path.read_bytes()[:-9])
    open_engine(run.path, precision="f32")
    assert len(exports) == 1


def test_precisions_are_kept_side_by_side(run: Run, exports: list[Path]) -> None:
    assert open_engine(run.path, precision="bf16").precision == "bf16"
    assert open_engine(run.path, precision="f32").precision == "f32"
    assert [path.name for path in exports] == ["openvino-bf16"]


def test_a_run_that_cannot_be_written_to_is_exported_elsewhere(
    run: Run, exports: list[Path], pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(run.path / "exported")
    monkeypatch.setattr(os, "access", lambda *_: False)
    engine = open_engine(run.path, precision="f32")
    assert not (run.path / "exported").exists()
    assert not exports[0].exists()  # gone again
    assert len(engine.score(pictures[:2])) == 2


# auto


def _pretend(monkeypatch: pytest.MonkeyPatch, *, seconds: dict[str, float], difference: float = 0.0) -> list[str]:
    """Measure what is given in place of what is; the precisions that are measured."""
    measured: list[str] = []

    def stand_in(engine: OpenVinoEngine, pictures: CheckPictures) -> tuple[list[PictureLogits], float]:
        measured.append(engine.precision)
        tilt = np.full(len(pictures.pictures), 4 * difference if engine.precision == "bf16" else 0.0)
        return [PictureLogits(tilt, np.zeros(len(tilt)))], seconds[engine.precision]

    monkeypatch.setattr(engine_cache, "_time", stand_in)
    monkeypatch.setattr(engine_cache, "_computes_in_bf16", lambda: True)
    return measured


@pytest.mark.parametrize(
    ("seconds_bf16", "difference", "expected"),
    [(0.5, 0.005, "bf16"), (0.5, 0.011, "f32"), (0.99, 0.0, "f32"), (2.0, 0.0, "f32")],
    ids=["faster and near", "far", "hardly faster", "slower"],
)
def test_auto_is_bf16_where_it_is_faster_and_near(
    run: Run, monkeypatch: pytest.MonkeyPatch, seconds_bf16: float, difference: float, expected: str
) -> None:
    measured = _pretend(monkeypatch, seconds={"f32": 1.0, "bf16": seconds_bf16}, difference=difference)
    assert open_engine(run.path).precision == expected
    assert open_engine(run.path).precision == expected
    assert measured == ["f32", "bf16"]  # once
    choice = json.loads((run.path / "exported" / "openvino-auto.json").read_text())
    assert choice["precision"] == expected
    assert choice["greatest_difference"] == pytest.approx(difference, abs=1e-4)


def test_auto_measures_anew_on_another_machine_and_where_the_record_is_torn(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = _pretend(monkeypatch, seconds={"f32": 1.0, "bf16": 0.5})
    open_engine(run.path)
    path = run.path / "exported" / "openvino-auto.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": "another"}))
    open_engine(run.path)
    path.write_text("{")
    open_engine(run.path)
    assert measured == ["f32", "bf16"] * 3


def test_auto_is_f32_where_the_cpu_has_no_bf16(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _pretend(monkeypatch, seconds={"f32": 1.0, "bf16": 0.5})
    monkeypatch.setattr(engine_cache, "_computes_in_bf16", lambda: False)
    assert open_engine(run.path).precision == "f32"
    assert measured == []


def test_auto_measures_what_engines_do(run: Run) -> None:
    engine = open_engine(run.path)
    assert engine.precision in {"f32", "bf16"}
    choice = engine_cache._read_choice(run.path / "exported" / "openvino-auto.json")
    assert choice is None or (choice.precision == engine.precision and choice.greatest_difference < 0.01)


# torch


def test_torch_computes_where_it_is_asked_for(run: Run, pictures: Pictures) -> None:
    engine = open_engine(run.path, engine="torch", precision="f32")
    assert (engine.name, engine.precision, engine.folder) == ("torch", "f32", run.path)
    bundle = open_bundle(run.path, torch.device("cpu"))
    assert open_engine(run.path, engine="torch", precision="bf16").precision == "bf16"
    assert dict(engine.weights_by_fold) == dict(open_engine(run.path, precision="f32").weights_by_fold)
    for one, other in zip(engine.score(pictures), score_pictures(bundle, pictures), strict=True):
        assert one.cancer.tolist() == other.cancer.tolist()  # the recipe is in f32


def test_torch_computes_where_there_is_a_gpu(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_has_gpu", lambda: True)
    assert open_engine(run.path).name == "torch"
    assert open_engine(run.path, device="cpu", precision="f32").name == "openvino"


def test_torch_computes_where_openvino_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None if name == "openvino" else name)
    assert open_engine(run.path).name == "torch"
    monkeypatch.setitem(sys.modules, "openvino", None)
    for precision, engine in (("int8", "auto"), ("f32", "openvino")):
        with pytest.raises(ConfigError, match="openvino is not installed; install it with `uv pip install openvino`"):
            open_engine(run.path, precision=precision, engine=engine)  # type: ignore[arg-type]  # of a loop


def test_torch_computes_what_openvino_cannot_and_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Export:
        raise ConfigError("export: OpenVINO cannot convert this network (too new); compute it with --engine torch")

    monkeypatch.setattr(export_module, "export_run", fail)
    shutil.rmtree(run.path / "exported")
    engine = open_engine(run.path)
    assert engine.name == "torch"
    (note,) = engine.notes
    assert note.startswith("computed by torch, and not by OpenVINO: export: OpenVINO cannot convert this network")
    with pytest.raises(ConfigError, match="too new"):
        open_engine(run.path, precision="int8")
    with pytest.raises(ConfigError, match="too new"):
        open_engine(run.path, engine="openvino")


# what is refused


def test_weights_that_were_tampered_with_are_refused_by_each_engine(run: Run) -> None:
    run.weights_hash_path(0).write_text("0" * 64)
    for engine in ("auto", "torch", "openvino"):
        with pytest.raises(RunError, match="found other weights than the training wrote"):
            open_engine(run.path, engine=engine)


def test_what_cannot_be_had_together_is_refused(run: Run, exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--engine openvino computes on the CPU: found --device cuda"):
        open_engine(run.path, engine="openvino", device="cuda")
    with pytest.raises(ConfigError, match="found int8, in which torch does not compute"):
        open_engine(run.path, engine="torch", precision="int8")
    with pytest.raises(ConfigError, match="found cuda, but torch can use no GPU here"):
        open_engine(run.path, device="cuda")
    with pytest.raises(ConfigError, match="exported networks, which OpenVINO computes on the CPU, and --engine torch"):
        open_engine(exported.path, engine="torch")
    with pytest.raises(ConfigError, match="exported networks, which OpenVINO computes on the CPU, and --device cuda"):
        open_engine(exported.path, device="cuda")
    with pytest.raises(ConfigError, match="exported and checked in f32, expected int8; export them with --prec"):
        open_engine(exported.path, precision="int8")


def test_a_run_without_a_trained_fold_is_refused_by_each_engine(
    recipe_of: RecipeOf, start_tiny_run: StartRun, tmp_path: Path
) -> None:
    path = start_tiny_run(recipe_of()).path
    with pytest.raises(RunError, match="no fold of this run is trained"):
        open_engine(path)
    with pytest.raises(RunError, match=r"not a run folder, environment\.json is missing"):
        open_engine(tmp_path / "nowhere")


def test_torch_that_is_not_installed_is_named_with_the_way_to_install_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(ConfigError, match="torch is not installed; install it with `uv pip install torch`"):
        open_engine(run.path, engine="torch")
