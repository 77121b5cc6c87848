import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from mammoscope.cli import demo as demo_module

CliRun = Callable[..., tuple[int, str, str]]
STEPS = ["synthesize", "index_rsna", "split", "prepare", "train", "evaluate", "predict"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """What each command is called with, in order, held against its signature; none of them runs."""
    made: dict[str, dict[str, object]] = {}

    def record(name: str) -> Callable[..., None]:
        signature = inspect.signature(getattr(demo_module, name))

        def call(*arguments: object, **options: object) -> None:
            made[name] = dict(signature.bind(*arguments, **options).arguments)

        return call

    for name in STEPS:
        monkeypatch.setattr(demo_module, name, record(name))
    return made


def test_the_demo_goes_the_whole_way_in_order(
    run_cli: CliRun, calls: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    code, out, err = run_cli("demo", tmp_path, "--patients", 60, "--seed", 3, "--workers", 1)
    assert (code, err) == (0, "")
    assert list(calls) == [*STEPS[:2], *sorted(STEPS[2:4], key=list(calls).index), *STEPS[4:]]
    assert str(tmp_path / "run" / "report.html") in out
    assert str(tmp_path / "scores" / "scores.csv") in out


def test_each_step_takes_what_the_one_before_it_wrote(
    run_cli: CliRun, calls: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    run_cli("demo", tmp_path, "--patients", 60, "--seed", 3)
    assert calls["synthesize"]["out"] == tmp_path / "data"
    assert calls["synthesize"]["patients"] == 60
    assert calls["index_rsna"]["images"] == tmp_path / "data" / "train_images"
    cohorts = {calls[name]["cohort"] for name in ("index_rsna", "split", "prepare", "train")}
    assert cohorts == {tmp_path / "cohort"}
    assert calls["prepare"]["output"] == calls["train"]["store"] == calls["evaluate"]["store"]
    assert calls["train"]["output"] == calls["evaluate"]["run"] == calls["predict"]["run"]
    assert calls["predict"]["images"] == [tmp_path / "data" / "test_images"]
    assert {calls[name]["seed"] for name in ("synthesize", "split")} == {3}
    assert "seed=3" in str(calls["train"]["assignments"])


def test_too_few_patients_are_refused(run_cli: CliRun, tmp_path: Path) -> None:
    code, _, err = run_cli("demo", tmp_path, "--patients", 3)
    assert code == 2
    assert "40" in err
