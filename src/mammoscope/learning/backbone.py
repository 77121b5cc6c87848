"""A network of timm by its name, without its classifier."""

import copy
import difflib
from typing import Any

import timm
import torch

from mammoscope.errors import ConfigError
from mammoscope.learning.settings import BackboneSettings


def create_backbone(backbone: BackboneSettings) -> Any:  # noqa: ANN401  # timm's networks share methods, not a type
    """A network for pictures of one grey channel, with random weights, that gives maps of features.

    Raises:
        ConfigError: timm knows no network of that name, or not with these options, or it gives no maps of features.
    """
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
