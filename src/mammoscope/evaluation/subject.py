"""What is evaluated: the scores of a run or of anybody's table, what is known of them, and what to compare with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from mammoscope.cohort.manifest import manifest_path
from mammoscope.errors import UserInputError
from mammoscope.evaluation.facts import name_exams, read_facts, truth_of_scores
from mammoscope.evaluation.given_scores import GivenScores, GivenSettings, read_given_scores
from mammoscope.evaluation.levels import Level, LevelSample, sample_level
from mammoscope.evaluation.operating_points import FILE_NAME, OperatingPoints, read_operating_points
from mammoscope.evaluation.run_folder import Run, read_run
from mammoscope.evaluation.truth import read_truth


@dataclass(frozen=True, slots=True, eq=False)
class OtherScores:
    """Scores of the same: the column of their table, and whether they are a reader's."""

    column: str
    table: pl.DataFrame
    is_reader: bool


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is evaluated.

    Attributes:
        name: for people.
        scores: in the schema of the table of scores.
        facts: tables of what is known of images or breasts, to group by.
        operating_points: those that a run has chosen.
        others: scores to compare with, by what people call them.
        remarks: what is to be known of the scores, a sentence each; of those to compare with under their file's name.
        run: what else the folder of a run holds; None for a table of anybody.
        cohort: where the cohort lies, as far as it is at hand.
    """

    name: str
    scores: pl.DataFrame
    facts: tuple[pl.DataFrame, ...]
    operating_points: OperatingPoints | None
    others: Mapping[str, OtherScores]
    remarks: tuple[str, ...]
    run: Run | None
    cohort: Path | None


def read_run_subject(folder: Path, cohort: Path | None) -> Subject:
    """The scores of a run, with its cohort where that is at hand: the one given, or else the one that the run names.

    Raises:
        RunError, TableError, LeakageError: as `read_run`, `read_operating_points` and `read_facts`.
    """
    content = read_run(folder)
    points = read_operating_points(folder / FILE_NAME) if (folder / FILE_NAME).is_file() else None
    recorded = (content.environment or {}).get("cohort")
    if cohort is None and isinstance(recorded, str) and manifest_path(Path(recorded)).is_file():
        cohort = Path(recorded)
    facts = () if cohort is None else (read_facts(cohort),)
    remarks = () if facts else ("groups: the cohort of the run is not at hand; name it with --cohort",)
    return Subject("a run", content.scores, facts, points, {}, remarks, content, cohort)


def read_scores_subject(
    path: Path, *, truth: Path | None, settings: GivenSettings, readers: Sequence[str] = ()
) -> Subject:
    """The scores of a table of anybody: its first column leads, the others are compared with it, or are readers'.

    Raises:
        TableError, LeakageError: as `read_given_scores`, `read_truth` and `read_facts`.
    """
    settings = replace(settings, readers=tuple(readers))
    given = read_given_scores(path, truth=None if truth is None else read_truth(truth), settings=settings)
    named = _name_tables(path, given, readers)
    (name, main), *others = named.items()
    tables = [*([] if truth is None else [read_facts(truth)]), read_facts(path, without=given.tables)]
    facts = tuple(name_exams(each, main.table) for each in tables)
    return Subject(name, main.table, facts, None, dict(others), given.remarks, None, None)


def add_others(
    subject: Subject, paths: Sequence[Path], *, truth: Path | None, settings: GivenSettings, readers: Sequence[str]
) -> Subject:
    """The subject with the scores of more tables; outcomes that these lack are those of the truth, or the subject's.

    Raises:
        TableError, LeakageError: as `read_given_scores` and `read_truth`.
        UserInputError: two tables have one name, or a reader is in none of them.
    """
    known = truth_of_scores(subject.scores, subject.name) if truth is None else read_truth(truth)
    others = dict(subject.others)
    remarks = list(subject.remarks)
    for path in paths:
        given = read_given_scores(path, truth=known, settings=replace(settings, score_columns=()))
        remarks += [f"{path.stem}: {remark}" for remark in given.remarks]
        for name, other in _name_tables(path, given, readers).items():
            if name in others or name == subject.name:
                raise UserInputError(f"--compare {path}: found two tables called {name}; rename one of the files")
            others[name] = other
    missing = set(readers) - {other.column for other in others.values()}
    if missing:
        raise UserInputError(
            f"--reader {', '.join(sorted(missing))}: found no such column of scores; in a table to compare with, call "
            "it score_NAME"
        )
    return replace(subject, others=others, remarks=tuple(remarks))


def sample_readers(subject: Subject, level: Level) -> dict[str, LevelSample]:
    """The ratings of each reader at a level, by her column.

    Raises:
        TableError: as `sample_level`.
    """
    return {
        other.column.removeprefix("score_"): sample_level(other.table, level)
        for other in subject.others.values()
        if other.is_reader
    }


def _name_tables(path: Path, given: GivenScores, readers: Sequence[str]) -> dict[str, OtherScores]:
    """The tables by what people call them: the file's name, with the column's where there are several."""
    return {
        path.stem if len(given.tables) == 1 else f"{path.stem}, {column}": OtherScores(column, table, column in readers)
        for column, table in given.tables.items()
    }
