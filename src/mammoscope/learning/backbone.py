"""A network of timm by its name, without its classifier, and its features in one form: maps of places.

Networks differ in how they give features (maps with the channels first or last, tokens with or without some that stand
for the whole picture) and in whether they take pictures of any size. What a network does is tried once on the `meta`
device, where nothing is computed.
"""

import difflib
import math
import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, NamedTuple

import timm
import torch
from torch import nn

from mammoscope.errors import ConfigError
from mammoscope.learning.settings import Recipe

Arguments = dict[str, Any]
Size = tuple[int, int]

# what timm and torch raise at options, sizes and numbers of channels that a network does not take
_REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError, AssertionError, RuntimeError)


class Layout(NamedTuple):
    """How a network is fed, and how it gives its features.

    `form` is "maps" (picture, channel, row, column), "channels-last" (picture, row, column, channel), "tokens"
    (picture, place, channel) after `n_prefix` that are no places, or "pooled" (picture, channel): its own head pools
    them. `n_colours` is how often it wants the grey channel. `has_last_norm` says whether the last norm of them
    stands in its head.
    """

    form: Literal["maps", "channels-last", "tokens", "pooled"]
    n_channels: int
    n_prefix: int = 0
    n_colours: int = 1
    has_last_norm: bool = False


class _UnfitError(ConfigError):
    """A way to make a network does not serve; the reason is kept for the case that none does."""


def create_backbone(recipe: Recipe) -> tuple[Any, Layout]:
    """A network for the pictures of a recipe, with random weights, and how it gives its features.

    Raises:
        ConfigError: timm knows no network of that name, or not with these options, or it takes no pictures of these
            sizes, or it gives no features that can be pooled.
    """
    name = recipe.backbone.name
    if not timm.is_model(name):
        raise ConfigError(
            f"backbone.name: found {name!r}, which timm {timm.__version__} does not know; "
            f"names like it: {', '.join(difflib.get_close_matches(name, timm.list_models(), n=5)) or 'none'}"
        )
    arguments, layout = _find_way(recipe)
    return timm.create_model(name, **arguments), layout


def read_maps(backbone: Any, pictures: torch.Tensor, layout: Layout) -> torch.Tensor:  # noqa: ANN401  # timm's networks share methods, not a type
    """The features of pictures (picture, 1, row, column), as maps (picture, channel, row, column)."""
    features: Any = backbone.forward_features(pictures.expand(-1, layout.n_colours, -1, -1))
    if layout.form == "pooled" or layout.has_last_norm:
        features = backbone.forward_head(features, pre_logits=True)
    if layout.form == "pooled":
        pooled: torch.Tensor = features[:, :, None, None]  # (picture, channel, 1, 1)
        return pooled
    if layout.form == "tokens":
        return _arrange(features[:, layout.n_prefix :], (pictures.shape[-2], pictures.shape[-1]))
    maps: torch.Tensor = features.permute(0, 3, 1, 2) if layout.form == "channels-last" else features
    return maps


