"""Draws docs/images/explain.png: the hang of the phantom exam with the highest score, explained by a trained run.

Usage: python docs/images/draw_explain.py RUN FOLDER_OF_PHANTOMS
"""

import sys
from pathlib import Path

import torch

from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.decoders import decode_here
from mammoscope.inference.explain import explain_files
from mammoscope.inference.heat import HeatMapper
from mammoscope.inference.heat_pictures import Shown, draw_hang, find_top, save
from mammoscope.inference.reading import PreparedFile, prepare_file, tasks_from_folder

OUTPUT = Path(__file__).with_name("explain.png")
MOST_FILES = 40


def main() -> None:
    """Explain, choose and draw."""
    run, folder = map(Path, sys.argv[1:])
    mapper = HeatMapper(open_bundle(run, torch.device("cpu")))
    tasks = tasks_from_folder(folder, mapper.bundle.prepare)[:MOST_FILES]
    images = explain_files(mapper, tasks, decode=decode_here, advance=lambda _: None).images
    best = max(images, key=lambda image: image.said.breast_score).mammogram.exam_id
    shown = []
    for image in images:
        prepared = prepare_file(image.task) if image.mammogram.exam_id == best else None
        if isinstance(prepared, PreparedFile):
            shown.append(Shown(image, prepared.pixels))
    save(draw_hang(shown, find_top(each.image.heat for each in shown)), OUTPUT)


if __name__ == "__main__":
    main()
