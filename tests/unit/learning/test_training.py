import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from mammoscope.cohort.balance import STRATEGIES
from mammoscope.errors import ConfigError, StoreError, TableError
from mammoscope.evaluation.discrimination import auc
from mammoscope.evaluation.scores import aggregate_to_breasts, list_breasts, read_scores, write_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import training
from mammoscope.learning.batches import Batch, EpochSampler, to_network_input
from mammoscope.learning.logits import PictureLogits
from mammoscope.learning.losses import LossTerms
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.resume import ResumePoint
from mammoscope.learning.run import Run, open_run
from mammoscope.learning.scoring import tabulate_scores
from mammoscope.learning.settings import Recipe
from mammoscope.learning.task import TrainingTask
from mammoscope.learning.training import (
    check_store,
    count_batches,
    count_steps,
    list_folds,
    select_rows,
    train_fold,
)

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
Weights = dict[str, torch.Tensor]


@pytest.fixture
def train(tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun) -> Callable[..., Run]:
    """Train fold 0 of the tiny cohort with a recipe; the run."""

    def train_recipe(recipe: Recipe, run: Run | None = None, fold: int = 0) -> Run:
        run = run or start_tiny_run(recipe)
        train_fold(run, tiny_manifest, tiny_store, fold=fold, on_step=lambda _: None)
        return run

    return train_recipe


def _weights(run: Run, fold: int = 0) -> Weights:
    return load_file(run.weights_path(fold))


def _differ(first: Weights, second: Weights) -> list[str]:
    assert first.keys() == second.keys()
    return [key for key, value in first.items() if not torch.equal(value, second[key])]


def _score(weights: Weights, recipe: Recipe, rows: pl.DataFrame, store: PreparedStore) -> list[float]:
    """The probabilities of rows, by the plainest way."""
    network = build_network(recipe)
    network.load_state_dict(weights)
    network.eval()
    stored = torch.stack([torch.from_numpy(store.read(image_id).copy()) for image_id in rows["image_id"]])
    with torch.no_grad():
        scores: list[float] = torch.sigmoid(network(to_network_input(stored, rows=None, columns=None)).cancer).tolist()
    return scores


# which rows


@pytest.mark.parametrize("sampling", STRATEGIES)
@pytest.mark.parametrize("fold", [0, 1])
def test_no_held_out_patient_is_trained_on(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, sampling: str, fold: int
) -> None:
    trained, held_out = select_rows(tiny_manifest, tiny_store, fold=fold, recipe=recipe_of(f"sampling={sampling}"))
    assert set(held_out["fold"]) == {fold}
    assert not set(trained["patient_id"]) & set(held_out["patient_id"])
    assert trained.height == 16  # sampling comes with the epochs
    drawn = EpochSampler(trained, recipe_of(f"sampling={sampling}"), fold=fold).draw(1)
    assert drawn.height
    assert not set(drawn["patient_id"]) & set(held_out["patient_id"])
    assert held_out.height == 16  # sampling is for training only


