"""A table of outcomes by patient, exam or breast, for files that say everything but the outcome."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.anatomy import parse_laterality
from mammoscope.cohort.manifest import (
    ALLOWED_VALUES,
    HIGHEST_BIRADS,
    SCHEMA,
    Problem,
    name_rows,
    raise_problems,
    sort_by_row,
)
from mammoscope.cohort.sources.columns import ColumnReader
from mammoscope.cohort.sources.csv_table import read_table
from mammoscope.errors import TableError
from mammoscope.exam import BREAST

_KEYS: Final = ("patient_id", "exam_id", "laterality")
_OF_THE_BREAST: Final = ("cancer", "biopsy", "invasive", "difficult_negative")
_VALUES: Final = (*_OF_THE_BREAST, "age_years", "density", "birads", "site")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A table of outcomes.

    Attributes:
        path: where it was read.
        table: `row`, the keys that it has, and the values that it has; each key once.
        problems: what is wrong with it; of several rows of a key the first stands for all.
    """

    path: Path
    table: pl.DataFrame
    problems: tuple[Problem, ...]

    @property
    def keys(self) -> list[str]:
        """What its rows go by: the breast or the exam, and the patient only where no exam is named."""
        named = [name for name in _KEYS if name in self.table]
        return [name for name in named if not (name == "patient_id" and "exam_id" in named)]

    def refuse_problems(self) -> None:
        """One error for all that is wrong with the table itself.

        Raises:
            TableError: something is.
        """
        raise_problems([problem.sentence for problem in self.problems], where=str(self.path))


def read_outcomes(path: Path, *, sheet: str | None = None) -> Outcomes:
    """The outcomes of a CSV or Parquet table, or of a sheet of an Excel workbook.

    Its columns: `patient_id` or `exam_id` (the Study Instance UID), or both; `laterality` where the outcome is that of
    the breast; `cancer` (0, 1 or empty), and any of `biopsy`, `invasive`, `difficult_negative`, `age_years`, `density`,
    `birads` and `site`.

    Raises:
        TableError: it cannot be read, or its columns are others.
    """
    text = read_table(path, sheet=sheet)
    _check_columns(text, path)
    reader = ColumnReader(text)
    columns = {name: _read_key(reader, name) for name in _KEYS if name in text}
    columns |= {name: _read_value(reader, name) for name in _VALUES if name in text}
    table = pl.DataFrame(columns).with_row_index("row", offset=1)
    for key in (name for name in _KEYS if name in text):
        for row in table.filter(pl.col(key).is_null() & text[key].is_null())["row"]:
            reader.note(row, key, "empty, expected a value")
    keys = Outcomes(path, table, ()).keys
    united, conflicts = _unite(table, keys)
    first_row = _first_rows(table, keys)
    problems = [
        problem._replace(rows=tuple(first_row.get(row, row) for row in problem.rows))
        for problem in sort_by_row((*reader.problems, *conflicts))
    ]
    return Outcomes(path, united, tuple(problems))


def apply_outcomes(rows: pl.DataFrame, outcomes: Outcomes) -> tuple[pl.DataFrame, list[Problem], tuple[str, ...]]:
    """The rows of a manifest with what the table says, the problems with the rows that they touch, and warnings.

    A positive outcome without a side leaves both breasts undetermined: which one it is, is not said.

    Raises:
        TableError: none of the table's rows fits an image.
    """
    values = [name for name in _VALUES if name in outcomes.table]
    told = outcomes.table.rename({name: f"told_{name}" for name in values})
    if "patient_id" in told and "patient_id" not in outcomes.keys:
        told = told.rename({"patient_id": "told_patient_id"})
    joined = rows.join(told, on=outcomes.keys, how="left", maintain_order="left")
    _check_fit(joined, outcomes)
    filled = joined.with_columns(
        pl.coalesce(_spread(name, outcomes), name).cast(SCHEMA[name]).alias(name) for name in values
    )
    problems = [*_touch(outcomes.problems, joined), *_find_other_patients(joined)]
    return filled.select(list(SCHEMA)), problems, _warn(joined, outcomes)


def _check_fit(joined: pl.DataFrame, outcomes: Outcomes) -> None:
    if outcomes.table.is_empty() or joined["row"].count():
        return
    keys = ", ".join(outcomes.keys)
    raise TableError(
        f"{outcomes.path}: none of its {outcomes.table.height} rows fits an image by {keys}, the first is row "
        f"{outcomes.table['row'][0]}; expected the Patient ID and the Study Instance UID as they stand in the headers; "
        "see them with `mammoscope inspect`"
    )


