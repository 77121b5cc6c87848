"""The elements of a DICOM file as plain values: what breaks the file refuses it, what is merely odd is noted."""

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, NamedTuple, TypeVar

from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mammoscope.errors import ImageRefusedError
from mammoscope.exam import OLDEST_YEARS
from mammoscope.imaging.verdict import Verdict, refusal

# what pydicom raises on elements of unknown kind or wrong length
_ELEMENT_ERRORS = (
    BytesLengthException,
    ValueError,
    NotImplementedError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    zlib.error,
)

ParsedT = TypeVar("ParsedT")

_SEVERAL = (MultiValue, list)  # pydicom gives the numbers of an explicit VR as a list, all else as its own

_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")

_AGE = re.compile(r"([0-9]{3})([DWMY])")  # PS3.5 6.2, AS: three digits and a unit
_DAYS_OF_A_YEAR = 365.25
_YEARS_OF_UNIT = {"D": 1 / _DAYS_OF_A_YEAR, "W": 7 / _DAYS_OF_A_YEAR, "M": 1 / 12, "Y": 1.0}

_META_BYTES = 144  # preamble, DICM, and the element that says how long the rest of the meta header is (PS3.10 7.1)
_MOST_INFLATED = 256 << 20  # bytes: the largest picture that is decoded, in 16 bits, and its elements
_LARGEST_RESCALE = 1e9  # times 16 bits, far inside of what single precision tells apart from infinity


class HeaderWarning(NamedTuple):
    """Something odd about a header that does not keep the picture from being used.

    The code is stable; the sentence holds nothing of the patient.
    """

    code: str
    sentence: str


def read_dataset(content: bytes, *, name: str, with_pixels: bool) -> Dataset:
    """The elements of a DICOM file.

    Raises:
        ImageRefusedError: not_dicom, truncated, too_large.
    """
    _refuse_what_swells(content, name)
    try:
        with judging_elements(name):
            return dcmread(io.BytesIO(content), stop_before_pixels=not with_pixels)
    except InvalidDicomError as error:
        raise refusal(
            Verdict.NOT_DICOM,
            name,
            found=f"{len(content)} bytes without the mark DICM" if content else "an empty file",
            expected="a DICOM, PNG or PGM file",
            advice="remove it from the cohort or fetch it again",
        ) from error


def _refuse_what_swells(content: bytes, name: str) -> None:
    """Refuse a deflated file of a few kilobytes that would fill the memory; pydicom inflates whatever it is."""
    is_deflated = DeflatedExplicitVRLittleEndian.encode() in content[: _META_BYTES + 512]
    if not is_deflated or len(content) < _META_BYTES:
        return
    (length,) = struct.unpack_from("<L", content, _META_BYTES - 4)  # File Meta Information Group Length, PS3.10 7.1
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[_META_BYTES + length :], _MOST_INFLATED + 1)
    except zlib.error:
        return  # not what it says it is, and judged as such later
    if len(inflated) > _MOST_INFLATED:
        raise refusal(
            Verdict.TOO_LARGE,
            name,
            found=f"{len(content)} bytes that inflate to more than {_MOST_INFLATED >> 20} MiB",
            expected="a mammogram's size",
            advice="check the file; it may be made to fill the memory",
        )


