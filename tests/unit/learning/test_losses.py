"""What a recipe's loss comes to with the images that a training draws, and in the history of a run."""

import math
from collections.abc import Callable
from typing import Literal

import polars as pl
import pytest
import torch

from mammoscope.errors import ConfigError
from mammoscope.evaluation.scores import read_scores
from mammoscope.imaging.store import PreparedStore
from mammoscope.learning import training
from mammoscope.learning.batches import EpochSampler
from mammoscope.learning.losses import ExampleCounts, prevalence_shift, set_loss_terms
from mammoscope.learning.network import CancerNetwork, build_network
from mammoscope.learning.run import Run
from mammoscope.learning.settings import LossSettings, Recipe
from mammoscope.learning.table_inputs import TableEncoder
from mammoscope.learning.training import loss_terms_of, select_rows, train_fold

RecipeOf = Callable[..., Recipe]
StartRun = Callable[[Recipe], Run]
FirstLoss = Callable[..., float]

THREE_QUARTERS = math.log(3)  # the logit of a score of 3/4


@pytest.fixture
def train_constant(
    recipe_of: RecipeOf,
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    start_tiny_run: StartRun,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Run]:
    """A training of one epoch, of a network that gives one logit for every picture."""

    def train(*assignments: str, logit: float) -> Run:
        def build(recipe: Recipe, encoder: TableEncoder | None) -> CancerNetwork:
            network = build_network(recipe, encoder)
            weight, bias = list(network.head.parameters())[-2:]
            torch.nn.init.zeros_(weight)
            torch.nn.init.constant_(bias, logit)
            return network

        monkeypatch.setattr(training, "build_network", build)
        run = start_tiny_run(recipe_of("epochs=1", *assignments))
        train_fold(run, tiny_manifest, tiny_store, fold=0, on_step=lambda _: None)
        return run

    return train


@pytest.fixture
def first_loss(train_constant: Callable[..., Run]) -> FirstLoss:
    """The loss that the history has of such a training; with all pictures in one batch, it is that of the start."""

    def read(*assignments: str, logit: float) -> float:
        run = train_constant(*assignments, logit=logit)
        history = pl.read_csv(run.fold_path(0) / "history.csv")
        assert history.height == 1
        loss: float = history["train_loss"][0]
        return loss

    return read


def test_a_number_is_the_weight_and_auto_is_the_odds_against_a_case() -> None:
    counts = {"drawn": ExampleCounts(cases=20, controls=50), "trainable": ExampleCounts(cases=20, controls=980)}
    assert set_loss_terms(LossSettings(positive_weight=4.0), **counts).positive_weight == 4.0
    assert set_loss_terms(LossSettings(positive_weight="auto"), **counts).positive_weight == 2.5


@pytest.mark.parametrize("counts", [ExampleCounts(4, 0), ExampleCounts(0, 4), ExampleCounts(0, 0)])
def test_what_goes_by_the_odds_of_an_epoch_is_refused_without_them(counts: ExampleCounts) -> None:
    trainable, rest = ExampleCounts(4, 4), f"{counts.cases} cases and {counts.controls} controls in one; choose"
    with pytest.raises(ConfigError, match=rf"loss\.positive_weight: found 'auto', .* {rest}"):
        set_loss_terms(LossSettings(positive_weight="auto"), drawn=counts, trainable=trainable)
    with pytest.raises(ConfigError, match=rf"loss\.prevalence: found 0\.1, .* {rest}"):
        set_loss_terms(LossSettings(prevalence=0.1), drawn=counts, trainable=trainable)
    assert set_loss_terms(LossSettings(), drawn=counts, trainable=trainable).positive_weight == 1.0


@pytest.mark.parametrize(
    ("drawn", "weight", "prevalence", "shift"),
    [
        (ExampleCounts(50, 50), 1.0, 0.02, math.log(49)),  # even odds, where they are 1 to 49
        (ExampleCounts(100, 700), 7.0, 0.02, math.log(49)),  # a weight of 7 makes the odds of 1 to 7 even
        (ExampleCounts(10, 90), 1.0, 0.1, 0.0),  # nothing was changed
        (ExampleCounts(10, 90), 3.0, 0.1, math.log(3)),
        (ExampleCounts(10, 90), 1.0, 0.5, -math.log(9)),  # a population with more cases
        (ExampleCounts(1, 1), 0.5, 0.25, math.log(1.5)),
    ],
)
def test_the_shift_worked_by_hand(drawn: ExampleCounts, weight: float, prevalence: float, shift: float) -> None:
    found = prevalence_shift(drawn, positive_weight=weight, prevalence=prevalence)
    assert found == pytest.approx(shift, abs=1e-12)


