"""What chance makes of the AUC of columns: outcomes are dealt to patients anew, and every column is measured again.

A column of no use does not have an AUC of 0.5 out of fold, and not one that is normally distributed around it: its
direction comes from the same patients, so that an interval of the AUC holds 0.5 too seldom. So a column is believed
where its AUC is above what it, or any other column, reaches with dealt outcomes: the single-step maximum of Westfall &
Young 1993 (Resampling-Based Multiple Testing, section 2.3), each column by its own mean and spread. At most one cohort
in twenty in which no column tells of cancer has any column below p = 0.05, however few of its patients have cancer.
"""

from collections.abc import Sequence

import numpy as np

from mammoscope.cohort.audit.cross_validation import Floats, Indices, Outcomes, average_auc

N_DRAWS = 499  # with the outcomes as they are 500, so that 0.05 is a whole number of them
LEVEL = 0.05
_MOST_AT_ONCE = 2_000_000  # breasts of all draws in memory together
_ROUNDING = 1e-9  # of what is reckoned in another order


def judge_columns(
    columns: Sequence[Indices], outcomes: Outcomes, *, patients: Indices, folds: Indices, rng: np.random.Generator
) -> Floats:
    """The p value of the AUC of each column, corrected for all of them, 1 / 500 at the least.

    Args:
        columns: the values of the breasts in each column, as numbers from 0 up.
        outcomes: whether each breast has cancer.
        patients: the number of the patient of each breast, 0 and up.
        folds: the fold of each patient.
        rng: deals outcomes and folds.
    """
    if not columns:
        return np.empty(0)
    n_at_once = max(1, _MOST_AT_ONCE // len(outcomes))
    rows = [_measure(columns, outcomes[None], folds[None, patients])]
    for start in range(0, N_DRAWS, n_at_once):
        n_draws = min(n_at_once, N_DRAWS - start)
        dealt = deal_outcomes(outcomes, patients, n_draws=n_draws, rng=rng)
        rows.append(_measure(columns, dealt, _deal_folds(dealt, patients, n_folds=int(folds.max()) + 1, rng=rng)))
    aucs = np.concatenate(rows)  # (draw, column), the outcomes as they are first
    spread = aucs.std(axis=0)
    distance = (aucs - aucs.mean(axis=0)) / np.where(spread > 0, spread, 1)
    highest = distance.max(axis=1, keepdims=True)  # (draw, 1)
    p_values: Floats = (highest >= distance[0] - _ROUNDING).mean(axis=0)
    return p_values  # (column,)


def deal_outcomes(outcomes: Outcomes, patients: Indices, *, n_draws: int, rng: np.random.Generator) -> Outcomes:
    """Outcomes of the breasts that know nothing of any column, (draw, breast).

    As many patients as before have as many breasts with cancer; who they are is for chance, in proportion to their
    breasts, so that each breast is as likely to have cancer. Which of hers it is, is for chance too; if there are
    several, they follow on one another.
    """
    n_breasts = np.bincount(patients)
    n_cases = np.bincount(patients, outcomes).astype(np.intp)
    # the order of the largest log(weight) + Gumbel is that of weighted draws one by one (Yellott 1977)
    keys = np.log(n_breasts) + rng.gumbel(size=(n_draws, len(n_breasts)))
    dealt = np.zeros(keys.shape, dtype=np.intp)  # (draw, patient)
    for number in np.unique(n_cases[n_cases > 0])[::-1]:
        may_have = np.where(n_breasts >= number, keys, -np.inf)
        n_chosen = int((n_cases == number).sum())
        chosen = np.argpartition(-may_have, n_chosen - 1, axis=1)[:, :n_chosen]
        np.put_along_axis(dealt, chosen, number, axis=1)
        np.put_along_axis(keys, chosen, -np.inf, axis=1)
    order = np.argsort(patients, kind="stable")
    place = np.empty(len(patients), dtype=np.intp)  # of a breast among hers
    place[order] = np.arange(len(patients)) - np.repeat(np.cumsum(n_breasts) - n_breasts, n_breasts)
    first = rng.integers(0, n_breasts, size=dealt.shape)  # (draw, patient)
    turned = (place - first[:, patients]) % n_breasts[patients]  # (draw, breast)
    is_case: Outcomes = turned < dealt[:, patients]
    return is_case


def _deal_folds(outcomes: Outcomes, patients: Indices, *, n_folds: int, rng: np.random.Generator) -> Indices:
    """The fold of each breast, (draw, breast), dealt as `deal_into_folds` does."""
    n_patients = int(patients.max()) + 1
    is_case = np.zeros((len(outcomes), n_patients), dtype=np.bool_)
    draws, breasts = np.nonzero(outcomes)
    is_case[draws, patients[breasts]] = True
    order = np.argsort(rng.random(is_case.shape) - is_case, axis=1)  # (draw, patient), those with cancer first
    places = np.arange(n_patients)
    n_cases = int(is_case[0].sum())
    folds = np.empty(is_case.shape, dtype=np.intp)
    np.put_along_axis(folds, order, np.where(places < n_cases, places, places - n_cases)[None] % n_folds, axis=1)
    return folds[:, patients]


def _measure(columns: Sequence[Indices], outcomes: Outcomes, folds: Indices) -> Floats:
    """The AUC of each column in each draw, (draw, column)."""
    n_draws, n_folds = len(outcomes), int(folds.max()) + 1
    draws, breasts = np.nonzero(outcomes)
    aucs = np.empty((n_draws, len(columns)))
    for number, codes in enumerate(columns):
        shape = (n_draws, int(codes.max()) + 1, n_folds)
        cell = (np.arange(n_draws)[:, None] * shape[1] + codes) * n_folds + folds  # (draw, breast)
        n_breasts = np.bincount(cell.ravel(), minlength=np.prod(shape)).reshape(shape)  # (draw, value, fold)
        n_cases = np.bincount(cell[draws, breasts], minlength=np.prod(shape)).reshape(shape)
        aucs[:, number] = average_auc(n_breasts, n_cases)
    return aucs
