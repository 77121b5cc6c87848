import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from mammoscope.cohort.manifest import manifest_path, read_manifest, write_manifest
from mammoscope.config import build_settings, parse_toml
from mammoscope.evaluation.operating_points import read_operating_points
from mammoscope.evaluation.scores import list_breasts, read_scores
from mammoscope.imaging.store import open_store
from mammoscope.learning import training
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.second_stage import read_second_stage
from mammoscope.learning.settings import Recipe

CliRun = Callable[..., tuple[int, str, str]]
Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(run_cli: CliRun, tiny_recipe_path: Path, tiny_cohort: Path, tiny_store_path: Path, tmp_path: Path) -> Train:
    """Run `mammoscope train` on the tiny cohort; exit code, stdout, stderr."""

    def run(*arguments: object, cohort: Path = tiny_cohort, recipe: object = tiny_recipe_path) -> tuple[int, str, str]:
        data = ("--cohort", cohort, "--store", tiny_store_path)
        return run_cli("train", recipe, *data, "-o", tmp_path / "run", *arguments)

    return run


def _write_changed(cohort: Path, target: Path, *changes: pl.Expr) -> Path:
    write_manifest(read_manifest(cohort).with_columns(*changes), target)
    return target


def test_all_folds_are_trained_and_what_is_done_is_not_done_again(
    train: Train, tmp_path: Path, tiny_cohort: Path, tiny_store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = train("--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts == {
        "recipe": facts["recipe"],
        "trained": "fold 0, fold 1",
        "images_scored": 32,
        "images_not_in_store": 0,
        "images_undetermined": 4,
        "run": str(tmp_path / "run"),
        "next": f"mammoscope evaluate {tmp_path / 'run'}",
    }
    scores = read_scores(tmp_path / "run" / "scores.parquet")
    fold_by_patient = dict(read_manifest(tiny_cohort).select("patient_id", "fold").iter_rows())
    assert all(fold_by_patient[patient] == fold for patient, fold in scores.select("patient_id", "fold").iter_rows())
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["cohort"] == str(tiny_cohort.resolve())
    assert environment["store_hash"] == open_store(tiny_store_path).content_hash

    monkeypatch.setattr(training, "train_fold", None)  # any call would fail
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert train("--json")[0] == 0
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files


def test_one_fold_is_trained_and_another_added(train: Train, tmp_path: Path) -> None:
    assert json.loads(train("--fold", 1, "--json")[1])["trained"] == "fold 1"
    assert set(read_scores(tmp_path / "run" / "scores.parquet")["fold"]) == {1}
    assert train("--fold", 0)[0] == 0
    assert set(read_scores(tmp_path / "run" / "scores.parquet")["fold"]) == {0, 1}


def test_thresholds_are_chosen_when_folds_are_done(train: Train, tmp_path: Path) -> None:
    path = tmp_path / "run" / "operating_points.json"
    assert train("--fold", 1)[0] == 0
    alone = read_operating_points(path)
    assert (alone.folds, alone.points[0].judged_on, alone.points[0].counts) == ((1,), "same data", None)
    assert train("--set", "operating_points.sensitivities=[0.5]")[0] == 0
    points = read_operating_points(path)
    assert (points.folds, points.replicates) == ((0, 1), 2000)
    assert points.named("sensitivity_50").judged_on == "held-out folds"
    breasts = list_breasts(read_scores(tmp_path / "run" / "scores.parquet"))
    assert (points.n_breasts, points.n_cases) == (breasts.height, breasts["cancer"].sum())


def test_a_second_stage_is_fitted_when_all_folds_are_done_and_may_be_changed(
    train: Train, tiny_cohort: Path, tmp_path: Path
) -> None:
    number = pl.col("patient_id").str.tail(1).cast(pl.Float64)
    aged = _write_changed(tiny_cohort, tmp_path / "aged", (50 + number).alias("age_years"))
    by_age = ("--set", "second_stage.columns=['age_years']", "--json")
    folder = tmp_path / "run" / "second_stage"
    assert json.loads(train("--fold", 0, *by_age, cohort=aged)[1])["second_stage"] == "waits for fold 1"
    assert not folder.exists()
    code, out, err = train(*by_age, cohort=aged)
    assert code == 0, err
    assert json.loads(out)["second_stage"].startswith("difference of breast AUC: ")
    assert read_second_stage(folder / "model.json").columns == ("age_years",)
    breasts = list_breasts(read_scores(tmp_path / "run" / "scores.parquet"))
    stacked = read_scores(folder / "scores.parquet")
    assert stacked.drop("score").equals(breasts.drop("score"))
    weights = (tmp_path / "run" / "folds" / "1" / "weights.safetensors").read_bytes()
    assert train("--set", "second_stage.columns=[]", cohort=aged)[0] == 0
    assert read_second_stage(folder / "model.json").columns == ()
    assert "second_stage" not in json.loads(train("--json", cohort=aged)[1])
    assert not folder.exists()
    assert (tmp_path / "run" / "folds" / "1" / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--set", "optimizer.rat=1"), "optimizer.rat: unknown key; did you mean 'rate'?"),
        (("--set", "optimizer.rate=fast"), "optimizer.rate: found 'fast'"),
        (("--fold", 7), "error: fold 7: the manifest has none of that number, only 0, 1"),
        (("--set", "batch.size=40"), "batch.size: found 40, but fold 0 has only 16 images to train on"),
        (("--set", "schedule.warm_up_epochs=3"), "schedule.warm_up_epochs: found 3, a warm-up of 12 steps"),
        (("--set", "precision=f16"), "precision: found f16, which is for GPUs"),
        (("--set", "store.rows=512"), "the store has rows = 64, the recipe asks for store.rows = 512"),
        (("--weights", "nowhere.safetensors"), "weights nowhere.safetensors: cannot be read"),
        (("--set", "backbone.weights=nowhere.safetensors"), "weights nowhere.safetensors: cannot be read"),
        (("--set", "second_stage.columns=['age_years']"), "second stage: age_years: empty in every row; leave it out"),
        (
            ("--set", "second_stage.columns=['site']"),
            "second_stage.columns: found ['site']; 'site' says where an image",
        ),
        (("--fold", -1), ""),
    ],
)
def test_what_cannot_be_ends_with_2_and_one_sentence_and_no_run_folder(
    train: Train, tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    code, out, err = train(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_ends_with_2(train: Train) -> None:
    code, _, err = train(recipe="huge")
    assert code == 2
    assert err.startswith("error: recipe huge: no such file, and not one of the recipes that ship: ")


@pytest.mark.parametrize("fold", [(), ("--fold", 0)])
def test_a_cohort_that_is_not_split_ends_with_2(
    train: Train, tiny_cohort: Path, tmp_path: Path, fold: tuple[object, ...]
) -> None:
    unsplit = _write_changed(tiny_cohort, tmp_path / "unsplit", pl.lit(None, pl.Int64).alias("fold"))
    code, _, err = train(*fold, cohort=unsplit)
    assert code == 2
    assert err == "error: manifest: fold is empty; split the cohort first with `mammoscope split`\n"


def test_a_patient_in_two_folds_ends_with_2(train: Train, tiny_cohort: Path, tmp_path: Path) -> None:
    leaking = read_manifest(tiny_cohort).with_columns(
        fold=pl.when(pl.col("image_id") == "3LCC").then(0).otherwise("fold").cast(pl.Int64)
    )
    (tmp_path / "leaking").mkdir()
    leaking.write_parquet(manifest_path(tmp_path / "leaking"))
    code, _, err = train(cohort=tmp_path / "leaking")
    assert code == 2
    assert "patients in more than one fold: 1, with rows 13, 14, 15, 16 in folds 0, 1" in err
    assert not (tmp_path / "run").exists()


def test_images_that_are_not_in_the_store_are_counted(train: Train, tiny_cohort: Path, tmp_path: Path) -> None:
    is_gone = pl.col("patient_id").is_in(["patient2", "patient3"])
    image_id = pl.when(is_gone).then(pl.col("image_id") + "x").otherwise("image_id").alias("image_id")
    other = _write_changed(tiny_cohort, tmp_path / "other", image_id)
    code, out, _ = train("--json", "--fold", 0, cohort=other)
    assert code == 0
    assert json.loads(out)["images_not_in_store"] == 8


def test_a_store_of_another_cohort_ends_with_2(train: Train, tiny_cohort: Path, tmp_path: Path) -> None:
    other = _write_changed(tiny_cohort, tmp_path / "other", pl.col("image_id") + "x")
    code, _, err = train(cohort=other)
    assert code == 2
    assert "holds none of the manifest's 36 images; give the store that was prepared from this cohort" in err


def test_a_run_of_another_recipe_or_of_other_data_is_not_gone_on_with(
    train: Train, tiny_cohort: Path, tmp_path: Path
) -> None:
    assert train("--fold", 0)[0] == 0
    weights = (tmp_path / "run" / "folds" / "0" / "weights.safetensors").read_bytes()
    code, _, err = train("--fold", 1, "--set", "epochs=1")
    assert code == 2
    assert "was started with another recipe (different: epochs)" in err
    older = _write_changed(tiny_cohort, tmp_path / "older", pl.lit(50.0).alias("age_years"))
    code, _, err = train("--fold", 1, cohort=older)
    assert code == 2
    assert "was started with another manifest" in err
    assert (tmp_path / "run" / "folds" / "0" / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize("way", ["--weights", "--set"])
def test_training_starts_from_the_weights_of_a_file(train: Train, tmp_path: Path, way: str) -> None:
    torch.manual_seed(21)
    donor = timm.create_model("test_resnet").state_dict()
    path = tmp_path / "w.safetensors"
    save_file(donor, path, metadata={"architecture": "test_resnet", "mean": "0.25", "std": "0.125"})
    given = path if way == "--weights" else f"backbone.weights={path}"
    assert train("--fold", 0, way, given, "--set", "fine_tuning.train=head")[0] == 0
    trained = load_file(tmp_path / "run" / "folds" / "0" / "weights.safetensors")
    assert torch.equal(trained["backbone.conv1.3.weight"], donor["conv1.3.weight"])
    assert "mean = 0.25" in (tmp_path / "run" / "recipe.toml").read_text()


def test_weights_of_another_network_end_with_2(train: Train, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"architecture": "resnet50"})
    code, _, err = train("--weights", path)
    assert code == 2
    assert "made for resnet50, but the recipe's backbone is test_resnet; add --set backbone.name=resnet50" in err


def test_a_network_that_does_not_serve_for_the_stores_pictures_ends_with_2_before_the_run(
    train: Train, tmp_path: Path
) -> None:
    code, _, err = train("--fold", 0, "--set", "backbone.name=nest_tiny")
    assert code == 2
    assert "found nest_tiny, which does not serve for pictures of 64 x 32 (" in err
    assert not (tmp_path / "run").exists()


def test_a_transformer_of_one_size_is_made_for_the_stores_pictures(train: Train, tmp_path: Path) -> None:
    options = ("--set", "backbone.name=test_vit", "--set", "backbone.options={dynamic_img_size=false}")
    assert train("--fold", 0, *options)[0] == 0
    said = (tmp_path / "run" / "recipe.toml").read_text()
    assert "train_rows = 64\ntrain_columns = 32\nheld_out_rows = 64\nheld_out_columns = 32\n" in said
    assert train("--fold", 0, *options)[0] == 0  # goes on with it


def test_no_patient_is_named(train: Train) -> None:
    _, out, err = train("--fold", 0)
    assert not re.search(r"patient\d", out + err)


def test_a_training_that_diverges_ends_with_2(train: Train) -> None:
    code, _, err = train("--fold", 0, "--set", "optimizer.rate=1e30", "--set", "optimizer.clip_norm=0")
    assert code == 2
    assert "optimizer.rate: found 1e+30" in err


def test_the_printed_recipe_is_the_resolved_one_and_nothing_is_trained(run_cli: CliRun, tmp_path: Path) -> None:
    code, out, _ = run_cli("train", "tiny", "--set", "epochs=3", "--print-recipe")
    assert code == 0
    assert build_settings(Recipe, parse_toml(out, where="printed"), where="printed") == read_recipe(
        "tiny", ["epochs=3"]
    )
    assert list(tmp_path.iterdir()) == []


def test_training_without_its_data_ends_with_2(run_cli: CliRun) -> None:
    code, _, err = run_cli("train", "tiny")
    assert code == 2
    assert "expected --cohort, --store and --output" in err


def test_a_wrong_recipe_is_told_before_what_loads_slowly_is() -> None:
    script = (
        "import atexit, sys; from mammoscope.cli.main import main; "
        "atexit.register(lambda: print([name for name in ('torch', 'sklearn') if name in sys.modules])); "
        "sys.argv = ['mammoscope', 'train', 'tiny', '--set', 'sampling=matchd']; main()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    assert (ended.returncode, ended.stdout) == (2, "[]\n"), ended.stderr
    assert ended.stderr.startswith("error: recipe tiny: ")
    assert "matchd" in ended.stderr
