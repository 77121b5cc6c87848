"""A cohort of drawn pictures, prepared small, and a recipe that trains on it within a second."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.cohort.manifest import SCHEMA, read_manifest, write_manifest
from mammoscope.evaluation.scores import write_scores
from mammoscope.imaging.batch import PrepareJob, prepare_store
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore, open_store
from mammoscope.learning.network import build_network
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.run import Run, start_run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.training import write_weights
from mammoscope.phantom.cohort import CohortSettings, synthesize_cohort

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]

TINY_RECIPE = """
epochs = 2
precision = "f32"
[backbone]
name = "test_resnet"
weights = "none"
[batch]
size = 4
"""
N_PATIENTS = 9  # 4 with cancer in the left breast, 4 without, one undetermined; 2 folds


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny networks are slower in many threads, and very much so where tests run side by side."""
    torch.set_num_threads(1)


def _draw(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """A half disc with texture at the left edge."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:64, 0:48]
    inside = np.hypot((row - 32) / 26, column / 30) < 1
    return np.where(inside, rng.integers(60, 255, inside.shape), 0).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cohort of nine patients with four images each, in two folds."""
    folder = tmp_path_factory.mktemp("tiny")
    rows = []
    for number in range(N_PATIENTS):
        for place, (side, view) in enumerate([("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]):
            path = folder / f"{number}{side}{view}.png"
            cv2.imwrite(str(path), _draw(4 * number + place))
            rows.append(
                {
                    "image_id": path.stem,
                    "patient_id": f"patient{number}",
                    "exam_id": f"exam{number}",
                    "laterality": side,
                    "view": view,
                    "source": "test",
                    "path": str(path),
                    "cancer": None if number == N_PATIENTS - 1 else side == "L" and number % 4 < 2,
                    "fold": number % 2,
                }
            )
    write_manifest(pl.DataFrame([dict.fromkeys(SCHEMA) | row for row in rows], schema=SCHEMA), folder / "cohort")
    return folder / "cohort"


@pytest.fixture
def tiny_manifest(tiny_cohort: Path) -> pl.DataFrame:
    return read_manifest(tiny_cohort)


@pytest.fixture(scope="session")
def tiny_store_path(tiny_cohort: Path) -> Path:
    """The folder of the prepared store of the tiny cohort: 64 x 32 pixels of 8 bits."""
    manifest = read_manifest(tiny_cohort)
    jobs = [PrepareJob(image_id, path) for image_id, path in manifest.select("image_id", "path").iter_rows()]
    store = tiny_cohort.parent / "store"
    settings = PrepareSettings(rows=64, columns=32, bits=8)
    prepare_store(jobs, store, settings, run_tasks=map, advance=lambda _: None)
    return store


@pytest.fixture
def tiny_store(tiny_store_path: Path) -> PreparedStore:
    return open_store(tiny_store_path)


@pytest.fixture(scope="session")
def tiny_recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture
def recipe_of(tiny_recipe_path: Path) -> RecipeOf:
    """The tiny recipe with each `key=value` put in."""

    def build(*assignments: str) -> Recipe:
        return read_recipe(str(tiny_recipe_path), list(assignments))

    return build


@pytest.fixture
def start_tiny_run(tmp_path: Path) -> StartRun:
    """A new run folder of a recipe, for the tiny store."""

    def start(recipe: Recipe) -> Run:
        names = [path.name for path in tmp_path.iterdir()]
        made_from = {"manifest_hash": "m", "store_hash": "s"}
        prepare = PrepareSettings(rows=64, columns=32, bits=8)
        return start_run(tmp_path / f"run{len(names)}", recipe, prepare, made_from=made_from)

    return start


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort of two patients without outcome: test.csv and eight DICOM files in test_images."""
    folder = tmp_path_factory.mktemp("phantoms")
    settings = CohortSettings(patients=1, prevalence=0.0, seed=1, held_out=2, scale=0.1)
    synthesize_cohort(folder, settings, run_tasks=map, advance=lambda _: None)
    return folder


@pytest.fixture
def random_run(recipe_of: RecipeOf, start_tiny_run: StartRun) -> Run:
    """A run of two folds with random weights, which scored one case and three controls."""
    run = start_tiny_run(recipe_of())
    for fold in range(2):
        torch.manual_seed(fold)
        write_weights(build_network(run.recipe), run.weights_path(fold))
        write_scores(_held_out_scores(fold), run.fold_path(fold) / "scores.parquet")
    return run


def _held_out_scores(fold: int) -> pl.DataFrame:
    """An image of each breast of one patient; the left one of fold 0 is the case."""
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
            "cancer": [fold == 0, False],
            "fold": [fold, fold],
        }
    )
