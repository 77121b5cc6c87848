"""The second stage: no leak between folds, an effect that was planted is found, what it may not see is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.config import build_settings, parse_toml, to_toml
from mammoscope.errors import ConfigError, RunError, TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings
from mammoscope.evaluation.scores import SCORES_SCHEMA, list_breasts, read_scores
from mammoscope.learning.breast_table import SecondStageSettings
from mammoscope.learning.second_stage import (
    SecondStage,
    apply_second_stage,
    compare_stages,
    fit_second_stage,
    read_second_stage,
    why_no_second_stage,
    write_second_stage,
)
from mammoscope.learning.settings import Recipe

RecipeOf = Callable[..., Recipe]
BY_AGE = SecondStageSettings(columns=("age_years",), penalties=(1.0, 100.0))
N_FOLDS = 4


def cohort(n_patients: int = 200, *, age_effect: float = 1.2, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Out-of-fold scores of two images of each breast, and facts; older women have more cancer than scores say."""
    rng = np.random.default_rng(seed)
    rows, facts = [], []
    for number in range(n_patients):
        age = rng.normal(60, 10)
        for side in "LR":
            risk = age_effect * (age - 60) / 10 - 1.5
            signal = rng.normal()
            is_case = bool(rng.random() < 1 / (1 + np.exp(-risk - signal)))
            place: dict[str, Any] = {"patient_id": f"p{number:03}", "exam_id": f"e{number:03}", "laterality": side}
            facts.append(place | {"age_years": age, "site": "north" if is_case else "south"})
            for view in ("CC", "MLO"):
                score = 1 / (1 + np.exp(1.5 - signal - 0.5 * rng.normal()))
                image: dict[str, Any] = dict.fromkeys(SCORES_SCHEMA) | place
                image |= {"schema_version": 1, "level": "image", "n_images": 1, "fold": number % N_FOLDS}
                image |= {"view": view, "image_id": f"{number}{side}{view}", "score": score, "cancer": is_case}
                rows.append(image)
    return pl.DataFrame(rows, schema=SCORES_SCHEMA), pl.DataFrame(facts)


def stack(
    scores: pl.DataFrame, facts: pl.DataFrame, settings: SecondStageSettings = BY_AGE, seed: int = 0
) -> tuple[SecondStage, pl.DataFrame]:
    return fit_second_stage(scores, facts, settings, rng=np.random.default_rng(seed))


def scores_of(stacked: pl.DataFrame, fold: int) -> list[float]:
    return stacked.filter(pl.col("fold") == fold)["score"].to_list()


@pytest.mark.parametrize("held_out", range(N_FOLDS))
def test_the_outcomes_of_a_fold_do_not_touch_its_own_scores(held_out: int) -> None:
    scores, facts = cohort()
    is_held_out = pl.col("fold") == held_out
    flipped = scores.with_columns(cancer=pl.when(is_held_out).then(~pl.col("cancer")).otherwise("cancer"))
    before, after = (stack(each, facts)[1] for each in (scores, flipped))
    assert scores_of(before, held_out) == scores_of(after, held_out)
    for fold in set(range(N_FOLDS)) - {held_out}:
        assert scores_of(before, fold) != scores_of(after, fold)


def test_the_facts_of_a_held_out_patient_move_no_score_but_hers() -> None:
    """Means, spreads and the penalty are those of the other folds."""
    scores, facts = cohort()
    is_hers = pl.col("patient_id") == "p001"
    changed = facts.with_columns(age_years=pl.when(is_hers).then(120.0).otherwise("age_years"))
    before, after = (stack(scores, each)[1].filter(pl.col("fold") == 1) for each in (facts, changed))
    moved = before.filter(before["score"] != after["score"])
    assert set(moved["patient_id"]) == {"p001"}


