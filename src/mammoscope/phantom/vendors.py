"""More mammography units: the sizes, bits and ways of display that are found among real ones; all makers are invented.

The four of machine.py make the default cohort. Some of these break the standard as real files do
(`Machine.keeps_the_standard`).
"""

from typing import Final

from mammoscope.errors import UserInputError
from mammoscope.phantom.machine import MACHINES, Machine


def _unit(machine_id: int, model: str, **values: object) -> Machine:
    defaults: dict[str, object] = {
        "site_id": 1 + machine_id % 2,
        "is_inverted": False,
        "windows": (),
        "voi_function": None,
        "encoding": "explicit",
        "tone": 1.0,
        "has_marker": machine_id % 3 != 0,
    }
    return Machine(machine_id=machine_id, model=f"Phantom {model}", **{**defaults, **values})  # type: ignore[arg-type]  # each value stands below


VENDORS: Final = (
    _unit(
        101,
        "Epsilon",  # selenium, 24 x 29 cm; several windows
        rows=4096,
        columns=3328,
        spacing_mm=0.065,
        bits_stored=12,
        windows=((2047.0, 4095.0), (1800.0, 3000.0), (2400.0, 2200.0)),
        voi_function="LINEAR",
        encoding="jpeg_lossless",
    ),
    _unit(
        102,
        "Zeta",  # selenium, 18 x 23 cm; a VOI LUT in place of a window
        rows=3328,
        columns=2560,
        spacing_mm=0.07,
        bits_stored=12,
        lut_gamma=1.5,
        encoding="jpeg2000",
    ),
    _unit(
        103,
        "Eta",  # caesium iodide, 18 x 22 cm; air is padding
        rows=2294,
        columns=1914,
        spacing_mm=0.094,
        bits_stored=12,
        windows=((2200.0, 3600.0),),
        padding=0,
        encoding="implicit",
    ),
    _unit(
        104,
        "Theta",  # caesium iodide, 23 x 29 cm; rescaled values, which the object definition does not allow
        rows=3062,
        columns=2394,
        spacing_mm=0.094,
        bits_stored=14,
        windows=((3950.0, 7900.0),),
        slope=0.5,
        intercept=-100.0,
        encoding="rle",
    ),
    _unit(
        105,
        "Iota",  # selenium, 24 x 30 cm; signed, which the object definition does not allow
        rows=3518,
        columns=2800,
        spacing_mm=0.085,
        bits_stored=13,
        is_signed=True,
        windows=((0.0, 8000.0),),
        voi_function="LINEAR",
    ),
    _unit(
        106,
        "Kappa",  # selenium, 24 x 30 cm; white air
        rows=5928,
        columns=4728,
        spacing_mm=0.05,
        bits_stored=16,
        is_inverted=True,
        windows=((32768.0, 65536.0), (30000.0, 40000.0)),
        voi_function="LINEAR",
        encoding="jpeg_ls",
    ),
    _unit(
        107,
        "Lambda",  # 21 x 28 cm; a sigmoid
        rows=2776,
        columns=2082,
        spacing_mm=0.1,
        bits_stored=14,
        windows=((8000.0, 5200.0),),
        voi_function="SIGMOID",
        encoding="jpeg_lossless_predictor_6",
    ),
    _unit(
        108,
        "Mu",  # storage phosphor, 18 x 24 cm
        rows=4740,
        columns=3540,
        spacing_mm=0.05,
        bits_stored=10,
        is_inverted=True,
        windows=((512.0, 1024.0),),
        voi_function="LINEAR_EXACT",
        encoding="deflated",
    ),
    _unit(
        109,
        "Nu",  # scanned film: 8 bits, lossy
        rows=2370,
        columns=1770,
        spacing_mm=0.1,
        bits_stored=8,
        windows=((128.0, 256.0),),
        encoding="jpeg_baseline",
    ),
    _unit(
        110,
        "Xi",  # white air within a range of padding
        rows=3580,
        columns=2640,
        spacing_mm=0.07,
        bits_stored=12,
        is_inverted=True,
        windows=((1900.0, 3800.0),),
        padding=4095,
        padding_limit=4000,
        encoding="big_endian",
    ),
    _unit(
        111,
        "Omicron",  # neither window nor LUT, which the object definition does not allow
        rows=3328,
        columns=2560,
        spacing_mm=0.0783,
        bits_stored=12,
        encoding="htj2k",
    ),
    _unit(
        112,
        "Pi",  # 12 bits, lossy
        rows=4096,
        columns=3072,
        spacing_mm=0.065,
        bits_stored=12,
        windows=((2048.0, 4096.0),),
        encoding="jpeg_extended",
    ),
)

_BY_ID: Final = {machine.machine_id: machine for machine in (*MACHINES, *VENDORS)}
MACHINE_IDS: Final = tuple(_BY_ID)


def find_machine(machine_id: int) -> Machine:
    """The unit of that number.

    Raises:
        UserInputError: there is none.
    """
    if machine_id not in _BY_ID:
        known = ", ".join(str(each) for each in MACHINE_IDS)
        raise UserInputError(f"machines: found {machine_id}, expected numbers of {known}; see docs/phantom.md")
    return _BY_ID[machine_id]
