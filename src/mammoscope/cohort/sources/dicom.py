"""Any folder tree of DICOM studies, without a table: patient, exam, breast and view from the headers.

What is no screening mammogram, or does not say whose it is, is left out and stands with its reason in the rejected
files. Outcomes come from a table of their own, or are unknown.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import SCHEMA, Problem, raise_problems
from mammoscope.cohort.sources.dicom_file import DicomRow, HeaderTask, RejectedFile, read_files
from mammoscope.cohort.sources.indexing import REJECTED_SCHEMA, IndexedCohort, OnConflict, exclude
from mammoscope.cohort.sources.outcome_table import Outcomes, apply_outcomes
from mammoscope.errors import UserInputError
from mammoscope.imaging.object_kind import SCREENING_EXCLUDES
from mammoscope.imaging.verdict import Verdict

SOURCE: Final = "dicom"
ACCEPTABLE: Final = tuple(sorted(str(code) for code in SCREENING_EXCLUDES))
"""The verdicts that a user may accept; a side and a view are needed in any case."""

_TASK_FILES: Final = 100  # about 0.15 s of work: long against the way to a worker, short against the whole
_IMAGES_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Headers:
    """The files that are screening mammograms, and the others with their reasons; both by path."""

    rows: tuple[DicomRow, ...]
    rejected: tuple[RejectedFile, ...]


TaskRunner = Callable[
    [Callable[[HeaderTask], list[DicomRow | RejectedFile]], Sequence[HeaderTask]],
    Iterator[list[DicomRow | RejectedFile]],
]


def list_files(folder: Path) -> list[str]:
    """The files below a folder, in the order of their names; hidden ones and DICOMDIR are none.

    Raises:
        UserInputError: no such folder, or no file in it.
    """
    if not folder.is_dir():
        raise UserInputError(f"{folder}: no such folder, expected DICOM studies below it")
    paths = [
        os.path.join(where, name)  # noqa: PTH118  # a Path for each of a million files takes long
        for where, folders, names in os.walk(folder.resolve())
        if not _drop_hidden(folders)
        for name in names
        if not name.startswith(".") and name.upper() != "DICOMDIR"
    ]
    if not paths:
        raise UserInputError(f"{folder}: found no files, expected DICOM studies below it")
    return sorted(paths)


def read_headers(
    paths: Sequence[str],
    accepted: Collection[str],
    *,
    run_tasks: TaskRunner,
    advance: Callable[[int], None],
) -> Headers:
    """What the headers of files say.

    Args:
        paths: of the files.
        accepted: verdicts that do not keep a file out, of `ACCEPTABLE`.
        run_tasks: runs a function over tasks, results in any order.
        advance: told the number of files as they are read.

    Raises:
        UserInputError: another verdict is accepted.
    """
    _check_accepted(accepted)
    named = [path for path in paths if path.isprintable()]  # others cannot stand in a table
    tasks = [
        HeaderTask(tuple(named[first : first + _TASK_FILES]), frozenset(accepted))
        for first in range(0, len(named), _TASK_FILES)
    ]
    results: list[DicomRow | RejectedFile] = [_reject_name(path) for path in paths if not path.isprintable()]
    advance(len(results))
    for part in run_tasks(read_files, tasks):
        results += part
        advance(len(part))
    results.sort(key=lambda result: result.path)  # they came in any order
    rows = tuple(result for result in results if isinstance(result, DicomRow))
    return Headers(rows, tuple(result for result in results if isinstance(result, RejectedFile)))


def build_cohort(
    headers: Headers, outcomes: Outcomes | None, *, source: str = SOURCE, on_conflict: OnConflict
) -> IndexedCohort:
    """The cohort of files whose headers have been read.

    Args:
        headers: of the files.
        outcomes: by patient, exam or breast; None leaves all undetermined.
        source: the name of the data set.
        on_conflict: what is done about a study of two patients, an image in two studies or with two sides or views, two
            outcomes of a breast.

    Raises:
        UserInputError: no file is a mammogram.
        TableError: contradictions, where they are refused; or nothing is left without them.
    """
    if not source.strip():
        raise UserInputError("--source: found no text, expected the name of the data set")
    if not headers.rows:
        raise _refuse_emptiness(headers.rejected)
    rows, copies, contradictions = _drop_copies(headers.rows)
    frame = _to_frame(rows, source)
    problems = contradictions + _find_mixed_patients(frame)
    where = "DICOM headers"
    warnings: tuple[str, ...] = ()
    if outcomes is not None:
        frame, conflicts, warnings = apply_outcomes(frame, outcomes)
        problems, where = problems + conflicts, f"{where} and {outcomes.path}"
    if on_conflict == "refuse":
        raise_problems([problem.sentence for problem in problems], where=where)
    rejected = pl.DataFrame([asdict(file) for file in (*headers.rejected, *copies)], schema=REJECTED_SCHEMA)
    problems = [problem for problem in problems if problem.rows]
    if problems:
        frame, excluded = exclude(frame, problems, where=where)
        rejected = pl.concat([rejected, excluded])
    return IndexedCohort(manifest=frame, rejected=rejected.sort("path"), warnings=warnings)


def _refuse_emptiness(rejected: Sequence[RejectedFile]) -> UserInputError:
    counts = ", ".join(f"{count} {code}" for code, count in Counter(file.code for file in rejected).most_common())
    return UserInputError(
        f"found no screening mammogram among {len(rejected)} files ({counts}), expected one or more; "
        "look at one of them with `mammoscope inspect`"
    )


def _drop_hidden(folders: list[str]) -> bool:
    """Keep `os.walk` out of hidden folders; always false."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return False


