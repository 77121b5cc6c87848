"""The figures: what they draw, what they say to those who do not see them, and when there are none."""

import re

import polars as pl
import pytest

from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.evaluation import Evaluation, EvaluationSettings, evaluate_scores
from mammoscope.evaluation.figures import draw_groups, draw_histories, draw_roc, draw_scores, draw_stability
from mammoscope.evaluation.headline import RocBand
from mammoscope.evaluation.operating_points import CurveBand, OperatingPointSettings, StabilityCurve
from mammoscope.evaluation.run_folder import History
from mammoscope.pages.drawing import Figure

SETTINGS = EvaluationSettings(BootstrapSettings(n_replicates=50))
NAN = float("nan")


@pytest.fixture(scope="module")
def evaluation(cohort: pl.DataFrame) -> Evaluation:
    return evaluate_scores(cohort, SETTINGS)


def colours(figure: Figure) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}", figure.svg))


def test_the_curve_is_told_in_words(evaluation: Evaluation) -> None:
    line = RocBand((0, 0.1, 1), (0, 0.6, 1), (0, 0.5, 1), (0, 0.7, 1))
    figure = draw_roc(line, evaluation.main)
    assert f"AUC {evaluation.main.auc.value:.3f} (" in figure.alternative
    assert "0.30 at 5%, 0.60 at 10%, 0.64 at 20%" in figure.alternative
    assert f"AUC {evaluation.main.auc.value:.3f}" in figure.svg


def test_the_distribution_is_told_in_words(evaluation: Evaluation) -> None:
    figure = draw_scores(evaluation.histogram, evaluation.main)
    assert "of 12 cases lies between" in figure.alternative
    assert "of 108 controls lies between" in figure.alternative


def test_rates_are_told_with_their_digits() -> None:
    (figure,) = draw_histories([History("0", (0, 1), (NAN, NAN), (NAN, NAN), (5e-4, 1.25e-8))])
    assert figure.name == "rate"
    assert figure.alternative == "Learning rate after each epoch: fold 0 from 0.0005 to 1.25e-08."
    assert colours(figure) == set()


def test_colours_come_from_the_page(evaluation: Evaluation) -> None:
    assert colours(draw_scores(evaluation.histogram, evaluation.main)) == set()


def test_groups_are_drawn_where_one_has_a_figure(cohort: pl.DataFrame, evaluation: Evaluation) -> None:
    sites = evaluation.grouped_by("site")
    assert sites is not None
    figure = draw_groups(sites, evaluation.main)
    assert figure is not None
    assert ">1 *<" in figure.svg  # six cases
    assert re.search(r"by site: 1 0\.\d{3} \(.*; 2 0\.\d{3} \(", figure.alternative.replace("AUC ", ""))
    controls = evaluate_scores(cohort.filter(~pl.col("cancer")), SETTINGS)
    sites = controls.grouped_by("site")
    assert sites is not None
    assert draw_groups(sites, controls.main) is None


def band_of(*values: float | None) -> CurveBand:
    return CurveBand(values, values, values)


def test_what_thresholds_do_is_told_in_words() -> None:
    curve = StabilityCurve(
        threshold=(0.01, 0.1, 0.2, 0.5, 0.9),
        sensitivity=band_of(1, 0.9, 0.8, 0.1, 0),
        specificity=band_of(0, 0.7, 0.9, 0.99, 1),
        recall_rate=band_of(1, 0.4, 0.2, 0.02, 0),
        ppv=band_of(0.1, 0.3, 0.5, 0.9, None),
        f1=band_of(0.2, 0.58, 0.62, 0.3, 0),
    )
    figure = draw_stability(curve, 0.15)
    assert figure.alternative == (
        "Sensitivity, specificity and F1 of breasts by threshold. The F1 is highest near 0.2, with sensitivity 0.80 "
        "and specificity 0.90, and within a tenth of that from 0.1 to 0.2."
    )
    assert all(name in figure.svg for name in ("sensitivity", "specificity", "F1", ">0.1<", ">0.9<"))
    assert colours(figure) == set()


def test_thresholds_of_scores_that_lie_close_are_named_too() -> None:
    curve = StabilityCurve(
        threshold=(0.44, 0.45, 0.46, 0.47),
        sensitivity=band_of(1, 0.9, 0.8, 0),
        specificity=band_of(0, 0.7, 0.9, 1),
        recall_rate=band_of(1, 0.4, 0.2, 0),
        ppv=band_of(0.1, 0.3, 0.5, None),
        f1=band_of(0.2, 0.58, 0.62, 0),
    )
    svg = draw_stability(curve, None).svg
    assert all(name in svg for name in (">0.44<", ">0.45<", ">0.46<", ">0.47<"))


def test_only_thresholds_that_call_some_are_drawn(cohort: pl.DataFrame) -> None:
    curve = cross_fit(cohort, OperatingPointSettings(), BootstrapSettings(n_replicates=20)).curve
    assert curve is not None
    svg = draw_stability(curve, None).svg
    assert ">0.1<" in svg
    assert ">0.0001<" not in svg
    assert ">0.999<" not in svg


def test_histories_are_drawn_as_far_as_they_go() -> None:
    both = draw_histories([History("0", (0, 1), (0.7, 0.5), (NAN, 0.6), (NAN, NAN))])
    assert [figure.name for figure in both] == ["loss", "held-out"]
    assert both[0].alternative == "Training loss after each epoch: fold 0 from 0.700 to 0.500."
    assert "fold 0 from 0.600 to 0.600" in both[1].alternative
    only_loss = draw_histories([History("0", (0, 1), (0.7, 0.5), (NAN, NAN), (NAN, NAN))])
    assert [figure.name for figure in only_loss] == ["loss"]
    assert draw_histories([History("0", (0,), (NAN,), (NAN,), (NAN,))]) == ()
    assert draw_histories([]) == ()
