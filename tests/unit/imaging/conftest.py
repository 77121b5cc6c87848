"""Small DICOM files with a breast in them, built in memory."""

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

MakeDicom = Callable[..., bytes]

_ENCODERS: dict[str, Callable[[NDArray[np.generic]], bytes]] = {
    str(uid.JPEG2000Lossless): lambda pixels: bytes(
        imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True)
    ),
    str(uid.HTJ2KLossless): lambda pixels: bytes(imagecodecs.htj2k_encode(pixels, reversible=True)),
    str(uid.JPEGLosslessSV1): lambda pixels: bytes(imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1)),
    str(uid.JPEGLSLossless): lambda pixels: bytes(imagecodecs.jpegls_encode(pixels)),
}


def draw_breast(rows: int = 96, columns: int = 80, peak: int = 3000) -> NDArray[np.uint16]:
    """A half disc at the left edge, brightest in its middle, on a ground of 0: a left CC view."""
    row, column = np.mgrid[0:rows, 0:columns]
    distance = np.hypot((row - rows / 2 + 0.5) / (rows * 0.4), (column + 0.5) / (columns * 0.7))
    return np.where(distance < 1, peak * (1 - 0.7 * distance**2), 0).astype(np.uint16)


def build_dicom(
    pixels: NDArray[np.generic] | None = None, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: object
) -> bytes:
    """A mammogram as a DICOM file; elements given by keyword replace the usual ones, None removes one."""
    pixels = draw_breast() if pixels is None else pixels
    dataset = Dataset()
    bits = pixels.dtype.itemsize * 8
    usual: dict[str, object] = {
        "PatientID": "P1",
        "ImageLaterality": "L",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for keyword, value in (usual | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" not in elements:
        encode = _ENCODERS.get(syntax)
        dataset.PixelData = encapsulate([encode(pixels)]) if encode else pixels.tobytes()
        dataset["PixelData"].VR = "OB" if encode else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def make_dicom() -> MakeDicom:
    return build_dicom


@pytest.fixture
def breast() -> NDArray[np.uint16]:
    return draw_breast()
