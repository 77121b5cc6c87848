"""A second stage: a small table model on the out-of-fold scores, cross-fitted like the networks below it.

For each fold, it is fitted on the breasts of the other folds with their out-of-fold scores and scores this one, so that
the outcomes of a fold have no part in its own second-stage scores but through the scores of the first stage that the
other folds got. The model to keep is fitted on all. docs/second-stage.md describes the files.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings, number_patients
from mammoscope.evaluation.comparison import AucDifference, paired_auc_difference
from mammoscope.evaluation.run_folder import read_record
from mammoscope.evaluation.scores import list_breasts, write_scores
from mammoscope.files import write_json
from mammoscope.learning.breast_table import SCORE_COLUMNS, SecondStageSettings, check_columns, describe_breasts
from mammoscope.learning.logistic import LogisticModel, fit_logistic

FOLDER_NAME = "second_stage"
SECOND_STAGE_VERSION = 1
MIN_FOLDS = 2


@dataclass(frozen=True, slots=True)
class FoldModel:
    """The model that scored a fold: fitted on the others."""

    fold: int
    model: LogisticModel


@dataclass(frozen=True, slots=True)
class SecondStage:
    """The model for new breasts, fitted on all folds, the models of the folds, and the columns that they need."""

    schema_version: int
    columns: tuple[str, ...]
    final: LogisticModel
    by_fold: tuple[FoldModel, ...]


_ADAPTER = TypeAdapter(SecondStage)


def why_no_second_stage(folds: Sequence[int], trained_folds: Sequence[int]) -> str | None:
    """The clause that says why the folds of a cohort can have no second stage yet; None when they can."""
    missing = [str(fold) for fold in folds if fold not in trained_folds]
    if len(folds) < MIN_FOLDS:
        return f"none, as the cohort has {len(folds)} fold and it takes {MIN_FOLDS}"
    return f"waits for fold {', '.join(missing)}" if missing else None


def fit_second_stage(
    scores: pl.DataFrame, manifest: pl.DataFrame, settings: SecondStageSettings, *, rng: np.random.Generator
) -> tuple[SecondStage, pl.DataFrame]:
    """The second stage of out-of-fold scores, and its own out-of-fold scores of breasts.

    Breasts of unknown outcome are scored, and nothing is learned from them.

    Raises:
        TableError: fewer than two folds, a score without a fold, no case or no control in the other folds of one, or as
            `describe_breasts` and `check_columns`.
    """
    check_columns(manifest, settings.columns)
    breasts = describe_breasts(scores, manifest, settings.columns)
    folds = sorted(breasts["fold"].drop_nulls().unique().to_list())
    n_without = breasts["fold"].null_count()
    if n_without or len(folds) < MIN_FOLDS:
        raise TableError(
            f"second stage: found {len(folds)} folds and {n_without:,} breasts without one, expected the out-of-fold "
            f"scores of {MIN_FOLDS} folds or more; train all folds of the cohort"
        )
    known = breasts.filter(pl.col("cancer").is_not_null())
    generators = rng.spawn(len(folds) + 1)  # one for each, so that the chance of one fold moves no other
    final = _fit(known, settings, generators[-1])
    by_fold = tuple(
        FoldModel(fold, _fit(known.filter(pl.col("fold") != fold), settings, own))
        for fold, own in zip(folds, generators, strict=False)
    )
    stacked = np.zeros(breasts.height)
    for each in by_fold:
        held_out = (breasts["fold"] == each.fold).to_numpy()
        stacked[held_out] = each.model.score(breasts.filter(held_out))
    stage = SecondStage(SECOND_STAGE_VERSION, settings.columns, final, by_fold)
    return stage, _with_scores(scores, stacked)


def apply_second_stage(model: LogisticModel, scores: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """The second-stage scores of the breasts of a table of scores, at level breast, ordered as by `list_breasts`.

    Args:
        model: such as `SecondStage.final`.
        scores: of images, breasts or both.
        facts: a table with `exam_id`, `laterality` and the columns of the model, such as a manifest.

    Raises:
        TableError: as `describe_breasts`.
    """
    columns = dict.fromkeys(each.column for each in model.inputs if each.column not in SCORE_COLUMNS)
    return _with_scores(scores, model.score(describe_breasts(scores, facts, list(columns))))


def compare_stages(
    scores: pl.DataFrame,
    stacked: pl.DataFrame,
    bootstrap: BootstrapSettings,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> AucDifference:
    """The AUC of breasts before (first) and after (second) the second stage, on those of known outcome."""
    before, after = (each.filter(pl.col("cancer").is_not_null()) for each in (list_breasts(scores), stacked))
    return paired_auc_difference(
        before["score"].to_numpy(),
        after["score"].to_numpy(),
        outcomes=before["cancer"].to_numpy(),
        patients=number_patients(before["patient_id"].to_list()),
        settings=bootstrap,
        advance=advance,
    )


def write_second_stage(
    stage: SecondStage, stacked: pl.DataFrame, folder: Path, *, compared: AucDifference, bootstrap: BootstrapSettings
) -> None:
    """Write `scores.parquet`, `summary.json` and `model.json`, each whole or not at all."""
    write_scores(stacked, folder / "scores.parquet")
    known = stacked.filter(pl.col("cancer").is_not_null())
    summary = {
        "schema_version": SECOND_STAGE_VERSION,
        "columns": stage.columns,
        "n_breasts": known.height,
        "n_cases": int(known["cancer"].sum()),
        "n_patients": known["patient_id"].n_unique(),
        "folds": [each.fold for each in stage.by_fold],
        "penalty": stage.final.penalty,
        "penalty_by_fold": [each.model.penalty for each in stage.by_fold],
        "breast_auc": {
            "before": asdict(compared.first),
            "after": asdict(compared.second),
            "difference": asdict(compared.difference),
        },
        "bootstrap": {"method": "percentile bootstrap over patients, paired", **asdict(bootstrap)},
    }
    write_json(folder / "summary.json", summary)
    write_json(folder / "model.json", asdict(stage))


def read_second_stage(path: Path) -> SecondStage:
    """The second stage of a `model.json`.

    Raises:
        RunError: no such file, not JSON, of another schema version, or something in it is missing or of another type.
    """
    return read_record(path, _ADAPTER, version=SECOND_STAGE_VERSION)


def _fit(breasts: pl.DataFrame, settings: SecondStageSettings, rng: np.random.Generator) -> LogisticModel:
    columns: Sequence[str] = (*settings.scores, *settings.columns)
    return fit_logistic(breasts, columns, squares=settings.squares, penalties=settings.penalties, rng=rng)


def _with_scores(scores: pl.DataFrame, stacked: np.ndarray[tuple[int], np.dtype[np.float64]]) -> pl.DataFrame:
    return list_breasts(scores).with_columns(score=pl.Series(stacked, dtype=pl.Float64))
