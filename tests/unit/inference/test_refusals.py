"""What people are told of refused files."""

from pathlib import Path

from mammoscope.anatomy import Laterality
from mammoscope.exam import Mammogram
from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.reading import ScoringTask
from mammoscope.inference.refusals import tell_refused


def test_sentences_name_no_id_of_the_table_and_the_missing_are_counted() -> None:
    mammogram = Mammogram("17", "patient", "exam", Laterality.LEFT, None)
    stamps = {"17": "1 2", "18": "", "19": "1 2", "20": ""}  # 18 and 20 are not there
    tasks = [
        ScoringTask(name, Path(f"{name}.dcm"), mammogram, PrepareSettings(rows=128, columns=64, bits=8), stamp=stamp)
        for name, stamp in stamps.items()
    ]
    refused = [Rejection(name, f"{name}.dcm", "unreadable", f"{name}: found no file") for name in ("20", "19", "18")]
    assert tell_refused(refused, tasks) == ((Rejection("19", "19.dcm", "unreadable", "file 2: found no file"),), 2)
