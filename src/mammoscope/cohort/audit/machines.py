"""What the machines of a cohort make of a breast: sizes, grey values, and a typical picture of each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.cohort.audit.counts import name_value
from mammoscope.cohort.stratify import order_of_name
from mammoscope.pages.page import encode_jpeg

N_SAMPLED = 24  # pictures of a machine: enough for a mean grey value within a few percent, and read within a second
HISTOGRAM_EDGES = np.linspace(0, 1, 33)
_STRIDE = 2  # every second pixel of every second row tells as much

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class PictureSource(Protocol):
    """What holds the pixels: a prepared store."""

    @property
    def prepared(self) -> pl.DataFrame:
        """A row for each picture."""

    def read(self, image_id: str) -> Pixels:
        """The picture, (row, column)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSummary:
    """A machine (None: not recorded) and its pictures.

    Attributes:
        n_pictures: that the store has of it.
        sizes: of the files, rows x columns, the most frequent first.
        share_inverted: of the pictures whose file has a white background.
        n_sampled: pictures from which the grey values are.
        mean, sd: of the grey values inside the crop, from 0 (black) to 1 (white), mean and spread over all pixels.
        share_black: of the pixels inside the crop that are 0, the background.
        histogram: shares of the grey values above 0, in steps of 1/32.
        jpeg: the sampled picture whose mean grey value is in the middle.
    """

    machine: str | None
    n_pictures: int
    sizes: tuple[str, ...]
    share_inverted: float
    n_sampled: int
    mean: float
    sd: float
    share_black: float
    histogram: tuple[float, ...]
    jpeg: bytes

    def to_json(self) -> dict[str, object]:
        """The figures, without the picture."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "jpeg"}


def summarise_machines(manifest: pl.DataFrame, store: PictureSource) -> tuple[MachineSummary, ...]:
    """Each machine that has pictures in the store, in the order of their names, the unknown one last."""
    pictures = manifest.select("image_id", "machine").join(store.prepared, on="image_id", maintain_order="left")
    groups = pictures.partition_by("machine", maintain_order=True)
    summaries = [_summarise(group, store) for group in groups]
    return tuple(sorted(summaries, key=lambda summary: order_of_name(summary.machine)))


def _summarise(pictures: pl.DataFrame, store: PictureSource) -> MachineSummary:
    sizes = pictures.select(size=pl.format("{} x {}", "original_rows", "original_columns"))
    frequent = sizes.group_by("size").len().sort("len", "size", descending=[True, False])["size"]
    places = np.unique(np.linspace(0, pictures.height - 1, N_SAMPLED).round().astype(int))
    sampled = pictures[places.tolist()]
    contents = [_read_content(row, store) for row in sampled.iter_rows(named=True)]
    counts = sum((_count(content) for content in contents), start=np.zeros(len(HISTOGRAM_EDGES) - 1))
    mean, sd = _mean_and_sd(contents)
    means = [float(content.mean()) for content in contents]
    typical = int(np.argsort(means, kind="stable")[len(means) // 2])
    return MachineSummary(
        machine=name_value(pictures["machine"][0]),
        n_pictures=pictures.height,
        sizes=tuple(frequent.to_list()),
        share_inverted=float(pictures["is_inverted"].cast(pl.Float64).to_numpy().mean()),
        n_sampled=sampled.height,
        mean=mean,
        sd=sd,
        share_black=float(
            sum((content == 0).sum() for content in contents) / sum(content.size for content in contents)
        ),
        histogram=tuple((counts / max(1.0, counts.sum())).tolist()),
        jpeg=encode_jpeg(store.read(sampled["image_id"][typical])),
    )


def _read_content(row: dict[str, int], store: PictureSource) -> NDArray[np.float32]:
    """The part of a picture that comes from the file, thinned out, from 0 to 1."""
    pixels = store.read(str(row["image_id"]))
    top = row["content_top"]
    content = pixels[top : top + row["content_rows"] : _STRIDE, : row["content_columns"] : _STRIDE]
    return content.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)  # (row, column)


def _count(content: NDArray[np.float32]) -> NDArray[np.float64]:
    """The grey values above 0, in the bins of the histogram: the background would hide them."""
    return np.histogram(content[content > 0], HISTOGRAM_EDGES)[0].astype(np.float64)


def _mean_and_sd(contents: Iterable[NDArray[np.float32]]) -> tuple[float, float]:
    sums = np.array(
        [[content.size, content.sum(dtype=float), np.square(content).sum(dtype=float)] for content in contents]
    )
    n, total, squares = sums.sum(axis=0)
    mean = total / n
    return float(mean), float(np.sqrt(max(0.0, squares / n - mean**2)))
