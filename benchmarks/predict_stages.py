"""What `predict.py` measures: a whole prediction, the way of people, and each stage alone."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import torch
from pydicom import dcmread

from mammoscope.cohort.manifest import write_manifest
from mammoscope.cohort.sources.rsna import find_images, read_rsna_table
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.bundle import open_bundle
from mammoscope.inference.decoders import decode_apart
from mammoscope.inference.engine import Engine, open_engine
from mammoscope.inference.inputs import read_inputs
from mammoscope.inference.predict import choose_batch_size
from mammoscope.inference.reading import PreparedFile
from mammoscope.inference.session import Options, Session, Surroundings
from mammoscope.learning.run import Run
from mammoscope.scaling import count_cores
from memory import watch_memory
from random_run import make_random_run
from reporting import describe

N_COMPETITION = 54_706
N_COPIES = 4  # of each file, so that a run is not its start


@dataclass(frozen=True, slots=True)
class Kind:
    """A network with the size of its pictures, and how many images a second are wanted."""

    backbone: str
    prepare: PrepareSettings
    wanted_per_s: float

    @property
    def name(self) -> str:
        """As in the report."""
        return f"{self.backbone}, {self.prepare.rows} x {self.prepare.columns}"


KINDS = (
    Kind("efficientnet_b4", PrepareSettings(rows=1024, columns=512, bits=16), 4.0),
    Kind("mobilenetv2_100", PrepareSettings(rows=512, columns=256, bits=16), 15.0),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """A prediction: seconds in all, files a second once it runs, and how its cores were used."""

    whole_s: float
    files_per_s: float
    share_by_core: tuple[float, ...]
    own_share: float


def find_real_files(real_data: Path) -> pl.DataFrame:
    """The manifest of the competition's files that are here."""
    rsna = real_data / "rsna"
    parts = []
    for table, folder in (("train.csv", "train_images"), ("test.csv", "test_images")):
        rows = read_rsna_table(rsna / table, with_outcomes=False).drop("path")
        parts.append(find_images(rows, rsna / "dicom" / folder, allow_missing=True).manifest)
    return pl.concat(parts, how="diagonal")


