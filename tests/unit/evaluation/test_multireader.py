"""The analysis of several readers: hand-worked values, what cannot be tested, and what is refused."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mammoscope.errors import UndefinedMetricError, UserInputError
from mammoscope.evaluation import multireader
from mammoscope.evaluation.delong import compare_delong, delong_auc
from mammoscope.evaluation.multireader import (
    GroupMean,
    ReaderAnalysis,
    analyse_figures,
    analyse_readers,
    compare_with_readers,
    jackknife_aucs,
)

WAYS = ("plain", "helped")
FIGURES = np.array([[0.7, 0.8, 0.9], [0.8, 0.8, 1.0]])  # (modality, reader)


def covariance_of(cov1: float, cov2: float, cov3: float, error: float) -> NDArray[np.float64]:
    """The covariance of two modalities and three readers with the same number for each kind of pair."""
    same = np.eye(2)[:, np.newaxis, :, np.newaxis], np.eye(3)[np.newaxis, :, np.newaxis, :]
    modality, reader = (np.broadcast_to(each, (2, 3, 2, 3)) for each in same)
    both, neither = modality * reader, (1 - modality) * (1 - reader)
    covariance: NDArray[np.float64] = error * both + cov1 * (reader - both) + cov2 * (modality - both) + cov3 * neither
    return covariance


@dataclass(frozen=True)
class Study:
    """Readers who read all in two ways, and a model; a patient for each breast."""

    ratings: NDArray[np.float64]
    scores: NDArray[np.float64]
    outcomes: NDArray[np.bool_]
    patients: NDArray[np.intp]

    def analyse(self, **options: Any) -> ReaderAnalysis:  # noqa: ANN401  # whatever a test changes
        own: dict[str, Any] = {"outcomes": self.outcomes, "patients": self.patients, "modalities": WAYS}
        return analyse_readers(options.pop("ratings", self.ratings), **own | options)

    def compare(self, **options: Any) -> GroupMean:  # noqa: ANN401  # whatever a test changes
        scores, ratings = options.pop("scores", self.scores), options.pop("ratings", self.ratings[0])
        return compare_with_readers(scores, ratings, outcomes=self.outcomes, patients=self.patients, **options)


def study(n_readers: int = 3) -> Study:
    rng = np.random.default_rng(2)
    outcomes = np.arange(60) < 20
    signal = rng.normal(size=60) + outcomes
    ratings = signal + rng.normal(size=(2, n_readers, 60))
    return Study(ratings, 1.5 * signal + rng.normal(size=60), outcomes, np.arange(60))


def test_three_readers_by_hand() -> None:
    # means 0.8 and 0.86667; of readers 0.75, 0.8, 0.95; rest (-1, 2, -1) / 60 and its opposite
    # MS(T) = 3 * 2 * (1/30)^2 = 1/150; MS(R) = 2 * (0.0069444 + 0.0011111 + 0.0136111) / 2 = 0.0216667
    # MS(TR) = 2 * 6 / 3600 / 2 = 1/600
    found = analyse_figures(FIGURES, covariance_of(0.0004, 0.0003, 0.0002, 0.001), modalities=WAYS)
    assert found.components.reader == pytest.approx((0.0216667 - 1 / 600) / 2 - 0.0004 + 0.0002, abs=1e-7)
    assert found.components.modality_reader == pytest.approx(1 / 600 - 0.001 + 0.0004 + 0.0001)
    error = 1 / 600 + 3 * 0.0001
    assert found.statistic == pytest.approx(1 / 150 / error)
    assert found.degrees_of_freedom == pytest.approx((1, error**2 / ((1 / 600) ** 2 / 2)))
    assert found.differences[0].value == pytest.approx(-1 / 15)
    assert found.differences[0].standard_error == pytest.approx(np.sqrt(2 / 3 * error))
    assert found.means[0].standard_error == pytest.approx(np.sqrt((0.01 + 3 * 0.0003) / 3))
    assert found.means[0].degrees_of_freedom == pytest.approx(2 * (0.0109 / 0.01) ** 2)
    fixed = analyse_figures(FIGURES, covariance_of(0.0004, 0.0003, 0.0002, 0.001), modalities=WAYS, readers="fixed")
    assert fixed.statistic == pytest.approx(1 / 150 / (0.0006 + 2 * 0.0001))


def test_a_negative_share_of_cases_is_taken_as_none() -> None:
    found = analyse_figures(FIGURES, covariance_of(0.0004, 0.0001, 0.0002, 0.001), modalities=WAYS)
    assert found.statistic == pytest.approx((1 / 150) / (1 / 600))
    assert found.degrees_of_freedom[1] == pytest.approx(2)
    # without cases it is the paired t-test of the readers
    assert found.p == pytest.approx(stats.ttest_rel(*FIGURES).pvalue)


def test_three_modalities_have_three_differences() -> None:
    figures = np.vstack([FIGURES, [0.75, 0.85, 0.9]])
    none = np.zeros((3, 3, 3, 3))
    found = analyse_figures(figures, none, modalities=("a", "b", "c"))
    assert [each.name for each in found.differences] == ["a above b", "a above c", "b above c"]
    # without cases it is the analysis of variance of repeated measures: 4 degrees of freedom
    assert found.degrees_of_freedom == pytest.approx((2, 4))


def test_readers_that_differ_alike_have_no_limit_to_their_freedom() -> None:
    alike = np.array([[0.7, 0.8], [0.75, 0.85]])
    covariance = covariance_of(0, 0.0003, 0.0001, 0.001)[:, :2, :, :2]
    found = analyse_figures(alike, covariance, modalities=WAYS)
    assert found.degrees_of_freedom[1] is None
    assert found.differences[0].degrees_of_freedom is None
    assert found.p == pytest.approx(stats.chi2.sf(0.0025 / 0.0004, 1))
    assert found.p == pytest.approx(found.differences[0].p)


def test_where_nothing_varies_there_is_no_test() -> None:
    found = analyse_figures(np.array([[0.7, 0.8], [0.75, 0.85]]), np.zeros((2, 2, 2, 2)), modalities=WAYS)
    assert found.statistic is None
    assert found.p is None
    assert found.reason == "undefined: the readers differ by the same in all, and cases add nothing"
    assert found.differences[0].p is None


def test_one_modality_has_a_mean_and_no_test() -> None:
    data = study()
    found = data.analyse(ratings=data.ratings[:1], modalities=("plain",))
    assert found.statistic is None
    assert found.reason == "undefined: one modality, needs two to compare"
    assert len(found.means) == 1
    assert found.differences == ()
    assert found.components.cov1 is None


def test_one_fixed_reader_is_delong() -> None:
    data = study(1)
    found = data.analyse(readers="fixed")
    plain, helped = data.ratings[:, 0]
    paired = compare_delong(helped, plain, data.outcomes, data.patients)
    assert found.differences[0].value == pytest.approx(paired.difference.value)
    assert found.differences[0].standard_error == pytest.approx(paired.difference.standard_error)
    assert found.differences[0].p == pytest.approx(paired.p_value)
    alone = delong_auc(plain, data.outcomes, data.patients)
    assert found.means[0].standard_error == pytest.approx(alone.standard_error)
    assert found.components.reader is None


def test_a_model_against_one_fixed_reader_is_delong() -> None:
    data = study(1)
    found = data.compare(readers="fixed")
    paired = compare_delong(data.ratings[0, 0], data.scores, data.outcomes, data.patients)
    assert found.value == pytest.approx(paired.difference.value)
    assert (found.low, found.high, found.p) == pytest.approx(
        (paired.difference.low, paired.difference.high, paired.p_value)
    )


def test_a_model_against_random_readers_is_less_sure_than_against_these() -> None:
    data = study()
    others, these = data.compare(), data.compare(readers="fixed")
    assert others.value == these.value
    assert these.degrees_of_freedom is None
    assert others.degrees_of_freedom is not None
    # the least error is that of the one-sample t-test of the differences, where the cases add nothing
    differences = [data.compare(ratings=row[np.newaxis], readers="fixed").value for row in data.ratings[0]]
    assert others.standard_error > stats.sem(differences)
    assert others.value == pytest.approx(np.mean(differences))


def test_the_jackknife_leaves_out_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    data, patients = study(), np.arange(60) // 2
    ratings = data.ratings[0]
    _, covariance = jackknife_aucs(ratings, data.outcomes, patients)
    without = []
    for one in range(30):
        kept = patients != one
        renumbered = patients[kept] - (patients[kept] > one)
        without.append(jackknife_aucs(ratings[:, kept], data.outcomes[kept], renumbered)[0])
    np.testing.assert_allclose(covariance, np.cov(np.array(without).T, ddof=1) * 29**2 / 30)
    monkeypatch.setattr(multireader, "MOST_CELLS", 90)
    np.testing.assert_allclose(jackknife_aucs(ratings, data.outcomes, patients)[1], covariance)


def test_the_analysis_goes_into_json() -> None:
    found = study().analyse()
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["readers"] == "random"
    assert all(0 <= mean.low < mean.high <= 1 for mean in found.means)


def test_an_interval_of_a_mean_ends_at_one() -> None:
    found = analyse_figures(np.array([[0.9, 1.0]]), np.zeros((1, 2, 1, 2)), modalities=("plain",))
    assert found.means[0].high == 1


@pytest.mark.parametrize("shape", [(2, 60), (3, 2, 60), (2, 3, 59)])
def test_ratings_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserInputError, match=r"found ratings of shape .*, expected \(modality, reader, breast\)"):
        study().analyse(ratings=np.zeros(shape))


def test_scores_of_other_breasts_are_refused() -> None:
    with pytest.raises(UserInputError, match=r"found scores of shape \(59,\) and ratings of shape \(3, 60\)"):
        study().compare(scores=np.zeros(59))


def test_one_reader_is_not_random() -> None:
    data = study(1)
    with pytest.raises(UserInputError, match="readers: found 1, expected 2 or more; one reader says nothing of others"):
        data.analyse()
    with pytest.raises(UserInputError, match="readers: found 1, expected 2"):
        data.compare()
    with pytest.raises(UserInputError, match="readers: found 0, expected 1"):
        data.compare(ratings=data.ratings[0, :0], readers="fixed")


def test_one_class_only_is_undefined() -> None:
    with pytest.raises(UndefinedMetricError, match="no case among 60"):
        study().analyse(outcomes=np.zeros(60, bool), covariance="jackknife")
