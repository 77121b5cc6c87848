"""The shortcut audit: a planted scanner is found, an innocent one is not, and gaps count as values."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.audit.shortcuts import (
    ColumnKind,
    Shortcut,
    ShortcutAudit,
    audit_shortcuts,
    code_values,
    describe_breasts,
)

BuildCohort = Callable[..., pl.DataFrame]
# the same of all pictures of a store
OF_STORE = (
    pl.lit("1.2.840.10008.1.2.1").alias("transfer_syntax"),
    pl.lit("pillow").alias("decoder"),
    pl.lit(value=False).alias("is_inverted"),
    pl.lit(0.07).alias("row_spacing_mm"),
)


def by_column(audit: ShortcutAudit) -> dict[str, Shortcut]:
    return {each.column: each for each in audit.shortcuts}


def run(manifest: pl.DataFrame, prepared: pl.DataFrame | None = None, *, seed: int = 0) -> dict[str, Shortcut]:
    return by_column(audit_shortcuts(manifest, prepared, rng=np.random.default_rng(seed)))


@pytest.fixture(scope="module")
def planted(build: BuildCohort) -> pl.DataFrame:
    """200 women: the machine gives cancer away, the site does not, and density is missing for those with cancer."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(200):
        is_case = number % 5 == 0
        rows.append(
            {
                "cancer": is_case,
                "machine": "trap" if is_case == (rng.random() < 0.9) else "fair",
                "site": str(rng.integers(0, 2)),
                "density": None if is_case else "B",
                "age_years": 50.0,
            }
        )
    return build(*rows)


def test_a_scanner_that_gives_cancer_away_is_found(planted: pl.DataFrame) -> None:
    found = run(planted)
    machine = found["machine"]
    assert machine.kind is ColumnKind.ACQUISITION
    cancer = planted["cancer"].to_numpy()
    is_trap = (planted["machine"] == "trap").to_numpy()
    # a column of two values has the AUC (sensitivity + specificity) / 2, here also in each fold on average
    assert machine.auc.value == pytest.approx((is_trap[cancer].mean() + (~is_trap)[~cancer].mean()) / 2, abs=0.01)
    assert machine.auc.low is not None
    assert machine.auc.low > 0.8


def test_an_innocent_column_is_not_and_has_no_interval(planted: pl.DataFrame) -> None:
    found = run(planted)
    assert not found["site"].is_above_chance
    assert found["site"].auc.value < 0.6
    assert (found["site"].auc.low, found["site"].auc.high) == (None, None)
    assert found["machine"].p == 1 / 500


@pytest.mark.parametrize(("n_cases", "has_interval"), [(19, False), (20, True)])
def test_with_too_few_patients_with_cancer_there_is_no_interval(
    build: BuildCohort, n_cases: int, *, has_interval: bool
) -> None:
    rows = [{"cancer": number < n_cases, "machine": "ab"[number < n_cases - 2]} for number in range(100)]
    found = run(build(*rows))["machine"]
    assert found.is_above_chance
    assert (found.auc.low is not None) is has_interval


def test_a_cohort_whose_columns_are_the_same_everywhere_has_none(build: BuildCohort) -> None:
    audit = audit_shortcuts(build(*({"cancer": number < 3} for number in range(9))), None, rng=np.random.default_rng(0))
    assert (audit.shortcuts, audit.reason, audit.n_case_patients) == ((), None, 3)


def test_what_is_missing_is_a_column_of_its_own(planted: pl.DataFrame) -> None:
    found = run(planted)
    missing = found["density is missing"]
    assert (missing.kind, missing.n_values, missing.auc.value) == (ColumnKind.MISSING, 2, 1)
    assert found["density"].auc.value == 1  # a gap is a value too
    assert "machine is missing" not in found


def test_a_column_that_is_the_same_everywhere_is_named_and_not_measured(planted: pl.DataFrame) -> None:
    audit = audit_shortcuts(planted, None, rng=np.random.default_rng(0))
    assert {"age_years", "source", "laterality"} <= set(audit.constant_columns)
    assert "age_years" not in by_column(audit)
    assert not any("missing" in column for column in audit.constant_columns)  # what no breast lacks is no column
    assert (audit.n_breasts, audit.n_cases, audit.n_folds, audit.reason) == (200, 40, 5, None)


def test_the_best_predictor_stands_first(planted: pl.DataFrame) -> None:
    values = [each.auc.value for each in audit_shortcuts(planted, None, rng=np.random.default_rng(0)).shortcuts]
    assert values == sorted(values, reverse=True)


def test_the_order_of_the_rows_changes_nothing_of_the_columns(planted: pl.DataFrame) -> None:
    assert set(run(planted)) == set(run(planted.sample(fraction=1, shuffle=True, seed=1)))


def test_a_store_adds_what_files_tell(planted: pl.DataFrame) -> None:
    prepared = planted.filter(pl.col("image_id") != "image-7").select(
        "image_id",
        pl.when("cancer").then(4096).otherwise(2048).cast(pl.Int64).alias("original_rows"),
        pl.lit(1024, pl.Int64).alias("original_columns"),
        *OF_STORE,
    )
    found = run(planted, prepared)
    assert found["image_size"].auc.value > 0.99  # the one without a picture is a value of its own
    assert found["image_size"].n_values == 3
    assert found["prepared picture is missing"].kind is ColumnKind.MISSING
    assert found["transfer_syntax"].n_values == 2  # of one, and without a picture


