import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pydicom import uid

from mammoscope.cli.prepare import prepare
from mammoscope.cohort.manifest import SCHEMA, write_manifest
from mammoscope.errors import ConfigError, StoreError, TableError, UserInputError
from mammoscope.imaging.store import open_store

MakeDicom = Callable[..., bytes]


def _index(cohort: Path, paths: list[str | None]) -> Path:
    rows = [
        {
            "image_id": f"image-{index}",
            "patient_id": f"patient-{index}",
            "exam_id": f"exam-{index}",
            "laterality": "L",
            "view": "CC",
            "source": "test",
            "path": path,
        }
        for index, path in enumerate(paths)
    ]
    write_manifest(pl.DataFrame(rows, schema=SCHEMA), cohort)
    return cohort


@pytest.fixture
def cohort(tmp_path: Path, make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> Path:
    """Six files, of which the last is a text."""
    paths = [tmp_path / f"{index}.dcm" for index in range(6)]
    for index, path in enumerate(paths[:-1]):
        path.write_bytes(make_dicom(np.roll(breast, index, axis=0)))
    paths[-1].write_text("no picture")
    return _index(tmp_path / "cohort", [str(path) for path in paths])


def test_a_cohort_is_prepared_by_two_workers_as_by_one(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(cohort, tmp_path / "two", size="64x32", bits=8, window="dicom", workers=2, as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts == {
        "prepared": 5,
        "refused": 1,
        "refused_not_dicom": 1,
        "done_before": 0,
        "store": str(tmp_path / "two"),
    }
    prepare(cohort / "manifest.parquet", tmp_path / "one", size="64x32", bits=8, window="dicom", workers=1)
    stores = [open_store(tmp_path / name) for name in ("one", "two")]
    assert stores[0].content_hash == stores[1].content_hash
    for name in ("shards/00000.raw", "shards/00001.raw", "prepared.parquet", "rejected.parquet", "prepare.toml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_complete_store_says_that_there_is_nothing_to_do(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(cohort, tmp_path / "store", size="64x32", workers=1)
    assert capsys.readouterr().out.startswith("Prepared\n")
    prepare(cohort, tmp_path / "store", size="64x32", workers=1)
    assert capsys.readouterr().out.startswith("Nothing to do: the store is complete\n")


def test_no_patient_is_named_in_the_summary(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(cohort, tmp_path / "store", size="64x32", workers=1)
    shown = capsys.readouterr()
    assert "patient-" not in shown.out + shown.err


def test_a_table_only_cohort_is_refused(tmp_path: Path) -> None:
    cohort = _index(tmp_path / "cohort", [None, None])
    with pytest.raises(TableError, match=r"found 2 of 2 images without a file, .* table-only cohort"):
        prepare(cohort, tmp_path / "store", workers=1)


def test_a_cohort_of_which_nothing_can_be_prepared_is_refused(tmp_path: Path) -> None:
    cohort = _index(tmp_path / "cohort", ["/nowhere/a.dcm"])
    with pytest.raises(StoreError, match=r"none of 1 images could be prepared; rejected\.parquet says why"):
        prepare(cohort, tmp_path / "store", size="64x32", workers=1)
    assert open_store(tmp_path / "store").rejected["code"].to_list() == ["unreadable"]


@pytest.mark.parametrize("size", ["1024", "1024x", "x512", "1024 x 512", "-1x5", "axb"])
def test_a_size_that_is_none_is_refused(cohort: Path, tmp_path: Path, size: str) -> None:
    with pytest.raises(UserInputError, match=r"--size: found .*, expected rows x columns"):
        prepare(cohort, tmp_path / "store", size=size, workers=1)


@pytest.mark.parametrize(("option", "value"), [("bits", 12), ("window", "auto"), ("size", "8x8")])
def test_an_option_out_of_range_is_refused(cohort: Path, tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(ConfigError, match="prepare: "):
        prepare(cohort, tmp_path / "store", workers=1, **{option: value})  # type: ignore[arg-type]  # options of the cases above


def test_the_settings_of_the_command_are_those_of_the_store(
    tmp_path: Path, make_dicom: MakeDicom, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(make_dicom(SOPClassUID=uid.SecondaryCaptureImageStorage))
    cohort = _index(tmp_path / "cohort", [str(path)])
    with pytest.raises(StoreError, match="none of 1 images could be prepared"):
        prepare(cohort, tmp_path / "strict", size="64x64", workers=1)
    assert open_store(tmp_path / "strict").rejected["code"].to_list() == ["secondary_capture"]
    prepare(
        cohort,
        tmp_path / "store",
        size="64x64",
        window="percentile",
        fit="stretch",
        resolution="whole",
        accept=["secondary_capture"],
        workers=1,
    )
    store = open_store(tmp_path / "store")
    assert store.settings.resolution == "whole"
    assert store.settings.excluded == ("not_mammography", "for_processing", "localizer_or_spot")
    assert store.placement("image-0").content_shape == (64, 64)
    assert store.prepared["window"].to_list() == ["percentile"]
    assert "prepared" in capsys.readouterr().out


def test_only_verdicts_by_the_header_can_be_accepted(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="--accept: found 'blank', expected one of not_mammography, secondary"):
        prepare(cohort, tmp_path / "store", accept=["blank"])
