"""Our decoders against pydicom's own, on made and on real files."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from mammoscope.imaging.codecs import open_picture
from mammoscope.imaging.decoders import decoders_of_stream, parse_stream
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.prepare import PrepareSettings, prepare_image

DECODE_OPTIONS: Any = {
    "rows": 64,
    "columns": 48,
    "number_of_frames": 1,
    "samples_per_pixel": 1,
    "photometric_interpretation": "MONOCHROME2",
    "bits_allocated": 16,
    "bits_stored": 12,
    "pixel_representation": 0,
    "pixel_keyword": "PixelData",
}


def _real_files() -> Iterator[Path]:
    folder = os.environ.get("MAMMOSCOPE_REAL_DATA")
    if folder is None:
        pytest.skip("MAMMOSCOPE_REAL_DATA is not set")
    files = sorted(Path(folder, "rsna", "dicom").rglob("*.dcm"))
    # one of each patient: machines and polarities differ between patients, not within
    yield from {path.parent.name: path for path in files}.values()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True)),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
        (uid.JPEGLSNearLossless, lambda pixels: imagecodecs.jpegls_encode(pixels, level=3)),
        *(
            (uid.JPEGLossless, partial(imagecodecs.jpeg_encode, lossless=True, predictor=predictor, bitspersample=12))
            for predictor in range(1, 8)
        ),
    ],
)
def test_every_stream_is_decoded_as_gdcm_does(syntax: uid.UID, encode: Callable[..., bytes]) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (64, 48)).astype(np.uint16)
    stream = bytes(encode(pixels))
    header = Header(rows=64, columns=48, transfer_syntax=syntax, bits_allocated=16, bits_stored=12, high_bit=11)
    ours = decoders_of_stream(parse_stream(memoryview(stream), syntax), header)[0].decode(0)
    theirs, _ = get_decoder(syntax).as_array(
        encapsulate([stream]),
        decoding_plugin="gdcm",
        **DECODE_OPTIONS,
    )
    np.testing.assert_array_equal(ours, np.minimum(theirs, 4095))


@pytest.mark.real_data
def test_level_0_of_real_files_is_pydicoms_picture() -> None:
    for path in _real_files():
        content = path.read_bytes()
        decoded = open_picture(content, read_header(content, name=path.stem), name=path.stem).decode(0)
        assert decoded.decoder == "pillow"
        np.testing.assert_array_equal(decoded.values, dcmread(path).pixel_array)


@pytest.mark.real_data
def test_a_reduced_level_of_real_files_is_close_to_an_average_of_the_whole() -> None:
    for path in _real_files():
        content = path.read_bytes()
        picture = open_picture(content, read_header(content, name=path.stem), name=path.stem)
        whole = picture.decode(0).values.astype(np.float32)
        for level in (1, 2, 3):
            reduced = picture.decode(level).values
            averaged = cv2.resize(whole, reduced.shape[::-1], interpolation=cv2.INTER_AREA)
            value_range = float(whole.max() - whole.min())
            # the low-pass filter is longer than the average: what it leaves of fine structure is less than 1 %
            assert np.abs(reduced - averaged).mean() < 0.01 * value_range


@pytest.mark.real_data
def test_the_breast_is_found_on_real_files() -> None:
    for path in _real_files():
        image = prepare_image(path.read_bytes(), PrepareSettings(rows=512, columns=256), name=path.stem)
        side = read_header(path.read_bytes(), name=path.stem).laterality
        assert image.record.is_breast_found
        assert image.record.placement.is_flipped == (side == "R")  # so it is in these files, though not in all
        assert 0.3 < (image.pixels > 0.1 * 65535).mean() < 0.95
