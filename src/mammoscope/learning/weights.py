"""The weights that a backbone starts from: timm's from its hub, or a safetensors file with what it says of itself."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models import model_entrypoint
from torch import nn

from mammoscope.errors import WeightsError
from mammoscope.learning.network import CancerNetwork
from mammoscope.learning.settings import BackboneSettings, Recipe

FROM_HUB, RANDOM = "hub", "none"


def load_backbone(network: CancerNetwork, backbone: BackboneSettings) -> None:
    """Put in the weights that the recipe names: timm's own from its hub, a file's, or none.

    Raises:
        WeightsError: the hub cannot be reached, the file cannot be read, or the weights are of another network.
    """
    if backbone.weights == RANDOM:
        return
    weights = _fetch_from_hub(backbone) if backbone.weights == FROM_HUB else _read_file(Path(backbone.weights))
    weights = _fit(weights, network.backbone)
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


def _fit(weights: dict[str, torch.Tensor], backbone: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401  # timm's networks share methods, not a type
    """The weights for the network as it was made: without its own pooling, for grey, for other sizes of pictures."""
    wanted = backbone.state_dict()
    for key in wanted:
        if key not in weights and f"fc_{key}" in weights:  # a norm that stands behind timm's pooling, and before ours
            weights[key] = weights[f"fc_{key}"]
    _fit_to_grey(weights, backbone)
    adapt = _find_adaptation(backbone)
    return weights if adapt is None or wanted.keys() - weights.keys() else adapt(weights, backbone)


def _find_adaptation(backbone: Any) -> Callable[..., dict[str, torch.Tensor]] | None:  # noqa: ANN401  # timm's networks share methods, not a type
    """What timm does to weights of this family: it brings position embeddings and tables of biases to another size."""
    modules = [model_entrypoint(backbone.pretrained_cfg["architecture"]).__module__, type(backbone).__module__]
    found = (vars(sys.modules[module]).get("checkpoint_filter_fn") for module in modules)
    return next((each for each in found if each is not None), None)


def _fit_to_grey(weights: dict[str, torch.Tensor], backbone: nn.Module) -> None:
    """Sum the colour channels of the first layer, which gives the same function of a grey picture as of three equal."""
    for key, wanted in backbone.state_dict().items():
        found = weights.get(key)
        if found is not None and wanted.ndim == found.ndim == 4 and wanted.shape[1] == 1 and found.shape[1] == 3:  # noqa: PLR2004  # convolutions: (out, in, row, column), grey against red, green, blue
            weights[key] = found.float().sum(dim=1, keepdim=True)
