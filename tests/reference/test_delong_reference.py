"""DeLong's method against a published example, the pairs counted one by one, and a bootstrap over patients."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from mammoscope.evaluation.bootstrap import bootstrap_over_patients
from mammoscope.evaluation.delong import delong_auc, delong_covariance
from mammoscope.evaluation.discrimination import rank

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Indices = NDArray[np.intp]

# how often each of five ratings was given to the normal and to the abnormal among 109 pictures: Hanley & McNeil 1982
# (doi:10.1148/radiology.143.1.7063747), table 1
RATED_NORMAL, RATED_ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def draw(seed: int, n_patients: int = 60, *, is_tied: bool = False) -> tuple[Floats, Outcomes, Indices]:
    """Two lists of scores of one to four images of each patient, alike within her; some patients have both outcomes."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 5, n_patients))
    outcomes = (rng.random(n_patients)[patients] < 0.4) & (rng.random(len(patients)) < 0.6)
    of_patient = rng.normal(size=n_patients)[patients]
    scores = np.stack([outcomes * shift + of_patient + rng.normal(size=len(patients)) for shift in (0.8, 1.2)])
    return np.round(scores, 0 if is_tied else 9), outcomes, patients


def test_area_error_and_interval_are_those_of_the_published_example() -> None:
    ratings = np.repeat(np.tile(np.arange(1.0, 6.0), 2), [*RATED_NORMAL, *RATED_ABNORMAL])
    found = delong_auc(ratings, np.arange(109) >= sum(RATED_NORMAL))
    assert found.value is not None
    assert found.standard_error is not None
    assert (found.value, found.standard_error) == pytest.approx((0.8932, 0.0307), abs=5e-5)
    reach = norm.ppf(0.975) * found.standard_error  # published without the logit: Stata's manual, roctab
    assert (found.value - reach, found.value + reach) == pytest.approx((0.83295, 0.95339), abs=5e-6)


def obuchowski(scores: Floats, outcomes: Outcomes, patients: Indices) -> Floats:
    """The covariance of Obuchowski 1997 as its formulas are written: a loop over patients, each pair by itself."""
    ids = sorted(set(patients.tolist()))
    cases, controls = np.flatnonzero(outcomes).tolist(), np.flatnonzero(~outcomes).tolist()
    n_lists, m, n = len(scores), len(cases), len(controls)

    def wins(of: int, case: int, control: int) -> float:
        return float(scores[of, case] > scores[of, control]) + float(scores[of, case] == scores[of, control]) / 2

    x = np.zeros((n_lists, len(ids)))
    y = np.zeros((n_lists, len(ids)))
    for of in range(n_lists):
        theta = sum(wins(of, case, control) for case in cases for control in controls) / (m * n)
        for case in cases:
            x[of, ids.index(patients[case])] += sum(wins(of, case, control) for control in controls) / n - theta
        for control in controls:
            y[of, ids.index(patients[control])] += sum(wins(of, case, control) for case in cases) / m - theta
    i_all, i_cases, i_controls = len(ids), len(set(patients[cases])), len(set(patients[controls]))
    result = np.zeros((n_lists, n_lists))
    for one in range(n_lists):
        for other in range(n_lists):
            s10 = i_cases / ((i_cases - 1) * m) * sum(x[one] * x[other])
            s01 = i_controls / ((i_controls - 1) * n) * sum(y[one] * y[other])
            s11 = i_all / (i_all - 1) * (sum(x[one] * y[other]) + sum(y[one] * x[other]))
            result[one, other] = s10 / m + s01 / n + s11 / (m * n)
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_tied", [False, True])
def test_the_covariance_is_that_of_all_pairs(seed: int, is_tied: bool) -> None:
    scores, outcomes, patients = draw(seed, 25, is_tied=is_tied)
    _, covariance = delong_covariance(scores, outcomes, patients)
    np.testing.assert_allclose(covariance, obuchowski(scores, outcomes, patients), rtol=1e-10, atol=1e-14)


def test_errors_agree_with_a_bootstrap_over_patients() -> None:
    scores, outcomes, patients = draw(1, 1000)
    rankings = [rank(one, outcomes, patients) for one in scores]
    replicates = bootstrap_over_patients(
        lambda counts: np.column_stack([ranking.auc(counts) for ranking in rankings]),
        patients,
        n_replicates=4000,
        rng=np.random.default_rng(2),
    )
    _, covariance = delong_covariance(scores, outcomes, patients)
    # a variance of 4,000 replicates is known to about 2 %
    np.testing.assert_allclose(covariance, np.cov(replicates.T), rtol=0.1)


def test_images_taken_for_patients_give_too_narrow_an_interval() -> None:
    scores, outcomes, patients = draw(1, 1000)
    of_patients, of_images = delong_auc(scores[0], outcomes, patients), delong_auc(scores[0], outcomes)
    assert of_patients.value == of_images.value
    assert (of_patients.standard_error or 0) > 1.1 * (of_images.standard_error or 0)
