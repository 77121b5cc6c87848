"""Trainings that are given the table, on a cohort in which the age alone tells cases from controls."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from mammoscope.cohort.balance import STRATEGIES
from mammoscope.errors import ConfigError, TableError
from mammoscope.evaluation.discrimination import auc
from mammoscope.evaluation.scores import list_breasts, read_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import training
from mammoscope.learning.batches import (
    Draw,
    EpochSampler,
    EpochShare,
    StorePictures,
    held_out_batches,
    training_batches,
)
from mammoscope.learning.history import History
from mammoscope.learning.network import build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.table_inputs import TableEncoder, TableSettings, fit_table_encoder, read_table_encoder
from mammoscope.learning.table_layer import TableTensors, to_tensors
from mammoscope.learning.training import fit_table, select_rows, train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
COLUMNS = "table.columns=['age_years', 'density', 'implant', 'view']"
LEARNING = ("epochs=4", "optimizer.rate=0.03", "schedule.name=constant", "schedule.warm_up=0.0")


@pytest.fixture
def manifest(tiny_manifest: pl.DataFrame) -> pl.DataFrame:
    """The tiny cohort: breasts with cancer are of 60 years and more, others of less than 55; some density is known."""
    number = pl.col("patient_id").str.tail(1).cast(pl.Int64)
    return tiny_manifest.with_columns(
        age_years=pl.when("cancer").then(60 + number).otherwise(45 + number).cast(pl.Float64),
        density=pl.when(number % 3 > 0).then(pl.when(number % 2 == 0).then(pl.lit("B")).otherwise(pl.lit("C"))),
        implant=number == 3,
    )


@pytest.fixture
def train(manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun) -> Callable[..., Run]:
    """Train fold 0 of the cohort with a recipe; the run."""

    def train_recipe(recipe: Recipe, rows: pl.DataFrame = manifest, run: Run | None = None) -> Run:
        run = run or start_tiny_run(recipe)
        train_fold(run, rows, tiny_store, fold=0, on_step=lambda _: None)
        return run

    return train_recipe


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.weights_path(0))


def _are_equal(first: Run, second: Run) -> bool:
    ours, theirs = _weights(first), _weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())


# what is learned


@pytest.mark.parametrize("level", ["image", "breast"])
def test_a_signal_that_only_the_age_has_is_learned_with_the_table_and_not_without(
    recipe_of: RecipeOf, train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """All pictures are the same, so that without the table all scores are, whatever is learned."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 32)).astype(np.uint8)
    monkeypatch.setattr(PreparedStore, "read", lambda *_: picture)
    recipe = (*LEARNING, f"level={level}")
    with_table, without = train(recipe_of(*recipe, COLUMNS)), train(recipe_of(*recipe))
    breasts = list_breasts(read_scores(with_table.fold_path(0) / "scores.parquet"))
    assert auc(breasts["score"].to_numpy(), breasts["cancer"].to_numpy()) == 1.0
    assert pl.read_csv(with_table.fold_path(0) / "history.csv")["held_out_breast_auc"][-1] == 1.0
    same = read_scores(without.fold_path(0) / "scores.parquet")["score"].to_numpy()
    assert np.ptp(same) < 1e-6


@pytest.mark.parametrize("assignment", ["table.embedding=5", "table.hidden=17", "table.dropout=0.5"])
def test_a_key_of_the_table_changes_the_weights(
    recipe_of: RecipeOf, train: Callable[..., Run], assignment: str
) -> None:
    assert not _are_equal(train(recipe_of("epochs=1", COLUMNS)), train(recipe_of("epochs=1", COLUMNS, assignment)))


def test_a_recipe_without_columns_does_not_look_at_the_table(
    recipe_of: RecipeOf, train: Callable[..., Run], tiny_manifest: pl.DataFrame
) -> None:
    run = train(recipe_of())
    assert _are_equal(run, train(recipe_of(), tiny_manifest))
    assert not run.table_path(0).exists()


# whose rows count


def _fit(manifest: pl.DataFrame, store: PreparedStore, recipe: Recipe, *, fold: int = 0) -> TableEncoder | None:
    training, _ = select_rows(manifest, store, fold=fold, recipe=recipe)
    return fit_table(training, recipe)


