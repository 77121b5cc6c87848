"""The rule that turns pathology or BI-RADS into case, control or undetermined, the same for every source."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import polars as pl

from mammoscope.cohort.manifest import HIGHEST_BIRADS
from mammoscope.errors import UserInputError
from mammoscope.exam import BREAST

Decision = Literal["control", "undetermined"]

_CATEGORIES: Final = frozenset(range(HIGHEST_BIRADS + 1))


class Finding(StrEnum):
    """What is known of a breast, from an image, a lesion or a report."""

    MALIGNANT = "malignant"
    BENIGN = "benign"
    NORMAL = "normal"


# Of several findings in a breast the first of these decides. What is unknown may be a cancer, so that it stands before
# the benign: a breast with one unknown and one benign finding is no control.
_UNKNOWN: Final = "unknown"
_GRAVITY: Final = {Finding.NORMAL: 0, Finding.BENIGN: 1, _UNKNOWN: 2, Finding.MALIGNANT: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRule:
    """How findings become outcomes.

    Attributes:
        case_birads: the assessment categories that make a breast a case, where there is no pathology.
        control_birads: those that make it a control; all others leave it undetermined.
        benign: what a breast is whose worst finding is benign by pathology.
        normal_side: what a normal breast is whose other side has cancer.
    """

    case_birads: frozenset[int] = frozenset({4, 5, 6})
    control_birads: frozenset[int] = frozenset({1, 2})
    benign: Decision = "control"
    normal_side: Decision = "control"

    def __post_init__(self) -> None:
        _check_categories("--case-birads", self.case_birads)
        _check_categories("--control-birads", self.control_birads)
        both = sorted(self.case_birads & self.control_birads)
        if both:
            raise UserInputError(
                f"BI-RADS {', '.join(map(str, both))}: found among --case-birads and --control-birads, expected in one "
                "of them; change either"
            )


def parse_categories(text: str, *, option: str) -> frozenset[int]:
    """BI-RADS categories from a list such as 4,5,6.

    Raises:
        UserInputError: anything but whole numbers with commas between them.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserInputError(f"{option}: found {text!r}, expected BI-RADS categories with commas, such as 4,5,6")
    return frozenset(int(part) for part in parts)


def findings_by_birads(birads: pl.Series, rule: OutcomeRule) -> pl.Series:
    """The finding that each assessment category stands for under the rule; null is unknown."""
    malignant = dict.fromkeys(rule.case_birads, str(Finding.MALIGNANT))
    normal = dict.fromkeys(rule.control_birads, str(Finding.NORMAL))
    return pl.Series([(malignant | normal).get(category) for category in birads], dtype=pl.String)


def decide_outcomes(rows: pl.DataFrame, findings: pl.Series, rule: OutcomeRule) -> pl.Series:
    """The outcome of the breast of each row: true case, false control, null undetermined.

    Args:
        rows: with `patient_id`, `exam_id` and `laterality`.
        findings: a value of `Finding` for each row, null where nothing is known.
        rule: what the findings come to.
    """
    gravity = pl.Series([_GRAVITY[finding or _UNKNOWN] for finding in findings], dtype=pl.Int64)
    breast = rows.select("patient_id", *BREAST).with_columns(gravity.alias("gravity"))
    worst = pl.col("gravity").max().over(BREAST)
    has_cancer = (pl.col("gravity") == _GRAVITY[Finding.MALIGNANT]).any().over("patient_id")
    benign, normal_side = (False if choice == "control" else None for choice in (rule.benign, rule.normal_side))
    outcome = (
        pl.when(worst == _GRAVITY[Finding.MALIGNANT])
        .then(statement=True)
        .when(worst == _GRAVITY[Finding.BENIGN])
        .then(pl.lit(benign, pl.Boolean))
        .when((worst == _GRAVITY[Finding.NORMAL]) & has_cancer)
        .then(pl.lit(normal_side, pl.Boolean))
        .when(worst == _GRAVITY[Finding.NORMAL])
        .then(statement=False)
        .otherwise(pl.lit(None, pl.Boolean))
    )
    return breast.select(outcome.alias("cancer")).to_series()


def _check_categories(option: str, categories: Iterable[int]) -> None:
    wrong = sorted(set(categories) - _CATEGORIES)
    if wrong:
        raise UserInputError(f"{option}: found {', '.join(map(str, wrong))}, expected categories 0 to {HIGHEST_BIRADS}")