def test_all_patients_of_a_fold_are_scored_by_one_model_that_saw_none_of_them() -> None:
    scores, facts = cohort()
    stage, stacked = stack(scores, facts)
    assert [each.fold for each in stage.by_fold] == [0, 1, 2, 3]
    for each in stage.by_fold:
        held_out = scores.filter(pl.col("fold") == each.fold)
        assert each.model.n_breasts == 400 - list_breasts(held_out).height
        assert apply_second_stage(each.model, held_out, facts)["score"].to_list() == scores_of(stacked, each.fold)


def test_a_planted_effect_of_age_is_found() -> None:
    scores, facts = cohort(400)
    stage, stacked = stack(scores, facts)
    compared = compare_stages(scores, stacked, BootstrapSettings(n_replicates=300))
    assert compared.difference.interval is not None
    assert compared.difference.interval.low > 0.05
    age = next(each for each in stage.final.inputs if each.column == "age_years")
    assert age.coefficient / age.spread == pytest.approx(1.2 / 10, rel=0.3)  # of the odds, for each year
    useless = cohort(400, age_effect=0.0)
    compared = compare_stages(useless[0], stack(*useless)[1], BootstrapSettings(n_replicates=300))
    assert compared.difference.interval is not None
    assert compared.difference.interval.low < 0.005


def test_without_age_the_same_scores_gain_nothing_from_it() -> None:
    scores, facts = cohort(400)
    without = stack(scores, facts, SecondStageSettings(penalties=(1.0, 100.0)))[1]
    compared = compare_stages(scores, without, BootstrapSettings(n_replicates=300))
    assert compared.difference.interval is not None
    assert compared.difference.interval.low < 0.02


def test_a_site_that_gives_the_outcome_away_is_used_where_it_is_allowed() -> None:
    scores, facts = cohort()
    allowed = SecondStageSettings(columns=("site",), allow_shortcuts=True)
    compared = compare_stages(scores, stack(scores, facts, allowed)[1], BootstrapSettings(n_replicates=20))
    assert compared.second.value == 1


def test_the_scores_are_those_of_breasts_in_their_order() -> None:
    scores, facts = cohort(20)
    stacked = stack(scores.sample(fraction=1, shuffle=True, seed=1), facts.reverse())[1]
    before = list_breasts(scores)
    assert stacked.drop("score").equals(before.drop("score"))
    assert stacked["score"].is_between(0, 1, closed="none").all()
    assert stacked.equals(stack(scores, facts)[1])


def test_breasts_of_unknown_outcome_are_scored_and_teach_nothing() -> None:
    scores, facts = cohort()
    unknown = scores.with_columns(
        cancer=pl.when(pl.col("patient_id").is_in(["p000", "p001"])).then(None).otherwise("cancer")
    )
    stage, stacked = stack(unknown, facts)
    assert stage.final.n_breasts == 396
    assert stacked.filter(pl.col("cancer").is_null())["score"].is_between(0, 1, closed="none").all()
    assert stacked.height == 400
    compared = compare_stages(unknown, stacked, BootstrapSettings(n_replicates=20))
    known = stacked.filter(pl.col("cancer").is_not_null())
    assert compared.second.value == pytest.approx(roc_auc_score(known["cancer"], known["score"]))


def test_equal_seeds_give_equal_models() -> None:
    scores, facts = cohort(40)
    assert stack(scores, facts)[0] == stack(scores, facts)[0]


@pytest.mark.parametrize("n_folds", [0, 1])
def test_less_than_two_folds_are_refused(n_folds: int) -> None:
    scores, facts = cohort(20)
    fold = pl.lit(0 if n_folds else None, pl.Int64)
    with pytest.raises(TableError, match=rf"found {n_folds} folds and {0 if n_folds else 40} breasts without one"):
        stack(scores.with_columns(fold=fold), facts)


def test_a_patient_in_two_folds_is_refused() -> None:
    scores, facts = cohort(20)
    torn = scores.with_columns(fold=pl.when(pl.col("image_id") == "3LCC").then(0).otherwise("fold").cast(pl.Int64))
    with pytest.raises(TableError, match="fold: differs within a patient"):
        stack(torn, facts)


