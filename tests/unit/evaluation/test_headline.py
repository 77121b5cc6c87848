"""The figures of a level, against scikit-learn, DeLong and the competition's own way."""

import polars as pl
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from mammoscope.errors import UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.delong import delong_auc
from mammoscope.evaluation.discrimination import average_precision, probabilistic_f1
from mammoscope.evaluation.headline import METRICS, measure_level
from mammoscope.evaluation.levels import LevelSample, sample_level
from mammoscope.evaluation.prevalence import weigh_to_prevalence

SETTINGS = BootstrapSettings(n_replicates=200, seed=1)


@pytest.fixture(scope="module")
def breasts(cohort: pl.DataFrame) -> LevelSample:
    return sample_level(cohort, "breast")


def test_figures_are_those_of_other_implementations(breasts: LevelSample) -> None:
    result, roc = measure_level(breasts, SETTINGS)
    precision, recall, _ = precision_recall_curve(breasts.outcomes, breasts.scores)
    expected = {
        "auc": roc_auc_score(breasts.outcomes, breasts.scores),
        "partial_auc": roc_auc_score(breasts.outcomes, breasts.scores, max_fpr=0.1),
        "average_precision": average_precision_score(breasts.outcomes, breasts.scores),
        "best_f1": (2 * precision * recall / (precision + recall + 1e-300)).max(),
    }
    for name, value in expected.items():
        assert getattr(result, name).value == pytest.approx(value), name
    assert result.pf1.value == probabilistic_f1(breasts.scores, breasts.outcomes)  # to the last digit
    assert result.auc_delong == delong_auc(breasts.scores, breasts.outcomes, breasts.patients)
    assert roc is not None
    for name in METRICS:
        interval = getattr(result, name).interval
        assert interval is not None
        assert interval.low < getattr(result, name).value < interval.high


def test_the_rule_and_the_counts_are_told(breasts: LevelSample) -> None:
    result, _ = measure_level(breasts, SETTINGS)
    assert result.rule == "the mean over the images of a breast"
    assert (result.n, result.n_cases, result.n_images, result.n_patients, result.n_undetermined) == (
        120,
        12,
        240,
        60,
        0,
    )
    assert result.to_json()["share_of_cases"] == pytest.approx(0.1)
    assert result.to_json()["partial_auc_highest_rate"] == pytest.approx(0.1)


def test_what_depends_on_the_prevalence_is_given_there_too(breasts: LevelSample) -> None:
    heard: list[int] = []
    result, _ = measure_level(breasts, SETTINGS, prevalence=0.01, advance=heard.append)
    assert sum(heard) == 2 * SETTINGS.n_replicates
    weights = weigh_to_prevalence(breasts.outcomes, 0.01)
    assert result.at_prevalence is not None
    expected = average_precision(breasts.scores, breasts.outcomes, weights)
    assert result.at_prevalence.average_precision.value == pytest.approx(expected)
    assert expected < (result.average_precision.value or 0) - 0.1
    own, _ = measure_level(breasts, SETTINGS, prevalence=0.1)  # the sample's own
    assert own.at_prevalence is not None
    assert own.at_prevalence.average_precision.value == pytest.approx(own.average_precision.value)
    with pytest.raises(UserInputError, match=r"prevalence: found 1\.5, expected the share of cases"):
        measure_level(breasts, SETTINGS, prevalence=1.5)


def test_one_class_has_reasons_and_no_curve(cohort: pl.DataFrame) -> None:
    heard: list[int] = []
    controls = sample_level(cohort.filter(~pl.col("cancer")), "exam")
    result, roc = measure_level(controls, SETTINGS, prevalence=0.01, advance=heard.append)
    assert roc is None
    assert sum(heard) == 2 * SETTINGS.n_replicates
    for name in METRICS:
        assert getattr(result, name).value is None
        assert getattr(result, name).reason.startswith("undefined: no case among 60")
    assert result.auc_delong.reason == result.auc.reason
    assert result.at_prevalence is not None
    assert result.at_prevalence.pf1.value is None
