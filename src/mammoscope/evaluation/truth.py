"""The outcomes that scores are measured against: a cohort's manifest, or any table with ids and `cancer`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mammoscope.cohort.manifest import SCHEMA, name_rows, raise_problems, read_manifest
from mammoscope.evaluation.any_table import IDS, WHAT_A_ROW_IS, describe_rows, find_torn, name_some, read_any_table
from mammoscope.evaluation.levels import Level
from mammoscope.exam import BREAST

_BREAST_OF_PATIENT: Final = ("patient_id", "laterality")
# by what scores of a level find their outcome, the first that both tables have
_KEYS: Final[dict[Level, tuple[tuple[str, ...], ...]]] = {
    "image": (("image_id",), BREAST, _BREAST_OF_PATIENT),
    "breast": (BREAST, _BREAST_OF_PATIENT),
    "exam": (("exam_id",), ("patient_id",)),
}
_MUST_AGREE: Final = ("patient_id", "exam_id", "laterality", "cancer")


@dataclass(frozen=True, slots=True)
class Truth:
    """A table of outcomes: where it was read, and its rows with `row` and the columns of `WHAT_A_ROW_IS`."""

    where: str
    rows: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows of scores with what the truth says of them; what is wrong, and what is to be known."""

    rows: pl.DataFrame
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def read_truth(path: Path) -> Truth:
    """The outcomes of a cohort (its folder or manifest), or of a CSV, Parquet or JSON lines table.

    Such a table has `cancer` (0, 1, or nothing where it is not known) and `image_id`, `exam_id` or `patient_id`, with
    `laterality` where the outcome is that of a breast.

    Raises:
        TableError: it cannot be read, lacks those columns, has a value that cannot be read, an image twice, or two
            outcomes of one breast; all problems together.
        LeakageError: a patient of the manifest stands in two folds.
    """
    if path.is_dir() or is_manifest(path):
        manifest = read_manifest(path).select(list(WHAT_A_ROW_IS))
        return Truth(str(path), manifest.with_row_index("row", offset=1).cast({"row": pl.Int64}))
    table = read_any_table(path)
    rows, problems = describe_rows(table)
    if "cancer" not in table.columns:
        problems.append("column cancer: missing, expected the outcomes, 0 or 1")
    if all(rows[name].is_null().all() for name in IDS):
        problems.append(f"columns: found {', '.join(table.columns)}, expected one of {', '.join(IDS)}")
    else:
        problems += [*find_repeated_images(rows), *_find_contradictions(rows)]
    raise_problems(problems, where=str(path))
    return Truth(str(path), rows)


def join_truth(rows: pl.DataFrame, truth: Truth, *, level: Level, exclude_unmatched: bool = False) -> Joined:
    """Rows of scores of one level, by the ids that both tables have, with what the truth says of them.

    Args:
        rows: `row`, the columns of `WHAT_A_ROW_IS`, and `n_images`, null where it is not known.
        truth: of the cohort.
        level: of the scores.
        exclude_unmatched: leave out, with a remark, what the truth does not know; else it is a problem.
    """
    key = _find_key(rows, truth, level)
    if key is None:
        return Joined(rows, (_why_no_key(rows, truth, level),), ())
    facts = _gather(truth.rows, key, level)
    joined = rows.join(facts, on=key, how="left", suffix="_of_truth", maintain_order="left")
    n_known = joined.filter(pl.col("is_known")).height
    problems = list(_find_conflicts(joined, truth))
    remarks = list(_tell_unused(facts, rows, key=key, level=level))
    unmatched = joined.filter(pl.col("is_known").is_null())["row"]
    if n_known and len(unmatched) and exclude_unmatched:
        found = name_some(unmatched, rows.height, f"{level}s are not in {truth.where}")
        remarks.append(f"{', '.join(key)}: {found}, and were left out")
        joined = joined.filter(pl.col("is_known"))
    elif len(unmatched):
        problems.append(_tell_unmatched(unmatched, joined.height, key, f"{level}s are not in {truth.where}"))
    filled = joined.with_columns(
        pl.coalesce(name, f"{name}_of_truth").alias(name)
        for name in rows.columns
        if f"{name}_of_truth" in joined.columns
    )
    return Joined(filled.select(rows.columns), tuple(problems), tuple(remarks))


def find_repeated_images(rows: pl.DataFrame) -> Iterator[str]:
    """The images that have several rows, so that it is not plain which of them speaks of a score of the image."""
    images = rows.drop_nulls("image_id").group_by("image_id", maintain_order=True).agg("row")
    repeated = images.filter(pl.col("row").list.len() > 1)
    if repeated.height:
        found = f"{repeated.height:,} of {images.height:,} images stand in the table more than once"
        yield f"image_id: {found} ({name_rows(repeated['row'].explode().to_list())}); expected a row each"


