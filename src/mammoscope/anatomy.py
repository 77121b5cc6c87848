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


class ViewModifier(StrEnum):
    """What is special about a projection; the value names it (PS3.16 CID 4015)."""

    ANTERIOR_COMPRESSION = "anterior_compression"
    AXILLARY_TAIL = "axillary_tail"
    AXILLARY_TISSUE = "axillary_tissue"
    CLEAVAGE = "cleavage"
    IMPLANT_DISPLACED = "implant_displaced"
    INFRAMAMMARY_FOLD = "inframammary_fold"
    MAGNIFICATION = "magnification"
    NIPPLE_IN_PROFILE = "nipple_in_profile"
    ROLLED_INFERIOR = "rolled_inferior"
    ROLLED_LATERAL = "rolled_lateral"
    ROLLED_MEDIAL = "rolled_medial"
    ROLLED_SUPERIOR = "rolled_superior"
    SPOT_COMPRESSION = "spot_compression"
    TANGENTIAL = "tangential"


SPECIMEN_CODES = frozenset({"127457009", "G-8310"})
"""Tissue specimen from breast: stands among the views of PS3.16 CID 4014, and shows no breast."""

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

# PS3.16 CID 4015 in SNOMED CT, and the code of the same modifier in SNOMED-RT
_MODIFIER_BY_CODE = {
    "441752004": ViewModifier.ANTERIOR_COMPRESSION,
    "P2-00161": ViewModifier.ANTERIOR_COMPRESSION,
    "399011000": ViewModifier.AXILLARY_TAIL,
    "R-102D1": ViewModifier.AXILLARY_TAIL,
    "442580003": ViewModifier.AXILLARY_TISSUE,
    "R-40AB2": ViewModifier.AXILLARY_TISSUE,
    "399161006": ViewModifier.CLEAVAGE,
    "R-102D2": ViewModifier.CLEAVAGE,
    "399209000": ViewModifier.IMPLANT_DISPLACED,
    "R-102D5": ViewModifier.IMPLANT_DISPLACED,
    "442593008": ViewModifier.INFRAMAMMARY_FOLD,
    "R-40ABE": ViewModifier.INFRAMAMMARY_FOLD,
    "399163009": ViewModifier.MAGNIFICATION,
    "R-102D6": ViewModifier.MAGNIFICATION,
    "442581004": ViewModifier.NIPPLE_IN_PROFILE,
    "R-40AB3": ViewModifier.NIPPLE_IN_PROFILE,
    "414493004": ViewModifier.ROLLED_INFERIOR,
    "R-102CA": ViewModifier.ROLLED_INFERIOR,
    "399197002": ViewModifier.ROLLED_LATERAL,
    "R-102D3": ViewModifier.ROLLED_LATERAL,
    "399226006": ViewModifier.ROLLED_MEDIAL,
    "R-102D4": ViewModifier.ROLLED_MEDIAL,
    "415670009": ViewModifier.ROLLED_SUPERIOR,
    "R-102C9": ViewModifier.ROLLED_SUPERIOR,
    "399055006": ViewModifier.SPOT_COMPRESSION,
    "R-102D7": ViewModifier.SPOT_COMPRESSION,
    "399110001": ViewModifier.TANGENTIAL,
    "R-102C2": ViewModifier.TANGENTIAL,
}

_IN_FREE_TEXT = frozenset(View) - {View.AT, View.FB}  # "at" is a word, and two letters of a description are no view
_NAMES = frozenset(_VIEW_BY_SPELLING) - frozenset(View)


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


def parse_view_modifier_code(code: str) -> ViewModifier:
    """The modifier that a code of the View Modifier Code Sequence stands for, SNOMED CT or SNOMED-RT (CID 4015).

    Raises:
        UserInputError: the code stands for no modifier that is known.
    """
    modifier = _MODIFIER_BY_CODE.get(code.strip())
    if modifier is None:
        raise UserInputError(
            f"view modifier code: found {code!r}, expected a code of PS3.16 CID 4015, such as 399163009 (magnification)"
        )
    return modifier


def find_view_in_text(text: str) -> View | None:
    """The one view that a description names: "R MLO", "LCC", "left cranio-caudal"; None for none, or several."""
    words = "".join(character if character.isalnum() else " " for character in text.upper()).split()
    name = "".join(word for word in words if word not in _LATERALITY_BY_SPELLING)
    if name in _NAMES:
        return _VIEW_BY_SPELLING[name]
    candidates = [*words, *(word[1:] for word in words if word[0] in "LR" and word not in _VIEW_BY_SPELLING)]
    found = {_VIEW_BY_SPELLING[word] for word in candidates if word in _VIEW_BY_SPELLING} & _IN_FREE_TEXT
    return found.pop() if len(found) == 1 else None
