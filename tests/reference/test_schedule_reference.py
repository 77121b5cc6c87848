"""The schedules against torch's own, and against values worked by hand."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, SequentialLR

from mammoscope.learning.schedule import count_warm_up, rate_factor
from mammoscope.learning.settings import BackboneSettings, Recipe, ScheduleSettings


def _factors(settings: ScheduleSettings, n_steps: int, epochs: int = 1) -> list[float]:
    recipe = Recipe(backbone=BackboneSettings(name="resnet10t"), schedule=settings, epochs=epochs)
    n_warm_up = count_warm_up(recipe, n_steps=n_steps)
    return [rate_factor(step, n_steps=n_steps, n_warm_up=n_warm_up, schedule=settings) for step in range(n_steps)]


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


@pytest.mark.parametrize(("n_steps", "n_warm_up"), [(40, 10), (37, 2), (10, 9)])
def test_one_cycle_with_a_warm_up_in_steps_is_torchs(n_steps: int, n_warm_up: int) -> None:
    expected = _torch_factors(
        lambda optimizer: OneCycleLR(optimizer, max_lr=1.0, total_steps=n_steps, pct_start=n_warm_up / n_steps), n_steps
    )
    ours = _factors(ScheduleSettings(name="one-cycle", warm_up_steps=n_warm_up), n_steps)
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_steps", [2, 25])
@pytest.mark.parametrize("floor", [0.0, 0.05, 1.0])
def test_cosine_is_torchs(n_steps: int, floor: float) -> None:
    expected = _torch_factors(lambda optimizer: CosineAnnealingLR(optimizer, T_max=n_steps, eta_min=floor), n_steps)
    ours = _factors(ScheduleSettings(name="cosine", warm_up=0.0, floor=floor), n_steps)
    assert ours == pytest.approx(expected, abs=1e-12)


def _linear_then(optimizer: torch.optim.Optimizer, *, n_steps: int, n_warm_up: int, floor: float) -> SequentialLR:
    rise = LinearLR(optimizer, start_factor=1 / n_warm_up, total_iters=n_warm_up - 1)
    fall = CosineAnnealingLR(optimizer, T_max=n_steps - n_warm_up, eta_min=floor)
    return SequentialLR(optimizer, [rise, fall], milestones=[n_warm_up])


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # SequentialLR's own call
@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        (ScheduleSettings(name="cosine", warm_up=0.3, floor=0.1), 4),
        (ScheduleSettings(name="cosine", warm_up_steps=12, floor=0.1), 4),
        (ScheduleSettings(name="cosine", warm_up_epochs=1.2, floor=0.1), 4),  # of 10 steps each
        (ScheduleSettings(name="cosine", warm_up_epochs=0.3, floor=0.1), 1),
    ],
)
def test_cosine_after_a_warm_up_is_torchs_whatever_the_unit(settings: ScheduleSettings, epochs: int) -> None:
    expected = _torch_factors(
        lambda optimizer: _linear_then(optimizer, n_steps=40, n_warm_up=12, floor=0.1), n_steps=40
    )
    assert _factors(settings, 40, epochs) == pytest.approx(expected, abs=1e-12)


def test_cosine_after_a_warm_up_worked_by_hand() -> None:
    ours = _factors(ScheduleSettings(name="cosine", warm_up=0.25), 8)
    fall = [(1 + math.cos(math.pi * sixths / 6)) / 2 for sixths in range(6)]
    assert ours == pytest.approx([0.5, 1.0, *fall], abs=1e-12)


def test_constant_worked_by_hand() -> None:
    assert _factors(ScheduleSettings(name="constant", warm_up=0.5), 8) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert _factors(ScheduleSettings(name="constant", warm_up=0.0), 3) == [1, 1, 1]
    assert _factors(ScheduleSettings(name="constant", warm_up_steps=2), 4) == [0.5, 1, 1, 1]
    assert _factors(ScheduleSettings(name="constant", warm_up_epochs=0.5), 12, epochs=3) == [0.5, *[1] * 11]
    assert _factors(ScheduleSettings(name="constant", warm_up_epochs=0.1), 12, epochs=3) == [1] * 12  # 0.4 steps


def test_without_a_warm_up_only_one_cycle_has_one() -> None:
    for name, warm_up in (("constant", 0.0), ("cosine", 0.0), ("one-cycle", 0.25)):
        without, said = (ScheduleSettings.model_validate({"name": name, **each}) for each in ({}, {"warm_up": warm_up}))
        assert _factors(without, 40) == _factors(said, 40)


@pytest.mark.parametrize("name", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_a_very_short_training_has_rates_between_0_and_1(name: str, n_steps: int) -> None:
    settings = ScheduleSettings.model_validate({"name": name, "warm_up": 0.25})
    n_warm_up = 0.25 * n_steps
    factors = [
        rate_factor(step, n_steps=n_steps, n_warm_up=n_warm_up, schedule=settings) for step in range(n_steps + 1)
    ]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == 1
