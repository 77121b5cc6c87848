"""How many pictures a second the network alone scores: OpenVINO in f32, bf16 and int8, against torch in f32, in turns.

EfficientNet-B4 at 1024 x 512 and MobileNetV2 at 512 x 256, with random weights, on all cores of this machine, as
`predict` calls them: prepared pictures in, probabilities out; nothing is read, decoded or prepared. Torch computes
batches of four, channels last. Random weights say nothing about what a precision costs: that is in the check of
`mammoscope export`.

Usage: python benchmarks/network.py [--runs 5] [--out benchmarks/results/network.json]
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from mammoscope.imaging.batch import PrepareJob, prepare_store
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore, open_store
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.check_pictures import draw_picture
from mammoscope.inference.engine import Engine
from mammoscope.inference.export import export_run
from mammoscope.inference.openvino_engine import open_openvino_engine
from mammoscope.inference.torch_engine import TorchEngine
from mammoscope.learning.network import build_network
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.run import Run, start_run
from mammoscope.learning.training import write_weights
from mammoscope.scaling import count_cores
from reporting import describe, read_arguments, write_report

PACKAGES = ("torch", "timm", "openvino", "nncf", "numpy")
MEASURED = ("src/mammoscope/inference", "src/mammoscope/learning", "benchmarks")
BATCH = 4


@dataclass(frozen=True, slots=True)
class Contest:
    """A network, the size of its pictures, and how many of them are scored in a run."""

    backbone: str
    rows: int
    columns: int
    n_pictures: int


CONTESTS = (Contest("efficientnet_b4", 1024, 512, 8), Contest("mobilenetv2_100", 512, 256, 32))


def draw_store(folder: Path, contest: Contest) -> PreparedStore:
    """Drawn pictures of the contest's size, prepared."""
    settings = PrepareSettings(rows=contest.rows, columns=contest.columns, bits=8)
    rng = np.random.default_rng(0)
    jobs = []
    for number in range(contest.n_pictures):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), draw_picture(settings, rng))
        jobs.append(PrepareJob(path.stem, str(path)))
    prepare_store(jobs, folder / "store", settings, run_tasks=map, advance=lambda _: None)
    return open_store(folder / "store")


def make_run(folder: Path, contest: Contest, store: PreparedStore) -> Run:
    """A run of one fold with random weights."""
    recipe = read_recipe("small", [f"backbone.name={contest.backbone}", "backbone.weights=none", "scoring.flips=none"])
    run = start_run(folder, recipe, store.settings, made_from={"store": str(store.path)})
    torch.manual_seed(0)
    write_weights(build_network(run.recipe), run.weights_path(0))
    return run


def open_engines(run: Run, store: PreparedStore) -> dict[str, Engine]:
    """The four ways to compute the networks of a run."""
    plain = export_run(run.path, run.path / "plain", n_pictures=2)
    whole_numbers = export_run(run.path, run.path / "int8", precision="int8", store=store, n_pictures=2)
    return {
        "torch f32": TorchEngine(open_bundle(run.path, torch.device("cpu")), "f32"),
        "openvino f32": open_openvino_engine(plain, precision="f32"),
        "openvino bf16": open_openvino_engine(plain, precision="bf16"),
        "openvino int8": open_openvino_engine(whole_numbers),
    }


def measure_rate(engine: Engine, pictures: Sequence[CanvasPixels]) -> float:
    """Pictures per second."""
    started = time.perf_counter()
    for start in range(0, len(pictures), BATCH):
        engine.score(pictures[start : start + BATCH])
    return len(pictures) / (time.perf_counter() - started)


def hold(contest: Contest, n_runs: int) -> dict[str, object]:
    """The contest, in turns after a warm-up: pictures per second of each way, and the ratio to torch run by run."""
    with tempfile.TemporaryDirectory() as name:
        store = draw_store(Path(name), contest)
        engines = open_engines(make_run(Path(name) / "run", contest, store), store)
        pictures = [store.read(image_id) for image_id in store.image_ids]
        rates: dict[str, list[float]] = {way: [] for way in engines}
        for _ in range(n_runs + 1):  # the first warms up
            for way, engine in engines.items():
                rates[way].append(measure_rate(engine, pictures))
    rates = {way: each[1:] for way, each in rates.items()}
    ratios = {
        way: describe([ours / plain for ours, plain in zip(each, rates["torch f32"], strict=True)])
        for way, each in rates.items()
        if way != "torch f32"
    }
    return {
        "pictures_per_second": {way: describe(each) for way, each in rates.items()},
        "times_as_fast_as_torch_f32": ratios,
    }


def main() -> None:
    """Hold the contests."""
    n_runs, out = read_arguments(__doc__, "network")
    torch.set_num_threads(count_cores())
    held = {f"{each.backbone} at {each.rows} x {each.columns}": hold(each, n_runs) for each in CONTESTS}
    write_report(out, {"runs": n_runs, **held}, suite="network", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
