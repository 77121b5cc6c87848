"""Broken copies of DICOM files: bytes, lengths, elements and streams, by a seed."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

_ODD_NUMBERS = (0, 1, -1, 7, 8, 15, 16, 17, 32, 255, 256, 4095, 32767, 65535)
_ODD_TEXTS = ("", "0", "-1", "1e308", "nan", "inf", "A\\B\\C", "\u00ff" * 80, "0\\0", "99999999999")


def mutate(files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of the files with one to three things broken."""
    content = files[int(rng.integers(len(files)))]
    for _ in range(int(rng.integers(1, 4))):
        content = _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](content, files, rng)
    return content


def _flip_bytes(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return _overwrite(content, rng, low=0)


def _flip_header_bytes(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return _overwrite(content[:1200], rng, low=128) + content[1200:]


def _overwrite(content: bytes, rng: np.random.Generator, *, low: int) -> bytes:
    if len(content) <= low:
        return content
    broken = bytearray(content)
    for place in rng.integers(low, len(broken), size=int(rng.integers(1, 9))):
        broken[int(place)] = int(rng.integers(256))
    return bytes(broken)


def _cut_off(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _cut_out(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    start, stop = sorted(int(place) for place in rng.integers(0, len(content) + 1, size=2))
    return content[:start] + content[min(stop, start + 64) :]


def _double(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content) + 1))
    return content[: start + 48] + content[start:]


def _splice(content: bytes, files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    other = files[int(rng.integers(len(files)))]
    return content[: int(rng.integers(len(content) + 1))] + other[int(rng.integers(len(other) + 1)) :]


def _blow_up_a_length(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    if len(content) < 400:
        return content
    place = int(rng.integers(132, len(content) - 4))
    length = int(rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(4, "little")
    return content[:place] + length + content[place + 4 :]


def _change_an_element(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Another value in one element, or none, written as a valid file; a file that cannot be read stays as it is."""
    try:
        dataset = dcmread(io.BytesIO(content))
        _set_odd_value(dataset, rng)
        stream = io.BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=False)
    except Exception:  # noqa: BLE001  # pydicom raises anything on files that are broken already
        return content
    return stream.getvalue()


def _set_odd_value(dataset: Dataset, rng: np.random.Generator) -> None:
    tags = [tag for tag in list(dataset.keys()) if tag.group != 0x7FE0]
    element = dataset[tags[int(rng.integers(len(tags)))]]
    kind = rng.random()
    if kind < 0.2:
        del dataset[element.tag]
    elif element.VR in {"US", "SS", "UL", "SL"}:
        element.value = int(rng.choice(_ODD_NUMBERS))
    elif element.VR == "SQ":
        element.value = []
    else:
        element.value = _ODD_TEXTS[int(rng.integers(len(_ODD_TEXTS)))]


_MUTATIONS: tuple[Callable[[bytes, Sequence[bytes], np.random.Generator], bytes], ...] = (
    _flip_bytes,
    _flip_header_bytes,
    _cut_off,
    _cut_out,
    _double,
    _splice,
    _blow_up_a_length,
    _change_an_element,
    _change_an_element,
    _change_an_element,
)
