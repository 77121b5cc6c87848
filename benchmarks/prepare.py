"""How fast a file becomes a prepared image: ours, and the way of a public baseline, in turns.

The baseline (RSNA 2023, EfficientNet-B4 on cropped mammograms): pydicom's `pixel_array`, min-max in float, inversion,
resize to 512 x 512, 8-bit PNG; then that PNG read again, threshold, connected components, crop, resize to 512 x 512,
PNG. Ours is the whole of a file's way into a store, with the header judged, the breast found, and hashes taken.

Usage: python benchmarks/prepare.py [--runs 5] [--out benchmarks/results/prepare.json]

It measures the competition's files under MAMMOSCOPE_REAL_DATA, where that is set, and phantoms in JPEG lossless.
"""

import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.pixels import get_decoder  # type: ignore[attr-defined]  # public, but not in its __all__
from pydicom.uid import UID

from mammoscope.imaging.batch import PrepareJob, ShardTask, prepare_shard, prepare_store
from mammoscope.imaging.header import read_header
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.phantom.dicom import Identity, encode_dicom
from mammoscope.phantom.machine import MACHINES
from mammoscope.phantom.patient import Assignment, plan_patient
from mammoscope.phantom.picture import draw_picture
from mammoscope.scaling import run_tasks
from reporting import describe, read_arguments, write_report

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = PrepareSettings(rows=512, columns=512, bits=8)
LARGE = PrepareSettings(rows=1024, columns=512, bits=16)
CANVASES = {"512 x 512, 8 bit": SMALL, "1024 x 512, 16 bit": LARGE}
PACKAGES = ("numpy", "pydicom", "pillow", "imagecodecs", "opencv-python-headless", "python-gdcm")

PHANTOM_SIZES = ((3328, 2560), (4096, 3328))
PHANTOM_KIND = "phantoms, {} x {}, 12 bit, JPEG lossless"
PROJECTED_CANVAS = "1024 x 512, 16 bit"
# Images of the competition: site 2 by the size of its machines, site 1 (JPEG lossless) all at the larger size.
COMPETITION = {
    (5355, 4915): 8_267,  # machine 29
    (2776, 2082): 16_920,  # machines 21 and 48
    (4096, 3328): 29_519,  # site 1
}
STAGES = {  # the functions whose time, with all that they call, is a stage
    "read": ("read_bytes",),
    "header": ("read_header",),
    "open": ("open_picture",),
    "decode": ("decode",),
    "breast": ("find_breast", "shrink_for_search"),
    "display": ("choose_display", "apply", "fill_padding"),
    "resize": ("resize_to_content",),
    "paint": ("paint",),
    "hash": ("sha256_of_bytes",),
    "write": ("add", "write_parquet"),
}


def prepare_like_the_baseline(path: Path, folder: Path) -> None:
    """The two pictures that the baseline makes of a file."""
    whole, cropped = folder / "whole.png", folder / "cropped.png"
    dataset = dcmread(path)
    pixels = dataset.pixel_array
    brightness: NDArray[np.float64] = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        brightness = 1 - brightness
    cv2.imwrite(str(whole), (cv2.resize(brightness, (512, 512)) * 255).astype(np.uint8))
    picture = np.asarray(cv2.imread(str(whole), cv2.IMREAD_GRAYSCALE))
    _, mask = cv2.threshold(picture, 20, 255, cv2.THRESH_BINARY)
    _, _, statistics_of_regions, _ = cv2.connectedComponentsWithStats(mask)
    left, top, width, height, _ = statistics_of_regions[1 + int(np.argmax(statistics_of_regions[1:, 4]))]
    cv2.imwrite(str(cropped), cv2.resize(picture[top : top + height, left : left + width], (512, 512)))


def prepare_ours(path: Path, folder: Path, settings: PrepareSettings) -> None:
    """A store of one shard with one picture."""
    job = PrepareJob(path.stem, str(path))
    prepare_shard(ShardTask(folder, 0, (job,), settings))
    for left in (folder / "shards").iterdir():
        left.unlink()


def measure(function: Callable[[Path], object], paths: Sequence[Path]) -> float:
    """Seconds per file."""
    start = time.perf_counter()
    for path in paths:
        function(path)
    return (time.perf_counter() - start) / len(paths)


def compare(paths: Sequence[Path], folder: Path, n_runs: int) -> dict[str, Any]:
    """Medians and ranges of all ways over runs in turns, after one warm-up, one process and one thread each."""
    (folder / "shards").mkdir(exist_ok=True)
    ways: dict[str, Callable[[Path], object]] = {"baseline": partial(prepare_like_the_baseline, folder=folder)}
    ways |= {name: partial(prepare_ours, folder=folder, settings=canvas) for name, canvas in CANVASES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(n_runs + 1):
        for name in sorted(ways, reverse=bool(run % 2)):
            taken = measure(ways[name], paths)
            if run:
                seconds[name].append(taken)
    results: dict[str, Any] = {"n_files": len(paths), "baseline_decoder": name_decoder(paths[0])}
    results["s_per_file"] = {name: describe(values) for name, values in seconds.items()}
    results["baseline_over_ours"] = {
        name: describe([b / o for b, o in zip(seconds["baseline"], seconds[name], strict=True)]) for name in CANVASES
    }
    return results


def name_decoder(path: Path) -> str:
    """The plug-in that pydicom takes first for a file."""
    return str(get_decoder(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID).available_plugins[0])


def profile(paths: Sequence[Path], folder: Path, settings: PrepareSettings) -> dict[str, float]:
    """Milliseconds per file in each stage, under a profiler, which makes them a little longer."""
    profiler = cProfile.Profile()
    for path in paths:
        prepare_ours(path, folder, settings)
        profiler.runcall(prepare_ours, path, folder, settings)
    spent: dict[str, float] = {}
    for (_, _, function), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]  # typeshed has no stats
        spent[function] = max(cumulative, spent.get(function, 0.0))  # the outer one of two functions of one name
    by_stage = {stage: sum(spent.get(name, 0.0) for name in names) for stage, names in STAGES.items()}
    by_stage["all"] = spent["prepare_shard"]
    return {stage: round(1000 * seconds / len(paths), 2) for stage, seconds in by_stage.items()}


