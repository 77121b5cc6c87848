import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mammoscope.inference.engine import open_engine
from mammoscope.learning.run import Run

CliRun = Callable[..., tuple[int, str, str]]


def test_a_run_is_exported_and_opened_again(run_cli: CliRun, random_run: Run, tmp_path: Path) -> None:
    shutil.rmtree(random_run.fold_path(1))
    code, out, err = run_cli("export", random_run.path, "-o", tmp_path / "out", "--to", "openvino, onnx", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts.pop("greatest_difference_onnx") < 1e-4
    assert facts.pop("greatest_difference_openvino") < 1e-4
    assert 1 < facts.pop("megabytes") < 100
    assert facts == {
        "folds": "0",
        "formats": "onnx, openvino",
        "precision": "f32",
        "pictures_compared": 16,
        "folder": str(tmp_path / "out"),
    }
    assert "warning: checked on drawn pictures, because the store of the training is not there" in err
    engine = open_engine(tmp_path / "out")
    assert (engine.name, list(engine.weights_by_fold)) == ("openvino", [0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--to", "tflite"], "error: --to: found 'tflite', expected onnx, openvino, or onnx,openvino"),
        (["--to", ""], "error: --to: found ''"),
        (["--precision", "int8"], "found no prepared store, expected one to calibrate int8 on; give it with --store"),
        (["--store", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    run_cli: CliRun, random_run: Run, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    code, out, err = run_cli("export", random_run.path, "-o", tmp_path / "out", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_refused(run_cli: CliRun, tmp_path: Path) -> None:
    code, _, err = run_cli("export", tmp_path, "-o", tmp_path / "out")
    assert code == 2
    assert "not a run folder, environment.json is missing" in err
