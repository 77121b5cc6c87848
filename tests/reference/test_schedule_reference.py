"""The schedules against torch's own, and against values worked by hand."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from mammoscope.learning.schedule import rate_factor
from mammoscope.learning.settings import ScheduleSettings


def _factors(settings: ScheduleSettings, n_steps: int) -> list[float]:
    return [rate_factor(step, n_steps=n_steps, schedule=settings) for step in range(n_steps)]


def _torch_factors(build: Callable[[torch.optim.Optimizer], Any], n_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = build(optimizer)
    factors = []
    for _ in range(n_steps):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer is not stepped here, and the last step is one too many
            optimizer.step()
            if len(factors) < n_steps:
                scheduler.step()
    return factors


@pytest.mark.parametrize(("n_steps", "warm_up"), [(40, 0.25), (100, 0.3), (37, 0.5), (10, 0.9)])
def test_one_cycle_is_torchs(n_steps: int, warm_up: float) -> None:
    expected = _torch_factors(
        lambda optimizer: OneCycleLR(optimizer, max_lr=1.0, total_steps=n_steps, pct_start=warm_up), n_steps
    )
    ours = _factors(ScheduleSettings(name="one-cycle", warm_up=warm_up), n_steps)
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_steps", [2, 25])
def test_cosine_is_torchs(n_steps: int) -> None:
    expected = _torch_factors(lambda optimizer: CosineAnnealingLR(optimizer, T_max=n_steps), n_steps)
    assert _factors(ScheduleSettings(name="cosine", warm_up=0.0), n_steps) == pytest.approx(expected, abs=1e-12)


def test_cosine_after_a_warm_up_worked_by_hand() -> None:
    ours = _factors(ScheduleSettings(name="cosine", warm_up=0.25), 8)
    fall = [(1 + math.cos(math.pi * sixths / 6)) / 2 for sixths in range(6)]
    assert ours == pytest.approx([0.5, 1.0, *fall], abs=1e-12)


def test_constant_worked_by_hand() -> None:
    assert _factors(ScheduleSettings(name="constant", warm_up=0.5), 8) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert _factors(ScheduleSettings(name="constant", warm_up=0.0), 3) == [1, 1, 1]


@pytest.mark.parametrize("name", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_a_very_short_training_has_rates_between_0_and_1(name: str, n_steps: int) -> None:
    settings = ScheduleSettings.model_validate({"name": name, "warm_up": 0.25})
    factors = [rate_factor(step, n_steps=n_steps, schedule=settings) for step in range(n_steps + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == 1
