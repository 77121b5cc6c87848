import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from mammoscope.cli.synthesize import synthesize
from mammoscope.errors import ConfigError
from mammoscope.phantom.oddities import ODDITIES

APP = typer.Typer()
APP.command()(synthesize)


def _arguments(out: Path, *more: str) -> list[str]:
    return [str(out), "--patients", "1", "--prevalence", "1", "--seed", "1", "--scale", "0.1", "--workers", "1", *more]


def test_the_command_writes_a_cohort_and_says_so_in_json(tmp_path: Path) -> None:
    result = CliRunner().invoke(APP, _arguments(tmp_path / "out", "--json"))
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["n_images"] == 4
    assert summary["n_cases"] == 1
    assert (tmp_path / "out" / "train.csv").is_file()
    assert not (tmp_path / "out" / "test.csv").exists()
    assert not (tmp_path / "out" / "oddities").exists()


def test_no_patients_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(APP, _arguments(tmp_path / "out", "--patients", "0"))
    assert isinstance(result.exception, ConfigError)
    assert not (tmp_path / "out").exists()


def test_the_help_shows_an_example() -> None:
    result = CliRunner().invoke(APP, ["--help"])
    assert "mammoscope synthesize" in result.output


@pytest.mark.parametrize("option", ["--prevalence", "--seed", "--patients"])
def test_what_makes_the_cohort_must_be_said(tmp_path: Path, option: str) -> None:
    arguments = _arguments(tmp_path / "out")
    position = arguments.index(option)
    result = CliRunner().invoke(APP, arguments[:position] + arguments[position + 2 :])
    assert result.exit_code == 2


def test_machines_and_encoding_are_chosen_by_name(tmp_path: Path) -> None:
    arguments = _arguments(tmp_path / "out", "--machines", "102", "--transfer-syntax", "rle", "--masks")
    result = CliRunner().invoke(APP, [*arguments, "--artefacts", "1"])
    assert result.exit_code == 0, result.output
    pictures = pl.read_parquet(tmp_path / "out" / "truth_pictures.parquet")
    assert pictures["machine"].to_list() == [102] * 4
    assert pictures["transfer_syntax"].to_list() == ["1.2.840.10008.1.2.5"] * 4
    assert pictures["artefacts"].list.len().to_list() == [1] * 4
    assert len(list((tmp_path / "out" / "truth_masks").glob("*.png"))) == 4


def test_a_machine_that_is_no_number_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(APP, _arguments(tmp_path / "out", "--machines", "21,siemens"))
    assert isinstance(result.exception, ConfigError)
    assert "machines" in str(result.exception)


def test_oddities_are_written_beside_the_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mammoscope.phantom.oddities.ODDITIES", ODDITIES[-16:-12])
    result = CliRunner().invoke(APP, _arguments(tmp_path / "out", "--oddities", "--json"))
    assert result.exit_code == 0, result.output
    table = pl.read_csv(tmp_path / "out" / "truth_verdicts.csv")
    assert json.loads(result.stdout)["n_oddities"] == len(table)
    assert all((tmp_path / "out" / name).is_file() for name in table["file"])
