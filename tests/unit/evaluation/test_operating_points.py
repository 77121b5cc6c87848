"""The file of operating points: what is written is read back, and what is none is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mammoscope.config import build_settings
from mammoscope.errors import ConfigError, RunError, UserInputError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.operating_points import (
    OperatingPoints,
    OperatingPointSettings,
    read_operating_points,
    write_operating_points,
)

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def points(cohort: pl.DataFrame) -> OperatingPoints:
    return cross_fit(cohort, OperatingPointSettings(), BootstrapSettings(n_replicates=20, seed=3))


def test_what_is_written_is_read_back(points: OperatingPoints, tmp_path: Path) -> None:
    write_operating_points(points, tmp_path / "operating_points.json")
    assert read_operating_points(tmp_path / "operating_points.json") == points
    assert [path.name for path in tmp_path.iterdir()] == ["operating_points.json"]


def test_points_without_figures_are_read_back(cohort: pl.DataFrame, tmp_path: Path) -> None:
    of_one_class = cross_fit(cohort.filter(~pl.col("cancer")), OperatingPointSettings(), BootstrapSettings())
    write_operating_points(of_one_class, tmp_path / "points.json")
    assert read_operating_points(tmp_path / "points.json") == of_one_class


def test_the_file_says_how_it_was_made(points: OperatingPoints, tmp_path: Path) -> None:
    write_operating_points(points, tmp_path / "points.json")
    content = json.loads((tmp_path / "points.json").read_text())
    assert (
        content.items()
        >= {"schema_version": 2, "replicates": 20, "seed": 3, "confidence": 0.95, "prevalence": None}.items()
    )
    assert content["method"].startswith("thresholds cross-fitted over folds; bootstrap over patients")
    assert [point["name"] for point in content["points"]] == [
        "maximal_f1",
        *("recall_rate_3.5", "recall_rate_10"),
        *("sensitivity_80", "sensitivity_85", "sensitivity_90", "sensitivity_99"),
        *("specificity_80", "specificity_90", "specificity_95", "specificity_96.6", "specificity_99"),
    ]


def test_a_point_is_had_by_its_name(points: OperatingPoints) -> None:
    assert points.named("sensitivity_85").wanted == 0.85
    with pytest.raises(
        UserInputError, match=r"operating point sensitivity_98: not one of this run, .* maximal_f1, rec"
    ):
        points.named("sensitivity_98")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content.update(schema_version=1), "schema_version is 1, expected 2; use the version"),
        (lambda content: content.pop("schema_version"), "schema_version is None, expected 2"),
        (lambda content: content.pop("seed"), r"points\.json: seed: .*required"),
        (lambda content: content.update(seed="0"), r"points\.json: seed: input should be a valid integer"),
        (lambda content: content["points"][1].pop("f1"), r"points\.1\.f1: .*required"),
        (
            lambda content: content["points"][0].update(judged_on="the test set"),
            r"points\.0\.judged_on: input should be",
        ),
    ],
)
def test_a_file_of_another_make_is_refused(
    points: OperatingPoints, tmp_path: Path, change: Change, sentence: str
) -> None:
    path = tmp_path / "points.json"
    write_operating_points(points, path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=sentence):
        read_operating_points(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "points.json").write_bytes(content)
    with pytest.raises(RunError, match=r"points\.json: not JSON \(.*\); `mammoscope train` writes it anew"):
        read_operating_points(tmp_path / "points.json")


@pytest.mark.parametrize("content", [b"[1]", b"3"])
def test_what_is_no_table_of_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "points.json").write_bytes(content)
    with pytest.raises(RunError, match=r"points\.json: schema_version is None, expected 2; use the version"):
        read_operating_points(tmp_path / "points.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file; `mammoscope train` writes it into its run when folds are done"):
        read_operating_points(tmp_path / "points.json")


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_threshold_outside_the_scores_is_refused(points: OperatingPoints, value: float) -> None:
    point = points.points[0]
    with pytest.raises(UserInputError, match=r"operating point maximal_f1: threshold is .*, expected one in \[0, 1\]"):
        replace(point, threshold=replace(point.threshold, value=value))


def test_a_name_that_comes_twice_is_refused(points: OperatingPoints) -> None:
    with pytest.raises(UserInputError, match="found maximal_f1, maximal_f1, expected each name once"):
        replace(points, points=points.points[:1] * 2)


@pytest.mark.parametrize(
    ("key", "value"), [("recall_rates", 0.0), ("sensitivities", 1.5), ("specificities", -0.1), ("recall_rates", "some")]
)
def test_a_share_that_is_none_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"recipe: {key}\.0: found {value!r}"):
        build_settings(OperatingPointSettings, {key: [value]}, where="recipe")


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan"), "some"])
def test_a_prevalence_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=rf"recipe: prevalence: found {value!r}"):
        build_settings(OperatingPointSettings, {"prevalence": value}, where="recipe")


def test_a_share_that_is_wanted_twice_is_one_point() -> None:
    settings = OperatingPointSettings(recall_rates=(0.1, 0.1), sensitivities=(0.1,), specificities=())
    assert [target.name for target in settings.targets] == ["maximal_f1", "recall_rate_10", "sensitivity_10"]
