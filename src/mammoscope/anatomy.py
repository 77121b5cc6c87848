"""Side and projection of a mammogram: enums, and the only parser of their DICOM codes and spellings."""

from enum import StrEnum

from mammoscope.errors import UserInputError


class Laterality(StrEnum):
    """The side of a breast; the value is its DICOM code (Image Laterality, PS3.3 C.8.11.7)."""

    LEFT = "L"
    RIGHT = "R"


class View(StrEnum):
    """The projection of a mammogram; the value is its View Position abbreviation (PS3.16 CID 4014)."""

    CC = "CC"
    MLO = "MLO"
    ML = "ML"
    LM = "LM"
    LMO = "LMO"
    SIO = "SIO"
    ISO = "ISO"
    FB = "FB"
    XCCL = "XCCL"
    XCCM = "XCCM"
    AT = "AT"

    @property
    def shows_pectoral_muscle(self) -> bool:
        """Whether the pectoral muscle belongs into the picture: oblique and true lateral views."""
        return self in {View.MLO, View.ML, View.LM, View.LMO, View.SIO, View.ISO}


_LATERALITY_BY_SPELLING = {
    "L": Laterality.LEFT,
    "LEFT": Laterality.LEFT,
    "R": Laterality.RIGHT,
    "RIGHT": Laterality.RIGHT,
}

_VIEW_BY_SPELLING = {view.value: view for view in View} | {
    "CRANIOCAUDAL": View.CC,
    "MEDIOLATERALOBLIQUE": View.MLO,
    "MEDIOLATERAL": View.ML,
    "MEDIALLATERAL": View.ML,
    "LATEROMEDIAL": View.LM,
    "LATEROMEDIALOBLIQUE": View.LMO,
    "SUPEROLATERALTOINFEROMEDIALOBLIQUE": View.SIO,
    "INFEROMEDIALTOSUPEROLATERALOBLIQUE": View.ISO,
    "CAUDOCRANIAL": View.FB,
    "CAUDOCRANIALFROMBELOW": View.FB,
    "CRANIOCAUDALEXAGGERATEDLATERALLY": View.XCCL,
    "CRANIOCAUDALEXAGGERATEDMEDIALLY": View.XCCM,
    "AXILLARYTAIL": View.AT,
}

# PS3.16 CID 4014 in SNOMED CT, and the code of the same view in SNOMED-RT (scheme SRT or SNM3)
_VIEW_BY_CODE = {
    "399162004": View.CC,
    "R-10242": View.CC,
    "399368009": View.MLO,
    "R-10226": View.MLO,
    "399260004": View.ML,
    "R-10224": View.ML,
    "399352003": View.LM,
    "R-10228": View.LM,
    "399099002": View.LMO,
    "R-10230": View.LMO,
    "399188001": View.SIO,
    "R-102D0": View.SIO,
    "441555000": View.ISO,
    "R-40AAA": View.ISO,
    "399196006": View.FB,
    "R-10244": View.FB,
    "399192008": View.XCCL,
    "R-1024A": View.XCCL,
    "399101009": View.XCCM,
    "R-1024B": View.XCCM,
}


def parse_laterality(text: str) -> Laterality:
    """The side that a code or spelling names: L, R, left, right, in any case.

    Raises:
        UserInputError: the text names no side, or both.
    """
    laterality = _LATERALITY_BY_SPELLING.get(text.strip().upper())
    if laterality is None:
        raise UserInputError(f"laterality: found {text!r}, expected L or R (or left, right)")
    return laterality


def parse_view(text: str) -> View:
    """The view that an abbreviation or name stands for: CC, cranio-caudal, MLO …, in any case.

    Raises:
        UserInputError: the text names no view that is known.
    """
    view = _VIEW_BY_SPELLING.get("".join(character for character in text.upper() if character.isalnum()))
    if view is None:
        expected = ", ".join(View)
        raise UserInputError(f"view: found {text!r}, expected one of {expected}")
    return view


def parse_view_code(code: str) -> View:
    """The view that a code of the View Code Sequence stands for, SNOMED CT or SNOMED-RT (PS3.16 CID 4014).

    Raises:
        UserInputError: the code stands for no view that is known.
    """
    view = _VIEW_BY_CODE.get(code.strip())
    if view is None:
        raise UserInputError(f"view code: found {code!r}, expected a code of PS3.16 CID 4014, such as 399162004 (CC)")
    return view
