"""The table model: at the optimum of its loss, honest about what is missing, its penalty chosen on other patients."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from mammoscope.errors import TableError, UserInputError
from mammoscope.learning.logistic import LogisticModel, _deal, fit_logistic

Floats = NDArray[np.float64]
PENALTIES = (0.1, 10.0, 1000.0)


def sample(n: int = 400, *, effect: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """Two breasts of each patient; age raises the odds, noise does not; density is missing for some."""
    rng = np.random.default_rng(seed)
    age = np.repeat(rng.normal(60, 10, n // 2), 2)
    cancer = rng.random(n) < 1 / (1 + np.exp(1.5 - effect * (age - 60) / 10))
    return pl.DataFrame(
        {
            "patient_id": [f"p{number // 2:03}" for number in range(n)],
            "cancer": cancer,
            "age_years": age,
            "noise": rng.normal(size=n),
            "density": rng.choice(["A", "B", None], n),  # type: ignore[arg-type]  # numpy takes any objects
        },
        schema_overrides={"density": pl.String},
    )


def fit(
    breasts: pl.DataFrame,
    *columns: str,
    squares: tuple[str, ...] = (),
    penalties: tuple[float, ...] = (1.0,),
    seed: int = 0,
) -> LogisticModel:
    return fit_logistic(breasts, columns, squares=squares, penalties=penalties, rng=np.random.default_rng(seed))


def test_the_coefficients_are_at_the_minimum_of_the_penalised_loss() -> None:
    breasts = sample()
    age, outcomes = breasts["age_years"].to_numpy(), breasts["cancer"].to_numpy()
    standardised = (age - age.mean()) / age.std()

    def loss(parameters: Floats) -> float:
        logits = parameters[0] + parameters[1] * standardised
        return float(np.logaddexp(0, np.where(outcomes, -logits, logits)).sum() + 50 / 2 * parameters[1] ** 2)

    expected = minimize(loss, np.zeros(2), tol=1e-10).x
    model = fit(breasts, "age_years", penalties=(50.0,))
    assert (model.intercept, model.inputs[0].coefficient) == pytest.approx(tuple(expected), abs=1e-4)
    assert (model.penalty, model.n_breasts, model.n_cases) == (50.0, 400, outcomes.sum())


def test_the_mean_score_is_the_share_of_cases() -> None:
    breasts = sample()
    scores = fit(breasts, "age_years", "noise", "density", squares=("age_years",)).score(breasts)
    assert scores.mean() == pytest.approx(breasts["cancer"].mean(), abs=1e-6)
    assert ((scores > 0) & (scores < 1)).all()


def test_the_inputs_of_each_kind_of_column() -> None:
    model = fit(
        sample().with_columns(implant=pl.col("noise") > 0), "age_years", "implant", "density", squares=("age_years",)
    )
    assert [(each.column, each.kind, each.text) for each in model.inputs] == [
        ("age_years", "number", None),
        ("age_years", "square", None),
        ("implant", "number", None),
        ("density", "text", "A"),
        ("density", "text", "B"),
        ("density", "missing", None),
    ]


def test_inputs_have_mean_0_and_spread_1_where_missing_ones_are_the_mean() -> None:
    breasts = sample().with_columns(pl.when(pl.int_range(pl.len()) % 7 != 0).then("age_years").alias("age_years"))
    number, square, missing = fit(breasts, "age_years", squares=("age_years",)).inputs
    known = breasts["age_years"].drop_nulls().to_numpy()
    filled = breasts["age_years"].fill_null(known.mean()).to_numpy()
    assert (number.mean, number.spread) == pytest.approx((known.mean(), filled.std()))
    assert (square.centre, square.mean) == pytest.approx((known.mean(), ((known - known.mean()) ** 2).mean()))
    assert missing.mean == pytest.approx(58 / 400)


def test_a_missing_value_is_scored_as_the_mean_and_a_flag() -> None:
    breasts = sample().with_columns(pl.when(pl.int_range(pl.len()) % 7 != 0).then("age_years").alias("age_years"))
    model = fit(breasts, "age_years")
    number, flag = model.inputs
    unknown, average = (
        model.logit(pl.DataFrame({"age_years": [age]}, schema={"age_years": pl.Float64}))[0]
        for age in (None, number.mean)
    )
    assert average == pytest.approx(model.intercept + flag.coefficient * (0 - flag.mean) / flag.spread)
    assert unknown == pytest.approx(model.intercept + flag.coefficient * (1 - flag.mean) / flag.spread)


def test_a_text_that_is_not_known_says_nothing() -> None:
    breasts = sample().with_columns(pl.col("density").fill_null("B"))
    model = fit(breasts, "density")
    scores = model.logit(pl.DataFrame({"density": ["Z", None, "A"]}))
    assert scores[:2].tolist() == [model.intercept] * 2
    assert scores[2] != model.intercept


@pytest.mark.parametrize("constant", [0.3, 60.1, None])
def test_a_column_that_is_the_same_for_all_has_no_part(constant: float | None) -> None:
    breasts = sample()
    useless = breasts.with_columns(pl.lit(constant, pl.Float64).alias("noise"))
    with_it, without = fit(useless, "age_years", "noise"), fit(breasts, "age_years")
    assert all(abs(each.coefficient) < 1e-12 for each in with_it.inputs if each.column == "noise")
    other = useless.with_columns(noise=pl.lit(7.0))
    np.testing.assert_allclose(with_it.score(other), without.score(breasts), atol=1e-9)


@pytest.mark.parametrize("constant", [0.3, 60.1])
def test_rounding_makes_no_input_of_a_constant_with_gaps(constant: float) -> None:
    gaps = pl.when(pl.int_range(pl.len()) % 3 != 0).then(constant)
    number, flag = fit(sample().with_columns(noise=gaps), "noise").inputs
    assert np.full(266, constant).mean() != constant  # what makes it hard
    assert number.spread == 1
    assert number.coefficient == pytest.approx(0, abs=1e-12)
    assert flag.coefficient != 0


def test_units_say_nothing() -> None:
    breasts = sample()
    in_months = breasts.with_columns(pl.col("age_years") * 12)
    options = {"squares": ("age_years",), "penalties": PENALTIES}
    one, other = (fit(each, "age_years", "noise", **options) for each in (breasts, in_months))  # type: ignore[arg-type]
    np.testing.assert_allclose(one.score(breasts), other.score(in_months), rtol=1e-6)


def test_a_square_lets_the_risk_bend() -> None:
    breasts = sample(1000)
    bent = breasts.with_columns(cancer=(pl.col("age_years") - 60).abs() > 10)
    straight, curved = fit(bent, "age_years"), fit(bent, "age_years", squares=("age_years",))
    ages = pl.DataFrame({"age_years": [40.0, 60.0, 80.0]})
    young, middle, old = curved.score(ages)
    assert min(young, old) > 0.9
    assert middle < 0.3
    assert np.ptp(straight.score(ages)) < 0.2


def test_the_strongest_penalty_is_chosen_for_noise_and_a_weak_one_for_a_strong_effect() -> None:
    assert fit(sample(), "noise", penalties=PENALTIES).penalty == 1000.0
    assert fit(sample(effect=3.0), "age_years", penalties=PENALTIES).penalty < 1000.0


def test_the_order_of_the_penalties_says_nothing() -> None:
    breasts = sample()
    assert fit(breasts, "age_years", penalties=PENALTIES) == fit(breasts, "age_years", penalties=PENALTIES[::-1])


def test_the_penalty_is_chosen_on_patients_that_were_not_learned_from() -> None:
    breasts = sample()
    folds = _deal(breasts, np.random.default_rng(0))
    assert folds is not None
    by_patient = (
        breasts.select("patient_id", fold=pl.Series(folds)).group_by("patient_id").agg(pl.col("fold").n_unique())
    )
    assert by_patient["fold"].max() == 1
    assert len(np.unique(folds)) == 5


def test_repeats_of_a_patient_do_not_make_her_column_look_good() -> None:
    """A column that names the patient fits those that are learned from, and says nothing of others."""
    breasts = sample(60)
    named = pl.concat([breasts] * 4).with_columns(patient=pl.col("patient_id"))
    assert fit(named, "patient", penalties=(0.001, 1000.0)).penalty == 1000.0


def test_with_one_patient_with_cancer_the_strongest_penalty_is_taken() -> None:
    breasts = sample().with_columns(cancer=pl.int_range(pl.len()) == 3)
    assert fit(breasts, "age_years", penalties=PENALTIES).penalty == 1000.0


@pytest.mark.parametrize("outcome", [True, False])
def test_one_class_only_is_refused(outcome: bool) -> None:
    with pytest.raises(
        TableError, match="found 400 breasts to learn from without both cases and controls, expected both"
    ):
        fit(sample().with_columns(cancer=pl.lit(outcome)), "age_years")


def test_a_model_is_what_its_numbers_say() -> None:
    model = fit(sample(), "age_years")
    (age,) = model.inputs
    by_hand = model.intercept + age.coefficient * (70 - age.mean) / age.spread
    assert model.logit(pl.DataFrame({"age_years": [70.0]}))[0] == pytest.approx(by_hand)
    doubled = replace(model, inputs=(replace(age, coefficient=2 * age.coefficient),))
    assert doubled.logit(pl.DataFrame({"age_years": [70.0]}))[0] == pytest.approx(2 * by_hand - model.intercept)


@pytest.mark.parametrize(
    "change",
    [
        {"coefficient": float("nan")},
        {"mean": float("inf")},
        {"centre": float("nan")},
        {"spread": 0.0},
        {"spread": -1.0},
    ],
)
def test_numbers_that_would_score_nobody_are_refused(change: dict[str, float]) -> None:
    (age,) = fit(sample(), "age_years").inputs
    with pytest.raises(UserInputError, match=r"age_years: found .* expected finite numbers and a spread above 0"):
        replace(age, **change)  # type: ignore[arg-type]  # numbers only


def test_an_intercept_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserInputError, match="found nan as intercept, expected a finite number; fit it anew"):
        replace(fit(sample(), "age_years"), intercept=float("nan"))
