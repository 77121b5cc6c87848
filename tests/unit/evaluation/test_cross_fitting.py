"""Cross-fitted operating points: hand-worked, without leaks, with reasons where nothing can be said."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from mammoscope.errors import TableError
from mammoscope.evaluation.bootstrap import BootstrapSettings, Estimate
from mammoscope.evaluation.cross_fitting import CURVE_THRESHOLDS, cross_fit
from mammoscope.evaluation.operating_points import OperatingPoints, OperatingPointSettings
from mammoscope.evaluation.scores import SCORES_SCHEMA
from mammoscope.evaluation.screening_figures import FIGURES

FEW = BootstrapSettings(n_replicates=50)
DEFAULT = OperatingPointSettings()
# fold 0: case 0.9, controls 0.6 and 0.2; fold 1: cases 0.8 and 0.3, control 0.7
SCORES = (0.9, 0.8, 0.7, 0.6, 0.3, 0.2)
IS_CASE = (True, True, False, False, True, False)
FOLDS = (0, 1, 1, 0, 1, 0)


def table_of(
    scores: Sequence[float] = SCORES,
    is_case: Sequence[bool | None] = IS_CASE,
    folds: Sequence[int | None] = FOLDS,
    patients: Sequence[object] | None = None,
) -> pl.DataFrame:
    """A breast for each score, each of a patient of her own unless patients say whose."""
    ids = [str(number) for number in (range(len(scores)) if patients is None else patients)]
    return pl.DataFrame(
        {
            "schema_version": 1,
            "level": "breast",
            "patient_id": ids,
            "exam_id": [f"{patient}-{number}" for number, patient in enumerate(ids)],
            "laterality": "L",
            "n_images": 2,
            "score": scores,
            "cancer": is_case,
            "fold": folds,
        }
        | dict.fromkeys(("view", "image_id", "site", "machine")),
        schema=SCORES_SCHEMA,
    )


def random_cohort(seed: int, n: int = 400, share: float = 0.2, n_folds: int = 4) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    is_case = rng.random(n) < share
    scores = norm.cdf(rng.normal(size=n) + 1.5 * is_case - 1)
    return table_of(scores.tolist(), is_case.tolist(), (np.arange(n) % n_folds).tolist())


def counts_of(points: OperatingPoints, name: str) -> tuple[int, ...] | None:
    counts = points.named(name).counts
    return None if counts is None else astuple(counts)


def test_the_highest_f1_of_six_breasts_by_hand() -> None:
    point = cross_fit(table_of(), DEFAULT, FEW).named("maximal_f1")
    # on all: 0.9: 2/4; 0.8: 4/5; 0.7: 4/6; 0.6: 4/7; 0.3: 6/8; 0.2: 6/9
    assert point.threshold.value == 0.8
    # fold 1 alone: 0.8: 2/3; 0.7: 2/4; 0.3: 4/5, which calls 0.9 and 0.6 of fold 0;
    # fold 0 alone: 0.9: 2/2, which calls nobody of fold 1
    assert [(fold.fold, fold.threshold) for fold in point.by_fold] == [(0, 0.3), (1, 0.9)]
    assert [astuple(fold.counts) for fold in point.by_fold if fold.counts is not None] == [(1, 1, 0, 1), (0, 0, 2, 1)]
    assert point.counts is not None
    assert astuple(point.counts) == (1, 1, 2, 2)
    figures = {name: getattr(point, name).value for name in FIGURES}
    shares = {"sensitivity": 1 / 3, "specificity": 2 / 3, "recall_rate": 2 / 6, "ppv": 1 / 2, "npv": 2 / 4, "f1": 2 / 5}
    per_1000 = {"cancers_detected_per_1000": 1000 / 6, "false_positives_per_1000": 1000 / 6}
    assert figures == pytest.approx(shares | per_1000 | {"workload_removed": 4 / 6})
    assert point.judged_on == "held-out folds"


def test_wanted_shares_of_six_breasts_by_hand() -> None:
    settings = OperatingPointSettings(recall_rates=(0.34,), sensitivities=(0.5,), specificities=(0.5,))
    points = cross_fit(table_of(), settings, FEW)
    assert [point.name for point in points.points] == [
        *("maximal_f1", "recall_rate_34", "sensitivity_50", "specificity_50")
    ]
    # the strictest that calls two of the three cases, and one of those of each fold alone
    sensitivity = points.named("sensitivity_50")
    assert sensitivity.threshold.value == 0.8
    assert [fold.threshold for fold in sensitivity.by_fold] == [0.8, 0.9]
    # at most one control of three; none of fold 1's one; one of fold 0's two, with the case above it
    specificity = points.named("specificity_50")
    assert specificity.threshold.value == 0.7
    assert [fold.threshold for fold in specificity.by_fold] == [0.8, 0.6]
    # two of six; one of the three of each fold
    recall = points.named("recall_rate_34")
    assert recall.threshold.value == 0.8
    assert [fold.threshold for fold in recall.by_fold] == [0.8, 0.9]
    assert counts_of(points, "recall_rate_34") == (1, 0, 2, 3)


def test_the_held_out_fold_chooses_nothing_of_its_own_threshold() -> None:
    cohort = random_cohort(0)
    is_held_out = pl.col("fold") == 2
    changed = cohort.with_columns(
        score=pl.when(is_held_out).then(1 - pl.col("score")).otherwise("score"),
        cancer=pl.when(is_held_out).then(~pl.col("cancer")).otherwise("cancer"),
    )
    before, after = (cross_fit(each, DEFAULT, FEW) for each in (cohort, changed))
    for one, other in zip(before.points, after.points, strict=True):
        assert one.by_fold[2].threshold == other.by_fold[2].threshold
        assert one.by_fold[1].threshold != other.by_fold[1].threshold
        assert one.by_fold[2].counts != other.by_fold[2].counts


def test_the_threshold_to_keep_meets_what_is_wanted_on_all_scores() -> None:
    cohort = random_cohort(1)
    scores, is_case = cohort["score"].to_numpy(), cohort["cancer"].to_numpy()
    for point in cross_fit(cohort, DEFAULT, FEW).points:
        called = scores >= point.threshold.value
        wanted = point.wanted or 0.0
        if point.name.startswith("sensitivity"):
            assert called[is_case].mean() >= wanted
        if point.name.startswith("specificity"):
            assert (~called[~is_case]).mean() >= wanted
        if point.name.startswith("recall"):
            assert called.mean() <= wanted


def test_a_monotone_map_of_the_scores_changes_no_count() -> None:
    cohort = random_cohort(2)
    mapped = cohort.with_columns(pl.col("score") ** 3)
    one, other = (cross_fit(each, DEFAULT, FEW) for each in (cohort, mapped))
    for before, after in zip(one.points, other.points, strict=True):
        assert before.counts == after.counts
        assert before.f1 == after.f1
        assert before.threshold.value is not None
        assert after.threshold.value == pytest.approx(before.threshold.value**3)


def test_the_order_of_the_rows_and_the_replicates_heard_of() -> None:
    cohort, heard = random_cohort(3), list[int]()
    shuffled = cohort.sample(fraction=1, shuffle=True, seed=1)
    first = cross_fit(cohort, DEFAULT, FEW, advance=heard.append)
    assert cross_fit(shuffled, DEFAULT, FEW) == first
    assert sum(heard) == 50
    assert cross_fit(cohort, DEFAULT, BootstrapSettings(n_replicates=50, seed=1)) != first


def test_the_counts_of_the_sample() -> None:
    points = cross_fit(table_of((*SCORES, 0.5), (*IS_CASE, None), (*FOLDS, 0), [*"abcdef", "a"]), DEFAULT, FEW)
    assert (points.n_breasts, points.n_cases, points.n_patients, points.n_undetermined) == (6, 3, 6, 1)
    assert points.folds == (0, 1)
    assert (points.replicates, points.seed, points.confidence) == (50, 0, 0.95)


def test_images_are_judged_by_breast_and_a_breast_of_its_own_comes_first() -> None:
    rows = table_of()
    as_images = pl.concat(
        rows.with_columns(
            level=pl.lit("image"),
            n_images=pl.lit(1, pl.Int64),
            image_id=pl.col("exam_id") + view,
            score=pl.col("score") + shift,
        )
        for view, shift in (("CC", 0.05), ("MLO", -0.05))
    )
    assert cross_fit(as_images, DEFAULT, FEW).named("maximal_f1").counts == (
        cross_fit(rows, DEFAULT, FEW).named("maximal_f1").counts
    )
    both = pl.concat([as_images.with_columns(score=1 - pl.col("score")), rows])
    assert cross_fit(both, DEFAULT, FEW) == cross_fit(rows, DEFAULT, FEW)


def test_one_fold_alone_is_never_judged_on_itself() -> None:
    points = cross_fit(random_cohort(4, n_folds=1), DEFAULT, FEW)
    for point in points.points:
        assert point.threshold.value is not None
        assert point.threshold.interval is not None
        assert (point.judged_on, point.counts) == ("same data", None)
        for name in FIGURES:
            figure: Estimate = getattr(point, name)
            assert (figure.value, figure.interval) == (None, None)
            assert figure.reason is not None
            assert figure.reason.startswith("undefined: one fold only, so that the threshold could not be judged")
    assert points.curve is not None


@pytest.mark.parametrize(
    ("is_case", "sentence"),
    [
        ((False,) * 6, "undefined: no case among 6 with a known outcome"),
        ((True,) * 6, "undefined: no control among 6 with a known outcome"),
        ((None,) * 6, "undefined: no score with a known outcome"),
    ],
)
def test_one_class_only_has_a_reason_in_place_of_every_figure(is_case: Sequence[bool | None], sentence: str) -> None:
    heard = list[int]()
    points = cross_fit(table_of(is_case=is_case), DEFAULT, FEW, advance=heard.append)
    assert heard == [50]
    assert points.curve is None
    assert len(points.points) == 12
    for point in points.points:
        assert point.counts is None
        for estimate in (point.threshold, *(getattr(point, name) for name in FIGURES)):
            assert (estimate.value, estimate.interval) == (None, None)
            assert estimate.reason is not None
            assert estimate.reason.startswith(sentence)


def test_ties_everywhere_have_a_reason() -> None:
    points = cross_fit(table_of(scores=(0.5,) * 6), DEFAULT, FEW)
    for point in points.points:
        assert point.threshold.value is None
        assert (
            point.threshold.reason == "undefined: all 6 breasts have one score, so that a threshold calls all or none"
        )
        assert point.f1.reason == (
            "undefined: no threshold for fold 0: in the other folds, all 3 breasts have one score, so that a threshold "
            "calls all or none"
        )


def test_where_the_other_folds_have_no_case_there_is_no_figure() -> None:
    points = cross_fit(table_of(is_case=(True, False, False, False, False, False)), DEFAULT, FEW)
    point = points.named("maximal_f1")
    assert point.threshold.value == 0.9
    assert [fold.threshold for fold in point.by_fold] == [None, 0.9]
    assert point.counts is None
    assert point.sensitivity.reason == "undefined: no threshold for fold 0: in the other folds, no case among 3 breasts"


def test_a_fold_without_cases_is_judged_like_any_other() -> None:
    cohort = random_cohort(5).with_columns(cancer=pl.col("cancer") & (pl.col("fold") != 0))
    point = cross_fit(cohort, DEFAULT, FEW).named("sensitivity_80")
    assert point.counts is not None
    assert point.by_fold[0].counts is not None
    assert point.by_fold[0].counts.true_positives == 0
    assert point.by_fold[0].counts.true_negatives > 0
    assert sum(astuple(point.counts)) == cohort.height


def test_a_recall_rate_below_one_breast_has_a_reason() -> None:
    point = cross_fit(table_of(), DEFAULT, FEW).named("recall_rate_3.5")
    assert point.threshold == Estimate(
        None, None, "undefined: even the strictest threshold calls 1 of 6 breasts, more than wanted"
    )


def test_one_patient_with_cancer_has_figures_without_intervals() -> None:
    cohort = table_of(patients=[0, 0, 2, 3, 0, 5], folds=(0, 0, 1, 1, 0, 1))
    curve = cross_fit(cohort, DEFAULT, FEW).curve
    assert curve is not None
    assert curve.f1.value[0] == pytest.approx(2 * 3 / (6 + 3))
    assert curve.f1.low[0] is None
    point = cross_fit(cohort.with_columns(fold=pl.lit(0, pl.Int64)), DEFAULT, FEW).named("maximal_f1")
    assert point.threshold.reason == "no interval: 1 patient with cases, needs 2"


def test_a_target_prevalence_moves_what_depends_on_it_by_hand() -> None:
    """A third of the controls' weight on the cases: 3 cases of weight 1/3, 3 controls of weight 5/3, a share of 1/6."""
    settings = OperatingPointSettings(recall_rates=(), sensitivities=(0.5,), specificities=(), prevalence=1 / 6)
    points = cross_fit(table_of(), settings, FEW)
    assert points.prevalence == 1 / 6
    # on all, F1 is 2 TP / (TP + 5 FP + 3): 0.9: 2/4; 0.8: 4/5; 0.7: 4/10; 0.6: 4/15; 0.3: 6/16
    assert points.named("maximal_f1").threshold.value == 0.8
    # fold 1 has cases 0.8 and 0.3 about the control 0.7, with a share of 1/6: 0.8 has 2/3, 0.3 has 4/14
    assert [fold.threshold for fold in points.named("maximal_f1").by_fold] == [0.8, 0.9]
    point = points.named("sensitivity_50")
    assert [fold.threshold for fold in point.by_fold] == [0.8, 0.9]
    assert point.counts is not None
    assert astuple(point.counts) == (1, 0, 2, 3)  # breasts as they were counted
    figures = {name: getattr(point, name).value for name in FIGURES}
    shares = {"sensitivity": 1 / 3, "specificity": 1.0, "recall_rate": 1 / 18, "ppv": 1.0, "npv": 15 / 17, "f1": 1 / 2}
    per_1000 = {"cancers_detected_per_1000": 1000 / 18, "false_positives_per_1000": 0.0}
    assert figures == pytest.approx(shares | per_1000 | {"workload_removed": 17 / 18})


