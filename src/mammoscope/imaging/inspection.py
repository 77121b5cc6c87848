"""What one file is: its header line by line, its verdict, its warnings, and a picture of how it is cropped."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.tag import Tag
from pydicom.uid import UID

from mammoscope.errors import ImageRefusedError
from mammoscope.files import replacing, sha256_of_bytes
from mammoscope.imaging.codecs import open_picture
from mammoscope.imaging.contradictions import find_warnings
from mammoscope.imaging.display import choose_display, fill_padding
from mammoscope.imaging.elements import HeaderWarning
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.lookup import LookupTable
from mammoscope.imaging.object_kind import judge_kind
from mammoscope.imaging.prepare import PreparedImage, PrepareSettings, prepare_image
from mammoscope.imaging.verdict import Verdict, refusal, refuse_unreadable

_IDENTIFYING: Final = frozenset(
    {"patient_id", "age_years", "study_uid", "series_uid", "image_uid", "acquisition_date", "acquisition_time"}
)
_LIGHTEST: Final = frozenset({Verdict.UNKNOWN_SIDE, Verdict.UNKNOWN_VIEW})  # a table can say them

ABSENT: Final = "-"
"""The text of a field that the file does not say."""

_PREVIEW_ROWS: Final = 900
_GAP_PX: Final = 24
_BOX_COLOUR: Final = (64, 200, 255)  # light blue: seen on black, grey and white, and by the colour-blind


class HeaderLine(NamedTuple):
    """One field of a header as text, with where it comes from."""

    name: str
    tags: str
    section: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found out about a file.

    Attributes:
        name: how sentences call it.
        verdict: `ok`, or the first reason against it.
        sentence: where, what was found, what was expected, what to do; None for `ok`.
        header: None where it cannot be read.
        warnings: what is odd about the header.
        preview: (row, column, RGB), the picture with the box drawn in, and the prepared image; None where it cannot be
            decoded, or was written to a file.
        has_preview: whether there is one.
        file_hash: SHA-256 of the file; None where it cannot be read.
    """

    name: str
    verdict: Verdict
    sentence: str | None
    header: Header | None
    warnings: tuple[HeaderWarning, ...]
    preview: NDArray[np.uint8] | None
    has_preview: bool
    file_hash: str | None


def inspect_file(content: bytes, settings: PrepareSettings, *, name: str) -> Inspection:
    """All about one file; nothing of it is refused with an error.

    Args:
        content: the whole file.
        settings: how it would be prepared; what they exclude does not matter, every verdict is given.
        name: how sentences call the image.
    """
    header, preview, reasons = None, None, []
    try:
        header = read_header(content, name=name)
        reasons = list(judge_kind(header, name=name))
        prepared = prepare_image(content, settings.model_copy(update={"excluded": ()}), name=name)
        preview = draw_preview(content, prepared)
    except ImageRefusedError as error:
        reasons.append(error)
    reasons.sort(key=lambda error: error.code in _LIGHTEST)  # stable: the others stay in their order
    return Inspection(
        name=name,
        verdict=Verdict(reasons[0].code) if reasons else Verdict.OK,
        sentence=reasons[0].sentence if reasons else None,
        header=header,
        warnings=() if header is None else find_warnings(header),
        preview=preview,
        has_preview=preview is not None,
        file_hash=sha256_of_bytes(content),
    )


@dataclass(frozen=True, slots=True)
class InspectionTask:
    """A file to inspect, and where its preview goes."""

    name: str
    path: Path
    preview_path: Path
    settings: PrepareSettings


def inspect_and_draw(task: InspectionTask) -> Inspection:
    """The inspection of a file; its preview, if there is one, is written and not returned.

    Raises:
        OSError: the preview cannot be written.
    """
    try:
        content = task.path.read_bytes()
    except OSError as error:
        return _inspect_unreadable(task.name, error)
    inspection = inspect_file(content, task.settings, name=task.name)
    if inspection.preview is not None:
        with replacing(task.preview_path) as beside:
            beside.write_bytes(cv2.imencode(".png", inspection.preview[..., ::-1])[1].tobytes())
    return replace(inspection, preview=None)


def _inspect_unreadable(name: str, error: OSError) -> Inspection:
    reason = refuse_unreadable(name, error)
    return Inspection(
        name=name,
        verdict=Verdict.UNREADABLE,
        sentence=reason.sentence,
        header=None,
        warnings=(),
        preview=None,
        has_preview=False,
        file_hash=None,
    )


