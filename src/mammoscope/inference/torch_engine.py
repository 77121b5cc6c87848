"""Prepared pictures to scores by torch, on a CPU or a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch

from mammoscope.errors import ConfigError
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.learning.batches import Pictures
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.run import check_weights_hash
from mammoscope.learning.scoring import autocast_type, choose_device, score_batches
from mammoscope.learning.settings import Recipe, with_flips
from mammoscope.learning.table_inputs import TableEncoder
from mammoscope.learning.table_layer import to_tensors

Asked = Literal["auto", "f32", "bf16"]
_NAME_BY_TYPE = {None: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


@dataclass(frozen=True, slots=True)
class TorchEngine:
    """The networks of a bundle.

    `asked` and `flips` are a precision and mirror images in place of the recipe's, `notes` why it is torch, if asked;
    `places` are those of the networks among the run's, all of them where it is None.
    """

    bundle: Bundle
    asked: Asked = "auto"
    notes: tuple[str, ...] = ()
    flips: str | None = None
    places: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What computes."""
        return "torch"

    @property
    def precision(self) -> str:
        """In what it computes: f32, bf16 or f16."""
        return _NAME_BY_TYPE[autocast_type(self.recipe.precision, self.bundle.device)]

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.bundle.run.path

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run, with the precision and the mirror images that were asked for."""
        recipe = with_flips(self.bundle.recipe, self.flips)
        return recipe if self.asked == "auto" else recipe.model_copy(update={"precision": self.asked})

    @property
    def is_on_gpu(self) -> bool:
        """Whether batches may be large."""
        return self.bundle.device.type != "cpu"

    @property
    def prepare(self) -> PrepareSettings:
        """How the pictures of the run were prepared."""
        return self.bundle.prepare

    @property
    def encoders(self) -> tuple[TableEncoder, ...]:
        """The encoders of the tables of all folds, empty without any."""
        return self.bundle.encoders

    @property
    def weights_by_fold(self) -> dict[int, str]:
        """The SHA-256 of the weights of each fold."""
        run = self.bundle.run
        folds = run.trained_folds if self.places is None else [run.trained_folds[place] for place in self.places]
        return {fold: check_weights_hash(run, fold) for fold in folds}

    def choose(self, places: Sequence[int]) -> "TorchEngine":
        """The same with some of its networks, by their places."""
        bundle = self.bundle
        encoders = tuple(bundle.encoders[place] for place in places) if bundle.encoders else ()
        networks = tuple(bundle.networks[place] for place in places)
        own = range(len(bundle.networks)) if self.places is None else self.places
        chosen = tuple(own[place] for place in places)
        return replace(self, bundle=replace(bundle, networks=networks, encoders=encoders), places=chosen)

    def look(self, flips: str) -> "TorchEngine":
        """The same with other mirror images than the recipe says."""
        return replace(self, flips=flips)

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> list[PictureLogits]:
        """What each network says of prepared pictures, (row, column) each, with their features.

        Raises:
            MammoscopeError: the networks are given a table, and there are no rows.
            TableError: a number of the table is not finite.
        """
        stored = torch.from_numpy(np.stack(pictures))  # (picture, row, column)
        tables = [] if rows is None else [to_tensors(encoder.encode(rows)) for encoder in self.encoders]
        score = partial(score_batches, recipe=self.recipe, device=self.bundle.device, keeps_features=True)
        return [
            score(network, [Pictures(stored, table)]) for network, table in zip_longest(self.bundle.networks, tables)
        ]


def open_torch_engine(
    folder: Path, *, device: str = "auto", precision: str = "auto", notes: tuple[str, ...] = ()
) -> TorchEngine:
    """The engine of a run.

    Raises:
        ConfigError: torch does not compute in that precision, or finds no GPU.
        RunError: as `open_bundle`.
    """
    if precision == "int8":
        raise ConfigError("--precision: found int8, in which torch does not compute; take --engine openvino, or f32")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: found cuda, but torch can use no GPU here; take --device cpu, or auto")
    asked: Asked = "f32" if precision == "f32" else "bf16" if precision == "bf16" else "auto"
    return TorchEngine(open_bundle(folder, choose_device(device)), asked, notes)
