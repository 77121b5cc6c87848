"""Obuchowski-Rockette against an implementation that shares nothing with ours: plain loops over the textbook's sums.

Areas are counted pair by pair; covariances are Obuchowski's 1997 (doi:10.2307/2533958) for clustered data, summed
patient by patient, or a jackknife that counts all pairs again without each patient; mean squares and mean covariances
are taken in loops over modalities and readers (Obuchowski & Rockette 1995, doi:10.1080/03610919508813243; Hillis 2007,
doi:10.1002/sim.2532).
"""

import itertools
import math
from dataclasses import dataclass
from statistics import fmean as mean

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mammoscope.evaluation.delong import delong_covariance
from mammoscope.evaluation.multireader import (
    ReaderAnalysis,
    Readers,
    analyse_readers,
    compare_with_readers,
    jackknife_aucs,
)

MODALITIES = ("alone", "with marks", "with prior")
N_MODALITIES, N_READERS, N_PATIENTS = 3, 4, 30
Rating = list[float]


@dataclass(frozen=True)
class Study:
    """Ratings of 1 to 5, (modality, reader, breast), two breasts of each patient."""

    ratings: NDArray[np.float64]
    scores: NDArray[np.float64]
    outcomes: NDArray[np.bool_]
    patients: NDArray[np.intp]


@pytest.fixture(scope="module")
def study() -> Study:
    rng = np.random.default_rng(11)
    patients = np.repeat(np.arange(N_PATIENTS), 2)
    outcomes = (np.arange(60) % 6 == 0) | (np.arange(60) % 14 == 1)  # a few patients have both
    signal = rng.normal(size=60) + 1.1 * outcomes + 0.7 * rng.normal(size=N_PATIENTS)[patients]
    skill = np.array([0.6, 0.8, 1.0, 1.4])[:, np.newaxis]
    noise = skill * rng.normal(size=(N_MODALITIES, N_READERS, 60))
    gain = np.array([0.0, 0.5, 0.2])[:, np.newaxis, np.newaxis] * outcomes
    ratings = np.digitize(signal + gain + noise, [-0.5, 0.4, 1.0, 1.8]) + 1.0
    return Study(ratings, signal, outcomes, patients)


def beats(case: float, control: float) -> float:
    return 1.0 if case > control else 0.5 if case == control else 0.0


def area(rating: Rating, study: Study, without: int | None = None) -> float:
    """Pair by pair: how often a case is rated above a control."""
    kept = [number for number in range(60) if study.patients[number] != without]
    cases = [number for number in kept if study.outcomes[number]]
    controls = [number for number in kept if not study.outcomes[number]]
    return mean(beats(rating[case], rating[control]) for case in cases for control in controls)


def covariance(first: Rating, second: Rating, study: Study) -> float:
    """Obuchowski's three sums, over patients with cases, with controls, and with both."""
    cases = [number for number in range(60) if study.outcomes[number]]
    controls = [number for number in range(60) if not study.outcomes[number]]
    with_cases = {int(study.patients[number]) for number in cases}
    with_controls = {int(study.patients[number]) for number in controls}

    def off_of_cases(rating: Rating) -> dict[int, float]:
        """How far the placements of each patient's cases lie off the area, summed."""
        whole, off = area(rating, study), dict.fromkeys(range(N_PATIENTS), 0.0)
        for case in cases:
            placement = mean(beats(rating[case], rating[control]) for control in controls)
            off[int(study.patients[case])] += placement - whole
        return off

    def off_of_controls(rating: Rating) -> dict[int, float]:
        whole, off = area(rating, study), dict.fromkeys(range(N_PATIENTS), 0.0)
        for control in controls:
            placement = mean(beats(rating[case], rating[control]) for case in cases)
            off[int(study.patients[control])] += placement - whole
        return off

    (cases_of_first, controls_of_first), (cases_of_second, controls_of_second) = (
        (off_of_cases(rating), off_of_controls(rating)) for rating in (first, second)
    )
    n_cases, n_controls = len(cases), len(controls)
    n_10, n_01, n = len(with_cases), len(with_controls), len(with_cases | with_controls)
    s_10 = sum(cases_of_first[patient] * cases_of_second[patient] for patient in with_cases)
    s_01 = sum(controls_of_first[patient] * controls_of_second[patient] for patient in with_controls)
    s_10, s_01 = n_10 / ((n_10 - 1) * n_cases) * s_10, n_01 / ((n_01 - 1) * n_controls) * s_01
    s_11 = n / (n - 1) * sum(cases_of_first[patient] * controls_of_second[patient] for patient in range(N_PATIENTS))
    s_11_turned = sum(cases_of_second[patient] * controls_of_first[patient] for patient in range(N_PATIENTS))
    s_11_turned *= n / (n - 1)
    return s_10 / n_cases + s_01 / n_controls + (s_11 + s_11_turned) / (n_cases * n_controls)


