"""A network's scores of pictures: the one way, in training and in prediction."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
import torch

from mammoscope.errors import ConfigError
from mammoscope.evaluation.scores import SCORES_VERSION
from mammoscope.learning.batches import Pictures, to_network_input
from mammoscope.learning.logits import PictureLogits, combine_to_breasts
from mammoscope.learning.network import CancerNetwork, NetworkOutput
from mammoscope.learning.settings import Combination, Recipe
from mammoscope.learning.table_layer import TableTensors

_ROWS, _COLUMNS = -2, -1
AXES_BY_FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (_COLUMNS,)),
    "all": ((), (_COLUMNS,), (_ROWS,), (_ROWS, _COLUMNS)),
}
"""The axes that are turned round for each look at a picture."""


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that the precision of a recipe means on a device; None is full precision.

    `auto` takes bf16 where that is faster (newer NVIDIA GPUs, CPUs with AMX), f16 on other GPUs, and full precision on
    other CPUs. f16 is for GPUs; a CPU scores in full precision what one has trained.
    """
    if precision == "f32" or (precision == "f16" and device.type != "cuda"):
        return None
    if precision in {"bf16", "f16"}:
        return torch.bfloat16 if precision == "bf16" else torch.float16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # AVX-512 BF16 alone is slower than f32 for the gradients of depthwise convolutions, which most backbones have
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else None  # noqa: SLF001  # torch has no public way


def check_precision(recipe: Recipe, device: torch.device) -> None:
    """Refuse to train in a precision that the device is not made for.

    Raises:
        ConfigError: f16 without a GPU.
    """
    if recipe.precision == "f16" and device.type != "cuda":
        raise ConfigError(
            "precision: found f16, which is for GPUs, and torch can use none here; expected auto, bf16 or f32"
        )


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` is the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def score_batches(
    network: CancerNetwork,
    batches: Iterable[Pictures],
    *,
    recipe: Recipe,
    device: torch.device,
    keeps_features: bool = False,
) -> PictureLogits:
    """What a network says of the pictures of batches, one batch after another; features, which are large, if asked."""
    network.eval()
    dtype = autocast_type(recipe.precision, device)
    outputs = []
    for stored, table in batches:
        grey = to_network_input(
            stored.to(device), rows=recipe.picture.held_out_rows, columns=recipe.picture.held_out_columns
        )
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            output = _compute_flipped(network, grey, None if table is None else table.to(device), recipe)
        outputs.append(output if keeps_features else output._replace(features=None))
    return gather_outputs(outputs)


def _compute_flipped(
    network: CancerNetwork, grey: torch.Tensor, table: TableTensors | None, recipe: Recipe
) -> NetworkOutput:
    """What a network says of pictures in the mean over the flips of the recipe, in the logits; features as they are."""
    flipped = (grey.flip(axes) if axes else grey for axes in AXES_BY_FLIPS[recipe.scoring.flips])
    outputs = [compute_outputs(network, each, table) for each in flipped]
    cancer, view, samples = (
        torch.stack([getattr(output, name).float() for output in outputs]).mean(dim=0)
        for name in ("cancer", "view", "samples")
    )
    return NetworkOutput(cancer, view, samples, {}, outputs[0].features)


def compute_outputs(network: CancerNetwork, grey: torch.Tensor, table: TableTensors | None) -> NetworkOutput:
    """What a network says of pictures in the caller's precision, or in full precision where that does not suffice.

    f16 ends at 65,504, which activations can exceed, the more so of a network that was trained in bf16 or f32.
    """
    output: NetworkOutput = network(grey, table)
    if not output.is_finite:
        with torch.autocast(grey.device.type, enabled=False):
            output = network(grey, table)
    return output


def gather_outputs(outputs: Sequence[NetworkOutput]) -> PictureLogits:
    """What was said of the pictures of several batches, one after another."""
    if not outputs:
        return PictureLogits(np.empty(0), np.empty(0))
    cancer = torch.cat([output.cancer for output in outputs])
    view = torch.cat([output.view for output in outputs])
    kept = [output.features for output in outputs if output.features is not None]
    features = torch.cat(kept).float().cpu().numpy() if len(kept) == len(outputs) else None
    return PictureLogits(cancer.double().cpu().numpy(), view.double().cpu().numpy(), features)


def tabulate_scores(rows: pl.DataFrame, logits: PictureLogits, combination: Combination) -> pl.DataFrame:
    """The score table of manifest rows: a row for each image, then one for each breast by its own way of combining."""
    images = rows.select(
        pl.lit(SCORES_VERSION, pl.Int64).alias("schema_version"),
        pl.lit("image").alias("level"),
        *("patient_id", "exam_id", "laterality", "view", "image_id"),
        pl.lit(1, pl.Int64).alias("n_images"),
        pl.Series("score", logits.probabilities, dtype=pl.Float64),
        *("cancer", "fold", "site", "machine"),
    )
    return pl.concat([images, combine_to_breasts(images, [logits], combination)])
