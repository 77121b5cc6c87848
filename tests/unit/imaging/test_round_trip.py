"""From a pixel of the original to the prepared picture in a store, and back."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid

from mammoscope.imaging.batch import PrepareJob, prepare_store
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import open_store

MakeDicom = Callable[..., bytes]
ROWS, COLUMNS = 1536, 1280
LESIONS = [(500, 300), (768, 700), (1000, 250)]  # row and column of a centre, in an unflipped picture
RADIUS = 12


def draw(*, is_flipped: bool, lesion: tuple[int, int], n_fold: int = 1) -> NDArray[np.uint16]:
    """A left breast, or its mirror image, with one bright dot, in n times as many rows and columns."""
    row, column = (np.mgrid[0 : n_fold * ROWS, 0 : n_fold * COLUMNS] + 0.5) / n_fold - 0.5
    inside = np.hypot((row - ROWS / 2) / (ROWS * 0.4), column / (COLUMNS * 0.7)) < 1
    dot = np.hypot(row - lesion[0], column - lesion[1]) <= RADIUS
    pixels = np.where(dot, 4000, np.where(inside, 1000, 0)).astype(np.uint16)
    return np.ascontiguousarray(pixels[:, ::-1]) if is_flipped else pixels


def _centre_of_dot(pixels: NDArray[np.generic]) -> tuple[float, float]:
    """Row and column, in continuous pixels, of what is brighter than the breast."""
    excess = np.clip(pixels.astype(float) - 0.4 * 65535, 0, None)
    row, column = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]] + 0.5
    return float((row * excess).sum() / excess.sum()), float((column * excess).sum() / excess.sum())


@pytest.mark.parametrize("is_flipped", [False, True], ids=["left", "flipped"])
@pytest.mark.parametrize(
    ("rows", "level"), [(1024, 0), (512, 1), (256, 2), (224, 3)], ids=["level 0", "level 1", "level 2", "level 3"]
)
def test_a_lesion_is_where_the_placement_says(
    tmp_path: Path, make_dicom: MakeDicom, *, is_flipped: bool, rows: int, level: int
) -> None:
    encode = partial(make_dicom, syntax=uid.JPEG2000Lossless)
    n_fold = 2 if level == 3 else 1  # a small picture is never decoded so low
    jobs = []
    for number, lesion in enumerate(LESIONS):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(encode(draw(is_flipped=is_flipped, lesion=lesion, n_fold=n_fold)))
        jobs.append(PrepareJob(str(number), str(path)))
    settings = PrepareSettings(rows=rows, columns=rows // 2 + rows // 4)
    prepare_store(jobs, tmp_path / "store", settings, run_tasks=map, advance=lambda _: None)
    store = open_store(tmp_path / "store")
    assert store.prepared["level"].to_list() == [level] * len(LESIONS)
    for job, (row, column) in zip(jobs, LESIONS, strict=True):
        original = (n_fold * (row + 0.5), n_fold * ((COLUMNS - 1 - column if is_flipped else column) + 0.5))
        placement = store.placement(job.image_id)
        assert placement.is_flipped == is_flipped
        found = _centre_of_dot(store.read(job.image_id))
        # a reduced level lies up to half of its pixel aside, which is less than half a pixel of the canvas
        np.testing.assert_allclose(found, placement.to_canvas(*original), atol=0.5)
        half_a_canvas_px = max(1 / scale for scale in placement.scale) / 2
        np.testing.assert_allclose(placement.to_original(*found), original, atol=half_a_canvas_px)
        np.testing.assert_allclose(placement.to_original(*placement.to_canvas(*original)), original, atol=1e-9)


def test_the_whole_file_leads_back_as_well(tmp_path: Path, make_dicom: MakeDicom) -> None:
    small = cv2.resize(draw(is_flipped=True, lesion=LESIONS[1]), (640, 768), interpolation=cv2.INTER_AREA)
    (tmp_path / "1.dcm").write_bytes(make_dicom(small))
    jobs = [PrepareJob("1", str(tmp_path / "1.dcm"))]
    prepare_store(
        jobs, tmp_path / "store", PrepareSettings(rows=300, columns=200), run_tasks=map, advance=lambda _: None
    )
    store = open_store(tmp_path / "store")
    expected = ((LESIONS[1][0] + 0.5) / 2, (COLUMNS - LESIONS[1][1] - 0.5) / 2)
    back = store.placement("1").to_original(*_centre_of_dot(store.read("1")))
    np.testing.assert_allclose(back, expected, atol=0.5 / min(store.placement("1").scale))
