"""Random changes of place: turned, moved, zoomed, sheared, cropped and bent in one resampling, or mirrored without."""

import math
from typing import Final

import torch
from torch.nn import functional

from mammoscope.learning.augment.chance import Chance, Purpose
from mammoscope.learning.settings import AugmentSettings

AIR: Final = 0.05
"""Grey values up to it are taken for air: that of real machines is 0, that of a sigmoid display up to 0.05."""

_LATTICE_SHARE: Final = 1 / 4  # between two control points of bending, of the shorter side: a few cm of breast
_CELLS: Final = (32, 16)  # in which the breast is looked for, 4 to 8 mm of it
_RIM_SHARE: Final = 0.02  # of the breast's area at each side: the thin ends at the chest wall


def change_place(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Pictures (batch, channel, row, column), all channels changed alike; what comes in from outside is 0.

    The first channel is the picture; masks may follow it. Where the breast would leave the picture, it is pulled back
    as far as there is room on the other side, but for 2 % of its area: a shift and a crop take away air before tissue.
    """
    if not _is_resampled(settings):
        return _flip(pictures, settings, chance)
    grid = draw_grid(pictures, settings, chance)
    moved = functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.clamp_(0, 1)  # the weights of four pixels may add up to a little more than 1


def draw_grid(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """The place in the old picture of each pixel of the new, (batch, row, column, xy), in units of half a picture."""
    matrices = affine_matrices(pictures.shape, settings, chance).to(pictures.device)  # (batch, xy, 3)
    matrices = _pull_back(matrices, pictures[:, 0])
    n_rows, n_columns = pictures.shape[-2:]
    x, y = _centres(n_columns, pictures.device), _centres(n_rows, pictures.device)
    across = matrices[:, :, 0, None] * x + matrices[:, :, 2, None]  # (batch, xy, column)
    down = matrices[:, :, 1, None] * y  # (batch, xy, row)
    # each coordinate on a plane of its own: torch's `affine_grid` takes a hundred times as long on a CPU
    places = across[:, :, None, :] + down[:, :, :, None]  # (batch, xy, row, column)
    if settings.elastic:
        places += _bend(matrices[:, :, :2], (n_rows, n_columns), settings, chance)
    return places.permute(0, 2, 3, 1)  # (batch, row, column, xy)


def affine_matrices(shape: torch.Size, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """The maps from each new picture to its old one, in units of half a picture: (batch, 2, 3), order (x, y).

    Nothing is pulled back yet. What a crop leaves out comes in again where other changes make room for it.
    """
    aspect = shape[2] / shape[3]
    angle = chance.either_way(Purpose.ROTATION, math.radians(settings.rotation_degrees))  # (batch, 1)
    shear = torch.tan(chance.either_way(Purpose.SHEAR, math.radians(settings.shear_degrees)))
    crop = 1 - chance.up_to(Purpose.CROP, settings.crop)  # the sides that are left
    zoom = crop * (1 + chance.either_way(Purpose.ZOOM, settings.zoom))
    shift = crop * chance.either_way(Purpose.SHIFT, 2 * settings.shift, 2)  # (batch, xy)
    centre = (1 - crop) * (2 * chance.uniform(Purpose.CROP_PLACE, 2) - 1)  # (batch, xy)
    flips = torch.cat(
        [_flip_signs(purpose, likely, chance) for purpose, likely in _flips(settings)], dim=1
    )  # (batch, xy)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    x_of, y_of = torch.cat([cos, sin / aspect], dim=1), torch.cat([(cos * shear - sin) * aspect, sin * shear + cos], 1)
    return torch.stack([flips * x_of, flips * y_of, shift + centre], dim=2)  # (batch, xy, 3)


def _flips(settings: AugmentSettings) -> tuple[tuple[Purpose, float], tuple[Purpose, float]]:
    """The chances of flips, along x and along y."""
    return (Purpose.FLIP_HORIZONTAL, settings.flip_horizontal), (Purpose.FLIP_VERTICAL, settings.flip_vertical)


def _flip_signs(purpose: Purpose, likely: float, chance: Chance) -> torch.Tensor:
    """-1 for the pictures that are mirrored, 1 for others: (batch, 1)."""
    return 1 - 2 * (chance.uniform(purpose) < likely).float()


def _is_resampled(settings: AugmentSettings) -> bool:
    affine = settings.rotation_degrees or settings.shift or settings.zoom or settings.shear_degrees
    return bool(affine or settings.crop or settings.elastic)


def _flip(pictures: torch.Tensor, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """Mirrored pictures without resampling: every grey value stays exactly as it is."""
    for axis, (purpose, likely) in zip((3, 2), _flips(settings), strict=True):
        if likely:
            is_flipped = (_flip_signs(purpose, likely, chance) < 0).view(-1, 1, 1, 1).to(pictures.device)
            pictures = torch.where(is_flipped, pictures.flip(axis), pictures)  # (batch, channel, row, column)
    return pictures


def _centres(length: int, device: torch.device) -> torch.Tensor:
    """The centres of pixels from -1, the picture's edge, to 1."""
    return (2 * torch.arange(length, device=device) + 1) / length - 1


def _pull_back(matrices: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """The maps (batch, xy, 3) with the breast moved in again, as far as the other side has room."""
    linear, offset = matrices[:, :, :2], matrices[:, :, 2:]
    low, high = _reach_of_breast(matrices, pictures)  # (batch, xy, 1)
    from_low = torch.minimum((-1 - low).clamp(min=0), (1 - high).clamp(min=0))
    from_high = torch.minimum((high - 1).clamp(min=0), (low + 1).clamp(min=0))
    return torch.cat([linear, offset - linear @ (from_low - from_high)], dim=2)  # (batch, xy, 3)


def _reach_of_breast(matrices: torch.Tensor, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From where to where the breast of pictures (batch, row, column) lies in the new ones, but for its rim.

    Each (batch, xy, 1), in units of half a picture.
    """
    is_tissue = (functional.adaptive_avg_pool2d(pictures, _CELLS) > AIR).float().flatten(1)  # (batch, cell)
    y, x = torch.meshgrid(*(_centres(length, pictures.device) for length in _CELLS), indexing="ij")
    cells = torch.stack([x.flatten(), y.flatten()])  # (xy, cell)
    forward = torch.linalg.inv_ex(matrices[:, :, :2]).inverse  # (batch, xy, xy); no zoom or shear is singular
    moved = forward @ (cells - matrices[:, :, 2:])  # (batch, xy, cell)
    ordered, order = moved.sort(dim=2)
    passed = is_tissue.unsqueeze(1).expand_as(order).gather(2, order).cumsum(dim=2)  # (batch, xy, cell)
    rim = _RIM_SHARE * passed[:, :, -1:]
    last = moved.shape[2] - 1  # where there is no tissue at all, any place will do
    low = ordered.gather(2, (passed <= rim).sum(dim=2, keepdim=True).clamp(max=last))
    high = ordered.gather(2, (passed < passed[:, :, -1:] - rim).sum(dim=2, keepdim=True).clamp(max=last))
    half_cell = torch.tensor([[1 / _CELLS[1]], [1 / _CELLS[0]]], device=pictures.device)  # (xy, 1)
    reach = forward.abs() @ half_cell  # (batch, xy, 1)
    return low - reach, high + reach


def _bend(linear: torch.Tensor, shape: tuple[int, int], settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """How far each place moves in the old picture, (batch, xy, row, column): a cubic B-spline over random points.

    Free-form deformation (Rueckert et al. 1999, doi:10.1109/42.796284). No spline folds whose points move by less than
    0.48 of the distance between them (Choi, Lee 2000, doi:10.1006/gmod.2000.0531).
    """
    shorter = min(shape)
    rows, columns = (_spline_weights(length, _LATTICE_SHARE * shorter) for length in shape)  # (row or column, point)
    count = (2, rows.shape[1], columns.shape[1])
    moves_px = chance.either_way(Purpose.ELASTIC, settings.elastic * shorter, math.prod(count)).view(-1, *count)
    halves_px = torch.tensor([shape[1], shape[0]]).view(2, 1, 1) / 2
    moves = (moves_px / halves_px).to(linear.device)  # (batch, xy, row point, column point)
    moves = torch.einsum("bij,bjrc->birc", linear, moves)  # a spline moved is that of its points moved
    return rows.to(linear.device) @ (moves @ columns.T.to(linear.device))  # (batch, xy, row, column)


def _spline_weights(length: int, spacing: float) -> torch.Tensor:
    """The weight of each control point at each pixel, (pixel, point): those of four points add up to 1."""
    places = (torch.arange(length) + 0.5) / spacing
    points = torch.arange(math.ceil(length / spacing) + 3) - 1  # one before the picture, and one or two after
    distance = (places[:, None] - points).abs()  # (pixel, point), in units of the lattice
    near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)
