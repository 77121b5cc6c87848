import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pydicom
import pytest
import torch
from polars.testing import assert_frame_equal

from mammoscope.cohort.sources.rsna import find_images, read_rsna_table
from mammoscope.errors import UserInputError
from mammoscope.evaluation.scores import aggregate_to_breasts, check_scores
from mammoscope.imaging.prepare import prepare_image
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.collect import Prediction
from mammoscope.inference.decoders import decode_apart
from mammoscope.inference.engine import score_pictures
from mammoscope.inference.reading import tasks_from_folder, tasks_from_table
from mammoscope.learning.run import Run

Predict = Callable[..., Prediction]


@pytest.fixture
def bundle(random_run: Run) -> Bundle:
    return open_bundle(random_run.path, torch.device("cpu"))


@pytest.fixture
def images(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the eight DICOM files, to break."""
    return Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))


@pytest.fixture
def table(phantoms: Path) -> pl.DataFrame:
    manifest = read_rsna_table(phantoms / "test.csv", with_outcomes=False)
    return find_images(manifest, phantoms / "test_images", allow_missing=False).manifest


def test_every_file_of_a_table_is_scored_as_prepared_and_scored_by_hand(
    bundle: Bundle, table: pl.DataFrame, predict: Predict
) -> None:
    prediction = predict(bundle, tasks_from_table(table, bundle.prepare))
    assert prediction.rejections == ()
    check_scores(prediction.image_scores)
    by_image = dict(prediction.image_scores.select("image_id", "score").iter_rows())
    assert set(by_image) == set(table["image_id"])
    for image_id, path in table.select("image_id", "path").iter_rows():
        prepared = prepare_image(Path(path).read_bytes(), bundle.prepare, name=image_id)
        by_network = [logits.probabilities[0] for logits in score_pictures(bundle, [prepared.pixels])]
        assert len(by_network) == 2
        assert by_image[image_id] == pytest.approx(sum(by_network) / 2, abs=1e-6)
    identity = ["image_id", "patient_id", "exam_id", "laterality", "view"]
    assert prediction.image_scores.select(identity).sort("image_id").equals(table.select(identity).sort("image_id"))


def test_a_breast_scores_the_mean_over_its_images(bundle: Bundle, table: pl.DataFrame, predict: Predict) -> None:
    prediction = predict(bundle, tasks_from_table(table, bundle.prepare))
    means = prediction.image_scores.group_by("patient_id", "laterality").agg(pl.col("score").mean())
    ours = prediction.breast_scores.select("patient_id", "laterality", "score")
    assert ours.sort("patient_id", "laterality")["score"].to_list() == pytest.approx(
        means.sort("patient_id", "laterality")["score"].to_list()
    )
    assert set(prediction.breast_scores["n_images"]) == {2}


def test_headers_say_what_the_table_says(bundle: Bundle, images: Path, table: pl.DataFrame, predict: Predict) -> None:
    from_headers = predict(bundle, tasks_from_folder(images, bundle.prepare)).breast_scores
    from_table = predict(bundle, tasks_from_table(table, bundle.prepare)).breast_scores
    same = ["patient_id", "laterality", "n_images", "score"]
    assert from_headers.select(same).sort(same[:2]).equals(from_table.select(same).sort(same[:2]))
    uid = pydicom.dcmread(next(images.rglob("*.dcm"))).StudyInstanceUID
    assert uid in set(from_headers["exam_id"])


@pytest.mark.parametrize("n_workers", [1, 2])
def test_scores_are_the_same_to_the_bit_whatever_the_number_of_processes(
    bundle: Bundle, table: pl.DataFrame, predict: Predict, n_workers: int
) -> None:
    tasks = tasks_from_table(table, bundle.prepare)
    apart = partial(decode_apart, n_workers=n_workers, n_ahead=3)
    here, otherwise = predict(bundle, tasks, batch_size=3), predict(bundle, tasks, apart, batch_size=3)
    assert here.image_scores.equals(otherwise.image_scores)
    assert here.breast_scores.equals(otherwise.breast_scores)


def test_batches_and_the_order_of_tasks_change_nothing_that_matters(
    bundle: Bundle, table: pl.DataFrame, predict: Predict
) -> None:
    tasks = tasks_from_table(table, bundle.prepare)
    first = predict(bundle, tasks, batch_size=16).image_scores
    second = predict(bundle, tasks[::-1], batch_size=1).image_scores
    assert first["image_id"].equals(second["image_id"])
    assert first["score"].to_list() == pytest.approx(second["score"].to_list(), abs=1e-6)


def test_worker_processes_load_no_torch() -> None:
    code = (
        "import sys, mammoscope.inference.reading; print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout.strip() == "[]"


def test_progress_counts_every_file(bundle: Bundle, images: Path, predict: Predict) -> None:
    (images / "notes.dcm").write_text("no picture")
    done: list[int] = []
    predict(bundle, tasks_from_folder(images, bundle.prepare), advance=done.append)
    assert sum(done) == 9


def test_a_file_that_cannot_be_used_costs_itself(bundle: Bundle, images: Path, predict: Predict) -> None:
    paths = sorted(images.rglob("*.dcm"))
    whole = predict(bundle, tasks_from_folder(images, bundle.prepare)).image_scores
    paths[0].write_text("a letter, and no picture")
    paths[5].write_bytes(paths[5].read_bytes()[:20_000])
    prediction = predict(bundle, tasks_from_folder(images, bundle.prepare))
    assert [rejection.code for rejection in prediction.rejections] == ["not_dicom", "truncated"]
    assert [rejection.path for rejection in prediction.rejections] == [str(paths[0]), str(paths[5])]
    kept = whole.filter(pl.col("image_id").is_in(prediction.image_scores["image_id"].to_list()))
    assert kept.height == prediction.image_scores.height == 6
    assert prediction.image_scores["score"].to_list() == pytest.approx(kept["score"].to_list(), abs=1e-6)


@pytest.mark.parametrize(
    ("keyword", "code", "found"),
    [
        ("PatientID", "unknown_patient", "without Patient ID"),
        ("StudyInstanceUID", "unknown_exam", "without Study Instance UID"),
        ("ImageLaterality", "unknown_side", "Image Laterality"),
    ],
)
def test_a_file_that_does_not_say_whose_it_is_is_refused(  # noqa: PLR0913  # pytest's fixtures
    bundle: Bundle, images: Path, predict: Predict, *, keyword: str, code: str, found: str
) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    for each in {keyword, "PatientOrientation"}:
        delattr(dataset, each)
    dataset.save_as(path)
    (rejection,) = predict(bundle, tasks_from_folder(images, bundle.prepare)).rejections
    assert (rejection.code, rejection.path) == (code, str(path))
    assert found in rejection.sentence
    assert rejection.sentence.endswith("say it in a table, with --table")


def test_an_empty_patient_id_is_none(bundle: Bundle, images: Path, predict: Predict) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "  "
    dataset.save_as(path)
    prediction = predict(bundle, tasks_from_folder(images, bundle.prepare))
    assert [rejection.code for rejection in prediction.rejections] == ["unknown_patient"]


def test_a_file_without_a_view_is_scored(bundle: Bundle, images: Path, predict: Predict) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    del dataset.ViewPosition, dataset.ViewCodeSequence, dataset.SeriesDescription
    dataset.save_as(path)
    prediction = predict(bundle, tasks_from_folder(images, bundle.prepare))
    assert prediction.image_scores["view"].null_count() == 1
    assert_frame_equal(prediction.breast_scores, aggregate_to_breasts(prediction.image_scores))


def test_a_second_file_of_an_image_is_refused_and_the_first_kept(
    bundle: Bundle, images: Path, predict: Predict
) -> None:
    path = min(images.rglob("*.dcm"))
    shutil.copy(path, images / "zz-copy.dcm")
    prediction = predict(bundle, tasks_from_folder(images, bundle.prepare))
    (rejection,) = prediction.rejections
    assert (rejection.code, rejection.path) == ("duplicate", str(images / "zz-copy.dcm"))
    assert rejection.sentence.startswith("file 9: found the same image as in file 1, expected each image once")
    assert prediction.image_scores.height == 8


def test_an_exam_of_two_patients_costs_itself(bundle: Bundle, images: Path, predict: Predict) -> None:
    path = min(images.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "somebody"
    dataset.save_as(path)
    prediction = predict(bundle, tasks_from_folder(images, bundle.prepare))
    assert [rejection.code for rejection in prediction.rejections] == ["mixed_patients"] * 4
    assert str(path) in {rejection.path for rejection in prediction.rejections}
    assert not any("somebody" in rejection.sentence for rejection in prediction.rejections)
    assert prediction.image_scores.height == 4
    assert prediction.image_scores["exam_id"].n_unique() == 1


def test_sentences_do_not_name_files_of_a_folder(bundle: Bundle, tmp_path: Path, predict: Predict) -> None:
    (tmp_path / "Smith_Anna.dcm").write_text("a letter, and no picture")
    with pytest.raises(UserInputError, match="first: file 1: found") as caught:
        predict(bundle, tasks_from_folder(tmp_path, bundle.prepare))
    assert "Smith" not in str(caught.value)


def test_the_score_of_an_exam_is_its_higher_breasts(bundle: Bundle, images: Path, predict: Predict) -> None:
    prediction = predict(bundle, tasks_from_folder(images, bundle.prepare))
    highest = prediction.breast_scores.group_by("exam_id").agg(pl.col("score").max()).sort("exam_id")
    assert prediction.exam_scores.select("exam_id", "score").sort("exam_id").equals(highest)


def test_when_nothing_can_be_scored_the_first_reason_is_given(bundle: Bundle, tmp_path: Path, predict: Predict) -> None:
    (tmp_path / "a.dcm").write_text("a letter, and no picture")
    with pytest.raises(
        UserInputError, match=r"none of 1 files can be scored; the first: file 1: found 24 bytes without"
    ):
        predict(bundle, tasks_from_folder(tmp_path / "a.dcm", bundle.prepare))
    with pytest.raises(UserInputError, match=r"none of 0 files can be scored$"):
        predict(bundle, [])


def test_a_folder_gives_its_files_in_order_and_a_file_itself(bundle: Bundle, images: Path) -> None:
    assert [task.path for task in tasks_from_folder(images, bundle.prepare)] == sorted(images.rglob("*.dcm"))
    path = next(images.rglob("*.dcm"))
    assert [task.path for task in tasks_from_folder(path, bundle.prepare)] == [path]


def test_no_folder_and_an_empty_one_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(UserInputError, match="empty: holds no file, expected DICOM files to read"):
        tasks_from_folder(tmp_path / "empty", bundle.prepare)
    with pytest.raises(UserInputError, match="nowhere: no such file or folder, expected DICOM files to read"):
        tasks_from_folder(tmp_path / "nowhere", bundle.prepare)
