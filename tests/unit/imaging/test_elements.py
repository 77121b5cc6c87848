"""Values of elements: what is accepted, what is not, and the neighbours of both."""

import math
from collections.abc import Callable
from datetime import date, time
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue

from mammoscope.errors import ImageRefusedError
from mammoscope.imaging.elements import (
    ElementReader,
    as_age,
    as_code,
    as_date,
    as_intercept,
    as_magnification,
    as_numbers,
    as_slope,
    as_spacing,
    as_text,
    as_texts,
    as_time,
    as_yes,
    judging_elements,
)


def _several(*values: object) -> MultiValue[Any]:
    return MultiValue(lambda value: value, values)


@pytest.mark.parametrize(
    ("text", "day"), [("20230405", date(2023, 4, 5)), (" 20240229 ", date(2024, 2, 29)), ("00010101", date(1, 1, 1))]
)
def test_a_date_is_a_day(text: str, day: date) -> None:
    assert as_date(text) == day


@pytest.mark.parametrize(
    ("text", "years"),
    [("000Y", 0.0), ("130Y", 130.0), (" 061Y ", 61.0), ("018M", 1.5), ("999M", 83.25), ("999D", 999 / 365.25)],
)
def test_an_age_is_in_years(text: str, years: float) -> None:
    assert as_age(text) == pytest.approx(years)


@pytest.mark.parametrize("text", ["", "61", "61Y", "0061Y", "061", "061y", "-61Y", "061 Y", "\u0660\u0666\u0661Y"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not three digits and one of D, W, M, Y"):
        as_age(text)
    with pytest.raises(ValueError, match="more years than anybody has lived"):
        as_age("131Y")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023",
        "202304",
        "2023045",
        "202304051",
        "20230431",
        "20230229",
        "20231301",
        "00000101",
        "2023.04.05",
        "\u0662\u0660230405",
    ],
)
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not eight digits|does not match|out of range|unconverted"):
        as_date(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00", time(0)),
        ("23", time(23)),
        ("0915", time(9, 15)),
        ("235959", time(23, 59, 59)),
        ("235959.999999", time(23, 59, 59, 999999)),
        ("091500.5", time(9, 15, 0, 500000)),
        ("091500.000001", time(9, 15, 0, 1)),
        ("235960", time(23, 59, 59)),  # PS3.5 6.2 allows a leap second
        (" 0915 ", time(9, 15)),
    ],
)
def test_a_time_may_lack_its_end(text: str, expected: time) -> None:
    assert as_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9",
        "091",
        "09150",
        "0915000",
        "24",
        "240000",
        "0960",
        "091561",
        "+9",
        "-1",
        "09.5",
        "0915.5",
        "091500.",
        "09:15:00",
        "091500.1234567",
        "٠٩",
    ],
)
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time of day|must be in 0\.\."):
        as_time(text)


@pytest.mark.parametrize("convert", [as_text, as_code, as_date, as_time, as_yes])
def test_several_values_are_not_one(convert: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="several values"):
        convert(_several("YES", "NO"))


def test_a_list_is_several_values_too() -> None:  # as pydicom reads US and SS of explicit VR
    assert as_numbers([2, 0, 8]) == (2.0, 0.0, 8.0)
    assert as_texts([1, 2]) == ("1", "2")
    with pytest.raises(TypeError, match="several values"):
        as_text([1, 2])


def test_texts_lose_the_blanks_around_them() -> None:
    assert as_text("  a b ") == "a b"
    assert as_code(" mlo ") == "MLO"
    assert as_texts(" a ") == ("a",)
    assert as_texts(_several("a ", " b")) == ("a", "b")


def test_numbers_are_one_or_several() -> None:
    assert as_numbers("3.5") == (3.5,)
    assert as_numbers(_several("1", 2)) == (1.0, 2.0)
    with pytest.raises(ValueError, match="could not convert"):
        as_numbers(_several("1", ""))


