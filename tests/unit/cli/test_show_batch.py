import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mammoscope.cohort.manifest import read_manifest, write_manifest
from mammoscope.learning import training

CliRun = Callable[..., tuple[int, str, str]]
Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(run_cli: CliRun, tiny_recipe_path: Path, tiny_cohort: Path, tiny_store_path: Path) -> Show:
    """Run `mammoscope train --show-batch` on the tiny cohort; exit code, stdout, stderr."""

    def run(target: Path, *arguments: object, cohort: Path = tiny_cohort) -> tuple[int, str, str]:
        data = ("--cohort", cohort, "--store", tiny_store_path)
        return run_cli("train", tiny_recipe_path, *data, "--show-batch", target, *arguments)

    return run


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as sheet:
        return np.asarray(sheet)


def test_the_sheet_of_the_first_fold_is_written_and_nothing_is_trained(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train_fold", None)  # any call would fail
    code, out, err = show(tmp_path / "sheet.png", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts == {
        "recipe": facts["recipe"],
        "fold": 0,
        "pictures": 4,
        "cases": facts["cases"],
        "sheet": str(tmp_path / "sheet.png"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert _pixels(tmp_path / "sheet.png").shape[2] == 3


def test_a_run_folder_that_is_named_is_not_made(show: Show, tmp_path: Path) -> None:
    assert show(tmp_path / "sheet.png", "-o", tmp_path / "run")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_fold_seed_and_recipe_decide_what_is_shown(show: Show, tmp_path: Path) -> None:
    ways: dict[str, tuple[object, ...]] = {
        "first": (),
        "again": (),
        "fold": ("--fold", 1),
        "seed": ("--set", "seed=5"),
        "changed": ("--set", "augment.gamma=0.9"),
        "larger": ("--set", "batch.size=8"),
    }
    for name, arguments in ways.items():
        assert show(tmp_path / f"{name}.png", *arguments)[0] == 0
    sheets = {name: _pixels(tmp_path / f"{name}.png") for name in ways}
    assert np.array_equal(sheets["first"], sheets["again"])
    for name in ("fold", "seed", "changed", "larger"):
        assert not np.array_equal(sheets["first"], sheets[name]), name


def test_nobody_is_named(show: Show, tmp_path: Path) -> None:
    _, out, err = show(tmp_path / "sheet.png")
    assert "patient" not in out + err
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.info == {}


def test_a_cohort_without_folds_ends_with_2(show: Show, tiny_cohort: Path, tmp_path: Path) -> None:
    unsplit = read_manifest(tiny_cohort).with_columns(pl.lit(None, pl.Int64).alias("fold"))
    write_manifest(unsplit, tmp_path / "unsplit")
    code, out, err = show(tmp_path / "sheet.png", cohort=tmp_path / "unsplit")
    assert (code, out) == (2, "")
    assert err == "error: manifest: fold is empty; split the cohort first with `mammoscope split`\n"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sheet.jpg", "sheet.jpg: expected the name of a file that ends in .png; give one"),
        ("folder.png", "folder.png: expected the name of a file that ends in .png; give one"),
        ("file/sheet.png", "file: found a file, expected a folder; name another"),
    ],
)
def test_a_path_that_cannot_be_written_ends_with_2_and_leaves_nothing(
    show: Show, tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    code, out, err = show(tmp_path / name)
    assert (code, out) == (2, "")
    assert sentence in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--fold", 7), "error: fold 7: the manifest has none of that number, only 0, 1"),
        (("--set", "batch.size=40"), "batch.size: found 40, but fold 0 has only 16 images to train on"),
        (("--set", "store.rows=512"), "the store has rows = 64, the recipe asks for store.rows = 512"),
        (("--print-recipe",), "train: found --print-recipe and --show-batch, expected one of them; leave one out"),
    ],
)
def test_what_cannot_be_shown_ends_with_2(
    show: Show, tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    code, out, err = show(tmp_path / "sheet.png", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "sheet.png").exists()


def test_without_cohort_or_store_it_ends_with_2(run_cli: CliRun, tmp_path: Path, tiny_cohort: Path) -> None:
    for data in ((), ("--cohort", tiny_cohort)):
        code, _, err = run_cli("train", "tiny", *data, "--show-batch", tmp_path / "sheet.png")
        assert code == 2
        assert "expected --cohort and --store with --show-batch; give both" in err