def test_undetermined_outcomes_are_neither_trained_on_nor_scored(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    undetermined = set(tiny_manifest.filter(pl.col("cancer").is_null())["patient_id"])
    assert undetermined == {"patient8"}
    for fold in (0, 1):
        for rows in select_rows(tiny_manifest, tiny_store, fold=fold, recipe=recipe_of()):
            assert not undetermined & set(rows["patient_id"])


def test_images_that_the_store_lacks_are_left_out(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    smaller = PreparedStore(tiny_store.path, tiny_store.settings, tiny_store.prepared[:20], tiny_store.rejected)
    trained, held_out = select_rows(tiny_manifest, smaller, fold=1, recipe=recipe_of())
    assert set(trained["image_id"]) | set(held_out["image_id"]) == set(smaller.image_ids)


def test_a_question_without_answers_is_refused_before_training(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    with pytest.raises(ConfigError, match=r"auxiliary\.density: found 1, but density is empty in all 16 images"):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe_of("auxiliary.density=1.0"))


def test_a_manifest_that_is_not_split_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    unsplit = tiny_manifest.with_columns(fold=pl.lit(None, pl.Int64))
    with pytest.raises(TableError, match="fold is empty; split the cohort first with `mammoscope split`"):
        select_rows(unsplit, tiny_store, fold=0, recipe=recipe_of())
    with pytest.raises(TableError, match="fold is empty"):
        list_folds(unsplit)


def test_patients_without_a_fold_are_never_held_out_and_always_trained_on(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    """A hold-out: fold 0, and the others without a fold."""
    held = tiny_manifest.with_columns(fold=pl.when(pl.col("fold") == 0).then("fold"))
    assert list_folds(held) == [0]
    trained, held_out = select_rows(held, tiny_store, fold=0, recipe=recipe_of())
    as_folds = select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe_of())
    assert trained["image_id"].equals(as_folds[0]["image_id"])
    assert held_out["image_id"].equals(as_folds[1]["image_id"])


def test_a_fold_that_is_not_there_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    with pytest.raises(TableError, match=r"^fold 7: the manifest has none of that number, only 0, 1$"):
        select_rows(tiny_manifest, tiny_store, fold=7, recipe=recipe_of())


def test_training_on_one_class_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    controls = tiny_manifest.with_columns(cancer=pl.col("cancer") & (pl.col("fold") == 0))
    with pytest.raises(TableError, match="fold 0: found 16 images to train on without both cases and controls"):
        select_rows(controls, tiny_store, fold=0, recipe=recipe_of())


def test_a_fold_without_any_outcome_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    unknown = tiny_manifest.with_columns(cancer=pl.when(pl.col("fold") == 1).then("cancer"))
    with pytest.raises(TableError, match="fold 0: no held-out image has an outcome and a picture"):
        select_rows(unknown, tiny_store, fold=0, recipe=recipe_of())


def test_a_batch_larger_than_the_data_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    with pytest.raises(ConfigError, match=r"batch\.size: found 17, but fold 0 has only 16 images to train on, which"):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe_of("batch.size=17"))
    undersampled = recipe_of("batch.size=9", "sampling=undersample")  # 4 images of cases, and 4 of controls
    with pytest.raises(ConfigError, match=r"which fill no batch with sampling = 'undersample'; set a smaller one"):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=undersampled)
    select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe_of("batch.size=24", "sampling=upsample"))


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [  # 2 epochs of 4 steps
        (
            "warm_up_steps=8",
            r"schedule\.warm_up_steps: found 8, a warm-up of 8 steps, .* of fold 0 has 8 in its 2 epochs",
        ),
        ("warm_up_steps=1000", r"schedule\.warm_up_steps: found 1000, .*; expected fewer; lower it, or raise epochs"),
        ("warm_up_epochs=2.5", r"schedule\.warm_up_epochs: found 2\.5, a warm-up of 10 steps"),
    ],
)
def test_a_warm_up_as_long_as_the_training_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, assignment: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe_of(f"schedule.{assignment}"))
    for allowed in ("warm_up_steps=7", "warm_up_epochs=1.9"):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe_of(f"schedule.{allowed}"))


