from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammoscope.anatomy import Laterality, View
from mammoscope.evaluation.peaks import Heat, Peak
from mammoscope.exam import Mammogram
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import Placement
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference import heat_pictures
from mammoscope.inference.explained import ExplainedImage, Said
from mammoscope.inference.heat_pictures import (
    ExamDrawing,
    Shown,
    arrange,
    colour,
    content_of,
    draw_exam,
    draw_hang,
    draw_overlay,
    find_top,
    heat_on_content,
    save,
)
from mammoscope.inference.reading import PreparedFile, ScoringTask

Show = Callable[..., Shown]


@pytest.fixture
def show() -> Show:
    """An image of 200 x 80 pixels of its file on 100 x 40 of a canvas of 128 x 64; the wall of right ones is right."""

    def build(name: str, side: str, view: str | None, *, is_flipped: bool | None = None, **said: float) -> Shown:
        mammogram = Mammogram(name, "patient", "exam", Laterality(side), None if view is None else View(view))
        settings = PrepareSettings(rows=128, columns=64, bits=8)
        placement = Placement(
            original_shape=(400, 300),
            box=Box(100, 30, 300, 110),
            is_flipped=side == "R" if is_flipped is None else is_flipped,
            canvas_shape=(128, 64),
            content_shape=(100, 40),
            content_top=14,
        )
        heat = np.zeros((32, 16), dtype=np.float32)
        heat[5, 3] = 2.0
        peaks = (Peak(Box(104, 46, 120, 78), 112.0, 62.0, 2.0, 1.0),)
        task = ScoringTask(name, Path(name), mammogram, settings)
        image = ExplainedImage(
            task, mammogram, placement, heat, peaks, Said(said.get("score", 0.5), 0.5, said.get("share"))
        )
        pixels = np.zeros((128, 64), dtype=np.uint8)
        pixels[14:114, :20] = 200
        return Shown(image, pixels)

    return build


def _names(shown: list[Shown]) -> list[tuple[str, list[str | None]]]:
    return [(name, [None if each is None else each.image.task.name for each in pair]) for name, pair in arrange(shown)]


def test_the_hang_is_right_and_left_cc_over_right_and_left_mlo(show: Show) -> None:
    shown = [show("d", "L", "MLO"), show("b", "L", "CC"), show("c", "R", "MLO"), show("a", "R", "CC")]
    assert _names(shown) == [("CC", ["a", "b"]), ("MLO", ["c", "d"])]


def test_a_missing_view_leaves_its_place_empty_and_others_follow(show: Show) -> None:
    shown = [
        show("a", "R", "CC", score=0.2),
        show("b", "R", "CC", score=0.7),
        show("c", "L", "ML"),
        show("d", "L", None),
    ]
    assert _names(shown) == [("CC", ["b", None]), ("MLO", [None, None]), ("", ["a", "c"]), ("", [None, "d"])]


def test_chest_walls_meet_in_the_middle_whatever_way_the_files_lie(show: Show) -> None:
    shown = [
        show(f"{side}{view}{is_flipped}", side, view, is_flipped=is_flipped)
        for side in "RL"
        for view, is_flipped in (("CC", True), ("MLO", False))
    ]
    figure = draw_hang(shown, 2.0)
    for axes, wanted in zip(figure.axes[:4], ["wall right", "wall left"] * 2, strict=True):
        left, right = axes.get_xlim()  # in columns of the file
        is_flipped = axes in (figure.axes[0], figure.axes[1])
        wall = 110 if is_flipped else 30
        assert (right if wanted == "wall right" else left) == wall
        assert axes.get_anchor() == ("E" if wanted == "wall right" else "W")


def test_the_hang_says_scores_shares_and_what_is_not_there(show: Show) -> None:
    figure = draw_hang([show("secret", "R", "CC", score=0.25, share=0.62)], 2.0)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["R CC\n0.250\nshare 62%", "L CC: not there", "R MLO: not there", "L MLO: not there"]
    assert figure.get_suptitle() == "breast R 0.500   ·   Research software, no diagnosis."


def test_no_id_stands_in_a_picture(show: Show) -> None:
    shown = show("secret", "R", "CC")
    for figure in (draw_hang([shown], 2.0), draw_overlay(shown, 2.0)):
        words = [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label)]
        assert not any(
            word in text for text in [*words, figure.get_suptitle()] for word in ("secret", "patient", "exam")
        )


def test_heat_is_clear_where_there_is_none_and_strongest_at_the_top() -> None:
    painted = colour(np.array([[-3.0, 0.0, 1.0, 2.0, 5.0]], dtype=np.float32), 2.0)
    assert painted[0, :, 3].tolist() == pytest.approx([0, 0, 0.325, 0.65, 0.65])
    # the last colour of viridis
    assert painted[0, 3, :3].tolist() == pytest.approx([0.993248, 0.906157, 0.143936], abs=1e-6)
    assert (colour(np.ones((2, 2), dtype=np.float32), 0.0)[..., 3] == 0).all()


