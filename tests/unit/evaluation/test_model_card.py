"""Model card and CLAIM checklist: what a run fills in, what stays a gap, and that nothing breaks out of a cell."""

import re
from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from mammoscope.evaluation.bootstrap import BootstrapSettings, Estimate, Interval
from mammoscope.evaluation.claim import Status, fill_claim, render_claim
from mammoscope.evaluation.claim_items import ITEMS
from mammoscope.evaluation.data_flow import trace_data
from mammoscope.evaluation.evaluation import EvaluationSettings, evaluate_scores
from mammoscope.evaluation.levels import sample_level
from mammoscope.evaluation.model_card import render_model_card
from mammoscope.evaluation.multireader import GroupMean
from mammoscope.evaluation.pairing import compare_samples
from mammoscope.evaluation.readers_on_roc import ReaderOnRoc, ReadersOnRoc
from mammoscope.evaluation.report import NamedComparison
from mammoscope.evaluation.run_evidence import (
    GAP,
    FoldFacts,
    RunEvidence,
    describe_cohort,
    describe_folds,
    list_settings,
    tell_estimate,
)

SETTINGS = EvaluationSettings(BootstrapSettings(n_replicates=100))
RECIPE = """
seed = 3
keep = "best"
[backbone]
name = "some_net"
weights = "/home/anna/weights.safetensors"
[balance]
match = ["view", "site"]
[head]
layers = []
batch_norm = false
"""
ENVIRONMENT = {
    "schema_version": 1,
    "versions": {"python": "3.11", "torch": "2.0"},
    "commit": "abc123",
    "seed": 3,
    "cohort": "/home/anna/cohort",
    "sources": ["rsna"],
    "manifest_hash": "f00",
}


@pytest.fixture(scope="module")
def bare(cohort: pl.DataFrame) -> RunEvidence:
    """A run of which nothing is at hand but its evaluation."""
    return RunEvidence(evaluation=evaluate_scores(cohort, SETTINGS))


@pytest.fixture
def full(cohort: pl.DataFrame, bare: RunEvidence, manifest_of: Callable[..., pl.DataFrame]) -> RunEvidence:
    """A run of which everything is at hand."""
    manifest = manifest_of([True, False, None, True, False]).with_columns(machine=pl.lit("m|1<b>[x](y)"))
    return replace(
        bare,
        environment=ENVIRONMENT,
        recipe=RECIPE,
        preparation='rows = 512\nexcluded = ["for_processing"]',
        cohort=describe_cohort(manifest),
        folds=describe_folds(cohort),
        flow=trace_data(cohort, manifest=manifest),
    )


def test_a_card_says_what_was_measured(full: RunEvidence) -> None:
    card = render_model_card(full)
    breast = full.evaluation.main
    assert breast.auc.interval is not None
    assert f"| AUC | {breast.auc.value:.3f} ({breast.auc.interval.low:.3f} to {breast.auc.interval.high:.3f})" in card
    assert "| Number, and cases | 120, 12 | 60, 12 | 240, 24 |" in card
    assert "with 100 replicates and seed 0" in card
    assert "| seed | 3 |" in card
    assert "| balance.match | view, site |" in card
    assert "| head.layers | none |" in card
    assert "| calibration slope | " in card
    assert "by fold: 0: 30, 3; 1: 30, 3; 2: 30, 3; 3: 30, 3." in card
    assert "| Age in years | median 42, 5 to 95 % of the breasts 40 to 44 |" in card
    assert "density (breasts) | A: 4, B: 2, C: 2, D: 2 |" in card
    assert "| indexed | 20 | 10 | 2 | 5 |  |" in card
    assert "excluded = for_processing" in card


def test_a_card_keeps_to_itself_where_things_lie(full: RunEvidence) -> None:
    text = render_model_card(full) + render_claim(full)
    assert "anna" not in text
    assert "/home" not in text


def test_groups_with_few_cases_are_marked_and_shown(full: RunEvidence) -> None:
    card = render_model_card(full)
    rows = re.findall(r"^\| site \| .*$", card, re.MULTILINE)
    assert len(rows) == 2
    assert all(row.endswith("| fewer than 10 cases or controls |") for row in rows)
    views = re.findall(r"^\| view \| .*$", card, re.MULTILINE)  # of images, of which twelve show cancer in each view
    assert [row.endswith("|  |") for row in views] == [True, True]
    assert "3 of 6 groups have fewer than 10 cases or controls" in card


