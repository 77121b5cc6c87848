"""A run to exported networks: what is written, what is checked, what is refused."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.manifest import read_manifest
from mammoscope.errors import ConfigError, RunError
from mammoscope.evaluation.scores import write_scores
from mammoscope.files import sha256_of_file
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.check_pictures import choose_pictures, find_store
from mammoscope.inference.export import export_run
from mammoscope.inference.export_check import measure_differences
from mammoscope.inference.exported import Export, is_export, open_export
from mammoscope.inference.openvino_engine import open_openvino_engine
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.run import Run
from mammoscope.learning.scoring import tabulate_scores

MakeRun = Callable[..., Run]


@pytest.fixture(scope="module")
def trained(make_run: MakeRun, tiny_cohort: Path, tiny_store_path: Path) -> Run:
    """A run of fold 0 that says which cohort and store it is of, with scores of its held-out images.

    Its own scores hardly differ, as those of random weights do: a precision then costs little.
    """
    run = make_run(n_folds=1, spread=0.05, cohort=str(tiny_cohort), store=str(tiny_store_path))
    rows = read_manifest(tiny_cohort).filter(pl.col("cancer").is_not_null(), pl.col("fold") == 0)
    logits = PictureLogits(np.linspace(-1, 1, rows.height), np.zeros(rows.height))
    write_scores(tabulate_scores(rows, logits, "mean"), run.fold_path(0) / "scores.parquet")
    (run.path / "operating_points.json").write_text("{}")
    return run


@pytest.fixture
def copy(exported: Export, tmp_path: Path) -> Path:
    """A copy of an export, to break."""
    return Path(shutil.copytree(exported.path, tmp_path / "copy"))


def test_the_record_says_what_was_exported_and_how_far_it_is_from_torch(attentive: Run, exported: Export) -> None:
    record = exported.record
    assert (record.schema_version, record.formats, record.precision) == (1, ("onnx", "openvino"), "f32")
    assert (record.recipe, record.prepare) == (attentive.recipe, attentive.prepare)
    assert {"mammoscope", "torch", "openvino"} <= record.versions.keys()
    assert record.share_of_cases is None  # nothing was held out
    for network in record.networks:
        assert network.weights_sha256 == sha256_of_file(attentive.weights_path(network.fold))
        assert set(network.files) == {f"fold-{network.fold}.{suffix}" for suffix in ("bin", "onnx", "xml")}
        assert all(sha256_of_file(exported.path / name) == value for name, value in network.files.items())
    for check, format_ in zip(record.checks, ("onnx", "openvino"), strict=True):
        assert (check.format, check.precision, check.pictures, check.n_pictures) == (format_, "f32", "drawn", 4)
        assert 0 <= check.mean_difference <= check.greatest_difference < 1e-5
        assert check.limit == 0.001
    names = {path.name for path in exported.path.iterdir()}
    assert names == {"export.json", *(name for network in record.networks for name in network.files)}
    assert json.loads((exported.path / "export.json").read_text())["what"] == "mammoscope export"


def test_an_export_stands_whole_or_not_at_all_when_a_network_says_something_else(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(engine: TorchEngine, pictures: Sequence[CanvasPixels], rows: pl.DataFrame) -> list[PictureLogits]:
        return [PictureLogits(logits.cancer + 0.1, logits.view) for logits in score(engine, pictures, rows)]

    score = TorchEngine.score
    monkeypatch.setattr(TorchEngine, "score", lie)
    expected = r"export to openvino in f32: found a probability that differs by 0\.02\d\d from torch on 4 pictures, "
    with pytest.raises(RunError, match=f"{expected}expected 0.001 at the most; compute with --engine torch"):
        export_run(trained.path, tmp_path / "export", n_pictures=4)
    assert list(tmp_path.iterdir()) == []


def test_int8_tells_its_loss_of_auc_on_the_held_out_fold_and_keeps_stdout_clean(
    trained: Run, tiny_store: PreparedStore, tmp_path: Path
) -> None:
    with redirect_stdout(io.StringIO()) as said:
        export = export_run(trained.path, tmp_path / "export", precision="int8", store=tiny_store, n_pictures=4)
    assert said.getvalue() == ""
    (check,) = export.record.checks
    assert (check.precision, check.pictures, check.limit) == ("int8", "store", None)
    assert 0 < check.greatest_difference < 0.2
    loss = check.auc_loss
    assert loss is not None
    assert (loss.fold, loss.n_breasts, loss.n_patients) == (0, 8, 4)
    assert loss.auc is not None
    assert loss.auc_f32 is not None
    assert loss.loss is not None
    assert loss.loss == pytest.approx(loss.auc_f32 - loss.auc)
    assert loss.low is not None
    assert loss.high is not None
    assert loss.low <= loss.loss <= loss.high
    assert loss.sentence.endswith(f"({loss.low:.3f} to {loss.high:.3f}) on 8 breasts of fold 0")
    assert "FakeQuantize" in (export.path / "fold-0.xml").read_text()
    assert export.record.share_of_cases == pytest.approx(2 / 8)
    assert (export.path / "operating_points.json").read_text() == "{}"
    scores = open_openvino_engine(export).score([tiny_store.read("0LCC")])
    assert 0 < scores[0].probabilities[0] < 1


def test_bf16_is_within_its_limit(trained: Run, tmp_path: Path) -> None:
    export = export_run(trained.path, tmp_path / "export", precision="bf16", n_pictures=4)
    (check,) = export.record.checks
    assert (export.record.precision, check.precision, check.limit) == ("bf16", "bf16", 0.01)
    assert check.greatest_difference < 0.01


def test_int8_without_a_store_is_refused(attentive: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"found no prepared store, expected one to calibrate int8 on; give it with"):
        export_run(attentive.path, tmp_path / "export", precision="int8")


def test_int8_without_nncf_is_refused_with_the_way_to_install_it(
    trained: Run, tiny_store: PreparedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigError, match=r"nncf is not installed; install it with `uv pip install 'mammoscope\[exp"):
        export_run(trained.path, tmp_path / "export", precision="int8", store=tiny_store, n_pictures=2)
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_package_is_refused_with_the_way_to_install_it(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not there
    with pytest.raises(ConfigError, match="--to onnx: the package onnxscript is not installed; install it with `uv"):
        export_run(trained.path, tmp_path / "export", formats=("onnx",))


def test_a_folder_that_holds_something_else_is_kept(attentive: Run, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("of mine")
    for target in (tmp_path, tmp_path / "notes"):
        with pytest.raises(RunError, match="stands there already and is no export; give another folder with -o"):
            export_run(attentive.path, target)
    assert (tmp_path / "notes").read_text() == "of mine"


def test_an_export_takes_the_place_of_another(trained: Run, copy: Path) -> None:
    export = export_run(trained.path, copy, n_pictures=2)
    assert [network.fold for network in export.record.networks] == [0]
    assert not (copy / "fold-1.xml").exists()
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


# what is opened again


@pytest.mark.parametrize("name", ["fold-0.bin", "fold-1.xml", "fold-1.onnx"])
def test_files_that_are_not_those_that_were_exported_are_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name}: found another file than was exported \(SHA-256 \w+…, expected"):
        open_export(copy)
    (copy / name).unlink()
    with pytest.raises(RunError, match=f"{name}: found no such file, expected the network that was exported"):
        open_export(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, r"export\.json: schema_version is 2, expected 1; export anew"),
        ({"precision": "f8"}, r"export\.json: precision: input should be"),
        ({"recipe": {}}, r"export\.json: recipe\.backbone: field required"),
        ({"surplus": 1}, r"export\.json: surplus: extra inputs are not permitted"),
    ],
)
def test_a_record_that_cannot_be_is_refused(copy: Path, changes: dict[str, object], message: str) -> None:
    path = copy / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(RunError, match=message):
        open_export(copy)


def test_a_record_that_is_torn_or_missing_is_refused(copy: Path) -> None:
    path = copy / "export.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(RunError, match=r"export\.json: not JSON; export anew"):
        open_export(copy)
    path.write_bytes(b"\xff")
    with pytest.raises(RunError, match=r"export\.json: not UTF-8 text; export anew"):
        open_export(copy)
    path.unlink()
    assert not is_export(copy)
    with pytest.raises(RunError, match=r"found no export\.json, expected exported networks; make them: mammoscope exp"):
        open_export(copy)


# the pictures of the check


def test_pictures_come_from_the_store_of_the_run_with_its_table(
    trained: Run, tiny_store: PreparedStore, tiny_cohort: Path
) -> None:
    store = find_store(trained, None)
    assert store is not None
    assert store.path == tiny_store.path
    chosen = choose_pictures(trained, store, 5)
    assert chosen.source == "store"
    ids = chosen.rows["image_id"].to_list()
    assert ids == [tiny_store.image_ids[place] for place in (0, 9, 18, 26, 35)]
    assert all(np.array_equal(tiny_store.read(each), found) for each, found in zip(ids, chosen.pictures, strict=True))
    known = read_manifest(tiny_cohort).filter(pl.col("image_id").is_in(ids)).sort("image_id")
    assert chosen.rows["view"].to_list() == known["view"].to_list()
    assert len(choose_pictures(trained, store, 100).pictures) == 36


def test_pictures_are_drawn_where_the_store_is_gone(attentive: Run) -> None:
    assert find_store(attentive, None) is None
    drawn, again = (choose_pictures(attentive, None, 3) for _ in range(2))
    assert drawn.source == "drawn"
    assert drawn.rows["view"].null_count() == 3
    for one, other in zip(drawn.pictures, again.pictures, strict=True):
        assert one.shape == (64, 32)
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)
        assert one[0, -1] == 0  # air
        assert 100 < one.max() <= 255


def test_a_store_of_other_pictures_is_refused(trained: Run, tiny_store: PreparedStore) -> None:
    other = replace(trained, prepare=PrepareSettings(rows=32, columns=32, bits=8))
    with pytest.raises(RunError, match="found pictures that were prepared otherwise than those of"):
        find_store(other, tiny_store.path)
    assert find_store(other, None) is None


def test_differences_are_those_of_pictures_and_of_breasts_of_two() -> None:
    zero = PictureLogits(np.zeros(3), np.zeros(3))
    tilted = PictureLogits(np.array([np.log(3), -np.log(3), 0.0]), np.array([5000.0, 0.0, 0.0]))
    assert measure_differences([zero], [tilted], "mean") == pytest.approx((0.25, 0.5 / 5))
    greatest, mean = measure_differences([zero], [tilted], "attention")  # all on the first picture: 0.75 against 0.5
    assert (greatest, mean) == pytest.approx((0.25, 0.75 / 5))
    broken = PictureLogits(np.array([np.nan, 0.0, 0.0]), np.zeros(3))
    assert measure_differences([zero, zero], [zero, broken], "mean")[0] == np.inf
