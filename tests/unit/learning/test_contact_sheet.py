from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.contact_sheet import SeenBatch, draw_contact_sheet, see_first_batch, write_contact_sheet
from mammoscope.learning.network import CancerNetwork, NetworkOutput
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_layer import TableTensors
from mammoscope.learning.training import train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
CHANGES = (
    "augment.flip_horizontal=0.5",
    "augment.rotation_degrees=10",
    "augment.noise=0.1",
    "augment.erase=0.2",
    "sampling=upsample",
    "batch.size=16",
)
PAPER = (20, 23, 28)


def _batch(n: int, rows: int, columns: int) -> SeenBatch:
    """Pictures that are black but for a white frame; every third is of a case, and changed 1.5 times as much."""
    pictures = np.zeros((n, rows, columns), dtype=np.float32)
    for edge in (0, -1):
        pictures[:, edge] = pictures[:, :, edge] = 1
    return SeenBatch(pictures, [i % 3 == 0 for i in range(n)], [1.5 if i % 3 == 0 else 1.0 for i in range(n)])


def _frames(sheet: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Rows, columns, top and left of each black rectangle with a white frame, found by its upper left corner."""
    white = (sheet == 255).all(axis=2)
    before = np.pad(white, ((1, 0), (1, 0)))[:-1, :-1] | np.pad(white, ((0, 0), (1, 0)))[:, :-1]
    corners = np.argwhere(white & ~before & ~np.pad(white, ((1, 0), (0, 0)))[:-1])
    found = []
    for top, left in corners:
        columns = int(np.argmin(np.append(white[top, left:], False)))
        rows = int(np.argmin(np.append(white[top:, left], False)))
        found += [(rows, columns, int(top), int(left))] if rows > 20 and columns > 20 else []
    return found


@pytest.fixture
def train_and_note(
    tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Recipe], list[torch.Tensor]]:
    """Train fold 1 of a recipe, and give the pictures of each step as they came into the network."""
    noted: list[torch.Tensor] = []
    forward = CancerNetwork.forward

    def note(self: CancerNetwork, pictures: torch.Tensor, table: TableTensors | None = None) -> NetworkOutput:
        if self.training:
            noted.append(pictures.clone())
        return forward(self, pictures, table)

    def run(recipe: Recipe) -> list[torch.Tensor]:
        monkeypatch.setattr(CancerNetwork, "forward", note)
        train_fold(start_tiny_run(recipe), tiny_manifest, tiny_store, fold=1, on_step=lambda _: None)
        return noted

    return run


@pytest.mark.parametrize(
    "assignments",
    [
        ("batch.micro=16",),
        ("batch.micro=2", "picture.train_rows=48", "picture.train_columns=32"),
        ("level=breast", "batch.size=8"),  # of two views each
    ],
)
def test_the_first_batch_is_what_the_network_is_trained_on(
    recipe_of: RecipeOf,
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    train_and_note: Callable[[Recipe], list[torch.Tensor]],
    assignments: tuple[str, ...],
) -> None:
    recipe = recipe_of(*CHANGES, *assignments, "epochs=1", "seed=3")
    noted = torch.cat(train_and_note(recipe))[:16, 0]
    shown = see_first_batch(tiny_manifest, tiny_store, recipe, fold=1)
    np.testing.assert_array_equal(shown.pictures, noted.numpy())
    assert sum(shown.is_case) > 0
    assert set(shown.strengths) == {1.0, 1.5}


def test_the_batch_is_of_the_fold_that_is_asked_for(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    first, second = (see_first_batch(tiny_manifest, tiny_store, recipe_of(), fold=fold) for fold in (0, 1))
    assert not np.array_equal(first.pictures, second.pictures)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((256, 160), (256, 160)),  # as it is
        ((64, 32), (192, 96)),  # three times as large
        ((1024, 512), (512, 256)),  # half as large
        ((100, 260), (200, 520)),  # wider than high
    ],
)
def test_every_picture_stands_on_dark_ground_in_its_proportions(shape: tuple[int, int], shown: tuple[int, int]) -> None:
    sheet = draw_contact_sheet(_batch(7, *shape), title="t")
    frames = _frames(np.where(sheet > 100, 255, 0) if shape[0] > 512 else sheet)
    assert len(frames) == 7
    for rows, columns, _, _ in frames:
        assert (rows, columns) == pytest.approx(shown, abs=2)
    assert sheet.dtype == np.uint8
    assert tuple(sheet[0, 0]) == tuple(sheet[-1, -1]) == PAPER


def test_below_each_picture_stand_its_outcome_and_its_strength() -> None:
    sheet = draw_contact_sheet(_batch(6, 200, 150), title="t").astype(int)
    captions = {}
    for number, (rows, columns, top, left) in enumerate(sorted(_frames(sheet), key=lambda frame: frame[2:])):
        caption = sheet[top + rows + 1 : top + rows + 24, left : left + columns]
        captions[number] = caption
        is_orange = (caption[..., 0] > caption[..., 2] + 60).any()
        is_blue = (caption[..., 2] > caption[..., 0] + 60).any()
        assert [bool(is_orange), bool(is_blue)] == [number % 3 == 0, number % 3 != 0]
    assert np.array_equal(captions[1], captions[2])
    others = _batch(6, 200, 150)._replace(strengths=[1.5] * 6)
    assert not np.array_equal(draw_contact_sheet(others, title="t"), sheet)


@pytest.mark.parametrize(("n", "across"), [(1, 1), (2, 2), (16, 8), (12, 6), (15, 5), (7, 4)])
def test_rows_of_the_sheet_are_full_or_nearly_so(n: int, across: int) -> None:
    frames = _frames(draw_contact_sheet(_batch(n, 256, 160), title="t"))
    assert len({left for *_, left in frames}) == across


def test_a_long_title_is_not_cut() -> None:
    narrow, wide = (draw_contact_sheet(_batch(1, 192, 110), title="t" * n) for n in (1, 200))
    assert wide.shape[1] > narrow.shape[1] > 110
    assert tuple(wide[20, -3]) == PAPER


def test_the_sheet_is_written_as_png_into_a_folder_that_is_made(tmp_path: Path) -> None:
    sheet = draw_contact_sheet(_batch(2, 64, 32), title="t")
    write_contact_sheet(tmp_path / "new" / "sheet.png", sheet)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "sheet.png")), sheet)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
