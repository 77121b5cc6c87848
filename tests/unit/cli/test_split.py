import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.manifest import manifest_hash, read_manifest

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
