"""A timm backbone, a pooling and a head: a logit for each picture, and its weight among the views of a breast."""

import copy
import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from mammoscope.errors import ConfigError, MammoscopeError, WeightsError
from mammoscope.learning.settings import BackboneSettings, HeadSettings, Recipe
from mammoscope.learning.table_inputs import TableEncoder
from mammoscope.learning.table_layer import TableLayer, TableTensors, join_table

FROM_HUB, RANDOM = "hub", "none"
_ATTENTION_WIDTH = 128  # as in the experiments of arXiv:1802.04712
_GEM_POWER, _GEM_FLOOR = 3.0, 1e-4  # Radenović et al. 2018 (arXiv:1711.02512); the floor keeps half precision finite


class Pooling(nn.Module):
    """Features (batch, channel, row, column) to (batch, channel), or twice the channels for catavgmax."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.power = nn.Parameter(torch.tensor(_GEM_POWER)) if kind == "gem" else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool the features of each picture."""
        if self.power is not None:
            powered = features.float().clamp(min=_GEM_FLOOR) ** self.power
            return powered.mean(dim=(2, 3)) ** (1 / self.power)  # (batch, channel)
        parts = []
        if self.kind in {"avg", "catavgmax"}:
            parts.append(features.mean(dim=(2, 3)))
        if self.kind in {"max", "catavgmax"}:
            parts.append(features.amax(dim=(2, 3)))
        return torch.cat(parts, dim=1)  # (batch, channel) or (batch, 2 * channel)


class NetworkOutput(NamedTuple):
    """What is said of pictures: the logit of cancer and the log weight among the views of a breast, both (picture,)."""

    cancer: torch.Tensor
    view: torch.Tensor


class CancerNetwork(nn.Module):
    """Pictures (picture, 1, row, column) in [0, 1], and what the table says of them, to what is said of each."""

    backbone: Any  # timm's networks share methods, not a type

    def __init__(self, recipe: Recipe, encoder: TableEncoder | None = None) -> None:
        super().__init__()
        self.mean, self.spread = recipe.picture.mean, recipe.picture.spread
        self.backbone = _create_backbone(recipe.backbone)
        if recipe.backbone.frozen:
            self.backbone.requires_grad_(requires_grad=False)
        self.pooling = Pooling(recipe.head.pooling)
        width: int = self.backbone.num_features * (2 if recipe.head.pooling == "catavgmax" else 1)
        self.table_layer = None if encoder is None else TableLayer(encoder, recipe.table)
        width += 0 if encoder is None else recipe.table.hidden
        self.head = _build_head(width, recipe.head)
        self.view_attention = ViewAttention(width) if recipe.views.combine == "attention" else None

    def forward(self, pictures: torch.Tensor, table: TableTensors | None = None) -> NetworkOutput:
        """The logits of pictures, and their weights where views are combined by attention, else zeros."""
        normalised = (pictures - self.mean) / self.spread
        pooled = self.pooling(self.backbone.forward_features(normalised))  # (picture, channel)
        features = join_table(pooled, table, self.table_layer)  # (picture, channel and the table's)
        cancer: torch.Tensor = self.head(features).squeeze(1)  # (picture,)
        view = torch.zeros_like(cancer) if self.view_attention is None else self.view_attention(features)
        return NetworkOutput(cancer, view)


class ViewAttention(nn.Module):
    """Features (picture, channel) to the log weights of the pictures among the views of their breast, (picture,).

    The gated attention of Ilse, Tomczak & Welling 2018, arXiv:1802.04712, equation 9.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.signal, self.gate = nn.Linear(width, _ATTENTION_WIDTH), nn.Linear(width, _ATTENTION_WIDTH)
        self.weight = nn.Linear(_ATTENTION_WIDTH, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The log weights of pictures."""
        gated = torch.tanh(self.signal(features)) * torch.sigmoid(self.gate(features))  # (picture, hidden)
        weights: torch.Tensor = self.weight(gated).squeeze(1)  # (picture,)
        return weights