def test_other_folds_without_cases_are_refused() -> None:
    scores, facts = cohort(40)
    with pytest.raises(TableError, match="found 60 breasts to learn from without both cases and controls"):
        stack(scores.with_columns(cancer=(pl.col("fold") == 1) & (pl.col("patient_id") < "p020")), facts)


def test_a_nan_in_a_column_is_refused_with_its_row() -> None:
    scores, facts = cohort(20)
    odd = facts.with_columns(age_years=pl.when(pl.int_range(pl.len()) == 4).then(np.nan).otherwise("age_years"))
    with pytest.raises(TableError, match="age_years: found nan in row 5, expected a number"):
        stack(scores, odd)


def test_what_is_written_is_read_back_and_says_whether_it_helped(tmp_path: Path) -> None:
    scores, facts = cohort(40)
    stage, stacked = stack(scores, facts)
    bootstrap = BootstrapSettings(n_replicates=50, seed=2)
    compared = compare_stages(scores, stacked, bootstrap)
    write_second_stage(stage, stacked, tmp_path / "second_stage", compared=compared, bootstrap=bootstrap)
    folder = tmp_path / "second_stage"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "scores.parquet", "summary.json"]
    assert read_second_stage(folder / "model.json") == stage
    assert read_scores(folder / "scores.parquet").equals(stacked)
    summary = json.loads((folder / "summary.json").read_text())
    breasts = list_breasts(scores)
    assert summary["breast_auc"]["before"]["value"] == pytest.approx(roc_auc_score(breasts["cancer"], breasts["score"]))
    assert summary["breast_auc"]["after"]["value"] == pytest.approx(roc_auc_score(breasts["cancer"], stacked["score"]))
    assert summary["breast_auc"]["difference"]["interval"]["n_replicates"] == 50
    assert (
        summary.items() >= {"n_breasts": 80, "n_patients": 40, "columns": ["age_years"], "folds": [0, 1, 2, 3]}.items()
    )
    assert len(summary["penalty_by_fold"]) == 4


