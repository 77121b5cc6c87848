"""What the second stage sees of a breast: by hand."""

from math import log
from typing import Any

import polars as pl
import pytest

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.errors import TableError
from mammoscope.evaluation.scores import SCORES_SCHEMA
from mammoscope.learning.breast_table import SCORE_COLUMNS, check_columns, describe_breasts


def row(**changes: object) -> dict[str, Any]:
    exam: dict[str, Any] = {"patient_id": "anna", "exam_id": "anna-1", "laterality": "L", "cancer": False, "fold": 0}
    image = {"level": "image", "n_images": 1, "view": "CC", "schema_version": 1}
    return dict.fromkeys(SCORES_SCHEMA) | image | exam | changes


IMAGES = [
    row(image_id="a1", score=0.5),
    row(image_id="a2", score=0.2),
    row(image_id="a3", score=0.8, laterality="R", cancer=True),
    row(image_id="b1", score=0.9, patient_id="berta", exam_id="berta-1", laterality="R", fold=1),
]
OF_BREASTS = {"level": "breast", "view": None, "image_id": None}


def scores_of(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows or IMAGES, schema=SCORES_SCHEMA)


def facts_of(**columns: list[object]) -> pl.DataFrame:
    """A row for each of the four images, in their order."""
    exams = {"exam_id": ["anna-1"] * 3 + ["berta-1"], "laterality": ["L", "L", "R", "R"]}
    return pl.DataFrame(exams | columns, schema_overrides={name: SCHEMA[name] for name in columns})


def test_the_scores_of_views_and_of_the_other_side_by_hand() -> None:
    breasts = describe_breasts(scores_of(), facts_of(), [])
    assert breasts.select("exam_id", "laterality", "patient_id", "cancer", "fold").rows() == [
        ("anna-1", "L", "anna", False, 0),
        ("anna-1", "R", "anna", True, 0),
        ("berta-1", "R", "berta", False, 1),
    ]
    left, right, alone = breasts.select(SCORE_COLUMNS).rows()
    # 0.5 and 0.2 have the mean 0.35, and logits of 0 and -log(4)
    assert left == pytest.approx((log(0.35 / 0.65), 0, log(4), 2, log(0.35 / 0.65) - log(4)))
    assert right == pytest.approx((log(4), log(4), 0, 1, log(4) - log(0.35 / 0.65)))
    assert alone[:4] == pytest.approx((log(9), log(9), 0, 1))
    assert alone[4] is None


def test_the_order_of_the_rows_says_nothing() -> None:
    facts = facts_of(age_years=[50.0, 50.0, 50.0, 60.0])
    shuffled = describe_breasts(scores_of(*IMAGES[::-1]), facts.reverse(), ["age_years"])
    assert shuffled.equals(describe_breasts(scores_of(), facts, ["age_years"]))


def test_a_breast_with_a_score_of_its_own_has_its_logit_and_the_views_of_its_images() -> None:
    own = [row(**OF_BREASTS, score=0.9, n_images=2)]
    own += [row(**OF_BREASTS, score=0.8, laterality="R", cancer=True)]
    own += [row(**OF_BREASTS, score=0.9, patient_id="berta", exam_id="berta-1", laterality="R", fold=1)]
    breasts = describe_breasts(scores_of(*IMAGES, *own), facts_of(), [])
    assert breasts.select(SCORE_COLUMNS).row(0) == pytest.approx((log(9), 0, log(4), 2, log(9) - log(4)))
    alone = describe_breasts(scores_of(*own), facts_of(), [])
    assert alone.select(SCORE_COLUMNS).row(0) == pytest.approx((log(9), log(9), 0, 2, log(9) - log(4)))


def test_a_score_of_0_or_1_has_a_finite_logit() -> None:
    breasts = describe_breasts(scores_of(IMAGES[0] | {"score": 0.0}, IMAGES[2] | {"score": 1.0}), facts_of(), [])
    assert breasts["logit"].to_list() == pytest.approx([-log(1e6), log(1e6)], rel=1e-6)


def test_the_facts_of_a_breast() -> None:
    facts = facts_of(
        age_years=[50.0, None, 52.0, None],
        implant=[True, False, None, True],
        density=["B", None, "C", None],
        site=["1", "2", "1", "2"],
    )
    breasts = describe_breasts(scores_of(), facts, ["age_years", "implant", "density", "site", "laterality"])
    assert breasts.select("age_years", "implant", "density", "site", "laterality").rows() == [
        (50.0, 0.5, "B", None, "L"),
        (52.0, None, "C", "1", "R"),
        (None, 1.0, None, "2", "R"),
    ]


def test_a_breast_that_the_facts_lack_is_refused() -> None:
    with pytest.raises(TableError, match="2 of 3 breasts of the scores are not in the table of facts, expected all"):
        describe_breasts(scores_of(), facts_of().filter(pl.col("laterality") == "L"), [])


@pytest.mark.parametrize(("value", "found"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_number_that_is_none_is_refused_with_its_rows(value: float, found: str) -> None:
    facts = facts_of(age_years=[50.0, value, None, value])
    with pytest.raises(
        TableError, match=rf"age_years: found {found} in rows 2, 4, expected a number, or nothing where"
    ):
        describe_breasts(scores_of(), facts, ["age_years"])


def test_a_column_that_is_missing_is_refused() -> None:
    with pytest.raises(TableError, match="age_years: no such column in the table of facts; add it, empty if need be"):
        describe_breasts(scores_of(), facts_of(), ["age_years"])


def test_a_column_without_a_value_teaches_nothing_and_may_be_met_later() -> None:
    facts = facts_of(age_years=[None, None, None, None])
    assert describe_breasts(scores_of(), facts, ["age_years"])["age_years"].null_count() == 3
    with pytest.raises(TableError, match=r"age_years: empty in every row; leave it out of second_stage\.columns"):
        check_columns(facts, ["age_years"])
    check_columns(facts_of(age_years=[None, 50.0, None, None]), ["age_years"])
    with pytest.raises(TableError, match="density: no such column"):
        check_columns(facts, ["density"])


def test_no_sentence_names_a_patient() -> None:
    with pytest.raises(TableError) as error:
        describe_breasts(scores_of(), facts_of().head(0), [])
    assert "anna" not in str(error.value)
