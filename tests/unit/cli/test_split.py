import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import manifest_hash, read_manifest, write_manifest

CliRun = Callable[..., tuple[int, str, str]]


def test_folds_are_written_into_the_manifest(run_cli: CliRun, tmp_cohort: Path) -> None:
    code, out, err = run_cli("split", tmp_cohort, "--folds", 2)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "split"
    assert out.splitlines()[-1] == f"  manifest: {tmp_cohort / 'manifest.parquet'}"
    assert sorted(read_manifest(tmp_cohort)["fold"].unique()) == [0, 1]


def test_the_summary_for_machines_counts_as_the_manifest(run_cli: CliRun, tmp_cohort: Path) -> None:
    _, out, _ = run_cli("split", tmp_cohort, "--folds", 2, "--json")
    summary, manifest = json.loads(out), read_manifest(tmp_cohort)
    assert summary["manifest"] == str(tmp_cohort / "manifest.parquet")
    assert summary["sha256"] == manifest_hash(manifest)
    assert set(summary) == {"folds", "largest_imbalance", "manifest", "sha256"}
    for fold in summary["folds"]:
        assert fold["n_images"] == manifest.filter(pl.col("fold") == fold["fold"]).height


def test_the_manifest_that_is_named_is_split_and_no_other(run_cli: CliRun, tmp_cohort: Path) -> None:
    named = tmp_cohort / "manifest.parquet"
    other = named.rename(tmp_cohort / "other.parquet")
    assert run_cli("split", other, "--folds", 2)[0] == 0
    assert not named.exists()
    assert read_manifest(other)["fold"].null_count() == 0


def test_the_seed_decides(run_cli: CliRun, tmp_cohort: Path) -> None:
    hashes = []
    for seed in (0, 0, 1, 2, 3):
        _, out, _ = run_cli("split", tmp_cohort, "--folds", 2, "--seed", seed, "--json")
        hashes.append(json.loads(out)["sha256"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) > 1


@pytest.mark.parametrize(
    ("folds", "sentence"),
    [
        (0, "error: --folds: found 0, expected 2 or more\n"),
        (3, "error: --folds: found 3, but only 2 patients with cancer; expected at most 2 folds\n"),
    ],
)
def test_a_wrong_number_of_folds_leaves_the_manifest(
    run_cli: CliRun, tmp_cohort: Path, folds: int, sentence: str
) -> None:
    before = (tmp_cohort / "manifest.parquet").read_bytes()
    assert run_cli("split", tmp_cohort, "--folds", folds) == (2, "", sentence)
    assert (tmp_cohort / "manifest.parquet").read_bytes() == before


def test_a_folder_without_manifest_says_what_to_do(run_cli: CliRun, tmp_path: Path) -> None:
    code, _, err = run_cli("split", tmp_path)
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'manifest.parquet'}: not found")
    assert "mammoscope index" in err


def test_nothing_that_is_printed_names_a_patient(run_cli: CliRun, tmp_cohort: Path) -> None:
    _, out, err = run_cli("split", tmp_cohort, "--folds", 2)
    assert "patient0" not in out + err
    assert "exam0" not in out + err


@pytest.fixture
def wide_cohort(manifest_of: Callable[..., pl.DataFrame], tmp_path: Path) -> Path:
    """Fifty patients, ten with cancer, sites 2 and 10."""
    manifest = manifest_of([True] * 10 + [False] * 40, sites=("2", "10"))
    write_manifest(manifest, tmp_path / "wide")
    return tmp_path / "wide"


def test_without_a_way_there_are_four_folds(run_cli: CliRun, wide_cohort: Path) -> None:
    assert len(json.loads(run_cli("split", wide_cohort, "--json")[1])["folds"]) == 4


def test_the_prevalences_and_the_largest_imbalance_are_printed(run_cli: CliRun, wide_cohort: Path) -> None:
    lines = run_cli("split", wide_cohort, "--folds", 2)[1].splitlines()
    # 5 of 25 patients with cancer in one of two breasts: 5 of 50 breasts, and 10 of 100 images
    expected = "25 patients, 100 images, 50 breasts, 5 with cancer (10.00% of breasts, 10.00% of images)"
    assert lines[1:3] == [f"  fold 0: {expected}", f"  fold 1: {expected}"]
    assert lines[3].startswith("  largest imbalance: ")
    assert lines[3].endswith("25.0 expected") or lines[3].endswith("20.0 expected")


def test_a_hold_out_is_one_fold(run_cli: CliRun, wide_cohort: Path) -> None:
    code, out, err = run_cli("split", wide_cohort, "--hold-out", 0.2)
    assert (code, err) == (0, "")
    assert "  fold 0: 10 patients, 40 images, 20 breasts, 2 with cancer" in out
    assert "  never held out: 40 patients, 160 images, 80 breasts, 8 with cancer" in out
    assert read_manifest(wide_cohort)["fold"].null_count() == 160


def test_the_site_of_each_fold_is_said(run_cli: CliRun, wide_cohort: Path) -> None:
    out = run_cli("split", wide_cohort, "--leave-one-out", "site")[1]
    assert "  fold 0 (site 2): 25 patients" in out
    assert "  fold 1 (site 10): 25 patients" in out
    assert "largest imbalance" not in out
    facts = json.loads(run_cli("split", wide_cohort, "--leave-one-out", "site", "--json")[1])
    assert [(fold["site"], fold["fold"]) for fold in facts["folds"]] == [("2", 0), ("10", 1)]
    by_site = read_manifest(wide_cohort).select("site", "fold").unique()
    assert set(by_site.iter_rows()) == {("2", 0), ("10", 1)}


