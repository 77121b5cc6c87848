"""Every odd file gets the verdict that whoever made it wrote down."""

from pathlib import Path

import polars as pl
import pytest

from mammoscope.imaging.inspection import inspect_file, mark_duplicates
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.verdict import Verdict
from mammoscope.phantom.oddities import write_oddities

SETTINGS = PrepareSettings(rows=128, columns=64)


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    write_oddities(folder, seed=7)
    return folder


def test_each_odd_file_gets_its_verdict(odd_files: Path) -> None:
    truth = pl.read_csv(odd_files / "truth_verdicts.csv")
    inspections = mark_duplicates(
        [inspect_file((odd_files / name).read_bytes(), SETTINGS, name=name) for name in truth["file"]]
    )
    found = {inspection.name: inspection.verdict.value for inspection in inspections}
    assert found == dict(truth.select("file", "verdict").iter_rows())


def test_all_verdicts_on_a_file_alone_are_among_them(odd_files: Path) -> None:
    of_readers = {Verdict.UNREADABLE, Verdict.UNKNOWN_PATIENT, Verdict.UNKNOWN_EXAM, Verdict.MIXED_PATIENTS}
    truth = pl.read_csv(odd_files / "truth_verdicts.csv")
    assert set(truth["verdict"]) == {verdict.value for verdict in Verdict} - of_readers


def test_a_sentence_names_the_file_and_what_to_do(odd_files: Path) -> None:
    for path in sorted((odd_files / "oddities").iterdir()):
        inspection = inspect_file(path.read_bytes(), SETTINGS, name=path.stem)
        if inspection.sentence is not None:
            assert inspection.sentence.startswith(f"{path.stem}: found ")
            assert ", expected " in inspection.sentence
            assert "; " in inspection.sentence