@pytest.mark.parametrize(("text", "expected"), [("YES", True), ("no", False), (" Yes ", True)])
def test_yes_and_no_are_told_apart(text: str, *, expected: bool) -> None:
    assert as_yes(text) is expected


@pytest.mark.parametrize("text", ["", "Y", "N", "TRUE", "1"])
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither YES nor NO"):
        as_yes(text)


def test_a_spacing_is_of_rows_and_of_columns() -> None:
    assert as_spacing(_several("0.07", 0.1)) == (0.07, 0.1)


@pytest.mark.parametrize(
    "value", [0.07, _several(0.07, 0), _several(-1, 1), _several(1, math.nan), _several(math.inf, 1), _several(1, 1, 1)]
)
def test_a_spacing_that_cannot_be_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not two positive numbers"):
        as_spacing(value)


@pytest.mark.parametrize("value", [0, 1e9, -1e9, "-1024"])
def test_an_intercept_within_bounds_is_taken(value: object) -> None:
    assert as_intercept(value) == float(value)  # type: ignore[arg-type]  # numbers and their texts


@pytest.mark.parametrize("value", [1.1e9, -1.1e9, math.inf, math.nan])
def test_an_intercept_beyond_all_use_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a number beyond all use"):
        as_intercept(value)
    with pytest.raises(ValueError, match="a number beyond all use"):
        as_slope(value)


@pytest.mark.parametrize("value", [1.0, -1.0, 1e9, 1e-9, -1e-9])
def test_a_slope_is_taken(value: float) -> None:
    assert as_slope(value) == value


@pytest.mark.parametrize("value", [0.0, -0.0, 0.9e-9, -0.9e-9])
def test_a_slope_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no slope"):
        as_slope(value)


def test_a_magnification_is_positive() -> None:
    assert as_magnification("1.05") == 1.05


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_magnification_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a positive number"):
        as_magnification(value)


def _reader(**elements: object) -> ElementReader:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return ElementReader(dataset, "7")


def test_an_absent_and_an_empty_element_are_none_and_nothing_odd() -> None:
    reader = _reader(Modality="", PatientID=None)
    assert [reader.read(keyword, as_text) for keyword in ("Modality", "PatientID", "StudyDate")] == [None] * 3
    assert reader.demand("Modality", as_text) is None
    assert reader.sequence("ViewCodeSequence") == []
    assert reader.warnings == []


def test_an_odd_element_is_warned_of_once() -> None:
    reader = _reader(ViewPosition=["CC", "MLO"])
    assert reader.read("ViewPosition", as_text) is None
    assert reader.read("ViewPosition", as_code) is None
    sentence = "ViewPosition holds a value that breaks the standard, taken as absent"
    assert reader.warnings == [("unreadable_element", sentence)]


def test_a_part_of_a_sequence_warns_where_the_whole_does() -> None:
    reader = _reader()
    part = Dataset()
    part.CodeValue = ["A", "B"]
    assert reader.within(part).read("CodeValue", as_text) is None
    assert [warning.code for warning in reader.warnings] == ["unreadable_element"]


@pytest.mark.parametrize("absent", [True, False])
def test_what_the_picture_needs_is_refused_when_missing(*, absent: bool) -> None:
    reader = _reader() if absent else _reader(Rows=None)
    with pytest.raises(ImageRefusedError, match="7: found nothing in Rows, expected one valid value"):
        reader.need("Rows", int)


def test_what_may_be_absent_must_not_be_wrong() -> None:
    with pytest.raises(ImageRefusedError, match="7: found a value that cannot be read in Rows"):
        _reader(Rows=[1, 2]).demand("Rows", int)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EOFError(), "truncated"),
        (OSError(), "truncated"),
        (ValueError("Doe^Jane"), "undecodable"),
        (KeyError("Doe^Jane"), "undecodable"),
    ],
)
def test_what_pydicom_cannot_read_refuses_the_file(error: Exception, code: str) -> None:
    with pytest.raises(ImageRefusedError, match="7: found an element") as caught, judging_elements("7"):
        raise error
    assert caught.value.code == code
    assert "Doe" not in caught.value.sentence
