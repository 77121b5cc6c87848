"""The folder of a prediction: whose it is, and its tables, each whole or not there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from mammoscope.errors import UserInputError
from mammoscope.evaluation.scores import write_scores
from mammoscope.files import refuse_foreign, sha256_of_bytes, write_json
from mammoscope.inference.collect import Prediction
from mammoscope.inference.decisions import write_table
from mammoscope.inference.engine import Engine
from mammoscope.inference.journal import FOLDER, RECORD
from mammoscope.inference.submission import write_submission

SUMMARY_NAME = "summary.json"
SUMMARY_VERSION = 1
_FORMATS = (".parquet", ".csv", ".jsonl")
_REJECTED_SCHEMA = {"image_id": pl.String, "path": pl.String, "code": pl.String, "sentence": pl.String}


def hash_model(engine: Engine) -> str:
    """The SHA-256 of what the networks are: recipe, preparation, and of each fold its weights and its table's encoding.

    It is that of the run, whatever computes it, in what precision, and of what mirror images too.
    """
    recipe = engine.recipe.model_dump_json(exclude={"scoring"})
    weights = [f"{fold} {sha256}\n" for fold, sha256 in engine.weights_by_fold.items()]
    tables = [f"{encoder.model_dump_json()}\n" for encoder in engine.encoders]
    return sha256_of_bytes("".join([f"{recipe}\n{engine.prepare.hash}\n", *weights, *tables]).encode())


def describe_prediction(engine: Engine, places: Sequence[Path], table: Path | None) -> dict[str, object]:
    """What two predictions must agree in to be the same: the model, how it is computed, and what is scored."""
    return {
        "model_hash": hash_model(engine),
        "flips": engine.recipe.scoring.flips,
        "engine": engine.name,
        "precision": engine.precision,
        "input": [str(place.resolve()) for place in places],
        "table": None if table is None else str(table.resolve()),
    }


def refuse_another(output: Path, about: Mapping[str, object]) -> None:
    """Refuse a folder that holds the finished prediction of something else, or no prediction but other files.

    The same prediction may be written over, and one that was interrupted gone on with.

    Raises:
        UserInputError: it does, or its summary cannot be read.
    """
    refuse_foreign(output, what="prediction", own=(SUMMARY_NAME, FOLDER))
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
