"""Further questions to a network: what else the cohort knows of an image, as labels, and how wrong the answers are.

A head has a logit for each class of a categorical label, or one for a label of yes and no.
"""

from collections.abc import Mapping

import polars as pl
import torch
from torch.nn import functional

from mammoscope.anatomy import View
from mammoscope.errors import ConfigError
from mammoscope.learning.settings import AuxiliarySettings

MISSING = -1
"""The label where the cohort knows none."""
CLASSES: dict[str, tuple[str | int | bool, ...]] = {
    "view": tuple(view.value for view in View),
    "density": ("A", "B", "C", "D"),
    "birads": (0, 1, 2, 3, 4, 5, 6),
    "invasive": (False, True),
    "difficult_negative": (False, True),
    "biopsy": (False, True),
}
"""The values of the manifest for each head; the label of a value is its place here."""
_YES_AND_NO = (False, True)


def count_logits(settings: AuxiliarySettings) -> dict[str, int]:
    """The heads that have a weight, in the order of `CLASSES`, each with the number of its logits."""
    return {
        head: 1 if classes == _YES_AND_NO else len(classes)
        for head, classes in CLASSES.items()
        if getattr(settings, head) > 0
    }


def encode_labels(rows: pl.DataFrame) -> dict[str, torch.Tensor]:
    """The labels of manifest rows for each head, whole numbers (image,); `MISSING` where the manifest has no value."""
    return {head: _encode(rows[head], classes) for head, classes in CLASSES.items()}


def label_rows(rows: pl.DataFrame, settings: AuxiliarySettings) -> dict[str, torch.Tensor] | None:
    """The labels of rows to train on, for the heads that have a weight; None where none has.

    Raises:
        ConfigError: no row has a value for one of them.
    """
    heads = count_logits(settings)
    if not heads:
        return None
    labels_by_head = {head: labels for head, labels in encode_labels(rows).items() if head in heads}
    for head, labels in labels_by_head.items():
        if (labels == MISSING).all():
            raise ConfigError(
                f"auxiliary.{head}: found {getattr(settings, head):g}, but {head} is empty in all {rows.height} images "
                "to train on; leave this key out, or give a cohort that knows it"
            )
    return labels_by_head


def auxiliary_loss(
    logits_by_head: Mapping[str, torch.Tensor], labels_by_head: Mapping[str, torch.Tensor], settings: AuxiliarySettings
) -> torch.Tensor:
    """The weighted sum over the heads of their mean cross-entropy over known labels, in float32 or better.

    Logits are (example, class), or (example,) for yes and no; labels are (example,). A head without any known label
    adds exactly 0, with a gradient of 0. Heads without a weight are not looked at; the sum of none is 0.
    """
    losses = [
        getattr(settings, head) * _mean_over_known(logits_by_head[head], labels_by_head[head])
        for head in count_logits(settings)
    ]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def _encode(values: pl.Series, classes: tuple[str | int | bool, ...]) -> torch.Tensor:
    places = values.replace_strict(list(classes), list(range(len(classes))), return_dtype=pl.Int64)
    return torch.tensor(places.fill_null(MISSING).to_list(), dtype=torch.int64)


def _mean_over_known(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = labels != MISSING
    if logits.ndim == 1:
        answers = labels.clamp(min=0).to(logits.dtype)  # a missing one is masked
        each = functional.binary_cross_entropy_with_logits(logits, answers, reduction="none")  # (example,)
    else:
        each = functional.cross_entropy(logits, labels, ignore_index=MISSING, reduction="none")  # (example,)
    return (each * known).sum() / known.sum().clamp(min=1)
