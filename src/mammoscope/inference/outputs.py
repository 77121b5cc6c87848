"""The folder of a prediction: whose it is, and its tables, each whole or not there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from mammoscope.errors import UserInputError
from mammoscope.evaluation.scores import write_scores
from mammoscope.files import sha256_of_bytes, write_json
from mammoscope.inference.bundle import Bundle
from mammoscope.inference.collect import Prediction
from mammoscope.inference.decisions import write_table
from mammoscope.inference.journal import RECORD
from mammoscope.inference.submission import write_submission
from mammoscope.learning.run import Run

SUMMARY_NAME = "summary.json"
SUMMARY_VERSION = 1
_FORMATS = (".parquet", ".csv", ".jsonl")
_REJECTED_SCHEMA = {"image_id": pl.String, "path": pl.String, "code": pl.String, "sentence": pl.String}


def hash_model(run: Run) -> str:
    """The SHA-256 of all that a run scores by: recipe, preparation, and of each trained fold weights and table."""
    files = [run.path / "recipe.toml", run.path / "prepare.toml"]
    for fold in run.trained_folds:
        files += [run.weights_path(fold), run.table_path(fold)]
    digests = [
        f"{path.relative_to(run.path).as_posix()} {sha256_of_bytes(path.read_bytes())}\n"
        for path in files
        if path.is_file()
    ]
    return sha256_of_bytes("".join(digests).encode())


def describe_prediction(
    bundle: Bundle, places: Sequence[Path], table: Path | None, *, engine: str, precision: str
) -> dict[str, object]:
    """What two predictions must agree in to be the same: the model, how it is computed, and what is scored."""
    return {
        "model_hash": hash_model(bundle.run),
        "flips": bundle.recipe.scoring.flips,
        "engine": engine,
        "precision": precision,
        "input": [str(place.resolve()) for place in places],
        "table": None if table is None else str(table.resolve()),
    }


def refuse_another(output: Path, about: Mapping[str, object]) -> None:
    """Refuse a folder that holds the finished prediction of something else; the same may be written over.

    Raises:
        UserInputError: it does, or its summary cannot be read.
    """
    path = output / SUMMARY_NAME
    if not path.is_file():
        return
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserInputError(f"{path}: not JSON ({error}); choose another folder, or remove the file") from error
    kept = found if isinstance(found, dict) else {}
    others = [name.replace("_", " ") for name, value in about.items() if kept.get(name) != value]
    if others:
        raise UserInputError(
            f"{output}: found another prediction, different in {', '.join(others)}, expected none or the same; choose "
            "another folder"
        )


def write_prediction(
    output: Path,
    prediction: Prediction,
    *,
    decisions: pl.DataFrame,
    submission: pl.DataFrame,
    summary: Mapping[str, object],
) -> None:
    """Write all tables of a prediction, and the summary as the last.

    Raises:
        OSError: the system refused to write.
    """
    levels = [prediction.image_scores, prediction.breast_scores, prediction.exam_scores]
    scores = pl.concat(levels, how="diagonal")
    for suffix in _FORMATS:
        write_scores(scores, output / f"scores{suffix}")
        write_table(decisions, output / f"decisions{suffix}")
    write_table(prediction.pictures.select("image_id", *RECORD), output / "prepared.parquet")
    rejected = pl.DataFrame([asdict(rejection) for rejection in prediction.rejections], schema=_REJECTED_SCHEMA)
    write_table(rejected, output / "rejected.parquet")
    write_submission(submission, output / "submission.csv")
    write_json(output / SUMMARY_NAME, summary)