@contextmanager
def judging_elements(name: str) -> Iterator[None]:
    """A block that reads elements: those that pydicom cannot read refuse the file, its warnings are not shown.

    Raises:
        ImageRefusedError: truncated, undecodable.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are judged by what they are needed for
            yield
    except (EOFError, OSError, struct.error) as error:
        raise refuse_truncated(name, "an element that breaks off") from error
    except _ELEMENT_ERRORS as error:
        raise refusal(
            Verdict.UNDECODABLE,
            name,
            found=f"an element that cannot be read ({type(error).__name__})",
            expected="elements as PS3.5 says",
            advice="copy the file again; if it stays so, the file is broken",
        ) from error


def refuse_truncated(name: str, found: str) -> ImageRefusedError:
    """The error for a file that is not whole."""
    return refusal(
        Verdict.TRUNCATED, name, found=found, expected="a whole file", advice="copy it again from where it came"
    )


def refuse_without_pixels(name: str) -> ImageRefusedError:
    """The error for a DICOM object that is no image, such as a report."""
    return refusal(
        Verdict.NO_PIXEL_DATA,
        name,
        found="a DICOM object without pixel data",
        expected="an image",
        advice="remove it from the cohort",
    )


@dataclass(frozen=True, slots=True)
class ElementReader:
    """Reads elements as plain values; one that is absent or empty gives None.

    Attributes:
        dataset: the elements.
        name: how sentences call the image.
        warnings: grows by what was found odd.
    """

    dataset: Dataset
    name: str
    warnings: list[HeaderWarning] = field(default_factory=list)

    def need(self, keyword: str, convert: Callable[[Any], ParsedT]) -> ParsedT:
        """The value of an element without which there is no picture.

        Raises:
            ImageRefusedError: undecodable, where it is absent or cannot be converted.
        """
        value = self.demand(keyword, convert)
        if value is None:
            raise self._refuse(keyword, "nothing")
        return value

    def demand(self, keyword: str, convert: Callable[[Any], ParsedT]) -> ParsedT | None:
        """The value of an element that may be absent, but not wrong.

        Raises:
            ImageRefusedError: undecodable, where it cannot be converted.
        """
        try:
            value = self._value(keyword)
            return None if value is None else convert(value)
        except _ELEMENT_ERRORS as error:
            raise self._refuse(keyword, "a value that cannot be read") from error

    def read(self, keyword: str, convert: Callable[[Any], ParsedT]) -> ParsedT | None:
        """The value of an element that the picture does without; one that cannot be converted is warned of."""
        try:
            value = self._value(keyword)
            return None if value is None else convert(value)
        except _ELEMENT_ERRORS:
            self.warn("unreadable_element", f"{keyword} holds a value that breaks the standard, taken as absent")
            return None

    def sequence(self, keyword: str) -> list[Dataset]:
        """The parts of a sequence; none where it is absent, or is no sequence."""
        found = self.read(keyword, _as_sequence)
        return [] if found is None else found

    def within(self, part: Dataset) -> "ElementReader":
        """A reader for a part of a sequence; it warns where this one does."""
        return ElementReader(part, self.name, self.warnings)

    def transfer_syntax(self) -> str:
        """The UID of the encoding.

        Raises:
            ImageRefusedError: undecodable, where the file does not name it.
        """
        syntax = self.dataset.file_meta.get("TransferSyntaxUID")
        if syntax is None:
            raise self._refuse("TransferSyntaxUID", "nothing")
        return str(syntax)

    def age_years(self) -> float | None:
        """The age that Patient Age gives, or that follows from birth and study, with one decimal.

        None where neither gives 0 to 130 years.
        """
        age = self.read("PatientAge", as_age)
        if age is not None:
            return age
        birth, study = (self.read(keyword, as_date) for keyword in ("PatientBirthDate", "StudyDate"))
        if birth is None or study is None:
            return None
        age = (study - birth).days / _DAYS_OF_A_YEAR
        return round(age, 1) if 0 <= age <= OLDEST_YEARS else None

    def warn(self, code: str, sentence: str) -> None:
        """Note something odd, once however often it is read."""
        warning = HeaderWarning(code, sentence)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _value(self, keyword: str) -> Any:  # noqa: ANN401  # pydicom's values have no common type
        tag: Any = tag_for_keyword(keyword)  # four times as fast as the keyword itself
        if tag not in self.dataset:
            return None
        element = self.dataset[tag]
        return None if element.is_empty else element.value

    def _refuse(self, keyword: str, found: str) -> ImageRefusedError:
        return refusal(
            Verdict.UNDECODABLE,
            self.name,
            found=f"{found} in {keyword}",
            expected="one valid value",
            advice="the file breaks the standard; ask its sender for a correct one",
        )


def as_text(value: Any) -> str:  # noqa: ANN401  # pydicom's values have no common type
    """One text, without the blanks around it.

    Raises:
        TypeError: several values.
    """
    if isinstance(value, _SEVERAL):
        raise TypeError("several values")
    return str(value).strip()


def as_code(value: Any) -> str:  # noqa: ANN401  # pydicom's values have no common type
    """One code string in capitals (PS3.5 6.2, CS); files write it in small letters too."""
    return as_text(value).upper()


def as_texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401  # pydicom's values have no common type
    """All values as texts."""
    return tuple(str(part).strip() for part in value) if isinstance(value, _SEVERAL) else (str(value).strip(),)


def as_numbers(value: Any) -> tuple[float, ...]:  # noqa: ANN401  # pydicom's values have no common type
    """All values as numbers."""
    return tuple(float(part) for part in value) if isinstance(value, _SEVERAL) else (float(value),)


def as_yes(value: Any) -> bool:  # noqa: ANN401  # pydicom's values have no common type
    """Whether the value is YES.

    Raises:
        ValueError: it is neither YES nor NO.
    """
    code = as_code(value)
    if code not in {"YES", "NO"}:
        raise ValueError("neither YES nor NO")
    return code == "YES"


def as_spacing(value: Any) -> tuple[float, float]:  # noqa: ANN401  # pydicom's values have no common type
    """Distance of rows and of columns in mm (PS3.3 10.7.1.3).

    Raises:
        ValueError: not two positive numbers.
    """
    numbers = as_numbers(value)
    if len(numbers) != 2 or not all(math.isfinite(number) and number > 0 for number in numbers):  # noqa: PLR2004  # rows, columns
        raise ValueError("not two positive numbers")
    return numbers[0], numbers[1]


def as_intercept(value: Any) -> float:  # noqa: ANN401  # pydicom's values have no common type
    """A modality value that leaves room for a picture.

    Raises:
        ValueError: beyond 1e9, or not a number.
    """
    intercept = float(value)
    if not abs(intercept) <= _LARGEST_RESCALE:  # NaN too
        raise ValueError("a number beyond all use")
    return intercept


def as_slope(value: Any) -> float:  # noqa: ANN401  # pydicom's values have no common type
    """Modality values for one stored value.

    Raises:
        ValueError: beyond 1e9, closer to 0 than its inverse, or not a number.
    """
    slope = as_intercept(value)
    if abs(slope) < 1 / _LARGEST_RESCALE:
        raise ValueError("no slope")
    return slope


def as_magnification(value: Any) -> float:  # noqa: ANN401  # pydicom's values have no common type
    """A factor above 0.

    Raises:
        ValueError: anything else.
    """
    magnification = float(value)
    if not 0 < magnification < math.inf:
        raise ValueError("not a positive number")
    return magnification


def as_date(value: Any) -> date:  # noqa: ANN401  # pydicom's values have no common type
    """A day, YYYYMMDD (PS3.5 6.2, DA).

    Raises:
        ValueError: no day.
    """
    text = as_text(value)
    if not _DATE.fullmatch(text):  # strptime takes months and days of one digit
        raise ValueError("not eight digits")
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  # DICOM dates have no zone


def as_age(value: Any) -> float:  # noqa: ANN401  # pydicom's values have no common type
    """An age in years, from three digits and a unit: days, weeks, months or years (PS3.5 6.2, AS).

    Raises:
        ValueError: no age, or more than 130 years.
    """
    parts = _AGE.fullmatch(as_text(value))
    if parts is None:
        raise ValueError("not three digits and one of D, W, M, Y")
    years = int(parts[1]) * _YEARS_OF_UNIT[parts[2]]
    if years > OLDEST_YEARS:
        raise ValueError("more years than anybody has lived")
    return years


def as_time(value: Any) -> time:  # noqa: ANN401  # pydicom's values have no common type
    """A time of day, HHMMSS.FFFFFF of which the end may be missing (PS3.5 6.2, TM); a leap second counts as the 59th.

    Raises:
        ValueError: no time of day.
    """
    parts = _TIME.fullmatch(as_text(value))
    if parts is None:
        raise ValueError("no time of day")
    hour, minute, second, fraction = parts.groups(default="0")
    return time(int(hour), int(minute), 59 if second == "60" else int(second), int(f"{fraction:0<6}"))


def _as_sequence(value: Any) -> list[Dataset]:  # noqa: ANN401  # pydicom's values have no common type
    parts = list(value)
    if not all(isinstance(part, Dataset) for part in parts):
        raise TypeError("no sequence")
    return parts
