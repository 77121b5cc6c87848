import zlib
from collections.abc import Callable

import pytest
from pydicom import uid

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging import elements
from mammoscope.imaging.elements import read_dataset

MakeDicom = Callable[..., bytes]


def _swell(content: bytes, n_bytes: int) -> bytes:
    """The file with a data set that inflates to so many zeros."""
    start = 144 + int.from_bytes(content[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [deflater.compress(bytes(1 << 20)) for _ in range(n_bytes >> 20)]
    return content[:start] + b"".join(parts) + deflater.flush()


def test_a_deflated_file_that_would_fill_the_memory_is_refused(
    make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elements, "_MOST_INFLATED", 2 << 20)
    bomb = _swell(make_dicom(syntax=uid.DeflatedExplicitVRLittleEndian), 8 << 20)
    assert len(bomb) < 16_000
    with pytest.raises(ImageRefusedError, match="that inflate to more than 2 MiB") as caught:
        read_dataset(bomb, name="1", with_pixels=False)
    assert caught.value.code == "too_large"


def test_a_deflated_file_of_usual_size_is_read(make_dicom: MakeDicom) -> None:
    content = make_dicom(syntax=uid.DeflatedExplicitVRLittleEndian)
    assert read_dataset(content, name="1", with_pixels=False).Rows == 96


def test_the_limit_itself_is_not_too_large(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_dicom(syntax=uid.DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(content[140:144], "little")
    n_bytes = len(zlib.decompress(content[start:], -zlib.MAX_WBITS))
    monkeypatch.setattr(elements, "_MOST_INFLATED", n_bytes)
    assert read_dataset(content, name="1", with_pixels=False).Rows == 96
    monkeypatch.setattr(elements, "_MOST_INFLATED", n_bytes - 1)
    with pytest.raises(ImageRefusedError, match="that inflate to more"):
        read_dataset(content, name="1", with_pixels=False)


def test_a_file_that_is_not_deflated_as_it_says_is_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom(syntax=uid.DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(content[140:144], "little")
    with pytest.raises(ImageRefusedError, match="1: found"):
        read_dataset(content[:start] + b"\xff" * 400, name="1", with_pixels=False)


def test_a_file_that_ends_in_its_meta_header_is_refused() -> None:
    uid_alone = b"\0" * 100 + uid.DeflatedExplicitVRLittleEndian.encode()
    with pytest.raises(ImageRefusedError, match="without the mark DICM"):
        read_dataset(uid_alone, name="1", with_pixels=False)
