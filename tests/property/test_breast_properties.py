"""What holds for the breast of every phantom, whatever is done to its picture."""

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mammoscope.imaging.breast import Box, BreastPlace, find_breast, shrink_for_search
from mammoscope.imaging.breast_mask import mask_breast
from mammoscope.phantom.artefacts import Artefact
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.sketch import Phantom, draw_phantom

SCALE = 0.12  # 333 rows of 0.71 mm
MACHINE = MACHINES[0].scaled(SCALE)
N_SEEDS = 12
BESIDE_THE_BREAST = (Artefact.LABELS, Artefact.SCRATCHES, Artefact.RAISED_BLACK, Artefact.SHUTTER, Artefact.BODY_PART)

seeds = st.integers(710_000, 710_000 + N_SEEDS - 1)


@cache
def _draw(seed: int, artefact: Artefact | None = None) -> Phantom:
    return draw_phantom(seed, MACHINE, frozenset({artefact} if artefact else ()))


def _shrink(phantom: Phantom) -> NDArray[np.float32]:
    small = shrink_for_search(phantom.pixels)
    return np.asarray((small - small.min()) / (small.max() - small.min()), dtype=np.float32)


def _find(small: NDArray[np.float32]) -> BreastPlace:
    return find_breast(small, (small.shape[0], small.shape[1]), margin=0.02)


def _distance(box: Box, other: Box) -> int:
    return max(abs(one - two) for one, two in zip(box, other, strict=True))


@settings(deadline=None, max_examples=40)
@given(seeds, st.floats(1e-3, 1e4), st.floats(-10, 10))
def test_brightness_may_be_scaled_and_shifted(seed: int, factor: float, offset: float) -> None:
    small = _shrink(_draw(seed))
    changed = np.asarray((small.astype(np.float64) + offset) * factor, dtype=np.float32)
    assert _distance(_find(changed).box, _find(small).box) <= 1


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_flipping_left_and_right_mirrors_the_box(seed: int) -> None:
    small = _shrink(_draw(seed))
    place, flipped = _find(small), _find(np.ascontiguousarray(small[:, ::-1]))
    columns = small.shape[1]
    mirrored = Box(flipped.box.top, columns - flipped.box.right, flipped.box.bottom, columns - flipped.box.left)
    assert _distance(place.box, mirrored) <= 1
    assert flipped.is_wall_left != place.is_wall_left


@settings(deadline=None, max_examples=60)
@given(seeds, st.data())
def test_a_marker_away_from_the_breast_leaves_the_box(seed: int, data: st.DataObject) -> None:
    small = _shrink(_draw(seed))
    place, rows, columns = _find(small), *small.shape
    height, width = data.draw(st.integers(3, 30)), data.draw(st.integers(3, 30))
    first, last = (place.box.right, columns - width) if place.is_wall_left else (0, place.box.left - width)
    assume(first <= last)
    start = data.draw(st.integers(first, last))
    top = data.draw(st.integers(0, rows - height))
    marked = small.copy()
    marked[top : top + height, start : start + width] = data.draw(st.floats(0.3, 1))
    assert _distance(_find(marked).box, place.box) <= 2


@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from([None, *BESIDE_THE_BREAST]))
def test_no_lesion_is_cut(seed: int, artefact: Artefact | None) -> None:
    phantom = _draw(seed, artefact)
    box = find_breast(_shrink(phantom), (MACHINE.rows, MACHINE.columns), margin=0.02).box
    for lesion in phantom.lesion_boxes:
        assert box.top <= lesion.row_start
        assert lesion.row_stop <= box.bottom
        assert box.left <= lesion.column_start
        assert lesion.column_stop <= box.right


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 1.0]))
def test_any_picture_has_a_box_inside_it(rows: int, columns: int, seed: int, share_of_noise: float) -> None:
    rng = np.random.default_rng(seed)
    picture = (rng.random((rows, columns)) * share_of_noise + rng.random((rows, 1))).astype(np.float32)
    place = _find(picture)
    assert 0 <= place.box.top < place.box.bottom <= rows
    assert 0 <= place.box.left < place.box.right <= columns
    assert place.is_sure or place.box == Box(0, 0, rows, columns)
    assert mask_breast(picture).shape == picture.shape


@pytest.mark.parametrize("seed", range(710_000, 710_000 + N_SEEDS))
def test_the_mask_lies_in_the_box(seed: int) -> None:
    small = _shrink(_draw(seed))
    box, mask = _find(small).box, mask_breast(small)
    assert mask[box.top : box.bottom, box.left : box.right].sum() == mask.sum()
