"""Which fold a patient goes to, so that every fold is like the whole: iterative stratification over whole patients.

After Sechidis, Tsoumakas and Vlahavas 2011 (doi:10.1007/978-3-642-23808-6_10): the label that the fewest patients
still to be placed bear is dealt out first. Three things differ. Pairs of labels are labels too (Szymański and
Kajdanowicz 2017, arXiv:1704.08756), so that strata are even jointly. No fold runs ahead of its share of patients, which
keeps the numbers of patients with cancer even to one. Among the folds that may have a patient, all labels of the
patient decide, not the rarest alone. At last, patients with cancer who are alike but for the number of their cancer
images are exchanged, until the images too are as even as that makes them. `benchmarks/splits.py` measures what this
brings.

Everything is counted in whole numbers and compared in a fixed order, so that no machine's rounding, hashing or sorting
decides.
"""

import heapq
from collections.abc import Sequence
from itertools import combinations

import polars as pl

AGE_BAND_YEARS = 10
MOST_VIEWS = 9  # images of a patient; more are one stratum
UNKNOWN = "unknown"
UNDETERMINED = "undetermined"
STRATA = ("outcome", "cancer_images", "site", "age_band", "density", "implant", "views")
_GROUPS = (*combinations(range(len(STRATA)), 1), *combinations(range(len(STRATA)), 2))
_MOST_COMPARED = 200  # so that an exchange takes a fraction of a second, however many cases there are
_FINENESS = 2**40  # how full a label is in a fold is compared in whole numbers of this fineness


def describe_strata(manifest: pl.DataFrame) -> pl.DataFrame:
    """The strata of each patient, each row once: `patient_id` and the columns of `STRATA`, all text, none null.

    A patient whose images differ, such as by density, has a row for each. `outcome` is `case` where any breast is one,
    else `undetermined` where any breast is, else `control`; `views` counts the patient's images.
    """
    n_images = pl.len().over("patient_id")
    outcome = (
        pl.when(pl.col("cancer").any().over("patient_id"))
        .then(pl.lit("case"))
        .when(pl.col("cancer").is_null().any().over("patient_id"))
        .then(pl.lit(UNDETERMINED))
        .otherwise(pl.lit("control"))
    )
    strata = manifest.select(
        "patient_id",
        outcome.alias("outcome"),
        pl.col("cancer").sum().over("patient_id").cast(pl.String).alias("cancer_images"),
        pl.col("site").fill_null(UNKNOWN),
        name_age_band().fill_null(UNKNOWN).alias("age_band"),
        pl.col("density").fill_null(UNKNOWN),
        pl.col("implant").cast(pl.String).fill_null(UNKNOWN),
        pl.when(n_images < MOST_VIEWS)
        .then(n_images.cast(pl.String))
        .otherwise(pl.lit(f"{MOST_VIEWS} or more"))
        .alias("views"),
    )
    return strata.unique().sort("patient_id", *STRATA)


