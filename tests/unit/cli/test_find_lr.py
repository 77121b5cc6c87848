import json
from collections.abc import Callable
from pathlib import Path

import cv2
import polars as pl
import pytest
import torch

from mammoscope.learning import training
from mammoscope.learning.batches import Batch
from mammoscope.learning.task import TrainingTask

CliRun = Callable[..., tuple[int, str, str]]


@pytest.fixture
def find_lr(  # noqa: PLR0913, PLR0917  # fixtures
    run_cli: CliRun,
    tiny_recipe_path: Path,
    tiny_cohort: Path,
    tiny_store_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> CliRun:
    """Run `mammoscope find-lr` on the tiny cohort, in an empty folder; exit code, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments: object) -> tuple[int, str, str]:
        data = ("--cohort", tiny_cohort, "--store", tiny_store_path)
        return run_cli("find-lr", tiny_recipe_path, *data, *arguments)

    return run


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_rate_is_proposed_and_the_curve_drawn_and_nothing_else_is_left(find_lr: CliRun, tmp_path: Path) -> None:
    code, out, err = find_lr("--json")
    assert code == 0, err
    facts = json.loads(out)
    assert 1e-6 <= facts["rate"] < 0.1
    assert facts["add"] == f"--set optimizer.rate={facts['rate']:g}"
    assert (facts["picture"], facts["points"], facts["fold"]) == ("find-lr.png", "find-lr.csv", 0)
    assert _files(tmp_path / "here") == ["find-lr.csv", "find-lr.png"]
    points = pl.read_csv(tmp_path / "here" / "find-lr.csv")
    assert points.height == facts["steps"]
    least = points.sort("smoothed_loss")["rate"][0]
    assert facts["rate"] == pytest.approx(0.1 * least, rel=0.05)
    picture = cv2.imread(str(tmp_path / "here" / "find-lr.png"))
    assert picture is not None
    assert picture.std() > 10


def test_the_same_command_gives_the_same_rate_and_the_line_to_add(find_lr: CliRun) -> None:
    (_, first, _), (_, second, _) = find_lr(), find_lr()
    assert first == second
    assert "--set optimizer.rate=" in first


def test_the_options_say_what_is_tested(find_lr: CliRun, tmp_path: Path) -> None:
    arguments = ("--fold", 1, "--from", 1e-5, "--to", 0.5, "--steps", 60, "-o", tmp_path / "deep" / "curve.svg")
    code, out, err = find_lr("--json", *arguments)
    assert (code, json.loads(out)["fold"]) == (0, 1), err
    points = pl.read_csv(tmp_path / "deep" / "curve.csv")
    assert points["rate"][0] == pytest.approx(1e-5)
    assert points["rate"][1] == pytest.approx(1e-5 * 5e4 ** (1 / 59))
    assert "proposed" in (tmp_path / "deep" / "curve.svg").read_text()


@pytest.mark.parametrize(("assignment", "in_memory"), [("batch.micro=auto", 2), ("batch.micro=1", 1)])
def test_as_many_examples_are_in_memory_as_fit_or_as_the_recipe_says(
    find_lr: CliRun, monkeypatch: pytest.MonkeyPatch, assignment: str, in_memory: int
) -> None:
    seen: list[int] = []
    compute = TrainingTask.training_step

    def watch(task: TrainingTask, batch: Batch, batch_index: int) -> torch.Tensor:
        seen.append(len(batch.targets))
        return compute(task, batch, batch_index)

    monkeypatch.setattr(training, "choose_micro", lambda *_, **__: 2)
    monkeypatch.setattr(TrainingTask, "training_step", watch)
    find_lr("--set", assignment, "--steps", 50)
    assert set(seen) == {in_memory}


def test_where_no_rate_can_be_proposed_the_curve_shows_why(find_lr: CliRun, tmp_path: Path) -> None:
    code, out, err = find_lr("--to", 1e-5, "--json")
    assert (code, out) == (2, "")
    assert "error: optimizer.rate: none can be proposed: " in err
    assert "try a higher --to" in err
    assert err.endswith("; find-lr.png shows the curve\n")
    assert _files(tmp_path / "here") == ["find-lr.csv", "find-lr.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--fold", 7), "error: fold 7: the manifest has none of that number, only 0, 1"),
        (("--set", "batch.size=40"), "batch.size: found 40, but fold 0 has only 16 images to train on"),
        (("--set", "store.rows=512"), "the store has rows = 64, the recipe asks for store.rows = 512"),
        (("--weights", "nowhere.safetensors"), "weights nowhere.safetensors: cannot be read"),
        (("--steps", 49), "49 steps: expected 50 or more; give others with --steps"),
        (("--from", 1.0), "rates from 1 to 1: expected numbers above 0, the first below the second"),
        (("-o", "curve"), "curve: expected a picture that ends in .pdf, .png, .svg; name another with -o"),
    ],
)
def test_what_cannot_be_tested_ends_with_2_and_one_sentence_and_no_file(
    find_lr: CliRun, tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    code, out, err = find_lr(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert _files(tmp_path / "here") == []
