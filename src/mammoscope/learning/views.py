"""From the pictures of a breast to the breast: its probability is a weighted mean of those of its views.

Any number of views, one included, so that a missing view needs no stand-in. The weights are equal (`mean`), all on the
highest (`max`), or learned (`attention`; Ilse, Tomczak & Welling 2018, arXiv:1802.04712, on the probabilities of the
views as in Javed et al. 2022, arXiv:2206.01794, so that the share of each view in the decision can be told).
"""

import torch
from torch.nn import functional

from mammoscope.learning.settings import Combination


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


def _greatest(values: torch.Tensor, groups: torch.Tensor, n_groups: int) -> torch.Tensor:
    start = values.new_full((n_groups,), -torch.inf)
    return start.scatter_reduce(0, groups, values, reduce="amax")  # (group,)


def _log_sum_exp(values: torch.Tensor, groups: torch.Tensor, n_groups: int) -> torch.Tensor:
    greatest = _greatest(values.detach(), groups, n_groups)  # (group,)
    sums = values.new_zeros(n_groups).index_add(0, groups, torch.exp(values - greatest[groups]))  # (group,)
    return greatest + torch.log(sums)
