"""A run with random weights, for suites that measure how fast or how surely pictures are scored, and not how well."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch

from mammoscope.evaluation.scores import write_scores
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.learning.network import build_network
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.run import Run, start_run
from mammoscope.learning.training import write_weights

RECIPE = """
precision = "f32"
[backbone]
name = "{backbone}"
weights = "none"
"""


def make_random_run(
    folder: Path, backbone: str, prepare: PrepareSettings, *, n_folds: int = 1, changes: Sequence[str] = ()
) -> Run:
    """A run folder of a timm backbone with random weights and invented held-out scores; `changes` are `key=value`."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe_path = folder.with_suffix(".toml")
    recipe_path.write_text(RECIPE.format(backbone=backbone), encoding="utf-8")
    made_from = {"manifest_hash": "none", "store_hash": "none"}
    run = start_run(folder, read_recipe(str(recipe_path), list(changes)), prepare, made_from=made_from)
    for fold in range(n_folds):
        torch.manual_seed(fold)
        write_weights(build_network(run.recipe), run.weights_path(fold))
        write_scores(_invent_scores(fold), run.fold_path(fold) / "scores.parquet")
    return run


def _invent_scores(fold: int) -> pl.DataFrame:
    """A case and a control in each fold."""
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
            "score": [0.6, 0.4],
            "cancer": [True, False],
            "fold": [fold, fold],
        }
    )
