"""The seam between prediction and what computes: an engine of some of a run's networks, and the one of torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import polars as pl

from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference.bundle import Bundle
from mammoscope.inference.engine import score_pictures
from mammoscope.learning.views import PictureLogits


class Engine(Protocol):
    """Networks that are ready to score."""

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None) -> list[PictureLogits]:
        """What each network says of prepared pictures of one size, (row, column) each; `rows` is their table."""
        ...


OpenEngine = Callable[[Sequence[int]], Engine]
"""An engine of the networks at these places among a run's, in this order."""


@dataclass(frozen=True, slots=True)
class TorchEngine:
    """The networks of a bundle, computed by torch."""

    bundle: Bundle

    def score(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None) -> list[PictureLogits]:
        """As of `Engine`."""
        return score_pictures(self.bundle, pictures, rows)


def open_torch(bundle: Bundle, networks: Sequence[int]) -> TorchEngine:
    """The engine of some of a bundle's networks, by their places."""
    encoders = tuple(bundle.encoders[place] for place in networks) if bundle.encoders else ()
    return TorchEngine(replace(bundle, networks=tuple(bundle.networks[place] for place in networks), encoders=encoders))
