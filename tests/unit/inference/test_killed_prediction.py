"""A prediction that is killed again and again comes to the scores of one in peace; by a suite of the benchmarks."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
N_FILES = 60
CliRun = Callable[..., tuple[int, str, str]]


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # a benchmark is no package
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("predict_killed")
    monkeypatch.setattr(module, "_MOST_AHEAD_S", 0.05)  # of so few files, all may be done in a longer wait
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="kills as Unix does")
def test_nothing_is_lost_and_nothing_is_twice(
    suite: Any,  # noqa: ANN401  # as above
    run_cli: CliRun,
    tmp_path: Path,
) -> None:
    scene = suite.set_scene(tmp_path, n_files=N_FILES, seed=1, n_workers=1, n_folds=1)
    assert (scene.n_files, scene.n_broken) == (N_FILES, 2)
    kept = suite.disturb(scene, tmp_path / "disturbed", n_kills=2, seed=1, options=("--workers", 1))
    assert len(kept) == 2
    assert 1 <= kept[0] < kept[1] <= 4
    summaries = []
    for name in ("disturbed", "undisturbed"):
        given = (scene.run, scene.images, "--table", scene.table, "-o", tmp_path / name, "--resume", "--json")
        code, out, err = run_cli("predict", *given)
        assert code == 0, err
        summaries.append(json.loads(out))
    assert [summary["images_scored"] for summary in summaries] == [N_FILES - 2] * 2
    assert not (tmp_path / "disturbed" / "parts").exists()
    assert suite.compare(tmp_path / "disturbed", tmp_path / "undisturbed") == {
        "n_only_in_one": 0,
        "largest_difference": 0.0,
        "different_tables": [],
    }
    submissions = [(tmp_path / name / "submission.csv").read_bytes() for name in ("disturbed", "undisturbed")]
    assert submissions[0] == submissions[1]