def test_scores_of_an_earlier_run_say_which_controls_are_hard(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, tmp_path: Path
) -> None:
    determined = tiny_manifest.filter(pl.col("cancer").is_not_null())
    hard = {"1RCC", "1RMLO", "3LCC", "7RMLO"}
    is_hard = determined["image_id"].is_in(hard).cast(pl.Float64).to_numpy()
    scored = tabulate_scores(determined, PictureLogits(is_hard * 2 - 1, np.zeros(len(is_hard))), "mean")
    write_scores(scored, tmp_path / "scores.parquet")
    recipe = recipe_of("sampling=hard-negatives", f"balance.scores={tmp_path / 'scores.parquet'}")
    trained, _ = select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe)
    drawn = EpochSampler(trained, recipe, fold=0).draw(0)
    assert set(drawn.filter(~pl.col("cancer"))["image_id"]) == hard

    write_scores(scored.filter(pl.col("fold") == 0), tmp_path / "held_out.parquet")
    recipe = recipe_of("sampling=hard-negatives", f"balance.scores={tmp_path / 'held_out.parquet'}")
    with pytest.raises(
        TableError, match=r"balance\.scores: .*held_out\.parquet has a score of 0 of 12 controls that are"
    ):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe)
    recipe = recipe_of("sampling=hard-negatives", "balance.scores=nowhere.parquet")
    with pytest.raises(TableError, match=r"nowhere\.parquet: no such file"):
        select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe)


