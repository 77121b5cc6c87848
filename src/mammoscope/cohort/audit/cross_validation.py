"""How well one column predicts cancer on patients that it was not learned from: AUC with an interval over patients.

A column is turned into a score by the share of cases that each of its values has among the training patients, drawn to
the share of all where a value is rare (Micci-Barreca 2001, doi:10.1145/507533.507538). The AUC is that of the breasts
of each held-out fold, averaged over the folds: scores of different folds are never compared, because the shares of the
training patients mirror those of the held-out ones and would push the AUC of a useless column below 0.5.

The variance is that of the influence curve (LeDell, Petersen & van der Laan 2015, doi:10.1214/15-EJS1035), summed over
the breasts of a patient before it is squared. With one fold and one breast for each patient it is DeLong's
(doi:10.2307/2531595), with several breasts Obuchowski's (doi:10.2307/2533958) but for the factor of small samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammoscope.cohort.audit.shares import Z

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Outcomes = NDArray[np.bool_]

MOST_FOLDS = 5
MIN_FOLDS = 2
# as many breasts as a value needs to count for as much as the share of all: a value of one breast says next to nothing
SMOOTHING_BREASTS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Auc:
    """The mean AUC of the folds, with its 95 % interval; without one where the variance cannot be known."""

    value: float
    low: float | None
    high: float | None


def deal_into_folds(is_case: Outcomes, *, rng: np.random.Generator) -> Indices | None:
    """The fold of each patient, those with and those without cancer dealt alike; None with fewer than two of either."""
    n_folds = min(MOST_FOLDS, int(is_case.sum()), int((~is_case).sum()))
    if n_folds < MIN_FOLDS:
        return None
    folds = np.empty(len(is_case), dtype=np.intp)
    for group in (is_case, ~is_case):
        folds[group] = rng.permutation(int(group.sum())) % n_folds
    return folds  # (patient,)


def score_out_of_fold(codes: Indices, outcomes: Outcomes, folds: Indices) -> Floats:
    """For each breast the smoothed share of cases that its value has in the other folds.

    Args:
        codes: the value of each breast, as a number from 0 up.
        outcomes: whether each breast has cancer.
        folds: the fold of each breast.
    """
    shape = (int(codes.max()) + 1, int(folds.max()) + 1)
    cell = np.ravel_multi_index((codes, folds), shape)
    n_breasts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)  # (value, fold)
    n_cases = np.bincount(cell[outcomes], minlength=shape[0] * shape[1]).reshape(shape)
    return _score_values(n_breasts, n_cases)[codes, folds]  # (breast,)


def average_auc(n_breasts: Indices, n_cases: Indices) -> Floats:
    """The mean AUC of the folds as `auc_over_folds` has it for `score_out_of_fold`, from counts of (…, value, fold)."""
    scores = _score_values(n_breasts, n_cases)
    order = np.argsort(scores, axis=-2)
    scores = np.take_along_axis(scores, order, axis=-2)
    cases, controls = (np.take_along_axis(each, order, axis=-2) for each in (n_cases, n_breasts - n_cases))
    is_tied = np.zeros(scores.shape, dtype=np.bool_)
    is_tied[..., 1:, :] = scores[..., 1:, :] == scores[..., :-1, :]
    places = np.broadcast_to(np.arange(scores.shape[-2])[:, None], scores.shape)
    first = np.maximum.accumulate(np.where(is_tied, 0, places), axis=-2)  # the first value of the same score
    cases_below, controls_below = (
        np.take_along_axis(each.cumsum(axis=-2) - each, first, axis=-2) for each in (cases, controls)
    )
    n_won = (cases * controls_below - controls * cases_below).sum(axis=-2)  # (…, fold), pairs won less pairs lost
    aucs: Floats = 0.5 + n_won / (2 * cases.sum(axis=-2) * controls.sum(axis=-2))
    averages: Floats = aucs.mean(axis=-1)
    return averages


def _score_values(n_breasts: Indices, n_cases: Indices) -> Floats:
    """The smoothed share of cases that each value has in the other folds, from counts of (…, value, fold)."""
    others = n_breasts.sum(axis=-1, keepdims=True) - n_breasts  # (…, value, fold)
    cases_of_others = n_cases.sum(axis=-1, keepdims=True) - n_cases
    share = cases_of_others.sum(axis=-2, keepdims=True) / others.sum(axis=-2, keepdims=True)  # (…, 1, fold)
    scores: Floats = (cases_of_others + SMOOTHING_BREASTS * share) / (others + SMOOTHING_BREASTS)  # (…, value, fold)
    return scores


def auc_over_folds(scores: Floats, outcomes: Outcomes, *, folds: Indices, patients: Indices) -> Auc:
    """The mean AUC of the folds with its interval; every fold must hold a case and a control.

    Args:
        scores: of each breast.
        outcomes: whether each breast has cancer.
        folds: the fold of each breast.
        patients: the number of the patient of each breast, 0 and up.
    """
    n_folds = int(folds.max()) + 1
    influence, aucs = np.zeros(len(scores)), np.zeros(n_folds)
    for fold in range(n_folds):
        held_out = folds == fold
        aucs[fold], influence[held_out] = _influence(scores[held_out], outcomes[held_out])
    value = float(aucs.mean())
    for group in (outcomes, ~outcomes):
        n_patients = len(np.unique(patients[group]))
        if n_patients <= n_folds:
            return Auc(value=value, low=None, high=None)
        influence[group] *= np.sqrt(n_patients / (n_patients - n_folds))  # each fold took its own mean away
    half = Z * float(np.sqrt((np.bincount(patients, influence) ** 2).sum())) / n_folds
    if half == 0:  # no case and control out of order, or all scores alike: the variance is not known to be nothing
        return Auc(value=value, low=None, high=None)
    return Auc(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def _influence(scores: Floats, outcomes: Outcomes) -> tuple[float, Floats]:
    """The AUC of some breasts, ties counting half, and how far each breast moves it."""
    cases, controls = np.sort(scores[outcomes]), np.sort(scores[~outcomes])
    won = np.empty(len(scores))  # by a case, the share of controls below it; by a control, that of cases above it
    won[outcomes] = _share_below(scores[outcomes], controls)
    won[~outcomes] = 1 - _share_below(scores[~outcomes], cases)
    auc = float(won[outcomes].mean())
    return auc, (won - auc) / np.where(outcomes, len(cases), len(controls))


def _share_below(scores: Floats, others: Floats) -> Floats:
    """The share of the others, which are sorted, that each score is above; a tie counts half."""
    below = np.searchsorted(others, scores, side="left") + np.searchsorted(others, scores, side="right")
    return below / (2 * len(others))
