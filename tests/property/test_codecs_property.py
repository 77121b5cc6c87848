"""Whatever happens to a code stream, it is decoded or refused with a reason."""

import io

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.codecs import open_picture
from mammoscope.imaging.header import read_header
from mammoscope.imaging.verdict import Verdict

PIXELS = np.random.default_rng(1).integers(0, 4096, (23, 31)).astype(np.uint16)
STREAMS = {
    uid.JPEG2000Lossless: bytes(imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k", reversible=True)),
    uid.HTJ2KLossless: bytes(imagecodecs.htj2k_encode(PIXELS, reversible=True)),
    uid.JPEGLSLossless: bytes(imagecodecs.jpegls_encode(PIXELS)),
    uid.JPEGLosslessSV1: bytes(imagecodecs.jpeg_encode(PIXELS, lossless=True, predictor=1, bitspersample=12)),
    uid.JPEGExtended12Bit: bytes(imagecodecs.jpeg_encode(PIXELS, level=90, bitspersample=12)),
    uid.RLELossless: np.random.default_rng(2).integers(0, 256, 1400).astype(np.uint8).tobytes(),
}
ENDS = {"truncated", "undecodable", "size_mismatch", "colour", "unsupported_codec", "too_large"}


def _write(stream: bytes, syntax: str) -> bytes:
    dataset = Dataset()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = PIXELS.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


# OpenJPH of imagecodecs reports some damage where nobody can catch it, and then gives a picture
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("syntax", STREAMS)
def test_a_damaged_stream_is_decoded_or_refused_with_a_reason(syntax: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        stream = bytearray(STREAMS[uid.UID(syntax)])
        for position in rng.integers(0, min(len(stream), int(rng.choice([120, len(stream)]))), 3):
            stream[position] = rng.integers(0, 256)
        if rng.random() < 0.3:
            stream = stream[: rng.integers(0, len(stream))] + b"\xff\xd9"
        content = _write(bytes(stream), syntax)
        if rng.random() < 0.2:
            content = content[: rng.integers(400, len(content))]
        for level in (0, 1):
            try:
                values = open_picture(content, read_header(content, name="1"), name="1").decode(level).values
            except ImageRefusedError as error:
                assert error.code in ENDS | {Verdict.NO_PIXEL_DATA.value}  # noqa: PT017  # a refusal is a good end
            else:
                assert values.shape == (-(-23 >> level), -(-31 >> level))
                assert values.max() <= 4095