def test_what_is_filled_in_stays_in_its_cell(full: RunEvidence) -> None:
    card = render_model_card(full)
    assert r"machine (breasts) | m\|1&lt;b>\[x](y): 10 |" in card
    tables = [line for line in (card + render_claim(full)).splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


@pytest.mark.parametrize("render", [render_model_card, render_claim])
def test_tables_have_as_many_cells_in_each_row(full: RunEvidence, render: Callable[[RunEvidence], str]) -> None:
    lines = render(full).splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|") and before.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", before)), line
        if line.startswith("|") and not before.startswith("|"):
            assert before == "", f"a table needs an empty line before it: {before!r}"


def test_what_a_run_cannot_know_is_a_gap(bare: RunEvidence, full: RunEvidence) -> None:
    for card in (render_model_card(bare), render_model_card(full)):
        for asked in ("Developed by, and when", "Users, setting", "How cancer, and its absence", "a choice of values"):
            (line,) = [line for line in card.splitlines() if asked in line]
            assert GAP in line
    card = render_model_card(bare)
    assert "Recipe: not at hand." in card
    assert "Manifest: not at hand." in card
    assert "Environment | not at hand: a table of scores, without the run that made them |" in card


def test_limits_follow_from_the_run(full: RunEvidence, bare: RunEvidence) -> None:
    card = render_model_card(full)
    assert "There are 12 cases: read the intervals" in card
    assert "The share of cases, 10.0" in card
    assert (
        "Not recorded, of 10 breasts: birads of 10, implant of 10, manufacturer of 10; of 2 with cancer: invasive of 2."
        in card
    )
    assert "synthetic" not in card
    synthetic = replace(bare, environment=ENVIRONMENT | {"sources": ["phantom"]})
    assert "All images are synthetic." in render_model_card(synthetic)
    breast, *others = bare.evaluation.levels
    large = replace(breast, n_cases=500, n=100_000, n_undetermined=7)
    screening = replace(bare, evaluation=replace(bare.evaluation, levels=(large, *others)))
    card = render_model_card(screening)
    assert "read the intervals, not the figures" not in card
    assert "higher than in screening" not in card
    assert "7 breasts have no known outcome" in card


def test_settings_are_told_by_their_path() -> None:
    assert dict(list_settings(RECIPE)) == {
        "seed": "3",
        "keep": "best",
        "backbone.name": "some_net",
        "balance.match": "view, site",
        "head.layers": "none",
        "head.batch_norm": "false",
    }
    assert dict(list_settings(None)) == {}


def test_a_figure_without_an_interval_says_why() -> None:
    assert tell_estimate(Estimate(0.5, None, "no interval: few")) == "0.500 (no interval: few)"
    assert tell_estimate(Estimate(None, None, "undefined: none")) == "undefined: none"
    assert tell_estimate(Estimate(None, None, "")) == "undefined"


def test_folds_are_those_that_were_scored(cohort: pl.DataFrame) -> None:
    assert describe_folds(cohort.filter(pl.col("fold") == 2)) == (FoldFacts("2", 30, 3),)
    assert describe_folds(cohort.with_columns(fold=pl.lit(None, pl.Int64))) == ()


def test_the_checklist_has_its_44_items_once(full: RunEvidence) -> None:
    assert [item.number for item in ITEMS] == list(range(1, 45))
    assert len({item.question for item in ITEMS}) == 44
    text = render_claim(full)
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(range(1, 45))


def test_the_checklist_is_filled_as_far_as_the_run_goes(bare: RunEvidence, full: RunEvidence) -> None:
    by_number = {answer.item.number: answer for answer in fill_claim(full)}
    assert by_number[20].answer == "By patient: a table with a patient in two folds is refused"
    assert by_number[23].answer == "python 3.11, torch 2.0"
    assert "AUC of breasts" in str(by_number[37].answer)
    assert "cases found" in str(by_number[39].answer)
    assert by_number[24] == replace(by_number[24], status=Status.GAP, answer=None)  # the weights are a place on a disk
    n_gaps = {
        name: sum(answer.status is Status.GAP for answer in fill_claim(each))
        for name, each in {"bare": bare, "full": full}.items()
    }
    assert n_gaps == {"bare": 35, "full": 17}  # and one in the limits of the bare one
    for answer in fill_claim(bare):
        assert (answer.answer is None) == (answer.status is Status.GAP)
    assert render_claim(bare).count(GAP) == 36


