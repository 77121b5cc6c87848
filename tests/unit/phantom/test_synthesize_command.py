import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mammoscope.cli.synthesize import synthesize
from mammoscope.errors import ConfigError

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
