"""What networks say of pictures, and of breasts from their pictures, without torch: whatever computed it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from mammoscope.evaluation.scores import aggregate_to_breasts
from mammoscope.exam import BREAST
from mammoscope.learning.settings import Combination

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PictureLogits:
    """What a network says of pictures, (picture,): logits of cancer, and log weights among the views of a breast.

    `features` are what its head sees of each picture as it is, (picture, channel), where they were kept.
    """

    cancer: Floats
    view: Floats
    features: NDArray[np.float32] | None = None

    @property
    def probabilities(self) -> Floats:
        """The probability of cancer of each picture, in [0, 1]."""
        return np.asarray(expit(self.cancer), dtype=np.float64)

    def take(self, places: Sequence[int]) -> "PictureLogits":
        """Those of some of the pictures, in the order of `places`; without features."""
        return PictureLogits(self.cancer[places], self.view[places])


def concatenate(parts: Sequence[PictureLogits]) -> PictureLogits:
    """The pictures of several parts, one after another; without features."""
    return PictureLogits(np.concatenate([part.cancer for part in parts]), np.concatenate([part.view for part in parts]))


def combine_to_probabilities(
    logits: PictureLogits, breasts: NDArray[np.int64], *, n_breasts: int, combination: Combination
) -> Floats:
    """The probability of cancer of each breast, in [0, 1], (breast,), as `views.combine_views` learns it.

    `breasts` has the number of the breast of each picture, 0 to `n_breasts` - 1, each at least once.
    """
    probabilities = logits.probabilities
    if combination == "max":
        return _greatest(probabilities, breasts, n_breasts)
    log_weights = np.zeros_like(logits.view) if combination == "mean" else logits.view
    weights = np.exp(log_weights - _greatest(log_weights, breasts, n_breasts)[breasts])  # (picture,), 1 at the most
    weighted = np.bincount(breasts, weights * probabilities, n_breasts)  # (breast,)
    return np.asarray(weighted / np.bincount(breasts, weights, n_breasts), dtype=np.float64)


def combine_to_breasts(
    images: pl.DataFrame, logits_by_network: Sequence[PictureLogits], combination: Combination
) -> pl.DataFrame:
    """The score of each breast of a table of image scores: the mean over the networks, each combining its own views.

    Raises:
        TableError: as `aggregate_to_breasts`.
    """
    breasts = aggregate_to_breasts(images)
    numbered = breasts.select(BREAST).with_row_index("breast")
    numbers = images.select(BREAST).join(numbered, on=BREAST, how="left", maintain_order="left")["breast"]
    scores = [
        combine_to_probabilities(
            logits, numbers.cast(pl.Int64).to_numpy(), n_breasts=breasts.height, combination=combination
        )
        for logits in logits_by_network
    ]  # (network, breast)
    return breasts.with_columns(pl.Series("score", np.mean(scores, axis=0), dtype=pl.Float64))


def _greatest(values: Floats, groups: NDArray[np.int64], n_groups: int) -> Floats:
    greatest = np.full(n_groups, -np.inf)
    np.maximum.at(greatest, groups, values)
    return greatest  # (group,)
