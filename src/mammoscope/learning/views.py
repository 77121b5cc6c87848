"""From the pictures of a breast to the breast: its probability is a weighted mean of those of its views.

Any number of views, one included, so that a missing view needs no stand-in. The weights are equal (`mean`), all on the
highest (`max`), or learned (`attention`; Ilse, Tomczak & Welling 2018, arXiv:1802.04712, on the probabilities of the
views as in Javed et al. 2022, arXiv:2206.01794, so that the share of each view in the decision can be told).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mammoscope.learning.settings import Combination

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PictureLogits:
    """What a network says of pictures, (picture,): logits of cancer, and log weights among the views of a breast."""

    cancer: Floats
    view: Floats

    @property
    def probabilities(self) -> Floats:
        """The probability of cancer of each picture, in [0, 1]."""
        return torch.sigmoid(torch.tensor(self.cancer)).numpy()

    def take(self, places: Sequence[int]) -> "PictureLogits":
        """Those of some of the pictures, in the order of `places`."""
        return PictureLogits(self.cancer[places], self.view[places])


def concatenate(parts: Sequence[PictureLogits]) -> PictureLogits:
    """The pictures of several parts, one after another."""
    return PictureLogits(np.concatenate([part.cancer for part in parts]), np.concatenate([part.view for part in parts]))


def combine_views(
    cancer: torch.Tensor, view: torch.Tensor, breasts: torch.Tensor, *, n_breasts: int, combination: Combination
) -> torch.Tensor:
    """The logits of breasts, (breast,), from the logits and log weights of their pictures, both (picture,).

    `breasts` has the number of the breast of each picture, 0 to `n_breasts` - 1, each at least once. For `mean` and
    `attention` the logit is that of the weighted mean of the pictures' probabilities, computed from their logarithms.
    """
    if combination == "max":
        return _greatest(cancer, breasts, n_breasts)
    weights = torch.zeros_like(cancer) if combination == "mean" else view
    with_cancer = _log_sum_exp(weights + functional.logsigmoid(cancer), breasts, n_breasts)
    without = _log_sum_exp(weights + functional.logsigmoid(-cancer), breasts, n_breasts)
    return with_cancer - without  # (breast,)


def combine_to_probabilities(
    logits: PictureLogits, breasts: NDArray[np.int64], *, n_breasts: int, combination: Combination
) -> Floats:
    """The probability of cancer of each breast, in [0, 1], (breast,); arguments as of `combine_views`."""
    cancer, view = torch.tensor(logits.cancer), torch.tensor(logits.view)
    combined = combine_views(cancer, view, torch.tensor(breasts), n_breasts=n_breasts, combination=combination)
    return torch.sigmoid(combined).numpy()


def _greatest(values: torch.Tensor, groups: torch.Tensor, n_groups: int) -> torch.Tensor:
    start = values.new_full((n_groups,), -torch.inf)
    return start.scatter_reduce(0, groups, values, reduce="amax")  # (group,)


def _log_sum_exp(values: torch.Tensor, groups: torch.Tensor, n_groups: int) -> torch.Tensor:
    greatest = _greatest(values.detach(), groups, n_groups)  # (group,)
    sums = values.new_zeros(n_groups).index_add(0, groups, torch.exp(values - greatest[groups]))  # (group,)
    return greatest + torch.log(sums)
