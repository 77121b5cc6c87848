from dataclasses import replace
from io import BytesIO

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from mammoscope.anatomy import Laterality, View, parse_view_code
from mammoscope.phantom.dicom import Identity, encode_dicom, make_uid
from mammoscope.phantom.machine import MACHINES, Machine

IDENTITY = Identity(
    patient_id="900001",
    image_id="9000011",
    instance_number=1,
    age_years=61,
    laterality=Laterality.LEFT,
    view=View.CC,
    seed=5,
)


def _pixels(machine: Machine) -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2**machine.bits_stored, size=(40, 30), dtype=np.uint16)


@pytest.mark.parametrize("machine", MACHINES)
def test_another_decoder_gives_the_same_pixels(machine: Machine) -> None:
    pixels = _pixels(machine)
    dataset = pydicom.dcmread(BytesIO(encode_dicom(pixels, IDENTITY, machine)))
    if machine.encoding == "jpeg_lossless":
        # written by libjpeg-turbo, read by jpegsof3: two implementations
        decoded = imagecodecs.jpegsof3_decode(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    else:
        decoded = dataset.pixel_array  # JPEG 2000 through Pillow
    np.testing.assert_array_equal(decoded, pixels)


def test_lossless_jpeg_uses_the_first_predictor() -> None:
    machine = next(machine for machine in MACHINES if machine.encoding == "jpeg_lossless")
    dataset = pydicom.dcmread(BytesIO(encode_dicom(_pixels(machine), IDENTITY, machine)))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    scan = frame.index(b"\xff\xda")
    # start of scan: marker 2, length 2, one component 1, its id and table 2, then the predictor (ITU-T T.81 B.2.3)
    assert frame[scan + 7] == 1
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"


@pytest.mark.parametrize("machine", MACHINES)
def test_a_file_is_a_mammogram_for_presentation(machine: Machine) -> None:
    dataset = pydicom.dcmread(BytesIO(encode_dicom(_pixels(machine), IDENTITY, machine)))
    assert dataset.SOPClassUID == DigitalMammographyXRayImageStorageForPresentation
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.Modality == "MG"
    assert dataset.PresentationIntentType == "FOR PRESENTATION"
    assert dataset.PhotometricInterpretation == ("MONOCHROME1" if machine.is_inverted else "MONOCHROME2")
    assert dataset.PresentationLUTShape == ("INVERSE" if machine.is_inverted else "IDENTITY")
    assert dataset.BitsStored == machine.bits_stored


@pytest.mark.parametrize(
    ("laterality", "view", "orientation"),
    [
        (Laterality.LEFT, View.CC, ["A", "R"]),
        (Laterality.RIGHT, View.CC, ["P", "L"]),
        (Laterality.LEFT, View.MLO, ["A", "FR"]),
        (Laterality.RIGHT, View.MLO, ["P", "FL"]),
    ],
)
def test_side_view_and_orientation_agree(laterality: Laterality, view: View, orientation: list[str]) -> None:
    identity = replace(IDENTITY, laterality=laterality, view=view)
    dataset = pydicom.dcmread(BytesIO(encode_dicom(_pixels(MACHINES[0]), identity, MACHINES[0])))
    assert dataset.ImageLaterality == laterality
    assert list(dataset.PatientOrientation) == orientation
    assert parse_view_code(dataset.ViewCodeSequence[0].CodeValue) is view
    assert dataset.ViewPosition == view


def test_nobody_is_named() -> None:
    dataset = pydicom.dcmread(BytesIO(encode_dicom(_pixels(MACHINES[0]), IDENTITY, MACHINES[0])))
    assert str(dataset.PatientName) == "PHANTOM^900001"
    assert dataset.PatientBirthDate == ""
    assert dataset.StudyDate == "20000101"


def test_the_same_picture_gives_the_same_bytes() -> None:
    first, second = (encode_dicom(_pixels(MACHINES[1]), IDENTITY, MACHINES[1]) for _ in range(2))
    assert first == second


def test_uids_are_below_2_25_and_differ_by_seed_and_name() -> None:
    uids = {make_uid(seed, name) for seed in (1, 2) for name in ("a", "b")}
    assert len(uids) == 4
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_the_images_of_a_patient_are_of_one_study() -> None:
    files = [
        pydicom.dcmread(BytesIO(encode_dicom(_pixels(MACHINES[0]), replace(IDENTITY, image_id=image_id), MACHINES[0])))
        for image_id in ("9000011", "9000012")
    ]
    assert len({file.StudyInstanceUID for file in files}) == 1
    assert len({file.SOPInstanceUID for file in files}) == 2
