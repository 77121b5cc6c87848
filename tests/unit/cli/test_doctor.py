import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import pytest
from PIL import features

from mammoscope.cli import doctor as doctor_module

CliRun = Callable[..., tuple[int, str, str]]
GIB = 2**30


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not depend on the disk of the machine that they run on."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * GIB))
    monkeypatch.setattr(doctor_module, "_memory", lambda: doctor_module.Finding("memory", "16.0 GiB"))


def test_a_machine_that_has_all_is_told_so(run_cli: CliRun) -> None:
    code, out, _ = run_cli("doctor")
    assert code == 0
    assert out.splitlines()[-1] == "all is there"
    assert all(line.startswith("ok  ") for line in out.splitlines()[:-1])


def test_the_findings_for_machines_parse(run_cli: CliRun, tmp_path: Path) -> None:
    code, out, _ = run_cli("doctor", "--json", "--folder", tmp_path)
    findings = json.loads(out)
    assert code == 0
    assert findings["polars"] == {"found": metadata.version("polars"), "fix": None}
    assert findings["disk"]["found"] == f"100.0 GiB free at {tmp_path}"


def test_a_missing_package_is_named_with_the_fix(run_cli: CliRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def version_without_timm(name: str) -> str:
        if name == "timm":
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version_without_timm)
    code, out, _ = run_cli("doctor")
    assert code == 1
    assert "!!  timm" in out
    assert "fix: install the packages anew: make setup" in out
    assert out.splitlines()[-1] == "1 to mend: see the lines with fix"


@pytest.mark.parametrize(("module", "finding"), [("torch", "device"), ("imagecodecs", "codecs")])
def test_a_package_that_cannot_be_loaded_is_a_finding(
    run_cli: CliRun, monkeypatch: pytest.MonkeyPatch, module: str, finding: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, out, _ = run_cli("doctor", "--json")
    assert code == 1
    assert json.loads(out)[finding]["found"].startswith(f"unknown: import of {module} halted")


def test_a_missing_decoder_is_named(run_cli: CliRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check_codec", lambda _: False)
    monkeypatch.setattr(features, "version_codec", lambda _: None)
    monkeypatch.setattr(imagecodecs, "JPEGLS", SimpleNamespace(available=False))
    code, out, _ = run_cli("doctor", "--json")
    findings = json.loads(out)
    assert code == 1
    missing = [name for name, finding in findings.items() if finding["found"] == "no decoder"]
    assert missing == ["JPEG 2000", "HTJ2K", "JPEG-LS"]


def test_htj2k_needs_openjpeg_2_5(run_cli: CliRun, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, expected in (("2.4.0", "no decoder"), ("2.5.0", "decoder found"), ("3.0.1", "decoder found")):
        monkeypatch.setattr(features, "version_codec", lambda _, version=version: version)
        assert json.loads(run_cli("doctor", "--json")[1])["HTJ2K"]["found"] == expected


def test_a_full_disk_is_a_finding(run_cli: CliRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=GIB))
    code, out, _ = run_cli("doctor", "--json")
    assert code == 1
    assert json.loads(out)["disk"]["fix"] == "free 5 GiB, or look elsewhere with --folder"


def test_a_folder_that_is_not_there_is_a_finding(run_cli: CliRun, tmp_path: Path) -> None:
    code, out, _ = run_cli("doctor", "--json", "--folder", tmp_path / "none")
    assert code == 1
    assert json.loads(out)["disk"] == {
        "found": f"no folder {tmp_path / 'none'}",
        "fix": "make it, or look elsewhere with --folder",
    }


@pytest.mark.parametrize(("running", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_python_is_one_of_those_that_are_tested(
    monkeypatch: pytest.MonkeyPatch, running: tuple[int, int], *, fits: bool
) -> None:
    monkeypatch.setattr(doctor_module, "sys", SimpleNamespace(version_info=(*running, 0)))
    assert (doctor_module._python().fix is None) == fits
