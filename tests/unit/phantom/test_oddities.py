from io import BytesIO
from pathlib import Path

import polars as pl
import pydicom
import pytest
from PIL import Image

from mammoscope.files import sha256_of_bytes
from mammoscope.imaging.inspection import inspect_file
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.verdict import Verdict
from mammoscope.phantom.oddities import FOLDER, ODDITIES, TABLE_NAME, write_oddities


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("odd")
    assert write_oddities(out, seed=2) == len(ODDITIES)
    return out


def test_the_table_names_every_file_once(folder: Path) -> None:
    table = pl.read_csv(folder / TABLE_NAME)
    files = {path.relative_to(folder).as_posix() for path in (folder / FOLDER).iterdir()}
    assert set(table["file"]) == files
    assert len(table) == len(files)
    assert set(table["verdict"]) <= {verdict.value for verdict in Verdict}


def test_a_contradiction_is_warned_of(folder: Path) -> None:
    content = (folder / FOLDER / "sides_contradict.dcm").read_bytes()
    warnings = inspect_file(content, PrepareSettings(), name="odd").warnings
    assert "side_conflict" in {warning.code for warning in warnings}


def test_a_duplicate_is_the_same_to_the_byte(folder: Path) -> None:
    hashes = [sha256_of_bytes((folder / FOLDER / name).read_bytes()) for name in ("ordinary.dcm", "ordinary_copy.dcm")]
    assert hashes[0] == hashes[1]


def test_a_screenshot_is_in_colour(folder: Path) -> None:
    with Image.open(folder / FOLDER / "screenshot.png") as image:
        assert image.mode == "RGB"


def test_a_cut_header_ends_before_the_picture(folder: Path) -> None:
    content = (folder / FOLDER / "cut_header.dcm").read_bytes()
    assert content[128:132] == b"DICM"
    assert "Rows" not in pydicom.dcmread(BytesIO(content), stop_before_pixels=True)


def test_no_two_other_files_are_of_one_image(folder: Path) -> None:
    paths = [path for path in (folder / FOLDER).iterdir() if path.name != "ordinary_copy.dcm"]
    contents = {path.name: path.read_bytes() for path in paths}
    uids = [
        pydicom.dcmread(BytesIO(content), specific_tags=["SOPInstanceUID"]).SOPInstanceUID
        for name, content in contents.items()
        if content[128:132] == b"DICM" and not name.startswith("cut_")
    ]
    assert len(set(uids)) == len(uids)


def test_raw_data_is_bright_where_no_tissue_is(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / FOLDER / "raw.dcm")
    pixels = dataset.pixel_array
    assert pixels.max() == pixels[:, -1].max() == 2**14 - 1
    assert pixels.min() > 0


def test_the_same_seed_gives_the_same_files(folder: Path) -> None:
    for oddity in ODDITIES[::7]:
        number = ODDITIES.index(oddity)
        assert oddity.make(2 + number) == (folder / FOLDER / oddity.name).read_bytes()