def test_a_model_that_was_read_scores_new_breasts(tmp_path: Path) -> None:
    scores, facts = cohort(40)
    stage, stacked = stack(scores, facts)
    bootstrap = BootstrapSettings(n_replicates=5)
    compared = compare_stages(scores, stacked, bootstrap)
    write_second_stage(stage, stacked, tmp_path, compared=compared, bootstrap=bootstrap)
    model = read_second_stage(tmp_path / "model.json").final
    new_scores, new_facts = cohort(10, seed=9)
    of_one = new_scores.filter(pl.col("patient_id") == "p003").with_columns(fold=None, cancer=None)
    applied = apply_second_stage(model, of_one, new_facts)
    whole = apply_second_stage(model, new_scores, new_facts.drop("site"))
    assert applied["score"].to_list() == whole.filter(pl.col("patient_id") == "p003")["score"].to_list()
    assert set(applied["level"]) == {"breast"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 7}, "schema_version is 7, expected 1"),
        ({"final": None}, r"model\.json: final: input should be"),
        ({"columns": ["age_years", 3]}, r"model\.json: columns\.1: input should be a valid string"),
    ],
)
def test_a_model_of_another_make_is_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    scores, facts = cohort(40)
    stage, stacked = stack(scores, facts)
    bootstrap = BootstrapSettings(n_replicates=5)
    compared = compare_stages(scores, stacked, bootstrap)
    write_second_stage(stage, stacked, tmp_path, compared=compared, bootstrap=bootstrap)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=sentence):
        read_second_stage(path)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            {"columns": ["site"]},
            "columns: .*'site' says where an image is from, .*set second_stage.allow_shortcuts = true",
        ),
        ({"columns": ["machine"]}, "'machine' says where an image is from"),
        ({"columns": ["manufacturer"]}, "'manufacturer' says where an image is from"),
        ({"columns": ["source"]}, "'source' says where an image is from"),
        ({"columns": ["biopsy"]}, "'biopsy' follows from the outcome and is not known before it; leave it out"),
        (
            {"columns": ["invasive"], "allow_shortcuts": True, "allow_birads": True},
            "'invasive' follows from the outcome",
        ),
        ({"columns": ["difficult_negative"]}, "'difficult_negative' follows from the outcome"),
        ({"columns": ["birads"]}, "'birads' is what a reader made of the very images"),
        (
            {"columns": ["cancer"]},
            "'cancer' is no column that a breast can be judged by; expected one of laterality, age_years, ",
        ),
        ({"columns": ["patient_id"]}, "'patient_id' is no column that a breast can be judged by"),
        ({"columns": ["age_year"]}, "'age_year' is no column .*; did you mean 'age_years'?"),
        ({"columns": ["density", "density"]}, "expected each column once"),
        (
            {"columns": ["density"], "squares": ["density"]},
            "squares: .*expected some of the columns of numbers, here none",
        ),
        ({"columns": ["age_years"], "squares": ["birads"]}, "of the columns of numbers, here age_years"),
        ({"scores": ["n_views"]}, "scores: .*'n_views' says how many images .*set second_stage.allow_shortcuts = true"),
        ({"scores": ["logit", "logit"]}, "scores: .*expected each score once"),
        ({"scores": []}, "scores: "),
        ({"scores": ["mean"]}, "scores.0: found 'mean'"),
        ({"penalties": []}, "penalties: "),
        ({"penalties": [0.0]}, "penalties.0: found 0.0"),
        ({"allow_everything": True}, "allow_everything: unknown key"),
    ],
)
def test_what_it_may_not_see_is_refused(table: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_settings(SecondStageSettings, table, where="recipe")


def test_what_is_allowed_is_taken() -> None:
    table = {"columns": ["age_years", "site", "birads"], "squares": ["age_years"], "allow_shortcuts": True}
    settings = build_settings(SecondStageSettings, table | {"allow_birads": True}, where="recipe")
    assert settings.columns == ("age_years", "site", "birads")


def test_how_many_images_a_breast_has_is_not_seen_unless_that_is_allowed() -> None:
    """Cases with two images of one score, controls with one, and scores by chance: only their number tells them."""
    scores, facts = cohort(age_effect=0)
    by_chance = np.random.default_rng(1).random(scores.height // 2).repeat(2)
    drawn = scores.with_columns(score=pl.Series(by_chance)).filter(pl.col("cancer") | (pl.col("view") == "CC"))
    counted = SecondStageSettings(scores=("logit", "n_views"), allow_shortcuts=True)
    for settings, is_told in ((SecondStageSettings(), False), (counted, True)):
        breasts = stack(drawn, facts, settings)[1]
        assert (roc_auc_score(breasts["cancer"], breasts["score"]) > 0.95) == is_told


def test_a_recipe_has_none_unless_it_says_so(recipe_of: RecipeOf) -> None:
    assert recipe_of().second_stage is None
    bare = recipe_of("second_stage.columns=[]")
    assert bare.second_stage == SecondStageSettings()
    assert build_settings(Recipe, parse_toml(to_toml(bare), where="run"), where="run") == bare
    with pytest.raises(ConfigError, match=r"second_stage\.columns: found \['site'\]; 'site' says where"):
        recipe_of("second_stage.columns=['site']")


@pytest.mark.parametrize(
    ("folds", "trained", "reason"),
    [
        ([0, 1], (0, 1), None),
        ([0, 1, 2], (1,), "waits for fold 0, 2"),
        ([0], (0,), "none, as the cohort has 1 fold and it takes 2"),
    ],
)
def test_when_there_is_none_yet(folds: list[int], trained: tuple[int, ...], reason: str | None) -> None:
    assert why_no_second_stage(folds, trained) == reason