@pytest.mark.parametrize("cancer", [[True, False, False], [True, True, True], [False] * 3, [None] * 3])
def test_too_few_of_a_kind_is_said_in_words(build: BuildCohort, cancer: list[bool | None]) -> None:
    audit = audit_shortcuts(build(*({"cancer": each} for each in cancer)), None, rng=np.random.default_rng(0))
    assert audit.shortcuts == ()
    assert audit.reason == "needs two patients with cancer and two without, in breasts with a known outcome"


def test_a_breast_has_one_value_of_each_column(miniature: pl.DataFrame) -> None:
    mixed = miniature.with_columns(
        pl.Series("machine", ["9", "10", None, "9", "10", "10", "9"]),
        pl.Series("age_years", [50.0, 60.0, None, 50.0, 60.0, 60.0, 70.0]),
    )
    breasts = {(row["exam_id"], row["laterality"]): row for row in describe_breasts(mixed, None).iter_rows(named=True)}
    assert len(breasts) == 4  # without the undetermined one
    left, right = breasts["exam-a", "L"], breasts["exam-a", "R"]
    assert (left["machine"], left["age_years"], left["views_of_breast"]) == ("10 + 9", 55, "CC + MLO")
    assert (right["machine"], right["age_years"]) == ("9", 50)  # what is missing in one image is not in the breast
    assert (left["images_of_breast"], left["images_of_patient"]) == (2, 4)


def test_all_texts_of_a_breast_are_joined(build: BuildCohort) -> None:
    """Of three machines none is left out, or a breast of A, B and C would pass for one of A and C."""
    rows = [{"patient_id": "p", "machine": machine} for machine in ("C", "A", None, "B", "A")]
    assert describe_breasts(build(*rows), None)["machine"].to_list() == ["A + B + C"]


def test_the_type_of_the_file_is_read_from_its_name(miniature: pl.DataFrame) -> None:
    names = ["/a/1.dcm", "/a/2.DCM", "/a/3.png", "/a.b/4", None, None, "/a/7.PNG"]
    breasts = describe_breasts(miniature.with_columns(pl.Series("path", names)), None)
    assert breasts["file_type"].to_list() == ["dcm", "png", None, "png"]


def test_numbers_are_put_into_tenths() -> None:
    codes = code_values(pl.Series([*range(100), None], dtype=pl.Float64))
    assert np.bincount(codes).tolist() == [1, *[10] * 10]  # the missing one first


def test_few_numbers_are_values_of_their_own() -> None:
    assert code_values(pl.Series([4, 5, 4, 4, 4, 4, 4, 4, 4, 4, 4])).tolist() == [0, 1, *[0] * 9]
    assert code_values(pl.Series([1.0, 2.0, 3.0])).tolist() == [0, 1, 2]


def test_texts_are_numbered_with_the_missing_one_first() -> None:
    assert code_values(pl.Series(["b", None, "a", "b"])).tolist() == [2, 0, 1, 2]


def test_a_breast_has_its_pictures_where_each_image_has_one(miniature: pl.DataFrame) -> None:
    sizes = pl.DataFrame({"image_id": ["image-0", "image-2", "image-3"], "original_rows": 9, "original_columns": 7})
    prepared = sizes.with_columns(OF_STORE)
    breasts = describe_breasts(miniature, prepared)
    assert breasts["prepared_picture"].to_list() == [None, "yes", None, None]
    assert breasts["image_size"].to_list() == ["9 x 7", "9 x 7", None, None]


def both_breasts(build: BuildCohort, *, are_of_one_patient: bool) -> pl.DataFrame:
    """Two breasts of the same machine and outcome, 200 times; the machine tells of cancer in part."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(200):
        machine = "ab"[int(rng.random() < (0.7 if number % 4 == 0 else 0.3))]
        for side in "LR":
            patient = f"p{number}" if are_of_one_patient else f"p{number}{side}"
            rows.append({"patient_id": patient, "laterality": side, "machine": machine, "cancer": number % 4 == 0})
    return build(*rows)


def test_two_breasts_of_a_patient_are_worth_less_than_those_of_two(build: BuildCohort) -> None:
    """Alike in all, they are worth one: the interval is wider by the root of two."""
    widths = []
    for are_of_one_patient in (True, False):
        auc = run(both_breasts(build, are_of_one_patient=are_of_one_patient))["machine"].auc
        assert auc.low is not None
        assert auc.high is not None
        widths.append(auc.high - auc.low)
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(2), rel=0.1)


def test_no_breast_is_scored_by_the_other_one_of_its_patient(build: BuildCohort) -> None:
    """Each woman with cancer, in both breasts, has a machine of her own, which tells nothing of the others."""
    rows = [
        {"patient_id": f"p{number}", "laterality": side, "machine": f"m{number}", "cancer": number % 2 == 0}
        for number in range(60)
        for side in "LR"
    ]
    machine = run(build(*rows))["machine"]
    assert machine.auc.value == 0.5
    assert not machine.is_above_chance