def write_copies(manifest: pl.DataFrame, folder: Path, *, n_copies: int) -> Path:
    """A cohort in which each file stands so many times, each time as another patient's, by links."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for copy in range(n_copies):
        for row in manifest.iter_rows(named=True):
            link = folder / "images" / f"{row['image_id']}_{copy}.dcm"
            link.symlink_to(row["path"])
            names = {name: f"{row[name]}_{copy}" for name in ("image_id", "patient_id", "exam_id")}
            rows.append(row | names | {"path": str(link)})
    write_manifest(pl.DataFrame(rows, schema=manifest.schema), folder / "cohort")
    return folder / "cohort"


def score_like_people(run: Run, paths: Sequence[Path]) -> float:
    """Seconds for a file, one at a time."""
    network, settings = open_bundle(run.path, torch.device("cpu")).networks[0], run.prepare
    start = time.perf_counter()
    with torch.inference_mode():
        for path in paths:
            dataset = dcmread(path)
            pixels = dataset.pixel_array.astype(np.float32)
            grey = (pixels - pixels.min()) / (pixels.max() - pixels.min())
            if dataset.PhotometricInterpretation == "MONOCHROME1":
                grey = 1 - grey
            resized = cv2.resize(grey, (settings.columns, settings.rows))
            torch.sigmoid(network(torch.from_numpy(resized)[None, None]).cancer).item()
    return (time.perf_counter() - start) / len(paths)


def predict_ours(engine: Engine, run: Run, cohort: Path, output: Path) -> Timed:
    """One whole prediction."""
    done: list[tuple[float, int]] = []

    @contextmanager
    def note(_total: int) -> Iterator[Callable[[int], None]]:
        yield lambda n: done.append((time.perf_counter(), n)) if n else None

    session = Session(
        engine=engine,
        folder=run.path,
        places=(cohort.parent / "images",),
        table=cohort,
        output=output,
        options=Options(n_workers=count_cores()),
        around=Surroundings(progress=note, say=lambda _: None),
    )
    start, cores, own = time.perf_counter(), read_cores(), sum(os.times()[:4])
    session.run()
    whole_s = time.perf_counter() - start
    shares = [
        busy / total if total else 0.0
        for busy, total in (_since(*both) for both in zip(cores, read_cores(), strict=True))
    ]
    n_files, taken_s = sum(n for _, n in done[1:]), done[-1][0] - done[0][0]
    own_share = (sum(os.times()[:4]) - own) / whole_s / count_cores()
    return Timed(whole_s, n_files / taken_s, tuple(round(share, 3) for share in shares), own_share)


def read_cores() -> list[tuple[int, int]]:
    """Of each core the ticks that it computed, and all; nothing where the system does not tell."""
    stat = Path("/proc/stat")
    lines = stat.read_text(encoding="ascii").splitlines() if stat.exists() else []
    ticks = [[int(each) for each in line.split()[1:9]] for line in lines if line[:3] == "cpu" and line[3].isdigit()]
    return [(sum(each) - each[3] - each[4], sum(each)) for each in ticks]  # 3 and 4: idle, waiting


def _since(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]


def decode_alone(engine: Engine, cohort: Path) -> tuple[float, list[CanvasPixels]]:
    """Seconds for a file with all cores decoding and nothing else, once they run; and the pictures."""
    tasks = read_inputs([cohort.parent / "images"], cohort, engine.prepare).tasks
    n_cores, arrived = count_cores(), []
    pictures = []
    for outcome in decode_apart(tasks, n_workers=n_cores, n_ahead=4 * n_cores):
        arrived.append(time.perf_counter())
        if isinstance(outcome, PreparedFile):
            pictures.append(outcome.pixels)
    skipped = 4 * n_cores  # were under way when the first came
    return (arrived[-1] - arrived[skipped]) / (len(arrived) - 1 - skipped), pictures


def network_alone(engine: Engine, pictures: Sequence[CanvasPixels]) -> float:
    """Seconds for a picture with all cores at the network and nothing else."""
    size = choose_batch_size(engine.prepare, on_gpu=engine.is_on_gpu)
    batches = [pictures[first : first + size] for first in range(0, len(pictures), size)]
    engine.score(batches[0], None)
    start = time.perf_counter()
    for batch in batches:
        engine.score(batch, None)
    return (time.perf_counter() - start) / len(pictures)


def compare(
    kind: Kind, manifest: pl.DataFrame, folder: Path, *, n_runs: int, n_copies: int = N_COPIES
) -> dict[str, Any]:
    """Ours, the alternative and the stages alone, over runs in turns after one warm-up."""
    run = make_random_run(folder / "run", kind.backbone, kind.prepare, changes=["precision=auto"])
    engine = open_engine(run.path, device="cpu")
    cohort = write_copies(manifest, folder / "copies", n_copies=n_copies)
    paths = [Path(path) for path in manifest["path"]]
    ours: list[Timed] = []
    people_s: list[float] = []
    stages_s: list[tuple[float, float]] = []
    with watch_memory() as gib:
        predict_ours(engine, run, cohort, folder / "watched")
    for number in range(n_runs + 1):
        ways: list[Callable[[], None]] = [
            partial(_append, ours, partial(predict_ours, engine, run, cohort, folder / f"out{number}")),
            partial(_append, people_s, partial(score_like_people, run, paths)),
            partial(_append, stages_s, partial(_time_stages, engine, cohort)),
        ]
        for way in ways[:: -1 if number % 2 else 1]:
            way()
    kept = slice(1, None) if n_runs else slice(None)  # without the warm-up
    computed = {"engine": engine.name, "precision": engine.precision, "peak_gib_of_all_processes": round(max(gib), 2)}
    return computed | summarise(kind, ours[kept], people_s[kept], stages_s[kept], n_files=len(paths) * n_copies)


def _append(kept: list[Any], measure: Callable[[], object]) -> None:
    kept.append(measure())


def _time_stages(engine: Engine, cohort: Path) -> tuple[float, float]:
    decode_s, pictures = decode_alone(engine, cohort)
    return decode_s, network_alone(engine, pictures)


def summarise(
    kind: Kind,
    ours: Sequence[Timed],
    people_s: Sequence[float],
    stages_s: Sequence[tuple[float, float]],
    *,
    n_files: int,
) -> dict[str, Any]:
    """The figures of one kind."""
    best_s = [sum(stages) for stages in stages_s]
    return {
        "n_files": n_files,
        "images_per_s": describe([each.files_per_s for each in ours]),
        "wanted_images_per_s": kind.wanted_per_s,
        "images_per_s_with_start_and_output": describe([n_files / each.whole_s for each in ours]),
        "images_per_s_like_people": describe([1 / seconds for seconds in people_s]),
        "ours_over_people": describe([each.files_per_s * s for each, s in zip(ours, people_s, strict=True)]),
        "hours_for_the_competition": describe([N_COMPETITION / each.files_per_s / 3600 for each in ours]),
        "s_to_decode_alone": describe([decode for decode, _ in stages_s]),
        "s_of_network_alone": describe([network for _, network in stages_s]),
        "loss_against_stages": describe([1 / each.files_per_s / s - 1 for each, s in zip(ours, best_s, strict=True)]),
        "share_that_each_core_computes": [each.share_by_core for each in ours],
        "share_that_is_ours": describe([each.own_share for each in ours]),
    }


def measure(real_data: Path, *, n_runs: int) -> dict[str, object]:
    """All figures of the suite."""
    torch.set_num_threads(count_cores())
    manifest = find_real_files(real_data)
    results: dict[str, object] = {"n_runs": n_runs}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as temporary:
            results[kind.name] = compare(kind, manifest, Path(temporary), n_runs=n_runs)
    return results