def test_patients_of_two_machines_are_counted_in_a_warning(run_cli: CliRun, tmp_cohort: Path) -> None:
    machine = pl.Series("machine", ["a", "b"] * 2 + ["a"] * 8 + ["b"] * 8)
    write_manifest(read_manifest(tmp_cohort).with_columns(machine), tmp_cohort)
    code, _, err = run_cli("split", tmp_cohort, "--leave-one-out", "machine")
    assert code == 0
    assert err.startswith("warning: --leave-one-out machine: patients with images of more than one machine: 1; each")


def test_a_machine_that_no_patient_belongs_to_is_named_in_a_warning(run_cli: CliRun, tmp_cohort: Path) -> None:
    """Each patient of machine 9 has more images of 8 or 10, so that fold 1 of the three is of nobody."""
    machine = pl.Series("machine", ["8", "8", "8", "9", "10", "10", "10", "9"] + ["8"] * 4 + ["10"] * 8)
    write_manifest(read_manifest(tmp_cohort).with_columns(machine), tmp_cohort)
    code, out, err = run_cli("split", tmp_cohort, "--leave-one-out", "machine")
    assert code == 0
    assert "no patient has most of her images of machine 9, so that it has no fold and is never left out" in err
    assert "  fold 0 (machine 8): 2 patients" in out
    assert "  fold 2 (machine 10): 3 patients" in out
    assert sorted(read_manifest(tmp_cohort)["fold"].unique()) == [0, 2]


def test_folds_of_a_table_are_taken_over(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    table = tmp_path / "folds.csv"
    table.write_text("patient_id,part\n" + "".join(f"patient{number},{number % 2}\n" for number in range(5)))
    assert run_cli("split", tmp_cohort, "--from", table, "--fold-column", "part")[0] == 0
    assert read_manifest(tmp_cohort)["fold"].to_list() == [fold for fold in (0, 1, 0, 1, 0) for _ in range(4)]
    before = (tmp_cohort / "manifest.parquet").read_bytes()
    code, _, err = run_cli("split", tmp_cohort, "--from", table)
    assert (code, err.splitlines()[0].startswith(f"error: {table}: columns missing: fold;")) == (2, True)
    assert (tmp_cohort / "manifest.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("last", "warning"), [("1,0\n", ""), ("0,1\n", "warning: folds without a breast with cancer: 1; ")]
)
def test_a_fold_without_a_case_is_warned_of(
    run_cli: CliRun, tmp_cohort: Path, tmp_path: Path, last: str, warning: str
) -> None:
    """The patients with cancer are 0 and 3."""
    table = tmp_path / "folds.csv"
    of_three, of_four = last.strip().split(",")
    table.write_text(f"patient_id,fold\npatient0,0\npatient1,1\npatient2,0\npatient3,{of_three}\npatient4,{of_four}\n")
    code, _, err = run_cli("split", tmp_cohort, "--from", table)
    assert code == 0
    assert (warning in err) is True
    assert ("without a breast" in err) is bool(warning)


def test_a_machine_without_a_case_is_warned_of_and_its_share_is_not(run_cli: CliRun, wide_cohort: Path) -> None:
    machine = pl.when("cancer").then(pl.lit("a")).otherwise(pl.lit("b")).first().over("patient_id")
    write_manifest(read_manifest(wide_cohort).with_columns(machine=machine), wide_cohort)
    _, _, err = run_cli("split", wide_cohort, "--leave-one-out", "machine")
    assert err == ("warning: folds without a breast with cancer: 1; a fold without a case measures nothing\n")


def test_a_share_of_cancer_that_is_off_is_warned_of_as_in_the_audit(
    run_cli: CliRun, wide_cohort: Path, tmp_path: Path
) -> None:
    """Ten of fifty patients have cancer: among three folds one has four or five, where 3.3 would be its share."""
    _, _, err = run_cli("split", wide_cohort, "--folds", 3)
    assert err.startswith("warning: the share of breasts with cancer of a fold is ")
    assert "off that of all, more than 5%; split into fewer folds" in err
    run_cli("audit", wide_cohort, "-o", tmp_path / "audit")
    findings = json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"]
    assert "uneven_folds" in {finding["code"] for finding in findings}
    assert run_cli("split", wide_cohort, "--folds", 2)[2] == ""


def test_two_ways_at_once_are_refused(run_cli: CliRun, tmp_cohort: Path) -> None:
    code, _, err = run_cli("split", tmp_cohort, "--folds", 2, "--hold-out", 0.2)
    assert (code, err) == (2, "error: --folds and --hold-out: each says how to split, expected one of them\n")


@pytest.mark.parametrize("way", [("--leave-one-out", "site"), ("--from", "folds.csv")])
def test_a_seed_that_decides_nothing_is_refused(run_cli: CliRun, tmp_cohort: Path, way: tuple[str, str]) -> None:
    code, _, err = run_cli("split", tmp_cohort, *way, "--seed", 0)
    assert (code, err) == (2, f"error: --seed: found with {way[0]}, which leaves nothing to chance; leave it out\n")


@pytest.mark.parametrize(("name", "kind"), [("images.csv", "CSV file"), ("notes", "file")])
def test_a_file_that_is_no_cohort_is_named_as_such(run_cli: CliRun, tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_text("image_id\n")
    code, _, err = run_cli("split", tmp_path / name)
    assert code == 2
    assert err.startswith(f"error: {tmp_path / name}: found a {kind}, expected a cohort folder or its manifest.parquet")


def test_a_column_without_a_table_is_refused(run_cli: CliRun, tmp_cohort: Path) -> None:
    code, _, err = run_cli("split", tmp_cohort, "--fold-column", "part")
    assert (code, err) == (2, "error: --fold-column: found 'part' without a table; give the table with --from\n")
