"""What is known of an explained image, and the table of peaks: the part without torch, for worker processes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mammoscope.evaluation.peaks import Heat, Peak
from mammoscope.exam import Mammogram
from mammoscope.files import replacing, sha256_of_bytes, write_json
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.canvas import Placement
from mammoscope.inference.reading import ScoringTask

_ALIAS_DIGITS = 16  # of a SHA-256: among a million pictures, two share a name once in 37 million times

PEAKS_VERSION = 1
PEAKS_NAME = "peaks.csv"
PEAKS_SCHEMA: dict[str, pl.DataType] = {
    "schema_version": pl.Int64(),
    "image_id": pl.String(),
    "exam_id": pl.String(),
    "laterality": pl.String(),
    "view": pl.String(),
    "score": pl.Float64(),
    "breast_score": pl.Float64(),
    "view_share": pl.Float64(),
    "picture": pl.String(),
    "peak": pl.Int64(),
    "top": pl.Int64(),
    "left": pl.Int64(),
    "bottom": pl.Int64(),
    "right": pl.Int64(),
    "row": pl.Float64(),
    "column": pl.Float64(),
    "value": pl.Float64(),
    "share": pl.Float64(),
}
"""The columns of the table of peaks."""


class Said(NamedTuple):
    """What the networks say of an image, in the mean: its probability of cancer, and that of its breast.

    `view_share` is what the image weighs among the views of its breast, 0 to 1; None where the run does not learn it.
    """

    score: float
    breast_score: float
    view_share: float | None


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """A file with its heat map, and what is said of it.

    Attributes:
        task: how to read it again.
        mammogram: whose image it is.
        placement: the way from its canvas to the file's own pixels.
        heat: how much each place speaks for cancer, (row, column), in the mean over the networks, over the canvas.
        peaks: of the heat, in pixels of the original, the highest first.
        said: what the networks say of it.
    """

    task: ScoringTask
    mammogram: Mammogram
    placement: Placement
    heat: Heat
    peaks: tuple[Peak, ...]
    said: Said

    @property
    def alias(self) -> str:
        """The name of its files: tells it from others, and says nothing of the patient."""
        return make_alias(self.mammogram.image_id)


def make_alias(*ids: str) -> str:
    """A name for files that tells ids from others and does not show them: the beginning of a SHA-256."""
    return sha256_of_bytes("\n".join(ids).encode())[:_ALIAS_DIGITS]


def tabulate_peaks(images: Sequence[ExplainedImage]) -> pl.DataFrame:
    """A row for each peak, numbered from the highest of an image; boxes and places in pixels of the original file.

    Boxes are half open: rows top to bottom - 1, columns left to right - 1.
    """
    rows = [
        {
            "schema_version": PEAKS_VERSION,
            **_identify(image),
            "peak": number,
            "top": peak.box.top,
            "left": peak.box.left,
            "bottom": peak.box.bottom,
            "right": peak.box.right,
            "row": peak.row,
            "column": peak.column,
            "value": peak.value,
            "share": peak.share,
        }
        for image in images
        for number, peak in enumerate(image.peaks, start=1)
    ]
    return pl.DataFrame(rows, schema=PEAKS_SCHEMA)


def write_peaks(images: Sequence[ExplainedImage], folder: Path) -> None:
    """Write the peaks of images as peaks.parquet, .csv and .json, each whole or not at all.

    The JSON has an entry for each image, also for one without a peak.
    """
    table = tabulate_peaks(images)
    with replacing(folder / "peaks.parquet") as beside:
        table.write_parquet(beside)
    with replacing(folder / PEAKS_NAME) as beside:
        table.write_csv(beside)
    own = table.columns[table.columns.index("peak") :]
    peaks_by_image = table.partition_by("image_id", as_dict=True)
    entries = []
    for image in images:
        peaks = peaks_by_image.get((image.mammogram.image_id,), table.clear())
        entries.append(_identify(image) | {"peaks": peaks.select(own).to_dicts()})
    write_json(folder / "peaks.json", {"schema_version": PEAKS_VERSION, "images": entries})


def write_rejected(rejections: Sequence[Rejection], folder: Path) -> None:
    """Write the refused as rejected.parquet, with their paths and reasons."""
    columns = {field.name: pl.String for field in fields(Rejection)}
    with replacing(folder / "rejected.parquet") as beside:
        pl.DataFrame([asdict(each) for each in rejections], schema=columns).write_parquet(beside)


def write_map(image: ExplainedImage, path: Path) -> None:
    """Write a heat map with all that places it in the original file, as arrays of numbers in an .npz file."""
    arrays: dict[str, Any] = {name: np.array(value) for name, value in image.placement.to_row().items()}
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, heat=image.heat, **arrays)


def _identify(image: ExplainedImage) -> dict[str, object]:
    """The columns that all peaks of an image share."""
    mammogram = image.mammogram
    return {
        "image_id": mammogram.image_id,
        "exam_id": mammogram.exam_id,
        "laterality": mammogram.laterality.value,
        "view": None if mammogram.view is None else mammogram.view.value,
        **image.said._asdict(),
        "picture": f"heatmaps/{image.alias}.png",
    }