def _check_columns(text: pl.DataFrame, path: Path) -> None:
    unknown = [name for name in text.columns if name not in {*_KEYS, *_VALUES}]
    lacks_key = "patient_id" not in text and "exam_id" not in text
    if unknown or lacks_key or "cancer" not in text:
        raise TableError(
            f"{path}: found columns {', '.join(text.columns)}, expected patient_id or exam_id, cancer, and of "
            f"{', '.join(('laterality', *_VALUES[1:]))}; rename or remove the others"
        )


def _read_key(reader: ColumnReader, name: str) -> pl.Series:
    if name != "laterality":
        return reader.text[name]
    return reader.read(name, lambda text: str(parse_laterality(text)), pl.String(), expected="L or R")


def _read_value(reader: ColumnReader, name: str) -> pl.Series:
    if name == "site":
        return reader.text[name]
    if name == "density":
        return reader.codes(name, {letter: letter for letter in ALLOWED_VALUES["density"]}, pl.String())
    if name == "birads":
        codes = {str(category): category for category in range(HIGHEST_BIRADS + 1)}
        return reader.codes(name, codes, pl.Int64(), expected=f"0 to {HIGHEST_BIRADS}")
    if name == "age_years":
        return reader.ages(name)
    return reader.flags(name)


def _unite(table: pl.DataFrame, keys: list[str]) -> tuple[pl.DataFrame, list[Problem]]:
    """The first row of each key, and those keys whose rows say different things."""
    says = pl.struct(pl.exclude("row", *keys)).n_unique()
    groups = table.drop_nulls(keys).group_by(keys, maintain_order=True).agg("row", says.alias("n_said"))
    problems = [
        Problem(
            f"one {_level(keys)} with different outcomes in {name_rows(rows)}, expected one outcome",
            tuple(rows),
            "outcome_conflict",
        )
        for rows in groups.filter(pl.col("n_said") > 1)["row"].to_list()
    ]
    return table.drop_nulls(keys).unique(keys, keep="first", maintain_order=True), problems


def _first_rows(table: pl.DataFrame, keys: list[str]) -> dict[int, int]:
    """The first row of the same key, for each row that has one."""
    named = table.drop_nulls(keys)
    return dict(named.select("row", pl.col("row").first().over(keys).alias("first")).iter_rows())


def _level(keys: list[str]) -> str:
    return "breast" if "laterality" in keys else "exam" if "exam_id" in keys else "patient"


def _spread(name: str, outcomes: Outcomes) -> pl.Expr:
    told = pl.col(f"told_{name}")
    if name not in _OF_THE_BREAST or "laterality" in outcomes.keys:
        return told
    return pl.when(~told).then(told)


def _touch(problems: tuple[Problem, ...], joined: pl.DataFrame) -> list[Problem]:
    """Problems of the table, with the rows of the manifest that they concern; those that concern none stay without."""
    rows_of: dict[int, list[int]] = {}
    for number, row in enumerate(joined["row"], start=1):
        if row is not None:
            rows_of.setdefault(row, []).append(number)
    return [
        Problem(
            problem.sentence, tuple(number for row in problem.rows for number in rows_of.get(row, ())), problem.code
        )
        for problem in problems
    ]


def _find_other_patients(joined: pl.DataFrame) -> list[Problem]:
    if "told_patient_id" not in joined:
        return []
    others = joined.with_row_index("number", offset=1).filter(pl.col("patient_id") != pl.col("told_patient_id"))
    return [
        Problem(
            f"row {row}: found an exam of another patient, expected the patient of its headers",
            tuple(numbers),
            "mixed_patients",
        )
        for row, numbers in others.group_by("row", maintain_order=True).agg("number").iter_rows()
    ]


def _warn(joined: pl.DataFrame, outcomes: Outcomes) -> tuple[str, ...]:
    unused = outcomes.table.filter(~pl.col("row").is_in(joined["row"].drop_nulls().unique().to_list()))["row"]
    without = joined.filter(pl.col("row").is_null()).unique(BREAST).height
    is_sided = "laterality" in outcomes.keys
    sideless = 0 if is_sided else joined.filter(pl.col("told_cancer")).unique(["exam_id"]).height
    exams = joined.group_by("patient_id").agg(pl.col("exam_id").n_unique())
    several = 0 if "exam_id" in outcomes.keys else exams.filter(pl.col("exam_id") > 1).height
    counts = {
        f"rows that fit no image: {len(unused)}, the first is row {next(iter(unused), None)}": len(unused),
        f"breasts without a row, which stay undetermined: {without}": without,
        f"exams with cancer and without a side, which stay undetermined: {sideless}": sideless,
        f"patients with several exams, which all got the patient's outcome: {several}": several,
    }
    return tuple(f"{outcomes.path}: {sentence}" for sentence, count in counts.items() if count)
