"""The table of scores: its versioned schema, read, written and checked, and the way from images to breasts and exams.

It is a polars DataFrame and stands in Parquet, CSV or JSON lines alike; docs/scores.md describes the columns.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import polars as pl

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import TableError
from mammoscope.exam import BREAST
from mammoscope.files import replacing

WayT = TypeVar("WayT")
Combination = Literal["mean", "max"]

SCORES_VERSION = 1
LEVELS = ("image", "breast", "exam")

_REQUIRED: dict[str, pl.DataType] = {
    "schema_version": pl.Int64(),
    "level": pl.String(),
    "patient_id": pl.String(),
    "exam_id": pl.String(),
    "laterality": pl.String(),
    "view": pl.String(),
    "image_id": pl.String(),
    "n_images": pl.Int64(),
    "score": pl.Float64(),
    "cancer": pl.Boolean(),
    "fold": pl.Int64(),
}
_OPTIONAL: dict[str, pl.DataType] = {"site": pl.String(), "machine": pl.String()}
SCORES_SCHEMA = _REQUIRED | _OPTIONAL

_NEVER_NULL = ("level", "patient_id", "exam_id", "n_images", "score")
IDENTITY_BY_LEVEL: dict[str, tuple[str, ...]] = {"image": ("image_id",), "breast": BREAST, "exam": ("exam_id",)}
_BOOLEAN_BY_SPELLING = {"true": True, "false": False, "1": True, "0": False}
_N_ROWS_NAMED = 5


def read_scores(path: Path) -> pl.DataFrame:
    """The checked scores of a .parquet, .csv or .jsonl file, with all columns of the schema in its order.

    Raises:
        TableError: the file cannot be read, or breaks the schema; all problems together, each with its rows.
    """
    read = _by_suffix(path, _READERS)
    try:
        frame = read(path)
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such file; check the path") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{path}: cannot be read as {path.suffix[1:]}; write it anew ({error})") from error
    scores, problems = _conform(frame)
    _refuse(problems, where=str(path))
    check_scores(scores, where=str(path))
    return scores


def write_scores(scores: pl.DataFrame, path: Path) -> None:
    """Write checked scores as .parquet, .csv or .jsonl, whole or not at all.

    Raises:
        TableError: the suffix is another, or the table breaks the schema.
    """
    write = _by_suffix(path, _WRITERS)
    check_scores(scores, where=str(path))
    with replacing(path) as beside:
        write(_with_all_columns(scores), beside)


def check_scores(scores: pl.DataFrame, *, where: str = "scores") -> None:
    """Nothing, when the table keeps to the schema.

    Raises:
        TableError: all problems of the table, a line for each, with the numbers of the first rows (from 1).
    """
    _refuse(_column_problems(scores), where=where)
    _refuse(_version_problems(scores), where=where)
    scores = _with_all_columns(scores)
    _refuse([*_value_problems(scores), *_level_problems(scores), *_identity_problems(scores)], where=where)


def aggregate_to_breasts(image_scores: pl.DataFrame, *, by: Combination = "mean") -> pl.DataFrame:
    """The score of each breast: the mean (or highest) of its images. By exam and side, whatever the images' order.

    A breast is at the site, machine and fold of its images, null where they differ.

    Raises:
        TableError: the table breaks the schema, a row is not of an image, or a breast has two outcomes.
    """
    check_scores(image_scores)
    _refuse_other_levels(image_scores)
    ordered = _with_all_columns(image_scores).sort(*BREAST, "image_id")
    breasts = ordered.group_by(*BREAST, maintain_order=True).agg(
        pl.col("schema_version", "patient_id", "cancer").first(),
        pl.col("n_images").sum(),
        _combined(by),
        *(_shared(column) for column in ("fold", "site", "machine")),
    )
    return _at_level(breasts, "breast")


def list_breasts(scores: pl.DataFrame) -> pl.DataFrame:
    """The scores of breasts in a table: its rows of that level, where it has some, else the means over their images.

    Raises:
        TableError: as `aggregate_to_breasts`, or the breasts are not those of the images.
    """
    images, breasts = (scores.filter(pl.col("level") == level) for level in ("image", "breast"))
    if breasts.is_empty():
        return aggregate_to_breasts(images)
    check_scores(scores)
    ordered = _with_all_columns(breasts).sort(*BREAST)
    if not images.is_empty():
        _refuse_other_breasts(ordered, aggregate_to_breasts(images))
    return ordered


def _refuse_other_breasts(breasts: pl.DataFrame, of_images: pl.DataFrame) -> None:
    key = [*BREAST, "cancer"]
    without_image = breasts.join(of_images, on=key, how="anti", nulls_equal=True).height
    without_row = of_images.join(breasts, on=key, how="anti", nulls_equal=True).height
    if without_image or without_row:
        raise TableError(
            f"scores: the rows of level breast and of level image do not agree: {without_image} breasts have no image "
            f"of their outcome, {without_row} have images and no row; take one of the levels out of the table"
        )


def aggregate_to_exams(scores: pl.DataFrame) -> pl.DataFrame:
    """The score of each exam: the higher one of its breasts. A case when a breast is; undetermined when it might be.

    Raises:
        TableError: as `list_breasts`.
    """
    return combine_breasts(list_breasts(scores))


def combine_breasts(breasts: pl.DataFrame, *, by: Combination = "max") -> pl.DataFrame:
    """The score of each exam: the higher one (or the mean) of its breasts, which come by exam.

    An exam is a case when a breast is; undetermined when it might be.
    """
    exams = breasts.group_by("exam_id", maintain_order=True).agg(
        pl.col("schema_version", "patient_id").first(),
        pl.col("cancer").any(ignore_nulls=False),
        pl.col("n_images").sum(),
        _combined(by),
        *(_shared(column) for column in ("fold", "site", "machine")),
    )
    return _at_level(exams, "exam")


def _combined(by: Combination) -> pl.Expr:
    return pl.col("score").mean() if by == "mean" else pl.col("score").max()


def _shared(column: str) -> pl.Expr:
    return pl.when(pl.col(column).n_unique() == 1).then(pl.col(column).first()).alias(column)


def _at_level(scores: pl.DataFrame, level: str) -> pl.DataFrame:
    return _with_all_columns(scores.with_columns(level=pl.lit(level)))


def _with_all_columns(scores: pl.DataFrame) -> pl.DataFrame:
    return scores.select(
        pl.col(column) if column in scores.columns else pl.lit(None, dtype).alias(column)
        for column, dtype in SCORES_SCHEMA.items()
    )


def _by_suffix(path: Path, ways: Mapping[str, WayT]) -> WayT:
    if path.suffix not in ways:
        raise TableError(f"{path}: found suffix {path.suffix!r}, expected one of {', '.join(ways)}")
    return ways[path.suffix]


def _read_csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def _read_jsonl(path: Path) -> pl.DataFrame:
    return pl.read_ndjson(path, infer_schema_length=None)


_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}
_WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".jsonl": pl.DataFrame.write_ndjson,
}


def _conform(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The table with the types of the schema, where the text of a CSV or a JSON can be taken for them."""
    problems = []
    for column, dtype in SCORES_SCHEMA.items():
        if column not in frame.columns or frame.schema[column] == dtype:
            continue
        typed = frame.select(_parsed(column, frame.schema[column], dtype)).to_series()
        lost = typed.is_null() & frame[column].is_not_null()
        if lost.any():
            problems.append(_describe(lost, f"{column}: found {frame[column].filter(lost)[0]!r}", f"expected {dtype}"))
        frame = frame.with_columns(typed)
    return frame, problems


