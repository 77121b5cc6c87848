"""What pages share: the template that every page extends, its filters, the facts at its end, and pictures."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray
from PIL import Image

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_ROWS_SHOWN = 480  # twice the height on the page, for sharp screens and print
_JPEG_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the table of facts."""

    name: str
    value: str


def page_template(package: str, name: str, **filters: Callable[[Any], str]) -> Template:
    """A template of a package, which may extend `page.html.j2` and import from `macros.html.j2`; text is escaped."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("mammoscope.pages", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    shared: dict[str, Callable[[Any], str]] = {
        "decimal": format_decimal,
        "interval": lambda interval: f"{interval.low:.3f} to {interval.high:.3f}",
        "count": lambda number: f"{number:,}",
        "share": format_share,
        "capitalize_first": capitalise,
    }
    environment.filters.update(shared | filters)
    return environment.get_template(name)


def format_decimal(value: float) -> str:
    """A figure of a page, with three decimals, and without a sign where they are 0."""
    return f"{round(value, 3) + 0.0:.3f}"


def format_share(share: float | None) -> str:
    """A share in percent with one decimal; nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f}{NO_BREAK_SPACE}%"


def capitalise(name: str) -> str:
    """The name with its first letter as a capital, the others as they are."""
    return name[:1].upper() + name[1:]


def encode_jpeg(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A picture as JPEG of the height of the page's pictures: (row, column) is grey, (row, column, 3) has colours.

    Of 16 bits, the upper 8 are kept.
    """
    shown = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels.astype(np.uint8)
    n_rows, n_columns = shown.shape[:2]
    scale = min(1.0, _ROWS_SHOWN / n_rows)
    size = (max(1, round(n_columns * scale)), max(1, round(n_rows * scale)))
    content = io.BytesIO()
    Image.fromarray(shown).resize(size, Image.Resampling.LANCZOS).save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()
