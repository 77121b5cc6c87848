"""DeLong's method against the published example, the pairs counted one by one, and a bootstrap over patients."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from mammoscope.evaluation.bootstrap import bootstrap_over_patients
from mammoscope.evaluation.delong import compare_delong, delong_auc, delong_covariance
from mammoscope.evaluation.discrimination import rank

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]
Indices = NDArray[np.intp]

# DeLong et al. 1988: albumin, total protein, K-G score and the outcome of 43 patients with ovarian cancer, as printed
# in the example "Comparing Receiver Operating Characteristic Curves" of the LOGISTIC procedure, SAS/STAT user's guide
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


def ovarian() -> tuple[Floats, Outcomes]:
    """K-G score (low is good, so it is turned round), albumin and total protein, (list, patient), and the outcomes."""
    table = np.array(OVARIAN.split(), dtype=np.float64).reshape(-1, 4)
    return np.stack([10 - table[:, 2], table[:, 0], table[:, 1]]), table[:, 3] == 1


def draw(seed: int, n_patients: int = 60, *, is_tied: bool = False) -> tuple[Floats, Outcomes, Indices]:
    """Two lists of scores of one to four images of each patient, alike within her; some patients have both outcomes."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 5, n_patients))
    outcomes = (rng.random(n_patients)[patients] < 0.4) & (rng.random(len(patients)) < 0.6)
    of_patient = rng.normal(size=n_patients)[patients]
    scores = np.stack([outcomes * shift + of_patient + rng.normal(size=len(patients)) for shift in (0.8, 1.2)])
    return np.round(scores, 0 if is_tied else 9), outcomes, patients


@pytest.mark.parametrize(
    ("at", "published"),
    [(0, (0.7258, 0.1028, 0.5243, 0.9273)), (1, (0.7366, 0.0927, 0.5549, 0.9182)), (2, (0.6478, 0.1, 0.4518, 0.8439))],
)
def test_areas_and_errors_are_those_of_the_published_example(at: int, published: tuple[float, ...]) -> None:
    scores, outcomes = ovarian()
    found = delong_auc(scores[at], outcomes)
    assert found.value is not None
    assert found.standard_error is not None
    reach = norm.ppf(0.975) * found.standard_error  # published without the logit
    ours = (found.value, found.standard_error, found.value - reach, found.value + reach)
    assert ours == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize(
    ("at", "published", "chi_square", "p"),
    [
        (1, (0.0108, 0.0953, -0.1761, 0.1976), 0.0127, 0.9102),
        (2, (-0.0780, 0.1046, -0.2830, 0.1271), 0.5554, 0.4561),
    ],
)
def test_differences_are_those_of_the_published_example(
    at: int, published: tuple[float, ...], chi_square: float, p: float
) -> None:
    scores, outcomes = ovarian()
    compared = compare_delong(scores[0], scores[at], outcomes)
    found = compared.difference
    assert (found.value, found.standard_error, found.low, found.high) == pytest.approx(published, abs=5e-5)
    assert compared.z is not None
    assert compared.z**2 == pytest.approx(chi_square, abs=5e-5)
    assert compared.p_value == pytest.approx(p, abs=5e-5)


def test_the_three_areas_differ_as_in_the_published_example() -> None:
    values, covariance = delong_covariance(*ovarian())
    contrasts = np.array([[-1, 1, 0], [-1, 0, 1]])
    off = contrasts @ values
    assert off @ np.linalg.inv(contrasts @ covariance @ contrasts.T) @ off == pytest.approx(2.5340, abs=5e-5)


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
