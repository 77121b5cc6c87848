"""The folder that a training leaves behind: all that is needed to predict, and to tell how it was made.

recipe.toml          the resolved recipe
prepare.toml         how the pictures were prepared
environment.json     versions, commit, seed, hashes of manifest and store; carries the schema version
folds/<k>/           weights.safetensors with weights.sha256, history.csv, scores.parquet of the held-out fold;
                      curves/ for TensorBoard; balance.csv of a match; table.json where the recipe gives the network
                      columns of the manifest; resume/ while the fold is trained
scores.parquet       the out-of-fold scores of all folds that are done
operating_points.json  thresholds, each judged on folds that it was not chosen on
training_range.json  what the pictures of training are like, so that others can be held against them
second_stage/        scores.parquet, summary.json and model.json of a table model on the scores, where the recipe asks
"""

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import polars as pl

from mammoscope.config import build_settings, read_toml, to_toml
from mammoscope.errors import RunError
from mammoscope.evaluation.run_folder import ENVIRONMENT_VERSION, read_environment
from mammoscope.evaluation.scores import read_scores, write_scores
from mammoscope.files import sha256_of_file, write_json, write_text
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.learning.settings import Recipe

# what is made of the scores when folds are done, so that a run takes over new values of these keys
_AFTER_TRAINING = frozenset({"operating_points", "second_stage"})
_PACKAGES = ("mammoscope", "torch", "timm", "lightning", "numpy", "polars", "pydicom", "pillow", "imagecodecs")


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder that has been opened."""

    path: Path
    recipe: Recipe
    prepare: PrepareSettings
    environment: Mapping[str, object]

    def fold_path(self, fold: int) -> Path:
        """The folder of a fold."""
        return self.path / "folds" / str(fold)

    def weights_path(self, fold: int) -> Path:
        """The weights of a fold; the file is there when the fold is trained."""
        return self.fold_path(fold) / "weights.safetensors"

    def weights_hash_path(self, fold: int) -> Path:
        """The SHA-256 of the weights of a fold, in the form that `sha256sum --check` reads; early runs have none."""
        return self.fold_path(fold) / "weights.sha256"

    def table_path(self, fold: int) -> Path:
        """How the table is encoded for the network of a fold, where the recipe gives it columns."""
        return self.fold_path(fold) / "table.json"

    @property
    def trained_folds(self) -> tuple[int, ...]:
        """The folds whose weights and scores are there, in order."""
        folds = (int(path.name) for path in (self.path / "folds").glob("*") if path.name.isdecimal())
        return tuple(sorted(fold for fold in folds if self.weights_path(fold).is_file()))


def start_run(path: Path, recipe: Recipe, prepare: PrepareSettings, *, made_from: Mapping[str, object]) -> Run:
    """A new run folder, or the one that stands there if it was started with the same recipe and data.

    Sizes of pictures that the recipe leaves out are the store's, and said so in the run.

    `made_from` says where the data came from: paths and hashes of manifest and store.

    Raises:
        RunError: the folder is in use for something else.
    """
    recipe = settle_picture_sizes(recipe, prepare)
    if (path / "folds").exists():
        return _continue_run(path, recipe, made_from)
    if path.exists() and (not path.is_dir() or not _is_barely_begun(path)):
        raise RunError(f"{path}: stands there already and is no run folder; give another folder with -o")
    environment = {
        "schema_version": ENVIRONMENT_VERSION,
        **describe_environment(),
        "seed": recipe.seed,
        "backbone": recipe.backbone.name,
        "keep": recipe.keep,
    }
    environment |= made_from
    write_text(path / "recipe.toml", to_toml(recipe))
    write_text(path / "prepare.toml", to_toml(prepare))
    write_json(path / "environment.json", environment)
    return open_run(path)


def settle_picture_sizes(recipe: Recipe, prepare: PrepareSettings) -> Recipe:
    """The recipe with the sizes of the store's pictures where it says none: some networks are made for one size."""
    picture = recipe.picture
    stored = {"rows": prepare.rows, "columns": prepare.columns}
    left_out = {
        f"{name}_{side}": n_pixels
        for name in ("train", "held_out")
        for side, n_pixels in stored.items()
        if getattr(picture, f"{name}_{side}") is None
    }
    return recipe.model_copy(update={"picture": picture.model_copy(update=left_out)})


