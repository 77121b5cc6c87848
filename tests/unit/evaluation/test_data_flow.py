"""The way of the images: what is left at each step adds up, and what is not at hand is not guessed."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import manifest_hash, write_manifest
from mammoscope.errors import StoreError, TableError
from mammoscope.evaluation.data_flow import DataFlow, Loss, read_data_flow, trace_data
from mammoscope.evaluation.scores import SCORES_SCHEMA
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore

ManifestOf = Callable[..., pl.DataFrame]


@pytest.fixture
def manifest(manifest_of: ManifestOf) -> pl.DataFrame:
    """Five patients, 20 images, 10 breasts: 2 with cancer, 2 undetermined."""
    return manifest_of([True, False, None, True, False])


@pytest.fixture
def store(manifest: pl.DataFrame) -> PreparedStore:
    """All images but three: two refused, and one that the store has never seen; one more of another cohort."""
    ids = manifest["image_id"].to_list()
    prepared = pl.DataFrame({"image_id": [*ids[3:], "other"]}).with_columns(content_hash=pl.col("image_id"))
    rejected = pl.DataFrame(
        {
            "image_id": [*ids[:2], "another"],
            "path": ["a", "b", "c"],
            "code": ["no_pixels", "for_processing", "no_pixels"],
            "sentence": ["", "", ""],
        }
    )
    return PreparedStore(Path("store"), PrepareSettings(), prepared, rejected)


@pytest.fixture
def excluded() -> pl.DataFrame:
    codes = ["bad_row", "side_conflict", "bad_row"]
    return pl.DataFrame({"image_id": ["x", "y", "z"], "code": codes, "path": codes, "sentence": codes})


@pytest.fixture
def scores(manifest: pl.DataFrame, store: PreparedStore) -> pl.DataFrame:
    """Of the prepared images all but the last one."""
    rows = manifest.join(store.prepared, on="image_id", how="semi").head(16)
    columns = [pl.col(name) if name in rows.columns else pl.lit(None).alias(name) for name in SCORES_SCHEMA]
    table = rows.select(columns).with_columns(schema_version=1, level=pl.lit("image"), n_images=1, score=0.5)
    return table.select(pl.col(name).cast(dtype) for name, dtype in SCORES_SCHEMA.items())


def test_each_step_is_the_one_before_less_what_was_lost(
    scores: pl.DataFrame, manifest: pl.DataFrame, store: PreparedStore, excluded: pl.DataFrame
) -> None:
    flow = trace_data(scores, manifest=manifest, excluded=excluded, store=store)
    assert [(step.name, step.n_images) for step in flow.steps] == [
        ("found", 23),
        ("indexed", 20),
        ("prepared", 17),
        ("used", 12),
    ]
    numbers = [step.n_images or 0 for step in flow.steps]
    for before, step, left in zip(numbers, flow.steps[1:], numbers[1:], strict=False):
        assert before - sum(loss.n_images for loss in step.lost) == left
    assert flow.named("indexed").lost == (Loss("bad_row", 2), Loss("side_conflict", 1))
    assert flow.named("prepared").lost == (Loss("for_processing", 1), Loss("no_pixels", 1), Loss("not_prepared", 1))
    assert flow.named("used").lost == (Loss("not_scored", 1), Loss("undetermined", 4))
    indexed = flow.named("indexed")
    assert (indexed.n_breasts, indexed.n_cases, indexed.n_patients) == (10, 2, 5)
    used = flow.named("used")
    assert (used.n_breasts, used.n_cases, used.n_patients) == (7, 1, 4)  # both images of a case are lost
    assert [loss.reason for loss in used.lost] == ["prepared, but not scored", "without a known outcome"]
    assert indexed.lost[0].reason == "bad row"
    assert json.dumps(flow.to_json())


def test_what_is_not_at_hand_is_not_guessed(scores: pl.DataFrame, store: PreparedStore) -> None:
    flow = trace_data(scores)
    assert [step.n_images for step in flow.steps] == [None, None, None, 12]
    assert [step.note for step in flow.steps[:3]] == [
        "not known: no manifest at hand",
        "not known: no manifest at hand",
        "not known: no prepared store at hand",
    ]
    assert flow.named("used").lost == (Loss("undetermined", 4),)
    alone = trace_data(scores, store=store).named("prepared")
    assert (alone.n_images, alone.n_patients, alone.lost) == (
        18,
        None,
        (Loss("no_pixels", 2), Loss("for_processing", 1)),
    )


def test_scores_of_breasts_count_their_images(scores: pl.DataFrame) -> None:
    breasts = scores.group_by("exam_id", "laterality", maintain_order=True).agg(pl.all().first())
    breasts = breasts.select(list(SCORES_SCHEMA)).with_columns(level=pl.lit("breast"), n_images=pl.lit(2, pl.Int64))
    used = trace_data(breasts).named("used")
    assert (used.n_images, used.n_breasts) == (14, 7)


def test_another_manifest_or_store_than_that_of_the_run_is_told(
    scores: pl.DataFrame, manifest: pl.DataFrame, store: PreparedStore
) -> None:
    same = {"manifest_hash": manifest_hash(manifest), "store_hash": store.content_hash}
    assert trace_data(scores, manifest=manifest, store=store, environment=same).remarks == ()
    other = {"manifest_hash": "0", "store_hash": "1"}
    remarks = trace_data(scores, manifest=manifest, store=store, environment=other).remarks
    assert [remark[:60] for remark in remarks] == [
        "The manifest is not the one that the run was made from: its ",
        "The store is not the one that the run was made from: its has",
    ]


def read(scores: pl.DataFrame, cohort: Path | None, store: Path | None = None) -> DataFlow:
    return read_data_flow(scores, cohort=cohort, store=store)


def test_the_tables_are_read_from_their_folders(
    scores: pl.DataFrame, manifest: pl.DataFrame, excluded: pl.DataFrame, tmp_path: Path
) -> None:
    write_manifest(manifest, tmp_path / "cohort")
    assert read(scores, tmp_path / "cohort").named("found").n_images == 20
    excluded.write_parquet(tmp_path / "cohort" / "rejected.parquet")
    assert read(scores, tmp_path / "cohort").named("found").n_images == 23
    write_manifest(manifest, tmp_path / "mine.parquet")
    assert read(scores, tmp_path / "mine.parquet").named("found").n_images == 20
    excluded.head(1).write_parquet(tmp_path / "mine.rejected.parquet")
    assert read(scores, tmp_path / "mine.parquet").named("found").n_images == 21


def test_folders_that_are_none_are_refused(scores: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="manifest"):
        read(scores, tmp_path)
    with pytest.raises(StoreError, match="expected a prepared store"):
        read(scores, None, tmp_path)
