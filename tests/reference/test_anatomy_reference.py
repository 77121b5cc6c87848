"""The codes of views against pydicom's own tables of PS3.16 CID 4014 and of the SNOMED CT to SNOMED-RT mapping."""

from typing import Any, cast

import pytest
from pydicom.sr import _concepts_dict
from pydicom.sr._snomed_dict import mapping

from mammoscope.anatomy import _VIEW_BY_CODE, View, parse_view, parse_view_code

CID_4014 = 4014
SPECIMEN = "127457009"  # stands in CID 4014, but is a specimen and no view of a breast


def _codes_of_views() -> list[tuple[str, str]]:
    """SNOMED CT code and meaning of every view of CID 4014."""
    concepts: dict[str, dict[str, dict[str, tuple[str, list[int]]]]] = cast("Any", _concepts_dict.concepts)
    return [
        (code, meaning)
        for by_code in concepts["SCT"].values()
        for code, (meaning, groups) in by_code.items()
        if CID_4014 in groups and code != SPECIMEN
    ]


def test_pydicom_knows_ten_views() -> None:
    assert len(_codes_of_views()) == 10


@pytest.mark.parametrize(("code", "meaning"), _codes_of_views())
def test_code_old_code_and_meaning_of_a_view_are_one_view(code: str, meaning: str) -> None:
    view = parse_view_code(code)
    assert parse_view_code(mapping["SCT"][code]) is view
    assert parse_view(meaning) is view


def test_no_code_is_known_that_the_standard_does_not_have() -> None:
    codes = {code for code, _ in _codes_of_views()}
    assert set(_VIEW_BY_CODE) == codes | {mapping["SCT"][code] for code in codes}


def test_every_view_but_the_axillary_tail_has_a_code() -> None:
    assert set(View) - set(_VIEW_BY_CODE.values()) == {View.AT}
