"""The fuzz run sees what it is there to see: crashes, hangs and unforeseen errors; and a few broken files go well."""

import os
import sys
import time
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"


@pytest.fixture(autouse=True)
def _fuzz_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FUZZ), *sys.path])


def _fail_in_four_ways(seed: int) -> str:
    if seed == 3:
        os._exit(7)  # as a decoder that ends its process
    if seed == 5:
        time.sleep(60)
    if seed == 60:
        raise KeyError("unforeseen")
    if seed == 61:
        sys.exit(3)
    return "fine"


def test_every_kind_of_failure_is_counted_and_costs_its_case_alone() -> None:
    from harness import run_seeds  # noqa: PLC0415  # found on the path of this test

    tally = run_seeds(_fail_in_four_ways, 120, n_workers=2, longest_s=1.0)
    assert tally.outcomes == {"fine": 116}
    failures = dict(tally.failures)
    assert failures[3] == "crash, exit code 7"
    assert failures[5] == "hang, longer than 1 s"
    assert failures[60].startswith("KeyError: 'unforeseen'")
    assert failures[61].startswith("SystemExit: 3")
    assert tally.n_cases == 120


def test_a_seed_always_breaks_the_same_file_in_the_same_way() -> None:
    from fuzz_imaging import make_case  # noqa: PLC0415  # as above

    assert [make_case(seed) for seed in range(20)] == [make_case(seed) for seed in range(20)]
    assert len({make_case(seed) for seed in range(20)}) == 20


def test_whole_files_of_the_corpus_are_prepared_and_broken_ones_refused() -> None:
    from corpus import make_corpus  # noqa: PLC0415  # as above
    from fuzz_imaging import judge  # noqa: PLC0415  # as above

    from mammoscope.imaging.prepare import PrepareSettings, prepare_image  # noqa: PLC0415  # beside them

    for content in make_corpus():
        assert prepare_image(content, PrepareSettings(rows=64, columns=32), name="1").pixels.any()
    outcomes = {judge(seed) for seed in range(60)}
    assert {"prepared", "truncated", "undecodable"} <= outcomes