def build_network(recipe: Recipe, encoder: TableEncoder | None = None) -> CancerNetwork:
    """The network of a recipe with random weights, in channels-last memory order.

    `encoder` is that of the fold, where the recipe has columns of the table.

    Raises:
        ConfigError: timm knows no network of that name, or not with these options, or it gives no maps of features.
        MammoscopeError: the encoder is of other columns than the recipe.
    """
    found = () if encoder is None else encoder.columns
    if set(found) != set(recipe.table.columns):
        raise MammoscopeError(
            f"network: found an encoder of the columns {', '.join(found) or 'none'}, expected those of the recipe, "
            f"{', '.join(recipe.table.columns) or 'none'}; give the encoder of the fold"
        )
    return CancerNetwork(recipe, encoder).to(memory_format=torch.channels_last)


def load_backbone(network: CancerNetwork, backbone: BackboneSettings) -> None:
    """Put in the weights that the recipe names: timm's own from its hub, a file's, or none.

    Raises:
        WeightsError: the hub cannot be reached, the file cannot be read, or the weights are of another network.
    """
    if backbone.weights == RANDOM:
        return
    weights = _fetch_from_hub(backbone) if backbone.weights == FROM_HUB else _read_file(Path(backbone.weights))
    _fit_to_grey(weights, network.backbone)
    wanted = network.backbone.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in weights]
    problems += [
        f"{key} has shape {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if problems:
        raise WeightsError(
            f"weights {backbone.weights}: do not fit {backbone.name}: {len(problems)} keys differ, "
            f"such as {'; '.join(problems[:3])}; give the weights of this network, or set backbone.name to theirs"
        )
    network.backbone.load_state_dict({key: weights[key].to(value.dtype) for key, value in wanted.items()})


def adopt_metadata(recipe: Recipe, weights: Path | None) -> Recipe:
    """The recipe with what its weights say of themselves taken over; a file takes the place of the recipe's weights.

    Raises:
        WeightsError: as `adopt_weights_metadata`.
    """
    if weights is None and recipe.backbone.weights == FROM_HUB:
        return adopt_hub_metadata(recipe)
    if weights is None and recipe.backbone.weights == RANDOM:
        return recipe
    return adopt_weights_metadata(recipe, weights or Path(recipe.backbone.weights))


def adopt_weights_metadata(recipe: Recipe, weights: Path) -> Recipe:
    """The recipe with `backbone.weights` set to a file, and what the file says of itself taken over.

    A safetensors file may carry `architecture`, `mean`, `std` and `pad_type` in its metadata.

    Raises:
        WeightsError: the file cannot be read, or says that it is of another network, or says what cannot be.
    """
    said = _read_metadata(weights)
    architecture = said.get("architecture", recipe.backbone.name)
    if architecture != recipe.backbone.name:
        raise WeightsError(
            f"weights {weights}: made for {architecture}, but the recipe's backbone is {recipe.backbone.name}; "
            f"add --set backbone.name={architecture}"
        )
    options = dict(recipe.backbone.options)
    if "pad_type" in said:
        options["pad_type"] = said["pad_type"]
    grey = {name: _grey(said[key], weights, key) for name, key in (("mean", "mean"), ("spread", "std")) if key in said}
    backbone = recipe.backbone.model_copy(update={"weights": str(weights.resolve()), "options": options})
    return recipe.model_copy(update={"backbone": backbone, "picture": recipe.picture.model_copy(update=grey)})


def adopt_hub_metadata(recipe: Recipe) -> Recipe:
    """The recipe with the mean and spread that timm says its own weights were trained with, as grey equivalents."""
    said = timm.get_pretrained_cfg(recipe.backbone.name) if timm.is_model(recipe.backbone.name) else None
    if said is None:  # timm has no weights for it; making the network, or fetching them, will say so
        return recipe
    grey = {"mean": sum(said.mean) / len(said.mean), "spread": sum(said.std) / len(said.std)}
    return recipe.model_copy(update={"picture": recipe.picture.model_copy(update=grey)})


def _grey(text: str, weights: Path, key: str) -> float:
    try:
        channels = [float(part) for part in text.split(",")]
    except ValueError:
        channels = []
    grey = sum(channels) / max(len(channels), 1)
    is_possible = 0 <= grey <= 1 if key == "mean" else 0 < grey <= 1  # NaN is neither
    if not (channels and is_possible):
        raise WeightsError(
            f"weights {weights}: found {key} = {text!r} in its metadata, expected numbers from 0 to 1, split by commas "
            "(std above 0); write the file anew without it"
        )
    return grey


def _create_backbone(backbone: BackboneSettings) -> Any:  # noqa: ANN401  # timm's networks share methods, not a type
    if not timm.is_model(backbone.name):
        raise ConfigError(
            f"backbone.name: found {backbone.name!r}, which timm {timm.__version__} does not know; "
            f"names like it: {', '.join(difflib.get_close_matches(backbone.name, timm.list_models(), n=5)) or 'none'}"
        )
    options: dict[str, Any] = dict(backbone.options)
    try:
        created = timm.create_model(backbone.name, in_chans=1, num_classes=0, global_pool="", **options)
    except (TypeError, AssertionError) as error:
        raise ConfigError(
            f"backbone: {backbone.name} cannot be made with options {options} ({error or type(error).__name__}); "
            "correct backbone.options, or take another network"
        ) from error
    shape = _shape_of_features(created)
    if len(shape) != 4 or shape[1] != created.num_features:  # noqa: PLR2004  # (picture, channel, row, column)
        raise ConfigError(
            f"backbone.name: found {backbone.name}, which gives features of shape {shape}, expected (picture, channel, "
            f"row, column) with {created.num_features} channels; take a convolutional network, such as efficientnet_b0"
        )
    return created


def _shape_of_features(backbone: Any) -> tuple[int, ...]:  # noqa: ANN401  # timm's networks share methods, not a type
    """What the network makes of one picture of its own size, without computing anything."""
    _, n_rows, n_columns = backbone.pretrained_cfg["input_size"]
    shadow = copy.deepcopy(backbone).to("meta").eval()
    with torch.no_grad():
        return tuple(shadow.forward_features(torch.empty(1, 1, n_rows, n_columns, device="meta")).shape)


def _build_head(width: int, head: HeadSettings) -> nn.Sequential:
    modules: list[nn.Module] = [nn.BatchNorm1d(width)] if head.batch_norm else []
    for hidden in head.layers:
        modules += [nn.Linear(width, hidden), nn.ReLU()]
        modules += [nn.BatchNorm1d(hidden)] if head.batch_norm else []
        modules += [nn.Dropout(head.dropout)]
        width = hidden
    if not head.layers:
        modules += [nn.Dropout(head.dropout)]
    return nn.Sequential(*modules, nn.Linear(width, 1))


def _fetch_from_hub(backbone: BackboneSettings) -> dict[str, torch.Tensor]:
    options: dict[str, Any] = dict(backbone.options)
    try:
        with _quiet_hub():
            fetched = timm.create_model(backbone.name, pretrained=True, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"backbone.weights: timm's weights of {backbone.name} cannot be fetched ({type(error).__name__}); without "
            "a network, give them with --weights FILE.safetensors, or begin with random ones: "
            "--set backbone.weights=none"
        ) from error
    weights: dict[str, torch.Tensor] = fetched.state_dict()
    return weights


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Without the hub client's report of each attempt: one sentence of ours says what came of them."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict: keys() is needed
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"weights {path}: cannot be read ({error}); expected a safetensors file") from error


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"weights {path}: cannot be read ({error}); expected a safetensors file") from error


def _fit_to_grey(weights: dict[str, torch.Tensor], backbone: nn.Module) -> None:
    """Sum the colour channels of the first layer, which gives the same function of a grey picture as of three equal."""
    for key, wanted in backbone.state_dict().items():
        found = weights.get(key)
        if found is not None and wanted.ndim == found.ndim == 4 and wanted.shape[1] == 1 and found.shape[1] == 3:  # noqa: PLR2004  # convolutions: (out, in, row, column), grey against red, green, blue
            weights[key] = found.float().sum(dim=1, keepdim=True)
