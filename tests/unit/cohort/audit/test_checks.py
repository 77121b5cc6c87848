"""Each check fires on what it looks for, with the right rows, and is silent on its neighbours."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from mammoscope.cohort.audit.checks import Check, check_cohort
from mammoscope.cohort.audit.rules import RULE_BY_CODE, Severity

BuildCohort = Callable[..., pl.DataFrame]
WHOLE_EXAM = [{"patient_id": "p", "laterality": side, "view": view} for side in "LR" for view in ("CC", "MLO")]
OF_PICTURES = {
    "same_pixels_across_patients",
    "same_pixels_in_a_patient",
    "same_file_across_patients",
    "same_file_in_a_patient",
    "not_in_store",
}


def checks_of(manifest: pl.DataFrame, prepared: pl.DataFrame | None = None) -> dict[str, Check]:
    return {check.rule.code: check for check in check_cohort(manifest, prepared)}


def changed(build: BuildCohort, *changes: Mapping[str, Any]) -> dict[str, Check]:
    """The checks of one whole exam, with changes to its images, left CC, left MLO, right CC, right MLO."""
    rows = [row | dict(change) for row, change in zip(WHOLE_EXAM, [*changes, {}, {}, {}, {}], strict=False)]
    return checks_of(build(*rows))


def test_a_whole_exam_breaks_no_rule(build: BuildCohort) -> None:
    assert {code for code, check in changed(build).items() if check.n_found} == set()


def test_every_rule_is_looked_at_once(build: BuildCohort) -> None:
    schema = dict.fromkeys(("content_hash", "file_hash", "image_id"), pl.String)
    with_store = check_cohort(build(*WHOLE_EXAM), pl.DataFrame(schema=schema))
    assert sorted(check.rule.code for check in with_store) == sorted(RULE_BY_CODE)
    assert set(RULE_BY_CODE) - {check.rule.code for check in check_cohort(build(*WHOLE_EXAM), None)} == OF_PICTURES


@pytest.mark.parametrize(
    ("code", "changes", "rows"),
    [
        ("conflicting_cancer", [{"cancer": True}], (1, 2)),
        ("invasive_without_cancer", [{"invasive": True}], (1,)),
        ("difficult_negative_with_cancer", [{"difficult_negative": True, "cancer": True}] * 2, (1, 2)),
        ("cancer_without_biopsy", [{"cancer": True, "biopsy": False}] * 2, (1, 2)),
        ("cancer_with_negative_birads", [{"cancer": True, "birads": 1}, {"cancer": True, "birads": 2}], (1, 2)),
        ("conflicting_birads", [{"birads": 1}, {"birads": 2}], (1, 2)),
        ("conflicting_biopsy", [{"biopsy": True}, {"biopsy": False}], (1, 2)),
        ("conflicting_implant", [{"implant": True}, {"implant": False}], (1, 2)),
        ("conflicting_age_years", [{"age_years": 50.0}, {}, {"age_years": 51.0}], (1, 2, 3, 4)),
        ("conflicting_density", [{"density": "A"}, {}, {"density": "B"}], (1, 2, 3, 4)),
        ("conflicting_site", [{"site": "1"}, {"site": "2"}], (1, 2, 3, 4)),
        ("without_cc", [{"view": "ML"}], (1, 2)),
        ("without_mlo", [{}, {"view": "ML"}], (1, 2)),
        ("extra_views", [{}, {"view": "CC"}], (1, 2)),
        ("implausible_age", [{"age_years": 17.9}, {"age_years": 110.1}], (1, 2)),
        ("unusual_age", [{"age_years": 18.0}, {"age_years": 29.9}], (1, 2)),
    ],
)
def test_a_broken_rule_names_its_rows(
    build: BuildCohort, code: str, changes: list[dict[str, Any]], rows: tuple[int, ...]
) -> None:
    check = changed(build, *changes)[code]
    assert check.rows == rows
    assert check.n_found == (len(rows) if check.rule.unit == "images" else 1)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("conflicting_cancer", [{"cancer": None}]),
        ("conflicting_cancer", [{"cancer": None}, {"cancer": True}]),
        ("invasive_without_cancer", [{"invasive": True, "cancer": True}] * 2),
        ("invasive_without_cancer", [{"invasive": True, "cancer": None}] * 2),
        ("difficult_negative_with_cancer", [{"difficult_negative": True}]),
        ("cancer_without_biopsy", [{"cancer": True, "biopsy": None}] * 2),
        ("cancer_without_biopsy", [{"cancer": False, "biopsy": False}]),
        ("cancer_with_negative_birads", [{"cancer": True, "birads": 0}, {"cancer": True, "birads": None}]),
        ("conflicting_birads", [{"birads": 1}, {"birads": None}]),
        ("conflicting_birads", [{"birads": 1}, {"birads": 1}, {"birads": 2}, {"birads": 2}]),
        ("conflicting_density", [{"density": "A"}, {"density": None}]),
        ("implausible_age", [{"age_years": 18.0}, {"age_years": 110.0}, {"age_years": None}]),
        ("unusual_age", [{"age_years": 17.9}, {"age_years": 30.0}]),
    ],
)
def test_a_neighbour_breaks_no_rule(build: BuildCohort, code: str, changes: list[dict[str, Any]]) -> None:
    assert changed(build, *changes)[code].n_found == 0


def test_an_exam_of_one_side_is_one_exam(build: BuildCohort) -> None:
    check = checks_of(build(*WHOLE_EXAM[:2]))["one_side_only"]
    assert (check.n_found, check.rows, check.rule.unit) == (1, (1, 2), "exams")


def pictures(manifest: pl.DataFrame, pixels: str, files: str) -> dict[str, Check]:
    hashes = {"image_id": manifest["image_id"], "content_hash": list(pixels), "file_hash": list(files)}
    return checks_of(manifest, pl.DataFrame(hashes))


def test_the_same_pixels_under_two_patients_are_a_danger(build: BuildCohort) -> None:
    two = build(*({"patient_id": patient} for patient in "ppqqr"))
    found = pictures(two, "abacd", "vwxyz")
    across = found["same_pixels_across_patients"]
    assert (across.n_found, across.rows, across.rule.severity) == (1, (1, 3), Severity.DANGER)
    assert found["same_pixels_in_a_patient"].n_found == 0
    assert found["same_file_across_patients"].n_found == 0


def test_the_same_file_twice_in_a_patient_is_a_warning(build: BuildCohort) -> None:
    found = pictures(build(*({"patient_id": patient} for patient in "pppqq")), "abcde", "vvvyy")
    within = found["same_file_in_a_patient"]
    assert (within.n_found, within.rows, within.rule.severity) == (2, (1, 2, 3, 4, 5), Severity.WARNING)
    assert found["same_file_across_patients"].n_found == 0


def test_an_image_without_a_picture_is_no_duplicate(build: BuildCohort) -> None:
    manifest = build({}, {}, {})
    hashes = {"image_id": ["image-1"], "content_hash": ["a"], "file_hash": ["b"]}
    found = checks_of(manifest, pl.DataFrame(hashes))
    assert found["not_in_store"].rows == (1, 3)
    assert {code for code in OF_PICTURES if found[code].n_found} == {"not_in_store"}


def test_advice_and_titles_are_sentences_without_ids() -> None:
    for rule in RULE_BY_CODE.values():
        assert rule.advice.endswith(".")
        assert not rule.title.endswith(".")


def test_the_same_picture_in_two_exams_of_a_woman_is_not_across_patients(build: BuildCohort) -> None:
    found = pictures(build(*({"patient_id": "p", "exam_id": exam} for exam in ("first", "second"))), "aa", "vv")
    for what in ("pixels", "file"):
        assert found[f"same_{what}_across_patients"].n_found == 0
        assert found[f"same_{what}_in_a_patient"].rows == (1, 2)