def compare_workers(paths: Sequence[Path], folder: Path, n_runs: int) -> dict[str, Any]:
    """Pictures per second of a whole preparation with one worker and with two, in turns."""
    jobs = [PrepareJob(f"{turn}_{path.stem}", str(path)) for turn in range(4) for path in paths]
    rates: dict[int, list[float]] = {1: [], 2: []}
    for run in range(n_runs + 1):
        for n_workers in sorted(rates, reverse=bool(run % 2)):
            with tempfile.TemporaryDirectory(dir=folder) as store:
                start = time.perf_counter()
                runner = partial(run_tasks, n_workers=n_workers)
                prepare_store(jobs, Path(store, "store"), LARGE, run_tasks=runner, advance=lambda _: None)
                if run:
                    rates[n_workers].append(len(jobs) / (time.perf_counter() - start))
    return {
        "n_files": len(jobs),
        "pictures_per_s": {f"{n} workers": describe(values) for n, values in rates.items()},
        "two_over_one": describe([two / one for one, two in zip(rates[1], rates[2], strict=True)]),
    }


def sum_up(by_kind: dict[str, Any]) -> dict[str, float]:
    """Baseline over ours on all competition files together, by the medians of their kinds."""
    kinds = [kind for name, kind in by_kind.items() if name.startswith("competition")]
    spent = {
        way: sum(kind["n_files"] * kind["s_per_file"][way]["median"] for kind in kinds)
        for way in ("baseline", *CANVASES)
    }
    return {name: round(spent["baseline"] / spent[name], 2) for name in CANVASES} if kinds else {}


def project(results: dict[str, Any], two_over_one: float) -> dict[str, object]:
    """Hours for the whole competition on two cores, from the medians of its kinds."""
    by_size = {size: kind for size in COMPETITION for kind in results if "{} x {}".format(*size) in kind}
    if set(by_size) != set(COMPETITION):
        return {}
    seconds = sum(
        n_images * results[by_size[size]]["s_per_file"][PROJECTED_CANVAS]["median"]
        for size, n_images in COMPETITION.items()
    )
    return {
        "canvas": PROJECTED_CANVAS,
        "n_images": sum(COMPETITION.values()),
        "hours_on_2_cores": round(seconds / two_over_one / 3600, 3),
    }


def group_by_kind(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The files by size and encoding, as in '2776 x 2082, JPEG 2000 …'."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        header = read_header(path.read_bytes(), name=path.stem)
        kind = f"competition, {header.rows} x {header.columns}, {UID(str(header.transfer_syntax)).name}"
        groups.setdefault(kind, []).append(path)
    return dict(sorted(groups.items()))


def draw_phantoms(folder: Path, rows: int, columns: int) -> list[Path]:
    """The four views of a phantom patient, 12 bit, JPEG lossless."""
    usual = next(machine for machine in MACHINES if machine.encoding == "jpeg_lossless")
    machine = replace(usual, rows=rows, columns=columns, spacing_mm=usual.spacing_mm * usual.rows / rows)
    plan = plan_patient(
        Assignment(1, "train", machine, is_case=True),
        conspicuity=1.0,
        height_mm=rows * machine.spacing_mm,
        rng=np.random.default_rng(1),
    )
    paths = []
    for number, mammogram in enumerate(plan.mammograms, start=1):
        identity = Identity(
            patient_id=plan.assignment.patient_id,
            image_id=plan.image_id(mammogram),
            instance_number=number,
            age_years=plan.age_years,
            laterality=mammogram.laterality,
            view=mammogram.view,
            seed=1,
        )
        paths.append(folder / f"{rows}_{number}.dcm")
        paths[-1].write_bytes(encode_dicom(draw_picture(mammogram, machine), identity, machine))
    return paths


def find_kinds(folder: Path) -> dict[str, list[Path]]:
    """All files to measure, by kind."""
    real_data = os.environ.get("MAMMOSCOPE_REAL_DATA")
    kinds = group_by_kind(sorted(Path(real_data, "rsna", "dicom").rglob("*.dcm"))) if real_data else {}
    return kinds | {PHANTOM_KIND.format(*size): draw_phantoms(folder, *size) for size in PHANTOM_SIZES}


def main() -> None:
    """Measure, print and write."""
    n_runs, out = read_arguments(__doc__, "prepare")
    cv2.setNumThreads(1)  # as in a worker, and for both ways
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kinds = find_kinds(folder)
        by_kind = {kind: compare(paths, folder, n_runs) for kind, paths in kinds.items()}
        workers = compare_workers([path for paths in kinds.values() for path in paths], folder, n_runs)
        stages = {
            kind: {name: profile(paths, folder, canvas) for name, canvas in CANVASES.items()}
            for kind, paths in kinds.items()
        }
    results: dict[str, object] = {
        "n_runs": n_runs,
        "by_kind": by_kind,
        "competition_files": sum_up(by_kind),
        "workers": workers,
        "projection": project(by_kind, workers["two_over_one"]["median"]),
        "ms_in_stages": stages,
    }
    write_report(out, results, suite="prepare", packages=PACKAGES, measured=["src/mammoscope/imaging"])


if __name__ == "__main__":
    main()
