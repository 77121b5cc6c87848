"""The page of an audit: whole, needs nothing else, tells no id, and says in words what it cannot know."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.audit.audit import Audit, audit_cohort, list_rows
from mammoscope.cohort.audit.counts import ValueCount
from mammoscope.cohort.audit.page import _end_of_scale, _signed, render
from mammoscope.cohort.audit.shares import GroupShare, GroupTable
from mammoscope.pages.page import Fact

BuildCohort = Callable[..., pl.DataFrame]
VOID_TAGS = {"meta", "img", "br", "path", "use", "rect"}


class Outline(HTMLParser):
    """Whether every tag is closed, which ids there are, and what is loaded or pointed to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        self.ids.extend(value for name, value in attrs if name == "id" and value)
        self.headings.extend([tag] if re.fullmatch("h[1-6]", tag) else [])
        self.open_tags.extend([] if tag in VOID_TAGS else [tag])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        self.ids.extend(value for name, value in attrs if name == "id" and value)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


class Shelf:
    """A store of one grey picture for each image."""

    def __init__(self, manifest: pl.DataFrame) -> None:
        self.prepared = manifest.select(
            "image_id",
            pl.lit(40, pl.Int64).alias("original_rows"),
            pl.lit(30, pl.Int64).alias("original_columns"),
            pl.lit(0, pl.Int64).alias("content_top"),
            pl.lit(20, pl.Int64).alias("content_rows"),
            pl.lit(10, pl.Int64).alias("content_columns"),
            pl.lit(value=False).alias("is_inverted"),
            pl.lit("1.2.840.10008.1.2.1").alias("transfer_syntax"),
            pl.lit("raw").alias("decoder"),
            pl.lit(0.07).alias("row_spacing_mm"),
            pl.lit("same").alias("content_hash"),
            pl.col("image_id").alias("file_hash"),
        )

    def read(self, image_id: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        return np.full((20, 10), 10 * len(image_id), dtype=np.uint8)


@pytest.fixture(scope="module")
def cohort(build: BuildCohort) -> pl.DataFrame:
    """Forty women; machine <b>2 has all the cancer, one is 5 years old."""
    return build(
        *(
            {
                "cancer": number % 4 == 0,
                "machine": "<b>2" if number % 4 == 0 else "1",
                "site": str(number // 4 % 2),
                "density": "ABCD"[number // 4 % 4],
                "age_years": 5.0 if number == 3 else 40.0 + number,
                "fold": number // 4 % 2,
                "biopsy": number % 4 == 0,
            }
            for number in range(40)
        )
    )


def audit_of(manifest: pl.DataFrame, *, store: Shelf | None = None) -> Audit:
    return audit_cohort(manifest, rng=np.random.default_rng(0), store=store)


@pytest.fixture(scope="module")
def audit(cohort: pl.DataFrame) -> Audit:
    return audit_of(cohort, store=Shelf(cohort))


@pytest.fixture(scope="module")
def page(audit: Audit) -> str:
    return render(audit, facts=[Fact("Seed", "0")])


def test_the_page_is_whole_and_its_ids_are_unique(page: str) -> None:
    outline = Outline(page)
    assert outline.open_tags == []
    assert len(outline.ids) == len(set(outline.ids))
    assert page.startswith("<!DOCTYPE html>")
    assert outline.headings.count("h1") == 1


def test_the_page_needs_nothing_else(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert "<link" not in page
    for tag, attributes in Outline(page).attributes:
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")
        assert attributes.get("href") is None or str(attributes["href"]).startswith("#")
    assert "default-src 'none'" in page


def test_what_is_referred_to_is_there(page: str) -> None:
    ids = set(Outline(page).ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= ids
    assert set(re.findall(r'aria-labelledby="([^"]+)"', page)) <= ids


def test_every_picture_and_figure_has_a_text(page: str) -> None:
    described = [
        attributes.get("alt") or attributes.get("aria-label")
        for tag, attributes in Outline(page).attributes
        if tag == "img" or attributes.get("role") == "img"
    ]
    assert len(described) == 1 + 2 * 2  # ages; two machines with picture and grey values
    assert all(described)


def test_a_table_that_scrolls_can_be_reached_with_the_keyboard(page: str) -> None:
    regions = [attributes for _, attributes in Outline(page).attributes if attributes.get("role") == "region"]
    assert regions
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in regions)


def test_every_section_says_what_to_look_for(page: str) -> None:
    sections = re.findall(r"<section.*?</section>", page, flags=re.DOTALL)
    told = [re.search(r"<h2[^>]*>[^<]*</h2>\s*<p>\S", each) is not None for each in sections]
    assert told == [True] * (len(sections) - 2) + [False, False]  # but for the words and the facts


def test_no_id_of_a_patient_or_an_image_is_told(page: str, audit: Audit) -> None:
    for told in (page, json.dumps(audit.to_json())):
        assert not re.search(r"(patient|image|exam)-\d", told)


def test_names_from_outside_are_escaped(page: str) -> None:
    assert "<b>2" not in page
    assert "&lt;b&gt;2" in page


def test_the_planted_faults_stand_at_the_top(page: str, audit: Audit) -> None:
    found = {finding.code: finding.severity.value for finding in audit.findings}
    assert found["shortcut"] == "danger"
    assert found["same_pixels_across_patients"] == "danger"
    assert found["implausible_age"] == "warning"
    top = page[: page.index("shortcuts-title")]
    assert "Machine predicts cancer on its own: AUC 1.000." in top
    assert "Age below 18 or above 110: 1 image." in top
    assert top.index("Danger") < top.index("Warning")


def test_the_rows_that_were_found_are_listed_with_their_images(audit: Audit, cohort: pl.DataFrame) -> None:
    rows = list_rows(audit, cohort)
    assert rows.filter(pl.col("code") == "implausible_age").row(0) == ("implausible_age", "warning", 4, "image-3")
    assert rows.filter(pl.col("code") == "same_pixels_across_patients").height == 40
    assert rows.columns == ["code", "severity", "row", "image_id"]


def test_the_json_has_the_figures_and_a_version(audit: Audit) -> None:
    content = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    assert content["schema_version"] == 1
    assert content["size"]["n_cases"] == 10
    assert content["size"]["share_of_cases"] == 0.25
    assert content["shortcuts"]["shortcuts"][0]["auc"]["value"] == 1
    assert {each["code"]: each["n_images"] for each in content["checks"]}["implausible_age"] == 1
    assert [machine["machine"] for machine in content["machines"]] == ["1", "<b>2"]
    assert content["folds"]["folds"][0]["n_patients"] == 20


def test_equal_input_gives_an_equal_page(cohort: pl.DataFrame, page: str) -> None:
    again = audit_of(cohort, store=Shelf(cohort))
    assert render(again, facts=[Fact("Seed", "0")]) == page


def test_the_order_of_the_rows_does_not_change_the_counts(cohort: pl.DataFrame, audit: Audit) -> None:
    shuffled = audit_of(cohort.sample(fraction=1, shuffle=True, seed=3))
    assert (shuffled.size, shuffled.values, shuffled.flags) == (audit.size, audit.values, audit.flags)
    assert (shuffled.ages, shuffled.gaps) == (audit.ages, audit.gaps)
    assert shuffled.shares == audit.shares


def test_without_store_folds_and_ages_the_page_says_so(cohort: pl.DataFrame) -> None:
    bare = cohort.with_columns(pl.lit(None, pl.Int64).alias("fold"), pl.lit(None, pl.Float64).alias("age_years"))
    page = render(audit_of(bare))
    text = " ".join("".join(Outline(page).text).split())
    assert "Pictures and grey values of each machine need a prepared store: name it with --store." in text
    assert "Duplicates were not looked for: that needs a prepared store." in text
    assert "The cohort is not split: mammoscope split gives each patient a fold." in text
    assert "No image has an age." in text
    assert Outline(page).open_tags == []


@pytest.mark.parametrize("cancer", [True, False, None])
def test_one_outcome_only_is_said_in_words(cohort: pl.DataFrame, *, cancer: bool | None) -> None:
    page = render(audit_of(cohort.with_columns(pl.lit(cancer, pl.Boolean).alias("cancer"))))
    assert "No figure: needs two patients with cancer and two without" in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert Outline(page).open_tags == []


def test_a_single_image_is_a_cohort_too(build: BuildCohort) -> None:
    page = render(audit_of(build({"age_years": 50.0})))
    assert "1 images of 1 breasts of 1 patients" in page
    assert Outline(page).open_tags == []


def test_a_store_of_another_cohort_is_said_in_words(cohort: pl.DataFrame, build: BuildCohort) -> None:
    other = Shelf(build({"image_id": "other"}))
    assert "The store holds no picture of this cohort." in render(audit_of(cohort, store=other))


def test_a_page_of_phantoms_says_so_at_the_top(audit: Audit) -> None:
    sentence = "Synthetic phantoms: no figure on this page says anything about patients."
    page = render(audit, n_phantoms=audit.size.n_images)
    assert page.index(sentence) < page.index("<h2")
    assert "The pictures show patients" not in page
    assert "The pictures show patients" in render(audit)


def test_phantoms_among_patients_are_counted_at_the_top(audit: Audit) -> None:
    page = render(audit, n_phantoms=1)
    sentence = f"1 of {audit.size.n_images:,} images are synthetic phantoms: no figure that counts them"
    assert page.index(sentence) < page.index("<h2")
    assert "Synthetic phantoms: no figure on this page" not in page
    assert "The pictures show patients" in page
    assert "synthetic phantoms" not in render(audit)


def test_values_are_named_once_where_they_are_the_same_in_all(audit: Audit) -> None:
    assert next(table for table in audit.values if table.column == "source").values == (
        ValueCount(value="test", n_images=40),
    )
    text = " ".join("".join(Outline(render(audit)).text).split())
    assert "The same in all images: laterality (L), view (CC), " in text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0526, "+5.3"), (-0.0349, "\N{MINUS SIGN}3.5"), (0.0, "0.0"), (-0.0004, "0.0"), (None, "")],
)
def test_an_imbalance_has_a_sign_unless_it_is_none(share: float | None, text: str) -> None:
    assert _signed(share) == text


def test_where_there_is_no_interval_the_table_says_why(audit: Audit) -> None:
    cells = re.findall(r'<td class="interval">(.*?)</td>', render(audit))
    # the cohort has ten patients with cancer: the machine and the biopsy tell of them, site and density do not
    assert cells[:2] == ["too few with cancer"] * 2
    assert set(cells[2:]) == {"as by chance"}
    perfect = replace(audit.shortcuts, n_case_patients=20)
    assert '<td class="interval">not known</td>' in render(replace(audit, shortcuts=perfect))


def test_a_breast_of_two_outcomes_is_found_and_undetermined_and_a_half_known_one_is_known(build: BuildCohort) -> None:
    manifest = build(
        *({"patient_id": "torn", "cancer": cancer} for cancer in (True, False)),
        *({"patient_id": "half", "cancer": cancer} for cancer in (None, True)),
        *({"patient_id": f"control {number}"} for number in range(3)),
    )
    for rows in (manifest, manifest.reverse()):
        audit = audit_of(rows)
        assert {check.rule.code: check.n_found for check in audit.checks}["conflicting_cancer"] == 1
        assert (audit.size.n_cases, audit.size.n_undetermined, audit.size.n_case_patients) == (1, 1, 1)
        assert sum(group.n_breasts for group in audit.shares[0].groups) == 4


def test_whiskers_are_drawn_to_the_scale_of_the_larger_groups() -> None:
    small, large = (
        GroupShare(group=str(n), n_patients=n, n_breasts=n, n_cases=n, share=0.1, low=0.0, high=high)
        for n, high in ((9, 0.9), (10, 0.5))
    )
    table = GroupTable(column="site", groups=(small, large))
    assert _end_of_scale(table, 0.1) == 0.5
    assert _end_of_scale(table, 0.2) == pytest.approx(0.6)  # three times the share of all
    assert _end_of_scale(table, 0.9) == 1
    assert _end_of_scale(GroupTable(column="site", groups=()), None) == 1
