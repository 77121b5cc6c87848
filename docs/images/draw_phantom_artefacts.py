"""Draws phantom_artefacts.png: one phantom with each artefact, with the outline of the truth mask.

Usage: python docs/images/draw_phantom_artefacts.py
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mammoscope.anatomy import Laterality, View
from mammoscope.phantom.artefacts import Artefact
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.sketch import draw_phantom

OUT = Path(__file__).with_name("phantom_artefacts.png")
MACHINE = MACHINES[0].scaled(0.1)
FIRST_SEED = 40
N_COLOURS = 200
FRAME = (45, 45, 45)


def draw_tile(artefact: Artefact, number: int) -> NDArray[np.uint8]:
    """One phantom with its outline and the name of its artefact, (row, column, BGR)."""
    phantom = draw_phantom(
        FIRST_SEED + number,
        MACHINE,
        frozenset({artefact}),
        laterality=Laterality.LEFT if number % 3 else Laterality.RIGHT,
        view=View.CC if number % 2 else View.MLO,
    )
    grey = (phantom.pixels >> (MACHINE.bits_stored - 8)).astype(np.uint8)
    tile = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    outline, _ = cv2.findContours(phantom.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, outline, -1, (255, 200, 64), 1)
    tile = cv2.copyMakeBorder(tile, 2, 22, 2, 2, cv2.BORDER_CONSTANT, value=FRAME)
    words = artefact.value.replace("_", " ")
    cv2.putText(tile, words, (5, tile.shape[0] - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return np.asarray(tile, dtype=np.uint8)


def main() -> None:
    """Write the picture."""
    tiles = [draw_tile(artefact, number) for number, artefact in enumerate(Artefact)]
    half = len(tiles) // 2
    sheet = np.vstack([np.hstack(tiles[:half]), np.hstack(tiles[half:])])[..., ::-1]
    Image.fromarray(np.ascontiguousarray(sheet)).quantize(N_COLOURS).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
