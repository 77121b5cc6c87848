"""What follows from scores by a run's own held-out breasts: a calibrated probability, and a call at each threshold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mammoscope.errors import RunError, UndefinedMetricError
from mammoscope.evaluation.operating_points import FILE_NAME, read_operating_points
from mammoscope.evaluation.recalibration import Platt, fit_recalibrator
from mammoscope.evaluation.scores import list_breasts
from mammoscope.files import replacing
from mammoscope.inference.collect import Prediction
from mammoscope.inference.exported import is_export, open_export
from mammoscope.inference.flags import flag_breasts, flag_exams, flag_images
from mammoscope.learning.run import open_run, read_fold_scores

DECISIONS_VERSION = 1
_WRITERS: Mapping[str, Callable[[pl.DataFrame, Path], None]] = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".jsonl": pl.DataFrame.write_ndjson,
}
_NO_SCORES = "undefined: an export holds no held-out scores; predict with the run itself for probabilities"
_IDENTITY = ("level", "patient_id", "exam_id", "laterality", "image_id", "n_images", "score")


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What the held-out breasts of a run say of any score.

    Attributes:
        share_of_cases: among those of a known outcome.
        calibration: from a score to a probability; None where `why_uncalibrated` says why.
        why_uncalibrated: a sentence, or None.
        threshold_by_point: of each operating point of the run that has one, by its name.
    """

    share_of_cases: float
    calibration: Platt | None
    why_uncalibrated: str | None
    threshold_by_point: Mapping[str, float]

    @property
    def lowest_threshold(self) -> float | None:
        """The score at which the first of the operating points calls; None without any."""
        return min(self.threshold_by_point.values(), default=None)


def read_figures(folder: Path) -> RunFigures:
    """The figures of a run, from its out-of-fold scores and its operating points, or of exported networks.

    Raises:
        RunError: scores, operating points or the record of the export cannot be read, or no outcome is known.
    """
    thresholds = _read_thresholds(folder / FILE_NAME)
    if is_export(folder):
        share = open_export(folder).record.share_of_cases
        if share is None:
            raise RunError(
                f"{folder}: found no share of cases, which breasts without an image get; export anew, from a run with "
                "its held-out scores"
            )
        return RunFigures(share, None, _NO_SCORES, thresholds)
    run = open_run(folder)
    breasts = list_breasts(read_fold_scores(run))
    share = share_of_cases(breasts, where=folder)
    calibration, reason = _calibrate(breasts.filter(breasts["cancer"].is_not_null()))
    return RunFigures(share, calibration, reason, thresholds)


def share_of_cases(breasts: pl.DataFrame, *, where: Path) -> float:
    """The share of cases among the breasts of a known outcome, which `predict` takes for a breast without an image.

    Raises:
        RunError: none of them has a known outcome.
    """
    known = breasts["cancer"].drop_nulls()
    if known.is_empty():
        raise RunError(
            f"{where}: found no known outcome among {breasts.height:,} held-out breasts, expected some for the share "
            "of cases, which breasts without an image get; train with outcomes"
        )
    return float(known.sum()) / len(known)


def _calibrate(known: pl.DataFrame) -> tuple[Platt | None, str | None]:
    try:
        fitted = fit_recalibrator(known["score"].to_numpy(), known["cancer"].to_numpy(), "platt")
    except UndefinedMetricError as error:
        return None, str(error)
    if not isinstance(fitted, Platt) or fitted.slope <= 0:
        return None, "undefined: the run's held-out cases do not score above its controls"
    return fitted, None


def _read_thresholds(path: Path) -> dict[str, float]:
    """Thresholds by name; none where the run has no such file, as one whose training was broken off."""
    points = read_operating_points(path).points if path.is_file() else ()
    return {point.name: point.threshold.value for point in points if point.threshold.value is not None}


def make_decisions(prediction: Prediction, figures: RunFigures, *, n_networks: int) -> pl.DataFrame:
    """A row for each image, breast and exam: score, probability, warnings, and the call at each operating point.

    Probabilities and calls are of breasts; an exam has those of its higher breast, an image has none.
    """
    of_images = flag_images(prediction, n_networks=n_networks)
    of_breasts = flag_breasts(prediction, of_images)
    codes = [*of_images, *of_breasts, *flag_exams(prediction, of_breasts)]
    levels = (prediction.image_scores, prediction.breast_scores, prediction.exam_scores)
    scores = pl.concat([level.select(_IDENTITY) for level in levels])
    is_called = pl.col("level") != "image"
    return scores.with_columns(pl.Series("probability", _calibrated(figures, scores), dtype=pl.Float64)).select(
        pl.lit(DECISIONS_VERSION, pl.Int64).alias("schema_version"),
        *_IDENTITY,
        pl.when(is_called).then("probability").alias("probability"),
        pl.Series("warnings", [" ".join(sorted(each)) for each in codes], dtype=pl.String),
        *(
            pl.when(is_called).then(pl.col("score") >= threshold).alias(name)
            for name, threshold in figures.threshold_by_point.items()
        ),
    )


def _calibrated(figures: RunFigures, scores: pl.DataFrame) -> list[float | None]:
    if figures.calibration is None:
        return [None] * scores.height
    calibrated: list[float | None] = figures.calibration.apply(scores["score"].to_numpy()).tolist()
    return calibrated


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as Parquet, CSV or JSON lines by its suffix, whole or not at all."""
    with replacing(path) as beside:
        _WRITERS[path.suffix](table, beside)
