"""The header's fields against pydicom's dictionary, and codes of modifiers against its tables of PS3.16 CID 4015."""

import re
from dataclasses import Field, fields
from typing import Any, cast

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.sr import _concepts_dict
from pydicom.sr._snomed_dict import mapping

from mammoscope.anatomy import _MODIFIER_BY_CODE, SPECIMEN_CODES, ViewModifier, parse_view_modifier_code
from mammoscope.imaging.header import Header

CID_4015 = 4015
_SECTION = re.compile(r"(C\.[0-9]+(\.[0-9]+)+|10\.[0-9]+(\.[0-9]+)*|PS3\.10 7\.1)")


@pytest.mark.parametrize(
    "field", [field for field in fields(Header) if field.name != "warnings"], ids=lambda it: it.name
)
def test_a_field_names_elements_that_exist_and_their_section(field: Field[Any]) -> None:
    assert field.metadata["keywords"]
    for keyword in field.metadata["keywords"]:
        assert tag_for_keyword(keyword) is not None, keyword
    assert _SECTION.fullmatch(field.metadata["section"])


def _codes_of_modifiers() -> list[tuple[str, str]]:
    concepts: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = cast("Any", _concepts_dict.concepts)
    return [
        (code, meaning)
        for by_code in concepts["SCT"].values()
        for code, (meaning, groups) in by_code.items()
        if CID_4015 in groups
    ]


@pytest.mark.parametrize(("code", "meaning"), _codes_of_modifiers())
def test_code_and_old_code_of_a_modifier_are_the_one_that_its_meaning_names(code: str, meaning: str) -> None:
    modifier = parse_view_modifier_code(code)
    assert parse_view_modifier_code(mapping["SCT"][code]) is modifier
    words = set(modifier.value.split("_"))
    assert words <= set(re.findall("[a-z]+", meaning.lower().replace("-", "")))


def test_no_modifier_is_known_that_the_standard_does_not_have() -> None:
    codes = {code for code, _ in _codes_of_modifiers()}
    assert set(_MODIFIER_BY_CODE) == codes | {mapping["SCT"][code] for code in codes}
    assert set(_MODIFIER_BY_CODE.values()) == set(ViewModifier)


def test_the_specimen_has_its_old_code() -> None:
    (code,) = (code for code in SPECIMEN_CODES if code.isdigit())
    assert {code, mapping["SCT"][code]} == SPECIMEN_CODES
