"""How a backbone that has learned elsewhere goes on learning: what of it, when, and how fast.

Layers and stages are those that timm names of a network: groups of parameters, in their order from the picture on.
"""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

from timm.models import group_parameters
from torch import nn

from mammoscope.errors import ConfigError
from mammoscope.learning.settings import Recipe

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
_HEAD = "mammoscope_head"  # stands for what is above a backbone: no pattern of timm's matches it


def prepare_backbone(backbone: Any, recipe: Recipe) -> None:  # noqa: ANN401  # timm's networks share methods, not a type
    """Make a new backbone learn as the recipe says: freeze it, let it compute again rather than keep.

    Raises:
        ConfigError: the network cannot.
    """
    settings, name = recipe.fine_tuning, recipe.backbone.name
    if settings.train == "head":
        backbone.requires_grad_(requires_grad=False)
    if settings.train == "staged":
        list_stages(backbone, name)
    if settings.layer_decay < 1:
        scale_layers(backbone, settings.layer_decay, name)
    if settings.freeze_batch_norm and not any(_list_batch_norms(backbone)):
        raise ConfigError(f"fine_tuning.freeze_batch_norm: found true, but {name} has no BatchNorm; leave this key out")
    if settings.gradient_checkpointing:
        try:
            backbone.set_grad_checkpointing(enable=True)
        except (AttributeError, AssertionError) as error:
            raise ConfigError(
                f"fine_tuning.gradient_checkpointing: found true, but timm cannot do that with {name}; leave this key "
                "out, or lower batch.micro to save memory"
            ) from error


def fix_batch_norms(backbone: nn.Module) -> None:
    """Let the statistics of BatchNorm layers stay as they are: they are used, and do not follow the data."""
    for norm in _list_batch_norms(backbone):
        norm.eval()


def thaw_stages(backbone: Any, recipe: Recipe, *, epoch: int) -> None:  # noqa: ANN401  # timm's networks share methods, not a type
    """Let those stages learn whose turn has come in an epoch, 0 and up: the last first, one more every `stage_epochs`.

    The parameters of the others get no gradient, so that no optimizer moves them, neither by decay nor by momentum.
    """
    parameters = dict(backbone.named_parameters())
    stages = list_stages(backbone, recipe.backbone.name)
    n_frozen = max(len(stages) - epoch // recipe.fine_tuning.stage_epochs, 0)
    for number, names in enumerate(stages):
        for name in names:
            parameters[name].requires_grad_(number >= n_frozen)


def list_stages(backbone: Any, name: str) -> list[list[str]]:  # noqa: ANN401  # timm's networks share methods, not a type
    """The names of the parameters of each stage, from the picture on; what is above all stages is in none.

    Raises:
        ConfigError: timm does not name the stages of this network.
    """
    stage_by_parameter, n_stages = _group(backbone, f"fine_tuning.train: found 'staged', but {name}", coarse=True)
    stages: list[list[str]] = [[] for _ in range(n_stages)]
    for parameter, stage in stage_by_parameter.items():
        if stage < n_stages:
            stages[stage].append(parameter)
    return stages


def scale_layers(backbone: Any, decay: float, name: str) -> dict[str, float]:  # noqa: ANN401  # timm's networks share methods, not a type
    """The factor on the rate of each parameter of a backbone: the decay to the power of how far it is below the head.

    As in the fine-tuning of BEiT (Bao et al. 2021, arXiv:2106.08254) and in timm.

    Raises:
        ConfigError: timm does not name the layers of this network.
    """
    layer_by_parameter, n_layers = _group(
        backbone, f"fine_tuning.layer_decay: found {decay:g}, but {name}", coarse=False
    )
    return {parameter: decay ** (n_layers - layer) for parameter, layer in layer_by_parameter.items()}


def group_for_optimizer(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that learn, by rate and weight decay, the highest rate first.

    Biases, the weights of norms, and what timm names, such as position embeddings, are not decayed.
    """
    backbone: Any = network.get_submodule("backbone")
    decay, above = recipe.fine_tuning.layer_decay, recipe.fine_tuning.head_factor
    scales = scale_layers(backbone, decay, recipe.backbone.name) if decay < 1 else {}
    spared = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for full_name, parameter in network.named_parameters():
        is_of_backbone, name = full_name.startswith("backbone."), full_name.removeprefix("backbone.")
        is_spared = parameter.ndim <= 1 or (is_of_backbone and any(fnmatch(name, pattern) for pattern in spared))
        if parameter.requires_grad:
            key = (scales.get(name, 1.0) if is_of_backbone else above, not is_spared)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.optimizer.rate * scale,
            "weight_decay": recipe.optimizer.weight_decay if is_decayed else 0.0,
        }
        for (scale, is_decayed), parameters in sorted(groups.items(), key=lambda group: group[0], reverse=True)
    ]


class _UnderAHead:
    """A backbone with one parameter more, which timm groups with what its patterns do not match: that is the head."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter | None]]:
        yield from self.backbone.named_parameters()
        yield _HEAD, None


def _group(backbone: Any, found: str, *, coarse: bool) -> tuple[dict[str, int], int]:  # noqa: ANN401  # timm's networks share methods, not a type
    """The number of the group of each parameter, and the number of groups, which is also that of the head."""
    try:
        matcher = backbone.group_matcher(coarse=coarse)
    except (AttributeError, AssertionError) as error:
        parts = "stages" if coarse else "layers"
        raise ConfigError(f"{found} is a network whose {parts} timm does not name; leave this key out") from error
    under_a_head: Any = _UnderAHead(backbone)  # timm asks for the names only
    group_by_parameter: dict[str, int] = group_parameters(under_a_head, matcher, reverse=True)
    return group_by_parameter, group_by_parameter.pop(_HEAD)


def _list_batch_norms(backbone: nn.Module) -> Iterator[nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm]:
    return (module for module in backbone.modules() if isinstance(module, _BATCH_NORMS))
