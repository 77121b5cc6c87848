import errno
import json
import os
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from mammoscope.cli import main as cli_main
from mammoscope.cohort import manifest as manifest_module
from mammoscope.errors import LeakageError, MammoscopeError, UserInputError

CliRun = Callable[..., tuple[int, str, str]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let `mammoscope split` fail with an error when it reads the manifest."""

    def fail(error: BaseException) -> None:
        def raise_it(_: object) -> None:
            raise error

        monkeypatch.setattr(manifest_module, "read_manifest", raise_it)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserInputError("here: found this, expected that"), 2, "error: here: found this, expected that\n"),
        (LeakageError("split again", ("a",)), 2, "error: split again\n"),
        (MammoscopeError("we failed"), 1, "error: we failed\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/a.parquet"),
            2,
            "error: /data/a.parquet: No space left on device; check the path, the rights and the free space\n",
        ),
        (
            FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), "/data/run"),
            2,
            "error: /data/run: found a file, expected a folder; name another\n",
        ),
        (MemoryError(), 1, "error: not enough memory; work with fewer processes (--workers 1) or smaller pictures\n"),
        (OSError("broken"), 2, "error: file system: broken; check the path, the rights and the free space\n"),
        (
            ZeroDivisionError("a defect"),
            1,
            (
                "error: internal: ZeroDivisionError: a defect; this is a defect of mammoscope, "
                "please report it with the output of `mammoscope --debug …`\n"
            ),
        ),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_an_exit_code(
    run_cli: CliRun, failing: Callable[[BaseException], None], error: Exception, code: int, sentence: str
) -> None:
    failing(error)
    assert run_cli("split", "cohort") == (code, "", sentence)


def test_a_full_disk_is_the_users_business(run_cli: CliRun, failing: Callable[[BaseException], None]) -> None:
    failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/a.parquet"))
    code, _, err = run_cli("split", "cohort")
    assert (code, err.count("\n")) == (2, 1)


def test_ctrl_c_ends_with_130(run_cli: CliRun, failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())
    code, out, err = run_cli("split", "cohort")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [UserInputError("bad"), MammoscopeError("bad"), ValueError("bad"), OSError("bad")])
def test_the_traceback_is_for_debug(
    run_cli: CliRun, failing: Callable[[BaseException], None], error: Exception
) -> None:
    failing(error)
    assert "Traceback" not in run_cli("split", "cohort")[2]
    code, _, err = run_cli("--debug", "split", "cohort")
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("error: ")
    assert code == (2 if isinstance(error, UserInputError | OSError) else 1)


@pytest.mark.parametrize("arguments", [["splitt"], ["split"], ["split", "cohort", "--fold", "2"], ["--nonsense"]])
def test_a_command_line_that_cannot_be_read_is_the_users_input(run_cli: CliRun, arguments: list[str]) -> None:
    code, out, err = run_cli(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert "Usage" in err


def test_the_version_is_that_of_the_package(run_cli: CliRun) -> None:
    assert run_cli("--version") == (0, f"mammoscope {version('mammoscope')}\n", "")


def test_the_help_lists_every_command_and_says_what_this_is_not(run_cli: CliRun) -> None:
    code, out, _ = run_cli("--help")
    assert code == 0
    assert "not a medical device" in out
    assert all(command in out for command in ("index", "prepare", "split", "train", "evaluate", "predict", "doctor"))


@pytest.mark.parametrize(
    "command",
    [command.name or getattr(command.callback, "__name__", "") for command in cli_main.app.registered_commands],
)
def test_every_command_has_an_example(run_cli: CliRun, command: str) -> None:
    code, out, _ = run_cli(command, "--help")
    assert code == 0
    assert re.search(rf"Example:\s+mammoscope\s+{command}", out)


def test_split_in_json_parses(run_cli: CliRun, tmp_cohort: Path) -> None:
    code, out, _ = run_cli("split", tmp_cohort, "--folds", 2, "--json")
    assert code == 0
    assert [fold["n_cases"] for fold in json.loads(out)["folds"]] == [1, 1]