def test_the_colours_rise_in_brightness_with_the_heat() -> None:
    painted = colour(np.linspace(0, 1, 50, dtype=np.float32)[None], 1.0)[0, :, :3]
    luminance = painted**2.2 @ np.array([0.2126, 0.7152, 0.0722])  # of sRGB, nearly
    assert (np.diff(luminance) > 0).all()


@pytest.mark.parametrize("is_flipped", [False, True])
def test_grey_and_heat_lie_as_in_the_file(show: Show, *, is_flipped: bool) -> None:
    shown = show("a", "R", "CC", is_flipped=is_flipped)
    placement = shown.image.placement
    grey, heat = content_of(shown.pixels, placement), heat_on_content(shown.image.heat, placement)
    assert grey.shape == heat.shape == (100, 40)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    # place (5, 3) of 32 x 16 has its centre at canvas (22, 14), content row 8
    assert abs(row - 8) <= 1
    assert abs((39 - column if is_flipped else column) - 14) <= 1
    assert (grey[:, 30] == (200 if is_flipped else 0)).all()


def test_the_overlay_has_the_pixels_of_the_file_along_its_axes(show: Show) -> None:
    figure = draw_overlay(show("a", "R", "CC"), 2.0)
    axes = figure.axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((30, 110), (300, 100))
    assert axes.get_title() == "R CC   score 0.500   breast 0.500"
    assert [text.get_text() for text in axes.texts] == ["100%"]


@pytest.mark.parametrize(("top", "below"), [(100, True), (104, True), (120, False)])
def test_a_share_never_stands_in_the_title(show: Show, *, top: int, below: bool) -> None:
    """The picture begins at row 100 of the file and has 200 rows, a twentieth of which are 10."""
    shown = show("a", "R", "CC")
    peak = Peak(Box(top, 46, 140, 78), 130.0, 62.0, 2.0, 1.0)
    axes = draw_overlay(Shown(replace(shown.image, peaks=(peak,)), shown.pixels), 2.0).axes[0]
    (text,) = axes.texts
    assert text.get_verticalalignment() == ("top" if below else "bottom")


@pytest.mark.parametrize(("top", "n_boxes"), [(2.0, 1), (20.0, 1), (20.1, 0)])
def test_peaks_that_show_no_colour_get_no_box_and_no_share(show: Show, *, top: float, n_boxes: int) -> None:
    """The peak is 2; below a tenth of the strongest colour, a box would stand around nothing."""
    shown = show("a", "R", "CC")
    axes = draw_overlay(shown, top).axes[0]
    assert len(axes.patches) == 2 * n_boxes  # each with its dark edge
    assert len(axes.texts) == n_boxes
    assert len(draw_hang([shown], top).axes[0].patches) == 2 * n_boxes


def test_labels_have_a_dark_backing_and_lie_over_the_boxes(show: Show) -> None:
    shown = show("a", "R", "CC")
    for figure in (draw_overlay(shown, 2.0), draw_hang([shown], 2.0)):
        axes = figure.axes[0]
        assert axes.patches
        for text in axes.texts:
            assert text.get_zorder() > max(patch.get_zorder() for patch in axes.patches)
            backing = text.get_bbox_patch()
            assert backing is not None
            assert backing.get_facecolor() == (0, 0, 0, 0.75)


def test_heat_beside_the_picture_does_not_pale_the_colours(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show("a", "R", "CC")
    heat = shown.image.heat.copy()
    heat[5, 14] = 50.0  # on the black of the canvas; the picture has columns 0 to 9
    image = replace(shown.image, heat=heat)
    prepared = PreparedFile("a", Path("a"), image.mammogram, shown.pixels, image.placement)
    tops: list[float] = []
    monkeypatch.setattr(heat_pictures, "prepare_file", lambda _: prepared)
    monkeypatch.setattr(heat_pictures, "draw_overlay", lambda _, top: tops.append(top))
    monkeypatch.setattr(heat_pictures, "draw_hang", lambda *_: None)
    monkeypatch.setattr(heat_pictures, "save", lambda *_: None)
    draw_exam(ExamDrawing((image,), tmp_path, "exam"))
    assert 1.0 < tops[0] <= 2.0  # the one hot place, between its neighbours


def test_the_top_is_the_highest_heat_and_never_below_0() -> None:
    heats: list[Heat] = [np.full((2, 2), value, dtype=np.float32) for value in (-1.0, 3.0, 2.0)]
    assert find_top(heats) == 3.0
    assert find_top(heats[:1]) == find_top([]) == 0.0


def test_the_same_picture_gives_the_same_bytes(show: Show, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(draw_overlay(show("x", "L", "MLO"), 2.0), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.height > 1000
