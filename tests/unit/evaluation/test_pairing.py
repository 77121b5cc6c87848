"""Two tables side by side: what they have in common, what only one has, and what contradicts."""

import numpy as np
import polars as pl
import pytest

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.comparison import compare_aucs
from mammoscope.evaluation.levels import LevelSample, sample_level
from mammoscope.evaluation.pairing import compare_samples, pair_samples

SETTINGS = BootstrapSettings(n_replicates=100, seed=1)


def other_score(scores: pl.DataFrame) -> pl.DataFrame:
    noise = np.random.default_rng(3).random(scores.height)
    return scores.with_columns(score=pl.col("score") / 2 + pl.Series(noise) / 2)


def test_the_order_of_the_rows_says_nothing(cohort: pl.DataFrame) -> None:
    first, second = sample_level(cohort, "image"), other_score(cohort)
    shuffled = sample_level(second.sample(fraction=1, shuffle=True, seed=2), "image")
    pair = pair_samples(first, shuffled)
    np.testing.assert_array_equal(pair.first, first.scores)
    np.testing.assert_array_equal(pair.second, sample_level(second, "image").scores)
    np.testing.assert_array_equal(pair.outcomes, first.outcomes)
    np.testing.assert_array_equal(pair.patients, first.patients)
    assert (pair.n_only_first, pair.n_only_second) == (0, 0)


def test_what_only_one_has_is_counted(cohort: pl.DataFrame) -> None:
    first, second = sample_level(cohort.head(200), "breast"), sample_level(other_score(cohort).tail(100), "breast")
    pair = pair_samples(first, second)
    # 100 breasts and 50 breasts of 120, of which 30 are in both
    assert (len(pair.first), pair.n_only_first, pair.n_only_second) == (30, 70, 20)


def test_the_comparison_is_that_of_the_pairs(cohort: pl.DataFrame) -> None:
    first, second = sample_level(cohort, "breast"), sample_level(other_score(cohort), "breast")
    compared = compare_samples(first, second, SETTINGS)
    pair = pair_samples(first, second)
    assert compared.auc == compare_aucs(
        pair.first, pair.second, outcomes=pair.outcomes, patients=pair.patients, settings=SETTINGS
    )
    assert (compared.level, compared.n, compared.n_cases, compared.n_patients) == ("breast", 120, 12, 60)


def test_progress_is_told(cohort: pl.DataFrame) -> None:
    told: list[int] = []
    sample = sample_level(cohort, "breast")
    compare_samples(sample, sample, SETTINGS, advance=told.append)
    assert sum(told) == 100


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (lambda cohort: sample_level(cohort, "exam"), "found scores of breasts and of exams, expected one level"),
        (
            lambda cohort: sample_level(cohort.with_columns(exam_id="x" + pl.col("exam_id")), "breast"),
            "no breast has both scores, expected the same breasts; are the ids spelled alike",
        ),
        (
            lambda cohort: sample_level(cohort.with_columns(cancer=pl.lit(value=True)), "breast"),
            "108 of 120 breasts have another outcome in the second table, expected one",
        ),
        (
            lambda cohort: sample_level(cohort.with_columns(patient_id="x" + pl.col("patient_id")), "breast"),
            "120 of 120 breasts have another patient in the second table, expected one",
        ),
    ],
)
def test_what_is_no_pair_is_refused(cohort: pl.DataFrame, second: object, sentence: str) -> None:
    assert callable(second)
    other = second(cohort)
    assert isinstance(other, LevelSample)
    with pytest.raises(TableError, match=sentence):
        pair_samples(sample_level(cohort, "breast"), other)
