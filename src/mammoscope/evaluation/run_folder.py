"""What an evaluation reads from the folder of a run: scores, the facts of its making, the history of its training."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import TypeAdapter, ValidationError

from mammoscope.errors import RunError
from mammoscope.evaluation.scores import read_scores

ENVIRONMENT_VERSION = 1
RecordT = TypeVar("RecordT")


@dataclass(frozen=True, slots=True)
class History:
    """The training of one fold: epochs, and what was measured after each; NaN where nothing was."""

    fold: str
    epochs: tuple[float, ...]
    train_loss: tuple[float, ...]
    held_out_auc: tuple[float, ...]
    rate: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """The parts of a run folder; `environment` is None where the run has left none."""

    path: Path
    scores: pl.DataFrame
    environment: dict[str, Any] | None
    histories: tuple[History, ...]


def read_run(folder: Path) -> Run:
    """The scores, environment and histories of a run.

    Raises:
        RunError: no such folder, no scores in it, or an environment that cannot be read or has another version.
        TableError: the scores break their schema.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: not a folder, expected a run; make one with `mammoscope train`")
    scores_path = folder / "scores.parquet"
    if not scores_path.is_file():
        raise RunError(
            f"{folder}: found no scores.parquet, expected the scores of a run; let `mammoscope train` finish"
        )
    return Run(
        path=folder,
        scores=read_scores(scores_path),
        environment=read_environment(folder / "environment.json"),
        histories=tuple(_read_histories(folder)),
    )


def read_environment(path: Path) -> dict[str, Any] | None:
    """The facts of a run, None where the file is not there.

    Raises:
        RunError: not JSON, or of another schema version.
    """
    if not path.is_file():
        return None
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not JSON ({error}); train again, or remove the file") from error
    if not isinstance(environment, dict) or environment.get("schema_version") != ENVIRONMENT_VERSION:
        found = environment.get("schema_version") if isinstance(environment, dict) else type(environment).__name__
        raise RunError(
            f"{path}: schema_version is {found!r}, expected {ENVIRONMENT_VERSION}; "
            "use the version of mammoscope that made the run"
        )
    return environment


def read_record(path: Path, adapter: TypeAdapter[RecordT], *, version: int) -> RecordT:
    """What a JSON file of a run holds, each of its keys checked.

    Raises:
        RunError: no such file, not JSON, of another schema version, or something in it is missing or of another type.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file; `mammoscope train` writes it into its run when folds are done")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not JSON ({error}); `mammoscope train` writes it anew") from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != version:
        raise RunError(
            f"{path}: schema_version is {found!r}, expected {version}; use the version of mammoscope that made the run"
        )
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path}: {place}: {first['msg'].lower()}; `mammoscope train` writes the file anew") from error


def _read_histories(folder: Path) -> list[History]:
    histories = []
    for path in sorted(folder.glob("folds/*/history.csv")):
        try:
            table = pl.read_csv(path, infer_schema=False)
        except pl.exceptions.PolarsError as error:
            raise RunError(f"{path}: not a table that can be read ({error}); train again, or remove it") from error
        if not table.is_empty():
            histories.append(_history(path.parent.name, table))
    return histories


def _history(fold: str, table: pl.DataFrame) -> History:
    return History(
        fold=fold,
        epochs=_numbers(table, "epoch"),
        train_loss=_numbers(table, "train_loss"),
        held_out_auc=_numbers(table, "held_out_breast_auc"),
        rate=_numbers(table, "rate"),
    )


def _numbers(table: pl.DataFrame, column: str) -> tuple[float, ...]:
    """The column as numbers, NaN where it has none; the epochs count from 1 where their column is missing."""
    if column in table.columns:
        return tuple(table[column].cast(pl.Float64, strict=False).fill_null(float("nan")).to_list())
    missing = range(1, table.height + 1) if column == "epoch" else [float("nan")] * table.height
    return tuple(float(number) for number in missing)
