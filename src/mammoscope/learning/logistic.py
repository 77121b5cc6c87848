"""Logistic regression of the outcome on columns of breasts: missing values, standardisation and penalty included.

A model is a list of inputs, each with all that it takes to compute it, so that it can be read, and stands in JSON.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from mammoscope.cohort.audit.cross_validation import deal_into_folds
from mammoscope.errors import TableError, UserInputError

Floats = NDArray[np.float64]
_MOST_STEPS = 1000  # of the solver; it takes about ten
_LEAST_SPREAD = 1e-10  # of the mean: what a column that is constant has by rounding alone


@dataclass(frozen=True, slots=True)
class Input:
    """A number that a column gives, less `mean` and divided by `spread`; `mean` also stands for a missing one.

    `kind` says which number: the value itself, its square about `centre`, whether it is a `text`, or whether it is
    missing.
    """

    column: str
    kind: Literal["number", "square", "text", "missing"]
    text: str | None = None
    centre: float = 0.0
    mean: float = 0.0
    spread: float = 1.0
    coefficient: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.centre, self.mean, self.spread, self.coefficient)
        if not (np.isfinite(numbers).all() and self.spread > 0):
            found = ", ".join(f"{number:g}" for number in numbers)
            raise UserInputError(
                f"second stage: {self.column}: found {found} as centre, mean, spread and coefficient, expected finite "
                "numbers and a spread above 0; fit the second stage anew"
            )


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """The probability of cancer is the logistic of `intercept` plus the sum of coefficients times inputs."""

    inputs: tuple[Input, ...]
    intercept: float
    penalty: float
    n_breasts: int
    n_cases: int

    def __post_init__(self) -> None:
        if not np.isfinite(self.intercept):
            raise UserInputError(
                f"second stage: found {self.intercept} as intercept, expected a finite number; fit it anew"
            )

    def score(self, breasts: pl.DataFrame) -> Floats:
        """The probability of cancer of each breast, (breast,), from a table with the columns of the inputs."""
        scores: Floats = expit(self.logit(breasts))
        return scores

    def logit(self, breasts: pl.DataFrame) -> Floats:
        """The same before the logistic function."""
        coefficients = np.array([each.coefficient for each in self.inputs])
        logits: Floats = self.intercept + _standardise(breasts, self.inputs) @ coefficients
        return logits


def fit_logistic(
    breasts: pl.DataFrame,
    columns: Sequence[str],
    *,
    squares: Sequence[str],
    penalties: Sequence[float],
    rng: np.random.Generator,
) -> LogisticModel:
    """The model of breasts with a known outcome, with the penalty that does best on patients it was not fitted on.

    The patients are dealt into folds anew; for each fold, standardisation and coefficients are those of the others.
    The penalty with the lowest log loss is taken, the stronger of equals. With fewer than two patients with cancer, or
    without, nothing can be compared, and the strongest is taken.

    Args:
        breasts: a table with `patient_id`, `cancer` and the columns.
        columns: the inputs; texts give one for each value.
        squares: those of them that also come squared.
        penalties: to choose from: what half the sum of the squared coefficients is multiplied by, against the sum of
            the losses.
        rng: deals the patients.

    Raises:
        TableError: there is no case or no control.
    """
    if breasts["cancer"].n_unique() != 2:  # noqa: PLR2004  # cases and controls
        raise TableError(
            f"second stage: found {breasts.height:,} breasts to learn from without both cases and controls, expected "
            "both; split into other folds, or leave [second_stage] out of the recipe"
        )
    strongest_first = sorted(penalties, reverse=True)
    inner = _deal(breasts, rng) if len(penalties) > 1 else None
    losses = [0.0] * len(penalties)
    for fold in [] if inner is None else np.unique(inner):
        held_out, others = breasts.filter(inner == fold), breasts.filter(inner != fold)
        inputs = _plan(others, columns, squares)
        for number, penalty in enumerate(strongest_first):
            losses[number] += _log_loss(_fit(others, inputs, penalty), held_out)
    return _fit(breasts, _plan(breasts, columns, squares), strongest_first[int(np.argmin(losses))])


def _deal(breasts: pl.DataFrame, rng: np.random.Generator) -> NDArray[np.intp] | None:
    """The inner fold of each breast; None where patients of a kind are too few."""
    patients = np.unique(breasts["patient_id"].to_numpy(), return_inverse=True)[1]
    folds = deal_into_folds(np.bincount(patients, breasts["cancer"].to_numpy()) > 0, rng=rng)
    return None if folds is None else folds[patients]


def _plan(breasts: pl.DataFrame, columns: Sequence[str], squares: Sequence[str]) -> tuple[Input, ...]:
    """The inputs that columns give, with the means and spreads of these breasts, without coefficients."""
    inputs = tuple(_inputs_of(breasts, columns, squares))
    means = np.array([_mean(raw) for raw in _raw(breasts, inputs)])
    centred = tuple(replace(each, mean=float(mean)) for each, mean in zip(inputs, means, strict=True))
    spreads = _standardise(breasts, centred).std(axis=0)
    is_constant = spreads <= _LEAST_SPREAD * np.maximum(np.abs(means), 1)
    spreads = np.where(is_constant, 1.0, spreads)
    return tuple(replace(each, spread=float(spread)) for each, spread in zip(centred, spreads, strict=True))


def _inputs_of(breasts: pl.DataFrame, columns: Sequence[str], squares: Sequence[str]) -> Iterator[Input]:
    for column in columns:
        values = breasts[column]
        if values.dtype == pl.String:
            yield from (Input(column, "text", value) for value in sorted(values.drop_nulls().unique()))
        else:
            yield Input(column, "number")
        if column in squares:
            yield Input(column, "square", centre=_mean(values.cast(pl.Float64).fill_null(np.nan).to_numpy()))
        if values.null_count():
            yield Input(column, "missing")


def _raw(breasts: pl.DataFrame, inputs: Sequence[Input]) -> Iterator[Floats]:
    """The numbers of each input before standardisation, NaN where missing or of a text that no input knows."""
    for each in inputs:
        values = breasts[each.column]
        if each.kind == "missing":
            yield values.is_null().cast(pl.Float64).to_numpy()
        elif each.kind == "text":
            texts = values.cast(pl.String).fill_null("")
            known = [of.text for of in inputs if of.column == each.column and of.kind == "text"]
            yield np.where(texts.is_in(known).to_numpy(), (texts == each.text).to_numpy(), np.nan)
        else:
            numbers = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
            yield numbers if each.kind == "number" else (numbers - each.centre) ** 2


def _standardise(breasts: pl.DataFrame, inputs: Sequence[Input]) -> Floats:
    columns = [
        np.nan_to_num((raw - each.mean) / each.spread, nan=0.0)
        for each, raw in zip(inputs, _raw(breasts, inputs), strict=True)
    ]
    return np.column_stack(columns)  # (breast, input)


def _mean(numbers: Floats) -> float:
    """The mean of those that are known; 0 where none is, and the input says nothing then."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else 0.0


def _fit(breasts: pl.DataFrame, inputs: tuple[Input, ...], penalty: float) -> LogisticModel:
    outcomes = breasts["cancer"].to_numpy()
    # its own loss is the sum of the losses times C, so that a penalty is 1 / C
    solver = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-8, max_iter=_MOST_STEPS)
    solver.fit(_standardise(breasts, inputs), outcomes)
    return LogisticModel(
        inputs=tuple(replace(each, coefficient=float(c)) for each, c in zip(inputs, solver.coef_[0], strict=True)),
        intercept=float(solver.intercept_[0]),
        penalty=penalty,
        n_breasts=len(outcomes),
        n_cases=int(outcomes.sum()),
    )


def _log_loss(model: LogisticModel, breasts: pl.DataFrame) -> float:
    outcomes, logits = breasts["cancer"].to_numpy(), model.logit(breasts)
    return float(np.logaddexp(0, np.where(outcomes, -logits, logits)).sum())
