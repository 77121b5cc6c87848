"""Small whole files to break: one mammogram in every encoding, and pictures."""

import io
from collections.abc import Callable

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import compress

Pixels = NDArray[np.uint16]

_ENCODE: dict[str, Callable[[Pixels], bytes | bytearray]] = {
    uid.JPEGBaseline8Bit: lambda pixels: imagecodecs.jpeg_encode((pixels >> 4).astype(np.uint8)),
    uid.JPEGExtended12Bit: lambda pixels: imagecodecs.jpeg_encode(pixels, bitspersample=12),
    uid.JPEGLossless: lambda pixels: imagecodecs.jpeg_encode(pixels, lossless=True, predictor=6, bitspersample=12),
    uid.JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1, bitspersample=12),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEGLSNearLossless: lambda pixels: imagecodecs.jpegls_encode(pixels, level=3),
    uid.JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True),
    uid.JPEG2000: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", level=40),
    uid.HTJ2KLossless: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    uid.HTJ2K: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=False),
}
_UNCOMPRESSED = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)


def make_corpus() -> list[bytes]:
    """The files, the same ones every time."""
    pixels = _draw_breast()
    encoded = [_write(pixels, syntax, bytes(encode(pixels))) for syntax, encode in _ENCODE.items()]
    return [
        *encoded,
        _write_rle(pixels),
        *(_write(pixels, syntax, None) for syntax in _UNCOMPRESSED),
        *_pictures(pixels),
    ]


def _draw_breast() -> Pixels:
    row, column = np.mgrid[0:96, 0:80]
    inside = np.hypot((row - 48) / 40, column / 56)
    texture = np.random.default_rng(1).integers(0, 200, inside.shape)
    return np.where(inside < 1, 3000 * (1 - 0.7 * inside**2) + texture, 0).astype(np.uint16)


def _write(pixels: Pixels, syntax: str, stream: bytes | None) -> bytes:
    dataset = _describe(pixels, is_wide=syntax != uid.JPEGBaseline8Bit)
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    is_little = syntax != uid.ExplicitVRBigEndian
    raw = pixels.astype("<u2" if is_little else ">u2").tobytes()
    dataset.PixelData = raw if stream is None else encapsulate([stream])
    dataset["PixelData"].VR = "OW" if stream is None else "OB"
    return _to_bytes(dataset)


def _write_rle(pixels: Pixels) -> bytes:
    dataset = _describe(pixels, is_wide=True)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    compress(dataset, uid.RLELossless, pixels, encoding_plugin="pydicom")
    return _to_bytes(dataset)


def _to_bytes(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _describe(pixels: Pixels, *, is_wide: bool) -> Dataset:
    """All kinds of elements that a header reads, sequences and tables among them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientID, dataset.ImageLaterality, dataset.ViewPosition = "P1", "L", "CC"
    dataset.PatientOrientation = ["A", "R"]
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = "maker", "model", ["1", "2"]
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20010203", "101112.5"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (16, 12, 11) if is_wide else (8, 8, 7)
    dataset.PixelRepresentation, dataset.NumberOfFrames = 0, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    dataset.WindowCenter, dataset.WindowWidth = ["2048", "1000"], ["4096", "500"]
    dataset.VOILUTFunction, dataset.PresentationLUTShape = "SIGMOID", "IDENTITY"
    dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = 0, 3
    dataset.ImagerPixelSpacing, dataset.PixelSpacing = [0.1, 0.1], [0.1, 0.1]
    dataset.EstimatedRadiographicMagnificationFactor = "1.05"
    dataset.PartialView, dataset.BreastImplantPresent, dataset.BurnedInAnnotation = "NO", "NO", "NO"
    view, modifier, table = Dataset(), Dataset(), Dataset()
    view.CodeValue = "399162004"
    modifier.CodeValue = "399011000"
    view.ViewModifierCodeSequence = [modifier]
    table.LUTDescriptor = [256, 0, 8]
    table.add_new("LUTData", "OW", bytes(range(256)))
    dataset.ViewCodeSequence, dataset.VOILUTSequence = [view], [table]
    return dataset


def _pictures(pixels: Pixels) -> list[bytes]:
    return [cv2.imencode(extension, pixels)[1].tobytes() for extension in (".png", ".pgm")]
