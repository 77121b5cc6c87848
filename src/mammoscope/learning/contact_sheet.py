"""One batch as the network is trained on it, on one sheet: to look at what a recipe makes of the pictures."""

import math
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mammoscope.files import replacing
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning.batches import EpochSampler, EpochShare, StorePictures, training_batches
from mammoscope.learning.settings import Recipe
from mammoscope.learning.task import seed_of_batch, to_training_input
from mammoscope.learning.training import select_rows

# the dark colours of the pages: told apart by the colour-blind too
_PAPER, _INK, _MUTED, _CASE, _CONTROL = "#14171c", "#e9ebef", "#a3a9b5", "#e69f00", "#56b4e9"
_FEWEST_ROWS: Final = 192  # on the sheet; lower pictures are enlarged
_MOST_ROWS: Final = 512
_LEAST_WIDTH: Final = 110  # room for a caption
_GAP: Final = 14
_CAPTION_ROWS: Final = 24
_TITLE_ROWS: Final = 68
_PROPORTION: Final = 1.6  # of the sheet, about that of a screen


class SeenBatch(NamedTuple):
    """Pictures (picture, row, column) in [0, 1] as the network sees them; whether each is of a case; its strength."""

    pictures: NDArray[np.float32]
    is_case: list[bool]
    strengths: list[float]


def see_first_batch(manifest: pl.DataFrame, store: PreparedStore, recipe: Recipe, *, fold: int) -> SeenBatch:
    """The pictures of the first `batch.size` examples that a training of the fold sees, before mean and spread.

    Raises:
        TableError, StoreError, ConfigError: as `select_rows`.
    """
    training, _ = select_rows(manifest, store, fold=fold, recipe=recipe)
    share = EpochShare(EpochSampler(training, recipe, fold=fold))
    n_in_memory = recipe.batch.size // share.n_in_memory
    batches = list(islice(training_batches(StorePictures(training, store), share), n_in_memory))
    inputs = []
    for index, batch in enumerate(batches):
        seed = seed_of_batch(recipe, fold=fold, epoch=0, batch_index=index)
        inputs.append(to_training_input(batch, recipe, generator=torch.Generator().manual_seed(seed)))
    return SeenBatch(
        torch.cat(inputs)[:, 0].numpy(),  # (picture, row, column)
        [bool(outcome) for batch in batches for outcome in batch.targets[batch.examples]],
        [strength for batch in batches for strength in batch.strengths],
    )


def draw_contact_sheet(seen: SeenBatch, *, title: str) -> NDArray[np.uint8]:
    """The pictures of a batch side by side on dark ground, each above its outcome and strength; (row, column, RGB).

    All have one scale and keep their proportions: those lower than 192 rows are enlarged by a whole number, pixel by
    pixel, and those higher than 512 shrunk.
    """
    tiles = [_to_tile(picture) for picture in seen.pictures]
    width, height = max(_LEAST_WIDTH, tiles[0].width) + _GAP, tiles[0].height + _CAPTION_ROWS + _GAP
    n_across = _count_across(len(tiles), width=width, height=height)
    n_down = math.ceil(len(tiles) / n_across)
    large, small = ImageFont.load_default(20), ImageFont.load_default(15)
    n_pictures, n_rows, n_columns = seen.pictures.shape
    note = f"{n_pictures} pictures of {n_rows} x {n_columns} pixels: outcome, and strength of the changes"
    widest_line = math.ceil(max(large.getlength(title), small.getlength(note)))
    sheet = Image.new("RGB", (max(n_across * width, widest_line + _GAP) + _GAP, _TITLE_ROWS + n_down * height), _PAPER)
    brush = ImageDraw.Draw(sheet)
    brush.text((_GAP, 14), title, fill=_INK, font=large)
    brush.text((_GAP, 41), note, fill=_MUTED, font=small)
    for number, (tile, is_case, strength) in enumerate(zip(tiles, seen.is_case, seen.strengths, strict=True)):
        left, top = _GAP + number % n_across * width, _TITLE_ROWS + number // n_across * height
        sheet.paste(tile, (left, top))
        words, colour = ("case", _CASE) if is_case else ("control", _CONTROL)
        brush.text((left, top + tile.height + 4), words, fill=colour, font=small)
        brush.text((left + 60, top + tile.height + 4), f"x {strength:g}", fill=_MUTED, font=small)
    return np.asarray(sheet)  # (row, column, RGB)


def _count_across(n_tiles: int, *, width: int, height: int) -> int:
    """Tiles in a row of the sheet: near to its proportion, with few places left over in the last row."""
    wanted = math.sqrt(_PROPORTION * n_tiles * height / width)
    return min(range(1, n_tiles + 1), key=lambda count: -n_tiles % count + abs(count - wanted))


def write_contact_sheet(path: Path, sheet: NDArray[np.uint8]) -> None:
    """Write a sheet (row, column, RGB) as PNG, whole or not at all.

    Raises:
        OSError: the system refused to write.
    """
    with replacing(path) as beside:
        Image.fromarray(sheet).save(beside, "PNG")


def _to_tile(picture: NDArray[np.float32]) -> Image.Image:
    grey = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    if grey.height > _MOST_ROWS:
        return grey.resize((max(1, round(grey.width * _MOST_ROWS / grey.height)), _MOST_ROWS), Image.Resampling.LANCZOS)
    times = max(1, round(_FEWEST_ROWS / grey.height))
    return grey.resize((grey.width * times, grey.height * times), Image.Resampling.NEAREST)
