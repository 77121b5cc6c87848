import io
from collections.abc import Callable
from dataclasses import replace

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.codecs import Decoded, check_announced, open_picture
from mammoscope.imaging.codestream import parse_jpeg_2000
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.jpeg2000 import _LevelImageFile, decode_level

MakeDicom = Callable[..., bytes]

SYNTAXES = [
    (uid.ExplicitVRLittleEndian, "numpy"),
    (uid.ImplicitVRLittleEndian, "numpy"),
    (uid.JPEG2000Lossless, "pillow"),
    (uid.HTJ2KLossless, "imagecodecs"),
    (uid.JPEGLosslessSV1, "imagecodecs"),
    (uid.JPEGLSLossless, "imagecodecs"),
]


def _decode(content: bytes, level: int = 0) -> Decoded:
    return open_picture(content, read_header(content, name="1"), name="1").decode(level)


def _encode_jpeg_2000(
    pixels: NDArray[np.generic], *, codecformat: str = "j2k", bitspersample: int | None = None
) -> bytes:
    encoded = imagecodecs.jpeg2k_encode(pixels, codecformat=codecformat, reversible=True, bitspersample=bitspersample)
    return bytes(encoded)


def _refuse(content: bytes, message: str) -> str:
    with pytest.raises(ImageRefusedError, match=message) as caught:
        _decode(content)
    return caught.value.code


@pytest.fixture
def header(make_dicom: MakeDicom) -> Header:
    return read_header(make_dicom(), name="1")


@pytest.mark.parametrize(("syntax", "decoder"), SYNTAXES)
@pytest.mark.parametrize("peak", [255, 4095, 65535])
def test_every_encoding_gives_back_the_stored_values(
    make_dicom: MakeDicom, syntax: str, decoder: str, peak: int
) -> None:
    dtype = "uint8" if peak == 255 else "uint16"
    pixels = np.random.default_rng(1).integers(0, peak, (37, 50), endpoint=True).astype(dtype)
    content = make_dicom(pixels, syntax=syntax, BitsStored=12 if peak == 4095 else None, HighBit=None)
    decoded = _decode(content)
    assert (decoded.decoder, decoded.level, decoded.values.dtype.name) == (decoder, 0, dtype)
    np.testing.assert_array_equal(decoded.values, pixels)


@pytest.mark.parametrize("precision", [8, 10, 12, 16])
def test_a_jpeg_2000_sample_keeps_its_value_at_any_precision(make_dicom: MakeDicom, precision: int) -> None:
    dtype = np.uint8 if precision == 8 else np.uint16
    pixels = np.random.default_rng(2).integers(0, 1 << precision, (24, 30)).astype(dtype)
    stream = _encode_jpeg_2000(pixels, bitspersample=precision)
    content = make_dicom(
        pixels,
        syntax=uid.JPEG2000Lossless,
        BitsStored=precision,
        HighBit=precision - 1,
        PixelData=encapsulate([stream]),
    )
    np.testing.assert_array_equal(_decode(content).values, pixels)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless])
