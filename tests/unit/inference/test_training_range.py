from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.imaging.store import PreparedStore
from mammoscope.inference import range_check, training_range
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.range_check import fit_range, read_range, warn_of_range
from mammoscope.inference.training_range import embed_pictures, measure_store, write_training_range
from mammoscope.learning.network import build_network
from mammoscope.learning.run import Run, hash_weights
from mammoscope.learning.training import write_weights

MakeRun = Callable[..., Run]


def chance() -> np.random.Generator:
    return np.random.default_rng(0)


def take_small_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (training_range, range_check):
        monkeypatch.setattr(module, "LEAST_PICTURES", 16)  # a fold of the tiny cohort has as many


def test_a_run_gets_the_range_of_its_pictures(
    random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_folds(monkeypatch)
    path = write_training_range(random_run, tiny_manifest, tiny_store, rng=chance())
    assert path == random_run.path / "training_range.json"
    written = read_range(random_run.path)
    usable = tiny_manifest.filter(pl.col("cancer").is_not_null())
    expected = fit_range(measure_store(tiny_store, usable), machines=[])
    assert written is not None
    assert (written.n_pictures, written.doubtful) == (32, expected.doubtful)
    assert written.machines == ()
    # with features, each limit is a little farther out: there is one check more
    assert all(low <= expected.limits[name][0] for name, (low, _) in written.limits.items())
    assert written.features is not None
    assert (len(written.features.mean), written.fold) == (96, 0)


def test_pictures_of_training_are_in_its_range(
    random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_folds(monkeypatch)
    write_training_range(random_run, tiny_manifest, tiny_store, rng=chance())
    written = read_range(random_run.path)
    assert written is not None
    bundle = open_bundle(random_run.path, torch.device("cpu"))
    rows = tiny_manifest.filter(pl.col("cancer").is_not_null())
    embedded = embed_pictures(bundle, tiny_store, rows, fold=0)
    warned = [
        warn_of_range(written, measures, {}, embedding)
        for measures, embedding in zip(measure_store(tiny_store, rows), embedded, strict=True)
    ]
    assert sum(map(bool, warned)) <= 1


def test_what_is_embedded_is_what_the_head_sees(
    random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    bundle = open_bundle(random_run.path, torch.device("cpu"))
    rows = tiny_manifest[:20]  # more than a batch
    pictures = [tiny_store.read(image_id) for image_id in rows["image_id"]]
    embedded = embed_pictures(bundle, tiny_store, rows, fold=1)
    grey = torch.from_numpy(np.stack(pictures))[:, None].float() / 255
    network = bundle.networks[1]
    with torch.no_grad():
        expected = network(grey).cancer
        logits = network.head(torch.from_numpy(embedded).float())[:, 0]
    assert embedded.shape == (20, 96)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_of_many_pictures_some_are_taken(
    random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_range, "MOST_PICTURES", 24)
    write_training_range(random_run, tiny_manifest, tiny_store, rng=chance())
    written = read_range(random_run.path)
    assert written is not None
    assert (written.n_pictures, written.features, written.fold) == (
        24,
        None,
        None,
    )  # sixteen held-out pictures are too few for features


def test_of_few_pictures_none_is_written(
    random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    assert write_training_range(random_run, tiny_manifest[:19], tiny_store, rng=chance()) is None
    assert read_range(random_run.path) is None


def test_a_range_is_measured_anew_where_the_fold_of_its_features_was_trained_anew(
    random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_small_folds(monkeypatch)
    write_training_range(random_run, tiny_manifest, tiny_store, rng=chance())
    before = read_range(random_run.path)
    torch.manual_seed(7)
    write_weights(build_network(random_run.recipe), random_run.weights_path(0))
    write_training_range(random_run, tiny_manifest, tiny_store, rng=chance())
    after = read_range(random_run.path)
    assert before is not None
    assert after is not None
    assert before.weights_sha256 != after.weights_sha256 == hash_weights(random_run)[0]
    assert before.features != after.features


def test_features_are_of_the_picture_alone_where_the_network_is_given_a_table_too(
    make_run: MakeRun, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    run = make_run('table.columns=["view"]', rows=tiny_manifest)
    bundle = open_bundle(run.path, torch.device("cpu"))
    embedded = embed_pictures(bundle, tiny_store, tiny_manifest[:4], fold=1)
    assert embedded.shape == (4, 96)
    others = tiny_manifest[:4].with_columns(view=pl.lit("ML"))
    np.testing.assert_array_equal(embedded, embed_pictures(bundle, tiny_store, others, fold=1))


def test_a_range_that_is_there_stays(random_run: Run, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore) -> None:
    path = write_training_range(random_run, tiny_manifest, tiny_store, rng=chance())
    assert path is not None
    before = path.stat().st_mtime_ns
    assert write_training_range(random_run, tiny_manifest, tiny_store, rng=chance()) == path
    assert path.stat().st_mtime_ns == before