def open_run(path: Path) -> Run:
    """The run of a folder.

    Raises:
        RunError: not a run folder, or one of another schema version.
        ConfigError: its recipe or its settings of preparation are not what this version knows.
    """
    environment = read_environment(path / "environment.json")
    if environment is None:
        raise RunError(f"{path}: not a run folder, environment.json is missing; train one with `mammoscope train`")
    recipe = build_settings(Recipe, read_toml(path / "recipe.toml"), where=str(path / "recipe.toml"))
    prepare = build_settings(PrepareSettings, read_toml(path / "prepare.toml"), where=str(path / "prepare.toml"))
    return Run(path, recipe, prepare, environment)


def collect_scores(run: Run) -> pl.DataFrame:
    """Write and return the out-of-fold scores of all folds that are done."""
    scores = read_fold_scores(run)
    write_scores(scores, run.path / "scores.parquet")
    return scores


def read_fold_scores(run: Run) -> pl.DataFrame:
    """The out-of-fold scores of all folds that are done.

    Raises:
        RunError: no fold is.
        TableError: scores are missing, or break their schema.
    """
    if not run.trained_folds:
        raise RunError(f"{run.path}: no fold of this run is trained; finish `mammoscope train` first")
    return pl.concat([read_scores(run.fold_path(fold) / "scores.parquet") for fold in run.trained_folds])


def hash_weights(run: Run) -> dict[int, str]:
    """The SHA-256 of the weights of each trained fold.

    Raises:
        RunError: as `check_weights_hash`.
    """
    return {fold: check_weights_hash(run, fold) for fold in run.trained_folds}


def record_weights_hash(run: Run, fold: int) -> None:
    """Write the SHA-256 of the weights of a fold beside them."""
    weights = run.weights_path(fold)
    write_text(run.weights_hash_path(fold), f"{sha256_of_file(weights)}  {weights.name}\n")


def check_weights_hash(run: Run, fold: int) -> str:
    """The SHA-256 of the weights of a fold, which is the one that the training recorded, where it recorded one.

    Raises:
        RunError: it is another.
    """
    found, path = sha256_of_file(run.weights_path(fold)), run.weights_hash_path(fold)
    recorded = path.read_text(encoding="ascii", errors="replace").split() if path.is_file() else [found]
    if recorded[:1] != [found]:
        raise RunError(
            f"{run.weights_path(fold)}: found other weights than the training wrote (SHA-256 {found[:12]}…, expected "
            f"{''.join(recorded[:1])[:12] or 'none'}…); restore them, or train again"
        )
    return found


def forget_resume_point(run: Run, fold: int) -> None:
    """Remove the state from which an interrupted training of a fold would go on."""
    shutil.rmtree(run.fold_path(fold) / "resume", ignore_errors=True)


def _is_barely_begun(path: Path) -> bool:
    """Whether a folder is empty, or holds what a start leaves that came to no fold: nothing is lost with it."""
    begun = {"recipe.toml", "prepare.toml", "environment.json"}
    return all(each.name.startswith(".") or each.name in begun for each in path.iterdir())


def describe_environment() -> dict[str, object]:
    """Versions of what the result depends on, and the commit of this software where it is a checkout."""
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "commit": _commit(),
    }


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]  # git is found on the user's PATH
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603  # nothing of the user's in it
    except (OSError, subprocess.SubprocessError):
        return None


def _continue_run(path: Path, recipe: Recipe, made_from: Mapping[str, object]) -> Run:
    run = open_run(path)
    changed = [name for name in Recipe.model_fields if getattr(run.recipe, name) != getattr(recipe, name)]
    if set(changed) - _AFTER_TRAINING:
        raise RunError(
            f"{path}: was started with another recipe (different: {', '.join(changed)}); "
            "give another folder with -o, or the same recipe to go on"
        )
    for name in ("manifest_hash", "store_hash"):
        if run.environment.get(name) != made_from.get(name):
            raise RunError(
                f"{path}: was started with another {name.removesuffix('_hash')}; "
                "give another folder with -o, or the same data to go on"
            )
    if changed:
        write_text(path / "recipe.toml", to_toml(recipe))
        return open_run(path)
    return run
