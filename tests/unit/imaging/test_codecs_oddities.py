"""Files that differ from the usual and still hold a whole picture."""

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging import decoders
from mammoscope.imaging.codecs import Decoded, open_picture
from mammoscope.imaging.header import read_header

MakeDicom = Callable[..., bytes]
PIXELS = np.random.default_rng(1).integers(0, 4096, (23, 31)).astype(np.uint16)
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def _decode(content: bytes) -> Decoded:
    return open_picture(content, read_header(content, name="1"), name="1").decode()


def _encode_by_pillow(pixels: NDArray[np.generic], **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG2000", **{"no_jp2": True, "irreversible": False} | options)
    return file.getvalue()


def _refuse(content: bytes, message: str) -> str:
    with pytest.raises(ImageRefusedError, match=message) as caught:
        _decode(content)
    return caught.value.code


@pytest.mark.parametrize("bits", [8, 16])
def test_big_endian_words(make_dicom: MakeDicom, bits: int) -> None:
    pixels = PIXELS[:22] if bits == 16 else (PIXELS[:22] >> 4).astype(np.uint8)
    # 8 bit pixels in OW lie two in a word, whose bytes are exchanged (PS3.5 8.1.1)
    words = pixels if bits == 16 else pixels.ravel().view("<u2")
    content = make_dicom(pixels, syntax=uid.ExplicitVRBigEndian, PixelData=words.astype(">u2").tobytes())
    start = content.rindex(b"\x7f\xe0\x00\x10") + 4
    decoded = _decode(content[:start] + b"OW" + content[start + 2 :])
    assert (decoded.decoder, decoded.values.dtype) == ("numpy", pixels.dtype)
    np.testing.assert_array_equal(decoded.values, pixels)


def test_a_deflated_file(make_dicom: MakeDicom) -> None:
    np.testing.assert_array_equal(_decode(make_dicom(PIXELS, syntax=uid.DeflatedExplicitVRLittleEndian)).values, PIXELS)


def test_a_deflated_file_without_pixels(make_dicom: MakeDicom) -> None:
    content = make_dicom(PIXELS, syntax=uid.DeflatedExplicitVRLittleEndian, PixelData=None)
    assert _refuse(content, "without pixel data") == "no_pixel_data"


def test_words_in_bytes_and_an_odd_length(make_dicom: MakeDicom) -> None:
    content = make_dicom(PIXELS)
    start = content.rindex(b"OW")
    np.testing.assert_array_equal(_decode(content[:start] + b"OB" + content[start + 2 :]).values, PIXELS)
    small = (PIXELS[:, :29] >> 4).astype(np.uint8)  # 667 bytes and one to fill up
    np.testing.assert_array_equal(_decode(make_dicom(small, PixelData=small.tobytes() + b"\0")).values, small)


def test_pixel_data_of_another_kind_are_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom(PIXELS)
    start = content.rindex(b"OW")
    assert _refuse(content[:start] + b"UT" + content[start + 2 :], "pixel data in VR b'UT'") == "undecodable"
    assert _refuse(content[: start + 20], "inside the pixel data") == "truncated"
    tag = content.rindex(b"\xe0\x7f\x10\x00")
    assert _refuse(content[:tag] + b"\xe0\x7f\x08\x00" + content[tag + 4 :], r"element \(7FE0,0008\)") == "undecodable"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_run_lengths(make_dicom: MakeDicom, dtype: type) -> None:
    pixels: NDArray[Any] = (PIXELS // 16).astype(dtype) - (100 if np.dtype(dtype).kind == "i" else 0)
    pixels[5:9] = 7
    stream = RLELosslessEncoder.encode(
        pixels.tobytes(),
        rows=23,
        columns=31,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=pixels.itemsize * 8,
        bits_stored=pixels.itemsize * 8,
        pixel_representation=int(pixels.dtype.kind == "i"),
        encoding_plugin="pydicom",
        number_of_frames=1,
    )
    data = encapsulate([stream])
    for each in (data, data[12:]):  # the second without the item of the offset table
        decoded = _decode(make_dicom(pixels, syntax=uid.RLELossless, PixelData=each))
        assert decoded.decoder == "imagecodecs"
        np.testing.assert_array_equal(decoded.values, pixels)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_of_lossless_jpeg(make_dicom: MakeDicom, predictor: int) -> None:
    stream = bytes(imagecodecs.jpeg_encode(PIXELS, lossless=True, predictor=predictor, bitspersample=12))
    content = make_dicom(PIXELS, syntax=uid.JPEGLossless, PixelData=encapsulate([stream]), **TWELVE_BITS)
    np.testing.assert_array_equal(_decode(content).values, PIXELS)


@pytest.mark.parametrize(("syntax", "bits"), [(uid.JPEGBaseline8Bit, 8), (uid.JPEGExtended12Bit, 12)])
def test_lossy_jpeg(make_dicom: MakeDicom, breast: NDArray[np.uint16], syntax: str, bits: int) -> None:
    pixels = breast if bits == 12 else (breast >> 4).astype(np.uint8)
    stream = bytes(imagecodecs.jpeg_encode(pixels, level=98, bitspersample=bits))
    content = make_dicom(pixels, syntax=syntax, PixelData=encapsulate([stream]), BitsStored=bits, HighBit=bits - 1)
    decoded = _decode(content)
    assert decoded.values.dtype == pixels.dtype
    assert np.abs(decoded.values.astype(float) - pixels).mean() < 0.01 * pixels.max()


@pytest.mark.parametrize("near", [1, 5])
def test_near_lossless_jpeg_ls_stays_near(make_dicom: MakeDicom, near: int) -> None:
    pixels = PIXELS.copy()
    stream = bytes(imagecodecs.jpegls_encode(pixels, level=near))
    data = encapsulate([stream])
    decoded = _decode(make_dicom(pixels, syntax=uid.JPEGLSNearLossless, PixelData=data, **TWELVE_BITS))
    assert np.abs(decoded.values.astype(int) - pixels).max() <= near  # ISO/IEC 14495-1: the bound that NEAR gives
    assert decoded.values.max() <= 4095


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_high_throughput_jpeg_2000(make_dicom: MakeDicom, syntax: str) -> None:
    stream = bytes(imagecodecs.htj2k_encode(PIXELS, reversible=True))
    content = make_dicom(PIXELS, syntax=syntax, PixelData=encapsulate([stream]), **TWELVE_BITS)
    np.testing.assert_array_equal(_decode(content).values, PIXELS)


def test_lossy_high_throughput_does_not_wrap_around(make_dicom: MakeDicom) -> None:
    pixels = np.kron(np.random.default_rng(3).integers(0, 2, (8, 8)), np.ones((8, 8))).astype(np.uint8) * 255
    stream = bytes(imagecodecs.htj2k_encode(pixels, reversible=False, level=0.01))
    decoded = _decode(make_dicom(pixels, syntax=uid.HTJ2K, PixelData=encapsulate([stream])))
    assert decoded.decoder == "pillow"
    assert np.abs(decoded.values.astype(int) - pixels).max() < 30


@pytest.mark.parametrize(
    "options",
    [
        {"progression": "PCRL"},
        {"progression": "RPCL", "precinct_size": (16, 16)},
        {"quality_layers": [20, 5, 0]},
        {"num_resolutions": 2},
        {"no_jp2": False},
    ],
    ids=str,
)
def test_other_ways_to_lay_out_jpeg_2000(make_dicom: MakeDicom, options: dict[str, object]) -> None:
    stream = _encode_by_pillow(PIXELS, **options)
    content = make_dicom(PIXELS, syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream]), **TWELVE_BITS)
    np.testing.assert_array_equal(_decode(content).values, PIXELS)


