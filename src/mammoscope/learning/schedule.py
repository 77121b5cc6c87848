"""How the learning rate goes over the steps of a training."""

import math

from mammoscope.errors import ConfigError
from mammoscope.learning.settings import Recipe, ScheduleSettings

# the divisors that one-cycle starts and ends with, as in Smith & Topin 2019 (arXiv:1708.07120) and torch's OneCycleLR
START_DIVISOR = 25.0
END_DIVISOR = 1e4
# the share of the steps in which the rate rises where the recipe does not say; a quarter is fastai's for one-cycle
DEFAULT_WARM_UP = {"constant": 0.0, "cosine": 0.0, "one-cycle": 0.25}


def count_warm_up(recipe: Recipe, *, n_steps: int) -> float:
    """The steps in which the rate rises, of the `n_steps` of a training; not always a whole number."""
    schedule = recipe.schedule
    if schedule.warm_up_steps is not None:
        return float(schedule.warm_up_steps)
    if schedule.warm_up_epochs is not None:
        return schedule.warm_up_epochs * n_steps / recipe.epochs
    return n_steps * (DEFAULT_WARM_UP[schedule.name] if schedule.warm_up is None else schedule.warm_up)


def check_warm_up(recipe: Recipe, *, fold: int, n_steps: int) -> None:
    """Refuse a warm-up that leaves no step of a fold's training at the top rate.

    Raises:
        ConfigError: it has as many steps as the training, or more.
    """
    n_warm_up = count_warm_up(recipe, n_steps=n_steps)
    if n_warm_up >= n_steps:
        key, value = next(iter(recipe.schedule.given_warm_ups.items()))
        raise ConfigError(
            f"schedule.{key}: found {value:g}, a warm-up of {n_warm_up:g} steps, but the whole training of fold {fold} "
            f"has {n_steps} in its {recipe.epochs} epochs; expected fewer; lower it, or raise epochs"
        )


def rate_factor(step: int, *, n_steps: int, n_warm_up: float, schedule: ScheduleSettings) -> float:
    """The factor on the recipe's rate at a step, 0 to n_steps - 1, between 0 and 1."""
    if schedule.name == "one-cycle":
        return _one_cycle(step, n_steps=n_steps, peak=max(n_warm_up - 1, 0.0))
    n_whole = round(n_warm_up)
    if step < n_whole:
        return (step + 1) / n_whole
    if schedule.name == "constant":
        return 1.0
    return _cosine(1.0, schedule.floor, (step - n_whole) / max(n_steps - n_whole, 1))


def _one_cycle(step: int, *, n_steps: int, peak: float) -> float:
    if step < peak:
        return _cosine(1 / START_DIVISOR, 1.0, step / peak)
    return _cosine(1.0, 1 / START_DIVISOR / END_DIVISOR, (step - peak) / max(n_steps - 1 - peak, 1.0))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