def _arrange(tokens: torch.Tensor, size: Size) -> torch.Tensor:
    """Tokens (picture, place, channel), row by row, as maps of the shape of the picture, or else of one column."""
    n_places = tokens.shape[1]
    n_rows = _count_rows(n_places, size) if _fills_rows(n_places, size) else n_places
    shape = (tokens.shape[0], -1, n_rows, n_places // n_rows)  # not len, which an export takes for a constant
    return tokens.transpose(1, 2).reshape(shape)  # (picture, channel, row, column)


def _count_rows(n_places: int, size: Size) -> int:
    """The rows of square places that fill a picture of some height and width."""
    return max(1, round(math.sqrt(n_places * size[0] / size[1])))


def _find_way(recipe: Recipe) -> tuple[Arguments, Layout]:
    """The first arguments of timm's `create_model` with which the network serves."""
    refused: list[Exception] = []
    unfit: list[Exception] = []
    for arguments in _list_ways(recipe):
        try:
            shadow = _make_shadow(recipe.backbone.name, arguments)
        except _REFUSALS as error:
            refused.append(error)
            continue
        try:
            return arguments, _find_layout(shadow, _picture_sizes(recipe), n_colours=arguments.get("in_chans", 3))
        except (*_REFUSALS, _UnfitError) as error:
            unfit.append(error)
    if unfit:
        raise ConfigError(_say_unfit(recipe, unfit[-1])) from unfit[-1]
    raise ConfigError(
        f"backbone: {recipe.backbone.name} cannot be made with options {_own_options(recipe)} "
        f"({_reason(refused[0])}); correct backbone.options, or take another network"
    ) from refused[0]


def _list_ways(recipe: Recipe) -> Iterator[Arguments]:
    """Arguments from the usual to the unusual: without its own pooling, of any size, for one channel; then others."""
    sizes = _picture_sizes(recipe)
    fixed: list[Arguments] = [{"img_size": sizes[0]}, {"img_size": sizes[0], "dynamic_img_size": True}] if sizes else []
    without_pooling: list[Arguments] = [{"global_pool": ""}, {}]
    grey: list[Arguments] = [{"in_chans": 1}, {}]
    for pooling, colours, size in product(without_pooling, grey, [{}, *fixed]):
        yield {"num_classes": 0, **pooling, **colours, **size, **_own_options(recipe)}


def _own_options(recipe: Recipe) -> Arguments:
    drop_path = recipe.fine_tuning.drop_path
    return dict(recipe.backbone.options) | ({} if drop_path is None else {"drop_path_rate": drop_path})


def _picture_sizes(recipe: Recipe) -> list[Size]:
    """The heights and widths that the network sees, that of training first; none where they are not said."""
    picture = recipe.picture
    pairs = [(picture.train_rows, picture.train_columns), (picture.held_out_rows, picture.held_out_columns)]
    return list(dict.fromkeys((rows, columns) for rows, columns in pairs if rows is not None and columns is not None))


def _make_shadow(name: str, arguments: Arguments) -> Any:  # noqa: ANN401  # timm's networks share methods, not a type
    """The network without numbers, so that it costs neither memory nor chance."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # what timm says of a way that may not be taken
        return timm.create_model(name, **arguments).eval()


def _find_layout(backbone: Any, sizes: list[Size], *, n_colours: int) -> Layout:  # noqa: ANN401  # timm's networks share methods, not a type
    """How the features come, from a try with a picture of each size, or of the network's own."""
    tried = sizes or [backbone.pretrained_cfg["input_size"][1:]]
    layout, *_ = [_layout_at(backbone, size, n_colours) for size in tried]
    return layout


@torch.no_grad()
def _layout_at(backbone: Any, size: Size, n_colours: int) -> Layout:  # noqa: ANN401  # timm's networks share methods, not a type
    _check_patches(backbone, size)
    features: Any = backbone.forward_features(torch.empty(1, n_colours, *size, device="meta"))
    shape = tuple(features.shape) if isinstance(features, torch.Tensor) else ()
    if len(shape) == 4:  # noqa: PLR2004  # maps
        is_last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
        layout = Layout("channels-last", shape[3]) if is_last else Layout("maps", shape[1])
    elif len(shape) == 3 and shape[1] > (n_prefix := _count_prefix(backbone, shape[1], size)):  # noqa: PLR2004  # tokens
        layout = Layout("tokens", shape[2], n_prefix)
    else:
        pooled = backbone.forward_head(features, pre_logits=True)
        if not isinstance(pooled, torch.Tensor) or pooled.ndim != 2:  # noqa: PLR2004  # (picture, channel)
            raise _UnfitError(f"its features come as {shape or type(features).__name__}, and it does not pool them")
        layout = Layout("pooled", pooled.shape[1])
    if layout.form != "pooled":
        layout = layout._replace(has_last_norm=_ends_in_norm(backbone, features))
    if layout.form != "pooled" and layout.n_channels != backbone.num_features:
        raise _UnfitError(f"its features come as {shape}, expected {backbone.num_features} channels")
    return layout._replace(n_colours=n_colours)


def _ends_in_norm(backbone: Any, features: torch.Tensor) -> bool:  # noqa: ANN401  # timm's networks share methods, not a type
    """Whether a network that does not pool makes of its features others of the same shape, as ConvNeXt's norm does.

    Heads that do more make other channels; they are made for classes, and left out.
    """
    ended = backbone.forward_head(features, pre_logits=True)
    return ended is not features and ended.shape == features.shape


def _count_prefix(backbone: Any, n_tokens: int, size: Size) -> int:  # noqa: ANN401  # timm's networks share methods, not a type
    """How many tokens stand for the whole picture, before those of places."""
    if hasattr(backbone, "num_prefix_tokens"):
        n_prefix: int = backbone.num_prefix_tokens
        return n_prefix
    # a few networks do not say: with a token too many, the places do not fill the picture row by row
    return next((n for n in (0, 1) if _fills_rows(n_tokens - n, size)), 0)


def _fills_rows(n_places: int, size: Size) -> bool:
    return n_places > 0 and n_places % _count_rows(n_places, size) == 0


def _check_patches(backbone: Any, size: Size) -> None:  # noqa: ANN401  # timm's networks share methods, not a type
    """Refuse pictures that timm would bring to another size, or whose last rows or columns it would cut off."""
    scaled = getattr(backbone, "img_size_scaled", (size,))  # of networks that see the picture in two sizes
    if tuple(scaled[0]) != tuple(size):
        raise _UnfitError(f"it brings all pictures to {scaled[0][0]} x {scaled[0][1]}")
    embedding: Any = getattr(backbone, "patch_embed", None)
    embeddings: list[Any] = list(embedding) if isinstance(embedding, nn.ModuleList) else [embedding]
    for each, (rows, columns) in zip(embeddings, scaled, strict=False):  # some embed in stages, the first one pictures
        if hasattr(each, "feat_ratio") and not getattr(each, "dynamic_img_pad", False):
            patch = each.feat_ratio(as_scalar=False)
            if rows % patch[0] or columns % patch[1]:
                raise _UnfitError(f"expected multiples of {patch[0]} rows and {patch[1]} columns")


def _say_unfit(recipe: Recipe, error: Exception) -> str:
    sizes = " and ".join(f"{rows} x {columns}" for rows, columns in _picture_sizes(recipe)) or "its own size"
    return (
        f"backbone.name: found {recipe.backbone.name}, which does not serve for pictures of {sizes} "
        f"({_reason(error)}); set picture.train_rows, train_columns, held_out_rows and held_out_columns to sizes "
        "that it takes, or take another network"
    )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
