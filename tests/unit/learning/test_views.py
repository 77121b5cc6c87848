from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.evaluation.scores import aggregate_to_breasts
from mammoscope.learning.logits import PictureLogits, combine_to_probabilities, concatenate
from mammoscope.learning.scoring import tabulate_scores
from mammoscope.learning.settings import Combination
from mammoscope.learning.views import combine_views

CANCER = torch.tensor([0.3, -2.0, 1.5, -0.5, 4.0, 0.0], dtype=torch.float64)
VIEW = torch.tensor([1.0, -1.0, 0.0, 2.0, -3.0, 0.5], dtype=torch.float64)
BREASTS = torch.tensor([0, 0, 1, 1, 1, 2])


def combine(combination: Combination, cancer: torch.Tensor = CANCER) -> list[float]:
    logits = combine_views(cancer, VIEW, BREASTS, n_breasts=3, combination=combination)
    return torch.sigmoid(logits).tolist()


def test_the_mean_is_that_of_the_probabilities_of_the_views() -> None:
    parts = torch.sigmoid(CANCER)
    expected = [float(each.mean()) for each in (parts[:2], parts[2:5], parts[5])]
    assert combine("mean") == pytest.approx(expected)


def test_the_max_is_the_highest_view() -> None:
    assert combine("max") == pytest.approx(torch.sigmoid(torch.tensor([0.3, 4.0, 0.0])).tolist())


def test_attention_weighs_the_views_by_their_softmax() -> None:
    parts, weights = torch.sigmoid(CANCER), [torch.softmax(VIEW[each], 0) for each in ([0, 1], [2, 3, 4], [5])]
    expected = [float((weights[0] * parts[:2]).sum()), float((weights[1] * parts[2:5]).sum()), float(parts[5])]
    assert combine("attention") == pytest.approx(expected)


@pytest.mark.parametrize("combination", ["mean", "max", "attention"])
def test_the_order_of_pictures_changes_nothing_and_extreme_logits_stay_finite(combination: Combination) -> None:
    expected = combine(combination)
    for order in list(permutations(range(6)))[::97]:
        places = list(order)
        turned = combine_views(CANCER[places], VIEW[places], BREASTS[places], n_breasts=3, combination=combination)
        assert torch.sigmoid(turned).tolist() == pytest.approx(expected)
    extreme = torch.tensor([800.0, 800.0, -800.0, -800.0, -900.0, 0.0], dtype=torch.float64, requires_grad=True)
    logits = combine_views(extreme, VIEW, BREASTS, n_breasts=3, combination=combination)
    assert torch.isfinite(logits).all()
    torch.autograd.backward(logits.sum())
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


@pytest.mark.parametrize("combination", ["mean", "max", "attention"])
def test_the_gradient_is_right(combination: Combination) -> None:
    def combined(cancer: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        return combine_views(cancer, view, BREASTS, n_breasts=3, combination=combination)

    assert torch.autograd.gradcheck(combined, (CANCER.clone().requires_grad_(), VIEW.clone().requires_grad_()))


def test_breasts_of_a_table_are_scored_by_the_runs_own_way(tiny_manifest: pl.DataFrame) -> None:
    rows = tiny_manifest.filter(pl.col("cancer").is_not_null()).sample(fraction=1.0, shuffle=True, seed=3)
    rng = np.random.default_rng(0)
    logits = PictureLogits(rng.normal(size=rows.height), rng.normal(size=rows.height))
    mean, highest, weighed = (
        tabulate_scores(rows, logits, combination) for combination in ("mean", "max", "attention")
    )
    images = mean.filter(pl.col("level") == "image")
    assert images["image_id"].equals(rows["image_id"])
    breasts = mean.filter(pl.col("level") == "breast")
    by_mean = aggregate_to_breasts(images)
    assert breasts.drop("score").equals(by_mean.drop("score"))
    assert breasts["score"].to_list() == pytest.approx(by_mean["score"].to_list())
    grouped = rows.with_columns(
        probability=pl.Series(logits.probabilities), weight=pl.Series(np.exp(logits.view))
    ).group_by("exam_id", "laterality")
    expected = grouped.agg(
        highest=pl.col("probability").max(),
        weighed=(pl.col("probability") * pl.col("weight")).sum() / pl.col("weight").sum(),
    ).sort("exam_id", "laterality")
    for table, column in ((highest, "highest"), (weighed, "weighed")):
        scores = table.filter(pl.col("level") == "breast")["score"].to_list()
        assert scores == pytest.approx(expected[column].to_list())


@pytest.mark.parametrize("combination", ["mean", "max", "attention"])
def test_breasts_score_without_torch_what_was_learned_with_it(combination: Combination) -> None:
    logits = PictureLogits(np.append(CANCER.numpy(), [800.0, -800.0]), np.append(VIEW.numpy(), [900.0, -900.0]))
    breasts = np.append(BREASTS.numpy(), [3, 3])
    learned = combine_views(
        *map(torch.tensor, (logits.cancer, logits.view, breasts)), n_breasts=4, combination=combination
    )
    scores = combine_to_probabilities(logits, breasts, n_breasts=4, combination=combination)
    assert scores == pytest.approx(torch.sigmoid(learned).numpy(), abs=1e-12)


def test_parts_are_put_together_and_taken_apart() -> None:
    first = PictureLogits(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    both = concatenate([first, PictureLogits(np.array([5.0]), np.array([6.0]))]).take([2, 0])
    assert both.cancer.tolist() == [5.0, 1.0]
    assert both.view.tolist() == [6.0, 3.0]
    assert combine_to_probabilities(both, np.array([0, 0]), n_breasts=1, combination="max") == pytest.approx(
        1 / (1 + np.exp(-5.0))
    )
