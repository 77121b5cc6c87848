"""How the learning rate goes over the steps of a training."""

import math

from mammoscope.learning.settings import ScheduleSettings

# the divisors that one-cycle starts and ends with, as in Smith & Topin 2019 (arXiv:1708.07120) and torch's OneCycleLR
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def rate_factor(step: int, *, n_steps: int, schedule: ScheduleSettings) -> float:
    """The factor on the recipe's rate at a step, 0 to n_steps - 1, between 0 and 1."""
    if schedule.name == "one-cycle":
        return _one_cycle(step, n_steps=n_steps, warm_up=schedule.warm_up)
    n_warm_up = round(schedule.warm_up * n_steps)
    if step < n_warm_up:
        return (step + 1) / n_warm_up
    if schedule.name == "constant":
        return 1.0
    return _cosine(1.0, 0.0, (step - n_warm_up) / max(n_steps - n_warm_up, 1))


def _one_cycle(step: int, *, n_steps: int, warm_up: float) -> float:
    peak = max(warm_up * n_steps - 1, 0.0)
    if step < peak:
        return _cosine(1 / START_DIVISOR, 1.0, step / peak)
    return _cosine(1.0, 1 / START_DIVISOR / END_DIVISOR, (step - peak) / max(n_steps - 1 - peak, 1.0))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