def jackknife(first: Rating, second: Rating, study: Study) -> float:
    """The covariance of two areas over the patients, each left out in turn."""
    one, other = ([area(rating, study, without) for without in range(N_PATIENTS)] for rating in (first, second))
    products = [(x - mean(one)) * (y - mean(other)) for x, y in zip(one, other, strict=True)]
    return (N_PATIENTS - 1) / N_PATIENTS * sum(products)


@dataclass(frozen=True)
class Sums:
    """The mean squares, and the mean covariance of each kind of pair."""

    figures: list[list[float]]
    ms_modality: float
    ms_reader: float
    ms_both: float
    var: float
    cov1: float
    cov2: float
    cov3: float


def sum_up(study: Study, of_pair: dict[tuple[int, int, int, int], float]) -> Sums:
    figures = [[area(study.ratings[i, j].tolist(), study) for j in range(N_READERS)] for i in range(N_MODALITIES)]
    overall = mean(itertools.chain(*figures))
    of_modality = [mean(row) for row in figures]
    of_reader = [mean(row[j] for row in figures) for j in range(N_READERS)]
    ms_modality = N_READERS * sum((each - overall) ** 2 for each in of_modality) / (N_MODALITIES - 1)
    ms_reader = N_MODALITIES * sum((each - overall) ** 2 for each in of_reader) / (N_READERS - 1)
    ms_both = 0.0
    for i in range(N_MODALITIES):
        for j in range(N_READERS):
            ms_both += (figures[i][j] - of_modality[i] - of_reader[j] + overall) ** 2
    ms_both /= (N_MODALITIES - 1) * (N_READERS - 1)
    kinds: dict[tuple[bool, bool], list[float]] = {}
    for (i, j, k, m), value in of_pair.items():
        kinds.setdefault((i == k, j == m), []).append(value)
    return Sums(
        figures=figures,
        ms_modality=ms_modality,
        ms_reader=ms_reader,
        ms_both=ms_both,
        var=mean(kinds[True, True]),
        cov1=mean(kinds[False, True]),
        cov2=mean(kinds[True, False]),
        cov3=mean(kinds[False, False]),
    )


