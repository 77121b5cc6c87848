import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from mammoscope.learning.network import CancerNetwork
from mammoscope.learning.run import Run

CliRun = Callable[..., tuple[int, str, str]]


@pytest.fixture
def images(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms / "test_images", tmp_path / "images"))


def test_a_folder_that_holds_something_else_is_refused(
    run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "train.csv").touch()
    code, _, err = run_cli("explain", random_run.path, images, "-o", tmp_path / "theirs", "--workers", 1)
    assert code == 2
    assert "found 1 files or folders and no explanation among them, expected an empty or a new one" in err


def test_a_folder_gives_heat_maps_hangings_and_peaks(
    run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path, phantoms: Path
) -> None:
    patient = min(images.iterdir())
    for other in images.iterdir():
        if other != patient:
            shutil.rmtree(other)
    letter = min(patient.glob("*.dcm"))
    letter.write_text("a letter, and no picture")
    out = tmp_path / "out"
    table = ("--table", phantoms / "test.csv")
    code, text, err = run_cli("explain", random_run.path, images, "-o", out, *table, "--maps", "--workers", 1, "--json")
    assert code == 0, err
    facts = json.loads(text)
    counted = ("images_explained", "images_drawn", "images_refused", "images_missing", "folds")
    assert [facts[name] for name in counted] == [3, 3, 1, 4, "0, 1"]
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line[:46] for line in told] == [
        "warning: refused (not_dicom): file 1: found 24",
        "warning: the table names 4 images that have no",
    ]
    assert pl.read_parquet(out / "rejected.parquet")["path"].to_list() == [str(letter)]
    peaks = pl.read_parquet(out / "peaks.parquet")
    drawn = {f"heatmaps/{path.name}" for path in (out / "heatmaps").iterdir()}
    assert len(drawn) == 3
    assert set(peaks["picture"]) <= drawn
    assert {path.stem for path in (out / "maps").iterdir()} == {Path(name).stem for name in drawn}
    assert len(list((out / "hangings").glob("*.png"))) == 1
    named = [path.name for folder in ("heatmaps", "hangings", "maps") for path in (out / folder).iterdir()]
    ids = [*pl.read_csv(phantoms / "test.csv", infer_schema=False).select("patient_id", "image_id").to_numpy().flat]
    assert not any(name.startswith(each) for name in named for each in ids)
    assert not any(each in line for line in told for each in ids)


def test_of_many_refused_three_are_said_and_the_rest_counted(
    run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path
) -> None:
    paths = sorted(images.rglob("*.dcm"))
    for path in paths[:5]:
        path.write_text("a letter, and no picture")
    code, _, err = run_cli("explain", random_run.path, images, "-o", tmp_path / "out", "--workers", 1)
    assert code == 0, err
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.partition(": found")[0] for line in told[:3]] == [
        f"warning: refused (not_dicom): file {number}" for number in (1, 2, 3)
    ]
    assert told[3:] == ["warning: refused 2 more; rejected.parquet lists them"]
    assert pl.read_parquet(tmp_path / "out" / "rejected.parquet")["path"].to_list() == [str(each) for each in paths[:5]]


def test_exported_networks_are_refused_with_the_way_out(run_cli: CliRun, images: Path, tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "export.json").write_text("{}")
    code, _, err = run_cli("explain", tmp_path / "exported", images, "-o", tmp_path / "out")
    assert code == 2
    assert "found exported networks, which cannot be explained, expected a run folder; give the run that they" in err
    assert not (tmp_path / "out").exists()


def test_one_file_may_be_given(run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path) -> None:
    path = min(images.rglob("*.dcm"))
    code, _, err = run_cli("explain", random_run.path, path, "-o", tmp_path / "out", "--workers", 1)
    assert code == 0, err
    assert len(list((tmp_path / "out" / "heatmaps").iterdir())) == 1


def test_a_network_without_a_map_ends_with_2_before_the_folder_is_made(
    run_cli: CliRun, random_run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CancerNetwork, "look", lambda *_: torch.zeros(1, 96, 8, 1))
    code, _, err = run_cli("explain", random_run.path, images, "-o", tmp_path / "out", "--workers", 1)
    assert code == 2
    assert "gives 8 x 1 places for pictures of 64 x 32, expected a network with a map of places" in err
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_ends_with_2(run_cli: CliRun, images: Path, tmp_path: Path) -> None:
    code, _, err = run_cli("explain", tmp_path / "nowhere", images, "-o", tmp_path / "out")
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'nowhere'}: not a run folder")


def test_a_folder_without_mammograms_ends_with_2(run_cli: CliRun, random_run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    code, _, err = run_cli("explain", random_run.path, tmp_path / "notes", "-o", tmp_path / "out", "--workers", 1)
    assert code == 2
    assert "none of 1 files can be explained; the first: file 1: found" in err
