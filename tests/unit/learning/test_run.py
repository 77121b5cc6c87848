import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.config import build_settings, parse_toml, to_toml
from mammoscope.errors import ConfigError, RunError
from mammoscope.evaluation.run_folder import read_environment
from mammoscope.evaluation.scores import read_scores, write_scores
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.learning.run import Run, collect_scores, forget_resume_point, open_run, settle_picture_sizes, start_run
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
MADE_FROM = {"manifest_hash": "m", "store_hash": "s"}


@pytest.fixture
def run(recipe_of: RecipeOf, start_tiny_run: StartRun) -> Run:
    return start_tiny_run(recipe_of())


def _restart(run: Run, recipe: Recipe | None = None) -> Run:
    return start_run(run.path, recipe or run.recipe, run.prepare, made_from=MADE_FROM)


def _image_scores(fold: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "schema_version": [1, 1],
            "level": ["image", "image"],
            "patient_id": [f"p{fold}", f"p{fold}"],
            "exam_id": [f"e{fold}", f"e{fold}"],
            "laterality": ["L", "R"],
            "view": ["CC", "CC"],
            "image_id": [f"{fold}L", f"{fold}R"],
            "n_images": [1, 1],
            "score": [0.25, 0.75],
            "cancer": [False, True],
            "fold": [fold, fold],
        }
    )


def _finish(run: Run, fold: int) -> None:
    write_scores(_image_scores(fold), run.fold_path(fold) / "scores.parquet")
    run.weights_path(fold).write_bytes(b"")


def test_a_started_run_opens_as_it_was_started(run: Run, recipe_of: RecipeOf) -> None:
    opened = open_run(run.path)
    sizes = [f"picture.{name}_{side}" for name in ("train", "held_out") for side in ("rows", "columns")]
    assert opened.recipe == recipe_of(*(f"{key}={64 if key.endswith('rows') else 32}" for key in sizes))
    assert opened.prepare == PrepareSettings(rows=64, columns=32, bits=8)
    assert opened.trained_folds == ()


def test_the_environment_says_how_the_run_was_made(run: Run) -> None:
    environment = read_environment(run.path / "environment.json")
    assert environment is not None
    assert environment["schema_version"] == 1
    assert environment["seed"] == 0
    assert {"python", "mammoscope", "torch", "timm", "lightning"} <= set(environment["versions"])
    assert environment.items() >= MADE_FROM.items()


def test_the_same_start_goes_on(run: Run) -> None:
    (run.path / "folds").mkdir()
    before = (run.path / "environment.json").read_bytes()
    assert _restart(run) == run
    assert (run.path / "environment.json").read_bytes() == before


def test_a_run_takes_over_what_no_training_depends_on(run: Run, recipe_of: RecipeOf) -> None:
    _finish(run, 0)
    recipe = recipe_of("operating_points.recall_rates=[0.05]")
    assert _restart(run, recipe).recipe == open_run(run.path).recipe == settle_picture_sizes(recipe, run.prepare)
    with pytest.raises(RunError, match=r"another recipe \(different: epochs, operating_points\)"):
        _restart(run, recipe_of("epochs=7"))


def test_a_start_that_came_to_no_fold_is_begun_anew_with_another_recipe(run: Run, recipe_of: RecipeOf) -> None:
    recipe = recipe_of("epochs=3")
    assert _restart(run, recipe).recipe == open_run(run.path).recipe == settle_picture_sizes(recipe, run.prepare)
    assert open_run(run.path).recipe.epochs == 3


