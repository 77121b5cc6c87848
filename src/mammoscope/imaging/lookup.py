"""Lookup tables of a file, for modality values and for grey (PS3.3 C.11.1.1 and C.11.2.1.1)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian

from mammoscope.imaging.elements import ElementReader, as_numbers

_MOST_ENTRIES = 1 << 16


@dataclass(frozen=True)
class LookupTable:
    """A table from whole numbers to whole numbers.

    Attributes:
        first: the input that the first entry stands for; lower inputs get the first entry too, and inputs beyond the
            end get the last.
        bits: of an entry; the output spans 0 to 2**bits - 1.
        entries: the outputs.
    """

    first: int
    bits: int
    entries: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= _MOST_ENTRIES:
            raise ValueError(f"lookup table: found {len(self.entries)} entries, expected 1 to {_MOST_ENTRIES}")
        if not 1 <= self.bits <= 16:  # noqa: PLR2004  # PS3.3 C.11.1.1.1
            raise ValueError(f"lookup table: found {self.bits} bits for an entry, expected 1 to 16")

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The entries of values, rounded to the nearest input; same shape."""
        # wide enough for any input: the same index in the table's own 8 or 16 bits would wrap around
        index = np.rint(values).astype(np.int64) - self.first
        found: NDArray[np.float32] = self._table[np.clip(index, 0, len(self.entries) - 1)]
        return found

    @property
    def is_falling(self) -> bool:
        """Whether high inputs give low outputs."""
        return self.entries[0] > self.entries[-1]

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last input of its own."""
        return self.first, self.first + len(self.entries) - 1

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        return np.array(self.entries, dtype=np.float32)


def read_luts(element: ElementReader, keyword: str, *, is_signed: bool) -> tuple[LookupTable, ...]:
    """The tables of a Modality LUT or VOI LUT Sequence; one that cannot be used is warned of and left out.

    Args:
        element: the elements of the file.
        keyword: of the sequence.
        is_signed: whether inputs may be negative; what comes out of a Modality LUT never is.
    """
    order = ">" if element.transfer_syntax() == ExplicitVRBigEndian else "<"
    luts: list[LookupTable] = []
    for part in element.sequence(keyword):
        try:
            luts.append(_read_lut(element.within(part), order=order, is_signed=is_signed))
        except (ValueError, OverflowError) as error:
            element.warn("unreadable_lut", f"{keyword} holds a table that cannot be used, left out: {error}")
    return tuple(luts)


def _read_lut(element: ElementReader, *, order: str, is_signed: bool) -> LookupTable:
    descriptor = element.read("LUTDescriptor", as_numbers)
    if descriptor is None or len(descriptor) != 3:  # noqa: PLR2004  # PS3.3 C.11.1.1.1: entries, first input, bits
        raise ValueError("found no descriptor of three numbers")
    n_entries, first, bits = (int(number) for number in descriptor)
    if is_signed and first >= 1 << 15:  # written as US where SS was meant
        first -= 1 << 16
    data = element.read("LUTData", _as_bytes if order == "<" else _as_swapped_bytes)
    if data is None:
        raise ValueError("found no data")
    entries = unpack_entries(data, n_entries=n_entries or 1 << 16, bits=bits)
    if max(entries) >> bits:  # seen with descriptors of 8 bits and entries of 12
        element.warn("lut_bits_conflict", f"a table of {bits} bits has the entry {max(entries)}; its bits are used")
        bits = max(entries).bit_length()
    return LookupTable(first, bits, entries)


def unpack_entries(packed: bytes, *, n_entries: int, bits: int) -> tuple[int, ...]:
    """The entries of LUT Data, however they are packed: two bytes each, or one where they have 8 bits and less.

    Args:
        packed: the words, little-endian.
        n_entries: of the table.
        bits: of an entry.

    Raises:
        ValueError: too few bytes.
    """
    if len(packed) >= 2 * n_entries:
        return tuple(np.frombuffer(packed, dtype="<u2", count=n_entries).tolist())
    if bits <= 8 and len(packed) >= n_entries:  # noqa: PLR2004  # two entries of 8 bits in a word, PS3.3 C.11.1.1.1
        return tuple(np.frombuffer(packed, dtype=np.uint8, count=n_entries).tolist())
    raise ValueError(f"found {len(packed)} bytes for {n_entries} entries of {bits} bits")


def _as_bytes(value: Any) -> bytes:  # noqa: ANN401  # pydicom gives OW as bytes and US as numbers
    return value if isinstance(value, bytes) else np.asarray(value, dtype=np.int64).astype("<u2").tobytes()


def _as_swapped_bytes(value: Any) -> bytes:  # noqa: ANN401  # as above
    """The words of a big-endian file; pydicom has turned numbers round, but not bytes."""
    return np.frombuffer(value, dtype=">u2").astype("<u2").tobytes() if isinstance(value, bytes) else _as_bytes(value)
