"""`mammoscope audit` as a user runs it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mammoscope.cohort.balance import BalanceSettings
from mammoscope.cohort.manifest import read_manifest, write_manifest

CliRun = Callable[..., tuple[int, str, str]]


def test_three_files_are_written(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    code, out, err = run_cli("audit", tmp_cohort, "-o", tmp_path / "audit")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "audited"
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == [
        "audit.html",
        "audit.json",
        "audit_findings.csv",
    ]


def test_the_folder_is_audit_where_none_is_named(
    run_cli: CliRun, tmp_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli("audit", tmp_cohort)[0] == 0
    assert (tmp_path / "audit" / "audit.html").is_file()


def test_the_summary_for_machines_counts_as_the_files(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    _, out, _ = run_cli("audit", tmp_cohort, "-o", tmp_path / "audit", "--json")
    summary = json.loads(out)
    content = json.loads(Path(summary["figures"]).read_text())
    assert (summary["images"], summary["patients"], summary["breasts_with_cancer"]) == (20, 5, 2)
    severities = [finding["severity"] for finding in content["findings"]]
    assert [summary[f"{each}s"] for each in ("danger", "warning", "note")] == [
        severities.count(each) for each in ("danger", "warning", "note")
    ]
    assert "<!DOCTYPE html>" in Path(summary["page"]).read_text()


def test_rows_that_were_found_are_listed_by_image(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tmp_cohort)
    write_manifest(manifest.with_columns(age_years=pl.when(pl.int_range(pl.len()) == 2).then(7.0)), tmp_cohort)
    run_cli("audit", tmp_cohort, "-o", tmp_path)
    with (tmp_path / "audit_findings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"code": "implausible_age", "severity": "warning", "row": "3", "image_id": "0RCC"}]


def test_a_breast_of_two_outcomes_is_shown_and_not_refused(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    """Such a manifest comes from another program: ours refuse to write it, and every other command to read it."""
    cancer = pl.when(pl.int_range(pl.len()) == 0).then(~pl.col("cancer")).otherwise("cancer")
    read_manifest(tmp_cohort).with_columns(cancer=cancer).write_parquet(tmp_cohort / "manifest.parquet")
    code, _, err = run_cli("audit", tmp_cohort, "-o", tmp_path / "audit")
    assert (code, err) == (0, "")
    with (tmp_path / "audit" / "audit_findings.csv").open() as file:
        rows = [(row["code"], row["severity"], row["row"]) for row in csv.DictReader(file)]
    assert rows[:2] == [("conflicting_cancer", "danger", "1"), ("conflicting_cancer", "danger", "2")]
    assert "Images of one breast that differ in cancer: 1 breast." in (tmp_path / "audit" / "audit.html").read_text()
    assert run_cli("split", tmp_cohort, "--folds", 2)[0] == 2


def test_a_manifest_that_is_broken_otherwise_is_refused(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    broken = read_manifest(tmp_cohort).with_columns(cancer=pl.int_range(pl.len()) == 0, exam_id=pl.lit("one"))
    broken.write_parquet(tmp_cohort / "manifest.parquet")
    code, _, err = run_cli("audit", tmp_cohort, "-o", tmp_path / "audit")
    assert code == 2
    assert "exam_id: one exam of several patients" in err
    assert "different outcomes" not in err


def test_the_match_is_that_which_is_asked_for(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    how = ("--match", "view, density", "--controls-per-case", 2)
    assert run_cli("audit", tmp_cohort, "-o", tmp_path, *how)[0] == 0
    match = json.loads((tmp_path / "audit.json").read_text())["matched_controls"]
    assert (match["controls_per_case"], match["age_within_years"]) == (2, None)
    assert [each["column"] for each in match["columns"] if each["is_matched"]] == ["density", "view"]


def test_without_options_the_match_is_that_of_a_recipe(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    run_cli("audit", tmp_cohort, "-o", tmp_path)
    match = json.loads((tmp_path / "audit.json").read_text())["matched_controls"]
    plan = BalanceSettings()
    assert [each["column"] for each in match["columns"] if each["is_matched"]] == sorted(plan.match)
    assert (match["controls_per_case"], match["age_within_years"]) == (plan.controls_per_case, plan.age_within_years)


def test_a_store_adds_pictures(run_cli: CliRun, tiny_cohort: Path, tiny_store_path: Path, tmp_path: Path) -> None:
    code, _, err = run_cli("audit", tiny_cohort, "--store", tiny_store_path, "-o", tmp_path)
    assert (code, err) == (0, "")
    content = json.loads((tmp_path / "audit.json").read_text())
    assert content["machines"][0]["n_pictures"] == 36
    assert {each["code"]: each["n_found"] for each in content["checks"]}["same_pixels_across_patients"] == 0
    page = (tmp_path / "audit.html").read_text()
    assert page.count("data:image/jpeg") == 1
    assert "Store hash" in page


def test_a_store_of_another_cohort_is_refused(
    run_cli: CliRun, tmp_cohort: Path, tiny_store_path: Path, tmp_path: Path
) -> None:
    write_manifest(read_manifest(tmp_cohort).with_columns(image_id="other-" + pl.col("image_id")), tmp_cohort)
    code, _, err = run_cli("audit", tmp_cohort, "--store", tiny_store_path, "-o", tmp_path / "audit")
    assert code == 2
    assert "holds none of the manifest's 20 images; give the store that was prepared from this cohort" in err
    assert not (tmp_path / "audit").exists()


def test_phantoms_are_named_so(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    write_manifest(read_manifest(tmp_cohort).with_columns(source=pl.lit("phantom")), tmp_cohort)
    run_cli("audit", tmp_cohort, "-o", tmp_path)
    assert "Synthetic phantoms: no figure" in (tmp_path / "audit.html").read_text()
    source = pl.when(pl.int_range(pl.len()) < 4).then(pl.lit("phantom")).otherwise(pl.lit("rsna"))
    write_manifest(read_manifest(tmp_cohort).with_columns(source=source), tmp_cohort)
    run_cli("audit", tmp_cohort, "-o", tmp_path)
    assert "4 of 20 images are synthetic phantoms" in (tmp_path / "audit.html").read_text()


def test_the_seed_gives_the_same_files(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run_cli("audit", tmp_cohort, "-o", tmp_path / name, "--seed", 3)
    for name in ("audit.html", "audit.json", "audit_findings.csv"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_nothing_that_is_printed_or_shown_names_a_patient(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    _, out, err = run_cli("audit", tmp_cohort, "-o", tmp_path)
    shown = out + err + "".join((tmp_path / name).read_text() for name in ("audit.html", "audit.json"))
    assert "patient0" not in shown
    assert "exam0" not in shown
    assert "/files/" not in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "manifest.parquet: not found, expected the manifest of a cohort; make one with"),
        (["cohort", "--match", "view,colour"], "--match: found 'view,colour', expected some of age_years, density, "),
        (["cohort", "--match", "view, view"], "--match: found 'view, view', expected some of age_years, density, "),
        (["cohort", "--match", ""], "--match: found '', expected some of age_years, density, "),
        (["cohort", "--store", "nowhere"], "nowhere: found no prepare.toml, expected a prepared store"),
    ],
)
def test_an_error_is_one_sentence_and_nothing_is_written(
    run_cli: CliRun,
    tmp_cohort: Path,
    tmp_path: Path,
    arguments: list[object],
    sentence: str,
) -> None:
    named = [tmp_cohort if each == "cohort" else each for each in arguments]
    code, out, err = run_cli("audit", *named, "-o", tmp_path / "audit")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "audit").exists()


def test_a_file_where_the_folder_should_be_is_an_error(run_cli: CliRun, tmp_cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, _, err = run_cli("audit", tmp_cohort, "-o", tmp_path / "taken")
    assert code == 2
    assert "found a file, expected a folder" in err
