"""Groups: by what they part the scores, what they are called, and in which order they stand."""

from collections.abc import Sequence

import polars as pl
import pytest

from mammoscope.errors import UserInputError
from mammoscope.evaluation.grouping import COLUMNS, Grouping, group_sample, level_of, tell_ungrouped
from mammoscope.evaluation.levels import Level, sample_level


def group(
    scores: pl.DataFrame, column: str, facts: Sequence[pl.DataFrame] = (), level: Level = "breast"
) -> Grouping | None:
    groupings = group_sample(sample_level(scores, level), facts, [column])
    return groupings[0] if groupings else None


def names(grouping: Grouping | None) -> list[str]:
    return [] if grouping is None else [each.name for each in grouping.groups]


def sizes(grouping: Grouping | None) -> list[int]:
    return [] if grouping is None else [int(each.members.sum()) for each in grouping.groups]


@pytest.fixture(scope="module")
def facts(cohort: pl.DataFrame) -> pl.DataFrame:
    """Of each image of the cohort, sixty patients: an age of 30 to 89, densities, and what is known of cases."""
    number = pl.col("patient_id").str.strip_prefix("patient-").cast(pl.Int64)
    return cohort.select(
        "image_id",
        "exam_id",
        "laterality",
        "view",
        "cancer",
        age_years=pl.when(number != 7).then(30.0 + number),
        density=pl.when(number < 30).then(pl.lit("A")).when(number < 50).then(pl.lit("C")),
        implant=number == 3,
        invasive=pl.when(pl.col("cancer")).then(number < 20),
        difficult_negative=pl.when(~pl.col("cancer")).then(number < 10),
        dose=number.cast(pl.Float64) / 2,
        reader=pl.when(pl.col("view") == "CC").then(pl.lit("x")).otherwise(pl.lit("y")),
    )


