"""The audit's matched controls: the figures of a cohort that is counted by hand, in the page and in the JSON."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.audit.audit import audit_cohort
from mammoscope.cohort.audit.matches import MatchAudit, MatchPlan, audit_match
from mammoscope.cohort.audit.page import render
from mammoscope.cohort.matching import MATCH_COLUMNS

BuildCohort = Callable[..., pl.DataFrame]


@pytest.fixture
def cohort(build: BuildCohort) -> pl.DataFrame:
    """Two cases at site 1, of 60 and 62 years; controls of these ages there, and two of 40 and 42 at site 2."""
    return build(
        *({"cancer": True, "site": "1", "age_years": age} for age in (60.0, 62.0)),
        *({"site": "1", "age_years": age} for age in (60.0, 62.0)),
        *({"site": "2", "age_years": age} for age in (40.0, 42.0)),
    )


def test_the_match_evens_site_and_age_out(cohort: pl.DataFrame) -> None:
    found = audit_match(cohort, MatchPlan(), rng=np.random.default_rng(0))
    assert isinstance(found, MatchAudit)
    assert (found.n_cases, found.n_without, found.n_controls, found.age_within_years) == (2, 0, 2, 5.0)
    by_column = {each.column: each for each in found.columns}
    assert list(by_column) == list(MATCH_COLUMNS)
    assert [name for name, each in by_column.items() if each.is_matched] == ["age_years", "machine", "site", "view"]
    # site 1: all cases, half of the controls; mean ages 61 and 51, variances 2 and (9² + 11² + 11² + 9²) / 3
    assert by_column["site"].before == pytest.approx(0.5 / np.sqrt(0.25 / 2))
    assert by_column["age_years"].before == pytest.approx(10 / np.sqrt((2 + 404 / 3) / 2))
    assert {each.after for each in found.columns} == {0.0}


def test_the_page_and_the_json_tell_it(cohort: pl.DataFrame) -> None:
    audit = audit_cohort(cohort, rng=np.random.default_rng(0))
    section = render(audit).split('id="match-title"', 1)[1].split("</section>", 1)[0]
    assert "2 of 2 breasts with cancer have a match." in section
    figures = '<td class="number">1.414</td><td class="number value">0.000</td>'
    assert f'<th scope="row">Site</th><td>matched</td>{figures}' in section
    assert '<th scope="row">Density</th><td></td>' in section
    content = audit.to_json()["matched_controls"]
    assert isinstance(content, dict)
    assert content["n_controls"] == 2


def test_a_column_that_the_match_leaves_uneven_is_told_too(cohort: pl.DataFrame) -> None:
    """Matched by age alone, both cases of site 1 get controls of site 2, where before half were of site 1."""
    swapped = cohort.with_columns(site=pl.Series(["1", "1", "2", "2", "1", "1"]))
    found = audit_match(swapped, MatchPlan(columns=("age_years",)), rng=np.random.default_rng(0))
    assert found is not None
    site = next(each for each in found.columns if each.column == "site")
    assert not site.is_matched
    assert site.before == pytest.approx(0.5 / np.sqrt(1 / 8))
    assert site.after == pytest.approx(1 / np.sqrt(1 / 8))


def test_cases_with_fewer_controls_than_asked_for_are_counted(cohort: pl.DataFrame) -> None:
    plan = MatchPlan(controls_per_case=2, age_within_years=1.0)
    found = audit_match(cohort, plan, rng=np.random.default_rng(0))
    assert found is not None
    assert (found.n_controls, found.n_short, found.n_without, found.controls_per_case) == (2, 2, 0, 2)
    section = render(audit_cohort(cohort, rng=np.random.default_rng(0), plan=plan)).split('id="match-title"', 1)[1]
    assert "2 controls" in section
    assert "2 have fewer than 2 controls." in section


def test_a_case_without_a_match_is_told(cohort: pl.DataFrame) -> None:
    lonely = cohort.with_columns(age_years=pl.when(pl.col("image_id") == "image-0").then(90.0).otherwise("age_years"))
    page = render(audit_cohort(lonely, rng=np.random.default_rng(0)))
    assert "1 of 2 breasts with cancer have a match; those without count too." in page
    ageless = cohort.with_columns(age_years=pl.when("cancer").then("age_years"))  # no spread to measure by
    page = render(audit_cohort(ageless, rng=np.random.default_rng(0), plan=MatchPlan(columns=("site",))))
    assert "not defined" in page.split('id="match-title"', 1)[1]


@pytest.mark.parametrize("cancer", [True, False, None])
def test_where_nothing_matches_that_is_said(cohort: pl.DataFrame, *, cancer: bool | None) -> None:
    alike = cohort.with_columns(pl.lit(cancer, pl.Boolean).alias("cancer"))
    assert audit_match(alike, MatchPlan(), rng=np.random.default_rng(0)) is None
    audit = audit_cohort(alike, rng=np.random.default_rng(0))
    assert audit.to_json()["matched_controls"] is None
    assert "No breast with cancer has a control that is like it in view, site, machine, age." in render(audit)
