"""One cohort through every command, as a user types them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, roc_auc_score

from mammoscope.cohort.manifest import read_manifest
from mammoscope.evaluation.scores import read_scores
from mammoscope.learning import training

CliRun = Callable[..., tuple[int, str, str]]

RECIPE = """
epochs = 2
precision = "f32"
ema = 0.8
[backbone]
name = "test_resnet"
weights = "none"
[augment]
flip_horizontal = 0.5
[batch]
size = 4
"""


def _list_pairs(report: Path) -> list[tuple[str, str]]:
    """What each two pictures of the most telling calls are, which stand side by side."""
    shown = re.findall(r'alt="(Mammogram|Heat map of) \w+', report.read_text())
    return list(zip(shown[::2], shown[1::2], strict=True))


def _files(folder: Path) -> list[str]:
    """All but the curves, whose names say when and where they were written, and what depends on the processor."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.parent.name != "curves"]
    return sorted(str(path) for path in files if len(path.parts) < 3 or path.parts[0] != "exported")


def test_the_whole_way_from_files_to_evidence_and_a_submission(
    run_cli: CliRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    trained_on: dict[int, set[str]] = {}
    select = training.select_rows

    def select_and_note(*arguments: object, **options: object) -> tuple[pl.DataFrame, pl.DataFrame]:
        rows = select(*arguments, **options)  # type: ignore[arg-type]  # passed on as they come
        trained_on[int(str(options["fold"]))] = set(rows[0]["patient_id"])
        return rows

    monkeypatch.setattr(training, "select_rows", select_and_note)

    def run(*arguments: object) -> str:
        code, out, err = run_cli(*arguments)
        assert code == 0, err
        return out

    Path("tiny.toml").write_text(RECIPE)
    cohort = ("--patients", 12, "--prevalence", 0.5, "--seed", 2, "--held-out", 1, "--scale", 0.1)
    run("synthesize", "data", *cohort, "--workers", 1)
    run("index", "rsna", "--table", "data/train.csv", "--images", "data/train_images", "-o", "cohort")
    run("prepare", "cohort", "-o", "store", "--size", "64x32", "--bits", 8, "--workers", 1)
    run("split", "cohort", "--folds", 2)
    train = ("train", "tiny.toml", "--cohort", "cohort", "--store", "store", "-o", "run")
    run(*train)
    evaluate = ("evaluate", "run", "--replicates", 100)
    run(*evaluate)
    predict = ("predict", "run", "data/test_images", "--table", "data/test.csv", "-o", "out", "--workers", 1)
    run(*predict)

    fold = ["history.csv", "scores.parquet", "weights.safetensors", "weights.sha256"]
    assert _files(Path("run")) == [
        *("claim.md", "environment.json", "evaluation.json", "exported/openvino-auto.json"),
        *(f"folds/{number}/{name}" for number in range(2) for name in fold),
        *(
            "model-card.md",
            "operating_points.json",
            "prepare.toml",
            "recipe.toml",
            "report.html",
            "scores.parquet",
            "training_range.json",
        ),
    ]
    assert _files(Path("out")) == [
        *(f"decisions.{suffix}" for suffix in ("csv", "jsonl", "parquet")),
        *("prepared.parquet", "rejected.parquet"),
        *(f"scores.{suffix}" for suffix in ("csv", "jsonl", "parquet")),
        *("submission.csv", "summary.json"),
    ]

    manifest, scores = read_manifest(Path("cohort")), read_scores(Path("run/scores.parquet"))
    assert set(scores["schema_version"]) == {1}
    assert sorted(scores["image_id"].drop_nulls()) == sorted(manifest["image_id"])
    for number in range(2):
        held_out = set(scores.filter(pl.col("fold") == number)["patient_id"])
        assert len(held_out) == 6
        assert not held_out & trained_on[number]
        assert trained_on[number] | held_out == set(manifest["patient_id"])
    assert set(scores.select("image_id", "cancer").drop_nulls("image_id").iter_rows()) == set(
        manifest.select("image_id", "cancer").iter_rows()
    )

    levels = json.loads(Path("run/evaluation.json").read_text())["levels"]
    breasts = scores.group_by("exam_id", "laterality").agg(pl.col("score").mean(), pl.col("cancer").first())
    truth, score = breasts["cancer"].to_list(), breasts["score"].to_list()
    assert levels["breast"]["auc"]["value"] == pytest.approx(roc_auc_score(truth, score))
    assert levels["breast"]["average_precision"]["value"] == pytest.approx(average_precision_score(truth, score))
    assert set(_list_pairs(Path("run/report.html"))) == {("Mammogram", "Heat map of")}

    submission = pl.read_csv("out/submission.csv")
    assert submission.columns == ["prediction_id", "cancer"]
    assert sorted(submission["prediction_id"]) == sorted(set(pl.read_csv("data/test.csv")["prediction_id"]))
    assert submission["cancer"].is_between(0, 1).all()

    weights = {number: load_file(f"run/folds/{number}/weights.safetensors") for number in range(2)}
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())

    before = {
        path: Path(path).read_bytes() for path in (*(f"run/{name}" for name in _files(Path("run"))), "out/scores.csv")
    }
    for command in (train, evaluate, predict):
        run(*command)
    changed = [path for path, content in before.items() if Path(path).read_bytes() != content]
    assert changed == []
