"""The command: what it writes, prints and refuses."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from mammoscope.cli.evaluate import evaluate
from mammoscope.config import to_toml
from mammoscope.errors import RunError, StoreError, TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.operating_points import OperatingPointSettings, write_operating_points
from mammoscope.evaluation.scores import write_scores
from mammoscope.imaging import shards
from mammoscope.imaging.batch import StoreDescription
from mammoscope.imaging.prepare import PrepareSettings

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def run(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_scores(cohort, folder / "scores.parquet")
    return folder


@pytest.fixture
def store(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    """A prepared store with a small picture of every image of the cohort."""
    folder = tmp_path / "store"
    settings = PrepareSettings(rows=32, columns=16, bits=8)
    (folder / "shards").mkdir(parents=True)
    description = StoreDescription(settings_hash=settings.hash, settings=settings)
    (folder / shards.DESCRIPTION_NAME).write_text(to_toml(description))
    ids = cohort["image_id"].to_list()
    rows = [{"image_id": image_id, "shard": 0, "slot": slot} for slot, image_id in enumerate(ids)]
    pl.DataFrame(rows, schema=shards.PREPARED_SCHEMA).write_parquet(folder / shards.PREPARED_NAME)
    pl.DataFrame(schema=shards.REJECTED_SCHEMA).write_parquet(folder / shards.REJECTED_NAME)
    np.arange(len(ids) * 32 * 16, dtype=np.uint8).tofile(shards.raw_path(folder, 0))
    return folder


def call(*arguments: object, replicates: int = 100) -> Result:
    words = map(str, arguments)
    return CliRunner().invoke(app, [*words, "--replicates", str(replicates)], catch_exceptions=False)


def name_store(run: Path, store: Path) -> None:
    (run / "environment.json").write_text(json.dumps({"schema_version": 1, "store": str(store), "commit": "abc123"}))


def test_evidence_and_report_are_written_and_summed_up(run: Path) -> None:
    result = call(run, "--seed", 4)
    assert result.exit_code == 0
    content = json.loads((run / "evaluation.json").read_text())
    assert content["bootstrap"]["seed"] == 4
    page = (run / "report.html").read_text()
    assert str(run) not in page
    assert "The prepared store of the run was not at hand" in page
    auc = content["breast"]["auc"]
    assert f"{auc['value']:.3f} ({auc['interval']['low']:.3f} to {auc['interval']['high']:.3f})" in result.stdout
    assert "120" in result.stdout
    assert "report.html" in result.stdout


def test_the_summary_is_json_for_machines(run: Path) -> None:
    content = json.loads(call(run, "--json").stdout)
    assert content["breast"] == json.loads((run / "evaluation.json").read_text())["breast"]
    assert content["report"] == str(run / "report.html")


@pytest.mark.parametrize("is_named_by_the_run", [True, False])
def test_pictures_come_from_the_store(run: Path, store: Path, is_named_by_the_run: bool) -> None:
    if is_named_by_the_run:
        name_store(run, store)
        call(run)
    else:
        call(run, "--store", store)
    page = (run / "report.html").read_text()
    assert page.count("<img src=") == 16
    assert str(store) not in page


def test_a_store_that_is_gone_costs_only_the_pictures(run: Path, tmp_path: Path) -> None:
    name_store(run, tmp_path / "gone")
    assert call(run).exit_code == 0
    assert "was not at hand, so no pictures are shown; name it with --store" in (run / "report.html").read_text()


def test_a_torn_store_of_the_run_is_a_warning(run: Path, store: Path) -> None:
    name_store(run, store)
    shards.raw_path(store, 0).write_bytes(b"")
    result = call(run)
    assert result.exit_code == 0
    assert "warning: no pictures: " in result.stderr
    assert "cannot be read, so no pictures are shown" in (run / "report.html").read_text()


def test_a_store_that_the_user_names_must_be_one(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a prepared store"):
        call(run, "--store", tmp_path)
    assert not (run / "report.html").exists()


def test_operating_points_of_the_run_are_shown(run: Path, cohort: pl.DataFrame) -> None:
    call(run)
    assert json.loads((run / "evaluation.json").read_text())["operating_points"] is None
    points = cross_fit(cohort, OperatingPointSettings(), BootstrapSettings(n_replicates=20))
    write_operating_points(points, run / "operating_points.json")
    call(run)
    shown = json.loads((run / "evaluation.json").read_text())["operating_points"]
    assert shown == json.loads((run / "operating_points.json").read_text())["points"]
    assert "Operating points" in (run / "report.html").read_text()


def test_one_class_only_is_summed_up_as_undefined(run: Path, cohort: pl.DataFrame) -> None:
    write_scores(cohort.filter(~pl.col("cancer")), run / "scores.parquet")
    result = call(run)
    assert result.exit_code == 0
    assert "undefined: no case among 108 with a known outcome" in result.stdout


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a folder"):
        call(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"found no scores\.parquet"):
        call(tmp_path)


def test_bad_scores_are_refused_before_anything_is_written(run: Path, cohort: pl.DataFrame) -> None:
    cohort.with_columns(score=pl.lit(float("nan"))).write_parquet(run / "scores.parquet")
    with pytest.raises(TableError, match="score: found NaN"):
        call(run)
    assert [path.name for path in run.iterdir()] == ["scores.parquet"]


def test_too_few_replicates_are_refused(run: Path) -> None:
    assert call(run, replicates=99).exit_code == 2