def test_sizes_that_the_recipe_says_are_kept_and_the_others_are_the_stores(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("picture.train_rows=96", "picture.train_columns=48")
    settled = settle_picture_sizes(recipe, PrepareSettings(rows=64, columns=16, bits=8))
    assert settled.picture.model_dump() == recipe.picture.model_dump() | {"held_out_rows": 64, "held_out_columns": 16}
    assert build_settings(Recipe, parse_toml(to_toml(settled), where="run"), where="run") == settled
    assert settle_picture_sizes(settled, PrepareSettings()) == settled


def test_another_recipe_is_refused_and_the_difference_named(run: Run, recipe_of: RecipeOf) -> None:
    (run.path / "folds").mkdir()
    with pytest.raises(
        RunError, match=r"was started with another recipe \(different: epochs, optimizer\); give another"
    ):
        _restart(run, recipe_of("epochs=3", "optimizer.rate=0.5"))


@pytest.mark.parametrize("name", ["manifest", "store"])
def test_other_data_are_refused(run: Run, name: str) -> None:
    (run.path / "folds").mkdir()
    with pytest.raises(RunError, match=rf"was started with another {name}; give another folder"):
        start_run(run.path, run.recipe, run.prepare, made_from=MADE_FROM | {f"{name}_hash": "other"})


def test_a_folder_of_something_else_is_not_written_to(recipe_of: RecipeOf, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="stands there already and is no run folder; give another folder with -o"):
        start_run(tmp_path, recipe_of(), PrepareSettings(), made_from=MADE_FROM)
    with pytest.raises(RunError, match="is no run folder"):
        start_run(tmp_path / "letter.txt", recipe_of(), PrepareSettings(), made_from=MADE_FROM)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("left", [[], ["recipe.toml"], ["recipe.toml", "prepare.toml", ".environment.json.7.part"]])
def test_a_start_that_was_killed_is_started_again(run: Run, tmp_path: Path, left: list[str]) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    for name in left:
        (begun / name).write_text("half")
    assert start_run(begun, run.recipe, run.prepare, made_from=MADE_FROM).recipe == run.recipe


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match=r"not a run folder, environment\.json is missing; train one"):
            open_run(path)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_run_of_another_schema_version_is_refused(run: Run, version: object) -> None:
    (run.path / "environment.json").write_text(json.dumps({"schema_version": version}))
    with pytest.raises(RunError, match=rf"schema_version is {version!r}, expected 1"):
        open_run(run.path)


def test_an_environment_without_a_version_is_refused(run: Run) -> None:
    (run.path / "environment.json").write_text("{}")
    with pytest.raises(RunError, match="schema_version is None, expected 1"):
        open_run(run.path)


def test_broken_json_is_refused(run: Run) -> None:
    (run.path / "environment.json").write_text('{"schema_version": 1')
    with pytest.raises(RunError, match=r"environment\.json: not JSON"):
        open_run(run.path)
    (run.path / "environment.json").write_text("[1]")
    with pytest.raises(RunError, match=r"environment\.json: schema_version is 'list', expected 1"):
        open_run(run.path)


@pytest.mark.parametrize("name", ["recipe", "prepare"])
def test_an_unknown_key_of_its_settings_is_refused(run: Run, name: str) -> None:
    path = run.path / f"{name}.toml"
    path.write_text("colour = 3\n" + path.read_text())
    with pytest.raises(ConfigError, match=rf"{name}\.toml: colour: unknown key"):
        open_run(run.path)


def test_a_run_without_its_recipe_is_refused(run: Run) -> None:
    (run.path / "recipe.toml").unlink()
    with pytest.raises(ConfigError, match=r"recipe\.toml: cannot be read"):
        open_run(run.path)


def test_a_fold_is_trained_when_its_weights_are_there(run: Run) -> None:
    run.fold_path(1).mkdir(parents=True)
    (run.path / "folds" / "notes").mkdir()
    assert list(run.trained_folds) == []
    for fold in (10, 2):
        _finish(run, fold)
    assert list(run.trained_folds) == [2, 10]


def test_the_scores_of_all_folds_are_collected(run: Run) -> None:
    for fold in (1, 0):
        _finish(run, fold)
    scores = collect_scores(run)
    assert scores["image_id"].to_list() == ["0L", "0R", "1L", "1R"]
    assert read_scores(run.path / "scores.parquet").equals(scores)


def test_scores_of_a_run_without_a_fold_are_refused(run: Run) -> None:
    with pytest.raises(RunError, match="no fold of this run is trained; finish `mammoscope train` first"):
        collect_scores(run)


def test_a_resume_point_is_forgotten_once_or_twice(run: Run) -> None:
    (run.fold_path(0) / "resume").mkdir(parents=True)
    (run.fold_path(0) / "resume" / "state.ckpt").write_bytes(b"")
    for _ in range(2):
        forget_resume_point(run, 0)
        assert list(run.fold_path(0).iterdir()) == []


def test_a_run_may_be_moved(run: Run, tmp_path: Path) -> None:
    shutil.move(run.path, tmp_path / "moved")
    assert open_run(tmp_path / "moved").recipe == run.recipe
