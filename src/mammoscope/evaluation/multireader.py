"""Whether readers do better in one way of reading than in another, or than a model: Obuchowski-Rockette.

Several readers read the same cases in several ways (modalities), so that their figures are correlated. The analysis of
variance by Obuchowski & Rockette 1995 (doi:10.1080/03610919508813243) takes the covariances from the cases, here by
DeLong or by a jackknife over patients; its degrees of freedom are those of Hillis 2007 (doi:10.1002/sim.2532), with the
estimates of Hillis et al. 2005 (doi:10.1002/sim.2024), which can be negative, bounded where they enter a test.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mammoscope.errors import UserInputError
from mammoscope.evaluation.delong import delong_covariance
from mammoscope.evaluation.discrimination import rank

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]
Readers = Literal["random", "fixed"]

MOST_CELLS = 4_000_000  # 32 MB of float64 for each array of a chunk
_ROUNDING = 1e-20  # of squares of differences between shares: what is below is no difference but rounding
_OF_STUDY, _OF_ONE_WAY = 3, 2  # axes: modality, reader and score; reader and score


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """What the figures vary by; estimates of small variances may be negative.

    `cov1` is of one reader in two modalities, `cov2` of two readers in one, `cov3` of two readers in two; `error` is
    the variance of one figure over the cases. Of one modality, those of two are None.
    """

    reader: float | None
    modality_reader: float | None
    cov1: float | None
    cov2: float
    cov3: float | None
    error: float


@dataclass(frozen=True, slots=True)
class GroupMean:
    """The mean figure of the readers, or a difference of two, with its interval; `p` is two-sided, against 0.

    `degrees_of_freedom` is None where they are without limit, that is for a normal distribution; `p` is None of a mean
    that is no difference, and of a difference without a standard error.
    """

    name: str
    value: float
    standard_error: float
    degrees_of_freedom: float | None
    low: float
    high: float
    p: float | None


@dataclass(frozen=True, slots=True)
class ReaderAnalysis:
    """The analysis of variance: does any modality differ from the others?

    `statistic` is F with `degrees_of_freedom`, or chi-square over its own where readers are fixed; None, with the
    reason, of one modality, or where nothing varies.
    """

    readers: Readers
    confidence: float
    figures: tuple[tuple[float, ...], ...]
    components: VarianceComponents
    statistic: float | None
    degrees_of_freedom: tuple[float, float | None]
    p: float | None
    reason: str | None
    means: tuple[GroupMean, ...]
    differences: tuple[GroupMean, ...]


def analyse_readers(  # noqa: PLR0913  # a study of readers, and how to take it, by name
    ratings: Floats,
    *,
    outcomes: Outcomes,
    patients: Indices,
    modalities: Sequence[str],
    readers: Readers = "random",
    covariance: Literal["delong", "jackknife"] = "delong",
    confidence: float = 0.95,
) -> ReaderAnalysis:
    """The analysis of the AUCs of ratings, (modality, reader, breast): every reader rates every breast in each way.

    Random readers stand for others like them, fixed ones for themselves only; cases are always random.

    Raises:
        UserInputError: shapes differ, a rating is no finite number, too few readers, or as `delong_covariance`.
        UndefinedMetricError: there is no case or no control.
    """
    if ratings.ndim != _OF_STUDY or not len(ratings) == len(modalities) or ratings.shape[2] != len(outcomes):
        raise UserInputError(
            f"readers: found ratings of shape {ratings.shape} for {len(modalities)} modalities and {len(outcomes)} "
            "breasts, expected (modality, reader, breast)"
        )
    n_modalities, n_readers, n_breasts = ratings.shape
    find = _COVARIANCE_BY_METHOD[covariance]
    figures, covariances = find(ratings.reshape(-1, n_breasts), outcomes, patients)
    return analyse_figures(
        figures.reshape(n_modalities, n_readers),
        covariances.reshape(n_modalities, n_readers, n_modalities, n_readers),
        modalities=modalities,
        readers=readers,
        confidence=confidence,
    )


def compare_with_readers(  # noqa: PLR0913  # the model, the readers, and how to take them, by name
    scores: Floats,
    ratings: Floats,
    *,
    outcomes: Outcomes,
    patients: Indices,
    readers: Readers = "random",
    confidence: float = 0.95,
) -> GroupMean:
    """How much higher the AUC of a model is than the mean AUC of readers: scores (breast,), ratings (reader, breast).

    It is the analysis of one modality, on the differences of the model from each reader, which share the model: for
    programs that stand alone, Chakraborty 2017, Observer Performance Methods, chapter 22 (doi:10.1201/9781351228190).

    Raises:
        UserInputError: shapes differ, a score is no finite number, too few readers, or as `delong_covariance`.
        UndefinedMetricError: there is no case or no control.
    """
    if ratings.ndim != _OF_ONE_WAY or ratings.shape[1:] != scores.shape:
        raise UserInputError(
            f"readers: found scores of shape {scores.shape} and ratings of shape {ratings.shape}, expected (breast,) "
            "and (reader, breast)"
        )
    aucs, covariance = delong_covariance(np.vstack([scores, ratings]), outcomes, patients)
    contrast = np.hstack([np.ones((len(ratings), 1)), -np.eye(len(ratings))])  # (reader, model and reader)
    return mean_of_readers(
        "model above readers",
        contrast @ aucs,
        contrast @ covariance @ contrast.T,
        readers=readers,
        confidence=confidence,
        is_difference=True,
    )


def analyse_figures(
    figures: Floats,
    covariance: Floats,
    *,
    modalities: Sequence[str],
    readers: Readers = "random",
    confidence: float = 0.95,
) -> ReaderAnalysis:
    """The analysis of any figure, (modality, reader), with its covariance over cases, of the same two axes twice.

    Raises:
        UserInputError: fewer than two random readers, or fewer than one fixed.
    """
    n_readers = figures.shape[1]
    _enough(n_readers, readers)
    squares = _MeanSquares.of(figures)
    components = _components(squares, covariance)
    per_reader = _error_of_mean(squares, components, n_readers, readers)  # the variance of a mean, times readers
    statistic, freedom, p, reason = _test(squares, components, figures.shape, readers)
    means = [
        mean_of_readers(name, row, covariance[place, :, place], readers=readers, confidence=confidence)
        for place, (name, row) in enumerate(zip(modalities, figures, strict=True))
    ]
    differences = [
        _group_mean(
            f"{modalities[first]} above {modalities[second]}",
            float(figures[first].mean() - figures[second].mean()),
            variance=2 * per_reader / n_readers,
            freedom=freedom[1],
            confidence=confidence,
            is_difference=True,
        )
        for first, second in itertools.combinations(range(len(figures)), 2)
    ]
    return ReaderAnalysis(
        readers=readers,
        confidence=confidence,
        figures=tuple(tuple(row) for row in figures.tolist()),
        components=components,
        statistic=statistic,
        degrees_of_freedom=freedom,
        p=p,
        reason=reason,
        means=tuple(means),
        differences=tuple(differences),
    )


def jackknife_aucs(scores: Floats, outcomes: Outcomes, patients: Indices) -> tuple[Floats, Floats]:
    """The AUC of each list of scores, (list,), and their covariance, (list, list): each patient left out in turn.

    Raises:
        UserInputError: lengths differ, a score is not finite, or fewer than two patients have cases, or controls.
        UndefinedMetricError: there is no case or no control.
    """
    values, _ = delong_covariance(scores, outcomes, patients)  # which checks all of it
    n_patients = int(patients.max()) + 1
    rankings = [rank(each, outcomes, patients) for each in scores]
    n_in_a_chunk = max(1, MOST_CELLS // n_patients)
    left_out = []
    for start in range(0, n_patients, n_in_a_chunk):
        numbers = np.arange(start, min(start + n_in_a_chunk, n_patients))
        weights = np.ones((len(numbers), n_patients))
        weights[np.arange(len(numbers)), numbers] = 0
        left_out.append(np.column_stack([ranking.auc(weights) for ranking in rankings]))
    without = np.concatenate(left_out)  # (patient, list)
    centred = without - without.mean(axis=0)
    return values, centred.T @ centred * (n_patients - 1) / n_patients


_COVARIANCE_BY_METHOD = {"delong": delong_covariance, "jackknife": jackknife_aucs}


@dataclass(frozen=True, slots=True)
class _MeanSquares:
    """Of modality, reader, and both, as of an analysis of variance without repetition; NaN without a freedom."""

    modality: float
    reader: float
    both: float

    @classmethod
    def of(cls, figures: Floats) -> "_MeanSquares":
        n_modalities, n_readers = figures.shape
        by_modality, by_reader = figures.mean(axis=1, keepdims=True), figures.mean(axis=0, keepdims=True)
        rest = figures - by_modality - by_reader + figures.mean()
        squares = (
            n_readers * ((by_modality - figures.mean()) ** 2).sum(),
            n_modalities * ((by_reader - figures.mean()) ** 2).sum(),
            (rest**2).sum(),
        )
        freedoms = (n_modalities - 1, n_readers - 1, (n_modalities - 1) * (n_readers - 1))
        return cls(
            *(
                _square(square / freedom) if freedom else math.nan
                for square, freedom in zip(squares, freedoms, strict=True)
            )
        )


def _components(squares: _MeanSquares, covariance: Floats) -> VarianceComponents:
    n_modalities, n_readers = covariance.shape[:2]
    same_modality = np.eye(n_modalities, dtype=bool)[:, np.newaxis, :, np.newaxis]
    same_reader = np.eye(n_readers, dtype=bool)[np.newaxis, :, np.newaxis, :]
    error = float(covariance[same_modality & same_reader].mean())
    cov2 = _mean(covariance, same_modality & ~same_reader)
    if n_modalities == 1:
        reader = squares.reader - error + cov2 if n_readers > 1 else None
        return VarianceComponents(reader, None, None, cov2, None, error)
    cov1, cov3 = _mean(covariance, ~same_modality & same_reader), _mean(covariance, ~same_modality & ~same_reader)
    if n_readers == 1:
        return VarianceComponents(None, None, cov1, cov2, cov3, error)
    return VarianceComponents(
        reader=(squares.reader - squares.both) / n_modalities - cov1 + cov3,
        modality_reader=squares.both - error + cov1 + max(cov2 - cov3, 0.0),
        cov1=cov1,
        cov2=cov2,
        cov3=cov3,
        error=error,
    )


def _mean(covariance: Floats, where: NDArray[np.bool_]) -> float:
    """The mean of the entries of a kind; 0 where there are none, as between the readers of one."""
    entries = covariance[np.broadcast_to(where, covariance.shape)]
    return float(entries.mean()) if len(entries) else 0.0


def _error_of_mean(squares: _MeanSquares, components: VarianceComponents, n_readers: int, readers: Readers) -> float:
    """What the mean square of modalities is held against."""
    if components.cov1 is None or components.cov3 is None:
        return math.nan
    shared = max(components.cov2 - components.cov3, 0.0)
    if readers == "random":
        return squares.both + n_readers * shared
    return components.error - components.cov1 + (n_readers - 1) * shared


def _test(
    squares: _MeanSquares, components: VarianceComponents, shape: tuple[int, ...], readers: Readers
) -> tuple[float | None, tuple[float, float | None], float | None, str | None]:
    n_modalities, n_readers = shape
    freedom = n_modalities - 1
    if not freedom:
        return None, (0, None), None, "undefined: one modality, needs two to compare"
    error = _error_of_mean(squares, components, n_readers, readers)
    if not error > 0:
        return None, (freedom, None), None, "undefined: the readers differ by the same in all, and cases add nothing"
    statistic = squares.modality / error
    if readers == "fixed":
        return statistic, (freedom, None), float(stats.chi2.sf(statistic * freedom, freedom)), None
    of_error = _freedom(error, squares.both, freedom * (n_readers - 1))
    p = stats.chi2.sf(statistic * freedom, freedom) if of_error is None else stats.f.sf(statistic, freedom, of_error)
    return statistic, (freedom, of_error), float(p), None


def _square(value: float) -> float:
    return float(value) if value > _ROUNDING else 0.0


def _freedom(error: float, square: float, own: int) -> float | None:
    """Hillis's degrees of freedom of an error that holds a mean square with its own; None: without limit."""
    return error**2 / (square**2 / own) if square > 0 else None


