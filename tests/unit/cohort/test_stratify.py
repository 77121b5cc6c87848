from collections.abc import Callable

import polars as pl
import pytest

from mammoscope.cohort.stratify import STRATA, deal_patients, describe_strata, even_out, number_labels, order_of_name

ManifestOf = Callable[..., pl.DataFrame]


def deal(
    labels: list[list[int]], chance: list[int], *, cases: tuple[int, ...] = (), parts: tuple[int, ...] = (1, 1)
) -> list[int]:
    first = [number in cases for number in range(len(labels))]
    return deal_patients(labels, comes_first=first, parts=parts, chance=chance)


def test_the_rarest_label_is_dealt_first() -> None:
    """Patients 0 and 1 bear the rare label, and come first although their chance is high."""
    # patient 0: odd, fold 1; patient 1 to the other; then 5 (odd: 1), 3 (the other), 4 (even: 0), 2 (the other)
    assert deal([[0], [0], [1], [1], [1], [1]], [7, 8, 9, 4, 6, 1]) == [1, 0, 1, 0, 0, 1]


def test_all_labels_of_a_patient_decide() -> None:
    """Patient 2 bears both labels; the fold that has neither yet is the emptier, whatever chance says."""
    # label 0 is borne by 0, 2 and label 1 by 1, 2, 3: patient 0 goes to fold 0 (even), then patient 2 to the other,
    # which has label 0 and 1 now; patient 1 has the choice of both again and takes fold 0, patient 3 what is left
    assert deal([[0], [1], [0, 1], [1]], [2, 5, 8, 9]) == [0, 0, 1, 1]


@pytest.mark.parametrize("chance", range(4))
def test_a_label_keeps_a_patient_out_of_the_fold_that_is_full_of_it(chance: int) -> None:
    # 0 and 1 share a rare label; 2 and 3 are alike but for label 2, which 0 bears too: 3 goes where 0 is not
    folds = deal([[0, 2], [0], [1], [1, 2]], [chance, 1, 2, 3])
    assert folds[0] != folds[1]
    assert folds[0] != folds[3]


def test_cases_are_dealt_before_the_others() -> None:
    folds = deal([[0]] * 8, list(range(8)), cases=(1, 3, 5, 7))
    assert sorted(folds[case] for case in (1, 3, 5, 7)) == [0, 0, 1, 1]
    assert sorted(folds) == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(("parts", "n"), [((1, 4), 50), ((1, 24), 486), ((3, 7), 33), ((9, 1), 20), ((1, 1, 1), 10)])
def test_a_fold_has_its_share_to_less_than_one_patient(parts: tuple[int, ...], n: int) -> None:
    folds = deal([[number % 3] for number in range(n)], [(number * 7919) % 1009 for number in range(n)], parts=parts)
    for fold, part in enumerate(parts):
        assert abs(folds.count(fold) - n * part / sum(parts)) < 1


def test_a_small_hold_out_has_its_share_of_a_label_too() -> None:
    """A fifth of the patients bears label 1; a fifth is held out: two of ten."""
    folds = deal([[0, 1] if number < 10 else [0] for number in range(50)], [0] * 50, parts=(1, 4))
    assert folds[:10].count(0) == 2
    assert folds.count(0) == 10


def test_a_small_fold_waits_until_the_large_one_is_as_full_for_its_size() -> None:
    """A fifth of ten is held out; label 0 is on four patients, label 2 on all, so a patient fills, in halves:

    the small fold 1 / 0.8 and 1 / 2, 1.75 together; the large one 1 / 3.2 and 1 / 8, 0.4375 together. The large one
    has 0.4375 before the first, 1.31 before the second, 2.19 before the third, which is more than 1.75.
    """
    folds = deal([[0, 2]] * 4 + [[1, 2]] * 6, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19], parts=(1, 4))
    assert folds[:4] == [1, 1, 0, 1]


def test_exchanges_make_amounts_even_worked_by_hand() -> None:
    """Fold 0 has 3 + 3 of 10 images, fold 1 has 2 + 2: 3 for 2 makes both 5."""
    labels = [[0], [1], [2], [1], [0]]
    # patient 4 has no cancer and stays; the 3 of patient 1 goes for the 2 of patient 3, who bears the same label
    assert even_out([0, 0, 1, 1, 1], [3, 3, 2, 2, 0], labels=labels, parts=[1, 1]) == [0, 1, 1, 0, 1]


