"""A reduced picture is where the average of the pixels it stands for is."""

from collections.abc import Callable

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate

from mammoscope.imaging.codecs import open_picture
from mammoscope.imaging.codestream import parse_jpeg_2000
from mammoscope.imaging.header import read_header
from mammoscope.imaging.jpeg2000 import _ViewFile, average_blocks, centre_samples, decode_level

MakeDicom = Callable[..., bytes]
SHAPE = (331, 270)  # odd at every level


def _average_by_hand(pixels: NDArray[np.uint16], level: int) -> NDArray[np.float64]:
    size = 1 << level
    padded = np.pad(
        pixels.astype(float), ((0, -pixels.shape[0] % size), (0, -pixels.shape[1] % size)), mode="edge"
    )  # (row, column)
    blocks = padded.reshape(padded.shape[0] // size, size, padded.shape[1] // size, size)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _reduce(pixels: NDArray[np.uint16], level: int, *, is_reversible: bool) -> NDArray[np.generic]:
    content = imagecodecs.jpeg2k_encode(
        pixels, level=0 if is_reversible else 110, codecformat="j2k", reversible=is_reversible
    )
    return decode_level(parse_jpeg_2000(memoryview(bytes(content))), level)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_samples_move_by_half_a_block_less_half_a_pixel(level: int) -> None:
    # sample k of a ramp x stands at 2^n k; its block's average is (2^n - 1) / 2 more
    ramp = np.tile((np.arange(20) << level).astype(np.uint16) * 64, (20, 1))
    moved = centre_samples(ramp, level).astype(float)
    np.testing.assert_allclose(moved[:, :-1] - ramp[:, :-1], ((1 << level) - 1) / 2 * 64, atol=0.5)  # of rounding
    np.testing.assert_array_equal(moved[:, -1], ramp[:, -1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_moving_samples_keeps_their_type_and_rounds(dtype: type) -> None:
    moved = centre_samples(
        np.array([[-4, 4], [4, 12]] if np.dtype(dtype).kind == "i" else [[4, 12], [12, 20]]).astype(dtype), 1
    )
    assert moved.dtype == dtype
    assert moved[0, 0] == (0 if np.dtype(dtype).kind == "i" else 8)  # a quarter of 8 further, along rows and columns


@pytest.mark.parametrize("is_reversible", [True, False])
@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_reduced_ramp_is_the_average_of_the_whole(axis: int, level: int, *, is_reversible: bool) -> None:
    slope = 8
    ramp = np.broadcast_to((np.arange(SHAPE[axis]) * slope + 300)[(slice(None), None) if axis == 0 else None], SHAPE)
    pixels = np.ascontiguousarray(ramp).astype(np.uint16)
    reduced = _reduce(pixels, level, is_reversible=is_reversible).astype(float)
    averaged = _average_by_hand(pixels, level)
    # away from the border, where a wavelet mirrors the picture; each level rounds by up to 1, and so does the move
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(reduced - averaged)[inner].max() <= level + 1
    # what it would be without the move
    assert slope * ((1 << level) - 1) / 2 > level + 1


@pytest.mark.parametrize("is_reversible", [True, False])
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_reduced_picture_is_close_to_the_average_of_the_whole(level: int, *, is_reversible: bool) -> None:
    noise = np.random.default_rng(1).normal(size=SHAPE)
    smooth = np.sum([cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (6, 12, 24)], axis=0)
    pixels = (4095 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint16)
    averaged = _average_by_hand(pixels, level)
    reduced = _reduce(pixels, level, is_reversible=is_reversible).astype(float)

    samples = pixels[:: 1 << level, :: 1 << level]  # where low-pass samples stand, without the move
    moved, unmoved = (np.sqrt(np.mean((each - averaged)[2:-2, 2:-2] ** 2)) for each in (reduced, samples))
    assert moved < unmoved / 2  # the wavelets' taps are longer than the block, so that some of it remains


def test_an_average_of_blocks_is_that_by_hand() -> None:
    pixels = np.random.default_rng(2).integers(0, 4096, SHAPE).astype(np.uint16)
    for level in (1, 2, 3):
        assert np.abs(average_blocks(pixels, level) - _average_by_hand(pixels, level)).max() <= 0.5


def test_a_level_that_no_decoder_gives_is_averaged(make_dicom: MakeDicom, breast: NDArray[np.uint16]) -> None:
    content = make_dicom(syntax=uid.JPEGLSLossless)
    decoded = open_picture(content, read_header(content, name="1"), name="1").decode(2)
    assert (decoded.decoder, decoded.level, decoded.values.shape) == ("imagecodecs", 2, (24, 20))
    assert np.abs(decoded.values - _average_by_hand(breast, 2)).max() <= 0.5


def test_bits_above_the_stored_ones_are_no_part_of_a_reduced_picture(
    make_dicom: MakeDicom, breast: NDArray[np.uint16]
) -> None:
    marked = breast.copy()
    marked[20:60, 30:70] |= 0x4000  # an overlay in bit 14 of a picture of 12
    stream = bytes(imagecodecs.jpeg2k_encode(marked, codecformat="j2k", reversible=True))
    content = make_dicom(syntax=uid.JPEG2000Lossless, BitsStored=12, HighBit=11, PixelData=encapsulate([stream]))
    picture = open_picture(content, read_header(content, name="1"), name="1")
    np.testing.assert_array_equal(picture.decode(0).values, breast)
    assert np.abs(picture.decode(1).values - _average_by_hand(breast, 1)).max() <= 0.5


def test_a_view_is_read_like_a_file() -> None:
    file = _ViewFile(memoryview(b"abcdef"))
    assert (file.read(2), file.tell(), file.read(), file.read(1)) == (b"ab", 2, b"cdef", b"")
    assert (file.seek(-2, 2), file.read(9), file.seek(-9, 1), file.seek(1), file.seek(1, 1)) == (4, b"ef", 0, 1, 2)