def repeat_controls(cohort: pl.DataFrame, times: int) -> pl.DataFrame:
    """The cohort with each control several times, each time as another breast of the same patient."""
    copies = [
        cohort.filter(~pl.col("cancer")).with_columns(exam_id=pl.col("exam_id") + f"-{n}") for n in range(times - 1)
    ]
    return pl.concat([cohort, *copies])


def test_weighing_to_a_prevalence_is_repeating_the_controls() -> None:
    is_case = (np.arange(400) % 5 == 0).tolist()
    scores = random_cohort(8)["score"].to_list()
    cohort = table_of(scores, is_case, (np.arange(400) // 5 % 4).tolist())  # 20 cases and 80 controls in each fold
    repeated = cross_fit(repeat_controls(cohort, 3), DEFAULT, FEW)
    weighted = cross_fit(cohort, DEFAULT.model_copy(update={"prevalence": 80 / (80 + 3 * 320)}), FEW)
    plain = cross_fit(cohort, DEFAULT, FEW)
    assert weighted.named("recall_rate_10").threshold != plain.named("recall_rate_10").threshold
    for one, other in zip(repeated.points, weighted.points, strict=True):
        assert one.threshold.value == other.threshold.value
        for name in FIGURES:
            assert getattr(other, name).value == pytest.approx(getattr(one, name).value), (one.name, name)
    assert repeated.curve is not None
    assert weighted.curve is not None
    np.testing.assert_allclose(
        np.array(weighted.curve.ppv.value, float), np.array(repeated.curve.ppv.value, float), atol=1e-12
    )


def test_weighing_to_the_share_that_there_is_changes_no_figure() -> None:
    cohort = table_of(random_cohort(9)["score"].to_list(), (np.arange(400) % 5 == 0).tolist(), [0, 1, 2, 3] * 100)
    plain, weighted = (
        cross_fit(cohort, DEFAULT.model_copy(update={"prevalence": share}), FEW) for share in (None, 80 / 400)
    )
    for one, other in zip(plain.points, weighted.points, strict=True):
        assert (one.counts, one.threshold.value) == (other.counts, other.threshold.value)
        assert [getattr(one, name).value for name in FIGURES] == [getattr(other, name).value for name in FIGURES]


def test_no_threshold_at_a_prevalence_says_so() -> None:
    settings = OperatingPointSettings(recall_rates=(0.1,), prevalence=0.9)
    point = cross_fit(table_of(), settings, FEW).named("recall_rate_10")
    assert point.threshold.reason == (
        "undefined: even the strictest threshold calls 1 of 6 breasts, more than wanted at the target prevalence"
    )


def test_the_workload_that_a_sensitivity_of_99_percent_removes() -> None:
    cohort = random_cohort(10, n=3000, share=0.1)
    point = cross_fit(cohort, DEFAULT, BootstrapSettings(n_replicates=100)).named("sensitivity_99")
    scores, folds = cohort["score"].to_numpy(), cohort["fold"].to_numpy()
    thresholds = np.array([fold.threshold for fold in point.by_fold], float)
    assert point.workload_removed.value == pytest.approx((scores < thresholds[folds]).mean())
    assert point.workload_removed.interval is not None
    assert 0 < point.workload_removed.interval.low < 1 - norm.cdf(0) < 1
    assert point.cancers_detected_per_1000.interval is not None
    assert 50 < point.cancers_detected_per_1000.interval.low < 100 < point.cancers_detected_per_1000.interval.high < 130


@pytest.mark.parametrize("n_without", [1, 6])
def test_scores_without_a_fold_are_refused(n_without: int) -> None:
    folds = [None] * n_without + [0] * (6 - n_without)
    with pytest.raises(
        TableError, match=rf"fold is empty for {n_without} of 6 breasts, expected the fold that was held"
    ):
        cross_fit(table_of(folds=folds), DEFAULT, FEW)


def test_the_curve_is_what_each_threshold_does_on_all() -> None:
    cohort = random_cohort(6)
    scores, is_case = cohort["score"].to_numpy(), cohort["cancer"].to_numpy()
    curve = cross_fit(cohort, DEFAULT, FEW).curve
    assert curve is not None
    np.testing.assert_allclose(curve.threshold, CURVE_THRESHOLDS)
    for place in (0, 60, 100, 130, 200):
        called = scores >= curve.threshold[place]
        assert curve.sensitivity.value[place] == pytest.approx(called[is_case].mean())
        assert curve.specificity.value[place] == pytest.approx(1 - called[~is_case].mean())
        assert curve.recall_rate.value[place] == pytest.approx(called.mean())
        if called.any():
            assert curve.ppv.value[place] == pytest.approx(is_case[called].mean())
    assert curve.ppv.value[200] is None  # nobody scores 0.99995
    assert curve.f1.value[200] == 0


def test_the_band_of_the_curve_is_that_of_a_share_of_patients() -> None:
    cohort = random_cohort(7, n=2000, share=0.1)
    curve = cross_fit(cohort, DEFAULT, BootstrapSettings(n_replicates=500)).curve
    assert curve is not None
    place = int(np.argmin(np.abs(np.array(curve.recall_rate.value, dtype=float) - 0.3)))
    value, low, high = (
        column[place] for column in (curve.recall_rate.value, curve.recall_rate.low, curve.recall_rate.high)
    )
    assert value is not None
    assert low is not None
    assert high is not None
    half = 1.96 * np.sqrt(value * (1 - value) / 2000)
    assert low == pytest.approx(value - half, abs=half / 5)
    assert high == pytest.approx(value + half, abs=half / 5)


def _covered(truth: float, estimate: Estimate) -> bool:
    assert estimate.interval is not None
    return estimate.interval.low <= truth <= estimate.interval.high


def test_intervals_hold_what_the_threshold_does_on_other_patients() -> None:
    """Controls are normal, cases 1.5 higher: what a threshold does on endlessly many others is known."""
    settings = OperatingPointSettings(recall_rates=(), sensitivities=(0.8,), specificities=(0.9,))
    covered = []
    for seed in range(40):
        points = cross_fit(random_cohort(100 + seed, share=0.1), settings, BootstrapSettings(n_replicates=100))
        by_target = []
        for point in points.points:
            assert point.threshold.value is not None
            sensitivity = float(norm.sf(norm.ppf(point.threshold.value) - 0.5))
            specificity = float(norm.cdf(norm.ppf(point.threshold.value) + 1))
            f1 = 2 * 0.1 * sensitivity / (0.1 + 0.1 * sensitivity + 0.9 * (1 - specificity))
            by_target.append(
                [
                    _covered(sensitivity, point.sensitivity),
                    _covered(specificity, point.specificity),
                    _covered(f1, point.f1),
                ]
            )
        covered.append(by_target)
    share = np.mean(covered, axis=0)  # (target, figure)
    # 95 % of 40 is 38; percentiles of the replicates would hold the wanted sensitivity in two of three
    assert share.min() >= 0.85
    assert share.mean() == pytest.approx(0.95, abs=0.04)