def test_what_only_authors_know_is_never_answered(full: RunEvidence) -> None:
    left_to_authors = {2, 3, 4, 5, 6, 11, 15, 16, 17, 18, 31, 33, 34, 41, 44}
    gaps = {answer.item.number for answer in fill_claim(full) if answer.status is Status.GAP}
    assert left_to_authors <= gaps


def _answers(evidence: RunEvidence) -> dict[int, str]:
    return {answer.item.number: str(answer.answer) for answer in fill_claim(evidence)}


def test_each_figure_says_at_which_prevalence_it_stands(cohort: pl.DataFrame, bare: RunEvidence) -> None:
    card = render_model_card(bare)
    assert "| specificity | PPV at the share of cases in the sample, 10\N{NO-BREAK SPACE}% |" in card
    assert "a prevalence of" not in card
    asked = replace(SETTINGS, prevalence=0.005)
    weighed = replace(bare, evaluation=evaluate_scores(cohort, asked))
    card = render_model_card(weighed)
    assert "| specificity | PPV at a prevalence of 0.5\N{NO-BREAK SPACE}% |" in card
    at_prevalence = weighed.evaluation.main.at_prevalence
    assert at_prevalence is not None
    row = "| Average precision at a prevalence of 0.5\N{NO-BREAK SPACE}% | "
    assert f"{row}{tell_estimate(at_prevalence.average_precision)} |" in card
    assert "weighed to a prevalence of 0.5\N{NO-BREAK SPACE}%" in card.partition("## Calibration")[2]
    for text in (card.partition("## Limits")[2], _answers(weighed)[40]):
        assert "PPV, calibration" in text
        assert "do not correct them again" in text
        assert "predictive values are lower there" not in text


def test_scores_without_a_run_make_nothing_up(bare: RunEvidence, full: RunEvidence) -> None:
    text = render_model_card(bare) + render_claim(bare)
    for invented in ("from a run", "from the run", "of this run", "same cohort", "taken for presentation"):
        assert invented not in text, invented
    assert "filled by mammoscope from a table of scores and outcomes" in text.replace("Filled", "filled")
    origin = f"internal or external testing: {GAP}"
    assert origin in render_model_card(bare)
    assert origin in _answers(bare)[40]
    unfolded = replace(full, folds=())
    assert f"external testing: {GAP}" in render_model_card(unfolded)
    assert "of the same cohort: internal testing" not in render_model_card(unfolded)
    assert "of the same cohort: internal testing" in render_model_card(full)


def test_the_cohort_of_scores_without_a_run_is_told(full: RunEvidence, bare: RunEvidence) -> None:
    card = render_model_card(replace(bare, cohort=full.cohort))
    assert "Manifest: not at hand" not in card
    assert "| Breasts | 10 |" in card
    assert "The cohort that the outcomes are of; the scores may be of a part of it." in card


def test_the_checklist_names_the_levels_that_there_are(bare: RunEvidence) -> None:
    assert "for breasts, exams and images;" in _answers(bare)[28]
    breasts_only = replace(bare, evaluation=replace(bare.evaluation, levels=bare.evaluation.levels[:1]))
    assert "for breasts;" in _answers(breasts_only)[28]
    pointless = replace(bare, evaluation=replace(bare.evaluation, operating_points=None))
    assert "sensitivity" not in _answers(pointless)[28]


def test_pictures_are_promised_only_where_there_are_some(bare: RunEvidence) -> None:
    assert "report.html" not in _answers(bare)[39]
    assert "The hardest cases and controls are shown in report.html" in _answers(replace(bare, has_pictures=True))[39]


def test_heat_maps_explain_single_results_where_there_are_some(bare: RunEvidence) -> None:
    assert "HiResCAM" not in _answers(bare)[31]
    assert _answers(replace(bare, has_heat_maps=True))[31].startswith("By heat maps (HiResCAM) of the most telling")


