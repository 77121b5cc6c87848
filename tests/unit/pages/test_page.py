"""The template of every page: what it extends, its filters, and that text is escaped."""

import pytest
from jinja2 import UndefinedError

from mammoscope.pages.page import Fact, capitalise, format_decimal, format_share, page_template


def test_a_page_has_its_lead_its_facts_and_one_disclaimer() -> None:
    page = page_template("mammoscope.pages", "page.html.j2").render(
        lead="Two & three.", is_synthetic=False, synthetic_part="", facts=[Fact("Seed", "7")]
    )
    assert "Two &amp; three." in page
    assert "<dt>Seed</dt><dd><code>7</code></dd>" in page
    assert page.count("Research software, not a medical device.") == 1
    assert "phantoms" not in page


@pytest.mark.parametrize(
    ("is_synthetic", "part", "sentence"),
    [
        (True, "", "Synthetic phantoms: no figure on this page says anything about patients."),
        (False, "3 of 7 images", "3 of 7 images are synthetic phantoms: no figure that counts them says anything"),
    ],
)
def test_a_page_says_at_its_top_which_of_its_images_are_phantoms(is_synthetic: bool, part: str, sentence: str) -> None:
    template = page_template("mammoscope.pages", "page.html.j2")
    page = template.render(lead="Lead.", is_synthetic=is_synthetic, synthetic_part=part, facts=[])
    assert sentence in page
    assert page.count("phantoms") == 1


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="lead"):
        page_template("mammoscope.pages", "page.html.j2").render()


def test_figures_are_written_one_way() -> None:
    assert format_decimal(0.12345) == "0.123"
    assert format_share(0.0212) == "2.1\N{NO-BREAK SPACE}%"
    assert format_share(None) == ""
    assert capitalise("bI-RADS") == "BI-RADS"
