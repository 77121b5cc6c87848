"""How much each place of a picture adds to the logit of cancer: HiResCAM, Draelos & Carin 2020 (arXiv:2011.08891).

The gradient of the logit times the activation, at one feature map, summed over its channels and not pooled before. At
the last map, pooled by its mean and judged by one linear layer, that is exactly what each place contributes: the sum
over the places is the logit without its bias. Where the last map is too coarse to point at a lesion, the map is of an
earlier stage (as of Jiang et al. 2021, doi:10.1109/TIP.2021.3089943), and it is the contribution to first order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

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
_FEWEST_ROWS = 16  # of places: with fewer, one is larger than most lesions
_LEAST_CHANGE = 1e-2  # of the highest activation


@dataclass(frozen=True, slots=True)
class Stage:
    """A module of a backbone that gives a map of places: its name, and the number of its channels."""

    name: str
    n_channels: int

    def find_channels(self, maps: torch.Tensor) -> int:
        """The axis of the channels of its maps: networks have them first or last."""
        return 1 if maps.shape[1] == self.n_channels else maps.ndim - 1

    @contextmanager
    def watched(self, network: CancerNetwork, hook: Callable[..., torch.Tensor | None]) -> Iterator[None]:
        """Call a hook with what it gives, as of torch's modules, which may give something in its place."""
        handle = network.backbone.get_submodule(self.name).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


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
        network, shape = bundle.networks[0], input_shape(bundle)
        self.stage = find_stage(network, shape, bundle.device)
        self.offset = measure_offset(network, shape, bundle.device, self.stage)

    def explain(self, pictures: Sequence[CanvasPixels], rows: pl.DataFrame | None = None) -> Explanation:
        """The heat maps of prepared pictures, (row, column) each; `rows` as of `score_pictures`.

        Raises:
            MammoscopeError, TableError: as `score_pictures`.
        """
        bundle, stored = self.bundle, torch.from_numpy(np.stack(pictures))  # (picture, row, column)
        tables = [] if rows is None else [to_tensors(encoder.encode(rows)) for encoder in bundle.encoders]
        parts = [self.explain_by(network, stored, table) for network, table in zip_longest(bundle.networks, tables)]
        heats = np.stack([heat for heat, _ in parts]).mean(axis=0)  # (picture, row, column)
        return Explanation(tuple(heats), tuple(logits for _, logits in parts))

    def explain_by(
        self, network: CancerNetwork, stored: torch.Tensor, table: TableTensors | None = None
    ) -> tuple[NDArray[np.float32], PictureLogits]:
        """The heat maps of pictures (picture, row, column) by one network, and what it says of them.

        In the mean over the recipe's flips; the maps of mirror images are turned back before.
        """
        recipe, device = self.bundle.recipe, self.bundle.device
        size = {"rows": recipe.picture.held_out_rows, "columns": recipe.picture.held_out_columns}
        grey = to_network_input(stored.to(device), **size)
        table = None if table is None else table.to(device)
        shape = (-(-grey.shape[-2] // _FINE_PX), -(-grey.shape[-1] // _FINE_PX))
        heats, outputs = [], []
        for axes in AXES_BY_FLIPS[recipe.scoring.flips]:
            output, added = self._contribute(network, grey.flip(axes) if axes else grey, table)
            fine = np.stack([refine(each, shape, self.offset) for each in added.cpu().numpy()])
            heats.append(np.flip(fine, axes) if axes else fine)
            outputs.append(output)
        cancer, view, samples = (
            torch.stack([getattr(output, name) for output in outputs]).mean(dim=0)
            for name in ("cancer", "view", "samples")
        )
        return np.stack(heats).mean(axis=0), gather_outputs([NetworkOutput(cancer, view, samples, {})])

    def _contribute(
        self, network: CancerNetwork, grey: torch.Tensor, table: TableTensors | None
    ) -> tuple[NetworkOutput, torch.Tensor]:
        if self.stage is None:
            return contribute(network, look(network, grey, self.bundle.recipe), table)
        return contribute_at(network, grey, table, stage=self.stage, recipe=self.bundle.recipe)


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
    return _attribute(output, activations, channels=1)


def contribute_at(
    network: CancerNetwork, grey: torch.Tensor, table: TableTensors | None, *, stage: Stage, recipe: Recipe
) -> tuple[NetworkOutput, torch.Tensor]:
    """What a network says of pictures (picture, 1, row, column), and what each place of a stage adds to first order.

    In the recipe's precision, or in full where that does not suffice.
    """
    dtype = autocast_type(recipe.precision, grey.device)
    activations, output = _begin_at(network, grey, table, stage, dtype)
    if not output.is_finite:
        activations, output = _begin_at(network, grey, table, stage, None)
    return _attribute(output, activations, channels=stage.find_channels(activations))


def _attribute(
    output: NetworkOutput, activations: torch.Tensor, *, channels: int
) -> tuple[NetworkOutput, torch.Tensor]:
    """What was said, and gradient times activation, summed over the channels."""
    (gradient,) = torch.autograd.grad(output.cancer.sum(), activations)
    said = NetworkOutput(output.cancer.detach(), output.view.detach(), output.samples.detach(), {})
    return said, (gradient * activations).sum(dim=channels).detach()  # (picture, row, column)


def _begin_at(
    network: CancerNetwork,
    grey: torch.Tensor,
    table: TableTensors | None,
    stage: Stage,
    dtype: torch.dtype | None,
) -> tuple[torch.Tensor, NetworkOutput]:
    """The map of a stage as it comes, from which gradients are taken, and what is said of it."""
    begun: list[torch.Tensor] = []

    def begin(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        begun.append(output.detach().float().requires_grad_())
        return begun[0].clone()  # what follows may write into it

    with torch.enable_grad():
        is_cast = dtype is not None
        with stage.watched(network, begin), torch.autocast(grey.device.type, dtype or torch.bfloat16, enabled=is_cast):
            maps = network.look(grey)
        return begun[0], network.judge(maps.float(), table)


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


def find_stage(network: CancerNetwork, shape: tuple[int, int], device: torch.device) -> Stage | None:
    """The last stage with places enough to point at a lesion; None where the last map has them, or no stage serves.

    By timm's list of stages. One serves that gives one map, whose size tells: where each place is normed next, as in
    ConvNeXt and Swin, gradient times activation is 0 whatever the picture.
    """
    grey = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        last = network.look(grey)
        if network.layout.form not in {"maps", "channels-last"} or last.shape[-2] >= _FEWEST_ROWS:
            return None
        served = [stage for stage in _list_stages(network, shape) if _serves(network, grey, stage)]
        return None if not served or _is_blind(network, grey, served[-1], last) else served[-1]


def _list_stages(network: CancerNetwork, shape: tuple[int, int]) -> list[Stage]:
    """The stages with places enough, in their order."""
    listed = getattr(network.backbone, "feature_info", None)  # not all networks of timm have one
    names = {name for name, _ in network.backbone.named_modules()}
    infos = [each for each in (listed if isinstance(listed, list) else []) if each.get("module") in names]
    enough = [each for each in infos if shape[0] >= _FEWEST_ROWS * each["reduction"]]
    return [Stage(each["module"], each["num_chs"]) for each in enough]


def _serves(network: CancerNetwork, grey: torch.Tensor, stage: Stage) -> bool:
    """Whether a stage is passed once and gives one map, of as many channels as timm says and of rows enough."""
    given = _list_given(network, grey, stage)
    if len(given) != 1 or not isinstance(given[0], torch.Tensor) or given[0].ndim != 4:  # noqa: PLR2004  # picture, channel, row, column
        return False
    maps = given[0].movedim(stage.find_channels(given[0]), 1)
    return maps.shape[1] == stage.n_channels and maps.shape[2] >= _FEWEST_ROWS


def _is_blind(network: CancerNetwork, grey: torch.Tensor, stage: Stage, last: torch.Tensor) -> bool:
    """Whether the last map stays as it is when a stage gives half of everything."""
    with stage.watched(network, lambda _module, _inputs, output: output / 2):
        halved = network.look(grey)
    return bool((halved - last).abs().max() < _LEAST_CHANGE * last.abs().max())


def look_at(network: CancerNetwork, grey: torch.Tensor, stage: Stage | None) -> torch.Tensor:
    """The maps of a stage, or the last ones, of pictures (picture, 1, row, column): (picture, channel, row, column)."""
    if stage is None:
        return network.look(grey)
    maps: torch.Tensor = _list_given(network, grey, stage)[0]
    return maps.movedim(stage.find_channels(maps), 1)


def _list_given(network: CancerNetwork, grey: torch.Tensor, stage: Stage) -> list[Any]:
    """What a stage gives, each time that it is passed; some give several maps at once."""
    given: list[Any] = []
    with stage.watched(network, lambda _module, _inputs, output: given.append(output)):
        network.look(grey)
    return given


def measure_offset(
    network: CancerNetwork, shape: tuple[int, int], device: torch.device, stage: Stage | None = None
) -> float:
    """How far what a place of a feature map sees lies from its tile of the picture, in places, down and right.

    Strided convolutions that pad on both sides look half a place up and left of an even tiling, those that pad at the
    end half a place down and right: told by the centre of the squared gradient of a middle place by the pixels, its
    effective receptive field (Luo et al. 2016, arXiv:1701.04128). 0 for tokens, which stand for tiles.
    """
    if network.layout.form != "maps":
        return 0.0
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 1, *shape, generator=generator).to(device).requires_grad_()
    with torch.enable_grad():
        maps = look_at(network, picture, stage)  # (1, channel, row, column)
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