def test_a_store_of_another_cohort_is_refused(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    strange = tiny_manifest.with_columns(pl.col("image_id") + "-other")
    with pytest.raises(StoreError, match=r"store: holds none of the manifest's 36 images"):
        select_rows(strange, tiny_store, fold=0, recipe=recipe_of())


@pytest.mark.parametrize(("key", "found"), [("rows", 64), ("columns", 32), ("bits", 8)])
def test_a_store_of_other_settings_is_refused(
    recipe_of: RecipeOf, tiny_store: PreparedStore, key: str, found: int
) -> None:
    check_store(tiny_store, recipe_of(f"store.{key}={found}"))
    other = 16 if key == "bits" else 128
    with pytest.raises(StoreError, match=rf"the store has {key} = {found}, the recipe asks for store\.{key} = {other}"):
        check_store(tiny_store, recipe_of(f"store.{key}={other}"))


def test_steps_and_batches_are_those_of_whole_batches(recipe_of: RecipeOf) -> None:
    recipe = recipe_of("batch.size=8", "batch.micro=2", "epochs=3")
    assert count_steps(31, recipe) == 3
    assert count_batches(31, recipe) == 3 * 3 * 4


# what a training does


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(
    recipe_of: RecipeOf, train: Callable[..., Run]
) -> None:
    state = torch.get_rng_state()
    first, second = (train(recipe_of("head.dropout=0.3", "augment.zoom=0.2")) for _ in range(2))
    assert _differ(_weights(first), _weights(second)) == []
    other = train(recipe_of("head.dropout=0.3", "augment.zoom=0.2", "seed=1"))
    assert _differ(_weights(first), _weights(other))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_scored_is_the_held_out_fold_with_the_weights_that_are_saved(
    recipe_of: RecipeOf, train: Callable[..., Run], tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    recipe = recipe_of()
    run = train(recipe, fold=1)
    scores = read_scores(run.fold_path(1) / "scores.parquet").filter(pl.col("level") == "image")
    held_out = tiny_manifest.filter(pl.col("fold") == 1, pl.col("cancer").is_not_null())
    assert scores["image_id"].to_list() == held_out["image_id"].to_list()
    assert scores["cancer"].to_list() == held_out["cancer"].to_list()
    assert set(scores["fold"]) == {1}
    expected = _score(_weights(run, 1), recipe, held_out, tiny_store)
    assert scores["score"].to_list() == pytest.approx(expected, abs=1e-6)


def test_the_pictures_of_the_held_out_fold_change_nothing_in_the_weights(
    recipe_of: RecipeOf, train: Callable[..., Run], tiny_manifest: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a held-out picture trained on, blackening it would show."""
    undisturbed = _weights(train(recipe_of("ema=0.9")))
    held_out = set(tiny_manifest.filter(pl.col("fold") == 0)["image_id"])
    read = PreparedStore.read

    def read_black(self: PreparedStore, image_id: str) -> object:
        return read(self, image_id) * (image_id not in held_out)

    monkeypatch.setattr(PreparedStore, "read", read_black)
    assert _differ(undisturbed, _weights(train(recipe_of("ema=0.9")))) == []


def test_the_history_has_a_row_for_each_epoch_with_the_figures_of_its_time(
    recipe_of: RecipeOf, train: Callable[..., Run]
) -> None:
    run = train(recipe_of("epochs=3", "schedule.name=constant", "optimizer.rate=0.01"))
    history = pl.read_csv(run.fold_path(0) / "history.csv")
    measured = ["epoch", "train_loss", "held_out_breast_auc", "held_out_breast_ap", "rate", "skipped_steps", "seconds"]
    assert history["skipped_steps"].to_list() == [0, 0, 0]
    assert history.columns == [*measured, "case_images", "control_images", "patients", "machines"]
    assert history.select("case_images", "control_images", "patients", "machines").rows() == [(4, 12, 4, 0)] * 3
    assert history["epoch"].to_list() == [0, 1, 2]
    assert history["rate"].to_list() == [0.01, 0.01, 0.01]
    assert (history["train_loss"] > 0).all()
    assert (history["seconds"] >= 0).all()
    breasts = list_breasts(read_scores(run.fold_path(0) / "scores.parquet"))
    last = auc(breasts["score"].to_numpy(), breasts["cancer"].to_numpy())
    assert history["held_out_breast_auc"][-1] == pytest.approx(last, abs=1e-6)


def test_the_history_has_the_smallest_rates_too(recipe_of: RecipeOf, train: Callable[..., Run]) -> None:
    """One-cycle's last rate is 250,000 times below its top."""
    run = train(recipe_of("optimizer.rate=0.001"))
    assert pl.read_csv(run.fold_path(0) / "history.csv")["rate"][-1] == pytest.approx(4e-9, rel=1e-6)


def test_a_held_out_fold_of_one_class_is_scored_without_figures(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun
) -> None:
    controls = tiny_manifest.with_columns(
        cancer=pl.when(pl.col("cancer").is_not_null()).then(pl.col("cancer") & (pl.col("fold") != 0))
    )
    run = start_tiny_run(recipe_of("epochs=2"))
    assert train_fold(run, controls, tiny_store, fold=0, on_step=lambda _: None)["image_id"].count() == 16
    history = pl.read_csv(run.fold_path(0) / "history.csv")
    assert history["held_out_breast_auc"].null_count() == history["held_out_breast_ap"].null_count() == 2


def test_the_history_counts_what_the_epochs_of_a_strategy_have(recipe_of: RecipeOf, train: Callable[..., Run]) -> None:
    run = train(recipe_of("epochs=1", "sampling=balanced-batch", "balance.controls_per_case=3.0"))
    history = pl.read_csv(run.fold_path(0) / "history.csv")
    # batches of 4 with one image of a case; 12 images of controls fill 4
    assert history.select("case_images", "control_images").rows() == [(4, 12)]


def test_repeats_are_changed_more_strongly(recipe_of: RecipeOf, train: Callable[..., Run]) -> None:
    recipe = ("epochs=1", "sampling=upsample", "augment.zoom=0.2")
    weak, strong = (_weights(train(recipe_of(*recipe, f"balance.repeat_strength={each}"))) for each in (1.0, 3.0))
    assert _differ(weak, strong)


def test_the_progress_counts_every_batch(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore, start_tiny_run: StartRun
) -> None:
    recipe = recipe_of("batch.size=6", "batch.micro=3")
    steps: list[int] = []
    train_fold(start_tiny_run(recipe), tiny_manifest, tiny_store, fold=0, on_step=steps.append)
    assert sum(steps) == count_batches(16, recipe) == 8


def test_nothing_but_the_documented_files_is_left(
    recipe_of: RecipeOf, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = train(recipe_of("ema=0.9"))
    (curves,) = (run.fold_path(0) / "curves").iterdir()
    curves.unlink()
    left = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    names = ("history.csv", "scores.parquet", "weights.safetensors", "weights.sha256")
    fold = [f"folds/0/{name}" for name in names]
    assert left == ["environment.json", *fold, "prepare.toml", "recipe.toml"]
    assert list((tmp_path / "here").iterdir()) == []


@pytest.fixture
def changed_of(train: Callable[..., Run]) -> Callable[[Recipe], list[str]]:
    """The parameters that a training changes."""

    def compare(recipe: Recipe) -> list[str]:
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.seed)
            start = dict(build_network(recipe).named_parameters())
        trained = _weights(train(recipe))
        return [key for key, value in start.items() if not torch.equal(value, trained[key])]

    return compare


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_frozen_backbone_does_not_learn(
    recipe_of: RecipeOf, changed_of: Callable[[Recipe], list[str]], optimizer: str
) -> None:
    """Not by weight decay either."""
    decay = [f"optimizer.name={optimizer}", "optimizer.rate=0.1", "optimizer.weight_decay=0.9"]
    assert changed_of(recipe_of("fine_tuning.train=head", *decay)) == ["head.1.weight", "head.1.bias"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_stages_whose_turn_does_not_come_do_not_move(
    recipe_of: RecipeOf, changed_of: Callable[[Recipe], list[str]], optimizer: str
) -> None:
    """Three epochs: the head, the last stage, the last but one; neither decay nor momentum moves the others."""
    decay = [f"optimizer.name={optimizer}", "optimizer.rate=0.1", "optimizer.weight_decay=0.9"]
    changed = changed_of(recipe_of("epochs=3", "fine_tuning.train=staged", *decay))
    assert {".".join(name.split(".")[:2]) for name in changed} == {"head.1", "backbone.layer4", "backbone.layer3"}


def test_the_whole_network_learns_where_it_is_not_frozen(recipe_of: RecipeOf, train: Callable[..., Run]) -> None:
    recipe = recipe_of("optimizer.rate=0.1")
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        start = dict(build_network(recipe).named_parameters())
    trained = _weights(train(recipe))
    assert all(not torch.equal(value, trained[key]) for key, value in start.items())


@pytest.mark.parametrize(
    "assignment",
    [
        "loss.positive_weight=5.0",
        "loss.positive_weight=auto",
        "loss.soften_positives=0.2",
        "loss.prevalence=0.01",
        "loss.name=focal",
        "loss.name=average-precision",
        "loss.name=pf1",
        "schedule.name=cosine",
        "optimizer.clip_norm=0.001",
        "optimizer.weight_decay=0.9",
        "optimizer.name=sgd",
        "augment.flip_horizontal=1.0",
        "head.dropout=0.5",
        "ema=0.5",
        "fine_tuning.layer_decay=0.5",
        "fine_tuning.freeze_batch_norm=true",
        "fine_tuning.drop_path=0.5",
        "picture.train_rows=96",
        "sampling=matched-controls",
        "sampling=upsample",
        "precision=bf16",
    ],
)
def test_a_key_of_the_recipe_changes_the_weights(
    recipe_of: RecipeOf, train: Callable[..., Run], assignment: str
) -> None:
    also = ["picture.train_columns=48"] if "train_rows" in assignment else []
    plain = _weights(train(recipe_of("epochs=1")))
    assert _differ(plain, _weights(train(recipe_of("epochs=1", assignment, *also))))


def test_features_that_are_computed_again_change_nothing(recipe_of: RecipeOf, train: Callable[..., Run]) -> None:
    """Neither the weights nor the statistics of BatchNorm, which a second computation would move twice."""
    plain = _weights(train(recipe_of("fine_tuning.drop_path=0.3")))
    again = _weights(train(recipe_of("fine_tuning.drop_path=0.3", "fine_tuning.gradient_checkpointing=true")))
    assert _differ(plain, again) == []


def test_a_compiled_training_gives_the_weights_of_a_plain_one(
    recipe_of: RecipeOf, train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same names, averaged ones too."""
    plain = _weights(train(recipe_of("ema=0.5")))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # without a C++ compiler
    torch._dynamo.utils.counters.clear()
    compiled = _weights(train(recipe_of("ema=0.5", "compute.compile=true")))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert compiled.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value)


def test_a_transformer_of_one_size_learns_at_that_of_the_store_and_is_the_same_from_its_run_alone(
    recipe_of: RecipeOf, train: Callable[..., Run], tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    run = train(recipe_of("backbone.name=test_vit", "backbone.options={dynamic_img_size=false}"))
    held_out = tiny_manifest.filter(pl.col("fold") == 0, pl.col("cancer").is_not_null())
    scores = read_scores(run.fold_path(0) / "scores.parquet").filter(pl.col("level") == "image")["score"]
    assert scores.to_list() == pytest.approx(_score(_weights(run), open_run(run.path).recipe, held_out, tiny_store))


@pytest.mark.parametrize("level", ["image", "breast"])
def test_a_network_that_learned_further_questions_is_saved_with_them_and_scores_without(
    recipe_of: RecipeOf,
    train: Callable[..., Run],
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    level: str,
) -> None:
    run = train(recipe_of("auxiliary.view=0.5", "ema=0.5", f"level={level}", "batch.size=2"))
    weights = _weights(run)
    assert {key for key in weights if key.startswith("auxiliary.")} == {"auxiliary.view.weight", "auxiliary.view.bias"}
    held_out = tiny_manifest.filter(pl.col("fold") == 0, pl.col("cancer").is_not_null())
    scores = read_scores(run.fold_path(0) / "scores.parquet").filter(pl.col("level") == "image")["score"]
    assert scores.to_list() == pytest.approx(_score(weights, run.recipe, held_out, tiny_store))


def test_a_network_learns_to_answer(recipe_of: RecipeOf, train: Callable[..., Run]) -> None:
    """The loss of telling the view, beside that of cancer, falls below that of guessing among eleven."""
    asked = recipe_of("epochs=6", "auxiliary.view=1.0", "optimizer.rate=0.01")
    loss = pl.read_csv(train(asked).fold_path(0) / "history.csv")["train_loss"]
    assert loss[0] > 2.0
    assert loss[-1] < 1.6


def test_the_size_to_score_at_changes_the_scores_and_not_the_weights(
    recipe_of: RecipeOf, train: Callable[..., Run]
) -> None:
    plain = train(recipe_of("epochs=1"))
    larger = train(recipe_of("epochs=1", "picture.held_out_rows=96", "picture.held_out_columns=48"))
    assert _differ(_weights(plain), _weights(larger)) == []
    scores = [read_scores(run.fold_path(0) / "scores.parquet")["score"] for run in (plain, larger)]
    assert (scores[0] - scores[1]).abs().max() > 1e-6  # type: ignore[operator]  # of 16 numbers there is one


# steps of the optimizer, against a loop written by hand


class _Recorder(TrainingTask):
    """Keeps what each step used."""

    def __init__(self, network: CancerNetwork, recipe: Recipe, **options: Any) -> None:  # noqa: ANN401  # the task's own
        super().__init__(network, recipe, **options)
        self.seen: list[list[bytes]] = []
        self.rates: list[float] = []

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        if batch_index == 0:
            self.seen.append([])
        self.seen[-1] += [picture.numpy().tobytes() for picture in batch.pictures]
        self.rates.append(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]  # there is one
        return super().training_step(batch, batch_index)


@pytest.fixture
def record(train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], _Recorder]:
    def run_recorded(recipe: Recipe) -> _Recorder:
        made: list[_Recorder] = []

        def build(network: CancerNetwork, recipe: Recipe, **options: Any) -> _Recorder:  # noqa: ANN401  # the task's own
            made.append(_Recorder(network, recipe, **options))
            return made[0]

        monkeypatch.setattr(training, "TrainingTask", build)
        train(recipe)
        return made[0]

    return run_recorded


def test_two_epochs_see_the_same_pictures_in_other_orders(
    recipe_of: RecipeOf, record: Callable[[Recipe], _Recorder]
) -> None:
    first, second = record(recipe_of()).seen
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 16


@pytest.mark.parametrize("warm_up", ["warm_up=0.25", "warm_up_steps=2", "warm_up_epochs=0.5"])
def test_the_rates_are_those_of_the_schedule(
    recipe_of: RecipeOf, record: Callable[[Recipe], _Recorder], warm_up: str
) -> None:
    schedule = ("schedule.name=cosine", f"schedule.{warm_up}", "schedule.floor=0.2")
    recipe = recipe_of("batch.micro=2", "optimizer.rate=0.01", *schedule)
    # 2 epochs of 4 steps of 2 parts
    factors = [0.5, 1.0] + [0.2 + 0.8 * (1 + np.cos(np.pi * step / 6)) / 2 for step in range(6)]
    expected = [0.01 * factor for factor in factors for _ in range(2)]
    assert record(recipe).rates == pytest.approx(expected)


@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
def test_a_training_is_the_plain_loop(
    recipe_of: RecipeOf,
    train: Callable[..., Run],
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    clip_norm: float,
) -> None:
    """SGD with momentum, a constant rate, weighed cases, clipped or not: as written down with torch alone."""
    recipe = recipe_of(
        *("optimizer.name=sgd", "optimizer.rate=0.05", "optimizer.weight_decay=0.0", "loss.positive_weight=3.0"),
        *(f"optimizer.clip_norm={clip_norm}", "schedule.name=constant"),
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        network = build_network(recipe).train()
    rows = tiny_manifest.filter(pl.col("fold") == 1, pl.col("cancer").is_not_null())
    pictures = torch.stack([torch.from_numpy(tiny_store.read(image).copy()) for image in rows["image_id"]])
    targets = torch.tensor(rows["cancer"].to_list()).float()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(2):
        order = np.random.default_rng((0, 0, epoch)).permutation(16)
        for positions in order.reshape(4, 4):
            logits = network((pictures[positions].float() / 255).unsqueeze(1)).cancer
            weights = torch.where(targets[positions] == 1, 3.0, 1.0)
            likelihood = torch.where(targets[positions] == 1, torch.sigmoid(logits), torch.sigmoid(-logits))
            optimizer.zero_grad()
            torch.autograd.backward((-weights * likelihood.log()).mean())
            if clip_norm:
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
            optimizer.step()
    trained = _weights(train(recipe))
    for key, value in network.state_dict().items():
        torch.testing.assert_close(trained[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("size", "micro"), [(16, 4), (64, 16)])
def test_four_parts_of_a_batch_make_the_step_of_the_whole(
    recipe_of: RecipeOf, train: Callable[..., Run], size: int, micro: int
) -> None:
    """With norms that do not look at the batch, and as many pictures as make one step of each epoch."""
    recipe = ["backbone.name=test_efficientnet_ln", "optimizer.name=sgd", "optimizer.rate=0.1", f"batch.size={size}"]
    recipe += ["schedule.name=constant"]
    # 12 images of controls, and one of a case for each fifth of one
    recipe += ["sampling=upsample", "balance.controls_per_case=0.2"] if size > 16 else []
    whole, parts = _weights(train(recipe_of(*recipe))), _weights(train(recipe_of(*recipe, f"batch.micro={micro}")))
    assert _differ(whole, _weights(train(recipe_of(*recipe, "optimizer.rate=0.2"))))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-4, atol=1e-6)


def test_the_averaged_weights_are_what_is_scored_and_saved(
    recipe_of: RecipeOf,
    train: Callable[..., Run],
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    after_each_step: list[Weights] = []

    class Spy(lightning.Callback):
        def on_train_batch_end(
            self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object
        ) -> None:
            assert trainer.global_step == len(after_each_step) + 1
            network = pl_module.network
            assert isinstance(network, CancerNetwork)
            after_each_step.append(copy.deepcopy(dict(network.named_parameters())))

    resume_point = ResumePoint
    original = lightning.Trainer.__init__

    def with_spy(self: lightning.Trainer, **options: object) -> None:
        callbacks = options.pop("callbacks")
        assert isinstance(callbacks, list)
        assert any(isinstance(callback, resume_point) for callback in callbacks)
        original(self, callbacks=[*callbacks, Spy()], **options)  # type: ignore[arg-type]  # the trainer's own options

    monkeypatch.setattr(lightning.Trainer, "__init__", with_spy)
    recipe = recipe_of("ema=0.8", "optimizer.rate=0.05")
    run = train(recipe)
    saved = _weights(run)
    assert len(after_each_step) == 8
    for key in after_each_step[0]:
        shares = [0.8 ** (7 - step) for step in range(8)]  # as the decay says, and in all 1
        of_steps = torch.stack([weights[key].detach() for weights in after_each_step])  # (step, …)
        average = torch.tensordot(torch.tensor(shares), of_steps, dims=1) / sum(shares)
        torch.testing.assert_close(saved[key], average, rtol=1e-4, atol=1e-6)
    held_out = tiny_manifest.filter(pl.col("fold") == 0, pl.col("cancer").is_not_null())
    scores = read_scores(run.fold_path(0) / "scores.parquet").filter(pl.col("level") == "image")
    assert scores["score"].to_list() == pytest.approx(_score(saved, recipe, held_out, tiny_store), abs=1e-6)
    history = pl.read_csv(run.fold_path(0) / "history.csv")
    breasts = aggregate_to_breasts(scores)
    last = auc(breasts["score"].to_numpy(), breasts["cancer"].to_numpy())
    assert history["held_out_breast_auc"][-1] == pytest.approx(last, abs=1e-6)


# what goes wrong


@pytest.mark.parametrize("assignments", [("optimizer.rate=1e30", "optimizer.clip_norm=0.0")])
def test_a_training_that_diverges_says_what_to_do(
    recipe_of: RecipeOf, train: Callable[..., Run], assignments: tuple[str, ...], start_tiny_run: StartRun
) -> None:
    run = start_tiny_run(recipe_of(*assignments))
    with pytest.raises(ConfigError, match=r"optimizer\.rate: found 1e\+30, with which the weights of fold 0 ran"):
        train(run.recipe, run)
    assert run.trained_folds == ()


def test_scores_that_are_no_numbers_are_refused(recipe_of: RecipeOf) -> None:
    recipe = recipe_of()
    terms = LossTerms(settings=recipe.loss, positive_weight=1.0, shift=0.0)
    task = TrainingTask(build_network(recipe), recipe, fold=0, n_steps=1, loss_terms=terms)
    torch.nn.init.constant_(list(task.network.head.parameters())[-1], float("nan"))
    task.network.eval()
    black = torch.zeros(1, 64, 32, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"with which the scores of fold 0 ran out of the finite numbers"):
        task.validation_step(Batch(black, torch.zeros(1, dtype=torch.int64), torch.zeros(1)), 0)


# going on after an interruption


class _InterruptionError(Exception):
    """Stands for whatever ends a training."""


def test_a_training_that_is_broken_off_before_its_weights_are_written_repeats_the_last_epoch(
    recipe_of: RecipeOf, train: Callable[..., Run], start_tiny_run: StartRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of("ema=0.9")
    undisturbed, run = train(recipe), start_tiny_run(recipe)

    def fail(*_: object) -> None:
        raise _InterruptionError

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_weights", fail)
        with pytest.raises(_InterruptionError):
            train(recipe, run)
    assert run.trained_folds == ()
    train(recipe, run)
    assert _differ(_weights(undisturbed), _weights(run)) == []
