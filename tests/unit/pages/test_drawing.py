"""What figures share: dots on intervals, histograms as shares, and SVG that stands inside a page."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes

from mammoscope.pages import drawing
from mammoscope.pages.drawing import CASE, ON_PAPER, STYLE, Dot, canvas_of_one, draw_dots, draw_shares, to_svg

Draw = Callable[[Axes], None]


def svg_of(draw: Draw) -> str:
    with mpl.rc_context(STYLE):
        canvas, axes = canvas_of_one(3, 2)
        draw(axes)
        return to_svg(canvas, "figure")


def dots(axes: Axes) -> None:
    draw_dots(axes, [Dot("first", 0.25, (0.1, 0.4)), Dot("second", 0.5, None)], reference=0.3)


def test_dots_stand_in_their_order_from_the_top() -> None:
    with mpl.rc_context(STYLE):
        _, axes = canvas_of_one(3, 2)
        dots(axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert list(axes.get_yticks()) == [1, 0]
    drawn = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert drawn == [[0.1, 0.4], [0.25], [0.5], [0.3, 0.3]]


def test_shares_are_of_their_own_number() -> None:
    with mpl.rc_context(STYLE):
        _, axes = canvas_of_one(3, 2)
        draw_shares(axes, [1, 3], edges=[0, 10, 20], colour=CASE, label="cases")
    assert [bar.get_height() for bar in axes.patches] == [25, 75]  # type: ignore[attr-defined]  # bars are rectangles
    assert [text.get_text() for text in axes.texts] == ["4 cases"]


def test_shares_of_nothing_are_an_empty_figure() -> None:
    assert "0 cases" in svg_of(lambda axes: draw_shares(axes, [0], edges=[0, 1], colour=CASE, label="cases"))


@pytest.fixture(scope="module")
def svg() -> str:
    return svg_of(dots)


def test_colours_come_from_the_page(svg: str) -> None:
    assert re.findall(r"#[0-9a-f]{6}", svg) == []
    assert "var(--control)" in svg


def test_ids_begin_with_the_name_of_the_figure(svg: str) -> None:
    assert all(name.startswith("figure-") for name in re.findall(r'\bid="([^"]*)"', svg))
    assert all(name.startswith("figure-") for name in re.findall(r"url\(#([^)]*)\)", svg))


def test_nothing_is_loaded(svg: str) -> None:
    assert "http" not in svg
    assert "<style" not in svg


def test_the_same_figure_gives_the_same_bytes(svg: str) -> None:
    assert svg_of(dots) == svg


def test_a_picture_outside_of_a_page_has_its_light_colours() -> None:
    template = Path(drawing.__file__).with_name("page.html.j2").read_text()
    light = dict(re.findall(r"(--[a-z]+): (#[0-9a-f]{6})", template.split("@media")[0]))
    variables = {colour: variable[4:-1] for colour, variable in drawing._VARIABLE_BY_COLOUR.items()}
    assert {variables[stand_in]: colour for stand_in, colour in ON_PAPER.items()}.items() <= light.items()
    assert set(ON_PAPER) == set(variables)
    assert not set(ON_PAPER).intersection(map(str, drawing.STYLE_ON_PAPER.values()))