def _parsed(column: str, found: pl.DataType, expected: pl.DataType) -> pl.Expr:
    if found == pl.String and expected == pl.Boolean:
        spelled = pl.col(column).str.to_lowercase()
        return spelled.replace_strict(_BOOLEAN_BY_SPELLING, default=None, return_dtype=pl.Boolean)
    return pl.col(column).cast(expected, strict=False)


def _column_problems(scores: pl.DataFrame) -> list[str]:
    problems = [f"column {column}: missing, add it" for column in _REQUIRED if column not in scores.columns]
    for column, dtype in scores.schema.items():
        if column not in SCORES_SCHEMA:
            problems.append(f"column {column}: unknown, remove it; known are {', '.join(SCORES_SCHEMA)}")
        elif dtype not in {SCORES_SCHEMA[column], pl.Null()}:
            problems.append(f"column {column}: found type {dtype}, expected {SCORES_SCHEMA[column]}")
    return problems


def _version_problems(scores: pl.DataFrame) -> list[str]:
    unknown = scores["schema_version"].ne_missing(SCORES_VERSION)
    found = f"schema_version: found {scores['schema_version'].filter(unknown).to_list()[:1]}"
    return _problem(unknown, found, f"expected {SCORES_VERSION}; use the version of mammoscope that wrote it")


