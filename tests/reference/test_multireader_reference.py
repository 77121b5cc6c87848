"""Obuchowski-Rockette against the published analysis of the study of Van Dyke et al. 1993.

The study: spin-echo against cine magnetic resonance in thoracic aortic dissection, five readers, 114 patients, of whom
45 had a dissection, ratings of 1 to 5 (Van Dyke CW et al., 79th RSNA meeting, 1993), the common example of the field.
The analysis: the output of OR-DBM MRMC 2.51 (University of Iowa) with its trapezoidal areas and jackknifed covariances,
as it is distributed with RJafroc (inst/IowaResults/VanDyke_trap_area_jackknife_anova.txt).
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from mammoscope.evaluation.multireader import (
    ReaderAnalysis,
    Readers,
    analyse_figures,
    analyse_readers,
    jackknife_aucs,
)

# a pair of ratings for each patient, spin-echo first: 69 without a dissection, 45 with one; a row for each reader
RATINGS = (
    """
    13 23 23 12 52 12 12 12 13 12  11 13 41 12 12 12 12 12 12 11  11 11 31 11 34 12 11 23 11 42
    12 11 14 13 12 33 11 22 13 21  12 12 22 33 33 11 31 11 13 33  33 11 11 13 14 11 12 24 22 11
    12 14 11 34 34 22 11 11 11
    55 53 55 55 45 55 55 55 44 55  55 55 45 34 44 23 43 55 55 55  55 55 55 55 13 55 45 43 55 45
    55 55 34 54 55 55 15 13 55 55  55 45 45 55 11
    """,
    """
    23 32 22 22 22 22 22 22 23 32  22 22 52 22 22 21 32 22 22 22  21 22 22 22 43 22 22 22 22 32
    22 21 22 22 21 22 22 22 22 22  23 21 22 22 23 22 22 22 22 22  22 22 22 22 23 22 22 43 32 22
    22 32 22 22 22 22 21 22 22
    55 33 55 55 55 55 55 45 22 55  55 55 43 44 24 22 24 55 54 55  55 55 54 55 22 45 32 33 55 45
    55 53 22 44 22 55 25 22 55 55  55 55 35 55 22
    """,
    """
    22 24 22 22 32 52 13 12 22 22  41 21 41 23 22 22 32 22 21 22  11 21 32 21 44 11 11 35 21 22
    11 11 22 21 22 42 12 21 12 42  12 21 11 13 22 21 21 21 22 23  33 21 11 13 22 12 11 22 23 12
    13 54 11 42 24 12 21 12 21
    55 42 55 55 55 55 55 55 55 55  55 55 53 45 24 31 54 55 55 55  55 55 55 55 22 55 23 23 55 55
    55 54 23 55 55 55 25 23 54 55  55 55 55 55 21
    """,
    """
    12 12 11 11 11 11 33 11 12 11  11 11 11 12 12 11 11 11 12 11  21 11 11 11 23 12 11 12 11 22
    11 11 11 11 12 12 11 11 12 11  11 11 11 11 12 11 12 11 32 31  12 12 11 11 11 11 11 12 11 12
    11 11 11 33 12 13 12 11 11
    55 54 55 55 55 55 55 55 54 55  55 55 54 55 55 15 55 55 55 55  55 55 55 55 54 55 45 54 44 45
    55 55 35 55 55 55 15 23 55 55  55 55 55 55 55
    """,
    """
    32 52 13 21 12 12 12 12 21 22  22 12 21 11 11 12 22 22 11 12  32 22 21 12 13 12 12 23 12 11
    22 11 12 22 32 12 21 21 12 11  12 31 31 33 22 11 12 12 23 13  12 11 12 12 12 12 11 32 42 12
    22 33 11 22 13 23 11 11 31
    55 22 55 24 55 55 55 55 15 54  45 55 43 54 23 23 33 55 55 55  55 55 55 45 12 45 41 33 23 22
    15 53 12 55 14 55 15 13 53 55  55 35 55 55 23
    """,
)
OUTCOMES = np.repeat([False, True], [69, 45])
PATIENTS = np.arange(114)
MODALITIES = ("spin-echo", "cine")


@pytest.fixture(scope="module")
def ratings() -> NDArray[np.float64]:
    pairs = [[tuple(map(int, pair)) for pair in text.split()] for text in RATINGS]
    return np.array(pairs, dtype=np.float64).transpose(2, 0, 1)  # (modality, reader, patient)


def analyse(ratings: NDArray[np.float64], readers: Readers) -> ReaderAnalysis:
    return analyse_readers(
        ratings,
        outcomes=OUTCOMES,
        patients=PATIENTS,
        modalities=MODALITIES,
        readers=readers,
        covariance="jackknife",
    )


def test_areas_are_those_published(ratings: NDArray[np.float64]) -> None:
    spin_echo = [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066]
    cine = [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169]
    np.testing.assert_allclose(analyse(ratings, "random").figures, [spin_echo, cine], atol=5e-9)


def test_variances_are_those_published(ratings: NDArray[np.float64]) -> None:
    found = analyse(ratings, "random").components
    assert found.reader == pytest.approx(0.00153500, abs=5e-9)
    assert found.modality_reader == pytest.approx(0.00020040, abs=5e-9)
    assert found.cov1 == pytest.approx(0.00034661, abs=5e-9)
    assert found.cov2 == pytest.approx(0.00034407, abs=5e-9)
    assert found.cov3 == pytest.approx(0.00023903, abs=5e-9)
    assert found.error == pytest.approx(0.00080229, abs=5e-9)


def test_random_readers_are_as_published(ratings: NDArray[np.float64]) -> None:
    found = analyse(ratings, "random")
    assert found.statistic == pytest.approx(4.46, abs=0.005)
    assert found.degrees_of_freedom == pytest.approx((1, 15.26), abs=0.005)
    assert found.p == pytest.approx(0.0517, abs=5e-5)
    (difference,) = found.differences
    assert difference.name == "spin-echo above cine"
    assert difference.value == pytest.approx(-0.04380032, abs=5e-9)
    assert difference.standard_error == pytest.approx(0.02075, abs=5e-6)
    assert (difference.low, difference.high) == pytest.approx((-0.08796, 0.00036), abs=5e-6)
    assert difference.p == pytest.approx(0.0517, abs=5e-5)
    first, second = found.means
    assert (first.value, second.value) == pytest.approx((0.89703704, 0.94083736), abs=5e-9)
    assert (first.standard_error, second.standard_error) == pytest.approx((0.03317360, 0.02156637), abs=5e-9)
    assert (first.degrees_of_freedom, second.degrees_of_freedom) == pytest.approx((12.74, 12.71), abs=0.005)
    assert (first.low, first.high) == pytest.approx((0.82522360, 0.96885048), abs=5e-9)
    assert (second.low, second.high) == pytest.approx((0.89413783, 0.98753689), abs=5e-9)


def test_fixed_readers_are_as_published(ratings: NDArray[np.float64]) -> None:
    found = analyse(ratings, "fixed")
    assert found.statistic == pytest.approx(5.47595, abs=5e-6)
    assert found.degrees_of_freedom[1] is None
    assert found.p == pytest.approx(0.0193, abs=5e-5)
    (difference,) = found.differences
    assert difference.standard_error == pytest.approx(0.01872, abs=5e-6)
    assert (difference.low, difference.high) == pytest.approx((-0.08049, -0.00711), abs=5e-6)
    assert difference.p == pytest.approx(0.0193, abs=5e-5)
    first, second = found.means
    assert (first.standard_error, second.standard_error) == pytest.approx((0.02428971, 0.01677632), abs=5e-9)
    assert (first.low, first.high) == pytest.approx((0.84943008, 0.94464399), abs=5e-9)
    assert (second.low, second.high) == pytest.approx((0.90795637, 0.97371835), abs=5e-9)


def test_one_reader_is_as_published(ratings: NDArray[np.float64]) -> None:
    published = [0.02551, 0.02630, 0.03121, 0.01729, 0.04406]
    for reader, error in enumerate(published):
        figures, covariance = jackknife_aucs(ratings[:, reader], OUTCOMES, PATIENTS)
        found = analyse_figures(
            figures[:, np.newaxis],
            covariance[:, np.newaxis, :, np.newaxis],
            modalities=MODALITIES,
            readers="fixed",
        )
        assert found.differences[0].standard_error == pytest.approx(error, abs=5e-6)


def test_delong_and_the_jackknife_say_much_the_same(ratings: NDArray[np.float64]) -> None:
    ways = [
        analyse_readers(ratings, outcomes=OUTCOMES, patients=PATIENTS, modalities=MODALITIES, covariance=way).components
        for way in ("delong", "jackknife")
    ]
    assert ways[0].error == pytest.approx(ways[1].error, rel=0.02)
    assert ways[0].cov1 == pytest.approx(ways[1].cov1, rel=0.02)