def is_manifest(path: Path) -> bool:
    """Whether a file is the manifest of a cohort, by its columns."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        return set(SCHEMA) <= set(pl.read_parquet_schema(path))
    except pl.exceptions.PolarsError:
        return False  # which is found out when it is read


def _find_contradictions(rows: pl.DataFrame) -> Iterator[str]:
    """The breasts, or else the exams or patients, with more than one outcome."""
    has = {name for name in WHAT_A_ROW_IS if not rows[name].is_null().all()}
    holder = "exam_id" if "exam_id" in has else "patient_id"
    if holder in has and "laterality" in has:
        yield from find_torn(rows, (holder, "laterality"), "breasts")
    elif "image_id" not in has:
        yield from find_torn(rows, (holder,), "exams" if holder == "exam_id" else "patients")


def _find_key(rows: pl.DataFrame, truth: Truth, level: Level) -> tuple[str, ...] | None:
    def has(table: pl.DataFrame, key: tuple[str, ...]) -> bool:
        return not any(table[name].is_null().all() for name in key)

    return next((key for key in _KEYS[level] if has(rows, key) and has(truth.rows, key)), None)


def _why_no_key(rows: pl.DataFrame, truth: Truth, level: Level) -> str:
    def names(table: pl.DataFrame) -> str:
        return ", ".join(name for name in (*IDS, "laterality") if not table[name].is_null().all()) or "none"

    wanted = ", or ".join(" and ".join(key) for key in _KEYS[level])
    return (
        f"ids: found {names(rows)} here and {names(truth.rows)} in {truth.where}, expected in both, for scores of "
        f"{level}s, {wanted}"
    )


def _gather(truth: pl.DataFrame, key: tuple[str, ...], level: Level) -> pl.DataFrame:
    """What the truth says of each key: what all of its rows share; of an exam, whether either breast is a case."""
    beyond = {"row", "image_id", "cancer", *key} | ({"view"} if key != ("image_id",) else set())
    beyond |= {"laterality"} if level == "exam" else set()
    outcome = pl.col("cancer").any(ignore_nulls=False) if level == "exam" else pl.col("cancer").first()
    counts = pl.len().cast(pl.Int64) if truth["image_id"].null_count() == 0 else pl.lit(None, pl.Int64)
    return (
        truth.drop_nulls(key)
        .group_by(key, maintain_order=True)
        .agg(
            *(
                pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name)
                for name in truth.columns
                if name not in beyond
            ),
            outcome,
            *_count_values(key, level),
            n_exams=pl.col("exam_id").n_unique() if "exam_id" not in key else pl.lit(1, pl.UInt32),
            n_images=pl.lit(1, pl.Int64) if level == "image" else counts,
            is_known=pl.lit(value=True),
        )
    )


def _count_values(key: tuple[str, ...], level: Level) -> Iterator[pl.Expr]:
    """Of how many patients, sides and outcomes the rows of a key are; an exam may have two of the latter."""
    names = ("patient_id",) if level == "exam" else ("patient_id", "laterality")
    yield from (pl.col(name).drop_nulls().n_unique().alias(f"n_{name}") for name in names if name not in key)
    if level != "exam":
        yield pl.col("cancer").n_unique().alias("n_cancer")


def _find_conflicts(joined: pl.DataFrame, truth: Truth) -> Iterator[str]:
    for name in _MUST_AGREE:
        if f"{name}_of_truth" in joined.columns:
            other = joined.filter(pl.col(name) != pl.col(f"{name}_of_truth"))["row"]
            if len(other):
                yield f"{name}: {name_some(other, joined.height, f'rows say another than {truth.where}')}; correct one"
        if f"n_{name}" in joined.columns:  # what several exams differ in is told below
            several = joined.filter((pl.col(f"n_{name}") > 1) & (pl.col("n_exams") == 1))["row"]
            if len(several):
                what = f"rows stand for several in {truth.where}"
                yield f"{name}: {name_some(several, joined.height, what)}; expected one each"
    torn = joined.filter(pl.col("n_exams") > 1)["row"]
    if len(torn):
        found = name_some(torn, joined.height, f"rows name a patient with several exams in {truth.where}")
        yield f"patient_id: {found}; give exam_id too, so that it is plain which one was scored"


def _tell_unused(facts: pl.DataFrame, rows: pl.DataFrame, *, key: tuple[str, ...], level: Level) -> Iterator[str]:
    unused = facts.join(rows, on=key, how="anti")
    if unused.height:
        what = "breast" if "laterality" in key else level
        n_cases = int(unused["cancer"].sum())
        yield (
            f"outcomes: {unused.height:,} of {facts.height:,} {what}s that have one have no score, {n_cases:,} of them "
            "with cancer; the figures are of the others"
        )


def _tell_unmatched(unmatched: pl.Series, n_rows: int, key: tuple[str, ...], what: str) -> str:
    found = f"{', '.join(key)}: {name_some(unmatched, n_rows, what)}"
    if len(unmatched) == n_rows:
        return f"{found}; are the ids spelled alike?"
    return f"{found}; give the truth of all, or leave them out with --exclude-unmatched"
