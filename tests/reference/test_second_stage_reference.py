"""The second stage against a pipeline of scikit-learn, put together by hand."""

from math import log, nan
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammoscope.evaluation.scores import SCORES_SCHEMA
from mammoscope.learning.breast_table import SCORE_COLUMNS, SecondStageSettings
from mammoscope.learning.second_stage import fit_second_stage

Floats = NDArray[np.float64]


def cohort() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores of one to three images of 220 breasts; some lack the other side, some the age."""
    rng = np.random.default_rng(4)
    rows, facts = [], []
    for number in range(120):
        for side in "LR" if number % 6 else "L":
            is_case = bool(rng.random() < 0.3)
            place = {"patient_id": f"p{number:03}", "exam_id": f"e{number:03}", "laterality": side}
            age = None if number % 11 == 0 else 50.0 + 20 * rng.random() + 4 * is_case
            facts.append(place | {"age_years": age, "implant": bool(rng.random() < 0.2)})
            for place_of_view in range(int(rng.integers(1, 4))):
                row: dict[str, Any] = dict.fromkeys(SCORES_SCHEMA) | place
                row |= {"schema_version": 1, "level": "image", "n_images": 1, "fold": number % 3, "cancer": is_case}
                row |= {"image_id": f"{number}{side}{place_of_view}", "score": float(rng.beta(2 + is_case, 4))}
                rows.append(row)
    return pl.DataFrame(rows, schema=SCORES_SCHEMA), pl.DataFrame(facts)


def logit(share: float) -> float:
    return log(share / (1 - share))


def by_hand(scores: pl.DataFrame, facts: pl.DataFrame) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """The inputs, outcome and fold of each breast by plain loops: (breast, input), (breast,), (breast,)."""
    fact_by_breast = {tuple(row[:2]): row[2:] for row in facts.drop("patient_id").iter_rows()}
    views: dict[tuple[str, str], list[float]] = {}
    known: dict[tuple[str, str], tuple[bool, int]] = {}
    columns = scores.select("exam_id", "laterality", "score", "cancer", "fold")
    for exam, side, score, cancer, fold in columns.iter_rows():
        views.setdefault((exam, side), []).append(score)
        known[exam, side] = (cancer, fold)
    rows = []
    for exam, side in sorted(views):
        own, other = views[exam, side], views.get((exam, "R" if side == "L" else "L"))
        mean, logits = logit(sum(own) / len(own)), [logit(score) for score in own]
        above = nan if other is None else mean - logit(sum(other) / len(other))
        age, implant = fact_by_breast[exam, side]
        of_views = [max(logits), max(logits) - min(logits), len(own)]
        rows.append([mean, *of_views, above, nan if age is None else age, float(implant)])
    outcomes, folds = zip(*(known[breast] for breast in sorted(views)), strict=True)
    return np.array(rows), np.array(outcomes), np.array(folds)


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_each_fold_is_scored_as_by_a_pipeline_of_scikit_learn(penalty: float) -> None:
    scores, facts = cohort()
    settings = SecondStageSettings(
        scores=SCORE_COLUMNS, columns=("age_years", "implant"), penalties=(penalty,), allow_shortcuts=True
    )
    _, stacked = fit_second_stage(scores, facts, settings, rng=np.random.default_rng(0))
    inputs, outcomes, folds = by_hand(scores, facts)
    pipeline = make_pipeline(
        SimpleImputer(strategy="mean", add_indicator=True),
        StandardScaler(),
        LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000),
    )
    for fold in range(3):
        held_out = folds == fold
        pipeline.fit(inputs[~held_out], outcomes[~held_out])
        expected = pipeline.predict_proba(inputs[held_out])[:, 1]
        ours = stacked.filter(pl.col("fold") == fold)["score"].to_numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-5)
