"""From a table of scores to what is measured at a level: image, breast or exam, each by a stated rule."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import number_patients
from mammoscope.evaluation.scores import (
    Combination,
    aggregate_to_breasts,
    check_scores,
    combine_breasts,
    list_breasts,
)

Level = Literal["image", "breast", "exam"]
Rule = Literal["own"] | Combination

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LevelRules:
    """Where the score of a breast and that of an exam come from.

    `own`: the rows of that level in the table. `mean` and `max`: for a breast over its images, for an exam over its
    breasts.
    """

    breast: Rule
    exam: Rule

    def state(self, level: Level) -> str:
        """The rule of a level as a clause, for people and for `evaluation.json`."""
        if level == "image":
            return "the score of each image as the table has it"
        of_breast = {
            "own": "the score of each breast as the table has it",
            "mean": "the mean over the images of a breast",
            "max": "the highest image of a breast",
        }[self.breast]
        if level == "breast":
            return of_breast
        return {
            "own": "the score of each exam as the table has it",
            "mean": f"the mean over the breasts of an exam; of a breast {of_breast}",
            "max": f"the higher breast of an exam; of a breast {of_breast}",
        }[self.exam]


@dataclass(frozen=True, slots=True, eq=False)
class LevelSample:
    """What is measured at one level: all scores with a known outcome.

    Attributes:
        level: of the scores.
        rule: how they came from the table.
        rows: those of the scores, in the schema of the table of scores.
        scores: (n,), in the order of the rows.
        outcomes: (n,), true for a case.
        patients: (n,), the numbers of the patients.
        n_undetermined: how many more scores have no known outcome.
    """

    level: Level
    rule: str
    rows: pl.DataFrame
    scores: Floats
    outcomes: Outcomes
    patients: Indices
    n_undetermined: int


def usual_rules(scores: pl.DataFrame) -> LevelRules:
    """The table's own rows of a level where it has some; else the mean over a breast, the higher breast of an exam."""
    levels = set(scores["level"])
    return LevelRules(breast="own" if "breast" in levels else "mean", exam="own" if "exam" in levels else "max")


def sample_level(scores: pl.DataFrame, level: Level, rules: LevelRules | None = None) -> LevelSample:
    """The scores, outcomes and patients of one level of a table; without rules, by the usual ones.

    Raises:
        TableError: the table breaks the schema, has no row that the rule asks for, a breast has two outcomes, or the
            rows of one level are not those of another.
    """
    check_scores(scores)
    rules = usual_rules(scores) if rules is None else rules
    rows = {"image": _list_images, "breast": _take_breasts, "exam": _take_exams}[level](scores, rules)
    known = rows.filter(pl.col("cancer").is_not_null())
    return LevelSample(
        level=level,
        rule=rules.state(level),
        rows=known,
        scores=known["score"].to_numpy(),
        outcomes=known["cancer"].to_numpy(),
        patients=number_patients(known["patient_id"].to_list()),
        n_undetermined=rows.height - known.height,
    )


def _list_images(scores: pl.DataFrame, rules: LevelRules) -> pl.DataFrame:  # noqa: ARG001  # one signature for all
    return _rows_of(scores, "image").sort("exam_id", "laterality", "image_id")


def _take_breasts(scores: pl.DataFrame, rules: LevelRules) -> pl.DataFrame:
    if rules.breast != "own":
        return aggregate_to_breasts(_rows_of(scores, "image"), by=rules.breast)
    _rows_of(scores, "breast")
    return list_breasts(scores)


def _take_exams(scores: pl.DataFrame, rules: LevelRules) -> pl.DataFrame:
    if rules.exam != "own":
        return combine_breasts(_take_breasts(scores, rules), by=rules.exam)
    exams = _rows_of(scores, "exam").sort("exam_id")
    if exams.height < scores.height:
        _refuse_other_exams(exams, combine_breasts(list_breasts(scores)))
    return exams


def _rows_of(scores: pl.DataFrame, level: Level) -> pl.DataFrame:
    rows = scores.filter(pl.col("level") == level)
    if rows.is_empty():
        found = ", ".join(sorted(set(scores["level"]))) or "no row at all"
        raise TableError(
            f"scores: found no row of level {level}, but of {found}; measure another level, or take a rule that needs "
            "none of it"
        )
    return rows


def _refuse_other_exams(exams: pl.DataFrame, of_breasts: pl.DataFrame) -> None:
    key = ["exam_id", "cancer"]
    without_breast = exams.join(of_breasts, on=key, how="anti", nulls_equal=True).height
    without_row = of_breasts.join(exams, on=key, how="anti", nulls_equal=True).height
    if without_breast or without_row:
        raise TableError(
            f"scores: the rows of level exam and those below do not agree: {without_breast} exams have no breast of "
            f"their outcome, {without_row} have breasts and no row; take one of the levels out of the table"
        )