def test_tiles_of_jpeg_2000(make_dicom: MakeDicom) -> None:
    stream = bytes(imagecodecs.htj2k_encode(PIXELS, tile=(16, 8), reversible=True))
    content = make_dicom(PIXELS, syntax=uid.JPEG2000Lossless, PixelData=encapsulate([stream]), **TWELVE_BITS)
    np.testing.assert_array_equal(_decode(content).values, PIXELS)


def test_a_high_bit_above_the_stored_ones_of_a_code_stream(make_dicom: MakeDicom) -> None:
    shifted = (PIXELS << 4 | 5).astype(np.uint16)
    for syntax in (uid.JPEG2000Lossless, uid.JPEGLSLossless):
        content = make_dicom(shifted, syntax=syntax, BitsStored=12, HighBit=15)
        np.testing.assert_array_equal(_decode(content).values, PIXELS)


def test_a_high_bit_above_the_stored_ones_of_signed_samples(make_dicom: MakeDicom) -> None:
    signed = PIXELS.astype(np.int16) - 2048
    stream = bytes(imagecodecs.jpeg2k_encode((signed << 4) | 5, codecformat="j2k", reversible=True))
    data = {"PixelData": encapsulate([stream]), "PixelRepresentation": 1, "BitsStored": 12, "HighBit": 15}
    np.testing.assert_array_equal(_decode(make_dicom(PIXELS, syntax=uid.JPEG2000Lossless, **data)).values, signed)


