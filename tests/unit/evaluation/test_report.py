"""The report: one page that needs nothing else, says what is undefined, and tells no id and no path."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest

from mammoscope.evaluation.bootstrap import BootstrapSettings, Interval
from mammoscope.evaluation.cross_fitting import cross_fit
from mammoscope.evaluation.evaluation import Evaluation, EvaluationSettings, evaluate, evaluate_scores, plan_evaluation
from mammoscope.evaluation.levels import sample_level
from mammoscope.evaluation.operating_points import OperatingPoints, OperatingPointSettings
from mammoscope.evaluation.pairing import compare_samples
from mammoscope.evaluation.pictures import Picture, choose_calls
from mammoscope.evaluation.report import NamedComparison, Surroundings, facts_of, format_estimate, render
from mammoscope.evaluation.run_folder import History
from mammoscope.pages.page import Fact

MakeScores = Callable[..., pl.DataFrame]
BOOTSTRAP = BootstrapSettings(n_replicates=100)
SETTINGS = EvaluationSettings(BOOTSTRAP)
HISTORIES = [
    History("0", (0, 1, 2), (0.7, 0.5, 0.4), (0.5, float("nan"), 0.7), (2e-5, 5e-4, 1e-8)),
    History("1", (0, 1), (0.6, 0.5), (0.6, 0.65), (1e-4, 5e-5)),
]
VOID_TAGS = {"meta", "img", "br", "path", "use", "rect"}


class Outline(HTMLParser):
    """What the tests ask of a page: its tags, ids, headings, and whether every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.attributes.append((tag, attributes))
        self.ids.extend(value for name, value in attrs if name == "id" and value)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(cohort: pl.DataFrame) -> str:
    pictures = [Picture(call, b"jpeg") for call in choose_calls(cohort)]
    environment = {"schema_version": 1, "store": "/data/store", "commit": "abc123", "versions": {"torch": "2.6.0"}}
    around = Surroundings(pictures=pictures, facts=facts_of(environment), histories=HISTORIES)
    return render(evaluate_scores(cohort, SETTINGS), around)


def with_points(cohort: pl.DataFrame, points: OperatingPoints) -> Evaluation:
    """The evaluation with points that a run has chosen."""
    return evaluate(plan_evaluation(cohort, SETTINGS, operating_points=points))


def test_the_page_is_whole_and_its_ids_are_unique(page: str) -> None:
    outline = Outline(page)
    assert outline.open_tags == []
    assert len(outline.ids) == len(set(outline.ids))
    assert page.startswith("<!DOCTYPE html>")
    assert outline.headings[:2] == ["h1", "h2"]
    assert outline.headings.count("h1") == 1