def _value_problems(scores: pl.DataFrame) -> Iterable[str]:
    for column in _NEVER_NULL:
        yield from _problem(scores[column].is_null(), f"{column}: empty", "expected a value")
    score = scores["score"]
    yield from _problem(score.is_nan(), "score: found NaN", "expected a number in [0, 1]")
    outside = ~score.is_between(0, 1) & ~score.is_nan()
    yield from _problem(outside, "score: outside [0, 1]", "expected a number in it; apply a sigmoid")
    yield from _problem(scores["n_images"] < 1, "n_images: below 1", "expected 1 or more")
    for column, known in (("level", LEVELS), ("laterality", tuple(Laterality)), ("view", tuple(View))):
        unknown = ~scores[column].is_in([str(value) for value in known])
        yield from _problem(unknown, f"{column}: unknown value", f"expected one of {', '.join(known)}")


def _level_problems(scores: pl.DataFrame) -> Iterable[str]:
    of_image, of_exam = scores["level"] == "image", scores["level"] == "exam"
    for column in ("image_id", "laterality"):
        yield from _problem(scores[column].is_null() & of_image, f"{column}: empty", "expected one for an image")
    yield from _problem(scores["image_id"].is_not_null() & ~of_image, "image_id: given", "expected none above images")
    yield from _problem((scores["n_images"] > 1) & of_image, "n_images: above 1", "expected 1 for an image")
    of_breast = scores["level"] == "breast"
    yield from _problem(scores["laterality"].is_null() & of_breast, "laterality: empty", "expected one for a breast")
    yield from _problem(scores["laterality"].is_not_null() & of_exam, "laterality: given", "expected none for an exam")


def _identity_problems(scores: pl.DataFrame) -> Iterable[str]:
    for level, identity in IDENTITY_BY_LEVEL.items():
        repeated = (pl.len().over("level", *identity) > 1) & (pl.col("level") == level)
        rows = scores.select(repeated).to_series()
        yield from _problem(rows, f"{level}: stands in the table more than once", "expected once")
    yield from _disagreement(scores, "patient_id", within=("exam_id",), where="an exam")
    yield from _disagreement(scores, "fold", within=("patient_id",), where="a patient")
    yield from _disagreement(scores, "cancer", within=BREAST, where="a breast")


def _disagreement(scores: pl.DataFrame, column: str, *, within: tuple[str, ...], where: str) -> list[str]:
    rows = scores.select(pl.col(column).n_unique().over("level", *within) > 1).to_series()
    return _problem(rows, f"{column}: differs within {where}", "expected one")


def _problem(rows: pl.Series, found: str, expected: str) -> list[str]:
    return [_describe(rows, found, expected)] if rows.any() else []


def _describe(rows: pl.Series, found: str, expected: str) -> str:
    """One line; rows are numbered from 1 and named by number only, because ids may identify a patient."""
    numbers = (rows.arg_true() + 1).to_list()
    named = ", ".join(str(number) for number in numbers[:_N_ROWS_NAMED])
    more = f" and {len(numbers) - _N_ROWS_NAMED} more" if len(numbers) > _N_ROWS_NAMED else ""
    return f"{found} (row{'s' if len(numbers) > 1 else ''} {named}{more}), {expected}"


def _refuse(problems: Iterable[str], *, where: str) -> None:
    lines = [f"{where}: {problem}" for problem in problems]
    if lines:
        raise TableError("\n".join(lines))


def _refuse_other_levels(scores: pl.DataFrame) -> None:
    others = scores["level"] != "image"
    _refuse(_problem(others, "level: not image", "expected images only; filter the table by level"), where="scores")