def test_ages_are_bands_and_what_is_not_known_stands_last(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    grouping = group(cohort, "age_years", [facts])
    assert names(grouping) == ["below 40", "40 to 50", "50 to 60", "60 to 70", "70 and above", "not recorded"]
    assert sizes(grouping) == [18, 20, 20, 20, 40, 2]  # two breasts of a patient; patient 7 has no age


def test_what_a_table_of_scores_says_itself_comes_first(cohort: pl.DataFrame) -> None:
    other = cohort.select("exam_id", "laterality", site=pl.lit("9"))
    assert names(group(cohort, "site", [other])) == ["1", "2"]
    assert names(group(cohort.drop("site"), "site", [other])) == []  # one value is the whole
    half = other.with_columns(site=pl.when(pl.col("laterality") == "L").then(pl.lit("9")))
    assert names(group(cohort.drop("site"), "site", [half])) == ["9", "not recorded"]


def test_the_first_table_that_has_the_column_is_taken(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    assert sizes(group(cohort, "density", [facts.drop("density"), facts])) == [60, 40, 20]


def test_what_the_first_does_not_know_is_taken_from_the_next(cohort: pl.DataFrame) -> None:
    """Twenty patients by the scores, twenty more by the first table, and the last table does not contradict."""
    number = pl.col("patient_id").str.strip_prefix("patient-").cast(pl.Int64)
    own = cohort.with_columns(machine=pl.when(number < 20).then(pl.lit("a")))
    first = cohort.select("exam_id", "laterality", machine=pl.when(number.is_between(20, 39)).then(pl.lit("b")))
    last = cohort.select("exam_id", "laterality", machine=pl.when(number < 59).then(pl.lit("c")))
    grouping = group(own, "machine", [first, last])
    assert names(grouping) == ["a", "b", "c", "not recorded"]
    assert sizes(grouping) == [40, 40, 38, 2]


def test_numbers_and_flags_of_two_tables_are_the_same_groups(cohort: pl.DataFrame) -> None:
    is_left = pl.col("laterality") == "L"
    flags = cohort.select("exam_id", "laterality", implant=pl.when(is_left).then(pl.col("cancer")))
    numbers = cohort.select("exam_id", "laterality", implant=pl.col("cancer").cast(pl.Int64))
    grouping = group(cohort, "implant", [flags, numbers])
    assert (names(grouping), sizes(grouping)) == (["no", "yes"], [108, 12])
    unknown = flags.with_columns(implant=pl.lit(None, pl.Boolean))
    half = numbers.with_columns(implant=pl.when(is_left).then("implant"))
    assert names(group(cohort, "implant", [half, unknown])) == ["0", "1", "not recorded"]


def test_a_breast_whose_images_differ_is_in_several(cohort: pl.DataFrame) -> None:
    """Patients 0 to 9 were seen on machine b for one view: twenty breasts, whose own rows then name none."""
    number = pl.col("patient_id").str.strip_prefix("patient-").cast(pl.Int64)
    other = (number < 10) & (pl.col("view") == "CC")
    images = cohort.with_columns(machine=pl.when(other).then(pl.lit("b")).otherwise(pl.lit("a")))
    everywhere_c = cohort.select("exam_id", "laterality", machine=pl.lit("c"))
    grouping = group(images, "machine", [images, everywhere_c])
    assert (names(grouping), sizes(grouping)) == (["a", "several"], [100, 20])
    assert sizes(group(images, "machine", [images], level="image")) == [220, 20]


def test_flags_are_yes_and_no(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    grouping = group(cohort, "implant", [facts])
    assert (names(grouping), sizes(grouping)) == (["no", "yes"], [118, 2])


def test_kinds_of_cancer_are_held_against_all_controls(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    grouping = group(cohort, "invasive", [facts])
    assert grouping is not None
    assert grouping.splits == "cases"
    assert (names(grouping), sizes(grouping)) == (["no", "yes"], [8 + 108, 4 + 108])


def test_difficult_controls_are_held_against_all_cases(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    grouping = group(cohort, "difficult_negative", [facts])
    assert grouping is not None
    assert grouping.splits == "controls"
    assert (names(grouping), sizes(grouping)) == (["no", "yes"], [90 + 12, 18 + 12])


def test_many_numbers_are_quarters(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    grouping = group(cohort, "dose", [facts])
    assert names(grouping) == ["below 7.375", "7.375 to 14.75", "14.75 to 22.125", "22.125 and above"]
    assert sizes(grouping) == [30, 30, 30, 30]


def test_what_is_no_number_is_not_recorded(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    """No age of patients 50 to 59, once of one image of each breast; sixty doses, of which the first is none."""
    number = pl.col("patient_id").str.strip_prefix("patient-").cast(pl.Int64)
    age, nan = pl.lit(30.0) + number, pl.lit(float("nan"))
    ages = cohort.select("exam_id", "laterality", age_years=pl.when(number < 50).then(age).otherwise(nan))
    assert sizes(group(cohort, "age_years", [ages])) == [20, 20, 20, 20, 20, 20]
    assert names(group(cohort, "age_years", [ages]))[-2:] == ["70 and above", "not recorded"]
    one_view = pl.when(pl.col("view") == "CC").then(age).otherwise(nan)
    assert sizes(group(cohort, "age_years", [cohort.select("exam_id", "laterality", age_years=one_view)])) == [
        *(20, 20, 20, 20, 40)
    ]
    doses = facts.with_columns(dose=pl.when(pl.col("dose") > 0).then("dose").otherwise(nan))
    grouping = group(cohort, "dose", [doses])
    assert names(grouping)[-1] == "not recorded"
    assert sizes(grouping) == [30, 28, 30, 30, 2]


def test_whole_numbers_are_named_without_a_fraction(cohort: pl.DataFrame) -> None:
    number = pl.col("patient_id").str.strip_prefix("patient-").cast(pl.Int64)
    facts = cohort.select("exam_id", "laterality", grade=number % 3, size=(number % 2 + 1) / 2)
    assert names(group(cohort, "grade", [facts])) == ["0", "1", "2"]
    assert names(group(cohort, "size", [facts])) == ["0.5", "1"]


def test_kinds_of_an_exam_are_those_of_its_breasts_of_that_class(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    """Twelve exams have a case on the left, four of them invasive; the healthy side is no invasive cancer."""
    flags = facts.with_columns(
        pl.col("invasive").fill_null(value=False), difficult_negative=pl.col("difficult_negative").fill_null(value=True)
    )
    invasive = group(cohort, "invasive", [flags], level="exam")
    assert (names(invasive), sizes(invasive)) == (["no", "yes"], [8 + 48, 4 + 48])
    difficult = group(cohort, "difficult_negative", [flags], level="exam")
    assert (names(difficult), sizes(difficult)) == (["no", "yes"], [40 + 12, 8 + 12])


@pytest.mark.parametrize("level", ["image", "breast", "exam"])
def test_scores_find_their_facts_by_the_first_ids_that_both_have(
    cohort: pl.DataFrame, facts: pl.DataFrame, level: Level
) -> None:
    """By image, by exam and by patient, with the side or without it, they are the same groups."""
    ids = cohort.select("image_id", "patient_id")
    known = facts.select("image_id", "exam_id", "laterality", "density").join(ids, on="image_id")
    expected = sizes(group(cohort, "density", [known], level=level))
    assert len(expected) == 3
    for lost in (["image_id"], ["image_id", "exam_id"], ["image_id", "laterality"], ["exam_id", "laterality"]):
        assert sizes(group(cohort, "density", [known.drop(lost)], level=level)) == expected, lost
    empty = known.with_columns(image_id=pl.lit(None, pl.String), exam_id=pl.lit(None, pl.String))
    assert sizes(group(cohort, "density", [empty], level=level)) == expected


def test_views_are_of_images_and_a_breast_with_both_has_several(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    assert level_of("view") == "image"
    assert level_of("density") == "breast"
    assert names(group(cohort, "view", level="image")) == ["CC", "MLO"]
    one_side = facts.filter((pl.col("laterality") == "L") | (pl.col("view") == "CC"))
    assert names(group(cohort, "reader", [one_side])) == ["several", "x"]
    assert names(group(cohort, "reader", [facts], level="image")) == ["x", "y"]


def test_numbers_stand_by_size_then_texts_then_what_is_not_known(cohort: pl.DataFrame) -> None:
    number = pl.col("patient_id").str.strip_prefix("patient-").cast(pl.Int64) % 4
    machines = number.replace_strict({0: "170", 1: "29", 2: "x", 3: None}, return_dtype=pl.String)
    assert names(group(cohort.with_columns(machine=machines), "machine")) == ["29", "170", "x", "not recorded"]


def test_what_is_nowhere_known_is_left_out(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    sample = sample_level(cohort, "breast")
    assert group_sample(sample, [], ["density", "machine"]) == ()
    assert group_sample(sample, [facts.select("image_id", "density")], ["density"]) == ()  # breasts have no image
    found = {grouping.column for grouping in group_sample(sample, [facts], COLUMNS)}
    expected = {"site", "density", "age_years", "implant", "invasive", "difficult_negative", "laterality"}
    assert found == expected


def test_columns_that_give_no_groups_are_told(cohort: pl.DataFrame, facts: pl.DataFrame) -> None:
    """Ids of a table that are spelled in another way; one value of a column that somebody asked for."""
    sample = sample_level(cohort, "breast")
    columns = (*COLUMNS, "grade")
    others = facts.with_columns(exam_id="x-" + pl.col("exam_id"), grade=pl.lit(None, pl.Int64))
    lost = (
        "is in a table, and of none of the 120 scores; are image_id, or exam_id or patient_id with laterality, in both"
    )
    assert tell_ungrouped(sample, [others.select("exam_id", "laterality", "density", "grade")], columns) == (
        f"group by density: {lost}, and spelled alike?",
    )
    assert tell_ungrouped(sample, [facts.with_columns(grade=2)], columns) == (
        "group by grade: all of the 120 scores are in one group, 2; there is nothing to compare",
    )
    assert tell_ungrouped(sample, [facts.with_columns(grade=pl.col("laterality"))], columns) == ()


def test_names_are_no_groups(cohort: pl.DataFrame) -> None:
    with pytest.raises(UserInputError, match=r"group by exam_id: found 60 values, expected 40 groups or fewer; leave"):
        group(cohort, "exam_id")
