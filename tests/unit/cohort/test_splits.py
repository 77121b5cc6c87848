import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest

from mammoscope.cohort.manifest import SCHEMA, manifest_hash, write_manifest
from mammoscope.cohort.splits import (
    assign_folds,
    count_travellers,
    hold_out,
    import_folds,
    leave_one_out,
    list_places,
    read_fold_table,
    summarise_folds,
)
from mammoscope.errors import LeakageError, TableError, UserInputError

ManifestOf = Callable[..., pl.DataFrame]


class _Bits:
    """A generator whose raw bits are written down."""

    def __init__(self, *bits: int) -> None:
        self.bits, self.bit_generator = bits, self

    def random_raw(self, size: int) -> list[int]:
        assert size == len(self.bits)
        return list(self.bits)


def split(manifest: pl.DataFrame, n_folds: int = 2, seed: int = 0) -> pl.DataFrame:
    return assign_folds(manifest, n_folds=n_folds, rng=np.random.default_rng(seed))


def test_a_patient_is_in_one_fold(manifest: pl.DataFrame) -> None:
    folds = split(manifest).group_by("patient_id").agg(pl.col("fold").n_unique())
    assert folds["fold"].to_list() == [1] * 5


def test_splitting_changes_nothing_but_the_fold(manifest: pl.DataFrame) -> None:
    assert split(manifest).drop("fold").equals(manifest.drop("fold"))


def test_the_same_seed_gives_the_same_folds_whatever_the_order_of_the_rows(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True, False] * 20)
    once, again = split(manifest), split(manifest.reverse())
    assert once.equals(split(manifest))
    assert once.equals(again.reverse())


def test_another_seed_gives_other_folds(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True, False] * 20)
    assert not split(manifest, seed=0).equals(split(manifest, seed=1))


def test_splitting_again_forgets_the_old_folds(manifest: pl.DataFrame) -> None:
    assert split(split(manifest, seed=3), seed=1).equals(split(manifest, seed=1))


def test_every_site_is_dealt_evenly_among_the_cases(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True] * 8 + [False] * 32, sites=("1", "2", "2", "2"))
    alike = manifest.with_columns(age_years=pl.lit(50.0), density=pl.lit("B"))
    counts = split(alike, n_folds=2).filter("cancer").group_by("site", "fold").agg(pl.col("patient_id").n_unique())
    # 2 cases of site 1, 6 cases of site 2
    assert sorted(counts.rows()) == [("1", 0, 1), ("1", 1, 1), ("2", 0, 3), ("2", 1, 3)]


def test_patients_with_cancer_in_both_breasts_are_spread(manifest_of: ManifestOf) -> None:
    two_sided = pl.col("patient_id").is_in(["patient0", "patient1", "patient2", "patient3"])
    manifest = manifest_of([True] * 12).with_columns(cancer=pl.col("cancer") | two_sided)
    assert summarise_folds(split(manifest, n_folds=4))["n_cases"].to_list() == [4, 4, 4, 4]


@pytest.mark.parametrize(("amounts", "gap"), [([1, 3, 5, 7], 0), ([2, 3, 4, 9, 1, 1], 2)])
@pytest.mark.parametrize("seed", range(4))
def test_the_images_of_the_cases_are_as_even_as_exchanges_make_them(amounts: list[int], gap: int, seed: int) -> None:
    """1 + 7 and 3 + 5 images with cancer; the fold of the 9 has 9 + 1 + 1 of 20 at least. Dealing brings 4 and 6."""
    rows = [
        {"patient_id": f"{number}", "image_id": f"{number} {image}", "cancer": amount > 0, "site": str(number % 3)}
        for number, amount in enumerate([*amounts, *[0] * 6])
        for image in range(max(1, amount))
    ]
    common = {"laterality": "L", "view": "CC", "source": "test"}
    filled = [dict.fromkeys(SCHEMA) | common | row | {"exam_id": row["patient_id"]} for row in rows]
    folds = split(pl.DataFrame(filled, schema=SCHEMA), seed=seed)
    n_images = summarise_folds(folds)["n_cancer_images"].to_list()
    assert abs(n_images[0] - n_images[1]) == gap


def test_undetermined_patients_are_dealt_with_the_controls(manifest_of: ManifestOf) -> None:
    folds = summarise_folds(split(manifest_of([True, True, None, None]), n_folds=2))
    assert folds["n_patients"].to_list() == [2, 2]
    assert folds["n_cases"].to_list() == [1, 1]