def _check_accepted(accepted: Collection[str]) -> None:
    unknown = sorted(set(accepted) - set(ACCEPTABLE))
    if unknown:
        raise UserInputError(f"--accept: found {', '.join(unknown)}, expected of {', '.join(ACCEPTABLE)}")


def _reject_name(path: str) -> RejectedFile:
    shown = path.encode(errors="backslashreplace").decode()
    return RejectedFile(
        image_id=None,
        path=shown,
        code=Verdict.UNREADABLE.value,
        sentence="found a file name with unprintable characters, expected a name in UTF-8; rename it",
    )


def _drop_copies(rows: Sequence[DicomRow]) -> tuple[list[DicomRow], list[RejectedFile], list[Problem]]:
    """The rows without further files of the same image of the same exam, those files, and where two contradict."""
    kept: dict[tuple[str, ...], DicomRow] = {}
    number_of: dict[tuple[str, ...], int] = {}
    copies, problems = [], []
    for row in rows:
        key = (row.image_id, row.exam_id, row.patient_id)
        first = kept.setdefault(key, row)
        number = number_of.setdefault(key, len(kept))
        if first is row:
            continue
        sentence = f"{Path(row.path).stem}: found an image that another file holds, expected one file; remove either"
        problem = Problem(sentence, (number,), Verdict.DUPLICATE.value)
        if contradiction := _compare_copies(first, row):
            problem = contradiction._replace(rows=(number,))
            problems.append(problem)
        copies.append(RejectedFile(image_id=row.image_id, path=row.path, code=problem.code, sentence=problem.sentence))
    return list(kept.values()), copies, problems


def _compare_copies(first: DicomRow, copy: DicomRow) -> Problem | None:
    """What two files of one image say differently: its side, or else its view."""
    for ours, theirs, what, code in (
        (first.laterality, copy.laterality, "sides", "side_conflict"),
        (first.view, copy.view, "views", "view_conflict"),
    ):
        if ours != theirs:
            found = f"{ours} in {Path(first.path).stem} and {theirs} in {Path(copy.path).stem}"
            return Problem(f"one image with two {what}: found {found}, expected one", code=code)
    return None


def _to_frame(rows: Sequence[DicomRow], source: str) -> pl.DataFrame:
    nothing = dict.fromkeys(SCHEMA) | {"source": source}
    return pl.DataFrame([nothing | asdict(row) for row in rows], schema=SCHEMA)


def _find_mixed_patients(frame: pl.DataFrame) -> list[Problem]:
    """Studies of several patients, and images that stand in several studies."""
    rows = frame.with_row_index("row", offset=1)
    checks = (
        ("exam_id", pl.col("patient_id").n_unique(), "one study of several patients", "one patient"),
        ("image_id", pl.len(), "one image in several studies", "one study"),
    )
    problems = []
    for key, count, found, expected in checks:
        groups = rows.group_by(key, maintain_order=True).agg("row", pl.col("path"), count.alias("count"))
        for numbers, paths in groups.filter(pl.col("count") > 1).select("row", "path").iter_rows():
            sentence = f"{found}: found in {_name_files(paths)}, expected {expected}"
            problems.append(Problem(sentence, tuple(numbers), Verdict.MIXED_PATIENTS.value))
    return problems


def _name_files(paths: Sequence[str]) -> str:
    names = ", ".join(Path(path).stem for path in paths[:_IMAGES_NAMED])
    more = len(paths) - _IMAGES_NAMED
    return f"{names} and {more} more" if more > 0 else names
