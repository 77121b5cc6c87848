"""`mammoscope demo`: the whole way on a synthetic cohort, from DICOM files to a report and a submission."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mammoscope.cli.console import WorkersOption
from mammoscope.cli.evaluate import evaluate
from mammoscope.cli.index import index_rsna
from mammoscope.cli.predict import predict
from mammoscope.cli.prepare import prepare
from mammoscope.cli.split import split
from mammoscope.cli.synthesize import synthesize
from mammoscope.cli.train import train

# half of the patients have cancer, far more than in screening, so that a small cohort holds enough cases to learn from
_PREVALENCE = 0.5
_SCALE = 0.25
_N_FOLDS = 4


def demo(
    out: Annotated[Path, typer.Argument(help="The folder to write; the same command goes on with it.")] = Path("demo"),
    patients: Annotated[int, typer.Option(min=40, help="Patients to learn from and to judge by.")] = 240,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the cohort, the folds and the training.")] = 0,
    workers: WorkersOption = 0,
) -> None:
    """Run the main job on synthetic mammograms: synthesize, index, prepare, split, train, evaluate, predict.

    Example: mammoscope demo
    """
    started = time.monotonic()
    data, cohort, store, run, scores = (out / name for name in ("data", "cohort", "store", "run", "scores"))
    synthesize(data, patients=patients, prevalence=_PREVALENCE, seed=seed, held_out=8, scale=_SCALE, workers=workers)
    index_rsna(table=data / "train.csv", images=data / "train_images", cohort=cohort)
    split(cohort, folds=_N_FOLDS, seed=seed)
    prepare(cohort, output=store, size="256x128", bits=8, workers=workers)
    train("tiny", cohort=cohort, store=store, output=run, fold=0, assignments=[f"seed={seed}"])
    evaluate(run, store=store)
    predict(run, [data / "test_images"], table=data / "test.csv", output=scores, workers=workers)
    sys.stdout.write(
        f"\nThe demo took {time.monotonic() - started:.0f} s. Open in a browser: {run / 'report.html'}\n"
        f"Scores of the exams that were kept apart: {scores / 'scores.csv'}\n"
    )
