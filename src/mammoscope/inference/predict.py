"""Files to scores: prepared in many processes, scored in batches, written as they come; a bad file costs itself.

What is scored goes to a journal in parts, so that memory holds no more than a few pictures however many files there
are, and a prediction that is killed goes on where it was. Pictures are scored in the order of their tasks, in batches
that do not reach over a part: so neither workers nor interruptions change which pictures share a batch.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mammoscope.imaging.batch import Rejection
from mammoscope.imaging.prepare import PrepareSettings
from mammoscope.inference.decoders import Decoders
from mammoscope.inference.engine import OpenEngine, Scorer
from mammoscope.inference.journal import Journal
from mammoscope.inference.order import choose_by_score, count_breasts, read_networks, take_views_in_turn
from mammoscope.inference.pace import Pace, say_fit
from mammoscope.inference.reading import Outcome, PreparedFile, ScoringTask
from mammoscope.inference.rows import Networks, Row, tabulate_facts, to_refused_row, to_scored_rows
from mammoscope.learning.logits import PictureLogits

Floats = NDArray[np.float64]
PictureCheck = Callable[[Sequence[PreparedFile], Mapping[int, PictureLogits]], Sequence[Collection[str]]]
"""What is to be warned of with each picture of a batch, by codes; it hears what each network says, by its place."""

CHEAP: Final = (0,)
"""The place of the network that sees all pictures where there is no time for the others."""

_PIXELS_ON_CPU, _PIXELS_ON_GPU = 2**21, 2**24  # of a batch: 4 or 32 pictures of 1024 x 512
_MOST_IN_BATCH_ON_CPU, _MOST_IN_BATCH = 16, 128
_LARGE, _PART, _SMALL_PART = 1024, 64, 16  # files; a part is what a killed prediction loses at the most


def choose_batch_size(settings: PrepareSettings, *, on_gpu: bool) -> int:
    """How many pictures of these settings are scored at once; a power of two."""
    n_fitting = (_PIXELS_ON_GPU if on_gpu else _PIXELS_ON_CPU) // (settings.rows * settings.columns)
    most = min(n_fitting, _MOST_IN_BATCH if on_gpu else _MOST_IN_BATCH_ON_CPU)
    return 1 << max(most, 1).bit_length() - 1


def choose_part_size(n_files: int, batch_size: int) -> int:
    """How many files a part of the journal is of: whole batches."""
    least = _PART if n_files > _LARGE else _SMALL_PART
    return -(-least // batch_size) * batch_size


def warn_of_nothing(
    files: Sequence[PreparedFile],
    logits_by_place: Mapping[int, PictureLogits],  # noqa: ARG001  # as any check is called
) -> Sequence[Collection[str]]:
    """No warning for any picture."""
    return [()] * len(files)


def _turn_any(scores: Floats) -> NDArray[np.bool_]:
    return np.ones(len(scores), np.bool_)


def _say_nothing(_sentence: str) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """How files are scored.

    Attributes:
        open_engine: gives the engine of some of the networks.
        n_networks: of the run.
        decode: prepares files.
        journal: takes what is scored.
        pace: measures the time.
        batch_size: pictures that are scored at once.
        part_size: files of a part of the journal.
        has_table: whether networks are given the columns of a table.
        check_pictures: finds what is to be warned of.
        may_turn: of breasts' scores by the first network, (breast,), which may become positive by those of others.
        advance: hears how many files are done.
        say: takes a sentence for people.
    """

    open_engine: OpenEngine
    n_networks: int
    decode: Decoders
    journal: Journal
    pace: Pace
    batch_size: int
    part_size: int
    has_table: bool = False
    check_pictures: PictureCheck = warn_of_nothing
    may_turn: Callable[[Floats], NDArray[np.bool_]] = _turn_any
    advance: Callable[[int], None] = lambda _: None
    say: Callable[[str], None] = _say_nothing
    _has_told: bool = field(default=False, init=False)

    def score(self, tasks: Sequence[ScoringTask]) -> bool:
        """Score all tasks that are not scored, by all networks; False where time ran out before each had a score.

        With a limit of time and `degrade`, the networks after the first may not see all.

        Raises:
            UserInputError: the journal cannot be written.
            WorkerLostError, MemoryError: as of `decode`.
        """
        seen = read_networks(self.journal)
        left = [task for task in tasks if task.key not in seen]
        self.advance(len(tasks) - len(left))
        networks, remedies = tuple(range(self.n_networks)), self._list_remedies()
        while left and not self.pace.is_time_up:
            left = self._score_round(left, networks, may_change=bool(remedies))
            if left and not self.pace.is_time_up:  # late
                networks, left = CHEAP, self._remedy(left, remedies)
        self._score_rest(tasks, is_late=networks != tuple(range(self.n_networks)))
        if self.pace.limit is not None and self.pace.left_s <= 0 and not self._has_told:
            self.say("the time was over before enough files were done to measure by; the first ones are always scored")
        return not left

    def _list_remedies(self) -> list[str]:
        """What is done one after the other when time will not do."""
        if self.pace.limit is None or self.pace.limit.when_late != "degrade":
            return []
        return ["networks", "views"] if self.n_networks > 1 else ["views"]

    def _remedy(self, left: list[ScoringTask], remedies: list[str]) -> list[ScoringTask]:
        """What is left in its new order, for one network from here on; takes what is done off the remedies."""
        if remedies.pop(0) == "networks":
            self.say(f"from here on one network for {len(left):,} files; the others when there is time")
            measured = self.pace.measured
            needed_s = measured.project(len(left), n_networks=1, n_measured=self.n_networks) if measured else 0.0
            if needed_s <= self.pace.left_s:
                return left
            remedies.pop(0)
        self.say(f"from here on one view of each breast first, of {len(left):,} files")
        return take_views_in_turn(left)

    def _score_rest(self, tasks: Sequence[ScoringTask], *, is_late: bool) -> None:
        """Let networks see what they have not seen; only what may become positive where there is little time."""
        seen = read_networks(self.journal)
        for networks in sorted({each for each in seen.values() if each}):
            missing = tuple(sorted(set(range(self.n_networks)) - set(networks)))
            chosen = [task for task in tasks if missing and seen.get(task.key) == networks]
            if is_late and chosen:
                chosen = choose_by_score(chosen, self.journal, self.may_turn)
            if chosen and not self.pace.is_time_up:
                self.say(f"{len(chosen):,} files go to {len(missing)} more networks")
                self._score_round(chosen, missing, is_new=False)

    def _score_round(
        self, tasks: Sequence[ScoringTask], networks: Networks, *, may_change: bool = False, is_new: bool = True
    ) -> list[ScoringTask]:
        """Score tasks by some networks; gives back those that are left when time is up, or will not do for them."""
        engine, n_done = self.open_engine(networks), 0
        self.pace.begin_measuring()
        with closing(self.decode(tasks)) as outcomes:
            while n_done < len(tasks):
                n_scored = self._score_part(tasks[n_done : n_done + self.part_size], outcomes, engine, networks)
                self.advance(n_scored if is_new else 0)
                n_done += n_scored
                n_left = len(tasks) - n_done
                self._tell_once(tasks[n_done:], networks)
                if self.pace.is_time_up or (may_change and self.pace.is_late(n_left)):
                    break
        return list(tasks[n_done:])

    def _score_part(
        self, tasks: Sequence[ScoringTask], outcomes: Iterator[Outcome], engine: Scorer, networks: Networks
    ) -> int:
        """Score the next tasks, write them as one part, and say how many these were before time was up."""
        rows: list[Row] = []
        for start in range(0, len(tasks), self.batch_size):
            batch = tasks[start : start + self.batch_size]
            rows += self._score_batch(batch, list(islice(outcomes, len(batch))), engine, networks)
            if self.pace.is_time_up:
                break
        self.journal.write(rows)
        return len(rows)

    def _score_batch(
        self, tasks: Sequence[ScoringTask], outcomes: Sequence[Outcome], engine: Scorer, networks: Networks
    ) -> list[Row]:
        files = [outcome for outcome in outcomes if isinstance(outcome, PreparedFile)]
        began = self.pace.clock()
        table = tabulate_facts(files) if self.has_table else None
        logits = engine.score([each.pixels for each in files], table) if files else []
        self.pace.note(len(tasks), n_networks=len(networks), network_s=self.pace.clock() - began)
        remarks = self.check_pictures(files, dict(zip(networks, logits, strict=True))) if files else []
        scored = iter(to_scored_rows(files, networks, logits, remarks))
        return [
            {"key": task.key, **(to_refused_row(outcome) if isinstance(outcome, Rejection) else next(scored))}
            for task, outcome in zip(tasks, outcomes, strict=True)
        ]

    def _tell_once(self, left: Sequence[ScoringTask], networks: Networks) -> None:
        """Say, when it is measured for the first time, whether what is left will fit."""
        if self._has_told or self.pace.limit is None or self.pace.measured is None or not left:
            return
        self._has_told = True
        self.say(say_fit(self.pace, n_files=len(left), n_breasts=count_breasts(left), n_networks=len(networks)))
