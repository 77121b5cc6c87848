"""The rows of a journal to the scores of images, breasts and exams, with what is to be known of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.errors import UserInputError
from mammoscope.evaluation.scores import SCORES_VERSION, aggregate_to_breasts, aggregate_to_exams
from mammoscope.exam import BREAST
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.verdict import Verdict, refusal
from mammoscope.inference.reading import ScoringTask
from mammoscope.learning.logits import PictureLogits, combine_to_breasts
from mammoscope.learning.settings import Combination
from mammoscope.learning.table_inputs import TableEncoder, TableGap, count_gaps

Floats = NDArray[np.float64]

ORDER: Final = ("patient_id", "exam_id", "laterality", "image_id")
"""How the images of a result are sorted."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of images, of breasts (as the run combines views) and of exams (the higher breast's), and the refused.

    Attributes:
        image_scores: in the schema of scores, by patient, exam, side and image.
        breast_scores: likewise, by exam and side.
        exam_scores: likewise.
        rejections: by path.
        gaps: what the columns of the table lacked, one for each that the networks are given.
        pictures: the rows of the journal that the images have, in their order: how each was prepared, remarks.
        n_networks: how many networks have seen each image, in their order.
    """

    image_scores: pl.DataFrame
    breast_scores: pl.DataFrame
    exam_scores: pl.DataFrame
    rejections: tuple[Rejection, ...]
    gaps: tuple[TableGap, ...]
    pictures: pl.DataFrame
    n_networks: tuple[int, ...]


def collect_prediction(
    rows: pl.DataFrame,
    tasks: Sequence[ScoringTask],
    *,
    n_networks: int,
    combination: Combination,
    encoders: Sequence[TableEncoder] = (),
) -> Prediction:
    """The prediction that the rows of a journal come to for these tasks, whatever the order of the rows.

    Raises:
        UserInputError: not one of the tasks has a score.
    """
    named = pl.DataFrame(
        {"key": [task.key for task in tasks], "name": [task.name for task in tasks]},
        schema={"key": pl.String, "name": pl.String},
    ).with_row_index("number")
    known = rows.join(named, on="key", how="inner", maintain_order="left")
    is_scored = pl.col("code") == Verdict.OK.value
    scored = known.filter(is_scored)
    pictures = scored.unique("key", keep="first", maintain_order=True).sort("number")
    pictures = pictures.drop("remarks").join(_gather_remarks(scored), on="key", how="left", maintain_order="left")
    refused = known.filter(~is_scored).join(pictures, on="key", how="anti").unique("key", maintain_order=True)
    rejections = [Rejection(*row) for row in refused.select("name", "path", "code", "sentence").iter_rows()]
    pictures, second = part_duplicates(pictures)
    pictures, mixed = part_mixed(pictures)
    rejections += [*second, *mixed]
    if pictures.is_empty():
        first = f"; the first: {min(rejections, key=lambda each: each.path).sentence}" if rejections else ""
        raise UserInputError(f"none of {len(tasks)} files can be scored{first}")
    pictures = pictures.sort(*ORDER)
    logits, has_seen = _gather_logits(pictures, known.filter(is_scored), n_networks)
    image_scores = _tabulate_images(pictures, logits, has_seen)
    breast_scores = _combine(image_scores, logits, has_seen, combination)
    return Prediction(
        image_scores,
        breast_scores,
        aggregate_to_exams(breast_scores),
        tuple(sorted(rejections, key=lambda rejection: rejection.path)),
        count_gaps(encoders, pictures),
        pictures,
        tuple(has_seen.sum(axis=0).tolist()),
    )


def _gather_remarks(rows: pl.DataFrame) -> pl.DataFrame:
    """All that was said of each picture, in whatever part, by `key`: each network may have found something."""
    said = rows.select("key", "remarks").explode("remarks")
    return said.group_by("key", maintain_order=True).agg(pl.col("remarks").drop_nulls().unique().sort())


def part_duplicates(pictures: pl.DataFrame) -> tuple[pl.DataFrame, list[Rejection]]:
    """The first file of each image, in the order of the tasks, and the others refused."""
    first = pl.col("name").first().over("image_id")
    seconds = pictures.with_columns(first=first).filter(pl.col("name") != pl.col("first"))
    rejections = []
    for name, path, kept in seconds.select("name", "path", "first").iter_rows():
        error = refusal(
            Verdict.DUPLICATE,
            name,
            found=f"the same image as in {kept}",
            expected="each image once",
            advice="remove one of the files",
        )
        rejections.append(Rejection(name, path, error.code, error.sentence))
    return pictures.filter(pl.col("name") == first), rejections


def part_mixed(pictures: pl.DataFrame) -> tuple[pl.DataFrame, list[Rejection]]:
    """The images of exams of one patient, and the others refused."""
    is_mixed = pl.col("patient_id").n_unique().over("exam_id") > 1
    rejections = []
    for name, path in pictures.filter(is_mixed).select("name", "path").iter_rows():
        error = refusal(
            Verdict.MIXED_PATIENTS,
            name,
            found="a study whose files name several patients",
            expected="one patient",
            advice="correct the Patient ID of its files",
        )
        rejections.append(Rejection(name, path, error.code, error.sentence))
    return pictures.filter(~is_mixed), rejections


def _gather_logits(
    pictures: pl.DataFrame, rows: pl.DataFrame, n_networks: int
) -> tuple[list[PictureLogits], NDArray[np.bool_]]:
    """What each network said of the pictures, NaN where it has not seen one, and which it has, (network, picture)."""
    place_by_key = {key: place for place, key in enumerate(pictures["key"])}
    cancer = np.full((n_networks, pictures.height), np.nan)
    view = np.full((n_networks, pictures.height), np.nan)
    for key, networks, cancer_logits, view_logits in rows.select(
        "key", "networks", "cancer", "view_weight"
    ).iter_rows():
        place = place_by_key.get(key)
        if place is not None:
            cancer[networks, place], view[networks, place] = cancer_logits, view_logits
    return [PictureLogits(*each) for each in zip(cancer, view, strict=True)], ~np.isnan(cancer)


def _tabulate_images(
    pictures: pl.DataFrame, logits: Sequence[PictureLogits], has_seen: NDArray[np.bool_]
) -> pl.DataFrame:
    """The score of each image: the mean probability over the networks that have seen it."""
    probabilities = np.stack([each.probabilities for each in logits])  # (network, picture)
    return pictures.select(
        pl.lit(SCORES_VERSION, pl.Int64).alias("schema_version"),
        pl.lit("image").alias("level"),
        *("patient_id", "exam_id", "laterality", "view", "image_id"),
        pl.lit(1, pl.Int64).alias("n_images"),
        pl.Series("score", _mean(probabilities, has_seen), dtype=pl.Float64),
        pl.lit(None, pl.Boolean).alias("cancer"),
        pl.lit(None, pl.Int64).alias("fold"),
    )


def _combine(
    images: pl.DataFrame, logits: Sequence[PictureLogits], has_seen: NDArray[np.bool_], combination: Combination
) -> pl.DataFrame:
    """The score of each breast: the mean over the networks that have seen all of its images, each in its own way."""
    if has_seen.all():
        return combine_to_breasts(images, logits, combination)
    breasts = aggregate_to_breasts(images)
    scores = np.full((len(logits), breasts.height), np.nan)
    for number, (each, seen) in enumerate(zip(logits, has_seen, strict=True)):
        whole = images.select(pl.Series("seen", seen), *BREAST).select(pl.col("seen").all().over(BREAST)).to_series()
        if not whole.any():
            continue
        combined = combine_to_breasts(images.filter(whole), [each.take(whole.arg_true().to_list())], combination)
        own = breasts.select(BREAST).join(
            combined.select(*BREAST, "score"), on=BREAST, how="left", maintain_order="left"
        )
        scores[number] = own["score"].fill_null(np.nan).to_numpy()
    return breasts.with_columns(pl.Series("score", _mean(scores, ~np.isnan(scores)), dtype=pl.Float64))


def _mean(values: Floats, is_there: NDArray[np.bool_]) -> Floats:
    """The mean over the first axis of what is there; to the bit that of all where all is."""
    mean: Floats = np.where(is_there, values, 0.0).sum(axis=0) / is_there.sum(axis=0)
    return mean
