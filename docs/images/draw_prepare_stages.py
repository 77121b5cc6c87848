"""Draws docs/images/prepare_stages.png: what each stage of preparation makes of two phantoms.

Usage: python docs/images/draw_prepare_stages.py
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mammoscope.anatomy import Laterality, View
from mammoscope.imaging.breast import find_breast, shrink_for_search
from mammoscope.imaging.breast_mask import mask_breast
from mammoscope.imaging.codecs import open_picture
from mammoscope.imaging.display import choose_display, fill_padding
from mammoscope.imaging.header import read_header
from mammoscope.imaging.prepare import PrepareSettings, prepare_image
from mammoscope.phantom.artefacts import Artefact
from mammoscope.phantom.dicom import Identity, encode_dicom
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.sketch import Phantom, draw_phantom

OUTPUT = Path(__file__).with_name("prepare_stages.png")
CASES = (
    (29, Laterality.RIGHT, View.MLO, frozenset({Artefact.BODY_PART})),
    (21, Laterality.LEFT, View.CC, frozenset({Artefact.LABELS, Artefact.TILTED_SHUTTER})),
)
SEED = 12
TITLES = ("stored values", "brightness: window,\npolarity, padding", "breast: mask and box", "crop", "canvas")
BLUE = "#40c8ff"


def encode(phantom: Phantom) -> bytes:
    """The phantom as a DICOM file."""
    plan = phantom.plan
    identity = Identity("900001", "9000011", 1, 55, plan.laterality, plan.view, SEED)
    return encode_dicom(phantom.pixels, identity, phantom.machine)


def show(axes: Axes, picture: np.ndarray) -> None:
    """A picture in grey, as wide as it is."""
    axes.imshow(picture, cmap="gray", interpolation="antialiased")
    axes.set_axis_off()


def draw_row(row: list[Axes], content: bytes) -> None:
    """The stages of one file."""
    settings = PrepareSettings()
    header = read_header(content, name="phantom")
    stored = fill_padding(header, open_picture(content, header, name="phantom").decode().values, is_reduced=False)
    brightness = choose_display(header, stored, settings.window).apply(stored)
    small = shrink_for_search(brightness)
    mask = mask_breast(small).astype(np.uint8)
    mask = cv2.resize(mask, brightness.shape[::-1], interpolation=cv2.INTER_LINEAR)
    box = find_breast(small, brightness.shape, margin=settings.margin, spacing_mm=header.spacing_mm).box
    prepared = prepare_image(content, settings, name="phantom")
    show(row[0], stored)
    show(row[1], brightness)
    show(row[2], brightness)
    row[2].contour(mask, levels=[0.5], colors=BLUE, linewidths=1)
    row[2].add_patch(Rectangle((box.left, box.top), box.columns, box.rows, fill=False, color=BLUE, linewidth=2))
    show(row[3], brightness[box.top : box.bottom, box.left : box.right])
    show(row[4], prepared.pixels)


def main() -> None:
    """Draw and write."""
    figure, axes = plt.subplots(2, 5, figsize=(13, 7.6), gridspec_kw={"width_ratios": (0.92, 0.92, 0.92, 0.48, 0.5)})
    for row, (machine_id, laterality, view, artefacts) in zip(axes, CASES, strict=True):
        machine = next(each for each in MACHINES if each.machine_id == machine_id).scaled(0.25)
        draw_row(list(row), encode(draw_phantom(SEED, machine, artefacts, laterality=laterality, view=view)))
    for column, title in zip(axes[0], TITLES, strict=True):
        column.set_title(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(OUTPUT, dpi=70)


if __name__ == "__main__":
    main()
