"""Scores are for the true share of cases, whatever the sampling and the weight of the cases were.

A marker of cancer: normal with a spread of 1 around 0 in controls and around 2 in cases. The odds of a case are then
those of the cohort times exp(2 x - 2), so that a line is all there is to learn.
"""

import math
from typing import Literal

import numpy as np
import polars as pl
import pytest
import torch

from mammoscope.cohort.balance import BalanceSettings, SamplingStrategy, draw_epoch
from mammoscope.learning.losses import ExampleCounts, cancer_loss, set_loss_terms
from mammoscope.learning.settings import LossSettings

CASES, CONTROLS = 300, 9700
SLOPE, CONSTANT = 2.0, -2.0 + math.log(CASES / CONTROLS)


@pytest.fixture
def cohort() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    cancer = np.arange(CASES + CONTROLS) < CASES
    marker = rng.normal(np.where(cancer, 2.0, 0.0))
    return pl.DataFrame({"cancer": cancer, "marker": marker, "difficult_negative": pl.Series([None] * len(cancer))})


def count(rows: pl.DataFrame) -> ExampleCounts:
    n_cases = rows.filter("cancer").height
    return ExampleCounts(n_cases, rows.height - n_cases)


def tensors_of(rows: pl.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(rows["marker"].to_list()).double(), torch.tensor(rows["cancer"].to_list()).double()


def learn_line(rows: pl.DataFrame, drawn: pl.DataFrame, settings: LossSettings) -> tuple[float, float]:
    """The slope and constant that minimise the loss of an epoch."""
    marker, targets = tensors_of(drawn)
    terms = set_loss_terms(settings, drawn=count(drawn), trainable=count(rows))
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def judge() -> float:
        optimizer.zero_grad()
        loss = cancer_loss(line[0] * marker + line[1], targets, terms)
        torch.autograd.backward(loss)
        return loss.item()

    optimizer.step(judge)  # type: ignore[no-untyped-call]  # torch gives it no types
    return line[0].item(), line[1].item()


@pytest.mark.parametrize("weight", [1.0, 5.0, "auto"])
@pytest.mark.parametrize(
    ("strategy", "controls_per_case"), [("all", 1.0), ("undersample", 1.0), ("upsample", 4.0), ("balanced-batch", 3.0)]
)
def test_the_mean_score_is_the_prevalence(
    cohort: pl.DataFrame, strategy: SamplingStrategy, controls_per_case: float, weight: float | Literal["auto"]
) -> None:
    """Within three standard errors of the log-odds of the cases and controls that are drawn, each counted once."""
    balance = BalanceSettings(controls_per_case=controls_per_case)
    drawn = draw_epoch(cohort, strategy, balance, batch_size=16, rng=np.random.default_rng(2))
    n_drawn_once = count(drawn.unique("position"))
    error = math.sqrt(1 / n_drawn_once.cases + 1 / n_drawn_once.controls)

    def log_odds_of_mean_score(settings: LossSettings) -> tuple[float, float]:
        slope, constant = learn_line(cohort, drawn, settings)
        mean = torch.sigmoid(slope * tensors_of(cohort)[0] + constant).mean()
        return torch.logit(mean).item(), slope

    true, changed = math.log(CASES / CONTROLS), strategy != "all" or weight != 1.0
    adjusted, slope = log_odds_of_mean_score(LossSettings(positive_weight=weight, prevalence="training"))
    plain, _ = log_odds_of_mean_score(LossSettings(positive_weight=weight))
    assert adjusted == pytest.approx(true, abs=3 * error)
    assert (abs(plain - true) > 5 * error) == changed
    assert slope == pytest.approx(SLOPE, abs=0.5)


def test_scores_are_the_probabilities_of_another_population(cohort: pl.DataFrame) -> None:
    """Learned of even odds, for one case in ten: the line is known, constant and all."""
    balance = BalanceSettings(controls_per_case=1.0)
    drawn = draw_epoch(cohort, "undersample", balance, batch_size=16, rng=np.random.default_rng(2))
    slope, constant = learn_line(cohort, drawn, LossSettings(prevalence=0.1))
    own_slope, own_constant = learn_line(cohort, drawn, LossSettings(prevalence="training"))
    assert slope == pytest.approx(own_slope, abs=1e-4)
    assert constant - own_constant == pytest.approx(math.log(1 / 9) - math.log(CASES / CONTROLS), abs=1e-4)
    # standard errors from the Fisher information of the line among what was drawn
    marker, _ = tensors_of(drawn)
    score = torch.sigmoid(SLOPE * marker - 2.0)
    design = torch.stack([marker, torch.ones_like(marker)])
    errors = torch.linalg.inv(design @ torch.diag(score * (1 - score)) @ design.T).diagonal().sqrt()
    assert slope == pytest.approx(SLOPE, abs=3 * errors[0].item())
    assert own_constant == pytest.approx(CONSTANT, abs=3 * errors[1].item())
