"""The table of a cohort, a row for each mammogram: its schema, checked on reading and writing."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from mammoscope.anatomy import Laterality, View
from mammoscope.errors import LeakageError, TableError
from mammoscope.exam import BREAST, OLDEST_YEARS
from mammoscope.files import replacing, sha256_of_bytes

SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "patient_id": pl.String(),
    "exam_id": pl.String(),
    "laterality": pl.String(),
    "view": pl.String(),
    "source": pl.String(),
    "path": pl.String(),
    "cancer": pl.Boolean(),
    "age_years": pl.Float64(),
    "density": pl.String(),
    "birads": pl.Int64(),
    "implant": pl.Boolean(),
    "biopsy": pl.Boolean(),
    "invasive": pl.Boolean(),
    "difficult_negative": pl.Boolean(),
    "site": pl.String(),
    "machine": pl.String(),
    "manufacturer": pl.String(),
    "fold": pl.Int64(),
}
NEVER_NULL = ("image_id", "patient_id", "exam_id", "laterality", "view", "source")
ALLOWED_VALUES = {
    "laterality": [side.value for side in Laterality],
    "view": [view.value for view in View],
    "density": ["A", "B", "C", "D"],
}
FILE_NAME = "manifest.parquet"
MANIFEST_VERSION = "1"
_VERSION_KEY = "mammoscope.manifest_version"
_HASH_KEY = "mammoscope.manifest_sha256"
HIGHEST_BIRADS = 6  # ACR BI-RADS assessment categories are 0 to 6
_PROBLEMS_SHOWN = 50
_ROWS_SHOWN = 8
_OUTCOME_CONFLICT = "outcome_conflict"


class Problem(NamedTuple):
    """What breaks the schema: a sentence without ids, the rows it is about (from 1, or none), a stable code, a column.

    Where a column is given, the sentence begins with its name and a colon, behind the row if there is one.
    """

    sentence: str
    rows: tuple[int, ...] = ()
    code: str = "bad_value"
    column: str = ""


def manifest_path(cohort: Path) -> Path:
    """Where the manifest of a cohort lies: in its folder, or the Parquet file itself that was named."""
    return cohort if cohort.suffix == ".parquet" and not cohort.is_dir() else cohort / FILE_NAME


def read_manifest(cohort: Path, *, may_conflict: bool = False) -> pl.DataFrame:
    """The manifest of a cohort folder (or of the Parquet file itself), checked, columns in the order of the schema.

    With `may_conflict` the images of a breast may differ in `cancer`: for the audit, which shows them.

    Raises:
        TableError: no manifest there, one of another version, one that breaks the schema (every problem with its row),
            or one whose rows are not those that were written.
        LeakageError: a patient stands in two folds.
    """
    path = manifest_path(cohort)
    if path != cohort and cohort.is_file():
        kind = "CSV file" if cohort.suffix == ".csv" else "file"
        raise TableError(
            f"{cohort}: found a {kind}, expected a cohort folder or its {FILE_NAME}; make one with `mammoscope index`"
        )
    if not path.is_file():
        raise TableError(f"{path}: not found, expected the manifest of a cohort; make one with `mammoscope index`")
    try:
        manifest, metadata = pl.read_parquet(path), pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(f"{path}: not a Parquet file that can be read ({error}); index the cohort again") from error
    _check_version(metadata, where=str(path))
    problems = locate_problems(manifest)
    allowed = {_OUTCOME_CONFLICT} if may_conflict else set()
    raise_problems([each.sentence for each in problems if each.code not in allowed], where=str(path))
    check_no_leakage(manifest, where=str(path))
    manifest = manifest.select(list(SCHEMA))
    if metadata.get(_HASH_KEY, manifest_hash(manifest)) != manifest_hash(manifest):
        raise TableError(f"{path}: its rows are not those that were written (SHA-256 differs); index the cohort again")
    return manifest


def write_manifest(manifest: pl.DataFrame, cohort: Path) -> Path:
    """Write the manifest of a cohort folder (or the Parquet file itself), checked, whole or not at all; its path.

    Raises:
        TableError: the table breaks the schema.
        LeakageError: a patient stands in two folds.
        OSError: the system refused to write.
    """
    path = manifest_path(cohort)
    check_manifest(manifest, where=str(path))
    ordered = manifest.select(list(SCHEMA))
    with replacing(path) as beside:
        ordered.write_parquet(beside, metadata={_VERSION_KEY: MANIFEST_VERSION, _HASH_KEY: manifest_hash(ordered)})
    return path


def read_present(cohort: Path) -> pl.DataFrame | None:
    """The manifest that stands where one is going to be written; None where there is none that can be read."""
    try:
        return read_manifest(cohort)
    except (TableError, LeakageError):
        return None


def manifest_hash(manifest: pl.DataFrame) -> str:
    """The SHA-256 of the rows, in their order; where the files lie is left out."""
    return sha256_of_bytes(manifest.select(name for name in SCHEMA if name != "path").write_csv().encode())


def check_manifest(manifest: pl.DataFrame, *, where: str) -> None:
    """Refuse a table that is no manifest.

    Raises:
        TableError: columns, types or values break the schema; all problems in one message, each with its row.
        LeakageError: a patient stands in two folds.
    """
    raise_problems(find_problems(manifest), where=where)
    check_no_leakage(manifest, where=where)


def find_problems(manifest: pl.DataFrame) -> list[str]:
    """What breaks the schema, a sentence each, without ids; rows are counted from 1, a header is none."""
    return [problem.sentence for problem in locate_problems(manifest)]


def locate_problems(manifest: pl.DataFrame) -> list[Problem]:
    """What breaks the schema, each with the rows that it is about."""
    problems = _column_problems(manifest)
    if problems:
        return [Problem(sentence) for sentence in problems]
    rows = manifest.with_row_index("row", offset=1)
    return [*_value_problems(rows), *_path_problems(rows), *_identity_problems(rows)]


def check_no_leakage(manifest: pl.DataFrame, *, where: str) -> None:
    """Refuse a split in which a patient stands in two folds.

    Raises:
        LeakageError: with the ids of all such patients, which its sentence does not say: there stand the folds and rows
            of the first eight.
    """
    rows = manifest.with_row_index("row", offset=1)
    patients = rows.group_by("patient_id", maintain_order=True).agg(pl.col("fold").unique().sort(), "row")
    torn = patients.filter(pl.col("fold").list.len() > 1)
    if torn.is_empty():
        return
    named = [_name_torn(folds, found) for folds, found in torn.select("fold", "row").head(_ROWS_SHOWN).iter_rows()]
    if torn.height > len(named):
        named.append(f"and {torn.height - len(named)} patients more")
    raise LeakageError(
        f"{where}: patients in more than one fold: {torn.height}, with {'; '.join(named)}; "
        "expected each patient in one; split again with `mammoscope split`",
        tuple(torn["patient_id"]),
    )


def sort_by_row(problems: Iterable[Problem]) -> list[Problem]:
    """The problems in the order of the first row that each is about, those of the whole table before."""
    return sorted(problems, key=lambda problem: problem.rows[:1])


def _name_torn(folds: list[int | None], rows: list[int]) -> str:
    return f"{name_rows(rows)} in folds {', '.join('none' if fold is None else str(fold) for fold in folds)}"


def raise_problems(problems: list[str], *, where: str) -> None:
    """One error for all problems of a file.

    Raises:
        TableError: there is a problem.
    """
    if not problems:
        return
    shown = problems[:_PROBLEMS_SHOWN]
    if len(problems) > len(shown):
        shown.append(f"… and {len(problems) - len(shown)} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise TableError("\n  ".join([f"{where}: {count}", *shown]))


def _check_version(metadata: dict[str, str], *, where: str) -> None:
    version = metadata.get(_VERSION_KEY, MANIFEST_VERSION)  # a table of another program has none and is judged as ours
    if version != MANIFEST_VERSION:
        raise TableError(
            f"{where}: found manifest version {version}, expected {MANIFEST_VERSION}; "
            "use the version of mammoscope that wrote it, or index the cohort again"
        )


def _column_problems(manifest: pl.DataFrame) -> list[str]:
    problems = [f"column {name}: missing, expected {dtype}" for name, dtype in SCHEMA.items() if name not in manifest]
    problems += [f"column {name}: unknown; remove it" for name in manifest.columns if name not in SCHEMA]
    problems += [
        f"column {name}: found {manifest[name].dtype}, expected {dtype}"
        for name, dtype in SCHEMA.items()
        if name in manifest and manifest[name].dtype != dtype
    ]
    return problems or ([] if manifest.height else ["no rows, expected one for each mammogram"])


def _value_problems(rows: pl.DataFrame) -> Iterator[Problem]:
    for name in NEVER_NULL:
        empty = rows.filter(pl.col(name).str.strip_chars().fill_null("") == "")
        yield from (Problem(f"row {row}, {name}: empty, expected a value", (row,), column=name) for row in empty["row"])
    for name, allowed in ALLOWED_VALUES.items():
        bad = rows.filter(~pl.col(name).is_in(["", *allowed] if name in NEVER_NULL else allowed))
        expected = f"one of {', '.join(allowed)}"
        yield from _found(bad, name, expected)
    yield from _found(
        rows.filter(~pl.col("age_years").is_between(0, OLDEST_YEARS)), "age_years", f"0 to {OLDEST_YEARS} years"
    )
    yield from _found(rows.filter(~pl.col("birads").is_between(0, HIGHEST_BIRADS)), "birads", f"0 to {HIGHEST_BIRADS}")
    yield from _found(rows.filter(pl.col("fold") < 0), "fold", "0 or more")


def _found(bad: pl.DataFrame, name: str, expected: str) -> Iterator[Problem]:
    return (
        Problem(f"row {row}, {name}: found {value!r}, expected {expected}", (row,), column=name)
        for row, value in bad.select("row", name).iter_rows()
    )


def _path_problems(rows: pl.DataFrame) -> list[Problem]:
    without = rows.filter(pl.col("path").fill_null("") == "")["row"].to_list()
    if not without or rows["path"].null_count() == rows.height:
        return []
    expected = "expected one for each image, or for none (a table-only cohort)"
    return [Problem(f"path: empty in {name_rows(without)}, {expected}", tuple(without))]


def _identity_problems(rows: pl.DataFrame) -> Iterator[Problem]:
    of_several = _repeated(rows, ["image_id"], pl.col("patient_id").n_unique())
    for found in of_several:
        sentence = f"image_id: one image of several patients in {name_rows(found)}, expected each once"
        yield Problem(sentence, tuple(found), "mixed_patients", "image_id")
    for found in _repeated(rows, ["image_id"], pl.len()):
        if found in of_several:
            continue
        sentence = f"image_id: one image in {name_rows(found)}, expected each once"
        yield Problem(sentence, tuple(found), "duplicate", "image_id")
    for found in _repeated(rows, ["exam_id"], pl.col("patient_id").n_unique()):
        sentence = f"exam_id: one exam of several patients in {name_rows(found)}, expected one patient"
        yield Problem(sentence, tuple(found), "mixed_patients", "exam_id")
    for found in _repeated(rows, BREAST, pl.col("cancer").n_unique()):
        sentence = f"cancer: one breast with different outcomes in {name_rows(found)}, expected one outcome"
        yield Problem(sentence, tuple(found), _OUTCOME_CONFLICT, "cancer")


def _repeated(rows: pl.DataFrame, identity: Sequence[str], count: pl.Expr) -> list[list[int]]:
    """The rows of each identity for which the count is above one; a missing identity is another problem."""
    named = rows.drop_nulls(identity)
    groups = named.group_by(identity, maintain_order=True).agg("row", count.alias("count"))
    return groups.filter(pl.col("count") > 1)["row"].to_list()


def name_rows(rows: Sequence[int]) -> str:
    """How sentences name rows, the first of them one by one."""
    more = f" and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(str(row) for row in rows[:_ROWS_SHOWN])}{more}"
