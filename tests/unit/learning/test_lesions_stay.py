"""No lesion that makes a breast a case may leave the picture, or be erased from it: the label would be wrong."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mammoscope.anatomy import Laterality
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import place, resize_to_content
from mammoscope.learning.augment import place as place_module
from mammoscope.learning.augment.chance import Chance, draw_chance
from mammoscope.learning.augment.disturb import erase
from mammoscope.learning.augment.place import change_place, draw_grid
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.settings import AugmentSettings
from mammoscope.phantom.machine import MACHINES, Machine
from mammoscope.phantom.patient import Assignment, plan_patient
from mammoscope.phantom.picture import MammogramPlan
from mammoscope.phantom.truth import box_of, breast_mask

ROWS, COLUMNS = 128, 80
N_DRAWS = 200
SMALL = read_recipe("small", []).augment
STRONG = SMALL.model_copy(update={"crop": 0.1, "elastic": 0.03})


class Truth(NamedTuple):
    """A prepared phantom: where its breast is, and where one of its lesions; each (row, column), 0 to 1."""

    breast: NDArray[np.float32]
    lesion: NDArray[np.float32]


def _disc(row: float, column: float, radius: float) -> NDArray[np.float32]:
    """A disc with an edge of one pixel."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS] + 0.5
    return np.asarray(np.clip(radius - np.hypot(rows - row, columns - column) + 0.5, 0, 1), dtype=np.float32)


def _truths_of(plan: MammogramPlan, machine: Machine, rng: np.random.Generator) -> list[Truth]:
    """A truth for each malignant lesion, and one of 10 mm anywhere in the breast."""
    breast, spacing = breast_mask(plan, machine), machine.spacing_mm
    tight, rim = box_of(breast), round(5 / spacing)
    assert tight is not None
    placement = place(
        box := Box(
            max(0, tight.row_start - rim),
            max(0, tight.column_start - rim),
            min(machine.rows, tight.row_stop + rim),
            min(machine.columns, tight.column_stop + rim),
        ),
        original_shape=breast.shape,
        canvas_shape=(ROWS, COLUMNS),
        is_wall_left=plan.laterality is Laterality.LEFT,
        spacing_mm=(spacing, spacing),
    )
    content = resize_to_content(breast[box.top : box.bottom, box.left : box.right].astype(np.float32), placement)
    canvas = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    canvas[placement.content_top : placement.content_top + content.shape[0], : content.shape[1]] = content > 0.5
    px_of_mm = placement.scale[0] / spacing
    lesions = []
    for lesion in plan.lesions:
        if lesion.kind.is_malignant:
            from_left = lesion.x_mm if plan.laterality is Laterality.LEFT else machine.columns * spacing - lesion.x_mm
            row, column = placement.to_canvas(lesion.y_mm / spacing, from_left / spacing)
            lesions.append(_disc(row, column, lesion.radius_mm * px_of_mm))
    reach = 5 * px_of_mm
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(reach) + 1,) * 2)
    inner = cv2.erode(canvas, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    row, column = rng.choice(np.argwhere(inner > 0)) + 0.5
    return [Truth(canvas, each) for each in (*lesions, _disc(row, column, reach))]


def _draw_truths(n_patients: int) -> list[list[Truth]]:
    """The truths of pictures of cases: of each, those of its lesions, then the one anywhere."""
    truths = []
    for seed in range(n_patients):
        machine, rng = MACHINES[seed % len(MACHINES)].scaled(0.1), np.random.default_rng(seed)
        height_mm = machine.rows * machine.spacing_mm
        patient = plan_patient(
            Assignment(1, "train", machine, is_case=True), conspicuity=1.0, height_mm=height_mm, rng=rng
        )
        plans = [plan for plan in patient.mammograms if any(lesion.kind.is_malignant for lesion in plan.lesions)]
        truths += [_truths_of(plan, machine, rng) for plan in plans]
    return truths


@pytest.fixture(scope="module")
def truths() -> list[list[Truth]]:
    return _draw_truths(4)


def _area_of_pixels(grid: torch.Tensor) -> torch.Tensor:
    """How many pixels of the old picture each new pixel stands for, by differences; (batch, row, column)."""
    along_rows = torch.gradient(grid, dim=1)[0]
    along_columns = torch.gradient(grid, dim=2)[0]
    determinant = along_columns[..., 0] * along_rows[..., 1] - along_columns[..., 1] * along_rows[..., 0]
    return determinant.abs() * ROWS * COLUMNS / 4  # from units of half a picture


def _share_kept(truth: Truth, settings: AugmentSettings, chance: Chance) -> torch.Tensor:
    """The share of a lesion that is still in the picture after each change, (batch,)."""
    breast, lesion = (torch.from_numpy(each).expand(len(chance.keys), 1, -1, -1) for each in truth)
    moved = change_place(torch.cat([0.5 * breast, lesion], dim=1), settings, chance)[:, 1]
    area = _area_of_pixels(draw_grid(0.5 * breast, settings, chance))
    share: torch.Tensor = (moved * area).sum(dim=(1, 2)) / truth.lesion.sum()
    return share


def _chance(strength: float = 1.0) -> Chance:
    return draw_chance(N_DRAWS, torch.Generator().manual_seed(5), [strength] * N_DRAWS)


@pytest.mark.parametrize(("settings", "strength"), [(SMALL, 1.0), (SMALL, 1.5), (STRONG, 1.0)])
def test_a_lesion_stays_in_the_picture(truths: list[list[Truth]], settings: AugmentSettings, strength: float) -> None:
    lesions = [truth for of_picture in truths for truth in of_picture[:-1]]
    kept = torch.stack([_share_kept(truth, settings, _chance(strength)) for truth in lesions])
    assert kept.max() < 1.05  # what is measured is a share
    # the measure itself strays by 1 %
    assert (kept >= 0.99).float().mean() > 0.99
    assert kept.min() > 0.9


def test_a_small_lesion_anywhere_in_the_breast_is_lost_a_tenth_as_often_as_without_pulling_back(
    truths: list[list[Truth]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the chest wall and at the ends of the picture too; and the test above can fail."""
    pulled_back = torch.stack([_share_kept(of_picture[-1], SMALL, _chance()) for of_picture in truths])
    monkeypatch.setattr(place_module, "_pull_back", lambda matrices, _: matrices)
    left_alone = torch.stack([_share_kept(of_picture[-1], SMALL, _chance()) for of_picture in truths])
    lost, lost_before = ((kept < 0.5).float().mean() for kept in (pulled_back, left_alone))
    assert lost_before > 0.01
    assert lost < 0.1 * lost_before


@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_no_lesion_is_erased(truths: list[list[Truth]], strength: float) -> None:
    """Phantoms' cancers are 14 mm and more, a rectangle is 8 mm at the most; the share is of the breast."""
    settings = AugmentSettings(erase=0.1)
    for truth in (truth for of_picture in truths for truth in of_picture[:-1]):
        picture = torch.from_numpy(0.5 * truth.breast + 0.4 * truth.lesion).expand(N_DRAWS, 1, -1, -1)
        is_erased = (erase(picture, settings, _chance(strength)) != picture)[:, 0]
        assert is_erased.sum(dim=(1, 2)).max() <= 0.1 * strength * truth.breast.sum()
        lesion = torch.from_numpy(truth.lesion) > 0.5
        assert ((is_erased & lesion).sum(dim=(1, 2)) / lesion.sum()).max() < 0.8
        assert is_erased.any()