def test_the_summary_counts_patients_images_and_breasts(manifest: pl.DataFrame) -> None:
    folds = manifest.with_columns(fold=pl.when(pl.col("patient_id") == "patient0").then(0).otherwise(1).cast(pl.Int64))
    # three patients of fold 1 have an outcome: one case among six breasts
    expected = [(0, 1, 4, 2, 1, 2, 1 / 2, 2 / 4), (1, 4, 16, 8, 1, 2, 1 / 6, 2 / 12)]
    assert summarise_folds(folds).rows() == expected


def test_the_summary_of_those_without_outcome_has_no_prevalence_and_those_never_held_out_come_last(
    manifest: pl.DataFrame,
) -> None:
    folds = manifest.with_columns(fold=pl.when(pl.col("patient_id") == "patient2").then(0).cast(pl.Int64))
    summary = summarise_folds(folds)
    assert summary["fold"].to_list() == [0, None]
    assert summary["breast_prevalence"].to_list() == [None, 2 / 8]
    assert summary["image_prevalence"].to_list() == [None, 4 / 16]


@pytest.mark.parametrize("n_folds", [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(manifest: pl.DataFrame, n_folds: int) -> None:
    with pytest.raises(UserInputError, match=f"--folds: found {n_folds}, expected 2 or more"):
        split(manifest, n_folds=n_folds)


def test_more_folds_than_patients_or_cases_are_refused(manifest: pl.DataFrame, manifest_of: ManifestOf) -> None:
    with pytest.raises(UserInputError, match="--folds: found 6, but only 5 patients; expected at most 5 folds"):
        split(manifest, n_folds=6)
    with pytest.raises(UserInputError, match="--folds: found 3, but only 2 patients with cancer; expected at most 2"):
        split(manifest, n_folds=3)
    with pytest.raises(UserInputError, match="--folds: found 0 patients with cancer in the cohort, expected 2 or more"):
        split(manifest_of([False] * 4))
    with pytest.raises(UserInputError, match="--folds: found 1 patients in the cohort, expected 2 or more"):
        split(manifest_of([True]))


def test_as_many_folds_as_cases_is_the_limit(manifest: pl.DataFrame) -> None:
    assert summarise_folds(split(manifest, n_folds=2))["n_cases"].to_list() == [1, 1]


# the same folds on every machine


def test_folds_worked_by_hand(manifest_of: ManifestOf) -> None:
    """Two cases, then four controls, who differ in nothing that is stratified by."""
    manifest = manifest_of([True, False, False, True, False, False], sites=("1",))
    alike = manifest.with_columns(age_years=pl.lit(50.0), density=pl.lit("B"))
    bits = _Bits(8, 9, 4, 2, 6, 1)  # of patient0 to patient5
    folds = assign_folds(alike, n_folds=2, rng=cast("np.random.Generator", bits))
    # Cases in the order of their bits: patient3 (2, even: fold 0), patient0 to the other.
    # Controls: patient5 (1, odd: fold 1), patient2 to the other; patient4 (6, even: fold 0), patient1 to the other.
    expected = {"patient3": 0, "patient0": 1, "patient5": 1, "patient2": 0, "patient4": 0, "patient1": 1}
    assert dict(folds.select("patient_id", "fold").iter_rows()) == expected


def test_the_raw_bits_are_those_that_numpy_promises() -> None:
    """The first two of numpy's own reference file, numpy/random/tests/data/pcg64-testset-1.csv."""
    assert np.random.PCG64(0xDEADBEAF).random_raw(2).tolist() == [0x60D24054E17A0698, 0xD5E79D89856E4F12]


def test_another_order_of_hashes_gives_the_same_folds(manifest_of: ManifestOf, tmp_path: Path) -> None:
    manifest = manifest_of([True, False, None, False] * 20, sites=("1", "2", "3"))
    write_manifest(manifest, tmp_path)
    code = (
        "import sys, numpy; from pathlib import Path; from mammoscope.cohort.manifest import *; "
        "from mammoscope.cohort.splits import assign_folds; "
        "rng = numpy.random.Generator(numpy.random.PCG64(0)); "
        "print(manifest_hash(assign_folds(read_manifest(Path(sys.argv[1])), n_folds=3, rng=rng)))"
    )
    hashes = [
        subprocess.run(  # noqa: S603  # our own words
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert hashes == [manifest_hash(split(manifest, n_folds=3))] * 2


# one hold-out


def test_a_hold_out_is_fold_0_and_the_others_have_none(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True] * 10 + [False] * 40)
    held = hold_out(manifest, share=0.2, rng=np.random.default_rng(0))
    patients = held.select("patient_id", "fold").unique()
    assert patients.height == 50
    assert dict(patients.group_by("fold").len().iter_rows()) == {0: 10, None: 40}
    assert held.filter("cancer").group_by("fold").agg(pl.col("patient_id").n_unique()).sort("fold").rows() == [
        (None, 8),
        (0, 2),
    ]
    assert held.drop("fold").equals(manifest.drop("fold"))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(manifest: pl.DataFrame, share: float) -> None:
    with pytest.raises(
        UserInputError, match=r"^--hold-out: found .*, expected a share between 0 and 1, such as 0\.04$"
    ):
        hold_out(manifest, share=share, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("share", "side"), [(0.49, "hold out"), (0.51, "train on"), (0.04, "hold out")])
def test_a_share_without_a_case_on_either_side_is_refused(manifest: pl.DataFrame, share: float, side: str) -> None:
    with pytest.raises(
        UserInputError, match=f"found {share} of 2 patients with cancer, which leaves .* one to {side};"
    ):
        hold_out(manifest, share=share, rng=np.random.default_rng(0))
    assert hold_out(manifest, share=0.5, rng=np.random.default_rng(0)).filter("cancer")["fold"].n_unique() == 2


# one site or machine left out


def test_a_fold_for_each_site_in_the_order_of_their_numbers(manifest_of: ManifestOf) -> None:
    manifest = manifest_of([True, False, None, False], sites=("10", "9", "2"))
    left = leave_one_out(manifest, "site")
    assert list_places(manifest, "site") == ["2", "9", "10"]
    assert set(left.select("site", "fold").iter_rows()) == {("2", 0), ("9", 1), ("10", 2)}


def test_places_that_are_no_numbers_come_after_those_that_are(manifest_of: ManifestOf) -> None:
    assert list_places(manifest_of([True] * 4, sites=("b", "10", "a", "9")), "site") == ["9", "10", "a", "b"]


@pytest.mark.parametrize(
    ("machines", "fold"), [(["1", "1", "1", "2"], 0), (["1", "2", "2", "2"], 1), (["2", "2", "1", "1"], 0)]
)
def test_a_patient_of_two_machines_stands_whole_where_most_of_her_images_are(
    manifest_of: ManifestOf, machines: list[str], fold: int
) -> None:
    machine = pl.Series("machine", [*machines, *["1"] * 4, *["2"] * 4])
    manifest = manifest_of([True, False, True]).with_columns(machine)
    folds = leave_one_out(manifest, "machine")
    assert folds["fold"].to_list() == [fold] * 4 + [0] * 4 + [1] * 4
    assert count_travellers(manifest, "machine") == 1
    assert count_travellers(manifest, "site") == 0


def test_an_unknown_or_only_place_is_refused(manifest: pl.DataFrame, manifest_of: ManifestOf) -> None:
    with pytest.raises(TableError, match="--leave-one-out machine: unknown for 20 of 20 images, expected it for every"):
        leave_one_out(manifest, "machine")
    with pytest.raises(TableError, match="--leave-one-out site: found only '7', expected 2 or more to leave out"):
        leave_one_out(manifest_of([True, False], sites=("7",)), "site")


# folds of another table


def _import(manifest: pl.DataFrame, table: dict[str, list[object]], column: str = "fold") -> pl.DataFrame:
    return import_folds(manifest, pl.DataFrame(table), column=column, where="folds.csv")


@pytest.mark.parametrize("values", [["3", None, "0", "1.0", "1"], [3, None, 0, 1, 1], [3.0, None, 0.0, 1.0, 1.0]])
def test_folds_are_taken_by_patient(manifest: pl.DataFrame, values: list[object]) -> None:
    ids: list[object] = [f"patient{number}" for number in range(5)]
    imported = _import(manifest, {"patient_id": [*ids, "another"], "part": [*values, values[0]]}, "part")
    assert imported["fold"].to_list() == [fold for fold in (3, None, 0, 1, 1) for _ in range(4)]
    assert imported.drop("fold").equals(manifest.drop("fold"))


def test_folds_are_taken_by_image_where_the_table_names_images(manifest: pl.DataFrame) -> None:
    shuffled = manifest.sample(fraction=1, shuffle=True, seed=1)
    folds = [int(patient[-1]) for patient in shuffled["patient_id"]]
    table = pl.DataFrame({"image_id": shuffled["image_id"], "patient_id": "unread", "fold": folds})
    imported = import_folds(manifest, table, column="fold", where="t")
    assert imported["fold"].to_list() == [number for number in range(5) for _ in range(4)]


def test_numbers_as_ids_are_those_of_the_cohort(manifest: pl.DataFrame) -> None:
    numbered = manifest.with_columns(pl.col("patient_id").str.tail(1))
    assert _import(numbered, {"patient_id": [0, 1, 2, 3, 4], "fold": [0, 0, 0, 0, 1]})["fold"].sum() == 4


def test_a_patient_in_two_folds_is_named(manifest: pl.DataFrame) -> None:
    folds: list[object] = [0] * 20
    folds[5] = folds[19] = 1  # an image of patient1 and of patient4
    with pytest.raises(
        LeakageError, match=r"^folds\.csv: patients in more than one fold: patient1, patient4; expected"
    ) as leakage:
        _import(manifest, {"image_id": manifest["image_id"].to_list(), "fold": folds})
    assert leakage.value.patient_ids == ("patient1", "patient4")
    ids: list[object] = ["patient0", *[f"patient{number}" for number in range(5)]]
    with pytest.raises(LeakageError, match="in more than one fold: patient0; expected each in one; mend the table"):
        _import(manifest, {"patient_id": ids, "fold": [None, 0, 0, 1, 1, 1]})


def test_of_many_torn_patients_eight_are_named(manifest_of: ManifestOf) -> None:
    ids: list[object] = [f"patient{number}" for number in range(10)]
    with pytest.raises(LeakageError, match=r": patient0, .*, patient7 and 2 more; expected"):
        _import(manifest_of([True] * 10), {"patient_id": ids * 2, "fold": [*[0] * 10, *[1] * 10]})


@pytest.mark.parametrize("bad", ["-1", "a", "1.5", "training", "1e3", " "])
def test_a_fold_that_is_no_whole_number_is_refused_with_its_row(manifest: pl.DataFrame, bad: str) -> None:
    ids: list[object] = [f"patient{number}" for number in range(5)]
    expected = "expected a whole number from 0 up, or nothing where the patient is never held out"
    sentence = f"part: found '{bad}', {expected}"
    with pytest.raises(TableError, match=rf"^folds\.csv: 2 problems\n  row 3, {sentence}\n  row 5, {sentence}$"):
        _import(manifest, {"patient_id": ids, "part": ["0", None, bad, "1", bad]}, "part")


def test_a_table_that_lacks_columns_or_images_is_refused(manifest: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="columns missing: patient_id, fold; found a; expected image_id or patient_id"):
        _import(manifest, {"a": [1]})
    with pytest.raises(TableError, match=r"^folds\.csv: columns missing: part; found patient_id, fold;"):
        _import(manifest, {"patient_id": ["patient0"], "fold": [1]}, "part")
    with pytest.raises(
        TableError, match=r"no row for 16 of 20 images of the cohort, such as 1LCC, expected each .* add rows, with an"
    ):
        _import(manifest, {"patient_id": ["patient0", None], "fold": [1, 2]})


@pytest.mark.parametrize("fold", [0, None])
def test_a_table_that_holds_nothing_out_is_refused(manifest: pl.DataFrame, fold: int | None) -> None:
    ids: list[object] = [f"patient{number}" for number in range(5)]
    with pytest.raises(
        TableError, match="all patients of the cohort stand in one fold, or in none; expected two folds"
    ):
        _import(manifest, {"patient_id": ids, "fold": [fold] * 5})


def test_tables_of_folds_may_be_csv_or_parquet(tmp_path: Path) -> None:
    table = pl.DataFrame({"patient_id": ["1", "2"], "fold": ["0", None]})
    table.write_csv(tmp_path / "folds.csv")
    table.write_parquet(tmp_path / "folds.parquet")
    assert read_fold_table(tmp_path / "folds.csv").equals(table)
    assert read_fold_table(tmp_path / "folds.parquet").equals(table)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"torn\.parquet: not a Parquet file that can be read"):
        read_fold_table(tmp_path / "torn.parquet")
    with pytest.raises(TableError, match="no such file, expected a CSV or Parquet table with the folds"):
        read_fold_table(tmp_path / "none.parquet")
