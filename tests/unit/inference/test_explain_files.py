import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
import torch

from mammoscope.errors import UserInputError
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.collect import Prediction
from mammoscope.inference.decoders import decode_here
from mammoscope.inference.explain import ExplainedFiles, explain_files, share_views
from mammoscope.inference.explained import make_alias, tabulate_peaks, write_map, write_peaks
from mammoscope.inference.heat import HeatMapper
from mammoscope.inference.reading import ScoringTask, tasks_from_folder
from mammoscope.learning.run import Run

Predict = Callable[..., Prediction]


@pytest.fixture
def mapper(random_run: Run) -> HeatMapper:
    return HeatMapper(open_bundle(random_run.path, torch.device("cpu")))


@pytest.fixture
def images(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the eight DICOM files, to break."""
    return Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))


def _tasks(mapper: HeatMapper, images: Path) -> list[ScoringTask]:
    return tasks_from_folder(images, mapper.bundle.prepare)


def _explain(mapper: HeatMapper, tasks: Sequence[ScoringTask], n_peaks: int = 5) -> ExplainedFiles:
    return explain_files(mapper, tasks, decode=decode_here, advance=lambda _: None, n_peaks=n_peaks)


def test_what_is_explained_is_what_is_predicted(mapper: HeatMapper, images: Path, predict: Predict) -> None:
    tasks = _tasks(mapper, images)
    explained = _explain(mapper, tasks)
    prediction = predict(mapper.bundle, tasks)
    assert [image.mammogram.image_id for image in explained.images] == prediction.image_scores["image_id"].to_list()
    scores = [image.said.score for image in explained.images]
    assert scores == pytest.approx(prediction.image_scores["score"].to_list(), abs=1e-6)
    by_breast = {(row["exam_id"], row["laterality"]): row["score"] for row in prediction.breast_scores.to_dicts()}
    for image in explained.images:
        key = (image.mammogram.exam_id, image.mammogram.laterality.value)
        assert image.said.breast_score == pytest.approx(by_breast[key], abs=1e-6)
        assert image.said.view_share is None
    assert all(image.task in tasks for image in explained.images)


def test_peaks_lie_in_what_was_cut_out_of_the_file(mapper: HeatMapper, images: Path) -> None:
    explained = _explain(mapper, _tasks(mapper, images))
    assert any(image.peaks for image in explained.images)
    for image in explained.images:
        cut = image.placement.box
        for peak in image.peaks:
            assert cut.top <= peak.box.top < peak.box.bottom <= cut.bottom
            assert cut.left <= peak.box.left < peak.box.right <= cut.right
        assert sum(peak.share for peak in image.peaks) <= 1 + 1e-6


def test_a_file_that_cannot_be_used_costs_itself(mapper: HeatMapper, images: Path) -> None:
    paths = sorted(images.rglob("*.dcm"))
    paths[0].write_text("a letter, and no picture")
    shutil.copy(paths[1], images / "zz-copy.dcm")
    explained = _explain(mapper, _tasks(mapper, images))
    assert len(explained.images) == 7
    assert [rejection.code for rejection in explained.rejections] == ["not_dicom", "duplicate"]
    assert "found the same image as in file 2, expected each image once" in explained.rejections[1].sentence


def test_an_exam_of_two_patients_costs_itself(mapper: HeatMapper, images: Path) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "somebody"
    dataset.save_as(path)
    explained = _explain(mapper, _tasks(mapper, images))
    assert [rejection.code for rejection in explained.rejections] == ["mixed_patients"] * 4
    assert not any("somebody" in rejection.sentence for rejection in explained.rejections)
    assert len({image.mammogram.exam_id for image in explained.images}) == 1


def test_when_nothing_can_be_explained_the_first_reason_is_given(mapper: HeatMapper, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("a letter, and no picture")
    with pytest.raises(UserInputError, match="none of 1 files can be explained; the first: file 1: found 24 bytes"):
        _explain(mapper, _tasks(mapper, tmp_path / "a.dcm"))
    with pytest.raises(UserInputError, match=r"none of 0 files can be explained$"):
        _explain(mapper, [])


def test_the_shares_of_views_are_the_softmax_within_a_breast() -> None:
    view = np.log(np.array([1.0, 3.0, 5.0, 1.0]))
    assert share_views(view, np.array([0, 0, 1, 0]), 2).tolist() == pytest.approx([0.2, 0.6, 1.0, 0.2])
    assert share_views(view + 1e4, np.array([0, 0, 1, 0]), 2).tolist() == pytest.approx([0.2, 0.6, 1.0, 0.2])


def test_the_table_of_peaks_has_a_row_for_each_and_the_json_an_entry_for_each_image(
    mapper: HeatMapper, images: Path, tmp_path: Path
) -> None:
    explained = _explain(mapper, _tasks(mapper, images), n_peaks=2).images
    write_peaks(explained, tmp_path / "out")
    table = pl.read_parquet(tmp_path / "out" / "peaks.parquet")
    assert table.equals(tabulate_peaks(explained))
    assert pl.read_csv(tmp_path / "out" / "peaks.csv", infer_schema=False).height == table.height
    assert table.height == sum(len(image.peaks) for image in explained)
    assert table["peak"].max() == 2
    content = json.loads((tmp_path / "out" / "peaks.json").read_text())
    assert content["schema_version"] == 1
    assert [entry["image_id"] for entry in content["images"]] == [image.mammogram.image_id for image in explained]
    first, entry = explained[0].peaks[0], content["images"][0]["peaks"][0]
    assert [entry[name] for name in ("top", "left", "bottom", "right")] == list(first.box)
    assert (entry["row"], entry["column"], entry["share"]) == (first.row, first.column, first.share)


def test_a_map_is_written_with_what_places_it(mapper: HeatMapper, images: Path, tmp_path: Path) -> None:
    image = _explain(mapper, _tasks(mapper, images)).images[0]
    write_map(image, tmp_path / "maps" / "a.npz")
    with np.lib.npyio.NpzFile((tmp_path / "maps" / "a.npz").open("rb"), own_fid=True) as arrays:
        assert np.array_equal(arrays["heat"], image.heat)
        assert {name: arrays[name].item() for name in image.placement.to_row()} == image.placement.to_row()


def test_names_of_files_are_of_ids_and_do_not_show_them() -> None:
    assert make_alias("Smith") != make_alias("Jones")
    assert make_alias("a", "b") != make_alias("ab")
    assert len(make_alias("Smith")) == 16
    assert set(make_alias("Smith")) <= set("0123456789abcdef")
