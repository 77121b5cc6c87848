"""The mammography units that a cohort comes from: detector, stored pixels, display and file encoding of each.

Numbers and sizes are those of machines of the RSNA 2023 competition; makers and models are invented.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1

from mammoscope.errors import UserInputError

SMALLEST_SCALE: Final = 0.1

StoredValues = NDArray[np.uint16] | NDArray[np.int16]

Encoding = Literal["jpeg2000", "jpeg_lossless", "explicit"]

TRANSFER_SYNTAXES: Final[dict[Encoding, str]] = {
    "jpeg2000": str(JPEG2000Lossless),
    "jpeg_lossless": str(JPEGLosslessSV1),
    "explicit": str(ExplicitVRLittleEndian),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """One mammography unit."""

    machine_id: int
    site_id: int
    model: str
    rows: int
    columns: int
    spacing_mm: float
    bits_stored: Literal[12, 16]
    is_inverted: bool  # MONOCHROME1: the highest value is black
    windows: tuple[tuple[float, float], ...]  # (centre, width); the first shows the picture as it was drawn
    voi_function: Literal["LINEAR", "SIGMOID"] | None
    encoding: Encoding
    tone: float  # gamma of the vendor's processing; 1 leaves the brightness
    has_marker: bool  # side and view burned into the picture
    is_signed: bool = False  # stored values are two's complement
    padding: int | None = None  # the stored value that means no picture

    @property
    def transfer_syntax(self) -> str:
        """The UID of the encoding."""
        return TRANSFER_SYNTAXES[self.encoding]

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and the highest value that the stored bits can hold."""
        low = -(2 ** (self.bits_stored - 1)) if self.is_signed else 0
        return low, low + 2**self.bits_stored - 1

    def scaled(self, scale: float) -> "Machine":
        """The same unit with coarser pixels over the same field of view.

        Raises:
            UserInputError: the scale is outside of 0.1 to 1.
        """
        if not SMALLEST_SCALE <= scale <= 1.0:
            raise UserInputError(f"scale: found {scale}, expected {SMALLEST_SCALE} to 1")
        return replace(
            self,
            rows=round(self.rows * scale),
            columns=round(self.columns * scale),
            spacing_mm=self.spacing_mm / scale,
        )


MACHINES: Final = (
    Machine(
        machine_id=21,
        site_id=2,
        model="Phantom Alpha",
        rows=2776,
        columns=2082,
        spacing_mm=0.085,
        bits_stored=12,
        is_inverted=False,
        windows=((2048.0, 4096.0),),
        voi_function=None,
        encoding="jpeg2000",
        tone=1.0,
        has_marker=True,
    ),
    Machine(
        machine_id=29,
        site_id=2,
        model="Phantom Beta",
        rows=5355,
        columns=4915,
        spacing_mm=0.05,
        bits_stored=16,
        is_inverted=True,
        windows=((1802.0, 1092.0), (2020.0, 1584.0)),
        voi_function="SIGMOID",
        encoding="jpeg2000",
        tone=0.9,
        has_marker=False,
    ),
    Machine(
        machine_id=49,
        site_id=1,
        model="Phantom Gamma",
        rows=3328,
        columns=2560,
        spacing_mm=0.07,
        bits_stored=12,
        is_inverted=False,
        windows=((1950.0, 3700.0),),
        voi_function="LINEAR",
        encoding="jpeg_lossless",
        tone=1.1,
        has_marker=True,
    ),
    Machine(
        machine_id=93,
        site_id=1,
        model="Phantom Delta",
        rows=2294,
        columns=1914,
        spacing_mm=0.1,
        bits_stored=16,
        is_inverted=False,
        windows=((28000.0, 55000.0),),
        voi_function=None,
        encoding="explicit",
        tone=0.95,
        has_marker=True,
    ),
)
"""Two units of two sites each; the sites differ in transfer syntax, as in the competition."""
