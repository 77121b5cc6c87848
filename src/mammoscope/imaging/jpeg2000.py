"""JPEG 2000 at a reduced resolution, in the place of an average of the pixels that it stands for."""

import io
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from mammoscope.imaging.codestream import CodeStream


def decode_level(stream: CodeStream, level: int) -> NDArray[Any]:
    """Samples at 1 / 2**level of the rows and columns, rounded up, each in the middle of the pixels it stands for.

    Signed where the stream is. A wavelet swings: reduced samples may lie beyond the values of the whole picture.

    Raises:
        OSError, SyntaxError, ValueError and others: whatever Pillow finds wrong.
    """
    with _LevelImageFile(cast("IO[bytes]", _ViewFile(stream.content))) as picture:
        picture.shrink_to_level(level)
        samples: NDArray[Any] = np.asarray(picture)
    depth = samples.dtype.itemsize * 8
    if stream.precision < depth:
        samples = samples >> (depth - stream.precision)  # Pillow puts the bits of a sample at the top
    if stream.is_signed:  # Pillow had added half of the range
        centred = samples.astype(np.int32) - (1 << (stream.precision - 1))
        samples = centred.astype(np.int16 if depth == 16 else np.int8)  # noqa: PLR2004  # bits
    return centre_samples(samples, level)


def centre_samples(samples: NDArray[Any], level: int) -> NDArray[Any]:
    """Low-pass samples of a wavelet, moved to where averages of 2**level x 2**level pixels are.

    Both wavelets of JPEG 2000 are symmetric, and their low-pass samples stand at the even positions (ISO/IEC 15444-1
    F.3 and F.4): after n levels, sample k is at pixel 2**n k. The average of the pixels that it stands for is at
    2**n k + (2**n - 1) / 2, which is s = (2**n - 1) / 2**(n + 1) samples further. So the value there is taken between
    two neighbours, (1 - s) and s of them. The last row and column have no next and stay what they are.
    """
    if level == 0:
        return samples
    share = ((1 << level) - 1) / (2 << level)
    taps = np.array([1 - share, share])
    source = samples.astype(np.int16) if samples.dtype == np.int8 else samples  # OpenCV filters no signed bytes
    moved = cv2.sepFilter2D(source, -1, taps, taps, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    return moved.astype(samples.dtype, copy=False)


def average_blocks(values: NDArray[Any], level: int) -> NDArray[Any]:
    """Averages of 2**level x 2**level pixels; a block that the border cuts is filled with the last row and column."""
    size = 1 << level
    rows, columns = values.shape
    whole = cv2.copyMakeBorder(
        values.astype(np.int16) if values.dtype == np.int8 else values,
        *(0, -rows % size, 0, -columns % size),
        cv2.BORDER_REPLICATE,
    )
    shape = (whole.shape[1] >> level, whole.shape[0] >> level)
    return cv2.resize(whole, shape, interpolation=cv2.INTER_AREA).astype(values.dtype, copy=False)


class _ViewFile(io.RawIOBase):
    """Bytes that lie inside of others, as a file: BytesIO would copy all of them first."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view = view
        self._position = 0

    def read(self, size: int | None = -1) -> bytes:
        last = len(self._view) if size is None or size < 0 else self._position + size
        part = bytes(self._view[self._position : last])
        self._position += len(part)
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position


class _LevelImageFile(Jpeg2KImageFile):
    """Pillow's JPEG 2000 file, decoded at a level.

    Pillow's own `reduce` rounds the size where OpenJPEG rounds it up, and so refuses 2776 x 2082 at level 3.
    """

    def shrink_to_level(self, level: int) -> None:
        """Ask for 1 / 2**level of the rows and columns."""
        columns, rows = self.size
        self._size = (-(-columns >> level), -(-rows >> level))
        codec_name, _, offset, arguments = self.tile[0]
        if not isinstance(arguments, tuple):
            raise TypeError(f"found decoder arguments {arguments!r}, expected those of Pillow 11 or later")
        codec, _, *rest = arguments
        self.tile = [type(self.tile[0])(codec_name, (0, 0, *self._size), offset, (codec, level, *rest))]
