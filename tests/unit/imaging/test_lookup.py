"""Lookup tables: how their entries are packed, and what they give."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from mammoscope.imaging.elements import ElementReader
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.lookup import LookupTable, read_luts, unpack_entries

MakeDicom = Callable[..., bytes]


def _lut(descriptor: Sequence[int] | None, data: object, *, vr: str = "OW", first_vr: str = "US") -> Dataset:
    lut = Dataset()
    if descriptor is not None:
        lut.add_new("LUTDescriptor", first_vr, list(descriptor))
    if data is not None:
        lut.add_new("LUTData", vr, data)
    return lut


def _words(*entries: int) -> bytes:
    return np.array(entries, dtype="<u2").tobytes()


def _codes(header: Header) -> list[str]:
    return [warning.code for warning in header.warnings]


def test_inputs_below_the_first_get_the_first_and_beyond_the_end_the_last() -> None:
    lut = LookupTable(10, 8, (5, 50, 200))
    values = np.array([[-1e9, 9, 10, 11], [12, 13, 65535, 6e13]], dtype=np.float32)
    assert lut.apply(values).tolist() == [[5, 5, 5, 50], [200, 200, 200, 200]]
    assert lut.apply(values).dtype == np.float32
    assert lut.ends == (10, 12)


def test_inputs_between_two_get_the_nearer() -> None:
    lut = LookupTable(-1, 8, (5, 50, 200))
    assert lut.apply(np.array([-0.6, -0.4, 0.4, 0.6], dtype=np.float32)).tolist() == [5, 50, 50, 200]


def test_an_index_does_not_wrap_around_in_the_bits_of_the_table() -> None:
    lut = LookupTable(0, 8, tuple(entry // 16 for entry in range(4096)))
    assert lut.apply(np.array([255, 256, 4095], dtype=np.float32)).tolist() == [15, 16, 255]


def test_the_largest_table_is_used_whole() -> None:
    lut = LookupTable(0, 16, tuple(range(65535, -1, -1)))
    assert lut.apply(np.array([0, 1, 65535], dtype=np.float32)).tolist() == [65535, 65534, 0]


@pytest.mark.parametrize(("entries", "is_falling"), [((1, 2), False), ((2, 1), True), ((1, 1), False), ((7,), False)])
def test_a_table_falls_where_high_inputs_give_low_outputs(entries: tuple[int, ...], *, is_falling: bool) -> None:
    assert LookupTable(0, 8, entries).is_falling is is_falling


@pytest.mark.parametrize("n_entries", [0, 65537])
def test_a_table_of_no_or_too_many_entries_is_refused(n_entries: int) -> None:
    with pytest.raises(ValueError, match=f"lookup table: found {n_entries} entries, expected 1 to 65536"):
        LookupTable(0, 8, (0,) * n_entries)


@pytest.mark.parametrize("bits", [0, -1, 17])
def test_a_table_of_impossible_bits_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"found {bits} bits for an entry, expected 1 to 16"):
        LookupTable(0, bits, (0,))


@pytest.mark.parametrize(
    ("packed", "n_entries", "bits", "expected"),
    [
        (b"\x01\x02\x03\x04", 2, 16, (0x0201, 0x0403)),
        (b"\x01\x00\x02\x00\x03\x00", 3, 8, (1, 2, 3)),  # one in a word
        (b"\x01\x02\x03\x04", 4, 8, (1, 2, 3, 4)),  # two in a word
        (b"\x01\x02\x03\x00", 3, 8, (1, 2, 3)),  # two in a word, and a byte to fill the last
        (b"\x01\x00\x02\x00\xff\xff", 2, 12, (1, 2)),  # more than announced
    ],
)
def test_entries_are_unpacked(packed: bytes, n_entries: int, bits: int, expected: tuple[int, ...]) -> None:
    assert unpack_entries(packed, n_entries=n_entries, bits=bits) == expected


@pytest.mark.parametrize(("n_bytes", "n_entries", "bits"), [(7, 4, 16), (7, 4, 9), (3, 4, 8), (0, 1, 8)])
def test_too_few_bytes_are_refused(n_bytes: int, n_entries: int, bits: int) -> None:
    with pytest.raises(ValueError, match=f"found {n_bytes} bytes for {n_entries} entries of {bits} bits"):
        unpack_entries(bytes(n_bytes), n_entries=n_entries, bits=bits)


@pytest.mark.parametrize(("data", "vr"), [(_words(0, 300, 4095), "OW"), ([0, 300, 4095], "US")])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_a_table_of_words_or_of_numbers_is_one(make_dicom: MakeDicom, data: object, vr: str, syntax: str) -> None:
    content = make_dicom(VOILUTSequence=[_lut((3, 7, 12), data, vr=vr)], syntax=syntax)
    header = read_header(content, name="1")
    assert header.voi_luts == (LookupTable(7, 12, (0, 300, 4095)),)
    assert header.modality_lut is None


@pytest.mark.parametrize(("data", "vr"), [(np.array([0, 300], dtype=">u2").tobytes(), "OW"), ([0, 300], "US")])
def test_a_table_of_a_big_endian_file_is_turned_round_once(make_dicom: MakeDicom, data: object, vr: str) -> None:
    header = read_header(
        make_dicom(ModalityLUTSequence=[_lut((2, 0, 16), data, vr=vr)], syntax=uid.ExplicitVRBigEndian), name="1"
    )
    assert header.modality_lut == LookupTable(0, 16, (0, 300))


def test_bytes_of_a_big_endian_file_are_turned_round_in_their_words(make_dicom: MakeDicom) -> None:
    lut = _lut((4, 0, 8), b"\x02\x01\x04\x03")  # the low byte of a word is the first entry, PS3.5 8.1.1
    header = read_header(make_dicom(VOILUTSequence=[lut], syntax=uid.ExplicitVRBigEndian), name="1")
    assert header.voi_luts[0].entries == (1, 2, 3, 4)


def test_zero_entries_announce_65536(make_dicom: MakeDicom) -> None:
    data = np.arange(65536, dtype="<u2").tobytes()
    header = read_header(make_dicom(VOILUTSequence=[_lut((0, 0, 16), data)]), name="1")
    assert len(header.voi_luts[0].entries) == 65536


@pytest.mark.parametrize(
    ("first", "first_vr", "is_signed", "expected"),
    [
        (-5, "SS", True, -5),
        (0xFFFB, "US", True, -5),  # written as US where SS was meant
        (0x7FFF, "US", True, 0x7FFF),
        (0x8000, "US", True, -0x8000),
        (0xFFFB, "US", False, 0xFFFB),
    ],
)
def test_the_first_input_has_the_sign_of_the_pixels(
    make_dicom: MakeDicom, first: int, first_vr: str, expected: int, *, is_signed: bool
) -> None:
    pixels = np.zeros((3, 4), dtype=np.int16 if is_signed else np.uint16)
    content = make_dicom(pixels, VOILUTSequence=[_lut((2, first, 8), _words(1, 2), first_vr=first_vr)])
    assert read_header(content, name="1").voi_luts[0].first == expected


def test_what_comes_out_of_a_modality_lut_has_no_sign(make_dicom: MakeDicom) -> None:
    content = make_dicom(
        np.zeros((3, 4), dtype=np.int16),
        ModalityLUTSequence=[_lut((2, 0xFFFF, 16), _words(40000, 40001))],
        VOILUTSequence=[_lut((2, 40000, 8), _words(1, 2))],
    )
    header = read_header(content, name="1")
    assert header.modality_lut is not None
    assert header.modality_lut.first == -1
    assert header.voi_luts[0].first == 40000


@pytest.mark.parametrize(
    ("lut", "found"),
    [
        (_lut(None, _words(1, 2)), "found no descriptor of three numbers"),
        (_lut((2, 0), _words(1, 2)), "found no descriptor of three numbers"),
        (_lut((2, 0, 8, 1), _words(1, 2)), "found no descriptor of three numbers"),
        (_lut((2, 0, 8), None), "found no data"),
        (_lut((3, 0, 16), _words(1, 2)), "found 4 bytes for 3 entries of 16 bits"),
        (_lut((2, 0, 0), _words(0, 0)), "lookup table: found 0 bits for an entry, expected 1 to 16"),
        (_lut((2, 0, 17), _words(0, 0)), "lookup table: found 17 bits for an entry, expected 1 to 16"),
    ],
)
def test_a_table_that_cannot_be_used_is_left_out_and_the_next_is_taken(
    make_dicom: MakeDicom, lut: Dataset, found: str
) -> None:
    header = read_header(make_dicom(VOILUTSequence=[lut, _lut((2, 0, 8), _words(1, 2))]), name="1")
    assert header.voi_luts == (LookupTable(0, 8, (1, 2)),)
    (warning,) = header.warnings
    assert warning.code == "unreadable_lut"
    assert warning.sentence == f"VOILUTSequence holds a table that cannot be used, left out: {found}"


@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (256, 9), (4095, 12), (65535, 16)])
def test_entries_beyond_their_bits_widen_the_table(make_dicom: MakeDicom, largest: int, bits: int) -> None:
    header = read_header(make_dicom(VOILUTSequence=[_lut((2, 0, 8), _words(0, largest))]), name="1")
    assert header.voi_luts == (LookupTable(0, bits, (0, largest)),)
    assert _codes(header) == ([] if bits == 8 else ["lut_bits_conflict"])


@pytest.mark.filterwarnings("ignore:A value of type")  # pydicom's own, of what is broken on purpose
@pytest.mark.parametrize("first", [float("inf"), float("nan")])
def test_a_descriptor_that_is_no_number_costs_its_table_alone(first: float) -> None:
    dataset, lut = Dataset(), Dataset()
    lut.add_new("LUTDescriptor", "FD", [2.0, first, 8.0])
    lut.add_new("LUTData", "OW", _words(1, 2))
    dataset.VOILUTSequence = [lut]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    element = ElementReader(dataset, "1")
    assert read_luts(element, "VOILUTSequence", is_signed=False) == ()
    assert [warning.code for warning in element.warnings] == ["unreadable_lut"]
