"""The most telling calls of a detector: the cases it found and missed, the controls it alarmed on and passed."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.evaluation.scores import list_breasts
from mammoscope.exam import BREAST
from mammoscope.files import sha256_of_bytes
from mammoscope.pages.page import encode_jpeg

_ALIAS_DIGITS = 8


class CallKind(StrEnum):
    """Which end of which breasts a call is of; whether it is a miss or a false alarm is for a threshold to say."""

    EASY_CASE = "easiest cases"
    HARD_CASE = "hardest cases"
    HARD_CONTROL = "hardest controls"
    EASY_CONTROL = "easiest controls"


@dataclass(frozen=True, slots=True)
class Call:
    """A breast, its score, the image of it that scored highest, and the fold that both were held out in."""

    kind: CallKind
    image_id: str
    laterality: str
    view: str | None
    breast_score: float
    image_score: float
    fold: int | None = None

    @property
    def alias(self) -> str:
        """A name that tells the picture from others, and says nothing: the beginning of the SHA-256 of its id."""
        return sha256_of_bytes(self.image_id.encode())[:_ALIAS_DIGITS]


@dataclass(frozen=True, slots=True)
class Picture:
    """A call, its image as JPEG, and the same with what spoke for cancer painted over it, where that is known."""

    call: Call
    jpeg: bytes
    heat_jpeg: bytes | None = None


class PictureSource(Protocol):
    """What holds the pixels: a prepared store."""

    @property
    def image_ids(self) -> Collection[str]:
        """The images that are there."""

    def read(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The picture, (row, column)."""


def choose_calls(scores: pl.DataFrame, *, n_each: int = 4) -> tuple[Call, ...]:
    """The breasts with the highest and the lowest scores, of cases and of controls, at most `n_each` of a kind.

    Of few breasts, none is chosen twice: the higher half is found or alarmed on, the rest missed or passed.
    """
    images = scores.filter(pl.col("level") == "image")
    highest = images.sort("score", "image_id", descending=[True, False]).group_by(BREAST).first()
    breasts = list_breasts(scores).select(*BREAST, "cancer", breast_score="score")
    ranked = breasts.join(highest.drop("cancer"), on=BREAST).sort("breast_score", "image_id", descending=[True, False])
    cases, controls = (ranked.filter(pl.col("cancer") == is_case) for is_case in (True, False))
    return (
        *_both_ends(cases, CallKind.EASY_CASE, CallKind.HARD_CASE, n_each),
        *_both_ends(controls, CallKind.HARD_CONTROL, CallKind.EASY_CONTROL, n_each),
    )


def draw_pictures(
    calls: Iterable[Call], source: PictureSource, painted: Mapping[str, NDArray[np.uint8]] | None = None
) -> tuple[Picture, ...]:
    """The pictures of the calls that the source holds.

    Args:
        calls: what to show.
        source: what holds their images.
        painted: by image, the picture with heat over it, (row, column, 3), where there is one.
    """
    held, painted = set(source.image_ids), painted or {}
    return tuple(
        Picture(
            call,
            encode_jpeg(source.read(call.image_id)),
            encode_jpeg(painted[call.image_id]) if call.image_id in painted else None,
        )
        for call in calls
        if call.image_id in held
    )


def _both_ends(ranked: pl.DataFrame, high: CallKind, low: CallKind, n_each: int) -> tuple[Call, ...]:
    n_high = min(n_each, (ranked.height + 1) // 2)
    n_low = min(n_each, ranked.height - n_high)
    ends = ((high, ranked.head(n_high)), (low, ranked.tail(n_low).reverse()))
    return tuple(_call(kind, row) for kind, rows in ends for row in rows.iter_rows(named=True))


def _call(kind: CallKind, row: dict[str, Any]) -> Call:
    return Call(
        kind=kind,
        image_id=row["image_id"],
        laterality=row["laterality"],
        view=row["view"],
        breast_score=row["breast_score"],
        image_score=row["score"],
        fold=row["fold"],
    )
