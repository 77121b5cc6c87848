"""How far exported networks are from torch in f32, on the same pictures."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from mammoscope.errors import RunError
from mammoscope.inference.check_pictures import CheckPictures
from mammoscope.inference.exported import ExportCheck, Format, Precision
from mammoscope.inference.openvino_engine import OpenVinoEngine
from mammoscope.learning.logits import PictureLogits, combine_to_probabilities, concatenate
from mammoscope.learning.settings import Combination

LIMIT_BY_PRECISION: Final[dict[Precision, float]] = {"f32": 0.001, "bf16": 0.01}
"""The greatest difference of a probability from torch in f32; what int8 loses is told as an AUC."""
_PART: Final = 4  # pictures that torch computes at once: 16 of 1024 x 512 take gigabytes in single precision


def check_engine(
    engine: OpenVinoEngine, expected: Sequence[PictureLogits], pictures: CheckPictures, format_: Format
) -> ExportCheck:
    """What exported networks say of pictures against what torch said of them."""
    found = score_in_parts(engine.score, pictures)
    greatest, mean = measure_differences(expected, found, engine.recipe.views.combine)
    return ExportCheck(
        format=format_,
        precision=engine.precision,
        pictures=pictures.source,
        n_pictures=len(pictures.pictures),
        greatest_difference=greatest,
        mean_difference=mean,
        limit=LIMIT_BY_PRECISION.get(engine.precision),
    )


def refuse_failed(check: ExportCheck) -> None:
    """Refuse networks that say something else than torch.

    Raises:
        RunError: a probability differs by more than the limit.
    """
    if not check.is_passed:
        advice = "take --precision f32" if check.precision != "f32" else "compute with --engine torch"
        raise RunError(
            f"export to {check.format} in {check.precision}: found a probability that differs by "
            f"{check.greatest_difference:.4f} from torch on {check.n_pictures} pictures, expected {check.limit} at the "
            f"most; {advice}"
        )


def measure_differences(
    expected: Sequence[PictureLogits], found: Sequence[PictureLogits], combination: Combination
) -> tuple[float, float]:
    """The greatest and the mean difference of the probabilities of pictures, and of breasts of two of them each.

    Not a number is infinitely far.
    """
    sides = [np.concatenate([_probabilities(each, combination) for each in side]) for side in (expected, found)]
    differences = np.nan_to_num(np.abs(sides[0] - sides[1]), nan=np.inf)  # (network, picture and breast)
    return float(differences.max()), float(differences.mean())


def score_in_parts(score: Callable[..., list[PictureLogits]], pictures: CheckPictures) -> list[PictureLogits]:
    """What each network says of pictures, computed a few at once."""
    parts = [score(part.pictures, part.rows) for part in pictures.in_parts(_PART)]
    return [concatenate(each) for each in zip(*parts, strict=True)]


def _probabilities(logits: PictureLogits, combination: Combination) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    breasts = np.arange(len(logits.cancer), dtype=np.int64) // 2  # two pictures each, an odd last one alone
    combined = combine_to_probabilities(logits, breasts, n_breasts=int(breasts.max()) + 1, combination=combination)
    return np.concatenate([logits.probabilities, combined])
