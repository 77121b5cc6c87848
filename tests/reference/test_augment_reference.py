"""Each random change against another implementation, or worked by hand; chance against its source."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.interpolate import BPoly, BSpline
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import kstest
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from mammoscope.learning.augment.augment import augment
from mammoscope.learning.augment.chance import Chance, Purpose, draw_chance
from mammoscope.learning.augment.disturb import add_noise, blur, erase
from mammoscope.learning.augment.grey import change_grey
from mammoscope.learning.augment.place import affine_matrices, change_place, draw_grid
from mammoscope.learning.settings import AugmentSettings

ROWS, COLUMNS, N = 48, 32, 6
SMOOTH = 9  # pixels that a picture is smooth over, so that two ways of sampling it agree


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _chance(n: int = N, strength: float = 1.0) -> Chance:
    return draw_chance(n, _generator(), [strength] * n)


def _pictures(n: int = N) -> torch.Tensor:
    """Smooth pictures of tissue with much air around it, so that nothing has to be pulled back."""
    noise = torch.rand(n, 1, ROWS, COLUMNS, generator=_generator(1))
    smooth = functional.avg_pool2d(noise, SMOOTH, stride=1, padding=SMOOTH // 2)
    middle = torch.zeros(ROWS, COLUMNS)
    middle[14:34, 9:23] = 1
    return smooth * middle


# chance


def _splitmix64(seed: int, count: int) -> list[int]:
    """The generator as it was published, with a state that goes on."""
    numbers, mask = [], 2**64 - 1
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        mixed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(mixed ^ (mixed >> 31))
    return numbers


def test_the_generator_is_splitmix64() -> None:
    # the first numbers of seed 1234567, as other implementations have them in their tests
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert _splitmix64(1234567, 4) == published
    keys = [0, 1, 1234567, 2**63 - 1]
    drawn = Chance(torch.tensor(keys), torch.ones(4)).uniform(Purpose.ZOOM, 5)
    for key, numbers in zip(keys, drawn.tolist(), strict=True):
        stream = _splitmix64(key, Purpose.ZOOM)[-1]  # the picture's own sequence seeds that of a purpose
        assert numbers == [number / 2**24 for number in (each >> 40 for each in _splitmix64(stream, 5))]


def test_uniform_numbers_are_even_and_know_nothing_of_each_other() -> None:
    chance = _chance(400)
    drawn = np.stack([chance.uniform(purpose, 50).numpy() for purpose in Purpose])  # (purpose, picture, number)
    assert kstest(drawn.ravel(), "uniform").pvalue > 0.001
    tables = (drawn.reshape(len(drawn), -1), drawn.transpose(1, 0, 2).reshape(400, -1), drawn.reshape(-1, 50).T)
    for table in tables:  # between purposes, between pictures, between places
        correlation = np.corrcoef(table)[np.triu_indices(len(table), 1)]
        # 5.5 deviations of a correlation of so many numbers: one in 10 million goes beyond
        assert np.abs(correlation).max() < 5.5 / math.sqrt(table.shape[1])


@pytest.mark.parametrize("count", [1, 2, 4001])
def test_normal_numbers_are_normal(count: int) -> None:
    drawn = _chance(8000 // count).normal(Purpose.NOISE_OF_PIXELS, count, torch.device("cpu"))
    assert drawn.shape == (8000 // count, count)
    assert kstest(drawn.numpy().ravel(), "norm").pvalue > 0.001


# place


def test_the_grid_is_torchs_affine_grid() -> None:
    settings = AugmentSettings(rotation_degrees=20, shift=0.1, zoom=0.2, shear_degrees=10, crop=0.1, flip_vertical=0.5)
    pictures = _pictures()
    wanted = functional.affine_grid(
        affine_matrices(pictures.shape, settings, _chance()), [*pictures.shape], align_corners=False
    )
    torch.testing.assert_close(draw_grid(pictures, settings, _chance()), wanted)


def test_pictures_are_sampled_as_scipy_does() -> None:
    settings = AugmentSettings(rotation_degrees=90, shift=0.2, zoom=0.5, shear_degrees=30, elastic=0.1)
    pictures = torch.rand(N, 1, ROWS, COLUMNS, generator=_generator(1))  # rough, and up to the edges
    moved, grid = (each(pictures, settings, _chance()).numpy() for each in (change_place, draw_grid))
    for picture, found, places in zip(pictures.numpy(), moved, grid, strict=True):
        rows, columns = ((places[..., 1] + 1) * ROWS - 1) / 2, ((places[..., 0] + 1) * COLUMNS - 1) / 2
        wanted = map_coordinates(picture[0], [rows, columns], order=1, mode="grid-constant", cval=0)
        np.testing.assert_allclose(found[0], wanted, atol=2e-4)


@pytest.mark.parametrize(
    ("settings", "purpose"),
    [
        (AugmentSettings(rotation_degrees=40), Purpose.ROTATION),
        (AugmentSettings(shear_degrees=25), Purpose.SHEAR),
        (AugmentSettings(zoom=0.3), Purpose.ZOOM),
        (AugmentSettings(shift=0.15), Purpose.SHIFT),
    ],
)
def test_each_change_of_place_is_torchvisions(settings: AugmentSettings, purpose: Purpose) -> None:
    pictures = _pictures()
    degrees = {Purpose.ROTATION: settings.rotation_degrees, Purpose.SHEAR: settings.shear_degrees}.get(purpose, 0)
    angles = _chance().either_way(purpose, degrees)[:, 0]
    zooms = 1 + _chance().either_way(Purpose.ZOOM, settings.zoom)[:, 0]
    shifts = _chance().either_way(Purpose.SHIFT, settings.shift, 2) * torch.tensor([COLUMNS, ROWS])
    moved = change_place(pictures, settings, _chance())
    for number, picture in enumerate(pictures):
        angle = angles[number].item()
        wanted = affine(
            picture,
            angle=-angle if purpose is Purpose.ROTATION else 0.0,
            translate=(-shifts[number]).tolist(),
            scale=1 / zooms[number].item(),
            shear=[angle if purpose is Purpose.SHEAR else 0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(moved[number], wanted, atol=2e-4, rtol=0)
    assert (moved - pictures).abs().amax(dim=(1, 2, 3)).max() > 0.05


def test_a_crop_is_the_part_of_the_picture_enlarged() -> None:
    settings, pictures = AugmentSettings(crop=0.3), _pictures()
    sides = 1 - _chance().up_to(Purpose.CROP, 0.3)[:, 0]
    places = _chance().uniform(Purpose.CROP_PLACE, 2)
    cropped = change_place(pictures, settings, _chance())
    for number, side in enumerate(sides.tolist()):
        left, top = (places[number] * (1 - side) * torch.tensor([COLUMNS, ROWS])).tolist()
        rows = top + (np.arange(ROWS) + 0.5) * side - 0.5
        columns = left + (np.arange(COLUMNS) + 0.5) * side - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        wanted = map_coordinates(pictures[number, 0].numpy(), grid, order=1, mode="grid-constant")
        np.testing.assert_allclose(cropped[number, 0].numpy(), wanted, atol=2e-4)


def _bend_by_scipy(moves: NDArray[np.float64], spacing: float) -> NDArray[np.float64]:
    """The spline over control points (row, column), the first one before the picture, at each pixel."""
    bent = moves
    for axis, length in enumerate((ROWS, COLUMNS)):
        knots = np.arange(moves.shape[axis] + 4) - 3.0
        spline = BSpline(knots, np.moveaxis(bent, axis, 0), 3)
        bent = np.moveaxis(spline((np.arange(length) + 0.5) / spacing), 0, axis)
    return bent


def test_bending_is_scipys_cubic_spline() -> None:
    settings, pictures = AugmentSettings(elastic=0.1), _pictures()
    spacing = COLUMNS / 4
    n_points = (ROWS // spacing + 3, COLUMNS // spacing + 3)
    moves = _chance().either_way(Purpose.ELASTIC, 0.1 * COLUMNS, int(2 * math.prod(n_points)))
    bent = draw_grid(pictures, settings, _chance()) - draw_grid(pictures, AugmentSettings(shift=1e-9), _chance())
    for axis, length in enumerate((COLUMNS, ROWS)):
        of_axis = moves.view(N, 2, *map(int, n_points))[:, axis].double().numpy()
        for number in range(N):
            wanted = _bend_by_scipy(of_axis[number], spacing)
            np.testing.assert_allclose(bent[number, :, :, axis].numpy() * length / 2, wanted, atol=1e-3)
            assert np.abs(wanted).max() > 0.5


def test_bending_by_nothing_changes_nothing() -> None:
    pictures = torch.rand(N, 1, ROWS, COLUMNS, generator=_generator(1))
    torch.testing.assert_close(change_place(pictures, AugmentSettings(elastic=1e-12), _chance()), pictures)


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (50, 33)])
def test_bending_never_folds_at_the_most_that_is_allowed(shape: tuple[int, int]) -> None:
    """Each pixel keeps the order of its neighbours: the area that it stands for is positive everywhere."""
    settings = AugmentSettings(elastic=0.1, rotation_degrees=30, zoom=0.5, shear_degrees=30)
    grid = draw_grid(torch.rand(200, 1, *shape), settings, _chance(200, strength=1.19))
    along_rows, along_columns = torch.gradient(grid, dim=(1, 2))
    area = along_columns[..., 0] * along_rows[..., 1] - along_columns[..., 1] * along_rows[..., 0]
    assert area.min() > 0


# grey


def test_gamma_contrast_brightness_and_window_worked_by_hand() -> None:
    grey = torch.full((200, 1, 2, 2), 0.5)
    gamma = augment(grey, AugmentSettings(gamma=0.5), generator=_generator())
    assert gamma.max().item() == pytest.approx(0.5 ** math.exp(-0.5), abs=0.01)
    assert gamma.min().item() == pytest.approx(0.5 ** math.exp(0.5), abs=0.01)
    contrast = augment(grey, AugmentSettings(contrast=0.4), generator=_generator())
    assert (contrast.min().item(), contrast.max().item()) == pytest.approx((0.3, 0.7), abs=0.01)
    brightness = augment(grey, AugmentSettings(brightness=0.2), generator=_generator())
    assert (brightness.min().item(), brightness.max().item()) == pytest.approx((0.3, 0.7), abs=0.01)
    window = augment(grey, AugmentSettings(window=0.2), generator=_generator())
    # (0.5 - 0.2) / 0.8 where all is taken from below, 0.5 / 0.8 where all is taken from above
    assert (window.min().item(), window.max().item()) == pytest.approx((0.375, 0.625), abs=0.02)


def test_each_grey_of_a_picture_worked_by_hand() -> None:
    ramp = torch.tensor([0, 0.05, 0.1, 0.4, 0.8, 1.0]).view(1, 1, 1, 6).repeat(N, 1, 1, 1)
    added = _chance().either_way(Purpose.BRIGHTNESS, 0.3)[:, 0]
    brighter = change_grey(ramp, AugmentSettings(brightness=0.3), _chance())[:, 0, 0]
    low, above = _chance().up_to(Purpose.WINDOW, 0.3, 2).T
    windowed = change_grey(ramp, AugmentSettings(window=0.3), _chance())[:, 0, 0]
    for number in range(N):
        whole = ramp[number, 0, 0] + added[number] * torch.tensor([0, 0.5, 1, 1, 1, 1])  # half below a grey of 0.1
        assert brighter[number].tolist() == pytest.approx(whole.clamp(0, 1).tolist(), abs=1e-6)
        spread = (ramp[number, 0, 0] - low[number]) / (1 - above[number] - low[number])
        assert windowed[number].tolist() == pytest.approx(spread.clamp(0, 1).tolist(), abs=1e-6)


def test_a_tone_curve_is_scipys_bernstein_polynomial_rises_and_keeps_its_ends() -> None:
    greys = torch.linspace(0, 1, 101).view(1, 1, 1, -1).repeat(N, 1, 1, 1)
    curves = change_grey(greys, AugmentSettings(tone_curve=1.5), _chance())[:, 0, 0].numpy()
    rises = np.exp(_chance().either_way(Purpose.TONE_CURVE, 0.75, 5).double().numpy())
    for curve, rise in zip(curves, rises, strict=True):
        heights = np.concatenate([[0], rise.cumsum() / rise.sum()])
        wanted = BPoly(heights[:, None], [0, 1])(np.linspace(0, 1, 101))
        np.testing.assert_allclose(curve, wanted, atol=1e-5)
        assert (curve[0], curve[-1]) == pytest.approx((0, 1), abs=1e-6)
        slopes = np.diff(curve) * 100
        assert math.exp(-1.5) - 0.01 < slopes.min() < slopes.max() < math.exp(1.5) + 0.01
    assert np.abs(curves - greys[:, 0, 0].numpy()).max() > 0.05


# blur, noise, erasing


def test_blur_is_scipys_gaussian_filter() -> None:
    pictures = torch.rand(N, 1, ROWS, COLUMNS, generator=_generator(1))
    deviations = _chance().up_to(Purpose.BLUR, 2.5)[:, 0].tolist()
    blurred = blur(pictures, AugmentSettings(blur_px=2.5), _chance())
    for picture, found, deviation in zip(pictures[:, 0].numpy(), blurred[:, 0].numpy(), deviations, strict=True):
        wanted = gaussian_filter(picture, deviation, mode="nearest", radius=math.floor(3 * deviation))
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (blurred - pictures).abs().max() > 0.1


def test_noise_has_a_variance_proportional_to_the_grey() -> None:
    greys = torch.tensor([0, 0.1, 0.4, 0.5]).view(1, 1, 4, 1).repeat(N, 1, 1, 20_000)
    noisy = add_noise(greys, AugmentSettings(noise=0.1), _chance())
    most = _chance().up_to(Purpose.NOISE, 0.1)[:, 0]
    deviations = (noisy - greys).std(dim=3)[:, 0]
    wanted = most[:, None] * torch.tensor([0, 0.1, 0.4, 0.5]).sqrt()
    torch.testing.assert_close(deviations, wanted, rtol=0.05, atol=1e-6)  # 20,000 numbers stray by 0.5 %; cut at 0
    assert (noisy - greys).mean(dim=3).abs().max() < 0.002


def test_what_is_erased_is_rectangles_of_the_mean_grey_within_the_share() -> None:
    shape = (100, 60)
    pictures = 0.2 + 0.7 * torch.rand(40, 1, *shape, generator=_generator(1))
    pictures[:, :, :, 30:] = 0  # half of each is air
    settings = AugmentSettings(erase=0.3, erase_side=0.2)
    erased = erase(pictures, settings, _chance(40))
    is_erased = erased != pictures
    for number in range(40):
        mean = pictures[number, :, :, :30].mean()
        torch.testing.assert_close(erased[number][is_erased[number]], mean.expand(int(is_erased[number].sum())))
    share = is_erased[:, 0, :, :30].float().mean(dim=(1, 2))
    most = _chance(40).up_to(Purpose.ERASED_SHARE, 0.3)[:, 0]
    assert (share <= most).all()
    assert share.max() > 0.2
    assert not is_erased[:, :, :, 30:].any()


def test_an_erased_rectangle_is_half_to_all_of_the_longest_side_that_is_allowed() -> None:
    pictures = 0.2 + 0.7 * torch.rand(400, 1, 100, 60, generator=_generator(1))
    # 4 % of 6,000 pixels are 240: one rectangle of up to 20 x 20, or two or three of the smaller ones
    is_erased = erase(pictures, AugmentSettings(erase=0.04, erase_side=0.2), _chance(400))[:, 0] != pictures[:, 0]
    single = []
    for each in is_erased:
        rows, columns = each.any(dim=1).nonzero().flatten(), each.any(dim=0).nonzero().flatten()
        if len(rows):
            height, width = (int(places[-1] - places[0]) + 1 for places in (rows, columns))
            single += [(height, width)] if each.sum() == height * width else []
    assert len(single) > 50
    sides = np.array(single)
    assert sides.min() == 10
    assert 17 <= sides.max() <= 19  # below 20, and 20 x 20 is more than there is
