"""Files, folders, stores and tables to the pictures that are to be scored."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mammoscope.errors import StoreError, UserInputError
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.collect import Prediction
from mammoscope.inference.decoders import decode_here
from mammoscope.inference.inputs import read_inputs
from mammoscope.inference.reading import ScoringTask, prepare_file
from mammoscope.learning.run import Run

Predict = Callable[..., Prediction]
SETTINGS = PrepareSettings(rows=64, columns=32, bits=8)


def test_several_places_are_taken_together_and_each_file_once(phantoms: Path) -> None:
    folders = sorted(path for path in (phantoms / "test_images").iterdir() if path.is_dir())
    files = sorted((phantoms / "test_images").rglob("*.dcm"))
    given = read_inputs([*folders, files[0]], None, SETTINGS)
    assert [task.path for task in given.tasks] == files
    assert [task.name for task in given.tasks[:2]] == ["file 1", "file 2"]
    assert given.table is None


def test_a_table_names_images_in_the_competitions_layout_and_in_a_flat_folder(phantoms: Path, tmp_path: Path) -> None:
    nested = read_inputs([phantoms / "test_images"], phantoms / "test.csv", SETTINGS)
    assert (len(nested.tasks), nested.n_missing) == (8, 0)
    for path in (phantoms / "test_images").rglob("*.dcm"):
        shutil.copy(path, tmp_path / path.with_suffix(".PNG").name)
    flat = read_inputs([tmp_path], phantoms / "test.csv", SETTINGS)
    assert [task.path.stem for task in flat.tasks] == [task.path.stem for task in nested.tasks]
    assert flat.n_missing == 0


def test_a_table_that_names_missing_files_counts_them(phantoms: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))
    lost = min(images.rglob("*.dcm"))
    lost.unlink()
    given = read_inputs([images], phantoms / "test.csv", SETTINGS)
    assert (len(given.tasks), given.n_missing) == (8, 1)
    (task,) = [task for task in given.tasks if task.path == lost]
    outcome = prepare_file(task)
    assert isinstance(outcome, Rejection)
    assert outcome.code == "unreadable"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserInputError, match=r"empty: found none of the table's 8 images, expected <patient_id>"):
        read_inputs([tmp_path / "empty"], phantoms / "test.csv", SETTINGS)
    with pytest.raises(UserInputError, match="nowhere: no such file or folder"):
        read_inputs([tmp_path / "nowhere"], phantoms / "test.csv", SETTINGS)


def test_two_files_of_an_image_are_refused(phantoms: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))
    path = min(images.rglob("*.dcm"))
    shutil.copy(path, path.with_suffix(".png"))
    with pytest.raises(UserInputError, match=r"found .*\.dcm and .*\.png, expected one file for an image; remove one"):
        read_inputs([images], phantoms / "test.csv", SETTINGS)


def test_a_cohort_names_pngs_wherever_they_have_gone(tiny_cohort: Path, tmp_path: Path, random_run: Run) -> None:
    images = tmp_path / "moved"
    images.mkdir()
    for path in tiny_cohort.parent.glob("*.png"):
        shutil.copy(path, images)
    given = read_inputs([images], tiny_cohort, SETTINGS)
    assert (len(given.tasks), given.n_missing) == (36, 0)
    assert {task.path.parent for task in given.tasks} == {images}
    assert random_run.trained_folds


def test_a_store_gives_the_scores_of_its_files(
    tiny_cohort: Path, tiny_store_path: Path, random_run: Run, predict: Predict
) -> None:
    bundle = open_bundle(random_run.path, torch.device("cpu"))
    stored = read_inputs([tiny_store_path], tiny_cohort, bundle.prepare)
    assert stored.read_here is not None
    read_here = stored.read_here
    from_store = predict(bundle, stored.tasks, lambda tasks: decode_here(tasks, prepare=read_here))
    from_files = predict(bundle, read_inputs([tiny_cohort.parent], tiny_cohort, bundle.prepare).tasks)
    assert from_store.image_scores.equals(from_files.image_scores)
    record = ["image_id", "box_top", "decoder", "window", "content_hash"]
    assert from_store.pictures.select(record).equals(from_files.pictures.select(record))


def test_what_a_store_lacks_or_refused_is_refused_with_its_reason(
    tiny_cohort: Path, tiny_store: PreparedStore, random_run: Run
) -> None:
    given = read_inputs([tiny_store.path], tiny_cohort, random_run.prepare)
    assert given.read_here is not None
    first = given.tasks[0]
    lost = ScoringTask("nobody", first.path, first.mammogram, first.settings)
    outcome = given.read_here(lost)
    assert isinstance(outcome, Rejection)
    assert (outcome.code, outcome.image_id) == ("unreadable", "nobody")
    assert "nobody: found no picture in the store, expected one of each image of the table" in outcome.sentence


def test_a_store_needs_a_table_the_runs_settings_and_to_be_alone(tiny_cohort: Path, tiny_store_path: Path) -> None:
    with pytest.raises(StoreError, match="does not say whose its pictures are; name its cohort with --table"):
        read_inputs([tiny_store_path], None, SETTINGS)
    with pytest.raises(StoreError, match="beside other inputs, expected it alone"):
        read_inputs([tiny_store_path, tiny_cohort], tiny_cohort, SETTINGS)
    other = PrepareSettings(rows=64, columns=32, bits=16, window="percentile")
    with pytest.raises(
        StoreError, match="found pictures prepared with bits 8 instead of 16, window minmax instead of percentile"
    ):
        read_inputs([tiny_store_path], tiny_cohort, other)


def test_a_store_of_other_images_is_refused(tiny_store_path: Path, phantoms: Path) -> None:
    with pytest.raises(StoreError, match="found none of the table's 8 images; name the cohort of this store"):
        read_inputs([tiny_store_path], phantoms / "test.csv", SETTINGS)


def test_the_key_of_a_picture_follows_its_content_and_whose_it_is(phantoms: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    shutil.copy(min(phantoms.rglob("*.dcm")), path)
    (first,) = read_inputs([path], None, SETTINGS).tasks
    assert read_inputs([path], None, SETTINGS).tasks[0].key == first.key
    path.write_bytes(path.read_bytes() + b"\0")
    assert read_inputs([path], None, SETTINGS).tasks[0].key != first.key
    tasks = read_inputs([phantoms / "test_images"], phantoms / "test.csv", SETTINGS).tasks
    assert len({task.key for task in tasks}) == 8
    other = ScoringTask(tasks[0].name, tasks[0].path, tasks[1].mammogram, SETTINGS, tasks[0].facts, tasks[0].stamp)
    assert other.key != tasks[0].key