@pytest.mark.parametrize("sampling", STRATEGIES)
def test_the_encoder_is_that_of_all_rows_to_train_on_whatever_the_sampling(
    recipe_of: RecipeOf, manifest: pl.DataFrame, tiny_store: PreparedStore, sampling: str
) -> None:
    """Fold 1 with an outcome: patients 1, 3, 5 and 7, of whom 1 and 5 have cancer in the left of two breasts."""
    recipe = recipe_of(COLUMNS, f"sampling={sampling}")
    encoder = _fit(manifest, tiny_store, recipe)
    assert encoder is not None
    ages = [61.0, 46.0, 48.0, 48.0, 65.0, 50.0, 52.0, 52.0]
    assert (encoder.numbers[0].mean, encoder.numbers[0].spread) == pytest.approx((np.mean(ages), np.std(ages)))
    assert [column.values for column in encoder.categories] == [("C",), ("false", "true"), ("CC", "MLO")]


def test_neither_undetermined_outcomes_nor_images_without_a_picture_count_but_patients_without_a_fold_do(
    recipe_of: RecipeOf, manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    recipe = recipe_of("table.columns=['age_years']")
    of_other_fold = _fit(manifest, tiny_store, recipe, fold=1)
    assert of_other_fold is not None
    ages = [60.0, 45.0, 47.0, 47.0, 64.0, 49.0, 51.0, 51.0]  # not of patient 8
    assert of_other_fold.numbers[0].mean == pytest.approx(np.mean(ages))
    hold_out = manifest.with_columns(fold=pl.when(pl.col("fold") == 0).then("fold"))
    expected = _fit(manifest, tiny_store, recipe)
    assert _fit(hold_out, tiny_store, recipe) == expected
    strange = manifest[-1].with_columns(image_id=pl.lit("strange"), cancer=pl.lit(value=False), fold=pl.lit(1))
    strange = strange.with_columns(age_years=pl.lit(99.0), fold=pl.col("fold").cast(pl.Int64))
    assert _fit(pl.concat([manifest, strange]), tiny_store, recipe) == expected


def test_held_out_rows_change_nothing_in_encoder_and_weights(
    recipe_of: RecipeOf, train: Callable[..., Run], manifest: pl.DataFrame
) -> None:
    """Other ages and values that nobody has, for the held-out and for those without an outcome."""
    is_trained_on = (pl.col("fold") == 1) & pl.col("cancer").is_not_null()
    other = manifest.with_columns(
        age_years=pl.when(is_trained_on).then("age_years").otherwise(pl.lit(99.0)),
        density=pl.when(is_trained_on).then("density").otherwise(pl.lit("D")),
        implant=pl.when(is_trained_on).then("implant").otherwise(pl.lit(value=None)),
        view=pl.when(is_trained_on).then("view").otherwise(pl.lit("AT")),
    )
    first, second = train(recipe_of(COLUMNS, "ema=0.9")), train(recipe_of(COLUMNS, "ema=0.9"), other)
    assert first.table_path(0).read_bytes() == second.table_path(0).read_bytes()
    assert _are_equal(first, second)
    scores = [read_scores(run.fold_path(0) / "scores.parquet")["score"] for run in (first, second)]
    assert (scores[0] - scores[1]).abs().max() > 1e-4  # type: ignore[operator]  # of 16 numbers there is one


# what the batches hold


def test_each_picture_of_a_batch_has_the_table_of_its_row(
    recipe_of: RecipeOf, manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    rows = manifest.filter(pl.col("cancer").is_not_null())
    encoder = fit_table_encoder(rows, TableSettings(columns=("age_years", "density", "view")))
    pictures = StorePictures(rows, tiny_store, encoder)
    by_picture = {tiny_store.read(row["image_id"]).tobytes(): place for place, row in enumerate(rows.to_dicts())}
    encoded = to_tensors(encoder.encode(rows))
    recipe = recipe_of("level=breast", "sampling=upsample")
    loaders = [
        training_batches(pictures, EpochShare(EpochSampler(rows, recipe, fold=0))),
        held_out_batches(pictures, size=5),
    ]
    for batch in [batch for loader in loaders for batch in loader]:
        places = [by_picture[picture.numpy().tobytes()] for picture in batch.pictures]
        assert batch.table is not None
        expected = encoded.take(places)
        assert torch.equal(batch.table.numbers, expected.numbers)
        assert torch.equal(batch.table.categories, expected.categories)
    assert StorePictures(rows, tiny_store)[Draw((0,))].table is None


def test_dropout_of_the_table_is_for_training_alone(
    recipe_of: RecipeOf, train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, TableTensors | None]] = []
    build = build_network

    def build_watched(*arguments: object) -> torch.nn.Module:
        network = build(*arguments)  # type: ignore[arg-type]  # passed on as they come
        network.register_forward_pre_hook(lambda module, inputs: seen.append((module.training, inputs[1])))
        return network

    monkeypatch.setattr(training, "build_network", build_watched)
    train(recipe_of(COLUMNS, "table.dropout=0.5", "epochs=2"))
    shares: dict[bool, list[torch.Tensor | None]] = {True: [], False: []}
    for is_training, table in seen:
        assert table is not None
        shares[is_training].append(table.shares)
    dropped = torch.cat([each for each in shares[True] if each is not None])
    assert set(dropped.tolist()) == {0.0, 1.0}
    assert len(dropped) == 2 * 16
    assert shares[False] == [None] * 3  # validation after each epoch, and the scores


# what is kept


def test_the_fold_keeps_its_encoder_and_its_scores_are_those_of_network_and_table(
    recipe_of: RecipeOf, train: Callable[..., Run], manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    recipe = recipe_of(COLUMNS, "sampling=matched-controls")  # the encoder is that of all rows, not of the sampled
    run = train(recipe)
    left = sorted(path.name for path in run.fold_path(0).iterdir())
    assert left == ["curves", "history.csv", "scores.parquet", "table.json", "weights.safetensors", "weights.sha256"]
    encoder = read_table_encoder(run.table_path(0), recipe.table)
    assert encoder == _fit(manifest, tiny_store, recipe)
    network = build_network(recipe, encoder)
    network.load_state_dict(_weights(run))
    scores = read_scores(run.fold_path(0) / "scores.parquet").filter(pl.col("level") == "image")
    rows = manifest.filter(pl.col("image_id").is_in(scores["image_id"].to_list()))
    pictures = torch.stack([torch.from_numpy(tiny_store.read(each).copy()) for each in scores["image_id"]])
    with torch.no_grad():
        said = network.eval()(pictures[:, None].float() / 255, to_tensors(encoder.encode(rows))).cancer
    assert scores["score"].to_list() == pytest.approx(torch.sigmoid(said).tolist(), abs=1e-6)


class _InterruptionError(Exception):
    """Stands for whatever ends a training."""


def test_an_interrupted_training_goes_on_to_the_same_bits(
    recipe_of: RecipeOf, train: Callable[..., Run], start_tiny_run: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of("epochs=3", "ema=0.9", COLUMNS, "table.dropout=0.4", "head.dropout=0.3", "augment.zoom=0.2")
    undisturbed, run, count = train(recipe), start_tiny_run(recipe), [0]

    def interrupt(*_: object) -> None:
        count[0] += 1
        if count[0] == 4 + 2:  # in the second epoch of four steps
            raise _InterruptionError

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_batch_end", interrupt)
        with pytest.raises(_InterruptionError):
            train(recipe, run=run)
    assert (run.fold_path(0) / "resume").exists()
    train(recipe, run=run)
    assert _are_equal(undisturbed, run)
    assert undisturbed.table_path(0).read_bytes() == run.table_path(0).read_bytes()


# what is refused before hours are spent


def test_a_column_that_the_training_rows_lack_ends_the_command_before_the_run_folder(
    run_cli: Callable[..., tuple[int, str, str]],
    tiny_recipe_path: Path,
    tiny_cohort: Path,
    tiny_store_path: Path,
    tmp_path: Path,
) -> None:
    data = ("--cohort", tiny_cohort, "--store", tiny_store_path, "-o", tmp_path / "run")
    code, out, err = run_cli("train", tiny_recipe_path, *data, "--set", "table.columns=['view', 'density']")
    assert (code, out) == (2, "")
    sentence = "error: table.columns: found 'density', which is missing in all 16 images to train on; expected a value"
    assert err.startswith(sentence)
    assert not (tmp_path / "run").exists()


def test_numbers_that_are_not_finite_end_a_training_before_it_begins(
    recipe_of: RecipeOf, train: Callable[..., Run], manifest: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_fit", None)  # any call would fail
    for fold, found in ((0, "0LCC, 0LMLO, 0RCC and 13 more"), (1, "1LCC, 1LMLO, 1RCC and 13 more")):
        broken = manifest.with_columns(
            age_years=pl.when(pl.col("fold") == fold).then(float("nan")).otherwise("age_years")
        )
        with pytest.raises(TableError, match=f"column age_years: found nan for the images {found}, expected finite"):
            train(recipe_of(COLUMNS), broken)
    constant = manifest.with_columns(age_years=pl.lit(50.0))
    with pytest.raises(ConfigError, match=r"table\.columns: found 'age_years', which is 50 in all 16 images to train"):
        train(recipe_of(COLUMNS), constant)