def test_comparisons_stand_in_card_and_checklist(cohort: pl.DataFrame, bare: RunEvidence) -> None:
    assert "nothing is tested here" in _answers(bare)[29]
    first = sample_level(cohort, "breast")
    second = sample_level(cohort.with_columns(score=1 - pl.col("score")), "breast")
    result = compare_samples(first, second, SETTINGS.bootstrap)
    compared = replace(bare, comparisons=(NamedComparison("ours", "their|s", result),))
    difference = tell_estimate(result.auc.bootstrap.difference)
    line = f"AUC of their\\|s above that of ours, on 120 breasts with 12 cases: {difference}; by DeLong "
    assert f"- {line}" in render_model_card(compared)
    assert line in render_claim(compared)
    assert "p < 0.001" in _answers(compared)[38]
    assert "differences of AUC are tested" in _answers(compared)[29]


def test_readers_stand_in_card_and_checklist(bare: RunEvidence) -> None:
    mean = GroupMean("above", 0.1, 0.02, None, 0.06, 0.14, 0.0004)
    half = Estimate(0.5, None, None)
    reader = ReaderOnRoc("anna", half, half, half, half, half, half, half, None)
    placed = ReadersOnRoc(90, 9, 90, 0.5, "random", (reader, reader), *(None,) * 4, mean, mean, None, ())
    whom = "the mean of 2 readers, on 90 breasts with 9 cases"
    line = f"The scores' sensitivity above {whom}: 0.100 (0.060 to 0.140), p < 0.001"
    text = render_model_card(replace(bare, readers=placed))
    assert f"- {line.replace('<', '&lt;')}" in text
    assert "specificity above the mean of 2 readers" in text
    assert "The scores' AUC above" not in text
    assert line in _answers(replace(bare, readers=placed))[38]


def test_a_figure_outside_its_own_interval_is_told(bare: RunEvidence) -> None:
    assert "outside of its own interval" not in render_model_card(bare) + render_claim(bare)
    points = bare.evaluation.operating_points
    assert points is not None
    outside = Estimate(0.5, Interval(0.6, 0.9, 100, 0), None)
    first = replace(points.points[0], sensitivity=outside)
    evaluation = replace(bare.evaluation, operating_points=replace(points, points=(first, *points.points[1:])))
    split = replace(bare, evaluation=evaluation)
    sentence = "A figure lies outside of its own interval at highest F1 (sensitivity): "
    assert sentence in render_model_card(split)
    assert sentence in _answers(split)[38]


def test_invasive_is_counted_among_cases(manifest_of: Callable[..., pl.DataFrame]) -> None:
    # a breast of each of two sides: two with cancer, six without, two unknown
    manifest = manifest_of([True, False, None, True, False]).with_columns(
        invasive=pl.when(pl.col("cancer").fill_null(value=False))
        .then(pl.col("patient_id") == "p0")
        .otherwise(pl.lit(value=False))
    )
    facts = describe_cohort(manifest)
    assert sum(count for _, count in facts.counts["invasive"]) == facts.n_cases == 2
    assert facts.n_missing["invasive"] == 0


def test_the_card_says_of_whom_invasive_is_counted(full: RunEvidence, bare: RunEvidence) -> None:
    assert full.cohort is not None
    known = replace(full.cohort, counts={"invasive": (("yes", 3), ("no", 1))})
    assert "| invasive (breasts with cancer) | yes: 3, no: 1 |" in render_model_card(replace(full, cohort=known))
    grouping = replace(bare.evaluation.groupings[0], column="invasive", splits="cases")
    parted = replace(bare, evaluation=replace(bare.evaluation, groupings=(grouping,)))
    assert "| breasts (cases of each, against all controls) |" in render_model_card(parted)


def test_points_have_the_names_that_people_know(bare: RunEvidence) -> None:
    answers = _answers(bare)
    assert "sensitivity at highest F1 " in answers[38]
    assert answers[39].startswith("At highest F1: ")
    assert "maximal_f1" not in render_claim(bare)
    assert "95\N{NO-BREAK SPACE}% percentile intervals" in answers[29]


def test_all_decimals_are_three() -> None:
    assert tell_estimate(Estimate(0.44, Interval(-0.0001, 0.5, 100, 0), None)) == "0.440 (0.000 to 0.500)"
