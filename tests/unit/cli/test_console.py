import json
from pathlib import Path

import pytest

from mammoscope.cli.console import print_summary, progress_bar, resolve_workers, warn
from mammoscope.scaling import count_cores


def test_a_summary_is_aligned_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary("done", {"images": 3, "images_missing": 0}, as_json=False)
    assert capsys.readouterr().out == "done\n  images          3\n  images missing  0\n"


def test_a_summary_without_facts_is_its_title(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary("done", {}, as_json=False)
    assert capsys.readouterr().out == "done\n"


def test_a_summary_for_machines_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"path": Path("a/ü"), "nothing": None, "inner": [{"count": 1}]}
    print_summary("done", facts, as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"path": "a/ü", "nothing": None, "inner": [{"count": 1}]}


def test_a_summary_refuses_what_json_has_not() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_summary("", {"share": float("nan")}, as_json=True)
    with pytest.raises(TypeError, match="a summary holds a set, expected text, numbers, lists and paths"):
        print_summary("", {"names": {1, 2}}, as_json=True)


def test_a_warning_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    warn("refused: a.dcm")
    assert capsys.readouterr() == ("", "warning: refused: a.dcm\n")


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("prepare", total=4) as advance:
        advance(1)
        advance(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "prepare" in err
    assert "4/4" in err


def test_progress_of_nothing_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("prepare", total=0):
        pass
    assert "0/0" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [1, 7])
def test_workers_are_as_asked(asked: int) -> None:
    assert resolve_workers(asked) == asked


def test_zero_workers_are_one_for_each_core() -> None:
    assert resolve_workers(0) == count_cores()