def test_what_no_exchange_mends_stays() -> None:
    assert even_out([0, 0, 1, 1], [3, 2, 2, 2], labels=[[0]] * 4, parts=[1, 1]) == [0, 0, 1, 1]  # 5 and 4
    assert even_out([0, 1, 1], [5, 1, 0], labels=[[0]] * 3, parts=[1, 1]) == [0, 1, 1]  # 1 for 5 is as far off
    assert even_out([0, 1], [0, 0], labels=[[0]] * 2, parts=[1, 1]) == [0, 1]


def test_of_exchanges_that_are_as_good_the_two_most_alike_are_taken() -> None:
    """6 + 3 against 2 + 1: 6 for 2 leaves 5 and 7, 3 for 1 leaves 7 and 5; these two share a label."""
    assert even_out([0, 0, 1, 1], [6, 3, 2, 1], labels=[[0], [1], [2], [1]], parts=[1, 1]) == [0, 1, 1, 0]


def test_shares_may_be_unequal() -> None:
    """A quarter of 12 is 3, where fold 0 has 2."""
    assert even_out([0, 1, 1, 1], [2, 3, 4, 3], labels=[[0]] * 4, parts=[1, 3]) == [1, 0, 1, 1]


def test_strata_of_a_patient(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True, False, None], sites=("1",)).with_columns(
        age_years=pl.Series([49.9] * 4 + [50.0] * 4 + [None] * 4, dtype=pl.Float64),
        implant=pl.Series([True] * 4 + [False] * 4 + [None] * 4),
    )
    assert describe_strata(manifest).rows() == [
        ("patient0", "case", "2", "1", "40 to 49", "A", "true", "4"),
        ("patient1", "control", "0", "1", "50 to 59", "B", "false", "4"),
        ("patient2", "undetermined", "0", "1", "unknown", "C", "unknown", "4"),
    ]


def test_a_control_with_an_undetermined_breast_is_undetermined_and_a_case_is_a_case(manifest_of: ManifestOf) -> None:
    one_side = pl.when(pl.col("laterality") == "L").then("cancer")
    strata = describe_strata(manifest_of([True, False]).with_columns(cancer=one_side))
    assert strata["outcome"].to_list() == ["case", "undetermined"]


def test_many_views_are_one_stratum(manifest_of: ManifestOf) -> None:
    views = pl.concat([manifest_of([False])[:1]] * 20)
    for n, expected in ((1, "1"), (8, "8"), (9, "9 or more"), (20, "9 or more")):
        assert describe_strata(views[:n])["views"].to_list() == [expected]


def test_a_patient_whose_images_differ_bears_the_labels_of_both(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([False])
    two = manifest.with_columns(density=pl.Series(["A", "A", "B", "B"]))
    assert describe_strata(two)["density"].to_list() == ["A", "B"]
    one, both = (len(number_labels(describe_strata(each))["patient0"]) for each in (manifest, two))
    assert one == len(STRATA) + len(STRATA) * (len(STRATA) - 1) // 2
    assert both == one + len(STRATA)  # the other density, alone and with each of the other strata


def test_labels_are_shared_by_those_who_are_alike(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([False, False, False], sites=("1", "1", "2")).with_columns(
        age_years=pl.lit(50.0), density=pl.lit("B")
    )
    labels = number_labels(describe_strata(manifest))
    assert list(labels) == ["patient0", "patient1", "patient2"]
    assert labels["patient0"] == labels["patient1"]
    assert len(set(labels["patient0"]) - set(labels["patient2"])) == len(STRATA)  # site, alone and in pairs
    assert sorted({label for each in labels.values() for label in each}) == list(range(28 + 7))


def test_names_are_in_the_order_of_numbers_then_texts_then_none() -> None:
    names = [None, "b", "10", "", "9", "a", "-1"]
    assert sorted(names, key=order_of_name) == ["9", "10", "", "-1", "a", "b", None]