def test_the_page_needs_nothing_else(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert "<link" not in page
    for tag, attributes in Outline(page).attributes:
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/")
        reference = attributes.get("href")
        assert reference is None or reference.startswith("#")
    assert len(page) < 5_000_000


def test_what_is_referred_to_is_there(page: str) -> None:
    ids = set(Outline(page).ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= ids


def test_heat_stands_beside_its_picture_with_a_text_and_its_meaning(cohort: pl.DataFrame, page: str) -> None:
    first, *others = choose_calls(cohort)
    pictures = [Picture(first, b"plain", b"painted"), *(Picture(call, b"plain") for call in others)]
    shown = render(evaluate_scores(cohort, SETTINGS), Surroundings(pictures=pictures))
    texts = [str(attributes["alt"]) for tag, attributes in Outline(shown).attributes if tag == "img"]
    assert len(texts) == 1 + len(pictures)
    assert texts[0].startswith(f"Mammogram {first.alias}, ")
    assert texts[1].startswith(f"Heat map of {first.alias}, ")
    told = "to the network of the fold that it was held out in, where the run still has it (HiResCAM)"
    assert told in shown
    assert told not in page
    assert "No network of the run could look at these pictures again" in page


def test_every_picture_and_figure_has_a_text(page: str) -> None:
    described = [
        attributes.get("alt") or attributes.get("aria-label")
        for tag, attributes in Outline(page).attributes
        if tag == "img" or attributes.get("role") == "img"
    ]
    # pictures; two curves, scores, thresholds, calibration, net benefit, three kinds of groups, three of training
    assert len(described) == 16 + 12
    assert all(described)


def test_a_table_that_scrolls_can_be_reached_with_the_keyboard(page: str) -> None:
    regions = [attributes for _, attributes in Outline(page).attributes if attributes.get("role") == "region"]
    assert regions
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in regions)


def test_no_id_of_a_patient_and_no_path_is_told(page: str) -> None:
    for told in ("patient-", "exam-", "/data"):
        assert told not in page
    assert not re.search(r"image-\d", page)


def test_the_figures_are_on_the_page(page: str, cohort: pl.DataFrame) -> None:
    breast = evaluate_scores(cohort, SETTINGS).main
    assert breast.auc.interval is not None
    text = "".join(Outline(page).text)
    assert f"{breast.auc.value:.3f}" in text
    assert f"{breast.auc.interval.low:.3f} to {breast.auc.interval.high:.3f}" in text
    # an average precision of the share, and 2 x 0.1 / 1.1
    assert "an average precision of 0.100, and calling every breast positive a pF1 of 0.182" in " ".join(text.split())


def test_the_page_says_once_that_it_is_no_device(page: str) -> None:
    assert page.count("Research software, not a medical device.") == 1


def test_equal_input_gives_an_equal_page(cohort: pl.DataFrame) -> None:
    around = Surroundings(histories=HISTORIES)
    first, second = (render(evaluate_scores(cohort, SETTINGS), around) for _ in range(2))
    assert first == second


def test_without_pictures_groups_and_history_the_page_says_so(cohort: pl.DataFrame) -> None:
    exams = cohort.group_by("exam_id").agg(
        pl.col("schema_version", "patient_id", "fold").first(),
        pl.col("score").max(),
        pl.col("cancer").any(),
        level=pl.lit("exam"),
        n_images=pl.len().cast(pl.Int64),
    )
    nothing = [pl.lit(None, pl.String).alias(name) for name in ("laterality", "view", "image_id")]
    page = render(
        evaluate_scores(exams.with_columns(nothing), SETTINGS), Surroundings(why_no_pictures="The store is away.")
    )
    assert "The store is away." in page
    assert "Nothing more is known of these exams than their outcome" in page
    assert ">Training<" not in page
    assert "Operating points" not in page


def test_one_class_only_is_said_in_words(cohort: pl.DataFrame) -> None:
    page = render(evaluate_scores(cohort.filter(~pl.col("cancer")), SETTINGS))
    assert "undefined: no case among 108 with a known outcome" in page
    assert "nan" not in page
    assert Outline(page).open_tags == []


def test_no_known_outcome_is_said_in_words(make_scores: MakeScores) -> None:
    page = render(evaluate_scores(make_scores({"cancer": None, "site": "1"}), SETTINGS))
    assert "undefined: no score with a known outcome" in page
    assert "1 more have no known outcome" in page


def test_a_perfect_order_warns_of_its_interval(make_scores: MakeScores) -> None:
    scores = make_scores(
        *(
            {"patient_id": f"p{n}", "exam_id": f"e{n}", "image_id": f"i{n}", "score": n / 10, "cancer": n > 4}
            for n in range(10)
        )
    )
    assert "so the interval has no width. It says nothing about other patients" in render(
        evaluate_scores(scores, SETTINGS)
    )


def test_names_from_outside_are_escaped(cohort: pl.DataFrame) -> None:
    page = render(
        evaluate_scores(
            cohort.with_columns(site=pl.when(pl.col("laterality") == "L").then(pl.lit("<b>1&2</b>"))), SETTINGS
        )
    )
    assert "<b>1" not in page
    assert "&lt;b&gt;1&amp;2&lt;/b&gt;" in page


def test_facts_leave_out_where_things_lie() -> None:
    environment = {
        "schema_version": 1,
        "store": "/data/store",
        "cohort": "/data/cohort",
        "machine": "Linux x86_64",
        "versions": {"torch": "2.6.0", "odd": "git@host"},
        "commit": None,
        "seed": 7,
        "manifest_hash": "ab",
        "cohort_hash": "C:\\data",
    }
    assert facts_of(environment) == (
        Fact("Torch version", "2.6.0"),
        Fact("Seed", "7"),
        Fact("Manifest hash", "ab"),
    )


def test_a_run_without_an_environment_says_so() -> None:
    assert facts_of(None) == (Fact("Environment", "not recorded: the run has no environment.json"),)


def test_an_estimate_is_a_line_of_text() -> None:
    assert format_estimate(0.91234, Interval(0.9, 0.95, 100, 0), None) == "0.912 (0.900 to 0.950)"
    assert format_estimate(0.91234, None, "no interval: why") == "0.912"
    assert format_estimate(None, None, "undefined: why") == "undefined: why"


def test_a_page_of_phantoms_says_so_at_the_top(cohort: pl.DataFrame) -> None:
    sentence = "Synthetic phantoms: no figure on this page says anything about patients."
    evaluation = evaluate_scores(cohort, SETTINGS)
    page = render(evaluation, Surroundings(sources=("phantom",)))
    assert page.index(sentence) < page.index("<table")
    mixed = render(evaluation, Surroundings(sources=("phantom", "rsna")))
    assert "Some of the images are synthetic phantoms: no figure that counts them" in mixed
    assert sentence not in mixed
    assert "phantoms" not in render(evaluation, Surroundings(sources=("rsna",)))


def test_operating_points_stand_on_the_page_with_what_they_do_on_others(cohort: pl.DataFrame) -> None:
    points = cross_fit(cohort, OperatingPointSettings(), BOOTSTRAP)
    page = render(with_points(cohort, points))
    outline = Outline(page)
    assert outline.open_tags == []
    assert len(outline.ids) == len(set(outline.ids))
    text = " ".join(" ".join(outline.text).split())
    assert "Operating points" in text
    point = points.named("sensitivity_80")
    assert point.threshold.value is not None
    assert point.specificity.value is not None
    row = text.split("Sensitivity 80 %", 1)[1]
    assert row.split()[0] == f"{point.threshold.value:.3g}"
    assert f"{point.specificity.value:.3f}" in row
    assert "The F1 is highest near" in page


def test_a_threshold_near_nought_is_not_shown_as_nought(cohort: pl.DataFrame) -> None:
    low = cohort.with_columns(pl.col("score") / 10_000)
    page = render(evaluate_scores(low, SETTINGS))
    section = page.split('id="points-title"', 1)[1].split("</section>", 1)[0]
    section = section.split("</table>", 1)[0]
    shown = re.findall(r'<th scope="row">.*?</th>\s*<td><span class="value">([^<]+)</span>', section)
    assert len(shown) == 12
    assert all(float(each) > 0 for each in shown)


def test_operating_points_of_one_fold_have_a_threshold_and_the_reason(cohort: pl.DataFrame) -> None:
    one_fold = cohort.with_columns(fold=pl.lit(0, pl.Int64))
    page = render(with_points(cohort, cross_fit(one_fold, OperatingPointSettings(), BOOTSTRAP)))
    assert "undefined: one fold only, so that the threshold could not be judged" in page
    controls = cohort.filter(~pl.col("cancer"))
    page = render(evaluate_scores(controls, SETTINGS))
    assert page.count("undefined: no case among 108 with a known outcome") >= 9
    assert "The F1 is highest near" not in page


def test_groups_stand_on_the_page_with_their_gap_and_the_mark_of_small_ones(page: str, cohort: pl.DataFrame) -> None:
    text = " ".join(" ".join(Outline(page).text).split())
    assert "Groups with fewer than 10 cases or 10 controls are marked (*)" in text
    assert "1 * 0." in text.split("Breasts by site", 1)[1]
    views = evaluate_scores(cohort, SETTINGS).grouped_by("view")
    assert views is not None
    assert views.gap is not None
    assert f"The largest gap: {views.gap.higher} above {views.gap.lower} by {views.gap.difference.value:.3f}" in text


def test_calibration_stands_on_the_page_before_and_after(page: str, cohort: pl.DataFrame) -> None:
    calibration = evaluate_scores(cohort, SETTINGS).calibration
    rows = page.split('id="calibration-title"', 1)[1].split("</section>", 1)[0]
    assert f"{calibration.before.brier.value:.3f}" in rows
    for each in calibration.recalibrations:
        assert each.after is not None
        assert f"{each.after.brier.value:.3f}" in rows.split(f'<th scope="row">{each.method}</th>', 1)[1]


def test_a_target_prevalence_is_told_beside_what_depends_on_it(cohort: pl.DataFrame) -> None:
    evaluation = evaluate_scores(cohort, EvaluationSettings(BOOTSTRAP, prevalence=0.005))
    page = render(evaluation)
    assert evaluation.main.at_prevalence is not None
    row = page.split('<th scope="row">Average precision at the prevalence</th>', 1)[1].split("</tr>", 1)[0]
    assert f"{evaluation.main.at_prevalence.average_precision.value:.3f}" in row
    sentence = "These samples have the share of cases that is found here, not the prevalence of 0.5&nbsp;%."
    assert sentence in page.split('id="stability-title"', 1)[1].split("</section>", 1)[0]
    assert page.count("prevalence of 0.5&nbsp;%") == 4
    chance = "At the prevalence scores that know nothing would get an average precision of 0.005"
    assert f"{chance}, and calling every breast positive a pF1 of 0.010." in page  # 2 x 0.005 / 1.005
    without = render(evaluate_scores(cohort, SETTINGS))
    assert "at the prevalence" not in without.lower()
    assert "not the prevalence" not in without


def test_intervals_that_are_no_percentiles_are_named(page: str) -> None:
    words = page.split("<dt>Interval</dt>", 1)[1].split("</dd>", 1)[0]
    assert "not so for the figures of operating points, for reliability and for resolution" in words
    assert "nor for the calibration error" in words
    assert "percentile" not in page


def test_what_was_compared_stands_on_the_page(cohort: pl.DataFrame) -> None:
    sample = sample_level(cohort, "breast")
    noisy = cohort.with_columns(score=pl.col("score") * pl.Series([0.2, 1.0] * 120))
    compared = compare_samples(sample, sample_level(noisy, "breast"), BOOTSTRAP)
    same = compare_samples(sample, sample, BOOTSTRAP)
    named = (NamedComparison("ours", "a <reader>", compared), NamedComparison("ours", "ours again", same))
    page = render(evaluate_scores(cohort, SETTINGS), Surroundings(comparisons=named))
    section = page.split('id="comparisons-title"', 1)[1].split("</section>", 1)[0]
    assert "a &lt;reader&gt;" in section
    assert f"{compared.auc.bootstrap.difference.value:.3f}" in section
    assert "p 0." in section or "p &lt; 0.001" in section
    assert "no interval: both scores put the images into one order" in section
    assert Outline(page).open_tags == []