@pytest.mark.parametrize(
    ("prevalence", "weight", "shift"),
    [
        (None, 1.0, 0.0),
        (None, "auto", 0.0),
        ("training", 1.0, math.log(20 / 50) + math.log(49)),
        ("training", "auto", math.log(49)),
        (0.5, 1.0, math.log(20 / 50)),
        (0.1, 5.0, math.log(20 / 50 * 5) + math.log(9)),
    ],
)
def test_the_shift_is_from_what_is_drawn_and_weighed_to_what_is_true(
    prevalence: float | Literal["training"] | None, weight: float | Literal["auto"], shift: float
) -> None:
    settings = LossSettings(prevalence=prevalence, positive_weight=weight)
    terms = set_loss_terms(settings, drawn=ExampleCounts(20, 50), trainable=ExampleCounts(20, 980))
    assert terms.shift == pytest.approx(shift, abs=1e-12)


def test_a_weight_that_cannot_be_had_is_refused_before_any_fold_is_trained(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    """Cases at one site, controls at the other: no case finds a control, and all are trained on alone."""
    sites = tiny_manifest.with_columns(site=pl.when(pl.col("cancer").any().over("patient_id")).then("source"))
    matched = ("sampling=matched", "balance.match=['site']")
    with pytest.raises(ConfigError, match=r"loss\.positive_weight: found 'auto'.* found 4 cases and 0 controls in one"):
        select_rows(sites, tiny_store, fold=0, recipe=recipe_of(*matched, "loss.positive_weight=auto"))
    select_rows(sites, tiny_store, fold=0, recipe=recipe_of(*matched))


@pytest.mark.parametrize(
    ("assignments", "weight"),
    [
        (("sampling=all",), 3.0),  # 4 images of cases, 12 of controls
        (("sampling=all", "batch.size=5"), 3.0),  # the one that fills no batch counts too
        (("sampling=undersample",), 1.0),
        (("sampling=undersample", "balance.controls_per_case=2.0"), 2.0),
        (("sampling=upsample", "balance.controls_per_case=0.5"), 0.5),
        (("sampling=balanced-batch", "balance.controls_per_case=3.0"), 3.0),
        (("sampling=matched-controls",), 1.0),
        (("sampling=hard-negatives", "balance.controls_per_case=0.5"), 0.5),
    ],
)
def test_auto_goes_by_what_an_epoch_draws_not_by_the_cohort(
    recipe_of: RecipeOf,
    tiny_manifest: pl.DataFrame,
    tiny_store: PreparedStore,
    assignments: tuple[str, ...],
    weight: float,
) -> None:
    recipe = recipe_of(*assignments, "loss.positive_weight=auto")
    rows, _ = select_rows(tiny_manifest, tiny_store, fold=0, recipe=recipe)
    assert loss_terms_of(EpochSampler(rows, recipe, fold=0)).positive_weight == weight


def test_counts_are_of_what_is_learned_from(
    recipe_of: RecipeOf, tiny_manifest: pl.DataFrame, tiny_store: PreparedStore
) -> None:
    """Of the cases of fold 1 one image is left: 1 image and 12 of controls, but 1 breast and 6 of controls."""
    fewer = tiny_manifest.filter(
        ~(pl.col("cancer") & (pl.col("fold") == 1) & (pl.col("image_id") != "1LCC")).fill_null(value=False)
    )
    for level, weight in (("image", 12.0), ("breast", 6.0)):
        recipe = recipe_of(f"level={level}", "loss.positive_weight=auto")
        rows, _ = select_rows(fewer, tiny_store, fold=0, recipe=recipe)
        assert loss_terms_of(EpochSampler(rows, recipe, fold=0)).positive_weight == weight
    recipe = recipe_of("level=breast", "sampling=undersample", "loss.prevalence=training", "batch.size=2")
    rows, _ = select_rows(fewer, tiny_store, fold=0, recipe=recipe)
    # 1 breast of a case and 1 of a control are drawn, 1 and 6 may be trained on
    assert loss_terms_of(EpochSampler(rows, recipe, fold=0)).shift == pytest.approx(math.log(6))


AS_CASE, AS_CONTROL = -math.log(0.75), -math.log(0.25)  # cross-entropy at 3/4


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ((), (4 * AS_CASE + 12 * AS_CONTROL) / 16),
        (("loss.positive_weight=5.0",), (4 * 5 * AS_CASE + 12 * AS_CONTROL) / 16),
        (("loss.positive_weight=auto",), (4 * 3 * AS_CASE + 12 * AS_CONTROL) / 16),
        (("loss.soften_positives=0.2",), (4 * (0.8 * AS_CASE + 0.2 * AS_CONTROL) + 12 * AS_CONTROL) / 16),
        (("loss.name=focal",), (4 * AS_CASE / 16 + 12 * AS_CONTROL * 9 / 16) / 16),
        (("loss.name=focal", "loss.focal_gamma=1.0"), (4 * AS_CASE / 4 + 12 * AS_CONTROL * 3 / 4) / 16),
        (
            ("loss.name=focal", "loss.positive_weight=5.0"),
            (4 * 5 * AS_CASE / 16 + 12 * AS_CONTROL * 9 / 16) / 16,
        ),
    ],
)
def test_the_loss_of_a_training_worked_by_hand(
    first_loss: FirstLoss, assignments: tuple[str, ...], expected: float
) -> None:
    """Four images of cases and twelve of controls in one batch, each with a score of 3/4."""
    assert first_loss("batch.size=16", *assignments, logit=THREE_QUARTERS) == pytest.approx(expected, abs=2e-6)


