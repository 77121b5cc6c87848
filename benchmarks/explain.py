"""Where the heat maps of a trained network point: the pointing game on phantoms, of which every lesion is known.

`small` is trained on a synthetic cohort as in `learning.py`; it needs the weights below MAMMOSCOPE_REAL_DATA, and goes
on where it was stopped. Its network then explains the images of patients of another seed, who all have cancer in one
breast. A case is detected where its breast scores above 90 % of the held-out controls. A hit: the highest peak of an
image lies in the box of a malignant lesion. Shares have intervals over patients.

- ours: HiResCAM, in the mean over the recipe's flips, each place where it looks
- last map: the same at the last feature map, whatever the size of its places
- tiles: as ours, each place at the middle of its tile of the picture, as maps are drawn by most
- no flips: the same from the picture as it is
- random weights: the sanity check; a map that shows the anatomy and not what was learned would hit as often
- chance: the share of the breast's box that lesions cover

Usage: python benchmarks/explain.py [--work work/learning] [--out benchmarks/results/explain.json]
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from learning import Bench, measure_run, run_phantoms
from learning_runs import PHANTOMS
from mammoscope.evaluation.bootstrap import bootstrap_over_patients, number_patients, percentile_interval
from mammoscope.evaluation.peaks import Peak, find_peaks, find_peaks_of_file, hits
from mammoscope.evaluation.scores import list_breasts, read_scores
from mammoscope.imaging.breast import Box
from mammoscope.imaging.canvas import CanvasPixels
from mammoscope.imaging.store import PreparedStore, open_store
from mammoscope.inference.bundle import Bundle, open_bundle
from mammoscope.inference.engine import score_pictures
from mammoscope.inference.heat import HeatMapper, input_shape, measure_offset
from mammoscope.learning.logits import combine_to_breasts
from mammoscope.learning.network import build_network
from mammoscope.learning.scoring import tabulate_scores
from mammoscope.phantom.lesions import TRAITS, LesionKind
from reporting import LEAST_RUNS, describe, write_report

PACKAGES = ("torch", "timm", "numpy", "polars")
MEASURED = ("src/mammoscope/inference", "src/mammoscope/evaluation/peaks.py", "benchmarks")
SPECIFICITY = 0.9
N_PATIENTS, BATCH = 40, 16
N_REPLICATES, CONFIDENCE = 2000, 0.95
N_NEAR = 3
WAYS = (
    "highest peak in the box",
    "highest peak within the radius",
    f"one of {N_NEAR} peaks in the box",
    "share of the heat in the highest peak",
)


@dataclass(frozen=True, slots=True)
class Game:
    """The images of breasts with cancer, their lesions, and which of them are of a detected case."""

    rows: pl.DataFrame
    store: PreparedStore
    lesions: pl.DataFrame
    is_detected: np.ndarray

    @property
    def pictures(self) -> list[CanvasPixels]:
        """The prepared images, in the order of the rows."""
        return [self.store.read(image_id) for image_id in self.rows["image_id"]]

    def boxes(self, image_id: str) -> list[Box]:
        """The boxes of the malignant lesions of an image, in pixels of its file."""
        of_image = self.lesions.filter(pl.col("image_id") == image_id)
        return [
            Box(*each) for each in of_image.select("row_start", "column_start", "row_stop", "column_stop").iter_rows()
        ]

    def is_within_radius(self, image_id: str, peak: Peak) -> bool:
        """Whether a peak lies within the radius of a lesion, which is less than its box."""
        for row in self.lesions.filter(pl.col("image_id") == image_id).iter_rows(named=True):
            half = (row["row_stop"] - row["row_start"]) / 2
            radius = half / TRAITS[LesionKind(row["kind"])].reach
            centre = ((row["row_start"] + row["row_stop"]) / 2, (row["column_start"] + row["column_stop"]) / 2)
            if np.hypot(peak.row - centre[0], peak.column - centre[1]) <= radius:
                return True
        return False


def make_game(bench: Bench, run: Path, bundle: Bundle) -> Game:
    """The patients of another seed, prepared, scored, and held against the held-out controls of the run."""
    folder, cohort, store_path = (bench.work / f"pointing{part}" for part in ("", "-cohort", "-store"))
    if not folder.exists():
        bench.call("synthesize", folder, "--patients", N_PATIENTS, "--prevalence", 1, "--seed", 2, "--scale", 0.2)
    if not (cohort / "manifest.parquet").exists():
        table, images = folder / "train.csv", folder / "train_images"
        bench.call("index", "rsna", "--table", table, "--images", images, "-o", cohort)
    bench.call("prepare", cohort, "-o", store_path, "--size", "320x192", "--bits", 8)
    store = open_store(store_path)
    manifest = pl.read_parquet(cohort / "manifest.parquet")
    rows = manifest.filter(pl.col("cancer") & pl.col("image_id").is_in(store.image_ids)).sort("image_id")
    lesions = pl.read_parquet(folder / "truth.parquet").filter(pl.col("malignant"))
    return Game(rows, store, lesions, find_detected(rows, store, bundle, controls_of(run)))


def controls_of(run: Path) -> np.ndarray:
    """The scores of the held-out breasts without cancer."""
    return list_breasts(read_scores(run / "scores.parquet")).filter(~pl.col("cancer"))["score"].to_numpy()


def find_detected(rows: pl.DataFrame, store: PreparedStore, bundle: Bundle, controls: np.ndarray) -> np.ndarray:
    """Whether the breast of each image scores above most controls, (image,)."""
    pictures = [store.read(image_id) for image_id in rows["image_id"]]
    (logits,) = score_pictures(bundle, pictures)
    ways = bundle.recipe.views.combine
    images = tabulate_scores(rows, logits, ways).filter(pl.col("level") == "image")
    breasts = combine_to_breasts(images, [logits], ways).select("exam_id", "laterality", breast="score")
    scores = rows.join(breasts, on=["exam_id", "laterality"], how="left", maintain_order="left")["breast"].to_numpy()
    is_detected: np.ndarray = scores > np.quantile(controls, SPECIFICITY)
    return is_detected


def play(game: Game, mapper: HeatMapper) -> dict[str, object]:
    """How often the highest peak hits, over the images of detected cases and over all cases."""
    outcomes = np.array([judge(game, *each) for each in point(game, mapper)], dtype=float)  # (image, way)
    patients = number_patients(game.rows["patient_id"].to_list())
    figures: dict[str, object] = {}
    for title, chosen in (("detected cases", game.is_detected), ("all cases", np.ones(len(outcomes), dtype=bool))):
        shares = {name: estimate(outcomes[:, way], chosen, patients) for way, name in enumerate(WAYS)}
        figures[title] = {"images": int(chosen.sum()), **shares}
    return figures


def point(game: Game, mapper: HeatMapper) -> list[tuple[str, tuple[Peak, ...]]]:
    """The peaks of each image, in pixels of its file."""
    pictures, image_ids = game.pictures, game.rows["image_id"].to_list()
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    heats = [heat for batch in batches for heat in mapper.explain(batch).heats]
    return [
        (
            image_id,
            find_peaks_of_file(heat, game.store.placement(image_id)),
        )
        for image_id, heat in zip(image_ids, heats, strict=True)
    ]


def judge(game: Game, image_id: str, peaks: Sequence[Peak]) -> tuple[float, ...]:
    """What is measured of the peaks of an image, in the order of `WAYS`."""
    boxes = game.boxes(image_id)
    first = peaks[:1]
    return (
        float(any(hits(peak, boxes) for peak in first)),
        float(any(game.is_within_radius(image_id, peak) for peak in first)),
        float(any(hits(peak, boxes) for peak in peaks[:N_NEAR])),
        sum(peak.share for peak in first),
    )


def estimate(values: np.ndarray, chosen: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    """The mean over the chosen images, with its interval over patients."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        weights = counts[:, patients] * chosen  # (replicate, image)
        with np.errstate(invalid="ignore"):
            mean: np.ndarray = (weights @ values / weights.sum(axis=1))[:, None]  # (replicate, 1)
        return mean

    rng = np.random.default_rng(0)
    replicates = bootstrap_over_patients(statistic, patients, n_replicates=N_REPLICATES, rng=rng)
    interval = percentile_interval(replicates[:, 0], CONFIDENCE)
    value = float(values[chosen].mean()) if chosen.any() else float("nan")
    return {"value": round(value, 4)} | (
        {} if interval is None else {"low": round(interval.low, 4), "high": round(interval.high, 4)}
    )


