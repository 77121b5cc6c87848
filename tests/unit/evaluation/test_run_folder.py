"""Reading a run: what is refused, and what may be missing."""

import json
import math
from pathlib import Path

import polars as pl
import pytest

from mammoscope.errors import RunError, TableError
from mammoscope.evaluation.run_folder import read_environment, read_run
from mammoscope.evaluation.scores import write_scores


@pytest.fixture
def run(cohort: pl.DataFrame, tmp_path: Path) -> Path:
    write_scores(cohort, tmp_path / "scores.parquet")
    return tmp_path


def write_history(run: Path, fold: str, text: str) -> None:
    (run / "folds" / fold).mkdir(parents=True)
    (run / "folds" / fold / "history.csv").write_text(text)


def test_scores_alone_are_enough(run: Path, cohort: pl.DataFrame) -> None:
    content = read_run(run)
    assert content.scores.equals(cohort)
    assert content.environment is None
    assert content.histories == ()


def test_a_run_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: not a folder, expected a run; make one with `mammoscope train`"):
        read_run(tmp_path / "nowhere")


def test_a_run_without_scores_is_not_done(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"found no scores.parquet"):
        read_run(tmp_path)


def test_scores_that_break_the_schema_are_refused(run: Path, cohort: pl.DataFrame) -> None:
    cohort.with_columns(score=pl.lit(2.0)).write_parquet(run / "scores.parquet")
    with pytest.raises(TableError, match=r"scores.parquet: score: outside \[0, 1\]"):
        read_run(run)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not JSON"),
        ('{"schema_version": 2}', "schema_version is 2, expected 1; use the version of mammoscope that made the run"),
        ("{}", "schema_version is None, expected 1"),
        ("[]", "schema_version is 'list', expected 1"),
    ],
)
def test_an_environment_of_another_kind_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "environment.json"
    path.write_text(text)
    with pytest.raises(RunError, match=sentence):
        read_environment(path)


def test_the_environment_is_read(run: Path) -> None:
    environment = {"schema_version": 1, "seed": 3}
    (run / "environment.json").write_text(json.dumps(environment))
    assert read_run(run).environment == environment


def test_histories_are_read_in_the_order_of_the_folds(run: Path) -> None:
    write_history(run, "1", "epoch,train_loss,held_out_breast_auc,rate\n0,0.7,0.5,0.1\n1,0.6,,0.1\n")
    write_history(run, "0", "epoch,train_loss\n0,0.5\n")
    write_history(run, "2", "epoch,train_loss,held_out_breast_auc\n")
    first, second = read_run(run).histories
    assert first.fold == "0"
    assert list(first.train_loss) == [0.5]
    assert math.isnan(first.held_out_auc[0])
    assert list(second.epochs) == [0, 1]
    assert second.held_out_auc[0] == 0.5
    assert math.isnan(second.held_out_auc[1])
    assert list(second.rate) == [0.1, 0.1]


def test_a_history_may_lack_its_epochs(run: Path) -> None:
    write_history(run, "0", "train_loss\n0.5\n0.4\n")
    assert read_run(run).histories[0].epochs == (1, 2)


def test_a_history_that_is_no_table_is_refused(run: Path) -> None:
    write_history(run, "0", "")
    with pytest.raises(RunError, match=r"history\.csv: not a table that can be read"):
        read_run(run)