def test_samples_with_unused_bits_below_have_no_levels(make_dicom: MakeDicom) -> None:
    # so dark that their sixteenfold is no impossible value
    content = make_dicom((PIXELS // 16 << 4), syntax=uid.JPEG2000Lossless, BitsStored=12, HighBit=15)
    picture = open_picture(content, read_header(content, name="1"), name="1")
    assert picture.n_levels == 0
    assert picture.decode(1).values.max() <= 255


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless])
def test_unused_bits_of_a_code_stream_are_dropped(make_dicom: MakeDicom, syntax: str) -> None:
    content = make_dicom(PIXELS | 0x8000, syntax=syntax, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(_decode(content).values, PIXELS)


def test_what_a_lossy_coding_overshoots_goes_to_the_end_of_the_range(make_dicom: MakeDicom) -> None:
    pixels = np.kron(np.random.default_rng(4).integers(0, 2, (8, 8)), np.ones((8, 8))).astype(np.uint16) * 4095
    stream = bytes(imagecodecs.jpeg2k_encode(pixels, level=60, codecformat="j2k", reversible=False))
    assert imagecodecs.jpeg2k_decode(stream).max() > 4095
    decoded = _decode(make_dicom(pixels, syntax=uid.JPEG2000, PixelData=encapsulate([stream]), **TWELVE_BITS))
    assert decoded.values.max() == 4095
    assert np.abs(decoded.values.astype(int) - pixels).max() < 1000


@pytest.mark.parametrize("table", [b"", b"\1\2\3\4", b"\xff\xff\xff\xff" * 3])
def test_the_offset_table_of_one_frame_says_nothing(make_dicom: MakeDicom, table: bytes) -> None:
    stream = bytes(imagecodecs.jpegls_encode(PIXELS))
    stream += b"\0" * (len(stream) % 2)
    half = len(stream) // 4 * 2

    def item(value: bytes) -> bytes:
        return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value

    pieces = item(table) + item(stream[:half]) + item(b"") + item(stream[half:] + b"\0\0")
    np.testing.assert_array_equal(
        _decode(make_dicom(PIXELS, syntax=uid.JPEGLSLossless, PixelData=pieces)).values, PIXELS
    )
    forgotten = item(stream)
    np.testing.assert_array_equal(
        _decode(make_dicom(PIXELS, syntax=uid.JPEGLSLossless, PixelData=forgotten)).values, PIXELS
    )


def test_an_extended_offset_table(make_dicom: MakeDicom) -> None:
    content = make_dicom(
        PIXELS, syntax=uid.JPEGLSLossless, ExtendedOffsetTable=b"\7" * 8, ExtendedOffsetTableLengths=b"\7" * 8
    )
    np.testing.assert_array_equal(_decode(content).values, PIXELS)


def test_pixel_data_that_are_not_encapsulated_are_refused(make_dicom: MakeDicom) -> None:
    content = make_dicom(PIXELS, syntax=uid.JPEGLSLossless, PixelData=encapsulate([b"1234"]))
    assert _refuse(content.replace(b"\xfe\xff\x00\xe0", b"\1\2\3\4", 1), "without fragments") == "undecodable"
    empty = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 2
    assert _refuse(make_dicom(PIXELS, syntax=uid.JPEGLSLossless, PixelData=empty), "before its code") == "truncated"


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless])
def test_a_stream_that_announces_a_huge_picture_is_refused_before_decoding(
    make_dicom: MakeDicom, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_dicom(PIXELS, syntax=syntax)
    if syntax == uid.JPEG2000Lossless:
        size = b"\0\0\0\x1f\0\0\0\x17"
        huge = b"\0\0\xea\x60\0\0\xea\x60"
    else:
        size, huge = b"\0\x17\0\x1f", b"\xea\x60\xea\x60"
    monkeypatch.setattr("mammoscope.imaging.codecs.decoders_of_stream", None)
    assert _refuse(content.replace(size, huge), "pixel data of 60000 x 60000, expected 23 x 31") == "size_mismatch"


def test_an_absurd_number_of_tiles_is_refused(make_dicom: MakeDicom) -> None:
    for side in (b"\0\0\0\0", b"\0\0\0\1"):
        rows = b"\0\0\0\1"
        wide = make_dicom(np.zeros((200, 200), np.uint16), syntax=uid.JPEG2000Lossless)
        place = wide.index(b"\xff\x4f\xff\x51") + 24
        assert _refuse(wide[:place] + side + rows + wide[place + 8 :], "tiles of 1 x") == "undecodable"


def test_the_next_decoder_is_asked_when_one_fails(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NDArray[np.uint16]:
        raise RuntimeError("broken")

    monkeypatch.setattr(decoders, "decode_level", fail)
    decoded = _decode(make_dicom(PIXELS, syntax=uid.JPEG2000Lossless))
    assert decoded.decoder == "imagecodecs"
    np.testing.assert_array_equal(decoded.values, PIXELS)
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda *_, **__: PIXELS[1:])
    decoded = _decode(make_dicom(PIXELS, syntax=uid.JPEG2000Lossless))
    assert decoded.decoder == "pydicom-pillow"
    np.testing.assert_array_equal(decoded.values, PIXELS)


def test_the_last_reason_is_said(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpegls_decode", lambda _: PIXELS[1:])
    monkeypatch.setattr(decoders, "_PYDICOM_PLUGINS", ())
    content = make_dicom(PIXELS, syntax=uid.JPEGLSLossless)
    assert _refuse(content, "imagecodecs cannot decode .*22 x 31 samples instead of 23 x 31") == "undecodable"
    monkeypatch.setattr(imagecodecs, "jpegls_decode", lambda _: PIXELS.astype(float))
    assert _refuse(content, "samples of float64") == "undecodable"


def test_one_value_is_doubted_and_then_believed(make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch) -> None:
    constant = np.full_like(PIXELS, 9)
    decoded = _decode(make_dicom(constant, syntax=uid.JPEG2000Lossless))
    assert (decoded.values.max(), decoded.decoder) == (9, "pillow")  # all agree, so it was the first
    monkeypatch.setattr(decoders, "decode_level", lambda *_: constant)
    assert _decode(make_dicom(PIXELS, syntax=uid.JPEG2000Lossless)).decoder == "imagecodecs"