def mark_duplicates(inspections: Sequence[Inspection]) -> list[Inspection]:
    """The inspections, those of files with the same bytes as an earlier one as duplicates."""
    first_by_hash: dict[str, str] = {}
    marked: list[Inspection] = []
    for inspection in inspections:
        first = inspection.name
        if inspection.file_hash is not None:
            first = first_by_hash.setdefault(inspection.file_hash, inspection.name)
        marked.append(inspection if first == inspection.name else _as_duplicate(inspection, first))
    return marked


def _as_duplicate(inspection: Inspection, first: str) -> Inspection:
    if inspection.verdict is not Verdict.OK:
        return inspection
    error = refusal(
        Verdict.DUPLICATE,
        inspection.name,
        found=f"the same bytes as in {first}",
        expected="each picture once",
        advice="remove one of them",
    )
    return replace(inspection, verdict=Verdict.DUPLICATE, sentence=error.sentence)


def list_header(header: Header, *, with_identifiers: bool) -> list[HeaderLine]:
    """The header, a line per field; what identifies a patient or her exam is hidden unless it is asked for."""
    lines = []
    for each in fields(header):
        if not each.metadata:
            continue
        value = getattr(header, each.name)
        is_hidden = each.name in _IDENTIFYING and not with_identifiers and value is not None
        lines.append(
            HeaderLine(
                name=each.name.replace("_", " "),
                value="given, hidden" if is_hidden else _field_to_text(each.name, value),
                tags=" ".join(_tag(keyword) for keyword in each.metadata["keywords"]),
                section=each.metadata["section"],
            )
        )
    return lines


def _tag(keyword: str) -> str:
    return str(Tag(keyword)).replace(" ", "").upper()


def _field_to_text(name: str, value: Any) -> str:  # noqa: ANN401  # as below
    if name in {"transfer_syntax", "sop_class"} and value is not None:
        return UID(value, validation_mode=IGNORE).name
    if name == "windows":
        return ", ".join(f"{center:g} / {width:g}" for center, width in value) or ABSENT
    if name == "padding" and value is not None and value[0] == value[1]:
        return str(value[0])
    return _to_text(value)


def _to_text(value: Any) -> str:  # noqa: ANN401  # the fields of a header have no common type
    if isinstance(value, LookupTable):
        return f"{len(value.entries)} entries of {value.bits} bits from {value.first}"
    if value is None or (isinstance(value, tuple | frozenset) and not value):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | frozenset):
        return ", ".join(sorted(map(str, value)) if isinstance(value, frozenset) else map(_to_text, value))
    return str(value)


def draw_preview(content: bytes, prepared: PreparedImage) -> NDArray[np.uint8]:
    """The whole picture with the crop box drawn in, and the prepared image beside it; (row, column, RGB).

    Args:
        content: the whole file.
        prepared: what was made of it.
    """
    picture = _to_rgb(_show_whole(content, prepared))
    box, shape = prepared.record.placement.box, prepared.record.placement.original_shape
    row_scale, column_scale = picture.shape[0] / shape[0], picture.shape[1] / shape[1]
    corners = [
        (round(column * column_scale), round(row * row_scale))
        for row, column in ((box.top, box.left), (box.bottom - 1, box.right - 1))
    ]
    cv2.rectangle(picture, corners[0], corners[1], _BOX_COLOUR, thickness=3)
    canvas = _to_rgb(_fit(prepared.pixels.astype(np.float32) / np.float32(np.iinfo(prepared.pixels.dtype).max)))
    gap = np.full((_PREVIEW_ROWS, _GAP_PX, 3), 255, dtype=np.uint8)
    return np.concatenate([picture, gap, canvas], axis=1)


def _show_whole(content: bytes, prepared: PreparedImage) -> NDArray[np.float32]:
    header = prepared.header
    picture = open_picture(content, header, name="preview")
    level = 0
    while level < picture.n_levels and header.rows >> (level + 1) >= _PREVIEW_ROWS:
        level += 1
    decoded = picture.decode(level)
    stored = fill_padding(header, decoded.values, is_reduced=level > 0)
    brightness = choose_display(header, stored, "minmax").apply(stored)
    height = 1.0 if header.spacing_mm is None else header.spacing_mm[0] / header.spacing_mm[1]
    return _fit(brightness, pixel_height=height)


def _fit(brightness: NDArray[np.float32], *, pixel_height: float = 1.0) -> NDArray[np.float32]:
    rows, columns = brightness.shape
    width = max(1, round(columns * _PREVIEW_ROWS / (rows * pixel_height)))
    return np.asarray(cv2.resize(brightness, (width, _PREVIEW_ROWS), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _to_rgb(brightness: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(brightness, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)  # (row, column, RGB)
