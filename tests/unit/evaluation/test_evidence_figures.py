"""The figures of the further evidence: what they draw, what they say in words, and when there are none."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.calibration import measure_calibration
from mammoscope.evaluation.data_flow import DataFlow, Loss, Step
from mammoscope.evaluation.evidence_figures import (
    draw_calibration,
    draw_flow,
    draw_froc,
    draw_precision_recall,
    draw_readers,
)
from mammoscope.evaluation.localisation import JudgedMarks, measure_localisation
from mammoscope.evaluation.precision_recall import measure_precision_recall
from mammoscope.evaluation.reader_study import ReaderStudy
from mammoscope.evaluation.readers_on_roc import place_readers
from mammoscope.pages.drawing import Figure

SETTINGS = BootstrapSettings(n_replicates=50)
N = 120
OUTCOMES: NDArray[np.bool_] = np.arange(N) % 4 == 0
SIGNAL = np.random.default_rng(3).normal(size=N) + OUTCOMES
SCORES = 1 / (1 + np.exp(1.5 - SIGNAL))
SAMPLE: dict[str, Any] = {"patients": np.arange(N) // 2, "settings": SETTINGS}


def is_of_the_page(figure: Figure | None, name: str) -> Figure:
    """The figure, which has a name, takes all of its colours from the page, and is told in a sentence."""
    assert figure is not None
    assert figure.name == name
    assert re.findall(r"#[0-9a-f]{6}", figure.svg) == []
    assert set(re.findall(r' id="([a-z-]+?)-', figure.svg)) <= {name, name.partition("-")[0]}
    assert figure.alternative.endswith(".")
    assert "nan" not in figure.alternative
    assert "None" not in figure.alternative
    return figure


def test_precision_against_recall() -> None:
    found = measure_precision_recall(SCORES, OUTCOMES, **SAMPLE)
    figure = is_of_the_page(draw_precision_recall(found), "precision-recall")
    assert found.average_precision.value is not None
    assert f"average precision {found.average_precision.value:.3f} (" in figure.alternative
    assert "chance 0.250" in figure.alternative
    assert "Average precision" in figure.svg
    assert draw_precision_recall(measure_precision_recall(SCORES, np.zeros(N, bool), **SAMPLE)) is None


def test_calibration() -> None:
    figure = is_of_the_page(draw_calibration(measure_calibration(SCORES, OUTCOMES, **SAMPLE)), "calibration")
    assert "in 10 bins: " in figure.alternative
    assert "Calibration slope " in figure.alternative
    assert draw_calibration(measure_calibration(SCORES, np.zeros(N, bool), **SAMPLE)) is None


def study(ratings: NDArray[np.float64], model: NDArray[np.float64] | None) -> ReaderStudy:
    names = tuple(f"reader {number}" for number in range(len(ratings)))
    return ReaderStudy("breast", names, ratings, model, OUTCOMES, np.arange(N) // 2, (0,) * len(ratings))


def test_readers_who_gave_grades() -> None:
    noise = np.random.default_rng(4).normal(size=(3, N))
    grades = np.digitize(SIGNAL + noise, [-0.5, 0.5, 1.5]) / 3
    placed = place_readers(study(grades, SCORES), settings=SETTINGS, cut=0.6)
    figure = is_of_the_page(draw_readers(placed), "readers")
    first = placed.each[0].sensitivity.value
    assert f"1, reader 0: sensitivity {first:.3f} (" in figure.alternative
    assert "The model lies above the readers by: sensitivity +" in figure.alternative
    assert all(label in figure.svg for label in (">model<", ">readers<", "average<", "mean<"))
    without_cut = draw_readers(place_readers(study(grades, SCORES), settings=SETTINGS))
    assert without_cut is not None
    assert "1, reader 0: AUC 0." in without_cut.alternative
    assert ">readers<" not in without_cut.svg


def test_readers_who_gave_calls_have_no_curve_and_no_average_curve() -> None:
    calls = (np.stack([SIGNAL, SIGNAL + 0.3]) > 1).astype(np.float64)
    figure = is_of_the_page(draw_readers(place_readers(study(calls, None), settings=SETTINGS)), "readers")
    assert "average<" not in figure.svg
    assert ">model<" not in figure.svg
    assert "The model lies" not in figure.alternative


def marks_of(n_lesions: int) -> JudgedMarks:
    lesions, images = np.arange(n_lesions), np.arange(20)
    return JudgedMarks(
        rule="the centre of the mark lies in the lesion",
        false_marks_of="all images",
        lesion_scores=np.linspace(0, 1, n_lesions),
        lesion_patients=lesions,
        false_scores=np.linspace(0, 0.8, 20),
        false_patients=images,
        pointed=np.ones(n_lesions),
        pointed_patients=lesions,
        image_patients=images,
        n_patients=20,
        n_without_place=0,
    )


def test_froc() -> None:
    figure = is_of_the_page(draw_froc(measure_localisation(marks_of(5), settings=SETTINGS)), "froc")
    assert "where the centre of the mark lies in the lesion: " in figure.alternative
    assert " at 0.125, " in figure.alternative
    assert all(f">{rate}<" in figure.svg for rate in ("0.125", "0.25", "4"))
    assert draw_froc(measure_localisation(marks_of(0), settings=SETTINGS)) is None


def test_the_flow_of_the_data() -> None:
    losses = tuple(
        Loss(code, count) for code, count in (("no_pixels", 9), ("bad_row", 4), ("a", 2), ("b", 1), ("c", 1))
    )
    flow = DataFlow(
        (
            Step("found", None, None, None, None, (), "not known: no manifest at hand"),
            Step("indexed", 1200, 600, 9, 300, losses, None),
        ),
        (),
    )
    figure = is_of_the_page(draw_flow(flow), "flow")
    assert figure.alternative == (
        "Images from found to used: found not known; indexed 1,200 images, lost before: no pixels: 9, bad row: 4, "
        "a: 2, other reasons: 2."
    )
    for told in ("1,200 images", "600 breasts, 9 cases", "300 patients", "no pixels: 9", "other reasons: 2"):
        assert told in figure.svg


@pytest.mark.parametrize("n_replicates", [1])
def test_equal_input_gives_equal_figures(n_replicates: int) -> None:
    settings = BootstrapSettings(n_replicates=n_replicates)
    drawn = [
        draw_precision_recall(measure_precision_recall(SCORES, OUTCOMES, patients=np.arange(N) // 2, settings=settings))
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
