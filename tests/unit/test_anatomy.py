import pytest

from mammoscope.anatomy import (
    Laterality,
    View,
    ViewModifier,
    find_view_in_text,
    parse_laterality,
    parse_view,
    parse_view_code,
    parse_view_modifier_code,
)
from mammoscope.errors import UserInputError


@pytest.mark.parametrize("text", ["L", "l", "left", "LEFT", " Left "])
def test_the_left_side_is_read_in_any_spelling(text: str) -> None:
    assert parse_laterality(text) is Laterality.LEFT


@pytest.mark.parametrize("text", ["", "B", "both", "LR", "0", "linke"])
def test_a_text_that_names_no_single_side_is_refused(text: str) -> None:
    with pytest.raises(UserInputError, match=rf"laterality: found '{text}', expected L or R"):
        parse_laterality(text)


@pytest.mark.parametrize("view", View)
def test_every_view_reads_its_own_abbreviation(view: View) -> None:
    assert parse_view(view.value) is view
    assert parse_view(f" {view.value.lower()} ") is view


@pytest.mark.parametrize(
    ("text", "view"),
    [("cranio-caudal", View.CC), ("Medio-Lateral Oblique", View.MLO), ("latero_medial", View.LM), ("M.L.O.", View.MLO)],
)
def test_a_view_is_read_from_its_name(text: str, view: View) -> None:
    assert parse_view(text) is view


@pytest.mark.parametrize("text", ["", "-", "AP", "MLOCC", "oblique"])
def test_an_unknown_view_names_the_known(text: str) -> None:
    with pytest.raises(UserInputError, match=rf"view: found '{text}', expected one of CC, MLO, ML, .*XCCM, AT$"):
        parse_view(text)


@pytest.mark.parametrize("code", ["", "CC", "399162005", "127457009"])
def test_a_code_of_no_view_is_refused(code: str) -> None:
    with pytest.raises(UserInputError, match=rf"view code: found '{code}', expected a code of PS3\.16 CID 4014"):
        parse_view_code(code)


def test_the_pectoral_muscle_is_in_oblique_and_lateral_views_only() -> None:
    assert View.MLO.shows_pectoral_muscle
    assert View.ML.shows_pectoral_muscle
    assert not View.CC.shows_pectoral_muscle
    assert not View.XCCL.shows_pectoral_muscle


@pytest.mark.parametrize("code", ["399163009", "R-102D6", " R-102D6 "])
def test_a_modifier_is_read_from_either_code(code: str) -> None:
    assert parse_view_modifier_code(code) is ViewModifier.MAGNIFICATION


@pytest.mark.parametrize("code", ["", "M", "399162004", "magnification"])
def test_a_code_of_no_modifier_is_refused(code: str) -> None:
    with pytest.raises(
        UserInputError, match=rf"view modifier code: found '{code}', expected a code of PS3\.16 CID 4015"
    ):
        parse_view_modifier_code(code)


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("R MLO", View.MLO),
        ("LCC", View.CC),
        ("r-cc", View.CC),
        ("RMLO_2", View.MLO),
        ("LML", View.ML),
        ("LLM", View.LM),
        ("LM", View.LM),
        ("LMLO", View.MLO),
        ("LLMO", View.LMO),
        ("LXCCL", View.XCCL),
        ("L CC, R CC", View.CC),
        ("cranio-caudal", View.CC),
        ("Left medio-lateral oblique", View.MLO),
        ("cranio-caudal exaggerated laterally", View.XCCL),
        ("axillary tail", View.AT),
    ],
)
def test_a_description_names_one_view(text: str, view: View) -> None:
    assert find_view_in_text(text) is view


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "-",
        "R",
        "LEFT",
        "Mammography Screening at site",
        "MLO and CC",
        "RCC LMLO",
        "ACC",
        "CCX",
        "LAT",
        "FB",
        "RCCL",
    ],
)
def test_a_description_of_no_view_or_of_several_names_none(text: str) -> None:
    assert find_view_in_text(text) is None