def test_signed_values_keep_their_sign(make_dicom: MakeDicom, syntax: str) -> None:
    pixels = np.random.default_rng(3).integers(-2000, 2000, (24, 30)).astype(np.int16)
    decoded = _decode(make_dicom(pixels, syntax=syntax))
    np.testing.assert_array_equal(decoded.values, pixels)


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless])
def test_a_codec_that_knows_no_sign_gets_it_from_the_header(make_dicom: MakeDicom, syntax: str) -> None:
    pixels = np.array([[-1, 0, 1, 7], [-2048, 2047, -7, 5]], dtype=np.int16)
    stored = (pixels.astype(np.uint16) & 0xFFF).astype(np.uint16)  # 12 bits of two's complement
    content = make_dicom(stored, syntax=syntax, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(_decode(content).values, pixels)


def test_bits_outside_of_the_stored_ones_are_dropped(make_dicom: MakeDicom) -> None:
    pixels = np.array([[0x0123, 0x0FFF]], dtype=np.uint16)
    above = make_dicom(pixels | 0xA000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(_decode(above).values, pixels)
    below = make_dicom((pixels << 4) | 0x5, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(_decode(below).values, pixels)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_level_has_half_of_the_rows_and_columns_rounded_up(make_dicom: MakeDicom, syntax: str, level: int) -> None:
    # 2082 columns of a real detector at level 3 are where Pillow's own rounding fails
    pixels = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 4096, (139, 2082)).astype(np.uint16), (31, 31), 8)
    decoded = _decode(make_dicom(pixels, syntax=syntax), level)
    assert decoded.values.shape == (-(-139 // 2**level), -(-2082 // 2**level))
    averaged = cv2.resize(pixels, decoded.values.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.values.astype(float) - averaged).mean() < 25  # of values up to 4095, and of a slight shift


def test_a_reduced_level_stays_within_the_stored_bits(make_dicom: MakeDicom) -> None:
    bars = np.where(np.arange(128) % 32 < 16, 4095, 0).astype(np.uint16)
    content = make_dicom(bars * np.ones((128, 1), np.uint16), syntax=uid.JPEG2000Lossless, BitsStored=12, HighBit=11)
    stream = parse_jpeg_2000(memoryview(content)[content.index(b"\xff\x4f\xff\x51") :])
    assert decode_level(stream, 1).max() > 4095
    decoded = _decode(content, 1)
    assert (decoded.values.max(), decoded.decoder) == (4095, "pillow")


def test_a_picture_without_levels_has_none(make_dicom: MakeDicom) -> None:
    content = make_dicom(syntax=uid.JPEGLSLossless)
    assert open_picture(content, read_header(content, name="1"), name="1").n_levels == 0


def test_a_code_stream_may_lie_in_several_fragments(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    stream = _encode_jpeg_2000(breast)
    for has_offsets in (True, False):
        data = encapsulate([stream], fragments_per_frame=3, has_bot=has_offsets)
        np.testing.assert_array_equal(_decode(make_dicom(syntax=uid.JPEG2000Lossless, PixelData=data)).values, breast)


def test_a_code_stream_may_lie_in_a_jp2_file(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    data = encapsulate([_encode_jpeg_2000(breast, codecformat="jp2")])
    np.testing.assert_array_equal(_decode(make_dicom(syntax=uid.JPEG2000Lossless, PixelData=data)).values, breast)


def test_a_sign_that_the_code_stream_denies_is_the_highest_stored_bit(make_dicom: MakeDicom) -> None:
    pixels = np.array([[1, -2, 3, 4], [5, 6, -7, 2047]] * 8, dtype=np.int16)
    bits = pixels.astype(np.uint16) & 0xFFF
    content = make_dicom(bits, syntax=uid.JPEG2000Lossless, PixelRepresentation=1, BitsStored=12, HighBit=11)
    assert open_picture(content, read_header(content, name="1"), name="1").n_levels == 0
    np.testing.assert_array_equal(_decode(content).values, pixels)


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("extension", [".png", ".pgm"])
def test_a_grey_picture_is_decoded(extension: str, *, is_wide: bool) -> None:
    pixels = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000 if is_wide else np.eye(6, dtype=np.uint8)
    np.testing.assert_array_equal(_decode(bytes(cv2.imencode(extension, pixels)[1])).values, pixels)


def test_three_equal_channels_are_grey() -> None:
    grey = np.arange(60, dtype=np.uint8).reshape(6, 10)
    np.testing.assert_array_equal(_decode(bytes(cv2.imencode(".png", cv2.merge([grey] * 3))[1])).values, grey)


def test_channels_that_differ_are_refused() -> None:
    pixels = np.zeros((6, 10, 3), dtype=np.uint8)
    pixels[2, 3] = (1, 2, 3)
    assert _refuse(bytes(cv2.imencode(".png", pixels)[1]), "three channels that differ") == "colour"


def test_a_torn_png_is_refused(breast: NDArray[np.uint16]) -> None:
    content = bytes(cv2.imencode(".png", breast)[1])
    assert _refuse(content[:60], "cannot be decoded") == "truncated"


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        ({"samples": 3, "photometric": "RGB"}, "colour", "3 samples per pixel, RGB"),
        ({"photometric": "PALETTE COLOR"}, "colour", "1 samples per pixel, PALETTE COLOR"),
        ({"n_frames": 60}, "multi_frame", "60 frames"),
        ({"rows": 20_000, "columns": 20_000}, "too_large", "20000 x 20000 pixels"),
        ({"rows": 0}, "too_large", "0 x 80 pixels"),
        ({"bits_allocated": 32}, "undecodable", "16 bits stored in 32"),
        ({"bits_stored": 0}, "undecodable", "0 bits stored in 16"),
        ({"bits_stored": 17}, "undecodable", "17 bits stored in 16"),
        ({"transfer_syntax": uid.MPEG2MPML}, "unsupported_codec", "MPEG2 Main Profile"),
        ({"photometric": "SMITH^JANE"}, "colour", "1 samples per pixel, an unknown Photometric Interpretation"),
        ({"transfer_syntax": "1.2.840.113619.5.2"}, "unsupported_codec", "transfer syntax 1.2.840.113619.5.2"),
        ({"transfer_syntax": "SMITH^JANE"}, "unsupported_codec", "an unknown transfer syntax"),
    ],
)
def test_what_must_not_be_decoded_is_refused(header: Header, change: dict[str, object], code: str, found: str) -> None:
    with pytest.raises(ImageRefusedError, match=found) as caught:
        check_announced(replace(header, **change), name="1")  # type: ignore[arg-type]  # the fields of the cases above
    assert caught.value.code == code


def test_uncompressed_data_that_is_short_is_refused(make_dicom: MakeDicom) -> None:
    assert _refuse(make_dicom(PixelData=b"\0" * 100), "100 of 15360 bytes of pixel data") == "truncated"


def test_a_code_stream_of_more_bits_than_the_header_allows_is_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom(
        np.array([[1, 300], [4000, 5]], dtype=np.uint16),
        syntax=uid.JPEGLosslessSV1,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    assert _refuse(content, "a code stream of 12 bits, expected up to 8") == "undecodable"


def test_a_file_without_pixel_data_is_refused(make_dicom: MakeDicom) -> None:
    assert _refuse(make_dicom(PixelData=None), "without pixel data") == "no_pixel_data"


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLosslessSV1])
def test_a_file_cut_off_in_the_pixel_data_is_refused(make_dicom: MakeDicom, syntax: str) -> None:
    content = make_dicom(syntax=syntax)
    assert _refuse(content[: len(content) - 300], "inside the pixel data") == "truncated"


def test_a_code_stream_without_its_end_is_refused(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    stream = _encode_jpeg_2000(breast)
    content = make_dicom(syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream[:-200]]))
    assert _refuse(content, "without its end mark") == "truncated"


def test_pixel_data_without_fragments_is_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom(syntax=uid.JPEG2000Lossless, PixelData=b"\xfe\xff\x00\xe0\x04\x00\x00\x00")
    assert _refuse(content, "breaks off") == "truncated"


@pytest.mark.parametrize(
    "stream", [b"no code stream\xff\xd9", b"\xff\x4f\xff\x51" + b"\0" * 50 + b"\xff\xd9", b"\xff\x4f\xff\x51\xff\xd9"]
)
def test_other_bytes_than_a_code_stream_are_refused(make_dicom: MakeDicom, stream: bytes) -> None:
    content = make_dicom(syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream]))
    assert _refuse(content, "no JPEG 2000 code stream") == "undecodable"