def chance_of(game: Game) -> float:
    """The share of the box that was cut out of an image that its lesions' boxes cover, in the mean."""
    shares = []
    for image_id in game.rows["image_id"]:
        cut = game.store.placement(image_id).box
        covered = np.zeros((cut.rows, cut.columns), dtype=bool)
        for box in game.boxes(image_id):
            covered[
                max(0, box.top - cut.top) : box.bottom - cut.top, max(0, box.left - cut.left) : box.right - cut.left
            ] = True
        shares.append(covered.mean())
    return round(float(np.mean(shares)), 4)


def without_flips(bundle: Bundle) -> Bundle:
    """The bundle with a recipe that looks at a picture once."""
    scoring = bundle.recipe.scoring.model_copy(update={"flips": "none"})
    return replace(bundle, run=replace(bundle.run, recipe=bundle.recipe.model_copy(update={"scoring": scoring})))


def with_random_weights(bundle: Bundle) -> Bundle:
    """The bundle with a network of the same build that has learned nothing."""
    torch.manual_seed(0)
    return replace(bundle, networks=(build_network(bundle.recipe).eval(),))


def at_last_map(mapper: HeatMapper) -> HeatMapper:
    """The mapper that explains by the last feature map."""
    mapper.stage = None
    mapper.offset = measure_offset(mapper.bundle.networks[0], input_shape(mapper.bundle), mapper.bundle.device)
    return mapper


