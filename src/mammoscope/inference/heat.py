"""How much each place of a picture adds to the logit of cancer: HiResCAM, Draelos & Carin 2020 (arXiv:2011.08891).

The gradient of the logit times the activation, at the last feature map, summed over its channels and not pooled before.
Where the map is pooled by its mean and judged by one linear layer, that is exactly what each place contributes: the sum
over the places is the logit without its bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from mammoscope.errors import RunError
from mammoscope.evaluation.peaks import Heat
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.inference.bundle import Bundle
from mammoscope.learning.batches import to_network_input
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.network import CancerNetwork, NetworkOutput
from mammoscope.learning.scoring import AXES_BY_FLIPS, autocast_type, gather_outputs
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_layer import TableTensors, to_tensors

_FINE_PX = 4  # of the network's input: a pixel of a heat map, far below what a place of a feature map covers
_LONGEST_PATCH = 2.5  # sides of what a place covers: beyond, the places stand in a row and no grid
_N_PROBES = 4


@dataclass(frozen=True, slots=True)
class Explanation:
    """A heat map for each picture, in the mean over the networks, and what each network says of the pictures."""

    heats: tuple[Heat, ...]
    by_network: tuple[PictureLogits, ...]


class HeatMapper:
    """The networks of a bundle with where the places of their feature maps lie; of a run that has such maps.

    Raises:
        RunError: the network has no map of places.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        check_map(bundle)
        # all folds are of one build, so that one tells for all
        self.offset = measure_offset(bundle.networks[0], input_shape(bundle), bundle.device)

    def explain(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> Explanation:
        """The heat maps of prepared pictures, (row, column) each; `rows` as of `score_pictures`.

        Raises:
            MammoscopeError, TableError: as `score_pictures`.
        """
        bundle, stored = self.bundle, torch.from_numpy(np.stack(pictures))  # (picture, row, column)
        tables = [] if rows is None else [to_tensors(encoder.encode(rows)) for encoder in bundle.encoders]
        parts = [
            explain_batch(network, stored, table, recipe=bundle.recipe, offset=self.offset, device=bundle.device)
            for network, table in zip_longest(bundle.networks, tables)
        ]
        heats = np.stack([heat for heat, _ in parts]).mean(axis=0)  # (picture, row, column)
        return Explanation(tuple(heats), tuple(logits for _, logits in parts))


def explain_batch(  # noqa: PLR0913  # what is explained, and all else by name
    network: CancerNetwork,
    stored: torch.Tensor,
    table: TableTensors | None,
    *,
    recipe: Recipe,
    offset: float,
    device: torch.device,
) -> tuple[NDArray[np.float32], PictureLogits]:
    """The heat maps of pictures (picture, row, column), and what is said of them, in the mean over the recipe's flips.

    The maps of mirror images are turned back before the mean.
    """
    picture, heats, outputs = recipe.picture, [], []
    grey = to_network_input(stored.to(device), rows=picture.held_out_rows, columns=picture.held_out_columns)
    table = None if table is None else table.to(device)
    shape = (-(-grey.shape[-2] // _FINE_PX), -(-grey.shape[-1] // _FINE_PX))
    for axes in AXES_BY_FLIPS[recipe.scoring.flips]:
        maps = look(network, grey.flip(axes) if axes else grey, recipe)
        output, contributions = contribute(network, maps, table)
        fine = np.stack([refine(each, shape, offset) for each in contributions.cpu().numpy()])
        heats.append(np.flip(fine, axes) if axes else fine)
        outputs.append(output)
    cancer, view, samples = (
        torch.stack([getattr(output, name) for output in outputs]).mean(dim=0) for name in ("cancer", "view", "samples")
    )
    return np.stack(heats).mean(axis=0), gather_outputs([NetworkOutput(cancer, view, samples, {})])


@torch.no_grad()
def look(network: CancerNetwork, grey: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """The last feature maps of pictures (picture, 1, row, column) in full precision, computed in the recipe's own.

    (picture, channel, row, column); where the recipe's precision does not suffice, they are computed in full.
    """
    dtype = autocast_type(recipe.precision, grey.device)
    with torch.autocast(grey.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        maps = network.look(grey)
    if not torch.isfinite(maps).all():
        maps = network.look(grey)
    return maps.float()


def contribute(
    network: CancerNetwork, maps: torch.Tensor, table: TableTensors | None = None
) -> tuple[NetworkOutput, torch.Tensor]:
    """What a network says of maps (picture, channel, row, column), and what each place adds, (picture, row, column)."""
    with torch.enable_grad():
        activations = maps.detach().requires_grad_()
        output = network.judge(activations, table)
        (gradient,) = torch.autograd.grad(output.cancer.sum(), activations)
    said = NetworkOutput(output.cancer.detach(), output.view.detach(), output.samples.detach(), {})
    return said, (gradient * activations).sum(dim=1).detach()  # (picture, row, column)


def refine(contributions: NDArray[np.float32], shape: tuple[int, int], offset: float = 0.0) -> Heat:
    """A map of few places as one of many pixels that covers the same picture, by cubic interpolation.

    Args:
        contributions: (row, column), a number for each place.
        shape: rows and columns of the result.
        offset: how far the centre of what a place sees lies from the centre of its tile, in places, down and right.
    """
    along_rows, along_columns = (
        _interpolate(n_places, n_fine, offset) for n_places, n_fine in zip(contributions.shape, shape, strict=True)
    )
    fine: Heat = (along_rows @ contributions @ along_columns.T).astype(np.float32)  # (row, column)
    return fine


def _interpolate(n_places: int, n_fine: int, offset: float) -> NDArray[np.float64]:
    """The weights of places in each fine pixel, (fine, place), mirrored beyond the outer places.

    Cubic convolution, Keys 1981 (doi:10.1109/TASSP.1981.1163711).
    """
    centres = (np.arange(n_fine) + 0.5) * n_places / n_fine - 0.5 - offset  # in places
    first = np.floor(centres).astype(int)
    weights = np.zeros((n_fine, n_places))
    for step in (-1, 0, 1, 2):
        places = first + step
        distance = np.abs(centres - places)
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        np.add.at(weights, (np.arange(n_fine), _mirror(places, n_places)), np.where(distance <= 1, near, far))
    return weights


def _mirror(places: NDArray[np.int64], n_places: int) -> NDArray[np.int64]:
    """Places beyond the outer ones as those at the same distance on the inner side."""
    if n_places == 1:
        return np.zeros_like(places)
    period = 2 * (n_places - 1)
    inside: NDArray[np.int64] = (n_places - 1) - np.abs(places % period - (n_places - 1))
    return inside


def measure_offset(network: CancerNetwork, shape: tuple[int, int], device: torch.device) -> float:
    """How far what a place of the feature map sees lies from its tile of the picture, in places, down and right.

    Strided convolutions that pad on both sides look half a place up and left of an even tiling, those that pad at the
    end half a place down and right: told by the centre of the squared gradient of a middle place by the pixels, its
    effective receptive field (Luo et al. 2016, arXiv:1701.04128). 0 for tokens, which stand for tiles.
    """
    if network.layout.form != "maps":
        return 0.0
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 1, *shape, generator=generator).to(device).requires_grad_()
    with torch.enable_grad():
        maps = network.look(picture)  # (1, channel, row, column)
        middle = (maps.shape[-2] // 2, maps.shape[-1] // 2)
        seen = torch.zeros(shape, device=device)
        for _ in range(_N_PROBES):
            signs = (torch.rand(maps.shape[1], generator=generator) < 0.5).to(maps) * 2 - 1  # noqa: PLR2004  # a coin
            said = (maps[0, :, middle[0], middle[1]] * signs).sum()
            (gradient,) = torch.autograd.grad(said, picture, retain_graph=True)
            seen += gradient[0, 0].square()
    return _mean_offset(seen.double().cpu().numpy(), (maps.shape[-2], maps.shape[-1]), middle)


def _mean_offset(seen: NDArray[np.float64], n_places: tuple[int, int], middle: tuple[int, int]) -> float:
    """The mean over rows and columns: paddings are alike along both."""
    offsets = []
    for axis in (0, 1):
        along = seen.sum(axis=1 - axis)
        centre = float(along @ (np.arange(len(along)) + 0.5)) / max(float(along.sum()), np.finfo(float).tiny)
        offsets.append(centre * n_places[axis] / len(along) - 0.5 - middle[axis])
    return float(np.clip(np.mean(offsets), -0.5, 0.5))


def input_shape(bundle: Bundle) -> tuple[int, int]:
    """Rows and columns of what the networks see."""
    picture, prepare = bundle.recipe.picture, bundle.prepare
    return picture.held_out_rows or prepare.rows, picture.held_out_columns or prepare.columns


def check_map(bundle: Bundle) -> None:
    """Refuse a run whose network has no map of places.

    Raises:
        RunError: it pools its features itself, or its tokens fill no grid.
    """
    network, shape = bundle.networks[0], input_shape(bundle)
    reason = "pools its features itself"
    if network.layout.form != "pooled":
        with torch.no_grad():
            maps = network.look(torch.zeros(1, 1, *shape, device=bundle.device))
        sides = [n_pixels / places for n_pixels, places in zip(shape, maps.shape[-2:], strict=True)]
        if max(sides) <= _LONGEST_PATCH * min(sides):
            return
        reason = f"gives {maps.shape[-2]} x {maps.shape[-1]} places for pictures of {shape[0]} x {shape[1]}"
    raise RunError(
        f"{bundle.run.path}: {bundle.recipe.backbone.name} {reason}, expected a network with a map of places; "
        "explain a run of another backbone"
    )