# four cases of 16 equal logits: each has half of the other fifteen, and of the other three cases, above it
SMOOTH_PRECISION = (1 + 3 / 2) / (1 + 15 / 2)
PF1 = 2 * 4 * 0.75 / (16 * 0.75 + 4)
CROSS_ENTROPY = (4 * AS_CASE + 12 * AS_CONTROL) / 16


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (("loss.name=average-precision",), (1 - SMOOTH_PRECISION + CROSS_ENTROPY) / 2),
        (("loss.name=average-precision", "loss.surrogate_share=1"), 1 - SMOOTH_PRECISION),
        (("loss.name=pf1",), (1 - PF1 + CROSS_ENTROPY) / 2),
        (("loss.name=pf1", "loss.surrogate_share=0.25"), 0.25 * (1 - PF1) + 0.75 * CROSS_ENTROPY),
        (
            ("loss.name=pf1", "loss.positive_weight=auto"),
            (1 - PF1 + (4 * 3 * AS_CASE + 12 * AS_CONTROL) / 16) / 2,
        ),
    ],
)
def test_the_loss_of_a_batch_as_a_whole_worked_by_hand(
    first_loss: FirstLoss, assignments: tuple[str, ...], expected: float
) -> None:
    assert first_loss("batch.size=16", *assignments, logit=THREE_QUARTERS) == pytest.approx(expected, abs=2e-6)


def test_auto_makes_the_classes_of_an_undersampled_epoch_weigh_alike(first_loss: FirstLoss) -> None:
    """Four images of cases and eight of controls: a weight of 2."""
    undersampled = ("sampling=undersample", "balance.controls_per_case=2.0", "batch.size=12")
    loss = first_loss(*undersampled, "loss.positive_weight=auto", logit=THREE_QUARTERS)
    assert loss == pytest.approx((4 * 2 * AS_CASE + 8 * AS_CONTROL) / 12, abs=2e-6)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        # odds of 1 to 3, where they are 1 to 9
        (("loss.prevalence=0.1", "batch.size=16"), CROSS_ENTROPY),
        # even odds, weighed, where they are 1 to 3
        (
            ("loss.prevalence=training", "sampling=undersample", "batch.size=8"),
            (4 * AS_CASE + 4 * AS_CONTROL) / 8,
        ),
        (
            ("loss.prevalence=training", "loss.positive_weight=auto", "batch.size=16"),
            (4 * 3 * AS_CASE + 12 * AS_CONTROL) / 16,
        ),
    ],
)
def test_a_network_is_judged_as_if_its_scores_were_for_the_prevalence_and_gives_those(
    train_constant: Callable[..., Run], assignments: tuple[str, ...], expected: float
) -> None:
    """A shift of ln 3 each time: scores of 1/2 are judged as 3/4, and come out as they were."""
    run = train_constant(*assignments, "optimizer.rate=1e-9", logit=0.0)
    history = pl.read_csv(run.fold_path(0) / "history.csv")
    assert history["train_loss"].to_list() == pytest.approx([expected], abs=2e-6)
    scores = read_scores(run.fold_path(0) / "scores.parquet")["score"].to_list()
    assert scores == pytest.approx([0.5] * 24, abs=1e-6)  # 16 images of 8 breasts
