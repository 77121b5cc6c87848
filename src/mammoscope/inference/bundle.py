"""What a run folder gives for prediction: its networks, and how their pictures are prepared."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mammoscope.errors import RunError
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.run import Run, check_weights_hash, open_run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder, read_table_encoder


@dataclass(frozen=True, slots=True)
class Bundle:
    """The networks of all trained folds of a run, on one device; `encoders` of their tables, empty without any."""

    run: Run
    networks: tuple[CancerNetwork, ...]
    device: torch.device
    encoders: tuple[TableEncoder, ...] = ()

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.run.recipe

    @property
    def prepare(self) -> PrepareSettings:
        """How the pictures of the run were prepared."""
        return self.run.prepare


def open_bundle(path: Path, device: torch.device) -> Bundle:
    """The networks of a run folder.

    Raises:
        RunError: no run, no trained fold, weights that are torn, of another network or not those of the training, or a
            table that is.
    """
    run = open_run(path)
    if not run.trained_folds:
        raise RunError(f"{path}: no fold of this run is trained; finish `mammoscope train` first")
    encoder_by_fold = _read_encoders(run)
    networks = tuple(
        _load_network(run, fold, encoder_by_fold.get(fold)).to(device).eval() for fold in run.trained_folds
    )
    return Bundle(run, networks, device, tuple(encoder_by_fold.values()))


def _read_encoders(run: Run) -> dict[int, TableEncoder]:
    """The encoder of each trained fold, in their order; none where the recipe has no columns of the table."""
    settings = run.recipe.table
    return {fold: read_table_encoder(run.table_path(fold), settings) for fold in run.trained_folds if settings.columns}


def _load_network(run: Run, fold: int, encoder: TableEncoder | None) -> CancerNetwork:
    path = run.weights_path(fold)
    check_weights_hash(run, fold)
    network = build_network(_without_checkpoints(run.recipe), encoder)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise RunError(
            f"{path}: not the weights of this run's network ({reason}); restore them, or train again"
        ) from error
    return network.requires_grad_(requires_grad=False)


def _without_checkpoints(recipe: Recipe) -> Recipe:
    """The recipe of a network that need not save the memory of a training, by computing what it has computed again."""
    fine_tuning = recipe.fine_tuning.model_copy(update={"gradient_checkpointing": False})
    return recipe.model_copy(update={"fine_tuning": fine_tuning})