def start_age_band() -> pl.Expr:
    """The first year of the band of ten years that an age is in."""
    return (pl.col("age_years") // AGE_BAND_YEARS * AGE_BAND_YEARS).cast(pl.Int64)


def name_age_band() -> pl.Expr:
    """The band of ten years that an age is in, such as `50 to 59`."""
    return pl.format("{} to {}", start_age_band(), start_age_band() + AGE_BAND_YEARS - 1)


def order_of_name(name: str | None) -> tuple[bool, bool, int, str]:
    """What sites, machines and other values are sorted by: numbers by size, then texts by the alphabet, then None."""
    number = int(name) if name is not None and name.isdecimal() else None
    return name is None, number is None, number or 0, name or ""


def number_labels(strata: pl.DataFrame) -> dict[str, list[int]]:
    """The labels of each patient, a number for each stratum and each pair of strata; patients in the order of ids."""
    keys_by_patient: dict[str, set[tuple[int, ...] | tuple[int | str, ...]]] = {}
    for patient_id, *values in strata.sort("patient_id").iter_rows():
        keys = ((number, *(values[place] for place in group)) for number, group in enumerate(_GROUPS))
        keys_by_patient.setdefault(patient_id, set()).update(keys)
    number_by_key = {key: number for number, key in enumerate(sorted(set().union(*keys_by_patient.values())))}
    return {patient_id: sorted(number_by_key[key] for key in keys) for patient_id, keys in keys_by_patient.items()}


def deal_patients(
    labels: Sequence[Sequence[int]], *, comes_first: Sequence[bool], parts: Sequence[int], chance: Sequence[int]
) -> list[int]:
    """The fold of each patient, 0 and up; no fold has one patient more than its share, or one who comes first.

    Args:
        labels: of each patient, numbers from 0 without a gap.
        comes_first: the patients who are dealt before the others: those with cancer.
        parts: the size of each fold, in parts of the whole: (1, 1) for halves, (1, 24) for 4 % and the rest.
        chance: a random number of each patient, which decides the order and where nothing else does.
    """
    dealer = _Dealer(labels, parts)
    for group in (True, False):
        patients = sorted((each for each, first in enumerate(comes_first) if first is group), key=chance.__getitem__)
        for patient in _rarest_first(patients, labels):
            dealer.place(patient, chance[patient])
    return dealer.folds


def even_out(
    folds: Sequence[int], amounts: Sequence[int], *, labels: Sequence[Sequence[int]], parts: Sequence[int]
) -> list[int]:
    """The folds after exchanges that bring their sums of the amounts (cancer images) nearer to their shares.

    Only patients with an amount are exchanged, one for one, those with the most labels in common; so numbers of
    patients stay. It ends when no exchange between the fold with the most above its share and the one with the least
    makes the two more even.
    """
    evened, whole, total = list(folds), sum(parts), sum(amounts)
    while True:
        excess = [-part * total for part in parts]  # in parts of one, so that it stays a whole number
        for fold, amount in zip(evened, amounts, strict=True):
            excess[fold] += amount * whole
        fullest, emptiest = excess.index(max(excess)), excess.index(min(excess))
        gap = excess[fullest] - excess[emptiest]
        exchanges = [
            (abs(gap - 2 * whole * (amounts[giver] - amounts[taker])), _difference(labels, giver, taker), giver, taker)
            for giver in _members(evened, fullest, amounts)
            for taker in _members(evened, emptiest, amounts)
            if 0 < whole * (amounts[giver] - amounts[taker]) < gap
        ]
        if not exchanges:
            return evened
        _, _, giver, taker = min(exchanges)
        evened[giver], evened[taker] = emptiest, fullest


def _members(folds: Sequence[int], fold: int, amounts: Sequence[int]) -> list[int]:
    """The patients of a fold with an amount; of each amount no more than it takes to find two who are alike."""
    by_amount: dict[int, list[int]] = {}
    for patient, amount in enumerate(amounts):
        if amount and folds[patient] == fold:
            by_amount.setdefault(amount, []).append(patient)
    return [patient for members in by_amount.values() for patient in members[:_MOST_COMPARED]]


def _difference(labels: Sequence[Sequence[int]], one: int, other: int) -> int:
    return len(set(labels[one]) ^ set(labels[other]))


def _rarest_first(patients: Sequence[int], labels: Sequence[Sequence[int]]) -> list[int]:
    """The patients in the order of Sechidis: all who bear the label that is the rarest among those left, and so on."""
    bearers: dict[int, list[int]] = {}
    for patient in patients:
        for label in labels[patient]:
            bearers.setdefault(label, []).append(patient)
    n_left = {label: len(each) for label, each in bearers.items()}
    heap = [(count, label) for label, count in n_left.items()]
    heapq.heapify(heap)
    ordered: dict[int, None] = {}
    while heap:
        count, rarest = heapq.heappop(heap)
        if count != n_left[rarest]:
            continue  # its count has fallen since, and stands in the heap anew
        placed = [patient for patient in bearers[rarest] if patient not in ordered]
        ordered.update(dict.fromkeys(placed))
        touched = [label for patient in placed for label in labels[patient]]
        for label in touched:
            n_left[label] -= 1
        for label in set(touched) - {rarest}:
            heapq.heappush(heap, (n_left[label], label))
    return list(ordered)


class _Dealer:
    """The folds while they fill: how many patients each has, and how full it is of each label."""

    def __init__(self, labels: Sequence[Sequence[int]], parts: Sequence[int]) -> None:
        self.labels, self.parts, self.whole = labels, parts, sum(parts)
        self.folds = [-1] * len(labels)
        self.n_placed = 0
        self.sizes = [0] * len(parts)
        n_bearers = [0] * (1 + max(label for each in labels for label in each))
        for each in labels:
            for label in each:
                n_bearers[label] += 1
        # what half a patient adds to how full a fold is of a label; from the half, so that small folds are not
        # ahead of large ones with their first patient (Webster's rounding)
        self.half_step = [[_FINENESS * self.whole // (n * part) for part in parts] for n in n_bearers]
        self.fullness = [list(steps) for steps in self.half_step]

    def place(self, patient: int, chance: int) -> None:
        """Give a patient to the fold that is the least full of her labels, of those not ahead of their share."""
        may_have = [
            fold
            for fold, part in enumerate(self.parts)
            if self.sizes[fold] * self.whole < (self.n_placed + 1) * part  # less than one patient ahead, with this one
        ]
        fullness = {fold: sum(self.fullness[label][fold] for label in self.labels[patient]) for fold in may_have}
        least = min(fullness.values())
        tied = [fold for fold in may_have if fullness[fold] == least]
        fold = tied[chance % len(tied)]
        self.folds[patient] = fold
        self.sizes[fold] += 1
        self.n_placed += 1
        for label in self.labels[patient]:
            self.fullness[label][fold] += 2 * self.half_step[label][fold]
