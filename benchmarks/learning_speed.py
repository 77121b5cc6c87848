"""How fast a training learns: ours, and a plain loop written afresh, with the same network and picture size, in turns.

The plain loop is what most people write: PNG files opened with Pillow, torchvision's transforms in two loader
processes, single precision (half with a gradient scaler on a GPU), no channels-last, AdamW. Ours is `mammoscope train`:
prepared pictures of a store, changes in batches on the device, bf16 where the hardware computes in it, channels-last,
averaged weights; as the recipe `small` is, and with `compute.compile`, which gives the same sooner. On a CPU the
network is MobileNetV2 at 320 x 192; on a GPU they are EfficientNet-B4 and ConvNeXt-small at 1024 x 512. What is
counted is samples per second from the fourth step to the last; the data path is timed alone too.

Usage: python benchmarks/learning_speed.py [--runs 5] [--out benchmarks/results/learning_speed.json]
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import polars as pl
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from mammoscope.cohort.manifest import SCHEMA
from mammoscope.imaging.batch import PrepareJob, prepare_store
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.imaging.store import PreparedStore, open_store
from mammoscope.learning.batches import EpochSampler, EpochShare, StorePictures, training_batches
from mammoscope.learning.recipe import read_recipe
from mammoscope.learning.run import start_run
from mammoscope.learning.settings import Recipe
from mammoscope.learning.task import to_training_input
from mammoscope.learning.training import train_fold
from reporting import describe, read_arguments, write_report

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = ("torch", "torchvision", "timm", "lightning", "pillow", "numpy")
MEASURED = ("src/mammoscope/learning", "benchmarks")
BATCH, N_STEPS, N_WARM_UP = 16, 10, 3
# dense half precision without sparsity, by NVIDIA's data sheets: H100 SXM and H200 989 TFLOP/s, A100 312
PEAK_BY_NAME = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True, slots=True)
class Contest:
    """A network and a picture size, on a device."""

    backbone: str
    rows: int
    columns: int
    device: torch.device


CPU, GPU = torch.device("cpu"), torch.device("cuda")
CONTESTS_BY_DEVICE = {
    "cpu": [Contest("mobilenetv2_100", 320, 192, CPU)],
    "cuda": [Contest("efficientnet_b4", 1024, 512, GPU), Contest("convnext_small", 1024, 512, GPU)],
}


class PngPictures(Dataset[tuple[torch.Tensor, float]]):
    """PNG files through torchvision's transforms, one at a time."""

    def __init__(self, paths: list[Path], contest: Contest) -> None:
        self.paths = paths
        self.change = transforms.Compose(
            [
                transforms.Resize((contest.rows, contest.columns), antialias=True),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.RandomAffine(15, translate=(0.06, 0.06), scale=(0.87, 1.18), shear=5),
                transforms.ColorJitter(brightness=0.2, contrast=0.2),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, float]:
        return self.change(Image.open(self.paths[number])), float(number % 2)


def learn_plainly(contest: Contest, paths: list[Path]) -> float:
    """Samples per second of the plain loop."""
    loader = DataLoader(PngPictures(paths, contest), BATCH, shuffle=True, num_workers=2, drop_last=True)
    network = timm.create_model(contest.backbone, in_chans=1, num_classes=1).to(contest.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    is_gpu = contest.device.type == "cuda"
    scaler = torch.amp.GradScaler(contest.device.type, enabled=is_gpu)
    stamps = []
    for pictures, targets in loader:
        with torch.autocast(contest.device.type, torch.float16, enabled=is_gpu):
            logits = network(pictures.to(contest.device))[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.to(contest.device).float())
        optimizer.zero_grad()
        torch.autograd.backward(scaler.scale(loss))
        scaler.step(optimizer)
        scaler.update()
        loss.item()  # as a progress bar asks for it at each step
        stamps.append(time.perf_counter())
    return _rate(stamps)


def learn_ours(
    contest: Contest, manifest: pl.DataFrame, store: PreparedStore, folder: Path, *, is_compiled: bool = False
) -> float:
    """Samples per second of a fold of `mammoscope train`."""
    made_from = {"manifest_hash": "drawn", "store_hash": store.content_hash}
    recipe = make_recipe(contest, "compute.compile=true") if is_compiled else make_recipe(contest)
    run = start_run(folder, recipe, store.settings, made_from=made_from)
    stamps: list[float] = []
    train_fold(run, manifest, store, fold=0, on_step=lambda _: stamps.append(time.perf_counter()))
    return _rate(stamps)


def deliver_ours(contest: Contest, manifest: pl.DataFrame, store: PreparedStore) -> float:
    """Samples per second of our data path alone: store, batches, changes on the device."""
    recipe, rows = make_recipe(contest), manifest.filter(pl.col("fold") == 1)
    generator = torch.Generator().manual_seed(0)
    stamps = []
    for batch in training_batches(StorePictures(rows, store), EpochShare(EpochSampler(rows, recipe, fold=0))):
        on_device = batch._replace(pictures=batch.pictures.to(contest.device))
        to_training_input(on_device, recipe, generator=generator)[0, 0, 0, 0].item()
        stamps.append(time.perf_counter())
    return _rate(stamps)


def make_recipe(contest: Contest, *further: str) -> Recipe:
    """The recipe `small` with another network, for one epoch."""
    changes = [f"backbone.name={contest.backbone}", "backbone.weights=none", "epochs=1", f"batch.size={BATCH}"]
    return read_recipe("small", [*changes, *further])


def _rate(stamps: list[float]) -> float:
    return (len(stamps) - N_WARM_UP) * BATCH / (stamps[-1] - stamps[N_WARM_UP - 1])


def draw_cohort(folder: Path, contest: Contest) -> tuple[pl.DataFrame, PreparedStore, list[Path]]:
    """PNG files of the contest's size, the manifest of their cohort, and its store; fold 1 is learned from."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[0 : contest.rows, 0 : contest.columns]
    inside = np.hypot((row / contest.rows - 0.5) / 0.45, column / contest.columns / 0.9) < 1  # half a disc
    paths = []
    for number in range(BATCH * N_STEPS + 2):
        paths.append(folder / f"{number}.png")
        texture = cv2.GaussianBlur(rng.normal(128, 60, inside.shape), (0, 0), 1.5)
        cv2.imwrite(str(paths[-1]), np.where(inside, texture.clip(40, 255), 0).astype(np.uint8))
    jobs = [PrepareJob(path.stem, str(path)) for path in paths]
    settings = PrepareSettings(rows=contest.rows, columns=contest.columns, bits=8)
    prepare_store(jobs, folder / "store", settings, run_tasks=map, advance=lambda _: None)
    return _describe_rows(paths), open_store(folder / "store"), paths[2:]


def _describe_rows(paths: list[Path]) -> pl.DataFrame:
    """Every other picture a case; the first two are held out."""
    rows = [
        dict.fromkeys(SCHEMA)
        | {"image_id": path.stem, "patient_id": f"p{number}", "exam_id": f"e{number}", "source": "drawn"}
        | {"laterality": "L", "view": "CC", "cancer": number % 2 == 0, "fold": int(number > 1), "path": str(path)}
        for number, path in enumerate(paths)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def hold(contest: Contest, n_runs: int) -> dict[str, object]:
    """The contest, in turns: samples per second of both, the ratio run by run, the data path, memory, share of peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, store, paths = draw_cohort(folder, contest)
        ways: dict[str, Callable[[int], float]] = {
            "plain": lambda _: learn_plainly(contest, paths),
            "ours": lambda run: learn_ours(contest, manifest, store, folder / f"run{run}"),
            "ours_compiled": lambda run: learn_ours(
                contest, manifest, store, folder / f"compiled{run}", is_compiled=True
            ),
            "data_path": lambda _: deliver_ours(contest, manifest, store),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        memory = {}
        for run in range(n_runs + 1):  # the first warms up
            for way, measure in ways.items():
                if contest.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(contest.device)
                rates[way].append(measure(run))
                memory[way] = _read_memory(contest.device)
    rates = {way: each[1:] for way, each in rates.items()}
    ratios, compiled, surplus = (
        [one / other for one, other in zip(rates[first], rates[second], strict=True)]
        for first, second in (("ours", "plain"), ("ours_compiled", "plain"), ("data_path", "ours_compiled"))
    )
    return {
        "device": _name_device(contest.device),
        "samples_per_second": {way: describe(each) for way, each in rates.items()},
        "ours_to_plain": describe(ratios),
        "ours_compiled_to_plain": describe(compiled),
        "data_path_to_ours_compiled": describe(surplus),
        **_describe_gpu(contest, rates["ours"], memory),
    }


def _name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _read_memory(device: torch.device) -> float | None:
    """The most memory of a GPU that was taken, in GiB."""
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None


def _describe_gpu(contest: Contest, rates: list[float], memory: dict[str, float | None]) -> dict[str, object]:
    """The most memory that was taken, and the share of the GPU's dense half-precision peak."""
    if contest.device.type != "cuda":
        return {}
    peaks = [peak for name, peak in PEAK_BY_NAME.items() if name in torch.cuda.get_device_name(contest.device)]
    per_sample = 3 * count_flops(contest)  # backward takes twice as much as forward
    return {
        "most_memory_gib": memory,
        "share_of_peak": describe([rate * per_sample / peaks[0] for rate in rates]) if peaks else "peak not known",
    }


def count_flops(contest: Contest) -> float:
    """The floating-point operations of one sample going forward."""
    network: Any = timm.create_model(contest.backbone, in_chans=1, num_classes=1).to("meta")
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.empty(1, 1, contest.rows, contest.columns, device="meta"))
    return float(counter.get_total_flops())


def main() -> None:
    """Hold the contests of this machine."""
    n_runs, out = read_arguments(__doc__, "learning_speed")
    contests = CONTESTS_BY_DEVICE["cuda" if torch.cuda.is_available() else "cpu"]
    held = {f"{each.backbone} at {each.rows} x {each.columns}": hold(each, n_runs) for each in contests}
    results: dict[str, object] = {"runs": n_runs, **held}
    if not torch.cuda.is_available():
        results["GPU"] = "not run: this machine has none"
    write_report(out, results, suite="learning_speed", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
