"""The mammography units that a cohort comes from: detector, stored pixels, display and file encoding of each.

Numbers and sizes are those of machines of the RSNA 2023 competition; makers and models are invented.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mammoscope.errors import UserInputError

SMALLEST_SCALE: Final = 0.1

StoredValues = NDArray[np.uint16] | NDArray[np.int16]

Encoding = Literal[
    "implicit",
    "explicit",
    "big_endian",
    "deflated",
    "rle",
    "jpeg_baseline",
    "jpeg_extended",
    "jpeg_lossless_predictor_6",
    "jpeg_lossless",
    "jpeg_ls",
    "jpeg_ls_near",
    "jpeg2000",
    "jpeg2000_lossy",
    "htj2k",
    "htj2k_lossy",
]

TRANSFER_SYNTAXES: Final[dict[Encoding, str]] = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big_endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_baseline": "1.2.840.10008.1.2.4.50",
    "jpeg_extended": "1.2.840.10008.1.2.4.51",
    "jpeg_lossless_predictor_6": "1.2.840.10008.1.2.4.57",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_ls": "1.2.840.10008.1.2.4.80",
    "jpeg_ls_near": "1.2.840.10008.1.2.4.81",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "jpeg2000_lossy": "1.2.840.10008.1.2.4.91",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "htj2k_lossy": "1.2.840.10008.1.2.4.203",
}
"""The UIDs of PS3.6 A."""

# PS3.5 8.2.1: the baseline process takes 8 bits, the extended one 12
_MOST_BITS: Final[dict[Encoding, Literal[8, 12]]] = {"jpeg_baseline": 8, "jpeg_extended": 12}


@dataclass(frozen=True, slots=True)
class Machine:
    """One mammography unit."""

    machine_id: int
    site_id: int
    model: str
    rows: int
    columns: int
    spacing_mm: float
    bits_stored: Literal[8, 10, 12, 13, 14, 16]
    is_inverted: bool  # MONOCHROME1: the highest value is black
    # (centre, width); the first shows the picture as it was drawn; without any, the VOI LUT or the whole range does
    windows: tuple[tuple[float, float], ...]
    voi_function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] | None
    encoding: Encoding
    tone: float  # gamma of the vendor's processing; 1 leaves the brightness
    has_marker: bool  # side and view burned into the picture
    is_signed: bool = False  # stored values are two's complement
    padding: int | None = None  # the stored value that means no picture; air has it
    padding_limit: int | None = None  # the other end of the range of such values
    slope: float = 1.0  # from stored values to those that windows are about
    intercept: float = 0.0
    lut_gamma: float | None = None  # of a VOI LUT over all stored values

    @property
    def transfer_syntax(self) -> str:
        """The UID of the encoding."""
        return TRANSFER_SYNTAXES[self.encoding]

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and the highest value that the stored bits can hold."""
        low = -(2 ** (self.bits_stored - 1)) if self.is_signed else 0
        return low, low + 2**self.bits_stored - 1

    @property
    def air(self) -> int:
        """The stored value of black air."""
        if self.padding is not None:
            return self.padding
        return self.stored_range[1 if self.is_inverted else 0]

    @property
    def keeps_the_standard(self) -> bool:
        """Whether the object definition allows such values (PS3.3 C.8.11.3: unsigned, slope 1, a window or a LUT)."""
        is_shown = bool(self.windows) or self.lut_gamma is not None
        return not self.is_signed and (self.slope, self.intercept) == (1.0, 0.0) and is_shown

    def encoded_as(self, encoding: Encoding) -> "Machine":
        """The same unit with another transfer syntax, and with fewer bits where that holds no more."""
        most_bits = _MOST_BITS.get(encoding, self.bits_stored)
        if most_bits >= self.bits_stored:
            return replace(self, encoding=encoding)
        factor = 2.0 ** (most_bits - self.bits_stored)
        return replace(
            self,
            encoding=encoding,
            bits_stored=most_bits,
            windows=((2**most_bits / 2, 2.0**most_bits),),
            voi_function=None,
            is_signed=False,
            padding=None if self.padding is None else int(max(0, self.padding) * factor),
            padding_limit=None,
            slope=1.0,
            intercept=0.0,
            lut_gamma=None,
        )

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