@pytest.mark.parametrize(
    ("syntax", "encode", "n_kept"),
    [
        (uid.JPEG2000Lossless, _encode_jpeg_2000, 400),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode, 400),
        (uid.JPEGLosslessSV1, lambda pixels: imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1), 60),
    ],
)
def test_a_code_stream_with_a_hole_is_refused(
    make_dicom: MakeDicom, syntax: str, encode: Callable[[NDArray[np.uint16]], bytes], n_kept: int
) -> None:
    pixels = np.random.default_rng(5).integers(0, 4096, (64, 64)).astype(np.uint16)
    data = encapsulate([bytes(encode(pixels))[:n_kept] + b"\xff\xd9"])
    assert _refuse(make_dicom(pixels, syntax=syntax, PixelData=data), "cannot decode") == "undecodable"


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_a_picture_of_another_size_than_announced_is_refused(make_dicom: MakeDicom, syntax: str) -> None:
    content = make_dicom(syntax=syntax, Rows=95)
    assert _refuse(content, "pixel data of 96 x 80, expected 95 x 80") == "size_mismatch"


def test_a_code_stream_of_several_components_is_refused(make_dicom: MakeDicom) -> None:
    stream = _encode_jpeg_2000(np.zeros((96, 80, 3), dtype=np.uint8))
    content = make_dicom(syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream]))
    assert _refuse(content, "a code stream of 3 components") == "colour"


def test_another_pillow_than_expected_is_told(breast: NDArray[np.uint16]) -> None:
    picture = _LevelImageFile(io.BytesIO(_encode_jpeg_2000(breast)))
    picture.tile = [type(picture.tile[0])("jpeg2k", (0, 0, 80, 96), 0, "raw")]
    with pytest.raises(TypeError, match="found decoder arguments 'raw'"):
        picture.shrink_to_level(1)
