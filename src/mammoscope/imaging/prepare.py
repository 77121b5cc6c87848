"""One file to one prepared image."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from mammoscope.config import Settings, to_toml
from mammoscope.files import sha256_of_bytes
from mammoscope.imaging import shards
from mammoscope.imaging.breast import MARGIN_MM, SMALL_ROWS, Box, BreastPlace, find_breast, shrink_for_search
from mammoscope.imaging.canvas import CanvasPixels, Placement, paint, place, resize_to_content
from mammoscope.imaging.codecs import Decoded, EncodedPicture, open_picture
from mammoscope.imaging.contradictions import find_warnings
from mammoscope.imaging.display import Display, WindowPolicy, choose_display, fill_padding, is_padding_mixed_in
from mammoscope.imaging.header import Header, read_header
from mammoscope.imaging.object_kind import SCREENING_EXCLUDES, ClinicalVerdict, refuse_kind
from mammoscope.imaging.samples import is_constant
from mammoscope.imaging.verdict import Verdict, refusal

WALL_CONFLICT = "wall_conflict"
"""The warning that the chest wall is at another side than Patient Orientation says; the picture is believed."""


class PrepareSettings(Settings):
    """How a file becomes a prepared image; two stores of equal settings hold equal pictures of equal files.

    Attributes:
        rows: height of the prepared image.
        columns: its width.
        bits: of a grey value.
        window: `minmax` spreads the values of the breast's box, `percentile` does so without its extremes, `dicom`
            takes the file's VOI LUT or first window.
        fit: `proportions` keeps the breast's, and leaves the rest of the canvas black; `stretch` fills the canvas, as
            the public baseline did with its squares.
        margin_mm: what is left around the breast, where the spacing is known.
        margin: the same where it is not, as a share of the longer side of the breast's box.
        resolution: `canvas` decodes at the lowest level of a file that still has the pixels that the canvas needs;
            `whole` decodes all.
        excluded: the verdicts by the header alone that refuse a file. Side and view are the manifest's to say.
        method_version: of the way itself; another one makes other pictures.
    """

    rows: int = Field(default=1024, ge=16, le=8192)
    columns: int = Field(default=512, ge=16, le=8192)
    bits: Literal[8, 16] = 16
    window: WindowPolicy = "minmax"
    fit: Literal["proportions", "stretch"] = "proportions"
    margin_mm: float = Field(default=MARGIN_MM, ge=0, le=50)
    margin: float = Field(default=0.02, ge=0, le=0.5)
    resolution: Literal["canvas", "whole"] = "canvas"
    excluded: tuple[ClinicalVerdict, ...] = SCREENING_EXCLUDES
    method_version: Literal[2] = 2

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the settings."""
        return sha256_of_bytes(to_toml(self).encode())

    @property
    def picture_bytes(self) -> int:
        """The size of one prepared picture in a store."""
        return self.rows * self.columns * self.bits // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationRecord:
    """How a prepared image came about.

    Attributes:
        placement: where the picture lies on the canvas, and the way back.
        display: the window and polarity that made it.
        doubt: why nothing like a breast was found for sure, so that the whole picture was taken; None when it was.
        warnings: names of what is odd about the file.
        transfer_syntax: the UID of the file's encoding; None for a PNG or PGM.
        decoder: the library that decoded the file.
        level: how often rows and columns were halved in decoding.
        spacing_mm: height and width of an original pixel, where known.
        file_hash: SHA-256 of the file.
        content_hash: SHA-256 of the prepared pixels.
    """

    placement: Placement
    display: Display
    doubt: str | None
    warnings: tuple[str, ...]
    transfer_syntax: str | None
    decoder: str
    level: int
    spacing_mm: tuple[float, float] | None
    file_hash: str
    content_hash: str

    @property
    def is_breast_found(self) -> bool:
        """False when nothing like a breast was found for sure, so that the whole picture was taken."""
        return self.doubt is None

    def to_row(self) -> dict[str, object]:
        """The record as columns of `prepared.parquet`."""
        row_spacing, column_spacing = self.spacing_mm or (None, None)
        return {
            **self.placement.to_row(),
            "doubt": self.doubt,
            "warnings": " ".join(self.warnings),
            "window": self.display.function.value,
            "window_center": self.display.center,
            "window_width": self.display.width,
            "is_inverted": self.display.is_inverted,
            "transfer_syntax": self.transfer_syntax,
            "decoder": self.decoder,
            "level": self.level,
            "row_spacing_mm": row_spacing,
            "column_spacing_mm": column_spacing,
            "file_hash": self.file_hash,
            "content_hash": self.content_hash,
        }


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A prepared image, (row, column), chest wall at column 0, bright tissue on black, and how it came about."""

    pixels: CanvasPixels
    record: PreparationRecord
    header: Header


def prepare_image(content: bytes, settings: PrepareSettings, *, name: str) -> PreparedImage:
    """The prepared image of a DICOM, PNG or PGM file.

    Args:
        content: the whole file.
        settings: how to prepare it.
        name: how sentences call the image.

    Raises:
        ImageRefusedError: the file cannot be used; with the reason code.
    """
    header = read_header(content, name=name)
    refuse_kind(header, settings.excluded, name=name)
    picture = open_picture(content, header, name=name)
    overview = _decode_overview(header, picture, settings)
    _refuse_blank(overview, name)
    breast = _locate_breast(header, overview, settings)
    placement, level = _plan(header, overview, breast, settings)
    decoded = overview if level == overview.level else picture.decode(level)
    cut = _cut(decoded, placement.box)
    filled = fill_padding(header, cut, is_reduced=level > 0)
    display = choose_display(header, filled if level else cut, settings.window)  # padding is in neither's statistics
    pixels = paint(display.apply(resize_to_content(filled, placement)), placement, settings.bits)
    record = PreparationRecord(
        placement=placement,
        display=display,
        doubt=breast.reason,
        warnings=_collect_warnings(header, breast),
        transfer_syntax=header.transfer_syntax,
        decoder=decoded.decoder,
        level=level,
        spacing_mm=header.spacing_mm,
        file_hash=sha256_of_bytes(content),
        content_hash=sha256_of_bytes(shards.to_record(pixels)),
    )
    return PreparedImage(pixels, record, header)


def _level_for(shrinkage: float, n_levels: int) -> int:
    """The highest level at which no more than `shrinkage` of the resolution is lost."""
    level = 0
    while level < n_levels and 2 << level <= shrinkage:
        level += 1
    return level


def _guess_level(header: Header, picture: EncodedPicture, settings: PrepareSettings) -> int:
    """The level for a breast as high as the picture and half as wide, as most are: then one decoding is enough."""
    usual = Box(0, 0, header.rows, max(1, header.columns // 2))
    needed = 1 / max(_place_box(usual, header, settings, is_wall_left=True).scale)
    n_levels = 0 if settings.resolution == "whole" else picture.n_levels
    return _level_for(min(needed, header.rows / SMALL_ROWS), n_levels)


def _decode_overview(header: Header, picture: EncodedPicture, settings: PrepareSettings) -> Decoded:
    decoded = picture.decode(_guess_level(header, picture, settings))
    return picture.decode() if decoded.level and is_padding_mixed_in(header, decoded.values) else decoded


def _refuse_blank(decoded: Decoded, name: str) -> None:
    if is_constant(decoded.values):
        raise refusal(
            Verdict.BLANK,
            name,
            found=f"one value, {int(decoded.values.flat[0])}, in all pixels",
            expected="a picture",
            advice="remove it from the cohort or fetch it again",
        )


def _locate_breast(header: Header, decoded: Decoded, settings: PrepareSettings) -> BreastPlace:
    small = fill_padding(header, shrink_for_search(decoded.values), is_reduced=True)
    brightness = choose_display(header, small, "minmax").apply(small)
    breast = find_breast(
        brightness,
        (header.rows, header.columns),
        margin=settings.margin,
        margin_mm=settings.margin_mm,
        spacing_mm=header.spacing_mm,
    )
    if breast.is_sure or header.is_wall_left is None:
        return breast
    return replace(breast, is_wall_left=header.is_wall_left)


def _collect_warnings(header: Header, breast: BreastPlace) -> tuple[str, ...]:
    """The names of what is odd: about the header, and where the picture shows something else than it says."""
    codes = {warning.code for warning in find_warnings(header)}
    if header.is_wall_left is not None and header.is_wall_left is not breast.is_wall_left:
        codes.add(WALL_CONFLICT)
    return tuple(sorted(codes))


def _plan(header: Header, overview: Decoded, breast: BreastPlace, settings: PrepareSettings) -> tuple[Placement, int]:
    """Where the box goes, and the lowest resolution that fills its place; the box is widened to whole pixels of it."""
    needed = 1 / max(_place_box(breast.box, header, settings, is_wall_left=breast.is_wall_left).scale)
    level = _level_for(needed, overview.level)  # what has been decoded already is never too fine
    step = 1 << level
    box = Box(
        top=breast.box.top // step * step,
        left=breast.box.left // step * step,
        bottom=min(header.rows, -(-breast.box.bottom // step) * step),
        right=min(header.columns, -(-breast.box.right // step) * step),
    )
    return _place_box(box, header, settings, is_wall_left=breast.is_wall_left), level


def _place_box(box: Box, header: Header, settings: PrepareSettings, *, is_wall_left: bool) -> Placement:
    return place(
        box,
        original_shape=(header.rows, header.columns),
        canvas_shape=(settings.rows, settings.columns),
        is_wall_left=is_wall_left,
        is_stretched=settings.fit == "stretch",
        spacing_mm=header.spacing_mm,
    )


def _cut(decoded: Decoded, box: Box) -> NDArray[Any]:
    step = 1 << decoded.level
    rows = slice(box.top // step, -(-box.bottom // step))
    columns = slice(box.left // step, -(-box.right // step))
    return decoded.values[rows, columns]
