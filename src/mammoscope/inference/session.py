"""A prediction from its inputs to its folder: what `mammoscope predict` does, without arguments and printing."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mammoscope.errors import UserInputError
from mammoscope.files import sha256_of_bytes
from mammoscope.imaging.batch import Rejection
from mammoscope.inference.collect import Prediction, collect_prediction
from mammoscope.inference.decisions import RunFigures, make_decisions, read_figures
from mammoscope.inference.engine import Engine, OpenEngine
from mammoscope.inference.flags import count_unlike
from mammoscope.inference.inputs import ScoringInput, choose_decoders, read_inputs
from mammoscope.inference.journal import Journal, keep_journal
from mammoscope.inference.order import may_reach
from mammoscope.inference.outputs import (
    SUMMARY_NAME,
    SUMMARY_VERSION,
    describe_prediction,
    refuse_another,
    write_prediction,
)
from mammoscope.inference.pace import Pace, TimeLimit
from mammoscope.inference.predict import PictureCheck, Pipeline, choose_batch_size, choose_part_size, warn_of_nothing
from mammoscope.inference.refusals import tell_refused
from mammoscope.inference.submission import make_submission

Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""A bar over so many files; within it, the function that hears how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a prediction is made; `batch_size` and `part_size` are chosen where they are None."""

    n_workers: int
    limit: TimeLimit | None = None
    is_resumed: bool = False
    batch_size: int | None = None
    part_size: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A prediction that is written: the facts of its summary, and what it came to; None where it was there already.

    `refused` are the files that cannot be used, by path, as people are told of them; `n_missing` images have none.
    """

    summary: Mapping[str, object]
    prediction: Prediction | None
    refused: tuple[Rejection, ...] = ()
    n_missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a prediction has of the world: the clock in seconds, a bar, somebody who hears sentences."""

    clock: Callable[[], float] = time.monotonic
    progress: Progress
    say: Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Session:
    """One prediction: the networks, the pictures, the folder.

    Attributes:
        engine: the networks.
        folder: the run, or exported networks, for what its held-out breasts say.
        places: of the pictures.
        table: whose they are, or None for their headers.
        output: the folder.
        options: how it is made.
        around: clock, bar and listener.
        open_engine: gives an engine of some of the networks; None: the engine itself.
        check_pictures: finds what is to be warned of with each picture.
    """

    engine: Engine
    folder: Path
    places: tuple[Path, ...]
    table: Path | None
    output: Path
    options: Options
    around: Surroundings
    open_engine: OpenEngine | None = None
    check_pictures: PictureCheck = warn_of_nothing

    def run(self) -> Finished:
        """Score all pictures and write the folder, or go on with what an interrupted prediction left there.

        Raises:
            UserInputError, StoreError, TableError: as of `read_inputs`, `keep_journal`, `refuse_another` and
                `Pipeline.score`; or the output cannot be written, and what was scored is kept.
        """
        figures = read_figures(self.folder)
        given = read_inputs(self.places, self.table, self.engine.prepare)
        options = self.options
        about = describe_prediction(self.engine, self.places, self.table)
        refuse_another(self.output, about)
        content = sha256_of_bytes("".join(sorted(task.key for task in given.tasks)).encode())
        before = self._read_finished(content) if options.is_resumed else None
        if before is not None:
            return Finished(before, None)
        with keep_journal(self.output, about, is_resumed=options.is_resumed) as journal:
            is_complete = self._score(given, figures, journal)
            facts = {**about, "content_hash": content, "is_complete": is_complete}
            finished = self._finish(given, figures, journal, facts)
            if is_complete:
                journal.remove()
        return finished

    def _read_finished(self, content: str) -> dict[str, object] | None:
        """The summary of the same prediction of the same pictures, where it was finished before."""
        path = self.output / SUMMARY_NAME
        if not path.is_file():
            return None
        found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        return found if found.get("content_hash") == content and found.get("is_complete") is True else None

    def _score(self, given: ScoringInput, figures: RunFigures, journal: Journal) -> bool:
        n_networks = len(self.engine.weights_by_fold)
        batch_size = self.options.batch_size or choose_batch_size(self.engine.prepare, on_gpu=self.engine.is_on_gpu)
        pace = Pace(self.options.limit, clock=self.around.clock)
        with self.around.progress(len(given.tasks)) as advance:
            return Pipeline(
                open_engine=self.open_engine or self.engine.choose,
                n_networks=n_networks,
                decode=choose_decoders(given, n_workers=self.options.n_workers, batch_size=batch_size),
                journal=journal,
                pace=pace,
                batch_size=batch_size,
                part_size=self.options.part_size or choose_part_size(len(given.tasks), batch_size),
                has_table=bool(self.engine.encoders),
                check_pictures=self.check_pictures,
                may_turn=may_reach(figures.lowest_threshold, n_networks=n_networks),
                advance=advance,
                say=self.around.say,
            ).score(given.tasks)

    def _finish(
        self, given: ScoringInput, figures: RunFigures, journal: Journal, facts: Mapping[str, object]
    ) -> Finished:
        engine, n_networks = self.engine, len(self.engine.weights_by_fold)
        rows = journal.read()
        if rows.is_empty() and given.tasks:
            raise UserInputError(
                f"--time-limit: found time up before the first of {len(given.tasks)} files was scored, expected more; "
                "give more, and go on with --resume"
            )
        prediction = collect_prediction(
            rows,
            given.tasks,
            n_networks=n_networks,
            combination=engine.recipe.views.combine,
            encoders=engine.encoders,
        )
        submission, n_without = make_submission(
            prediction.breast_scores, given.table, without_image=figures.share_of_cases
        )
        decisions = make_decisions(prediction, figures, n_networks=n_networks)
        summary = {
            "schema_version": SUMMARY_VERSION,
            **self._count(prediction, given, n_without),
            "prepare": engine.prepare.model_dump(mode="json"),
            "prepare_hash": engine.prepare.hash,
            **_count_calls(decisions, figures),
            "thresholds": dict(figures.threshold_by_point),
            "calibration": figures.why_uncalibrated or "platt, fitted on the run's held-out breasts",
            **facts,
        }
        try:
            write_prediction(self.output, prediction, decisions=decisions, submission=submission, summary=summary)
        except OSError as error:
            raise UserInputError(
                f"{error.filename}: {error.strerror}; what was scored is kept: make room, and finish with --resume"
            ) from error
        return Finished(summary, prediction, *tell_refused(prediction.rejections, given.tasks))

    def _count(self, prediction: Prediction, given: ScoringInput, n_without: int) -> dict[str, object]:
        """How many images and breasts were scored and refused, and what the networks' table lacked."""
        counts: dict[str, object] = {
            "images_scored": prediction.image_scores.height,
            "images_refused": len(prediction.rejections),
            "images_missing": given.n_missing,
            "images_unlike_training": count_unlike(prediction),
            "breasts_scored": prediction.breast_scores.height,
            "breasts_without_image": n_without,
        }
        for gap in prediction.gaps:
            counts |= {f"images_without_{gap.column}": gap.n_missing} if gap.n_missing else {}
            counts |= {f"images_with_a_new_{gap.column}": gap.n_unseen} if gap.n_unseen else {}
        return {
            **counts,
            "folds": ", ".join(str(fold) for fold in self.engine.weights_by_fold),
            "scores": str(self.output / "scores.csv"),
            "submission": str(self.output / "submission.csv"),
        }


def _count_calls(decisions: pl.DataFrame, figures: RunFigures) -> dict[str, object]:
    """How many breasts are positive at the points whose count tells whether the thresholds fit these exams."""
    breasts = decisions.filter(pl.col("level") == "breast")
    return {
        f"breasts_positive_at_{name}": int(breasts[name].sum())
        for name in figures.threshold_by_point
        if name == "maximal_f1" or name.startswith("recall_rate_")
    }