def at_tiles(mapper: HeatMapper) -> HeatMapper:
    """The mapper with each place at the middle of its tile."""
    mapper.offset = 0.0
    return mapper


def time_in_turns(game: Game, mapper: HeatMapper) -> dict[str, object]:
    """Milliseconds for a heat map and its peaks, against those of the score alone; in turns, after a warm-up."""
    pictures = game.pictures[:BATCH]
    ways: dict[str, Callable[[], object]] = {
        "heat map and peaks": lambda: [find_peaks(heat) for heat in mapper.explain(pictures).heats],
        "score": lambda: score_pictures(mapper.bundle, pictures),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(LEAST_RUNS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if number:
                milliseconds[name].append(1000 * (time.perf_counter() - started) / len(pictures))
    ratio = [ours / other for ours, other in zip(*milliseconds.values(), strict=True)]
    times: dict[str, object] = {f"ms for a picture, {name}": describe(each) for name, each in milliseconds.items()}
    return times | {"ratio": describe(ratio)}


def measure(bench: Bench) -> dict[str, object]:
    """Train, or take what is trained, and play."""
    run_phantoms(bench)
    run = bench.work / "runs" / "phantom" / PHANTOMS.folder
    bundle = open_bundle(run, torch.device("cpu"))
    game = make_game(bench, run, bundle)
    mapper = HeatMapper(bundle)
    random = with_random_weights(bundle)
    return {
        "trained": measure_run(run),
        "cases": game.rows["patient_id"].n_unique(),
        "detected": game.rows.filter(pl.Series(game.is_detected))["patient_id"].n_unique(),
        "stage": "last map" if mapper.stage is None else mapper.stage.name,
        "offset in places": round(mapper.offset, 3),
        "chance": chance_of(game),
        "ours": play(game, mapper),
        "last map": play(game, at_last_map(HeatMapper(bundle))),
        "tiles": play(game, at_tiles(HeatMapper(bundle))),
        "no flips": play(game, HeatMapper(without_flips(bundle))),
        "no flips, tiles": play(game, at_tiles(HeatMapper(without_flips(bundle)))),
        "random weights": play(game, HeatMapper(random)),
        "time": time_in_turns(game, mapper),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/learning"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/explain.json"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if "MAMMOSCOPE_REAL_DATA" not in os.environ:
        sys.exit("MAMMOSCOPE_REAL_DATA: not set, expected the folder of the weights; see docs/real-data.md")
    results = measure(Bench(arguments.work, Path(os.environ["MAMMOSCOPE_REAL_DATA"])))
    write_report(arguments.out, results, suite="explain", packages=PACKAGES, measured=MEASURED)


if __name__ == "__main__":
    main()