def mean_of_readers(  # noqa: PLR0913  # figures and how to take them, the latter by name
    name: str,
    figures: Floats,
    covariance: Floats,
    *,
    readers: Readers,
    confidence: float,
    is_difference: bool = False,
) -> GroupMean:
    """The mean of figures, (reader,), of one modality, from these alone: Hillis 2007, `ddf_H_single`.

    Raises:
        UserInputError: fewer than two random readers, or fewer than one fixed.
    """
    n = len(figures)
    _enough(n, readers)
    of_two = covariance[~np.eye(n, dtype=bool)]
    shared = max(float(of_two.mean()), 0.0) if n > 1 else 0.0
    if readers == "random":
        square = _square(figures.var(ddof=1))
        error = square + n * shared
        freedom = _freedom(error, square, n - 1)
    else:
        error, freedom = float(np.diag(covariance).mean()) + (n - 1) * shared, None
    return _group_mean(
        name,
        float(figures.mean()),
        variance=error / n,
        freedom=freedom,
        confidence=confidence,
        is_difference=is_difference,
    )


def _group_mean(  # noqa: PLR0913  # the parts of one figure, all but the first two by name
    name: str, value: float, *, variance: float, freedom: float | None, confidence: float, is_difference: bool
) -> GroupMean:
    error = math.sqrt(max(variance, 0.0))
    distribution = stats.norm() if freedom is None else stats.t(freedom)
    margin = float(distribution.ppf((1 + confidence) / 2)) * error
    p = 2 * float(distribution.sf(abs(value) / error)) if is_difference and error > 0 else None
    low, high = value - margin, value + margin
    if not is_difference:
        low, high = max(low, 0.0), min(high, 1.0)
    return GroupMean(name, value, error, freedom, low, high, p)


def _enough(n_readers: int, readers: Readers) -> None:
    least = 2 if readers == "random" else 1
    if n_readers < least:
        raise UserInputError(
            f"readers: found {n_readers}, expected {least} or more; one reader says nothing of others, so take her "
            "as fixed"
        )