@pytest.fixture(scope="module", params=["delong", "jackknife"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pairs(study: Study, method: str) -> dict[tuple[int, int, int, int], float]:
    """The covariance of each pair of modality and reader."""
    find = {"delong": covariance, "jackknife": jackknife}[method]
    places = list(itertools.product(range(N_MODALITIES), range(N_READERS)))
    found = {}
    for (i, j), (k, m) in itertools.combinations_with_replacement(places, 2):
        value = find(study.ratings[i, j].tolist(), study.ratings[k, m].tolist(), study)
        found[i, j, k, m] = found[k, m, i, j] = value
    return found


@pytest.fixture(scope="module")
def sums(study: Study, pairs: dict[tuple[int, int, int, int], float]) -> Sums:
    return sum_up(study, pairs)


def analyse(study: Study, method: str, readers: Readers) -> ReaderAnalysis:
    return analyse_readers(
        study.ratings,
        outcomes=study.outcomes,
        patients=study.patients,
        modalities=MODALITIES,
        readers=readers,
        covariance="delong" if method == "delong" else "jackknife",
    )


def test_covariances_are_those_of_the_loops(
    study: Study, method: str, pairs: dict[tuple[int, int, int, int], float]
) -> None:
    find = {"delong": delong_covariance, "jackknife": jackknife_aucs}[method]
    _, found = find(study.ratings.reshape(-1, 60), study.outcomes, study.patients)
    found = found.reshape(N_MODALITIES, N_READERS, N_MODALITIES, N_READERS)
    assert {place: float(found[place]) for place in pairs} == pytest.approx(pairs, abs=1e-12)


def test_the_components(study: Study, method: str, sums: Sums) -> None:
    found = analyse(study, method, "random")
    assert np.array(found.figures) == pytest.approx(np.array(sums.figures))
    components = found.components
    ours = (components.error, components.cov1, components.cov2, components.cov3)
    assert ours == pytest.approx((sums.var, sums.cov1, sums.cov2, sums.cov3))
    assert components.reader == pytest.approx((sums.ms_reader - sums.ms_both) / N_MODALITIES - sums.cov1 + sums.cov3)
    both = sums.ms_both - sums.var + sums.cov1 + max(sums.cov2 - sums.cov3, 0)
    assert components.modality_reader == pytest.approx(both)


def test_random_readers(study: Study, method: str, sums: Sums) -> None:
    found = analyse(study, method, "random")
    error = sums.ms_both + max(N_READERS * (sums.cov2 - sums.cov3), 0)
    freedom = error**2 / (sums.ms_both**2 / ((N_MODALITIES - 1) * (N_READERS - 1)))
    assert found.statistic == pytest.approx(sums.ms_modality / error)
    assert found.degrees_of_freedom == pytest.approx((N_MODALITIES - 1, freedom))
    assert found.p == pytest.approx(stats.f.sf(sums.ms_modality / error, N_MODALITIES - 1, freedom))
    wide = stats.t.ppf(0.975, freedom) * math.sqrt(2 / N_READERS * error)
    for difference, (i, k) in zip(found.differences, itertools.combinations(range(N_MODALITIES), 2), strict=True):
        value = mean(sums.figures[i]) - mean(sums.figures[k])
        assert difference.value == pytest.approx(value)
        assert (difference.low, difference.high) == pytest.approx((value - wide, value + wide))
        t = abs(value) / math.sqrt(2 / N_READERS * error)
        assert difference.p == pytest.approx(2 * stats.t.sf(t, freedom))


def test_fixed_readers(study: Study, method: str, sums: Sums) -> None:
    found = analyse(study, method, "fixed")
    error = sums.var - sums.cov1 + (N_READERS - 1) * max(sums.cov2 - sums.cov3, 0)
    chi2 = (N_MODALITIES - 1) * sums.ms_modality / error
    assert found.statistic == pytest.approx(sums.ms_modality / error)
    assert found.p == pytest.approx(stats.chi2.sf(chi2, N_MODALITIES - 1))
    wide = stats.norm.ppf(0.975) * math.sqrt(2 / N_READERS * error)
    value = mean(sums.figures[0]) - mean(sums.figures[1])
    assert (found.differences[0].low, found.differences[0].high) == pytest.approx((value - wide, value + wide))


@pytest.mark.parametrize("readers", ["random", "fixed"])
def test_the_mean_of_one_modality(
    study: Study, method: str, pairs: dict[tuple[int, int, int, int], float], readers: Readers
) -> None:
    found = analyse(study, method, readers)
    for i in range(N_MODALITIES):
        figures = [area(study.ratings[i, j].tolist(), study) for j in range(N_READERS)]
        own = {(j, m): pairs[i, j, i, m] for j in range(N_READERS) for m in range(N_READERS)}
        cov2 = mean(value for (j, m), value in own.items() if j != m)
        var = mean(value for (j, m), value in own.items() if j == m)
        square = sum((figure - mean(figures)) ** 2 for figure in figures) / (N_READERS - 1)
        if readers == "random":
            variance = (square + max(N_READERS * cov2, 0)) / N_READERS
            freedom = (square + max(N_READERS * cov2, 0)) ** 2 / (square**2 / (N_READERS - 1))
            wide = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
        else:
            variance = (var + (N_READERS - 1) * max(cov2, 0)) / N_READERS
            wide = stats.norm.ppf(0.975) * math.sqrt(variance)
        assert found.means[i].standard_error == pytest.approx(math.sqrt(variance))
        assert found.means[i].high == pytest.approx(min(mean(figures) + wide, 1))


def test_a_model_above_readers(study: Study) -> None:
    """One modality, on the differences of the model from each reader: their covariance over cases, pair by pair."""
    found = compare_with_readers(study.scores, study.ratings[0], outcomes=study.outcomes, patients=study.patients)
    model = study.scores.tolist()
    readers = [study.ratings[0, j].tolist() for j in range(N_READERS)]
    off = [area(model, study) - area(reader, study) for reader in readers]
    of_model = covariance(model, model, study)
    cov2 = mean(
        of_model - covariance(model, first, study) - covariance(model, second, study) + covariance(first, second, study)
        for first, second in itertools.combinations(readers, 2)
    )
    square = sum((each - mean(off)) ** 2 for each in off) / (N_READERS - 1)
    error = square + max(N_READERS * cov2, 0)
    freedom = error**2 / (square**2 / (N_READERS - 1))
    assert found.value == pytest.approx(mean(off))
    assert found.standard_error == pytest.approx(math.sqrt(error / N_READERS))
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(mean(off)) / math.sqrt(error / N_READERS), freedom))
