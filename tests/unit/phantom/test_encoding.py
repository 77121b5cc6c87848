import itertools
from dataclasses import replace
from io import BytesIO
from typing import get_args

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import UserInputError
from mammoscope.phantom.dicom import Identity, encode_dicom
from mammoscope.phantom.encoding import LOSSY_ENCODINGS
from mammoscope.phantom.machine import MACHINES, TRANSFER_SYNTAXES, Encoding, Machine
from mammoscope.phantom.picture import to_stored_values
from mammoscope.phantom.sketch import draw_phantom
from mammoscope.phantom.vendors import VENDORS, find_machine

ALL_MACHINES = (*MACHINES, *VENDORS)
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
IDENTITY = Identity("900001", "9000011", 1, 61, Laterality.LEFT, View.CC, 5)
# errors in stored values of 12 bits that nobody sees; the near-lossless bound is exact (ISO 14495-1 NEAR)
LARGEST_ERROR: dict[Encoding, int] = {
    "jpeg_baseline": 8,
    "jpeg_extended": 40,
    "jpeg_ls_near": 2,
    "jpeg2000_lossy": 40,
    "htj2k_lossy": 40,
}


def _decode(content: bytes) -> NDArray[np.int64]:
    dataset = pydicom.dcmread(BytesIO(content))
    if dataset.file_meta.TransferSyntaxUID in (TRANSFER_SYNTAXES["htj2k"], TRANSFER_SYNTAXES["htj2k_lossy"]):
        # written by OpenJPH, read by OpenJPEG
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        return np.asarray(imagecodecs.jpeg2k_decode(stream), dtype=np.int64)
    if dataset.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES["jpeg_extended"]:
        # no decoder of pydicom's takes 12 bits
        return np.asarray(imagecodecs.jpeg_decode(next(generate_frames(dataset.PixelData, number_of_frames=1))), int)
    return np.asarray(dataset.pixel_array, dtype=np.int64)


def _names(machine: Machine) -> str:
    return str(machine.machine_id)


def test_every_encoding_has_its_own_transfer_syntax() -> None:
    assert set(TRANSFER_SYNTAXES) == set(ENCODINGS)
    assert len(set(TRANSFER_SYNTAXES.values())) == len(ENCODINGS)


@pytest.mark.parametrize(("encoding", "number"), list(itertools.product(ENCODINGS, (21, 29, 109))))
def test_another_decoder_gives_the_picture_back(encoding: Encoding, number: int) -> None:
    machine = find_machine(number).scaled(0.1).encoded_as(encoding)
    pixels = draw_phantom(2, machine).pixels
    content = encode_dicom(pixels, IDENTITY, machine)
    dataset = pydicom.dcmread(BytesIO(content))
    assert dataset.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[encoding]
    error = np.abs(_decode(content) - pixels).max()
    if encoding in LOSSY_ENCODINGS:
        assert error <= LARGEST_ERROR[encoding] * max(1, 2 ** (machine.bits_stored - 12))
        assert dataset.LossyImageCompression == "01"
        assert float(dataset.LossyImageCompressionRatio) > 1
        assert dataset.ImageType[0] == "DERIVED"
    else:
        assert error == 0
        assert dataset.LossyImageCompression == "00"
        assert "LossyImageCompressionMethod" not in dataset


@pytest.mark.parametrize("machine", [each.scaled(0.1) for each in VENDORS], ids=_names)
def test_a_file_of_every_machine_gives_the_picture_back(machine: Machine) -> None:
    pixels = draw_phantom(3, machine).pixels
    content = encode_dicom(pixels, IDENTITY, machine)
    dataset = pydicom.dcmread(BytesIO(content))
    allowed = LARGEST_ERROR.get(machine.encoding, 0)
    assert np.abs(_decode(content) - pixels).max() <= allowed
    assert dataset.BitsStored == machine.bits_stored
    assert dataset.PixelRepresentation == int(machine.is_signed)


@pytest.mark.parametrize("machine", ALL_MACHINES, ids=_names)
def test_pydicom_displays_the_brightness_that_was_drawn(machine: Machine) -> None:
    brightness = np.linspace(0.02, 0.98, 400, dtype=np.float32).reshape(20, 20)
    plain = replace(machine, encoding="explicit")
    stored = to_stored_values(brightness, plain)
    dataset = pydicom.dcmread(BytesIO(encode_dicom(stored, IDENTITY, plain)))
    low, high = machine.stored_range
    lowest, highest = (machine.slope * end + machine.intercept for end in (low, high))
    is_rescaled = (machine.slope, machine.intercept) != (1.0, 0.0)
    modality = apply_modality_lut(stored, dataset) if is_rescaled else stored
    shown = apply_voi_lut(modality, dataset).astype(float)
    if machine.lut_gamma is not None:
        lowest, highest = 0.0, 65535.0
    shown = (shown - lowest) / (highest - lowest)
    if machine.is_inverted:
        shown = 1 - shown
    np.testing.assert_allclose(shown, brightness, atol=0.003 if machine.bits_stored > 8 else 0.005)


@pytest.mark.parametrize("machine", ALL_MACHINES, ids=_names)
def test_bright_tissue_is_bright_and_air_is_the_darkest(machine: Machine) -> None:
    ramp = np.array([[0.0, 0.1, 0.5, 0.9]], dtype=np.float32)
    values = to_stored_values(ramp, machine)[0].astype(int)
    assert (np.diff(values) * (-1 if machine.is_inverted else 1) > 0).all()
    if machine.padding is not None:
        assert values[0] == machine.padding


def test_a_range_of_padding_holds_no_tissue() -> None:
    machine = find_machine(110)
    assert machine.padding_limit is not None
    tissue = to_stored_values(np.linspace(0.01, 1, 50, dtype=np.float32)[np.newaxis], machine)
    assert tissue.max() < machine.padding_limit


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(UserInputError, match="machines: found 7, expected numbers of 21, 29"):
        find_machine(7)


def test_big_endian_words_are_swapped() -> None:
    machine = MACHINES[3].encoded_as("big_endian")
    content = encode_dicom(np.array([[0x0102, 0x0304]], dtype=np.uint16), IDENTITY, machine)
    assert content.endswith(b"\x01\x02\x03\x04")


def test_lossless_jpeg_57_uses_another_predictor_than_the_first() -> None:
    machine = MACHINES[2].encoded_as("jpeg_lossless_predictor_6")
    pixels = np.arange(1200, dtype=np.uint16).reshape(40, 30)
    dataset = pydicom.dcmread(BytesIO(encode_dicom(pixels, IDENTITY, machine)))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    assert frame[frame.index(b"\xff\xda") + 7] == 6  # ITU-T T.81 B.2.3


def test_jpeg_is_of_the_process_that_its_syntax_names() -> None:
    markers: dict[Encoding, bytes] = {"jpeg_baseline": b"\xff\xc0", "jpeg_extended": b"\xff\xc1"}  # ITU-T T.81 B.1.1.3
    for encoding, marker in markers.items():
        machine = MACHINES[0].scaled(0.1).encoded_as(encoding)
        dataset = pydicom.dcmread(BytesIO(encode_dicom(draw_phantom(2, machine).pixels, IDENTITY, machine)))
        assert marker in next(generate_frames(dataset.PixelData, number_of_frames=1))
